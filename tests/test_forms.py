"""Runs whose convolutions are quick to compile at first and fast to run later: when, and that nothing else changes."""

import dataclasses
import io
import math
import os
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
import record_run
from rich.console import Console

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.run import build, directory, networks, programs, sweep, training
from jaxgan.support.errors import UserError
from jaxgan.support.progress import compiling

CONFIG = dataclasses.replace(
    record_run.CONFIG,
    generator=cfg.DCGANGenerator(width=16),
    discriminator=cfg.DCGANDiscriminator(width=16, norm="none"),
    steps=9,
    sample_every=20,
    quick_steps=4,
)


def with_fields(**fields):
    return dataclasses.replace(CONFIG, **fields)


def digest(run):
    return networks.digest(directory.read(run).state)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    training.train(CONFIG, run, quiet=True)
    return run


def test_the_form_depends_on_the_config_and_the_platform_alone():
    def plan(config):
        return build.experiment(config, (32, 32, 3), 0)

    def spans(config, platform="cpu", end=20):
        found, step = [], 0
        while step < min(end, config.steps):
            form, until = plan(config).form(platform, step)
            found.append((form, until))
            step = until
        return found

    assert spans(CONFIG) == [("quick", 4), ("fast", 9)]
    assert spans(with_fields(steps=3)) == [("quick", 3)]
    assert spans(with_fields(quick_steps=0)) == [("fast", 9)]
    assert spans(with_fields(quick_steps=None)) == [("everywhere", 9)]
    assert spans(CONFIG, "tpu") == spans(with_fields(precision="bfloat16")) == [("quick", 9)]
    points = with_fields(generator=cfg.MLPGenerator(), discriminator=cfg.MLPDiscriminator())
    assert spans(points) == [("quick", 9)]
    patches = with_fields(generator=cfg.GATGenerator(), discriminator=cfg.GATDiscriminator())
    assert spans(patches) == [("quick", 9)]
    pair = {"generator": cfg.ProgressiveGenerator(), "discriminator": cfg.ProgressiveDiscriminator()}
    growing = with_fields(**pair, grow=(2, 6), steps=20)
    assert spans(growing) == [("quick", 2), ("quick", 6), ("quick", 10), ("fast", 20)]
    assert plan(growing).change == 10
    assert plan(points).change == math.inf
    # Asked at any step in between, it is the same.
    assert [plan(CONFIG).form("cpu", step)[0] for step in range(9)] == ["quick"] * 4 + ["fast"] * 5


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_stopped_before_at_or_after_the_change_a_run_goes_on_exactly(stop, unbroken, tmp_path, monkeypatch):
    compiled, original = [], programs.compile_steps
    monkeypatch.setattr(programs, "compile_steps", lambda *args: compiled.append(args[5]) or original(*args))
    training.train(with_fields(steps=stop), tmp_path / "run", quiet=True)
    training.train(CONFIG, tmp_path / "run", quiet=True)
    assert compiled == {2: ["quick", "quick", "fast"], 4: ["quick", "fast"], 7: ["quick", "fast", "fast"]}[stop]
    assert digest(tmp_path / "run") == digest(unbroken)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("discriminator/loss") == 9


def test_the_forms_differ_by_rounding_only_and_a_run_keeps_its_own(unbroken, tmp_path):
    training.train(with_fields(quick_steps=0), tmp_path / "fast", quiet=True)
    assert digest(tmp_path / "fast") != digest(unbroken)
    here, there = (directory.read(run).state.ema["params"] for run in (unbroken, tmp_path / "fast"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b).max()), here, there)
    with pytest.raises(UserError, match=r"made by another config: quick_steps \(4, now 5\)"):
        training.train(with_fields(quick_steps=5), unbroken, quiet=True)


def test_a_member_of_a_sweep_changes_over_as_the_run_alone(unbroken, tmp_path):
    assert sweep.sweep(CONFIG, 2, {}, tmp_path / "out", quiet=True)
    member, alone = (directory.read(run).state for run in (tmp_path / "out" / "seed=0", unbroken))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), member, alone)


def test_a_run_from_before_goes_on_as_it_would_have(tmp_path):
    """Bit by bit on a machine like the one it was recorded on; elsewhere up to rounding."""
    with zipfile.ZipFile(record_run.DATA) as archive:
        archive.extractall(tmp_path)
    run = tmp_path / "run"
    assert "quick_steps" not in (run / "config.json").read_text()
    assert directory.read_config(run).quick_steps is None
    # By its config, whose quick_steps have a default now; compiled as it was recorded.
    going_on = f"import record_run; record_run.go_on(record_run.Path({str(run)!r}))"
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    said = subprocess.run(
        [sys.executable, "-c", going_on],
        env=plain | {"PYTHONPATH": str(record_run.DATA.parents[1])},
        capture_output=True,
        text=True,
    )
    assert f"resuming {run} from step 3" in said.stdout, said.stderr
    with np.load(tmp_path / "expected.npz") as expected:
        alike = str(expected["machine"]) == record_run.machine()
        found = record_run.arrays(run)
        assert set(found) == set(expected) - {"machine"}
        for name, array in found.items():
            if alike:
                np.testing.assert_array_equal(array, expected[name], err_msg=name)
            np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
    assert directory.read_config(run).quick_steps is None


def test_it_says_how_long_compiling_takes():
    said = io.StringIO()
    with compiling(Console(file=said), "fast") as foretell:
        foretell(38.7)
    assert said.getvalue() == "compiling the fast form of the training step (about 39 s, once)\n"
    said = io.StringIO()
    with compiling(Console(file=said), "quick") as foretell:
        foretell(0.4)  # Not worth a line.
    assert said.getvalue() == ""


def test_a_dry_run_tells_the_change(capsys):
    cli.main(["train", "mnist_dcgan", "--dry-run"])
    assert "quick to compile up to step 1000, then compiled again to be fast to run" in capsys.readouterr().out
    cli.main(["train", "mnist_fc", "--dry-run"])
    assert "quick to compile" not in capsys.readouterr().out
