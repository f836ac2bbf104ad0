"""The generator that ships: read by its name wherever a run is, from any folder."""

import dataclasses
from importlib import resources
from pathlib import Path

import jax
import numpy as np
import pytest
from failing import fails
from PIL import Image

import jaxgan
from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.run import build, directory, networks, start

EMOJI = Path("emoji")
FILE = Path(str(resources.files("jaxgan.support"))) / "assets" / "generators" / "emoji.safetensors"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_small_and_has_both_networks():
    assert FILE.stat().st_size < 12e6
    found = networks.load(FILE)
    assert found is not None
    assert set(found.arrays) == {"ema", "discriminator"}
    assert {array.dtype for part in found.arrays.values() for array in part.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for part in found.arrays.values() for array in part.values())


def test_its_config_makes_its_networks():
    trained, (_, config) = directory.read(EMOJI), cfg.load("emoji")
    assert (trained.shape, trained.classes) == ((64, 64, 3), 0)
    assert (trained.config.generator, trained.config.discriminator) == (config.generator, config.discriminator)


def test_samples_are_pictures_with_shapes_and_colours():
    cli.main(["sample", "emoji", "--seeds", "0-15", "--out", "some"])
    pictures = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("some").glob("*.png"))])
    assert pictures.shape == (16, 64, 64, 3)
    # On white, as emoji are; unlike one another; made of more than one grey.
    assert np.median(pictures[:, :2, :2]) > 200
    assert pictures.std(axis=0).mean() > 20
    assert pictures.astype(float).std(axis=-1).mean() > 5


def test_a_name_goes_where_a_run_goes(capsys):
    cli.main(["sample", "emoji", "--count", "4"])
    cli.main(["mix", "emoji", "--rows", "1", "--columns", "2"])
    cli.main(["directions", "emoji", "--count", "1", "--steps", "3"])
    cli.main(["interpolate", "emoji", "--count", "2", "--frames", "2", "--out", "walk.png"])
    cli.main(["show", "emoji"])
    cli.main(["compare", "emoji", "emoji", "--out", "compared.png"])
    made = {path.name for path in Path.cwd().iterdir()}
    assert made == {"emoji-samples.png", "emoji-mix.png", "emoji-directions.png", "walk.png", "compared.png"}
    assert "step " in capsys.readouterr().out
    assert "--best: emoji holds one state alone" in fails(["sample", "emoji", "--best"], capsys)


def test_a_folder_of_that_name_is_no_hindrance():
    Path("emoji").mkdir()
    (Path("emoji") / "smile.txt").write_text("")
    assert directory.read(EMOJI).shape == (64, 64, 3)
    run = jaxgan.Run("emoji")
    assert run.step == int(run.state.step) > 0
    assert run.sample(4).size[0] >= 128
    assert run._repr_png_() == run.sample()._repr_png_()  # What a cell shows.


def test_a_run_may_begin_with_it():
    found = start.read(EMOJI)
    _, config = cfg.load("emoji")
    plan = build.experiment(config, (64, 64, 3), 0)
    empty = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(lambda: plan.init(plan.stages[0], 0))
    )
    state, new = networks.transplant(found, empty)
    assert new == ""
    assert networks.digest(state.generator.params) == networks.digest(state.ema["params"])
    assert any(leaf.any() for leaf in jax.tree.leaves(state.discriminator.params))
    assert cfg.placed(dataclasses.replace(config, start="emoji")).start == "emoji"
