"""What holds for every family of networks: exact resume, one result on any number of devices, a run end to end."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import two_devices

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.run import directory, networks, training

pytestmark = pytest.mark.usefixtures("quick_draws")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """30 pictures of 8 x 8 pixels in three classes, an .npz file."""
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    random = np.random.default_rng(0)
    labels = np.arange(30, dtype=np.int32) % 3
    np.savez(path, images=random.integers(0, 256, (30, *two_devices.SHAPE), np.uint8), labels=labels)
    return path


# Progressive growing's is in test_growth.py.
@pytest.mark.parametrize("family", [name for name in two_devices.FAMILIES if name != "progressive"])
def test_a_run_goes_on_exactly(family, pictures, tmp_path):
    config = two_devices.prepared(two_devices.FAMILIES[family])
    config = dataclasses.replace(config, data=str(pictures), steps=5, sample_every=5, checkpoint_every=5, log_every=1)
    training.train(config, tmp_path / "unbroken", quiet=True)
    training.train(dataclasses.replace(config, steps=3), tmp_path / "stopped", quiet=True)
    training.train(config, tmp_path / "stopped", quiet=True)
    unbroken, stopped = (networks.digest(directory.read(tmp_path / name).state) for name in ("unbroken", "stopped"))
    assert unbroken == stopped
    assert (tmp_path / "unbroken" / "samples" / "000005.png").is_file()
    if family in ("stylegan2", "gat"):
        cli.main(["sample", str(tmp_path / "unbroken"), "--count=4", "--truncation=0.7"])
        assert (tmp_path / "unbroken" / "samples.png").is_file()


def test_two_devices_train_as_one():
    process = subprocess.run(
        [sys.executable, Path(__file__).with_name("two_devices.py")],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    differences = json.loads(process.stdout)
    assert set(differences) == {f"{name} {kind}" for name, kinds in two_devices.KINDS.items() for kind in kinds}
    # Of float32 numbers summed in another order.
    assert {name: value for name, value in differences.items() if value >= 2e-5} == {}


def test_no_device_computes_what_another_does():
    """Also in a program of a user's own, where nothing but the batch says how it is to be split."""
    process = subprocess.run(
        [sys.executable, Path(__file__).with_name("work_a_device.py")],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    shares = json.loads(process.stdout)
    assert len(shares) == 3 * 8 + 1
    assert {name: share for name, share in shares.items() if abs(share - 1) > 0.01} == {}


@pytest.mark.parametrize("name", [name for name in cfg.names() if name.endswith(("_32", "_64"))])
def test_the_small_configs_are_games(name):
    """Their networks fit together; compiling them is for users."""
    import jax

    from jaxgan import train_step
    from jaxgan.run import build

    _, config = cfg.load(name)
    assert config.size is not None
    shape = (config.size, config.size, 3)
    for stage in range(len(config.grow) + 1):
        game = build.game(config, shape, 0, stage=stage)
        batch = {"image": np.zeros((8, *shape), np.float32)}
        state = jax.eval_shape(lambda game=game, batch=batch: train_step.init(game, batch, jax.random.key(0)))
        assert jax.eval_shape(
            lambda state, game=game: train_step.generate(game, state.ema, jax.numpy.zeros((2, game.latent_size))),
            state,
        ).shape == (2, *shape)
