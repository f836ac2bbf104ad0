"""`jaxgan import`: a published generator, recorded from PyTorch (record_stylegan2.py), as a run like any other."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from failing import fails
from PIL import Image

from jaxgan import cli
from jaxgan.models import stylegan2
from jaxgan.run import directory, networks, published, start
from jaxgan.step.keys import normal
from jaxgan.support import images

RECORDED = np.load(Path(__file__).with_name("data") / "stylegan2.npz")
# Without the layers of 16 px it is a generator of 8 px, and compiles sooner.
NAMES = [name for name in RECORDED.files if name.startswith("G/") and "b16" not in name]
ARRAYS = {name.removeprefix("G/"): RECORDED[name] for name in NAMES}
GENERATOR: Any
GENERATOR, LATENT_SIZE, VARIABLES = published.convert(ARRAYS)


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("import")
    cli.main(["import", str(write(folder / "G.npz", **ARRAYS)), "--out", str(folder / "faces")])
    return folder / "faces"


def sampled(run, out, *options):
    cli.main(["sample", str(run), "--count", "4", "--out", str(out), *options])
    return np.stack([np.asarray(Image.open(path)) for path in sorted(out.iterdir())]).astype(int)


@jax.jit
def made(psi):
    """What the generator makes of the latents that `jaxgan sample` draws."""
    latent = normal(jax.random.key(0), jnp.arange(4), (LATENT_SIZE,))
    styles = GENERATOR.apply(VARIABLES, latent, train=False, method="mapping")
    drawn = stylegan2.truncate(styles, VARIABLES["batch_stats"]["average_style"], psi)
    return GENERATOR.apply(VARIABLES, drawn, train=False, method="synthesis")


def test_samples_are_the_published_generators(run, tmp_path):
    whole = sampled(run, tmp_path / "whole")
    assert whole.shape == (4, 8, 8, 3)
    half = sampled(run, tmp_path / "half", "--truncation", "0.5")
    # Two programs may round a brightness apart.
    np.testing.assert_allclose(whole, images.to_uint8(made(1.0)), atol=1)
    np.testing.assert_allclose(sampled(run, tmp_path / "one", "--truncation", "1.0"), whole, atol=1)
    np.testing.assert_allclose(half, images.to_uint8(made(0.5)), atol=1)
    assert np.abs(half - whole).mean() > 2


def test_noise_and_a_cutoff_of_truncation(run, tmp_path, capsys):
    """As NVIDIA's generate.py has them: noise the same, each picture's own or none; only the coarsest styles drawn."""
    latent = normal(jax.random.key(0), jnp.arange(4), (LATENT_SIZE,))
    silent = jax.tree_util.tree_map_with_path(lambda path, x: x * ("noise" not in str(path[-1])), VARIABLES["params"])
    call = jax.jit(GENERATOR.apply, static_argnames=("train", "method"))
    styles = call(VARIABLES, latent, train=False, method="mapping")
    drawn = styles.at[:, :2].set(stylegan2.truncate(styles, VARIABLES["batch_stats"]["average_style"], 0.5)[:, :2])
    for options, variables, chosen in (
        (["--noise", "none"], {**VARIABLES, "params": silent}, styles),
        (["--truncation", "0.5", "--truncation-cutoff", "2"], VARIABLES, drawn),
    ):
        expected = images.to_uint8(np.asarray(call(variables, chosen, train=False, method="synthesis")))
        np.testing.assert_allclose(sampled(run, tmp_path / options[0], *options), expected, atol=1)
    own, again, same = (
        sampled(run, tmp_path / str(place), *options)
        for place, options in enumerate((["--noise", "own"], ["--noise", "own"], []))
    )
    np.testing.assert_array_equal(own, again)
    assert np.abs(own - same).mean() > 0.5
    for wrong, message in (
        (["--truncation-cutoff", "2"], "give --truncation with it"),
        (["--truncation", "0.5", "--truncation-cutoff", "9"], "--truncation-cutoff must be at most 4, not 9"),
        (["--standing", "2"], "--standing: .*: the generator has no batch normalisation"),
    ):
        assert re.search(message, fails(["sample", run, *wrong], capsys))


def test_what_the_file_does_not_tell_is_asked(run, tmp_path):
    config = directory.read_config(run)
    assert (config.generator, config.discriminator) == (
        dataclasses.replace(config.generator, clamp=256.0),
        dataclasses.replace(config.discriminator, clamp=256.0),
    )
    without, _ = start.adopt(write(tmp_path / "G.npz", **ARRAYS), tmp_path / "without", clamp=0.0)
    assert without.game.generator == GENERATOR


def test_it_is_shown_as_a_run_of_its_networks(run, capsys):
    cli.main(["show", str(run)])
    shown = capsys.readouterr().out
    config, end = json.JSONDecoder().raw_decode(shown)
    assert (config["data"], config["size"], config["latent_size"]) == ("", 8, LATENT_SIZE)
    assert config["generator"]["style_size"] == GENERATOR.style_size
    assert "step 0 of " in shown[end:]
    params = sum(leaf.size for leaf in jax.tree.leaves(VARIABLES["params"]))
    assert f"generator: {params:,} parameters, sha256 {networks.digest(VARIABLES['params'])}" in shown


def test_mistakes_are_one_line(run, tmp_path, capsys):
    before = (run / "config.json").read_bytes()
    file = write(tmp_path / "G.npz", **ARRAYS)
    assert f"{run}: holds a run already" in fails(["import", file, "--out", run], capsys)
    assert (run / "config.json").read_bytes() == before
    (tmp_path / "text.npz").write_text("not a file of arrays")
    four = {name: value for name, value in ARRAYS.items() if "b8" not in name}
    soft = ARRAYS | {"synthesis.b8.resample_filter": np.outer([1, 2, 1], [1, 2, 1]) / 16}
    lacking = {name: value for name, value in ARRAYS.items() if name != "mapping.w_avg"}
    for name, message in (
        ("missing.npz", "missing.npz: no such file"),
        ("text.npz", "text.npz: cannot be read as safetensors, npz or pth"),
        (write(tmp_path / "lacking.npz", **lacking).name, "lacking.npz: not a StyleGAN2 generator"),
        (
            write(tmp_path / "small.npz", **four).name,
            "small.npz: not a StyleGAN2 generator with skips: no image size 4",
        ),
        (write(tmp_path / "soft.npz", **soft).name, "b8.resample_filter is another filter than [1, 3, 3, 1]"),
    ):
        assert message in fails(["import", tmp_path / name, "--out", tmp_path / "none"], capsys)
    assert not (tmp_path / "none").exists()
    pictures = write(tmp_path / "pictures.npz", images=np.zeros((4, 8, 8, 3), np.uint8))
    train = ["train", run, "--quiet", "--data", pictures]
    assert "fewer than a batch of 32" in fails(train, capsys)
    other = ["--batch-size", "4", "--generator.style-size", "8"]
    assert "made by another config: generator.style_size (24, now 8);" in fails([*train, *other], capsys)


def test_training_goes_on_from_it(run, tmp_path, capsys):
    run = Path(shutil.copytree(run, tmp_path / "faces"))
    draw = np.random.default_rng(0).integers
    first, second = (
        write(tmp_path / f"{name}.npz", images=draw(0, 256, (8, 8, 8, 3)).astype(np.uint8))
        for name in ("first", "second")
    )
    assert json.loads((run / "data.json").read_text()) == {"shape": [8, 8, 3], "classes": 0, "identity": None}
    lighter = ["--batch-size=4", "--r1=0", "--path-length=0", "--augment"]  # Which compiles sooner.
    cli.main(["train", str(run), "--quiet", "--data", str(first), "--steps=1", *lighter])
    assert json.loads((run / "data.json").read_text())["identity"] is not None
    trained = directory.read(run)
    assert (int(trained.state.step), trained.config.batch_size, trained.config.data) == (1, 4, str(first))
    # Adam's first step moves nothing by more than its rate; a generator begun anew would be far off.
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), trained.state.generator.params, VARIABLES["params"])
    assert 0 < max(jax.tree.leaves(moved)) <= 1.01 * trained.config.generator.learning_rate
    # From now on it is a run of these data and this config.
    assert f"{run}: began with other data: identity" in fails(["train", run, "--data", second], capsys)
    assert "made by another config: batch_size (4, now 8)" in fails(["train", run, "--batch-size", "8"], capsys)
