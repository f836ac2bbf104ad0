"""`jaxgan.train` and the handle of a run that it returns."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan import train_step
from jaxgan.run import networks
from jaxgan.support.errors import UserError

SMALL: dict[str, Any] = {"generator.width": 4, "discriminator.width": 4, "batch_size": 8, "discriminator.features": 0}


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def run(pictures: np.ndarray) -> jaxgan.Run:
    looks: list[Any] = []
    fields: dict[str, Any] = SMALL | {"steps": 4, "sample_every": 2, "log_every": 1}
    made = jaxgan.train("mnist_dcgan", pictures, on_look=looks.append, quiet=True, **fields)
    assert [look.step for look in looks] == [2, 4]
    assert all({"diversity/coverage"} <= look.metrics.keys() and look.sheet.dtype == np.uint8 for look in looks)
    return made


def test_a_quiet_run_prints_nothing(pictures: np.ndarray, capfd: pytest.CaptureFixture[str]):
    jaxgan.train("mnist_dcgan", pictures, steps=1, quiet=True, **SMALL).train(2, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_a_run_of_an_array_shows_itself(run: jaxgan.Run):
    assert run.step == 4
    assert run.path.is_dir()
    assert run.sample(9).size[0] > 28 * 3
    assert run.sample(4, seed=1).tobytes() == run.sample(4, seed=1).tobytes()
    assert run.losses()._repr_png_().startswith(b"\x89PNG")
    assert (run._repr_png_() or b"").startswith(b"\x89PNG")
    assert "step 4 of 4" in repr(run)
    assert "generator.width (64, now 4)" in repr(run)
    assert isinstance(run.diagnosis, str)


def test_its_game_and_state_are_those_of_the_step(run: jaxgan.Run):
    latent = train_step.latents(run.game, jax.random.key(0), 2)
    made = train_step.generate(run.game, run.state.ema, latent)
    assert np.asarray(made).shape == (2, 28, 28, 1)


def test_it_goes_on_bit_identically_and_is_kept(pictures: np.ndarray, tmp_path: Path):
    def begun(**more) -> jaxgan.Run:
        return jaxgan.train("mnist_dcgan", pictures, quiet=True, sample_every=2, **SMALL, **more)

    parts, whole = begun(steps=2).train(4, quiet=True), begun(steps=4, out=tmp_path / "whole")
    assert networks.digest(parts.state) == networks.digest(whole.state)
    before = parts.path
    parts.save(tmp_path / "kept")
    assert not before.exists()
    assert parts.path == tmp_path / "kept"
    again = jaxgan.Run(tmp_path / "kept")
    assert networks.digest(again.state) == networks.digest(whole.state)
    with pytest.raises(UserError, match=r"kept: exists; choose another directory"):
        whole.save(tmp_path / "kept")
    # Without the arrays nobody can train on them; the same ones given again are known by their hash.
    with pytest.raises(UserError, match=r"was made of arrays; give them again: jaxgan.train\(RUN, source=ARRAYS\)"):
        again.train(6, quiet=True)
    with pytest.raises(UserError, match="began with other data"):
        jaxgan.train(tmp_path / "kept", 255 - pictures, steps=6, quiet=True)
    assert jaxgan.train(tmp_path / "kept", pictures, steps=6, quiet=True).step == 6


def test_a_run_of_a_folder_goes_on_from_anywhere(pictures: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine").mkdir()
    for index, picture in enumerate(pictures[:8]):
        Image.fromarray(picture).save(tmp_path / "mine" / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    jaxgan.train("mnist_dcgan", "mine", out="run", steps=1, quiet=True, size=28, **SMALL)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert jaxgan.Run(tmp_path / "run").train(2, quiet=True).step == 2


def test_a_temporary_run_goes_with_its_handle(pictures: np.ndarray):
    run = jaxgan.train("mnist_dcgan", pictures, steps=1, quiet=True, **SMALL)
    path = run.path
    assert path.is_dir()
    del run
    assert not path.exists()


def test_labels_make_it_conditional(pictures: np.ndarray):
    labels = np.arange(40) % 3
    run = jaxgan.train("mnist_dcgan", pictures, labels=labels, steps=1, quiet=True, **SMALL)
    assert run.config.conditional
    assert run.sample(4, label=2).size[0] > 2 * 28
    with pytest.raises(UserError, match="has classes 0 to 2"):
        run.sample(4, label=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": np.zeros((20, 28, 28), np.float32)}, "source: must be uint8"),
        ({"source": 3}, "source: must be pictures uint8"),
        ({"labels": [1, 2]}, "labels: are of pictures in an array"),
        ({"labels": [1, 2], "source": "folder"}, "labels: are of pictures in an array"),
        ({"source": np.zeros((20, 28, 20), np.uint8)}, "source: its pictures are 20 x 28; square ones are needed"),
        ({"source": np.zeros((4, 28, 28), np.uint8)}, "source: has 4 pictures, fewer than a batch of 8"),
        ({"config": "mnist_dcgam"}, "mnist_dcgan"),
        ({"stepz": 3}, "stepz: no such field"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments: dict[str, Any], message: str):
    train: Any = jaxgan.train
    with pytest.raises(UserError, match=message) as caught:
        train(quiet=True, **SMALL | arguments)
    assert "\n" not in str(caught.value)


def test_importing_stays_light_and_keeps_no_programs():
    code = (
        "import sys, jaxgan; assert 'jax' not in sys.modules\n"
        "import jax; from jaxgan import train_step; assert not jax.config.values['jax_compilation_cache_dir']"
    )
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(Path(jaxgan.__path__[0]).parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
