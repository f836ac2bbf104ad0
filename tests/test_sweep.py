"""Sweeps: a member is the run that it would be alone, and no member can harm another."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image
from test_training import steps_of

from jaxgan import cli, train_step
from jaxgan import config as cfg
from jaxgan.run import checkpoint, directory, metrics, networks, sweep, training
from jaxgan.support.errors import NonFiniteError, UserError

MLP = cfg.Config(
    data="ring",
    generator=cfg.MLPGenerator(widths=(16,), decay_steps=40),
    discriminator=cfg.MLPDiscriminator(widths=(16,), norm="spectral"),
    latent_size=2,
    batch_size=16,
    r1=0.1,
    penalty_every=2,
    steps=24,
    log_every=1,
    sample_every=8,
    checkpoint_every=8,
)
CONV = dataclasses.replace(
    MLP,
    data="mnist",
    generator=cfg.DCGANGenerator(width=2),
    discriminator=cfg.DCGANDiscriminator(width=2),
    batch_size=4,
    steps=4,
    sample_every=4,
    checkpoint_every=4,
)


def assert_member_is_the_run_alone(member: sweep.Member, tmp_path, rtol):
    alone = tmp_path / "alone" / member.run.name
    training.train(member.config, alone, quiet=True)
    here, there = (directory.read(path).state for path in (member.run, alone))
    assert here.step == there.step
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), here, there)
    ours, theirs = (steps_of(path) for path in (member.run, alone))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name in theirs[0]:
        np.testing.assert_allclose(
            [line[name] for line in ours], [line[name] for line in theirs], rtol=50 * rtol, atol=1e-3
        )


@pytest.mark.parametrize(("config", "rtol"), [(MLP, 2e-4), (CONV, 2e-4)], ids=["vmap", "map"])
def test_a_member_equals_the_same_run_alone(config, rtol, tmp_path, capsys):
    vary = {"generator.learning_rate": [1e-4, 1e-3], "r1": [0.1, 0.2]}
    assert sweep.sweep(config, 1, vary, tmp_path / "out", quiet=True)
    table = capsys.readouterr().out
    everyone = sweep.members(config, 1, vary, tmp_path / "out")
    assert len(everyone) == 4
    assert table.count("generator.learning_rate=") == 4
    for member in everyone[-1:]:
        assert_member_is_the_run_alone(member, tmp_path, rtol)
    assert (tmp_path / "out" / "table.md").read_text() in table
    with Image.open(tmp_path / "out" / "sweep.png") as plot:
        assert plot.width > 500
    # A member is an ordinary run, and can be trained on as such.
    cli.main(["train", str(everyone[0].run), f"--steps={config.steps + 2}", "--quiet"])
    assert int(directory.read(everyone[0].run).state.step) == config.steps + 2


def test_seeds_differ_and_repeat(tmp_path):
    for name in ("once", "again"):
        sweep.sweep(MLP, 2, {}, tmp_path / name, quiet=True)
    digests = [
        networks.digest(directory.read(tmp_path / name / f"seed={seed}").state)
        for name in ("once", "again")
        for seed in (0, 1)
    ]
    assert digests[:2] == digests[2:]
    assert digests[0] != digests[1]


def test_what_shapes_a_program_makes_groups(tmp_path):
    vary = {"generator.widths": [[8], [16]], "r1": [0, 0.1, 0.2], "generator.learning_rate": [1e-4, 2e-4]}
    everyone = sweep.members(MLP, 2, vary, tmp_path)
    assert len(everyone) == 24
    # By the width, and by whether there is a penalty at all.
    assert len({sweep.signature(member.config) for member in everyone}) == 4
    assert [member.config.seed for member in everyone[:2]] == [0, 1]
    assert cfg.value(everyone[-1].config, "generator.widths") == (16,)
    with pytest.raises(UserError, match=r"generator.width: no such field; did you mean generator.widths\?"):
        sweep.members(MLP, 1, {"generator.width": [3]}, tmp_path)
    with pytest.raises(UserError, match=r"r1: .*greater than or equal to 0"):
        sweep.members(MLP, 1, {"r1": [-1]}, tmp_path)


def test_a_member_that_fails_harms_no_other(tmp_path, monkeypatch, capsys):
    original = train_step.train_step

    def poisoned(game, state, batch, key):
        state, metrics = original(game, state, batch, key)
        # Seed 1 alone, from its twelfth step on.
        bad = (jax.random.key_data(key)[-1] == 1) & (state.step >= 12)
        params = jax.tree.map(lambda leaf: jax.numpy.where(bad, jax.numpy.nan, leaf), state.generator.params)
        generator = dataclasses.replace(state.generator, params=params)
        loss = jax.numpy.where(bad, jax.numpy.nan, metrics["generator/loss"])
        return dataclasses.replace(state, generator=generator), metrics | {"generator/loss": loss}

    sweep.sweep(MLP, 3, {}, tmp_path / "clean", quiet=True)
    monkeypatch.setattr(train_step, "train_step", poisoned)
    capsys.readouterr()
    assert sweep.sweep(MLP, 3, {}, tmp_path / "out", quiet=True)
    assert "1 failed" in capsys.readouterr().out
    assert "step 12: the generator's loss is NaN" in (tmp_path / "out" / "seed=1" / "failed").read_text()
    assert int(directory.read(tmp_path / "out" / "seed=1").state.step) == 8  # The last good one.
    for seed in (0, 2):
        states = [directory.read(tmp_path / name / f"seed={seed}").state for name in ("clean", "out")]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *states)


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path):
    """By SIGTERM, in processes of their own; the outcome is bit for bit that of the unbroken one."""
    flags = ["--generator.widths=16", "--discriminator.widths=16", "--batch-size=16", "--log-every=1", "--quiet"]
    flags += ["--steps=1500", "--sample-every=500", "--checkpoint-every=100", "--seeds=2"]

    def start(out):
        command = [sys.executable, "-m", "jaxgan", "sweep", "ring", *flags, f"--out={out}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    said, _ = (whole := start(tmp_path / "whole")).communicate(timeout=300)
    assert whole.returncode == 0, said
    process = start(tmp_path / "out")
    while not checkpoint.steps(tmp_path / "out" / "seed=1") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == cli.STOPPED, said
    said, _ = (again := start(tmp_path / "out")).communicate(timeout=300)
    assert again.returncode == 0, said
    for seed in (0, 1):
        a, b = (tmp_path / name / f"seed={seed}" for name in ("whole", "out"))
        assert networks.digest(directory.read(a).state) == networks.digest(directory.read(b).state)
        assert (a / "metrics.jsonl").read_text() == (b / "metrics.jsonl").read_text()


def test_members_share_eight_devices():
    """The same numbers, each device with its share of the members."""
    script = (
        "import json, sys, jax; sys.path.insert(0, 'tests'); import test_sweep as t;"
        "from jaxgan.run import build, programs, sweep; from pathlib import Path;"
        "group = sweep.members(t.MLP, 4, {}, Path('x'));"
        "source = build.source(t.MLP);"
        "plans = [build.experiment(member.config, source.shape, source.classes) for member in group];"
        "program = sweep.Program(plans, source); state = program.initial(); stage = plans[0].stages[0];"
        "items = [programs.gather_items(own, 0, 3) for own in program.sources(stage)];"
        "loop = program.compiled(stage, 'quick', state, lambda seconds: None);"
        "state, _ = loop(state, program.put(items), program.put_count(3));"
        "leaf = jax.tree.leaves(state.generator.params)[0];"
        "data = {len(x.sharding.device_set) for x in jax.tree.leaves(program._resident)};"
        "print(json.dumps([len(leaf.sharding.device_set), *data, [float(abs(x).sum()) for x in leaf]]))"
    )
    answers = []
    for devices in ("1", "8"):
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": devices}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    assert [devices for devices, *_ in answers] == [1, 4]
    assert [devices for _, devices, _ in answers] == [1, 4]  # The data, too, lie on each.
    np.testing.assert_allclose(answers[0][2], answers[1][2], rtol=1e-5)


def test_bad_sweeps_are_one_line(tmp_path, capsys):
    for arguments, words in (
        (["ring", "--vary", "r1"], "--vary: must be FIELD=VALUE"),
        (["ring", "--vary", "gradient_penalti=1"], "gradient_penalti: no such field; did you mean gradient_penalty?"),
        (["ring", "--seeds", "0"], "--seeds must be at least 1"),
        (["rung"], "did you mean ring?"),
        ([], "sweep: name a config"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["sweep", *arguments, *(["--out", str(tmp_path / "x")] if arguments else [])])
        assert end.value.code == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    sweep.sweep(dataclasses.replace(MLP, steps=8), 1, {}, tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match="made by another config: r1"):
        sweep.sweep(dataclasses.replace(MLP, steps=8, r1=0.3), 1, {}, tmp_path / "out", quiet=True)


def stands(out):
    """Of every member its digest and lines."""
    runs = sorted(path.parent for path in out.rglob("config.json"))
    return {run.name: (networks.digest(directory.read(run).state), (run / "metrics.jsonl").read_text()) for run in runs}


def test_one_more_seed_or_value_takes_nothing_from_the_others(tmp_path, capsys):
    short = dataclasses.replace(MLP, steps=16)
    sweep.sweep(short, 2, {"r1": [0.1]}, tmp_path, quiet=True)
    before = stands(tmp_path)
    steps = {run: checkpoint.steps(tmp_path / run) for run in before}
    assert sweep.sweep(short, 3, {"r1": [0.1, 0.2]}, tmp_path, quiet=True)
    after = stands(tmp_path)
    assert len(after) == 6
    assert {run: after[run] for run in before} == before
    assert {run: checkpoint.steps(tmp_path / run) for run in before} == steps
    assert all(int(directory.read(tmp_path / run).state.step) == 16 for run in after)


def test_one_that_failed_is_left_as_it_is_until_it_is_to_be_tried_again(tmp_path, monkeypatch, capsys):
    original = train_step.train_step

    def poisoned(game, state, batch, key):
        state, metrics = original(game, state, batch, key)
        bad = (jax.random.key_data(key)[-1] == 1) & (state.step >= 12)
        return state, metrics | {"generator/loss": jax.numpy.where(bad, jax.numpy.nan, metrics["generator/loss"])}

    monkeypatch.setattr(train_step, "train_step", poisoned)
    sweep.sweep(MLP, 2, {}, tmp_path, quiet=True)
    before = stands(tmp_path)
    assert sweep.sweep(MLP, 2, {}, tmp_path)
    assert "seed=1: failed before (step 12: the generator's loss is NaN" in capsys.readouterr().out
    assert stands(tmp_path) == before
    monkeypatch.setattr(train_step, "train_step", original)
    (tmp_path / "seed=1" / "failed").unlink()
    assert sweep.sweep(MLP, 2, {}, tmp_path, quiet=True)
    assert stands(tmp_path)["seed=0"] == before["seed=0"]
    assert int(directory.read(tmp_path / "seed=1").state.step) == MLP.steps


def test_where_all_fail_it_stops_and_says_so(tmp_path, monkeypatch):
    original, done = train_step.train_step, []

    def poisoned(game, state, batch, key):
        state, metrics = original(game, state, batch, key)
        return state, metrics | {"generator/loss": metrics["generator/loss"] + jax.numpy.nan}

    monkeypatch.setattr(train_step, "train_step", poisoned)
    after = training._after
    monkeypatch.setattr(training, "_after", lambda *arguments: done.append(1) or after(*arguments))
    with pytest.raises(NonFiniteError, match=r"all runs failed; .*seed=0: step 1: the generator's loss is NaN"):
        sweep.sweep(MLP, 2, {}, tmp_path, quiet=True)
    assert len(done) == 1


def test_members_keep_their_best_and_stop_early(tmp_path):
    config = dataclasses.replace(
        MLP, best="modes/high_quality", patience=2, steps=80, sample_every=4, seed=3, ema_decay=0.0
    )
    assert sweep.sweep(config, 2, {}, tmp_path, quiet=True)
    for seed in (3, 4):
        run = tmp_path / f"seed={seed}"
        scores = {
            line["step"]: line["modes/high_quality"]
            for line in metrics.read(run / "metrics.jsonl")
            if "modes/kl" in line
        }
        kept = int(directory.read(run, best=True).state.step)
        assert scores[kept] == max(scores.values())
        assert int(directory.read(run).state.step) == max(scores) == min(80, kept + 8)


def test_the_same_run_twice_is_refused_and_members_are_locked(tmp_path):
    with pytest.raises(UserError, match="--vary seed: every combination has seeds of its own"):
        sweep.members(MLP, 1, {"seed": [1, 2]}, tmp_path)
    with pytest.raises(UserError, match=r"--vary: r1=0.1,seed=0 and r1=0.1,seed=0 are the same run"):
        sweep.members(MLP, 1, {"r1": [0.1, 1e-1]}, tmp_path)
    with directory.lock(tmp_path / "seed=1"), pytest.raises(UserError, match="seed=1: another process is training"):
        sweep.sweep(MLP, 2, {}, tmp_path, quiet=True)


def test_a_damaged_checkpoint_of_a_member_is_set_aside_and_made_again(tmp_path, capsys):
    sweep.sweep(dataclasses.replace(MLP, steps=20), 1, {}, tmp_path / "out", quiet=True)
    run = tmp_path / "out" / "seed=0"
    for path in (run / "checkpoints" / "20" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:5])
    assert sweep.sweep(MLP, 1, {}, tmp_path / "out")
    assert "20 cannot be read" in capsys.readouterr().out
    assert (run / "checkpoints" / "20.unreadable").is_dir()
    sweep.sweep(MLP, 1, {}, tmp_path / "whole", quiet=True)
    assert stands(tmp_path / "out") == stands(tmp_path / "whole")
