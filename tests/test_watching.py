"""Samples that are measured while a run trains: the figures of `jaxgan evaluate`, however a run is cut."""

import dataclasses
import json

import numpy as np
import pytest

from jaxgan import config as cfg
from jaxgan.cli import main
from jaxgan.evaluate import features, report
from jaxgan.run import checkpoint, directory, metrics, networks, sweep, training
from jaxgan.support.errors import UserError

CONFIG = cfg.Config(
    data="mnist",
    generator=cfg.MLPGenerator(widths=(8,)),
    discriminator=cfg.MLPDiscriminator(widths=(8,)),
    latent_size=4,
    batch_size=16,
    steps=6,
    log_every=1,
    sample_every=3,
    checkpoint_every=3,
    evaluate_every=2,
    evaluate_count=40,
    evaluate_features="vgg16:relu1_2",
    best="frechet",
)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache of features of these tests alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def train(run, **fields):
    assert training.train(dataclasses.replace(CONFIG, **fields), run, quiet=True)
    return run


def measured(run):
    return [line for line in metrics.lines(run / "metrics.jsonl") if "evaluate/frechet" in line]


@pytest.fixture(scope="module")
def unbroken(cache, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "unbroken")


def test_figures_are_those_of_evaluate(unbroken, cache):
    lines = measured(unbroken)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[-1].keys() == {"step", *(f"evaluate/{name}" for name in report.WATCHED)}
    assert len(list((cache / "jaxgan" / "features").iterdir())) == 1  # Of the real pictures.
    trained = directory.read(unbroken)
    options = report.Options(count=40, measures=report.WATCHED)
    found = report.judge_run(unbroken, trained, features.load("vgg16:relu1_2"), options)
    for name in report.WATCHED:
        value = found.measures[name]
        assert value is not None
        np.testing.assert_allclose(lines[-1][f"evaluate/{name}"], value.value, rtol=1e-6)
    assert (unbroken / "measures.png").is_file()


def test_a_run_is_measured_alike_however_it_is_cut(unbroken, tmp_path):
    run = tmp_path / "run"
    for steps in (1, 3, 5, 6):
        train(run, steps=steps)
    assert (run / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    assert checkpoint.record(run) == checkpoint.record(unbroken)
    digests = [networks.digest(directory.read(path).state) for path in (run, unbroken)]
    assert digests[0] == digests[1]
    # And measuring changes nothing.
    plain = train(tmp_path / "plain", evaluate_every=0, best="")
    assert networks.digest(directory.read(plain).state) == digests[0]
    assert not measured(plain)
    assert not (plain / "measures.png").exists()


def test_the_best_is_kept_and_ends_a_run_that_gets_no_better(tmp_path):
    fields = {"generator": dataclasses.replace(CONFIG.generator, learning_rate=3.0), "patience": 2, "steps": 40}
    run = train(tmp_path / "run", **fields)
    lines = measured(run)
    frechet = [line["evaluate/frechet"] for line in lines]
    assert lines[-1]["step"] < 40
    first = int(np.argmin(frechet))
    assert first == len(lines) - 3
    assert checkpoint.steps(run, best=True) == [lines[first]["step"]]
    assert checkpoint.record(run, best=True) == {"best": "evaluate/frechet", "score": frechet[first]}


def test_members_of_a_sweep_are_measured(tmp_path, capsys):
    assert sweep.sweep(dataclasses.replace(CONFIG, steps=4), 2, {}, tmp_path / "sweep")
    shown = capsys.readouterr().out
    assert "| Frechet" in shown
    assert ", frechet " in shown
    runs = [tmp_path / "sweep" / f"seed={seed}" for seed in (0, 1)]
    assert [[line["step"] for line in measured(run)] for run in runs] == [[2, 4], [2, 4]]
    values = [measured(run)[-1]["evaluate/frechet"] for run in runs]
    assert values[0] != values[1]
    assert all(checkpoint.record(run, best=True) for run in runs)


def test_it_says_what_was_measured_and_how_long_it_took(tmp_path, capsys):
    assert training.train(dataclasses.replace(CONFIG, steps=2), tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step 2/2")]
    value = measured(tmp_path / "run")[0]["evaluate/frechet"]
    assert f"frechet {value:.4g} (measured in " in line


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"evaluate_every": 0}, "best: frechet needs measurements; set evaluate_every"),
        ({"data": "ring", "best": ""}, "evaluate_every: ring has no pictures to measure samples against; see best"),
        ({"evaluate_count": 1}, "evaluate_count: input should be greater than or equal to 2 (it is 1)"),
    ],
)
def test_what_cannot_be_measured_is_refused(fields, message):
    with pytest.raises(UserError) as error:
        cfg.validate(dataclasses.replace(CONFIG, **fields), "command line")
    assert str(error.value) == f"command line: {message}"


def test_features_that_are_not_there_are_said_before_training(tmp_path, capsys):
    for name, words in (
        ("resnet", "--evaluate-features resnet: unknown"),
        ("inception", "needs --evaluate-weights FILE"),
    ):
        with pytest.raises(SystemExit) as error:
            main(
                ["train", "mnist_fc", "--evaluate-every", "5", "--evaluate-features", name, "--out", f"{tmp_path}/run"]
            )
        assert error.value.code == 2
        assert words in capsys.readouterr().err
    assert not directory.is_run(tmp_path / "run")


def test_a_run_keeps_the_features_it_was_measured_in(unbroken, tmp_path):
    plain = train(tmp_path / "run", evaluate_every=0, best="", steps=2)
    train(plain, steps=4, evaluate_features="vgg16:relu1_1")  # It had none.
    for changed in ({"evaluate_features": "vgg16:relu2_1"}, {"evaluate_count": 50}):
        with pytest.raises(UserError, match="made by another config: evaluate_"):
            train(plain, steps=4, **{"evaluate_features": "vgg16:relu1_1"} | changed)
    assert json.loads((unbroken / "config.json").read_text())["evaluate_features"] == "vgg16:relu1_2"
