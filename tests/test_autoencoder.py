import jax.numpy as jnp
import numpy as np
import pytest
import record_autoencoder as record

from jaxgan.data import latents
from jaxgan.models import autoencoder
from jaxgan.support.errors import UserError


@pytest.fixture(scope="module")
def recorded():
    with np.load(record.DATA) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def weights(recorded):
    lines = [line.split() for line in recorded["shapes"]]
    return record.weights({name: tuple(map(int, shape)) for name, *shape in lines})


def test_both_parts_equal_diffusers(recorded, weights):
    for found, expected in zip(record.ours(weights, 16), (recorded["encoded"], recorded["decoded"]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_published_names_are_read_as_todays(weights, tmp_path):
    from safetensors.numpy import save_file

    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, value in weights.items():
        for new, before in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        renamed[name] = value
    assert sum(name not in weights for name in renamed) == 16
    save_file(renamed, tmp_path / "old.safetensors")
    *_, expected = latents.convert(weights, "today's")
    encoder, decoder, found = latents.load(tmp_path / "old.safetensors")
    assert encoder.widths == decoder.widths == (8, 16, 16)
    np.testing.assert_equal(found, expected)


def test_moments_are_means_and_deviations():
    mean, deviation = autoencoder.moments(jnp.array([[[[3.0, np.log(4.0)]]]], jnp.float32))
    np.testing.assert_allclose([mean.item(), deviation.item()], [3, 2], rtol=1e-6)


def test_other_files_are_refused(weights, tmp_path):
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(UserError, match=r"text\.safetensors: cannot be read as safetensors"):
        latents.load(tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="FILE: not an autoencoder of Stable Diffusion"):
        latents.convert({"weight": np.zeros(3, np.float32)}, "FILE")
    broken = {name: value for name, value in weights.items() if name != "decoder.mid_block.resnets.0.conv2.bias"}
    with pytest.raises(UserError, match=r"FILE: .* has no decoder\.mid_block\.resnets\.0\.conv2\.bias"):
        latents.convert(broken, "FILE")
    wrong = weights | {"quant_conv.bias": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match=r"FILE: quant_conv\.bias is of \[3\], where \[8\] were expected"):
        latents.convert(wrong, "FILE")
