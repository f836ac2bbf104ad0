import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan.style import losses

STYLES = {"gram": losses.GRAM, "wasserstein": losses.WASSERSTEIN, "statistics": losses.STATISTICS}


def draw(seed, positions=200, channels=6):
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(channels, channels))
    return (random.normal(size=(positions, channels)) @ mixing + random.normal(size=channels)).astype(np.float32)


def means(loss, features, weights=None):
    total = len(features) if weights is None else np.float32(weights.sum())
    return jax.tree.map(lambda value: value / total, loss.moments(jnp.asarray(features), weights))


def distance(loss, a, b):
    return float(loss.distance(means(loss, a), loss.target(means(loss, b))))


def wasserstein_by_numpy(a, b):
    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a.T, bias=True), np.cov(b.T, bias=True)
    middle = root(root(cov_b) @ cov_a @ root(cov_b))
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * middle)


def by_numpy(name, a, b):
    if name == "gram":
        return np.sum((a.T @ a / len(a) - b.T @ b / len(b)) ** 2) / (4 * a.shape[1] ** 2)
    if name == "statistics":
        return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.sum((a.std(0) - b.std(0)) ** 2)
    return wasserstein_by_numpy(a, b)


@pytest.mark.parametrize("name", STYLES)
def test_style_losses_against_numpy(name):
    a, b = draw(0), draw(1, positions=150)
    # The iteration for the square root leaves an error where NumPy's decomposition has none.
    tolerance = 1e-3 if name == "wasserstein" else 1e-4
    np.testing.assert_allclose(distance(STYLES[name], a, b), by_numpy(name, a, b), rtol=tolerance)


def test_wasserstein_with_fewer_positions_than_channels():
    a, b = draw(0, 40, 64), draw(1, 500, 64)
    np.testing.assert_allclose(distance(losses.WASSERSTEIN, a, b), wasserstein_by_numpy(a, b), rtol=1e-3)


@pytest.mark.parametrize("name", STYLES)
def test_a_style_is_at_no_distance_from_itself_at_any_size(name):
    a, b = draw(0), draw(1)
    loss = STYLES[name]
    assert abs(distance(loss, a, a)) < 1e-4 * distance(loss, a, b)
    np.testing.assert_allclose(distance(loss, np.tile(a, (3, 1)), b), distance(loss, a, b), rtol=1e-4)


@pytest.mark.parametrize("name", STYLES)
def test_weighted_moments_are_those_of_repeated_positions(name):
    loss, a = STYLES[name], draw(0)
    counts = np.random.default_rng(2).integers(0, 4, len(a))
    weighted = means(loss, a, counts.astype(np.float32))
    repeated = means(loss, a.repeat(counts, axis=0))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), weighted, repeated)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_numerically(name, weighted):
    loss = STYLES[name]
    target = loss.target(means(loss, draw(1, 30)))
    weights = jnp.asarray(np.random.default_rng(3).uniform(0.2, 1, 30), jnp.float32) if weighted else None

    def function(features):
        total = 30 if weights is None else jnp.sum(weights)
        sums = loss.moments(features, weights)
        return loss.distance(jax.tree.map(lambda value: value / total, sums), target)

    check_grads(function, (jnp.asarray(draw(0, 30)),), order=1, modes=["rev"], atol=0.05, rtol=0.05, eps=1e-2)


def test_gram_of_bfloat16_is_summed_in_float32():
    features = jnp.full((100_000, 2), 1, jnp.bfloat16)
    assert losses.GRAM.moments(features, None)[0, 0] == 100_000  # bfloat16 itself would stop at 256


@pytest.mark.parametrize("power", [1, 2])
def test_total_variation_against_numpy(power):
    image = np.random.default_rng(0).uniform(size=(9, 7, 3)).astype(np.float32)
    wanted = (np.abs(np.diff(image, axis=0)) ** power).mean() + (np.abs(np.diff(image, axis=1)) ** power).mean()
    np.testing.assert_allclose(losses.total_variation(jnp.asarray(image), power), wanted, rtol=1e-5)
    check_grads(lambda x: losses.total_variation(x, power), (jnp.asarray(image),), 1, ["rev"], eps=1e-3, rtol=0.02)


def test_content_loss():
    np.testing.assert_allclose(losses.content(jnp.array([1.0, 2.0]), jnp.array([1.0, 5.0])), 9 / 2 / 2)
