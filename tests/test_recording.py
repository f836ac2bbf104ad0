"""What a run records: the same however it was cut, never less than before, and not hindered by what lies around."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxgan import config as cfg
from jaxgan.evaluate import diversity
from jaxgan.run import build, checkpoint, history, metrics, recording, sweep, training
from jaxgan.run.recording import Recorder
from jaxgan.support import images

CONFIG = cfg.Config(
    data="ring",
    generator=cfg.MLPGenerator(widths=(8,)),
    discriminator=cfg.MLPDiscriminator(widths=(8,)),
    latent_size=2,
    batch_size=8,
    steps=12,
    log_every=1,
    sample_every=4,
    checkpoint_every=4,
)


def train(run, **fields):
    assert training.train(dataclasses.replace(CONFIG, **fields), run, quiet=True)
    return run


def looks(run):
    return [line["step"] for line in metrics.read(run / "metrics.jsonl") if "diagnosis" in line]


def without_record(run):
    """As checkpoints were before there were records."""
    for path in (run / "checkpoints").glob("*/_CHECKPOINT_METADATA"):
        saved = json.loads(path.read_text())
        assert saved["custom_metadata"].pop("record")
        path.write_text(json.dumps(saved))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "unbroken")


@pytest.mark.parametrize("before", [False, True], ids=["now", "before there were records"])
def test_an_extended_run_has_the_lines_of_an_unbroken_one(before, unbroken, tmp_path):
    run = train(tmp_path / "run", steps=6)
    assert looks(run) == [4, 6]
    train(run, steps=6)  # Finished: stays as it is.
    assert looks(run) == [4, 6]
    if before:
        without_record(run)
        train(run, steps=6)
        assert looks(run) == [4, 6]
    for steps in (7, 12):
        train(run, steps=steps)
    assert (run / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    assert checkpoint.record(run) == checkpoint.record(unbroken)


def test_lines_have_the_last_penalty_that_was_taken_however_a_run_is_cut(tmp_path):
    lazy = {"r1": 1.0, "penalty_every": 4, "log_every": 3, "sample_every": 12, "checkpoint_every": 12}
    run = train(tmp_path / "unbroken", **lazy, loss="hinge")
    lines = [line for line in metrics.read(run / "metrics.jsonl") if "discriminator/loss" in line]
    found = {line["step"]: line["discriminator/penalty"] for line in lines}
    assert list(found) == [3, 6, 9, 12]
    # It is taken at the steps 1, 5 and 9, none of which but the last is one of a line.
    every = train(tmp_path / "every", **lazy | {"log_every": 1}, loss="hinge")
    by_step = {line["step"]: line for line in metrics.read(every / "metrics.jsonl") if "discriminator/loss" in line}
    taken = {step: by_step[step]["discriminator/penalty"] for step in (1, 5, 9)}
    assert len(set(taken.values())) == 3
    assert min(taken.values()) > 0
    assert found == {3: taken[1], 6: taken[5], 9: taken[9], 12: taken[9]}
    assert [by_step[step]["discriminator/penalty"] for step in (2, 3, 4, 6)] == [taken[1]] * 3 + [taken[5]]
    cut = tmp_path / "cut"
    for steps in (1, 5, 7, 12):
        train(cut, **lazy | {"steps": steps}, loss="hinge")
    assert (cut / "metrics.jsonl").read_text() == (run / "metrics.jsonl").read_text()
    assert checkpoint.record(cut) == checkpoint.record(run)
    assert history.read(cut / "metrics.jsonl").curves["discriminator/penalty"].steps == [3, 6, 9, 12]


def test_a_mark_is_of_what_a_longer_run_would_have(unbroken, tmp_path):
    mark = checkpoint.record(unbroken)
    assert mark is not None
    assert mark["offset"] == (unbroken / "metrics.jsonl").stat().st_size
    assert mark["history"] == history.read(unbroken / "metrics.jsonl").to_json()
    run = train(tmp_path / "run", steps=6)
    mark = checkpoint.record(run)
    assert mark is not None
    *lines, extra = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert mark["offset"] == sum(map(len, lines))
    assert json.loads(extra)["step"] == 6
    assert mark["history"]["looks"] == 1
    assert history.read(run / "metrics.jsonl", mark).looks == 2


def test_another_sample_every_deletes_nothing(tmp_path):
    run = train(tmp_path / "run", steps=16)
    train(run, steps=24, sample_every=6)
    assert looks(run) == [4, 8, 12, 16, 18, 24]
    train(run, steps=26, sample_every=5)
    assert looks(run) == [4, 8, 12, 16, 18, 24, 25, 26]


SCORES = {4: 0.2, 8: 0.3, 10: 0.9, 12: 0.5, 16: 0.6, 20: 0.1, 24: 0.95}


@pytest.fixture
def scripted(monkeypatch):
    """Looks that find the coverage of `SCORES`."""
    now, look, compare = [0], Recorder.look, diversity.compare
    monkeypatch.setattr(Recorder, "look", lambda *args: now.append(args[2]) or look(*args))
    found = lambda *args: compare(*args) | {"coverage": np.float32(SCORES[now[-1]])}  # noqa: E731
    monkeypatch.setattr(recording.diversity, "compare", found)


def test_the_best_never_gets_worse(scripted, tmp_path):
    """Step 10 is looked at only because it was the last; a longer run has no such look, and keeps that state."""
    best = {"best": "diversity/coverage", "sample_every": 4}
    unbroken = train(tmp_path / "unbroken", steps=20, **best)
    assert checkpoint.steps(unbroken, best=True) == [16]
    run = train(tmp_path / "run", steps=10, **best)
    assert checkpoint.steps(run, best=True) == [10]
    train(run, steps=20, **best)
    assert checkpoint.steps(run, best=True) == [10]
    record = checkpoint.record(run, best=True)
    assert record == {"best": "diversity/coverage", "score": pytest.approx(0.9)}
    assert (run / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    assert checkpoint.record(run) == checkpoint.record(unbroken)  # Patience counts alike.
    train(run, steps=24, **best)
    assert checkpoint.steps(run, best=True) == [24]


def test_the_best_from_before_there_were_records_stays_too(scripted, tmp_path):
    best = {"best": "diversity/coverage", "sample_every": 4}
    run = train(tmp_path / "run", steps=10, **best)
    without_record(run)
    for path in (run / "best").glob("*/_CHECKPOINT_METADATA"):
        path.write_text(path.read_text().replace('"record"', '"other"'))
    assert checkpoint.record(run, best=True) is None
    train(run, steps=20, **best)
    assert checkpoint.steps(run, best=True) == [10]


def test_a_score_that_is_no_number_is_never_the_best(scripted, tmp_path, monkeypatch):
    monkeypatch.setitem(SCORES, 4, float("nan"))
    monkeypatch.setitem(SCORES, 12, float("inf"))
    run = train(tmp_path / "run", steps=12, best="diversity/coverage", patience=2)
    assert looks(run) == [4, 8, 12]
    assert checkpoint.steps(run, best=True) == [8]


@pytest.mark.parametrize("before", [False, True], ids=["now", "before there were records"])
def test_a_sweeps_table_is_of_all_lines(before, tmp_path, capsys):
    config = dataclasses.replace(CONFIG, steps=6)
    assert sweep.sweep(config, 2, {}, tmp_path, quiet=True)
    table = capsys.readouterr().out
    runs = [tmp_path / f"seed={seed}" for seed in (0, 1)]
    last = [next(line for line in reversed(metrics.read(run / "metrics.jsonl")) if "modes/kl" in line) for run in runs]
    assert [line["step"] for line in last] == [6, 6]
    found = np.array([line["modes/kl"] for line in last])
    assert f"{np.median(found):.3g} ({found.min():.3g} to {found.max():.3g})" in table
    if before:
        for run in runs:
            without_record(run)
    assert sweep.sweep(config, 2, {}, tmp_path, quiet=True)
    assert capsys.readouterr().out == table
    # Going on drops the looks of an end that was none.
    sweep.sweep(dataclasses.replace(config, steps=8), 2, {}, tmp_path, quiet=True)
    assert [looks(run) for run in runs] == [[4, 8]] * 2


def recorder(run, **fields):
    config = dataclasses.replace(CONFIG, **fields)
    source = build.source(config)
    return Recorder(run, build.experiment(config, source.shape, source.classes), source, 0)


def test_the_animation_is_in_the_order_of_steps_and_of_whole_sheets_alone(tmp_path):
    for step, grey in ((1_000_200, 150), (999_800, 50), (1_000_000, 100)):
        images.save(tmp_path / "samples" / f"{step}.png", np.full((64, 64, 1), grey, np.uint8))
    sheet = tmp_path / "samples" / "999800.png"
    (tmp_path / "samples" / "000005.png").write_bytes(sheet.read_bytes()[:60])
    (tmp_path / "samples" / "000006.png").write_text("no picture")
    Image.new("I;16", (64, 64)).save(tmp_path / "samples" / "000007.png")
    shutil.copy(sheet, tmp_path / "samples" / "notes.png")
    shutil.copy(sheet, tmp_path / "samples" / "2000000 copy.png")
    with recorder(tmp_path) as opened:
        opened.finish()
    with Image.open(tmp_path / "samples.gif") as animation:
        greys = [int(np.asarray(frame.convert("L")).mean()) for frame in ImageSequence.Iterator(animation)]
    assert greys == [50, 100, 150]


def test_an_end_reads_no_line_and_sixty_sheets(tmp_path, monkeypatch):
    for step in range(1000):
        images.save(tmp_path / "samples" / f"{step:06}.png", np.full((8, 8, 1), step % 256, np.uint8))
    loaded = []
    load = images.load
    monkeypatch.setattr(images, "load", lambda path: loaded.append(path) or load(path))
    with recorder(tmp_path) as opened:
        monkeypatch.setattr(metrics, "_parsed", None)
        opened.finish()
    assert 50 <= len(loaded) <= 60


def test_data_that_do_not_vary_cannot_be_varied_less(key):
    flat = jnp.full((64, 6, 6, 1), 0.3)
    for fake in (flat, jax.random.normal(key, flat.shape)):
        found = diversity.compare(flat, fake)
        assert [float(found[name]) for name in ("pixels", "features")] == [1, 1]
    assert all(
        np.isfinite(float(value)) for value in diversity.compare(jnp.zeros((64, 2)), flat[..., 0, :2, 0]).values()
    )
