"""Diagnosis: games that are made to fail in each way, and healthy ones of every loss, really played."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import config as cfg
from jaxgan.evaluate import diversity
from jaxgan.run import diagnosis, metrics, plots, training
from jaxgan.run.sweep import members, sweep


def game(rate_g, rate_d, beta1=0.5, **fields):
    return cfg.Config(
        generator=cfg.MLPGenerator(widths=(32, 32), learning_rate=rate_g, beta1=beta1),
        discriminator=cfg.MLPDiscriminator(widths=(32, 32), learning_rate=rate_d, beta1=beta1),
        **({"data": "ring", "latent_size": 2, "batch_size": 64, "steps": 1500, "log_every": 10} | fields),
        sample_every=100,
        checkpoint_every=5000,
    )


FAILING = {
    # The saturating loss against a discriminator that is two hundred times as quick: the gradient vanishes.
    "discriminator has won": game(1e-5, 2e-3, data="mnist", loss="minimax"),
    "generator has won": game(1e-3, 1e-6, data="mnist"),
    # A generator with momentum and five times as quick as the discriminator runs from mode to mode.
    "mode collapse": game(5e-3, 1e-3, beta1=0.9),
    # Nothing bounds the slope that the Wasserstein loss wants.
    "divergence": game(1e-3, 1e-2, data="mnist", loss="wasserstein", steps=2000),
}


@pytest.mark.parametrize("state", FAILING)
def test_a_failing_game_is_told_for_what_it_is(state, tmp_path, capsys):
    training.train(FAILING[state], tmp_path)
    looks = [line for line in metrics.read(tmp_path / "metrics.jsonl") if "diagnosis" in line]
    said = [line["diagnosis"] for line in looks]
    assert said[: diagnosis.LOOKS - 1] == ["starting"] * (diagnosis.LOOKS - 1)
    assert said[-3:] == [state] * 3
    shown = capsys.readouterr().out
    assert f"  {state}\n" in shown  # In the progress lines.
    closing = next(line for line in shown.splitlines() if line.startswith(f"{state}: "))
    assert any(character.isdigit() for character in closing)  # The evidence,
    assert "--" in closing  # and what to try.
    with Image.open(tmp_path / "losses.png") as plot:
        pixels = np.asarray(plot.convert("RGB")).reshape(-1, 3).astype(int)
    # A shaded span, and not only the lines, in the state's colour.
    tint = {"discriminator has won": 2, "divergence": 0, "generator has won": 0, "mode collapse": 2}[state]
    pale = (pixels.min(axis=1) > 190) & (pixels.max(axis=1) - pixels.min(axis=1) > 8)
    assert (pale & (pixels.argmax(axis=1) == tint)).mean() > 0.05


HEALTHY = {
    "non_saturating": game(1e-3, 1e-3, r1=0.1),
    "hinge": game(1e-3, 1e-3, r1=0.1, loss="hinge"),
    "wasserstein": game(1e-3, 1e-3, gradient_penalty=1.0, discriminator_updates=2, loss="wasserstein"),
    "relativistic_paired": game(1e-3, 1e-3, r1=0.05, r2=0.05, loss="relativistic_paired"),
}


@pytest.mark.parametrize("loss", HEALTHY)
def test_ten_healthy_seeds_raise_no_alarm(loss, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "points", lambda *_: np.zeros((8, 8, 3), np.uint8))  # Half of the time.
    config = dataclasses.replace(HEALTHY[loss], steps=800)
    sweep(config, 10, {}, tmp_path, quiet=True)
    for member in members(config, 10, {}, tmp_path):
        said = [line["diagnosis"] for line in metrics.read(member.run / "metrics.jsonl") if "diagnosis" in line]
        assert said == ["starting"] * (diagnosis.LOOKS - 1) + ["healthy"] * (9 - diagnosis.LOOKS), member.run


def test_variety_by_hand(key):
    real = jax.random.normal(key, (64, 6, 6, 1))
    same = diversity.compare(real, real)
    np.testing.assert_allclose([same["pixels"], same["features"]], 1, rtol=1e-5)
    assert same["coverage"] == 1
    half = diversity.compare(real, 0.5 * real)
    assert float(half["pixels"]) == pytest.approx(0.5, rel=1e-4)
    one = diversity.compare(real, real[:1].repeat(64, 0))
    assert [float(one[name]) for name in ("pixels", "features")] == pytest.approx([0, 0], abs=1e-4)
    assert float(one["coverage"]) <= 10 / 64


def test_coverage_of_equals_and_of_a_missing_half():
    random = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0]])
    real, other = (centres[random.integers(2, size=256)] + random.normal(size=(256, 2)) for _ in range(2))
    assert float(diversity.compare(real, other)["coverage"]) == pytest.approx(0.97, abs=0.03)
    left = random.normal(size=(256, 2))
    assert float(diversity.compare(real, left)["coverage"]) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("size", [2, 40])
def test_coverage_equals_that_of_all_pairs(size):
    random = np.random.default_rng(0)
    centres = 100 + 10 * random.normal(size=(8, size))  # Clusters that are narrow beside their distances.
    real = (centres[random.integers(8, size=128)] + random.normal(size=(128, size))).astype(np.float32)
    fake = (centres[random.integers(8, size=128)] + random.normal(size=(128, size))).astype(np.float32)
    exact = real[:, None].astype(np.float64)
    among, between = np.linalg.norm(exact - real, axis=-1), np.linalg.norm(exact - fake, axis=-1)
    expected = np.mean(between.min(axis=1) < np.sort(among, axis=1)[:, diversity.NEIGHBOURS])
    assert 0.5 < expected < 1
    assert float(diversity.compare(real, fake)["coverage"]) == pytest.approx(expected, abs=1e-6)


def test_pairwise_distances_equal_those_of_all_pairs(key):
    x = jax.random.normal(key, (20, 5))
    pairs = [np.sum((np.asarray(x[i]) - np.asarray(x[j])) ** 2) for i in range(20) for j in range(i)]
    spread = diversity.compare(x, 3 * x)["pixels"] * np.sqrt(np.mean(pairs))
    tripled = np.sqrt(np.mean([9 * pair for pair in pairs]))
    np.testing.assert_allclose(spread, tripled, rtol=1e-5)
