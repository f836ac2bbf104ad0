import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_gat as record
from flax.traverse_util import flatten_dict

from jaxgan.models import gat


@pytest.fixture(scope="module")
def recorded():
    with np.load(record.DATA) as arrays:
        return dict(arrays)


def assert_close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-13), (jnp.float32, 1e-5)])
def test_the_networks_equal_the_authors(dtype, tolerance, recorded):
    """Logits, all four pictures, and the average styles after them."""
    with jax.enable_x64(dtype == jnp.float64):
        _, found = record.ours(record.TINY, dtype)
    for name, value in found.items():
        assert_close(value, recorded[name], tolerance)


def count(module, *inputs):
    shapes: Any = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("sizes", "generator", "discriminator"),
    [
        ({"width": 384, "depth": 12, "heads": 6, "patch": 2}, 29_361_344, 32_654_464),
        ({"width": 768, "depth": 12, "heads": 12, "patch": 4}, 116_791_808, 97_331_968),
        ({"width": 768, "depth": 12, "heads": 12, "patch": 2}, 116_754_752, 97_331_968),
        ({"width": 1152, "depth": 28, "heads": 16, "patch": 2}, 602_251_136, 459_547_456),
    ],
)
def test_the_networks_have_the_authors_sizes(sizes, generator, discriminator):
    """As counted in their code for latents of 32 x 32 x 4, less what is fixed or multiplied by 0 there."""
    label, pictures = jnp.zeros(1, jnp.int32), (jnp.zeros((1, 32, 32, 4)),) * 4
    tokens = (32 // sizes["patch"]) ** 2
    positions, embedding = tokens * sizes["width"], sizes["width"] * (sizes["patch"] ** 2 * 4 + 1)
    found = count(gat.Generator(32, 4, classes=1000, **sizes), jnp.zeros((1, 64)), label)
    assert found == generator - positions - embedding
    assert count(gat.Discriminator(classes=1000, **sizes), pictures, label) == discriminator - positions


def test_the_initial_parameters():
    generator, discriminator = record.networks(record.TINY | {"width": 64, "embedding": 64}, jnp.float32)
    latent, image, label = record.inputs(record.TINY)
    init: Any = jax.jit(lambda key: (generator.init(key, latent, label), discriminator.init(key, tuple(image), label)))
    first, second = (flatten_dict(variables["params"], sep="/") for variables in init(jax.random.key(0)))
    xavier = {"style": 0.1, "dense0": 100.0, "dense1": 100.0, "label0": 100.0, "label1": 100.0}
    for path, leaf in (first | second).items():
        *_, layer, end = ("", *path.split("/"))
        found = np.asarray(leaf)
        if end == "kernel":
            assert np.abs(found).max() == pytest.approx(
                xavier.get(layer, 1.0) * math.sqrt(6 / sum(found.shape[-2:])), rel=0.05
            ), path
            blocks = found.reshape(-1, *found.shape[-2:])
            assert all((a != b).any() for a, b in itertools.pairwise(blocks)), path
        elif end in ("embedding", "token"):
            assert found.std() == pytest.approx(0.02, rel=0.4), path
        else:
            start = 0.1 if end.endswith("_size") else 1.0 if end.endswith("scale") else 0.0
            np.testing.assert_array_equal(found, np.float32(start), path)


def test_parts_of_the_depth_add_up():
    """A picture that a quarter leaves as it was is the one before."""
    generator, _ = record.networks(record.TINY, jnp.float32)
    latent, _, label = record.inputs(record.TINY)
    params = record.weights("generator", generator, latent, label)
    picture = params["synthesizer"]["quarters"]["picture"]
    for leaf in picture.values():
        leaf[2] = 0
    average = {"average_style": jnp.zeros((3, 16))}
    variables: Any = {"params": params, "batch_stats": average}
    made, _ = jax.jit(lambda: generator.apply(variables, latent, label, mutable=["batch_stats"]))()
    np.testing.assert_array_equal(made[2], made[1])
    assert jnp.abs(made[3] - made[2]).max() > 0.1
    last = jax.jit(lambda: generator.apply(variables, latent, label, train=False))()
    np.testing.assert_allclose(last, made[3], atol=1e-5)


def test_without_classes_and_with_the_wrong_labels():
    sizes = record.TINY | {"classes": 0, "depth": 4}
    generator, discriminator = record.networks(sizes, jnp.float32)
    latent, image, label = record.inputs(sizes)

    def pair(key):
        made, variables = generator.init_with_output(key, latent)
        return variables, discriminator.init_with_output(key, made)[0]

    variables, logits = jax.eval_shape(pair, jax.random.key(0))
    assert logits.shape == (3,)
    assert variables["batch_stats"]["average_style"].shape == (16,)
    for module, x in ((generator, latent), (discriminator, tuple(image))):
        with pytest.raises(ValueError, match="0 classes was called with labels"):
            module.init(jax.random.key(0), x, label)
        with pytest.raises(ValueError, match="3 classes was called without labels"):
            module.clone(classes=3).init(jax.random.key(0), x)


def test_patches_must_divide():
    with pytest.raises(ValueError, match="patches of 3 do not divide 8"):
        gat.Discriminator(width=8, heads=2, patch=3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
