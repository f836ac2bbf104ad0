from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_metrics
from PIL import Image

from jaxgan.evaluate import batches, measures, resizing
from jaxgan.evaluate import features as feature_sets
from jaxgan.evaluate.networks import dinov2, inception, lite0
from jaxgan.style import weights
from jaxgan.support.errors import UserError


@pytest.fixture(scope="module")
def recorded():
    with np.load(record_metrics.DATA) as file:
        return dict(file)


def in_range(pictures) -> Any:
    return pictures.astype(np.float32) / 127.5 - 1


def close(found, wanted):
    """Within 1e-4 of the largest value."""
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=0)


def test_measures_equal_torch_fidelitys(recorded):
    samples, real = record_metrics.features()
    np.testing.assert_allclose(measures.frechet(samples, real).value, recorded["frechet"], rtol=1e-4)
    subset = record_metrics.SUBSET
    kernel = measures.kernel_distance(samples[:subset], real[:subset])
    np.testing.assert_allclose(kernel, recorded["kernel"], atol=1e-6)
    found = measures.neighbourhoods(samples, real, manifold=record_metrics.NEIGHBOURS)
    assert abs(found["precision"].value - recorded["precision"]) < 0.5 / len(samples)
    assert abs(found["recall"].value - recorded["recall"]) < 0.5 / len(real)
    score: Any = measures.inception_score(record_metrics.logits(), record_metrics.SPLITS)
    np.testing.assert_allclose(score, [recorded["inception_score"], recorded["inception_score_spread"]], rtol=1e-4)


def test_the_frechet_distance_of_normal_features():
    """Against the formula for covariances that commute: |m - n|^2 + sum of (sqrt a - sqrt b)^2."""
    random = np.random.default_rng(0)
    base = random.normal(size=(4000, 6))
    base = (base - base.mean(axis=0)) @ np.linalg.inv(
        np.linalg.cholesky(np.cov(base, rowvar=False))
    ).T  # Exactly white.
    a, b, shift = np.array([1, 2, 3, 4, 5, 6]) / 3, np.array([2, 2, 1, 1, 4, 9]) / 3, np.array([1, 0, 0, 2, 0, 0])
    turn = np.linalg.qr(random.normal(size=(6, 6)))[0]
    first, second = (base * np.sqrt(a)) @ turn, (base * np.sqrt(b)) @ turn + shift
    expected = 5 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    np.testing.assert_allclose(measures.frechet(first, second).value, expected, rtol=1e-6)
    known = measures.Statistics(second.mean(axis=0), np.cov(second, rowvar=False))
    np.testing.assert_allclose(measures.frechet(first, known).value, expected, rtol=1e-6)
    assert abs(measures.frechet(first, first).value) < 1e-6


def test_the_spread_of_a_frechet_distance_is_that_of_other_samples():
    random = np.random.default_rng(1)
    real = measures.Statistics(np.zeros(4), np.eye(4))
    found = [measures.frechet(random.normal(0.4, 1.1, (300, 4)), real) for _ in range(60)]
    values, spreads = np.array(found).T
    assert 0.7 < np.median(spreads) / values.std() < 1.4


def test_the_frechet_distance_of_samples_without_end():
    """Few samples of the real distribution itself are at a distance; its trend ends near 0."""
    random = np.random.default_rng(2)
    real = measures.Statistics(np.zeros(20), np.eye(20))
    found = np.array(
        [
            (measures.frechet(a, real, groups=0).value, *measures.frechet_infinity(a, real))
            for a in random.normal(size=(20, 400, 20))
        ]
    )
    near, far, spread = found.mean(axis=0)
    assert near > 0.25
    assert abs(far) < 0.05
    assert 0 < spread < 0.05


def test_the_kernel_distance_by_hand_and_without_bias():
    a, b = np.array([[1.0, 0], [0, 2]]), np.array([[1.0, 1], [2, 0], [0, 0]])

    def k(x, y):
        return (np.dot(x, y) / 2 + 1) ** 3

    inner = [np.mean([k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    wanted = sum(inner) - 2 * np.mean([k(x, y) for x in a for y in b])
    np.testing.assert_allclose(measures.kernel_distance(a, b), wanted)
    random = np.random.default_rng(0)
    equal = [measures.kernel_distance(*random.normal(size=(2, 40, 8))) for _ in range(200)]
    assert abs(np.mean(equal)) < 3 * np.std(equal) / 200**0.5
    one, other = random.normal(size=(2, 400, 8)) + np.array([0, 0.5])[:, None, None]
    found: Any = measures.kernel(one, other, subsets=50, size=100)
    assert abs(found.value - measures.kernel_distance(one, other)) < found.spread
    least = measures.kernel(one[:2], other[:2], subsets=3)
    assert least == pytest.approx((measures.kernel_distance(one[:2], other[:2]), 0))


def test_neighbourhoods_by_hand(monkeypatch):
    """On a line, one neighbour: real pictures at 0, 1, 3 have balls of 1, 1, 2; samples at .5, 10, 12 of 9.5, 2, 2."""
    real, samples = np.array([[0.0], [1], [3]]), np.array([[0.5], [10], [12]])
    for block in (1024, 1, 2):
        monkeypatch.setattr(measures, "_BLOCK", block)
        found = {name: v.value for name, v in measures.neighbourhoods(samples, real, 1, 1).items()}
        assert found == pytest.approx({"precision": 1 / 3, "recall": 1, "density": 2 / 3, "coverage": 2 / 3})
    assert measures.neighbourhoods(real, real, 1, 1)["precision"] == (1, 0)
    few = measures.neighbourhoods(samples[:2], real[:2])  # Fewer than neighbours.
    assert few["precision"].value == 0.5


def test_the_inception_score_by_hand():
    sure = 50 * np.eye(4)[np.arange(400) % 4]
    np.testing.assert_allclose(measures.inception_score(sure).value, 4, rtol=1e-6)
    np.testing.assert_allclose(measures.inception_score(np.tile(sure[0], (100, 1))).value, 1, rtol=1e-6)


def test_memorisation_and_overfitting():
    random = np.random.default_rng(0)
    training, held_out, fresh = random.normal(size=(3, 300, 5))
    copies = training + 0.01 * random.normal(size=training.shape)
    found: Any = measures.memorisation(fresh, training, held_out)
    assert abs(found.value - 0.5) < 3 * found.spread
    assert measures.memorisation(copies, training, held_out).value > 0.95
    assert measures.memorisation(fresh + 10, training, held_out).value == 0
    a, b = np.array([1.0, 2, 2]), np.array([2.0, 0])
    assert measures.ahead(a, b) == pytest.approx((0.5 + 0.75 + 0.75) / 3)
    logits = np.array([3.0, 5]), np.array([2.0, 2, 5]), np.array([-1.0, 1])
    assert measures.overfitting(*logits) == pytest.approx((1 / 4, 1 / 4))


@pytest.mark.parametrize("size", [40, 49, 130, 139])
def test_resizing_as_pillow_does(size):
    picture = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    wanted = Image.fromarray(picture[None]).resize((75, 1), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(resizing.matrix(size, 75, "clean") @ picture, np.asarray(wanted)[0], atol=2e-6)


def test_resizing_as_tensorflow_and_pytorch_do(recorded):
    for how in ("legacy_tensorflow", "legacy_pytorch"):
        for side in (40, 130):
            found = resizing.resize(in_range(record_metrics.pictures(side)), 75, how)
            theirs = recorded[f"{how}_{side}"] / 127.5 - 1
            np.testing.assert_allclose(found[:, ::5, ::5], theirs, atol=2e-5)
    same = in_range(record_metrics.pictures(75))[:, :, :75]
    np.testing.assert_array_equal(resizing.resize(same, 75, "clean"), same)


def test_inception_is_the_published_one(recorded):
    params, classifier = inception.from_torch("x.pth", record_metrics.weights(inception.shapes()))
    known = feature_sets.Features("inception", feature_sets.of_module(inception.Inception()), params, inception.SIDE)
    found = np.asarray(
        jax.jit(known.of, static_argnums=2)(params, in_range(record_metrics.pictures(64)), "legacy_tensorflow")
    )
    close(found, recorded["inception"])
    close(found @ classifier, recorded["inception_logits"])
    state = record_metrics.weights(inception.shapes())
    state["Mixed_7c.branch1x1.conv.weight"] = np.zeros((3, 3))
    with pytest.raises(
        UserError, match=r"x.pth: not FID's Inception.*Mixed_7c.branch1x1.conv.weight: expected \[320, 2"
    ):
        inception.from_torch("x.pth", state)


def test_dinov2_is_the_published_one(recorded):
    network, params = dinov2.from_torch("x.pth", record_metrics.small_dinov2())
    assert (network.width, network.depth) == (128, 2)
    found = np.asarray(feature_sets.of_module(network)(params, in_range(record_metrics.pictures(224))[:, :, :224]))
    close(found[:, 0], recorded["dinov2"])
    close(found[:, 1:].mean(axis=1), recorded["dinov2_patches"])
    with pytest.raises(
        UserError, match=r"x.pth: not a DINOv2 .*blocks.0.attn.proj.bias: expected \[384\], found nothing"
    ):
        dinov2.from_torch("x.pth", {})
    with pytest.raises(UserError, match="with registers"):
        dinov2.from_torch("x.pth", {"register_tokens": np.zeros(1)})


def test_vgg16s_features_are_the_networks_averaged_over_positions():
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (3, 32, 32, 4), np.uint8)
    known = feature_sets.load("vgg16:relu3_1")

    def of(pictures):
        return np.asarray(known.of(known.params, batches.colours(jnp.asarray(pictures)), "clean"))

    alpha = pictures[..., 3:] / 255
    flat = jnp.asarray(pictures[..., :3] / 255 * alpha + 1 - alpha, jnp.float32)
    expected = weights.load().features(flat, ["relu3_1"])["relu3_1"].mean(axis=(1, 2))
    np.testing.assert_allclose(of(pictures), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(of(pictures[..., :1]), of(pictures[..., :1].repeat(3, axis=-1)))
    small = jax.image.resize(batches.colours(jnp.asarray(pictures[:, :16, :20])), (3, 32, 32, 3), "linear")
    wanted = known.of(known.params, small, "clean")
    np.testing.assert_allclose(of(pictures[:, :16, :20]), wanted, rtol=1e-3, atol=1e-3)


def test_lite0_is_the_published_one(recorded):
    params = lite0.from_arrays("x", record_metrics.weights(lite0.shapes()))
    found: Any = jax.jit(lite0.Lite0().apply)({"params": params}, in_range(record_metrics.pictures(64)))
    for name in lite0.OUTPUTS:
        close(found[name].mean(axis=(1, 2)), recorded[f"lite0_{name}"])
