"""Runs end to end: resumed exactly however they were stopped, and refused clearly where they cannot go on."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.run import checkpoint, directory, metrics, networks, parallel, programs, training
from jaxgan.support.errors import NonFiniteError, UserError

SMALL = cfg.Config(
    generator=cfg.MLPGenerator(widths=(16,)),
    discriminator=cfg.MLPDiscriminator(widths=(16,)),
    latent_size=8,
    batch_size=16,
    steps=30,
    log_every=1,
    sample_every=10,
    checkpoint_every=10,
)
SMALL_FLAGS = [
    "--generator.widths=16",
    "--discriminator.widths=16",
    "--latent-size=8",
    "--batch-size=16",
    "--log-every=1",
    "--checkpoint-every=10",
]


def changed(**fields):
    return dataclasses.replace(SMALL, **fields)


def outcome(run: Path):
    """All that must not depend on how a run was interrupted."""
    return networks.digest(directory.read(run).state), (run / "metrics.jsonl").read_text()


def steps_of(run: Path):
    """The lines of the training steps, without those of the looks."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "discriminator/loss" in line]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    training.train(SMALL, run, quiet=True)
    return run


def test_a_run_leaves_what_it_says(unbroken, capsys):
    lines = steps_of(unbroken)
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    looks = [line for line in metrics.read(unbroken / "metrics.jsonl") if "diagnosis" in line]
    assert [line["step"] for line in looks] == [10, 20, 30]
    with Image.open(unbroken / "samples.gif") as animation:
        assert getattr(animation, "n_frames", 1) == 3
    assert sorted(path.name for path in (unbroken / "samples").iterdir()) == [f"{s:06}.png" for s in (10, 20, 30)]
    with Image.open(unbroken / "samples" / "000030.png") as sheet:
        assert sheet.size[0] > 400
    with Image.open(unbroken / "losses.png") as plot:
        assert plot.width > 800
    assert list((unbroken / "tensorboard").iterdir())
    assert checkpoint.steps(unbroken) == [20, 30]  # The last two.
    assert directory.read_config(unbroken) == SMALL


def test_the_same_seed_gives_the_same_numbers_another_seed_others(unbroken, tmp_path):
    training.train(SMALL, tmp_path / "again", quiet=True)
    assert outcome(tmp_path / "again") == outcome(unbroken)
    training.train(changed(seed=1), tmp_path / "other", quiet=True)
    assert outcome(tmp_path / "other") != outcome(unbroken)


def test_neither_dispatches_nor_intervals_change_a_bit(unbroken, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "DISPATCH_SECONDS", 0.0)  # A step a dispatch.
    training.train(changed(sample_every=7, checkpoint_every=4), tmp_path / "run", quiet=True)
    assert outcome(tmp_path / "run")[0] == outcome(unbroken)[0]
    assert steps_of(tmp_path / "run") == steps_of(unbroken)
    looks = [line["step"] for line in metrics.read(tmp_path / "run" / "metrics.jsonl") if "diagnosis" in line]
    assert looks == [7, 14, 21, 28, 30]


def test_a_finished_run_is_extended_exactly(unbroken, tmp_path):
    training.train(changed(steps=13), tmp_path / "run", quiet=True)
    training.train(SMALL, tmp_path / "run", quiet=True)
    assert outcome(tmp_path / "run") == outcome(unbroken)


def test_a_finished_run_stays_as_it_is(unbroken, capsys):
    before = outcome(unbroken)
    training.train(SMALL, unbroken)
    assert "is at step 30: finished" in capsys.readouterr().out
    assert outcome(unbroken) == before


def test_the_loop_compiles_once(tmp_path, monkeypatch):
    traces = []
    original = training.train_step.train_step
    monkeypatch.setattr(training.train_step, "train_step", lambda *arguments: traces.append(1) or original(*arguments))
    training.train(changed(sample_every=3, checkpoint_every=7), tmp_path / "run", quiet=True)
    assert len(traces) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_the_run_goes_on_exactly(number, unbroken, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "DISPATCH_SECONDS", 0.0)
    original = training.fetched

    def fetch(source, begin, end):
        for step, item in zip(range(begin, end), original(source, begin, end), strict=True):
            if step == 16:
                os.kill(os.getpid(), number)
            yield item

    monkeypatch.setattr(training, "fetched", fetch)
    run = tmp_path / "run"
    training.train(SMALL, run)
    assert f"Stopped at step 16 of 30, saved. Go on with: jaxgan train {run}" in capsys.readouterr().out
    assert checkpoint.steps(run)[-1] == 16
    monkeypatch.setattr(training, "fetched", original)
    cli.main(["train", str(run)])
    assert "from step 16" in capsys.readouterr().out
    assert outcome(run) == outcome(unbroken)


KILLS = int(os.environ.get("JAXGAN_TEST_KILLS", "3"))


def test_kill_9_loses_at_most_an_interval_and_nothing_else(tmp_path):
    def command(run):
        return [
            sys.executable,
            "-m",
            "jaxgan",
            "train",
            "mnist_fc",
            *SMALL_FLAGS,
            f"--steps={200 * KILLS}",
            f"--out={run}",
        ]

    subprocess.run([*command(tmp_path / "unbroken"), "--quiet"], check=True, capture_output=True)
    run = tmp_path / "killed"
    generator = random.Random(0)
    kills = 0
    while not (run / "losses.png").exists():
        process = subprocess.Popen(command(run), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if kills < KILLS:
            # Not before it has got anywhere: wait for a checkpoint beyond those it began with.
            begun = checkpoint.steps(run)[-1:]
            while checkpoint.steps(run)[-1:] == begun and process.poll() is None:
                time.sleep(0.01)
            time.sleep(generator.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            kills += 1
        output, _ = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGKILL), output
    assert kills == KILLS
    assert outcome(run) == outcome(tmp_path / "unbroken")


def copy(run: Path, to: Path) -> Path:
    shutil.copytree(run, to, ignore=shutil.ignore_patterns(".lock"))
    return to


def damage(step: Path) -> None:
    """Cuts every data file of a checkpoint in half."""
    files = [path for path in step.rglob("*") if path.is_file() and path.parent.name == "d"]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_truncated_checkpoint_falls_back_to_the_one_before(unbroken, tmp_path, capsys):
    run = copy(unbroken, tmp_path / "run")
    damage(run / "checkpoints" / "30")
    cli.main(["show", str(run)])
    shown = capsys.readouterr().out
    assert f"{run}/checkpoints/30 cannot be read (a file is cut short)" in shown
    assert "step 20 of 30" in shown
    training.train(SMALL, run)
    said = capsys.readouterr().out
    assert f"{run}/checkpoints/30 cannot be read (a file is cut short); set aside as 30.unreadable" in said
    assert "from step 20" in said
    assert outcome(run) == outcome(unbroken)


def test_no_readable_checkpoint_is_one_line(unbroken, tmp_path):
    run = copy(unbroken, tmp_path / "run")
    for step in (20, 30):
        damage(run / "checkpoints" / str(step))
    with pytest.raises(UserError, match=f"no checkpoint can be read: {run}/checkpoints/30 .*20 .*; begin anew"):
        training.train(SMALL, run, quiet=True)


def test_a_checkpoint_without_metadata_falls_back(unbroken, tmp_path):
    run = copy(unbroken, tmp_path / "run")
    for path in (run / "checkpoints" / "30").iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    assert directory.read(run).state.step == 20


def test_another_configs_run_is_refused(unbroken, tmp_path):
    with pytest.raises(UserError, match=rf"{unbroken}: made by another config: batch_size \(16, now 8\)"):
        training.train(changed(batch_size=8), unbroken, quiet=True)
    run = copy(unbroken, tmp_path / "run")
    directory.write_config(run, changed(batch_size=8))
    with pytest.raises(UserError, match=rf"{run}/checkpoints/30: made by another config: batch_size \(16, now 8\)"):
        training.train(changed(batch_size=8), run, quiet=True)


def test_a_second_process_is_refused(unbroken):
    with directory.lock(unbroken):
        process = subprocess.run(
            [sys.executable, "-m", "jaxgan", "train", str(unbroken), "--steps=40"], capture_output=True, text=True
        )
    assert process.returncode == 2
    assert process.stderr.startswith(f"jaxgan: {unbroken}: another process is training in it")
    assert process.stderr.count("\n") == 1


def test_non_finite_values_stop_the_run_and_keep_the_last_good_checkpoint(tmp_path, monkeypatch):
    run = tmp_path / "run"
    training.train(changed(steps=20), run, quiet=True)
    original = training.train_step.train_step

    def poisoned(game, state, batch, key):
        state, metrics = original(game, state, batch, key)
        bad = state.step >= 25
        return state, metrics | {
            "generator/loss": jax.numpy.where(bad, jax.numpy.nan, metrics["generator/loss"]),
            "generator/gradient_norm": jax.numpy.where(bad, jax.numpy.inf, metrics["generator/gradient_norm"]),
        }

    monkeypatch.setattr(training.train_step, "train_step", poisoned)
    jax.clear_caches()
    with pytest.raises(
        NonFiniteError, match=r"step 25: the generator's loss is NaN.*last good checkpoint is step 20"
    ) as e:
        training.train(SMALL, run, quiet=True)
    assert str(e.value).endswith(f"what you try begins there with: jaxgan train {run} --from {run} --out {run}_2")
    assert checkpoint.steps(run) == [10, 20]
    jax.clear_caches()


def test_a_learning_rate_that_diverges_ends_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(
            ["train", "mnist_fc", *SMALL_FLAGS, "--generator.learning-rate=1e30", "--steps=50", f"--out={tmp_path}"]
        )
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"jaxgan: {tmp_path}: step ")
    assert "learning-rate" in error
    assert error.count("\n") == 1


def test_every_nth_checkpoint_is_kept(tmp_path):
    training.train(changed(checkpoint_every=5, keep_last=1, keep_every=10), tmp_path / "run", quiet=True)
    assert checkpoint.steps(tmp_path / "run") == [10, 20, 30]


def test_saved_states_survive_donation(unbroken, key):
    """Orbax writes in the background; the state that was saved is then donated to the next steps."""
    config = directory.read_config(unbroken)
    source = training.build.source(config)
    plan = training.build.experiment(changed(keep_last=100), source.shape, source.classes)
    placement = parallel.place()
    state = plan.initial_state(plan.stages[0], placement)
    compiled = programs.compile_steps(placement, plan.stages[0].game, source, state, key)
    run = unbroken.parent / "donated"
    expected = {}
    with checkpoint.open_for_saving(run, plan) as saver:
        for step in range(10):
            expected[step] = networks.digest(state)
            saver.save(state)
            state, _ = compiled(state, source.resident, programs.gather_items(source, step, 1), jnp.int32(1), key)
    directory.write_config(run, config)
    directory.check_data(run, source)
    for step in reversed(range(10)):
        assert networks.digest(directory.read(run).state) == expected[step]
        shutil.rmtree(checkpoint.folder(run) / str(step))


def test_checkpoints_leave_no_threads_behind(unbroken, tmp_path):
    trained = directory.read(unbroken)
    state, plan = trained.state, dataclasses.replace(trained.experiment, keep_last=1)
    threads = []
    with checkpoint.open_for_saving(tmp_path, plan) as saver:
        for step in range(30):
            saver.save(dataclasses.replace(state, step=jnp.int32(step)))
            threads.append(len(list(Path("/proc/self/task").iterdir())))
    assert threads[-1] <= threads[9] + 5  # One more a save it used to be.
    assert checkpoint.steps(tmp_path) == [29]


def test_the_best_checkpoint_is_kept_and_training_stops_when_it_gets_no_better(tmp_path, capsys):
    """Also when the run is cut in between: how many looks have passed is read from its metrics."""
    config = changed(data="ring", steps=400, best="modes/kl", patience=3)
    run, cut = tmp_path / "run", tmp_path / "cut"
    assert training.train(config, run, quiet=True)
    assert "Stopped early at step" in capsys.readouterr().out
    looks = [line for line in metrics.read(run / "metrics.jsonl") if "modes/kl" in line]
    kl = [line["modes/kl"] for line in looks]
    best = int(np.argmin(kl))
    assert len(looks) == best + 1 + 3
    assert checkpoint.steps(run, best=True) == [looks[best]["step"]]
    assert directory.read(run, best=True).state.step == looks[best]["step"]
    assert directory.read(run).state.step == looks[-1]["step"]
    # Asked to go on, it says so again and leaves the run as it is.
    before = outcome(run)
    assert training.train(config, run, quiet=True)
    assert outcome(run) == before
    training.train(dataclasses.replace(config, steps=looks[-2]["step"]), cut, quiet=True)
    training.train(config, cut, quiet=True)
    assert outcome(cut) == before
    assert checkpoint.steps(cut, best=True) == checkpoint.steps(run, best=True)
    training.train(changed(steps=10), tmp_path / "plain", quiet=True)
    with pytest.raises(UserError, match="has no best checkpoint; train with --best"):
        directory.read(tmp_path / "plain", best=True)


def test_what_stabilisers_remember_is_resumed_exactly(tmp_path):
    """ADA's probability, smoothed losses, skipped updates, spectral normalisation's vectors."""
    config = changed(
        discriminator=dataclasses.replace(SMALL.discriminator, norm="spectral", clip_gradient=1.0, decay_steps=40),
        augment=("translation", "cutout"),
        augment_probability=0.2,
        ada_target=0.1,
        ada_images=1000,
        skip_discriminator_below=1.2,
        instance_noise=0.1,
        instance_noise_steps=25,
        noisy_labels=0.1,
        pack=2,
        penalty_every=3,
        r1=0.1,
    )
    training.train(config, tmp_path / "unbroken", quiet=True)
    training.train(dataclasses.replace(config, steps=10), tmp_path / "cut", quiet=True)
    training.train(config, tmp_path / "cut", quiet=True)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "unbroken")
    state = directory.read(tmp_path / "cut").state
    assert state.augment != np.float32(0.2)
    assert np.isfinite(state.discriminator.loss)


def test_clipped_weights_stay_within(tmp_path):
    discriminator = dataclasses.replace(SMALL.discriminator, clip_weights=0.01)
    training.train(changed(discriminator=discriminator, loss="wasserstein"), tmp_path, quiet=True)
    state = directory.read(tmp_path).state
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.discriminator.params)) <= 0.01 + 1e-8
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.generator.params)) > 0.02
