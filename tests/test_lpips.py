import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_lpips
import record_style

from jaxgan.evaluate import lpips
from jaxgan.style import vgg
from jaxgan.support.errors import UserError


@pytest.fixture
def metric(small):
    """LPIPS on the small trunk, with heads of our own."""
    random = np.random.default_rng(3)
    widths = {"relu1_2": 8, "relu2_1": 8, "relu3_1": 16}
    heads = {name: jnp.asarray(random.uniform(0, 1, width), jnp.float32) for name, width in widths.items()}
    return lpips.Metric(small, heads)


def pictures(seed, *shape):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1, maxval=1)


def test_distances_and_gradients_equal_pytorchs():
    metric = lpips.load()
    first, second = map(jnp.asarray, record_lpips.pairs())

    def total(b, metric):
        found = lpips.distance(metric.network, metric.heads, first, b)
        return jnp.sum(found), found

    (_, found), slope = jax.jit(jax.value_and_grad(total, has_aux=True))(second, metric)
    with np.load(record_lpips.DATA) as recorded:
        np.testing.assert_allclose(found, recorded["distance"], rtol=1e-4)
        slope = np.asarray(slope)
        np.testing.assert_allclose(np.linalg.norm(slope.reshape(4, -1), axis=1), recorded["norm"], rtol=1e-3)
        for part, wanted in zip(slope, recorded["gradient"], strict=True):
            np.testing.assert_allclose(record_style.sample(part), wanted, atol=2e-3 * np.abs(wanted).max())


def test_lpips_scaling_is_the_trunks_preprocessing():
    x = pictures(0, 5, 3)
    theirs = (x - jnp.array([-0.030, -0.088, -0.188])) / jnp.array([0.458, 0.448, 0.450])
    np.testing.assert_allclose(vgg.preprocess((x + 1) / 2, "torchvision"), theirs, atol=1e-6)


def test_by_hand_on_one_position(small):
    heads = {"relu3_1": jnp.arange(16, dtype=jnp.float32)}
    a, b = pictures(0, 1, 4, 4, 3), pictures(1, 1, 4, 4, 3)
    x, y = (np.asarray(small.features((p + 1) / 2, ["relu3_1"])["relu3_1"])[0, 0, 0] for p in (a, b))
    wanted = np.sum(np.arange(16) * (x / np.linalg.norm(x) - y / np.linalg.norm(y)) ** 2)
    np.testing.assert_allclose(lpips.distance(small, heads, a, b), [wanted], rtol=1e-5)


def test_symmetric_zero_on_itself_and_growing_with_distortion(metric):
    a, noise = pictures(0, 3, 32, 32, 3), pictures(1, 3, 32, 32, 3)
    np.testing.assert_array_equal(metric(a, a), 0)
    np.testing.assert_allclose(metric(a, noise), metric(noise, a), rtol=1e-6)
    steps = np.stack([metric(a, (1 - share) * a + share * noise) for share in (0.05, 0.2, 0.5, 1.0)])
    assert (np.diff(steps, axis=0) > 0).all()
    assert (steps[0] > 0).all()


def test_each_pair_by_itself(metric):
    a, b = pictures(0, 3, 32, 32, 3), pictures(1, 3, 32, 32, 3)
    alone = [float(metric(a[i : i + 1], b[i : i + 1])[0]) for i in range(3)]
    np.testing.assert_allclose(metric(a, b), alone, rtol=1e-5)
    assert np.ptp(alone) > 1e-4


def test_gradient_is_finite_where_features_are_all_zero(metric):
    def dark(b):
        return jnp.sum(metric(jnp.zeros((1, 32, 32, 3)), b))

    # The mean colour is all zeros to the network, whose convolutions have no biases here.
    mean = jnp.broadcast_to(2 * jnp.array([0.485, 0.456, 0.406]) - 1, (1, 32, 32, 3))
    found = metric.features(mean)["relu1_2"]
    assert float(jnp.abs(found).max()) == 0
    assert np.isfinite(jax.jit(jax.grad(dark))(mean)).all()


def test_pictures_of_any_kind_are_fitted():
    grey = pictures(0, 1, 40, 40, 1)
    np.testing.assert_array_equal(lpips.fit(grey), jnp.repeat(grey, 3, axis=-1))
    colour = pictures(1, 1, 40, 40, 3)
    clear = jnp.concatenate([colour, jnp.full((1, 40, 40, 1), -1.0)], axis=-1)
    np.testing.assert_array_equal(lpips.fit(clear), 1)
    half = jnp.concatenate([colour, jnp.zeros((1, 40, 40, 1))], axis=-1)
    np.testing.assert_allclose(lpips.fit(half), (colour + 1) / 2, atol=1e-6)
    assert lpips.fit(pictures(0, 2, 28, 28, 1)).shape == (2, 32, 32, 3)
    large = pictures(0, 1, 512, 512, 3)
    np.testing.assert_allclose(lpips.fit(large)[0, 3, 5], large[0, 6:8, 10:12].mean(axis=(0, 1)), atol=1e-6)
    assert lpips.fit(large[:, :300, :400]).shape == (1, 300, 400, 3)


def test_damaged_heads_are_refused(monkeypatch):
    monkeypatch.setattr(lpips, "_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"lpips.safetensors of the package: wrong or cut short"):
        lpips.load()
