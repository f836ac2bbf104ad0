"""Augmentation: what it does to an image, what it leaves, and that it is each example's own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxgan import augment

ONE = jnp.ones(())
INDEX = jnp.arange(8, dtype=jnp.int32)
IMAGES = jax.random.uniform(jax.random.key(5), (8, 8, 8, 3), minval=-1)


def changed(policy, images: Any = IMAGES, probability=ONE, key=0):
    return augment.apply((policy,), jax.random.key(key), INDEX[: len(jax.tree.leaves(images)[0])], images, probability)


@pytest.mark.parametrize("policy", augment.POLICIES.values(), ids=augment.POLICIES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_policy_keeps_shape_and_dtype_and_passes_gradients(policy, dtype):
    images = IMAGES.astype(dtype)
    after = jax.jit(lambda x: changed(policy, x))(images)
    assert (after.shape, after.dtype) == (images.shape, images.dtype)
    assert not np.array_equal(after, images)
    np.testing.assert_array_equal(changed(policy, images, jnp.zeros(())), images)
    if dtype == jnp.float32:
        check_grads(lambda x: changed(policy, x), (IMAGES[:2],), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("policy", augment.POLICIES.values(), ids=augment.POLICIES)
def test_what_happens_to_an_example_does_not_depend_on_the_batch(policy):
    np.testing.assert_allclose(changed(policy)[:3], changed(policy, IMAGES[:3]), rtol=1e-6)


def test_a_probability_is_the_share_of_examples_that_change():
    images = jnp.ones((1000, 4, 4, 1))
    index = jnp.arange(1000, dtype=jnp.int32)
    after = augment.apply((augment.cutout,), jax.random.key(0), index, images, jnp.float32(0.3))
    share = (np.asarray(after) != 1).any(axis=(1, 2, 3)).mean()
    assert share == pytest.approx(0.3, abs=0.05)


@given(st.integers(0, 10**6))
def test_translation_moves_and_loses_nothing_that_stays(seed):
    image = jnp.zeros((1, 16, 16, 1)).at[0, 8, 7, 0].set(0.5)
    after = np.asarray(changed(augment.translation, image, key=seed))[0, :, :, 0]
    ((y, x),) = np.argwhere(after)  # Not moved out: by an eighth, two pixels, at the most.
    assert after[y, x] == 0.5
    assert abs(y - 8) <= 2
    assert abs(x - 7) <= 2


def test_translation_reaches_every_offset_and_brings_in_grey():
    image = jnp.full((1, 16, 16, 1), 0.5)
    offsets = set()
    for seed in range(60):
        after = np.asarray(changed(augment.translation, image, key=seed))[0, :, :, 0]
        offsets.add((int((after[:, 8] == 0).sum()), int((after[8] == 0).sum())))
    assert offsets == {(y, x) for y in range(3) for x in range(3)}


def test_levels_of_a_pyramid_move_together():
    large = jnp.zeros((1, 32, 32, 1)).at[0, 16:18, 16:18].set(1.0)
    small = large.reshape(1, 16, 2, 16, 2, 1).mean(axis=(2, 4))
    for seed in range(20):
        after = changed(augment.translation, {"large": large, "small": small}, key=seed)
        places = [np.argwhere(np.asarray(after[name])[0, :, :, 0]).mean(axis=0) for name in ("large", "small")]
        # Each level moves by whole pixels, so that they may part by half a pixel of the smaller.
        np.testing.assert_allclose((places[0] - 0.5) / 2, places[1], atol=0.51)


def test_cutout_cuts_a_quarter_or_less():
    after = np.asarray(changed(augment.cutout, jnp.ones((8, 16, 16, 2))))
    assert set(np.unique(after)) == {0, 1}
    for picture in after:
        rows, columns = np.where((picture[..., 0] == 0).any(axis=1))[0], np.where((picture[..., 0] == 0).any(axis=0))[0]
        assert 4 <= len(rows) <= 8
        assert 4 <= len(columns) <= 8
        assert (picture == 0).sum() == 2 * len(rows) * len(columns)


def test_colour_by_hand():
    """Brightness shifts, saturation spreads about the grey, contrast about the mean: each is affine."""
    grey = jnp.broadcast_to(IMAGES[..., :1], IMAGES.shape)
    after = np.asarray(changed(augment.colour, grey))
    np.testing.assert_allclose(np.ptp(after, axis=-1), 0, atol=1e-5)  # Grey has no saturation to change.
    for before, now in zip(np.asarray(grey)[..., 0], after[..., 0], strict=True):
        slope, shift = np.polyfit(before.ravel(), now.ravel(), 1)
        np.testing.assert_allclose(now, slope * before + shift, atol=1e-5)
        assert 0.5 <= slope <= 1.5
        assert abs(now.mean() - before.mean()) <= 0.5 + 1e-5  # Contrast keeps the mean, brightness moves it.
    coloured = np.asarray(changed(augment.colour))
    for before, now in zip(np.asarray(IMAGES), coloured, strict=True):
        chroma, after_chroma = (x - x.mean(axis=-1, keepdims=True) for x in (before, now))
        factor = (chroma * after_chroma).sum() / (chroma**2).sum()
        np.testing.assert_allclose(after_chroma, factor * chroma, atol=1e-5)
        assert 0 <= factor <= 2 * 1.5


def test_flip_mirrors_half_of_the_images():
    images = jax.random.normal(jax.random.key(1), (8, 2, 3, 1))
    after = changed(augment.flip, images)
    mirrored = [bool((now == before[:, ::-1]).all()) for before, now in zip(images, after, strict=True)]
    kept = [bool((now == before).all()) for before, now in zip(images, after, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 0 < sum(mirrored) < 8


def test_noise_has_the_given_spread_and_is_each_examples_own():
    index = jnp.arange(4000, dtype=jnp.int32)
    drawn = augment.noise(jax.random.key(0), index, jnp.zeros((4000, 2)), jnp.float32(0.3))
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.03)
    np.testing.assert_array_equal(
        augment.noise(jax.random.key(0), index[7:9], jnp.zeros((2, 2)), jnp.float32(0.3)), drawn[7:9]
    )
    np.testing.assert_array_equal(augment.noise(jax.random.key(0), INDEX, IMAGES, jnp.zeros(())), IMAGES)


def test_adaptation_by_hand():
    half = jnp.float32(0.5)
    assert float(augment.adapt(half, jnp.float32(0.7), 100, 0.6, 1000)) == pytest.approx(0.6)
    assert float(augment.adapt(half, jnp.float32(0.5), 100, 0.6, 1000)) == pytest.approx(0.4)
    assert float(augment.adapt(jnp.float32(0.98), jnp.float32(1.0), 100, 0.6, 1000)) == 1
    assert float(augment.adapt(jnp.float32(0.01), jnp.float32(0.0), 100, 0.6, 1000)) == 0
