"""Mode coverage against exact samplers, whose figures are known, and against cases that can be counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgan.data import StackedMNIST, load_mnist, mixture
from jaxgan.evaluate import classifier, modes


@pytest.mark.parametrize(("mix", "of", "kl"), [(mixture.RING, 8, 0.0015), (mixture.GRID, 25, 0.0048)])
def test_an_exact_sampler_reaches_the_known_ceiling(mix, of, kl):
    judged = [modes.judge_points(mixture.draw(mix, 2500, seed), mix) for seed in range(1, 21)]
    assert {(j.modes, j.of, j.count) for j in judged} == {(of, of, 2500)}
    # 1 - exp(-3^2 / 2), the share of a plane Gaussian within 3 sigma; (modes - 1) / (2 count), the bias of KL.
    assert np.mean([j.high_quality for j in judged]) == pytest.approx(1 - np.exp(-4.5), abs=0.002)
    assert np.mean([j.kl for j in judged]) == pytest.approx((of - 1) / 5000, rel=0.3)
    assert np.mean([j.kl for j in judged]) == pytest.approx(kl, rel=0.3)


def test_collapse_and_misses_by_hand():
    one = np.tile([1.0, 0.0], (100, 1))
    judged = modes.judge_points(one, mixture.RING)
    assert (judged.modes, judged.high_quality) == (1, 1)
    assert judged.kl == pytest.approx(np.log(8))
    # Beyond 3 sigma a sample is of no mode.
    edge = one + np.repeat([[0.029, 0], [0.031, 0]], 50, axis=0)
    judged = modes.judge_points(edge, mixture.RING)
    assert (judged.modes, judged.high_quality) == (1, 0.5)
    nowhere = modes.judge_points(np.zeros((10, 2)), mixture.RING)
    assert (nowhere.modes, nowhere.high_quality, nowhere.kl) == (0, 0, np.log(8))
    # Twice as many in one mode as in another.
    uneven = np.repeat([[1.0, 0.0], [-1.0, 0.0]], [200, 100], axis=0)
    expected = 2 / 3 * np.log(8 * 2 / 3) + 1 / 3 * np.log(8 / 3)
    assert modes.judge_points(uneven, mixture.RING).kl == pytest.approx(expected)


@given(st.integers(0, 10**6), st.integers(1, 300))
def test_coverage_is_within_its_bounds_and_blind_to_order(seed, count):
    random = np.random.default_rng(seed)
    samples = np.array(mixture.GRID.centres)[random.integers(25, size=count)] + 0.1 * random.normal(size=(count, 2))
    judged = modes.judge_points(samples, mixture.GRID)
    assert 0 <= judged.high_quality <= 1
    assert judged.modes <= min(25, round(judged.high_quality * count))
    assert judged.kl >= 0
    assert modes.judge_points(random.permutation(samples), mixture.GRID) == judged


def test_floor_of_stacked_digits():
    """.0193 at 26,000 samples and .0100 at 50,000 for 1000 equal modes; unequal ones add their own KL."""
    equal = np.full(1000, 1e-3)
    assert modes.floor(equal, 26_000) == pytest.approx(0.0193, abs=2e-4)
    assert modes.floor(equal, 50_000) == pytest.approx(0.0100, abs=2e-4)
    real = modes.stacked_modes()
    assert real.sum() == pytest.approx(1)
    unequal = np.sum(real * np.log(1000 * real))
    assert 0.003 < unequal < 0.006
    assert modes.floor(real, 26_000) == pytest.approx(0.0193 + unequal, abs=4e-4)


def test_the_classifier_is_as_good_as_it_says():
    """9,923 of all 10,000 (benchmarks/mnist_classifier.py); of the first 2,000, from the harder half, 1,974."""
    pictures, labels = load_mnist("test")
    shares = classifier.probabilities(pictures[:2000])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (shares.argmax(axis=1) == labels[:2000]).sum() == pytest.approx(1974, abs=1)


def test_judgements_do_not_depend_on_how_many_are_judged_at_once():
    pictures = load_mnist("test")[0][:501]
    whole = classifier.probabilities(pictures)
    assert whole.shape == (501, 10)
    for part in (slice(0, 3), slice(499, 501)):
        np.testing.assert_allclose(classifier.probabilities(pictures[part]), whole[part], rtol=1e-4, atol=1e-6)


def test_stacked_digits_are_judged_by_their_three_channels():
    pictures, labels = load_mnist("test")
    chosen = [int(np.flatnonzero(labels == digit)[3]) for digit in range(10)]
    stack = np.stack(
        [np.concatenate([pictures[chosen[d]] for d in (a, b, 7)], axis=-1) for a in (1, 2) for b in (3, 4)]
    )
    judged = modes.judge_stacked(stack)
    assert (judged.modes, judged.of, judged.count) == (4, 1000, 4)
    # From equal modes, as PacGAN's code has it, not from MNIST's frequencies.
    assert judged.kl == pytest.approx(np.log(1000 / 4), rel=1e-6)


def test_real_stacked_digits_reach_all_they_can():
    digits = load_mnist("test")[0]
    source = StackedMNIST(digits, 500, seed=0)
    pictures = np.concatenate([digits[source[step]][..., 0].transpose(0, 2, 3, 1) for step in range(4)])
    judged = modes.judge_stacked(pictures)
    exact = modes.floor(modes.stacked_modes(), 2000)
    assert judged.kl == pytest.approx(exact, rel=0.1)
    assert judged.high_quality > 0.9


def test_stacked_source_is_random_access_and_uses_digits_equally():
    digits = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
    source = StackedMNIST(digits, 10, seed=3)
    assert source.shape == (2, 2, 3)
    epoch = np.concatenate([source[step] for step in range(4)])
    assert all((np.bincount(epoch[:, channel], minlength=40) == 1).all() for channel in range(3))
    assert not (epoch[:, 0] == epoch[:, 1]).all()
    np.testing.assert_array_equal(source[2], StackedMNIST(digits, 10, seed=3)[2])
    blocks = [StackedMNIST(digits, 10, 3, part, 2)[2] for part in range(2)]
    np.testing.assert_array_equal(np.concatenate(blocks), source[2])
    image = np.asarray(source.batch(source.resident, source[0])["image"])
    assert image.shape == (10, 2, 2, 3)
    np.testing.assert_allclose(image[:, 0, 0], digits[source[0]][:, :, 0, 0, 0] / 127.5 - 1, rtol=1e-5, atol=1e-6)


def test_points_are_the_mixture():
    points = mixture.draw(mixture.GRID, 50_000, seed=1)
    assert points.dtype == np.float32
    distance = np.linalg.norm(points[:, None] - np.array(mixture.GRID.centres), axis=-1)
    counts = np.bincount(distance.argmin(axis=1))
    assert counts.min() > 0.9 * 2000
    assert np.sqrt((distance.min(axis=1) ** 2).mean() / 2) == pytest.approx(0.05, rel=0.02)
    np.testing.assert_array_equal(points[:5], mixture.draw(mixture.GRID, 50_000, seed=1)[:5])
