"""Equalised layers and filtered resampling against their definitions, written out in NumPy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxgan.models import conv, equalised, layers

TAPS = np.array([1, 3, 3, 1]) / 8


def resampled(x, up):
    """Doubling or halving along the first axis: zeros between samples, or every second one, after the filter."""
    if up:
        spread = np.zeros((2 * len(x) + 3, *x.shape[1:]))
        spread[2:-1:2] = x
        return np.stack([np.tensordot(2 * TAPS, spread[i : i + 4], 1) for i in range(2 * len(x))])
    padded = np.concatenate([np.zeros((1, *x.shape[1:])), x, np.zeros((1, *x.shape[1:]))])
    return np.stack([np.tensordot(TAPS, padded[2 * i : 2 * i + 4], 1) for i in range(len(x) // 2)])


@pytest.mark.parametrize("up", [True, False])
def test_resampling_is_the_filter_written_out(up, key):
    x = np.asarray(jax.random.normal(key, (2, 6, 4, 3)))
    expected = np.moveaxis(resampled(np.moveaxis(x, 1, 0), up), 0, 1)
    expected = np.moveaxis(resampled(np.moveaxis(expected, 2, 0), up), 0, 2)
    function = equalised.upsample if up else equalised.downsample
    np.testing.assert_allclose(function(jnp.asarray(x)), expected, atol=1e-6)
    with jax.enable_x64(True):
        # Of squares there is a second derivative too.
        check_grads(lambda x: function(x) ** 2, (jnp.asarray(x, jnp.float64),), 2, modes=["rev"])


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_blur_is_the_filter_written_out(padding, key):
    x = np.asarray(jax.random.normal(key, (2, 5, 7, 3)))
    expected = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    for axis in (1, 2):
        expected = np.apply_along_axis(lambda line: np.convolve(line, TAPS, "valid"), axis, expected)
    np.testing.assert_allclose(equalised.blur(jnp.asarray(x), padding, 4), 4 * expected, atol=1e-5)
    with jax.enable_x64(True):
        # Of squares there is a second derivative too.
        check_grads(lambda x: equalised.blur(x, padding, 4) ** 2, (jnp.asarray(x, jnp.float64),), 2, modes=["rev"])


def test_resampling_keeps_a_flat_picture_flat_inside():
    flat = jnp.ones((1, 8, 8, 1))
    np.testing.assert_allclose(equalised.upsample(flat)[:, 2:-2, 2:-2], 1, rtol=1e-6)
    np.testing.assert_allclose(equalised.downsample(flat)[:, 1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(equalised.blur(flat, 2, 4)[:, 3:-3, 3:-3], 4, rtol=1e-6)


def test_convolutions_resample_as_they_say(key):
    keys = jax.random.split(key)
    x, kernel = jax.random.normal(keys[0], (2, 6, 6, 3)), jax.random.normal(keys[1], (3, 3, 3, 5))
    small = jax.random.normal(keys[1], (1, 1, 3, 5))
    cases: dict[Any, jax.Array] = {
        "repeat": conv.conv(layers.upsample(x), kernel),
        "average": layers.average_pool(conv.conv(x, kernel)),
        "none": conv.conv(x, kernel),
    }
    for name, expected in cases.items():
        np.testing.assert_allclose(equalised.convolve(x, kernel, name), expected, atol=1e-5)
    np.testing.assert_allclose(equalised.convolve(x, small, "up"), equalised.upsample(conv.conv(x, small)), atol=1e-5)
    down = equalised.downsample(conv.conv(x, small))
    np.testing.assert_allclose(equalised.convolve(x, small, "down"), down, atol=1e-5)
    # Of a constant picture and kernel the filter changes nothing but the edges.
    ones, taps = jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 1))
    np.testing.assert_allclose(equalised.convolve(ones, taps, "up")[:, 4:-4, 4:-4], 9, rtol=1e-5)
    np.testing.assert_allclose(equalised.convolve(ones, taps, "down")[:, 2:-2, 2:-2], 9, rtol=1e-5)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_filter_and_convolution_are_one_on_tpu(resample, key):
    keys = jax.random.split(key)
    with jax.enable_x64(True):
        x = jax.random.normal(keys[0], (2, 6, 8, 3), jnp.float64)
        kernel = jax.random.normal(keys[1], (3, 3, 3, 5), jnp.float64)

        def slopes(x, kernel):
            return jax.grad(lambda x, kernel: jnp.sum(jnp.sin(equalised.convolve(x, kernel, resample))), (0, 1))(
                x, kernel
            )

        there, here = (conv.compiled(slopes, platform=platform)(x, kernel) for platform in ("tpu", "cpu"))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), there, here)
        assert "6,6" in str(jax.make_jaxpr(conv.compiled(slopes, platform="tpu"))(x, kernel))


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_the_learning_rate_is_equal_whatever_the_layer(rate, key):
    """Adam's first step moves every parameter by its rate; the function moves by that times the runtime scale."""
    x, step = jax.random.normal(key, (1, 50)), 1e-3
    layer: Any = equalised.Dense(4, gain=2.0, rate=rate)
    params = layer.init(key, x)["params"]
    np.testing.assert_allclose(jnp.std(params["kernel"]), 1 / rate, rtol=0.2)
    scale = 2 * rate / np.sqrt(50)
    np.testing.assert_allclose(layer.apply({"params": params}, x), scale * x @ params["kernel"], rtol=1e-5)
    optimizer = optax.adam(step)
    gradient = jax.grad(lambda params: layer.apply({"params": params}, x).sum())(params)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    moved = layer.apply({"params": optax.apply_updates(params, updates)}, x) - layer.apply({"params": params}, x)
    by_hand = -step * (scale * jnp.abs(x).sum() + rate)
    np.testing.assert_allclose(moved, jnp.full((1, 4), by_hand), rtol=1e-2)


def test_variance_is_kept(key):
    """Through a layer of each kind with its gain, whatever its width."""
    x = jax.random.normal(key, (8, 16, 16, 32))
    for resample in ("none", "repeat", "average"):
        layer: Any = equalised.Conv(64, resample=resample, gain=equalised.GAIN)
        out = layers.leaky_relu(layer.apply(layer.init(key, x), x))[:, 2:-2, 2:-2]
        # Repeated pixels are alike and so add up; means of independent ones are smaller.
        assert 0.2 < float(jnp.mean(out**2)) < 4
    dense: Any = equalised.Dense(64)
    flat = equalised.leaky_relu(dense.apply(dense.init(key, x), x))
    np.testing.assert_allclose(jnp.mean(flat**2), 1, rtol=0.15)


def test_pixel_norm_by_hand():
    np.testing.assert_allclose(
        equalised.pixel_norm(jnp.array([[3.0, 4.0]])), np.array([[3, 4]]) / np.sqrt(12.5), rtol=1e-6
    )
    tiny = equalised.pixel_norm(jnp.zeros((1, 2)))
    assert jnp.isfinite(tiny).all()


def test_a_class_has_a_direction(key):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, features, label=None):
            return equalised.classify(features, label, 0 if label is None else 3)

    features = jax.random.normal(key, (4, 6))
    net: Any = Net()
    variables = net.init(key, features, jnp.zeros(4, jnp.int32))
    logits = [net.apply(variables, features, jnp.full(4, label)) for label in range(3)]
    params = variables["params"]
    embedding = equalised.pixel_norm(params["embed"]["kernel"] / np.sqrt(3))
    projected = features @ params["logit"]["kernel"] / np.sqrt(6)
    np.testing.assert_allclose(jnp.stack(logits, axis=1), projected @ embedding.T / np.sqrt(6), rtol=1e-4, atol=1e-5)
    plain = net.init(key, features)["params"]["logit"]["kernel"]
    np.testing.assert_allclose(
        net.apply({"params": {"logit": {"kernel": plain, "bias": jnp.zeros(1)}}}, features),
        (features @ plain / np.sqrt(6))[:, 0],
        rtol=1e-4,
        atol=1e-5,
    )
