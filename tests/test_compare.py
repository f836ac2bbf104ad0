"""Runs side by side: the table and the picture say what the runs' own files say."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.latent import sampling
from jaxgan.run import build, clock, comparison, directory, history, metrics, training
from jaxgan.support import images

CONFIG = cfg.Config(
    data="mnist",
    generator=cfg.MLPGenerator(widths=(8,)),
    discriminator=cfg.MLPDiscriminator(widths=(8,)),
    latent_size=4,
    batch_size=8,
    steps=6,
    log_every=1,
    sample_every=2,
    checkpoint_every=3,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two trained runs; the second has metrics and times made up."""
    folder = tmp_path_factory.mktemp("runs")
    training.train(CONFIG, folder / "one", quiet=True)
    shutil.copytree(folder / "one", folder / "two")
    changed = dataclasses.replace(CONFIG, batch_size=16, seed=3)
    (folder / "two" / "config.json").write_text(cfg.to_json(changed))
    for path in (folder / "two" / "checkpoints").glob("*/_CHECKPOINT_METADATA"):
        saved = json.loads(path.read_text())
        saved["custom_metadata"] |= {"config": json.loads(cfg.to_json(changed)), "record": None}
        path.write_text(json.dumps(saved))
    lines = metrics.read(folder / "one" / "metrics.jsonl")
    lines += [{"step": 3, "evaluate/frechet": 20.0}, {"step": 6, "evaluate/frechet": 30.0}]
    lines.sort(key=lambda line: line["step"])
    (folder / "two" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    times = [(0, 0), (2, 100), (6, 4000)]
    text = "".join(json.dumps({"step": step, "seconds": seconds}) + "\n" for step, seconds in times)
    (folder / "two" / "times.jsonl").write_text(text)
    return folder / "one", folder / "two"


def test_the_table_says_how_far_how_good_and_what_differs(runs, tmp_path, capsys):
    (runs[0] / "times.jsonl").rename(tmp_path / "times.jsonl")  # As runs from before there were times.
    cli.main(["compare", *map(str, runs), "--out", str(tmp_path / "picture.png")])
    (tmp_path / "times.jsonl").rename(runs[0] / "times.jsonl")
    *table, last = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    found = {name: values for name, *values in cells}
    assert found[""] == ["one", "two"]
    assert found["step"] == ["6 of 6", "6 of 6"]
    assert found["time"] == ["-", "1 h 06 min"]
    assert found["pictures seen"] == ["48", "96"]
    assert found["Frechet"] == ["-", "30"]
    assert found["Frechet, best"] == ["-", "20 at step 3"]
    assert (found["batch_size"], found["seed"]) == (["8", "16"], ["0", "3"])
    own = metrics.last(runs[0] / "metrics.jsonl", "discriminator/loss")
    assert own is not None
    assert found["D loss"] == [f"{own['discriminator/loss']:.4g}"] * 2
    assert "latent_size" not in found
    assert str(tmp_path / "picture.png") in last
    with Image.open(tmp_path / "picture.png") as picture:
        assert min(picture.size) > 600


def test_the_picture_has_the_same_latents_and_the_runs_own_curves(runs):
    read = comparison.read(runs)
    figure = comparison.draw(read, seed=5)
    one, two, *curves = figure.axes
    assert [axes.get_title().splitlines()[0] for axes in (one, two)] == ["one", "two"]
    trained = read[0].trained
    latent = sampling.draw_latents(trained.game, jax.random.key(5), 36)
    sheet = images.grid(sampling.pictures(trained.game, trained.state.ema, latent), 6)
    for axes in (one, two):  # The two runs' parameters are the same.
        np.testing.assert_array_equal(axes.images[0].get_array(), sheet[..., 0])
    rows = [axes.get_ylabel() for axes in curves[::3]]
    assert rows == ["D loss", "G loss", "Frechet"]
    assert [axes.get_xlabel() for axes in curves[-3:]] == ["step", "time (minutes)", "pictures seen"]
    frechet = [axes.lines[-1] for axes in curves[6:]]
    assert {line.get_label() for line in frechet} == {"two"}
    assert [np.asarray(line.get_ydata()).tolist() for line in frechet] == [[20, 30]] * 3
    found = [np.asarray(line.get_xdata()).tolist() for line in frechet]
    assert found == [[3, 6], [(100 + 3900 / 4) / 60, 4000 / 60], [48, 96]]
    assert len({line.get_color() for line in curves[0].lines}) == 2


def test_points_are_drawn_among_their_modes(tmp_path):
    ring = dataclasses.replace(CONFIG, data="ring", latent_size=2, steps=2)
    training.train(ring, tmp_path / "ring", quiet=True)
    read = comparison.read([tmp_path / "ring"])
    axes = comparison.draw(read).axes[0]
    assert [len(np.asarray(drawn.get_offsets())) for drawn in axes.collections] == [8, 2000]
    assert "modes" in comparison.table(read)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "compare: name two runs or more"),
        (["one", "none"], "none: not a run"),
        (["one", "two", "--out", "x.txt"], "x.txt: unknown ending .txt"),
        (["one", "two", "--best"], "one: has no best checkpoint; train with --best"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(arguments, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs[0].parent)
    with pytest.raises(SystemExit) as error:
        cli.main(["compare", *arguments])
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_time_goes_on_where_a_run_does(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    first = clock.Clock(tmp_path, 0)
    for step, seconds in ((5, 10), (10, 20), (10, 20), (15, 31)):
        now[0] = 100 + seconds
        first.note(step)
    found = clock.read(tmp_path)
    assert found is not None
    assert [column.tolist() for column in found] == [[0, 5, 10, 15], [0, 10, 20, 31]]
    with (tmp_path / "times.jsonl").open("a") as file:
        file.write('{"step": 2')  # A kill.
    now[0] = 1000
    second = clock.Clock(tmp_path, 10, share=0.5)  # From the checkpoint of step 10.
    now[0] = 1008
    second.note(12)
    found = clock.read(tmp_path)
    assert found is not None
    assert [column.tolist() for column in found] == [[0, 5, 10, 12], [0, 10, 20, 24]]


def test_a_run_from_before_there_were_times_has_none(tmp_path):
    assert clock.read(tmp_path) is None
    clock.Clock(tmp_path, 7).note(9)
    assert clock.read(tmp_path) is None


def test_a_trained_run_has_its_times(runs):
    found = clock.read(runs[0])
    assert found is not None
    steps, seconds = found
    assert steps.tolist() == [0, 2, 3, 4, 6]
    assert (np.diff(seconds) > 0).all()


def test_pictures_of_runs_that_grow_are_counted_by_stages():
    grown = cfg.Config(
        generator=cfg.ProgressiveGenerator(),
        discriminator=cfg.ProgressiveDiscriminator(),
        grow=(10, 30),
        grow_batch_sizes=(64, 32, 16),
        discriminator_updates=2,
    )
    plan = build.experiment(grown, (16, 16, 1), 0)
    expected = [(0, 0), (4, 512), (10, 1280), (30, 2560), (31, 2592)]
    assert [(step, plan.pictures(step)) for step, _ in expected] == expected


def test_fields_in_which_configs_differ():
    other = dataclasses.replace(CONFIG, generator=cfg.DCGANGenerator(), r1=0.5)
    found = cfg.differing([CONFIG, other, CONFIG])
    assert found["r1"] == [0.0, 0.5, 0.0]
    assert found["generator.kind"] == ["mlp", "dcgan", "mlp"]
    assert found["generator.widths"][1] is None
    assert not cfg.differing([CONFIG, CONFIG])
    assert "latent_size" not in found


def test_curves_of_a_run_come_of_its_history(runs):
    (read,) = comparison.read(runs[1:])
    assert read.history.best["evaluate/frechet"] == {"step": 3, "score": 20, "since": 1}
    assert directory.read_config(runs[1]).batch_size == 16
    assert history.read(runs[1] / "metrics.jsonl").lines == 6
