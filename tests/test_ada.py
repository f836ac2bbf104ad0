"""ADA's operations against second implementations in NumPy and SciPy, after their definition in arXiv 2006.06676."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from jaxgan.step import augment, warp

POLICIES = (augment.blit, augment.geometry, augment.tone, augment.filter, augment.grain)
ONE = jnp.ones(())
PICTURE = np.random.default_rng(0).uniform(-1, 1, (16, 16, 3)).astype(np.float32)
IMAGES = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (6, 8, 8, 3)), jnp.float32)
blitted, transformed, amplified = (jax.jit(function) for function in (warp.blitted, warp.transformed, warp.amplified))


@functools.partial(jax.jit, static_argnums=0)
def changed(policies, images, probability=ONE):
    index = jnp.arange(len(jax.tree.leaves(images)[0]), dtype=jnp.int32)
    return augment.apply(policies, jax.random.key(0), index, images, probability)


@given(st.booleans(), st.integers(0, 3), st.integers(-5, 5), st.integers(-5, 5))
def test_a_blit_is_numpys(flip, turns, down, right):
    shift = jnp.float32([(down + 0.3) / 16, (right - 0.3) / 16])
    moved = blitted(PICTURE, jnp.bool_(flip), jnp.int32(turns), shift)
    expected = np.rot90(PICTURE[:, ::-1] if flip else PICTURE, turns)
    padded = np.pad(expected, ((5, 5), (5, 5), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(moved, padded[5 - down : 21 - down, 5 - right : 21 - right])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_blit_is_the_same_numbers_by_picking_and_by_products(dtype):
    x = jnp.asarray(PICTURE[:, :9], dtype)
    places = jnp.arange(16)[::-1] // 2, jnp.abs(jnp.arange(9) - 3)

    def weighed(way, x):
        picked = way(x, *places)
        return jnp.sum(picked * jnp.arange(picked.size, dtype=dtype).reshape(picked.shape)), picked

    one, other = (jax.grad(functools.partial(weighed, way), has_aux=True)(x) for way in PICKED)
    np.testing.assert_array_equal(one[1], other[1])
    # Gradients of pixels that are picked more than once are sums, in whatever order.
    np.testing.assert_allclose(one[0].astype(jnp.float32), other[0].astype(jnp.float32), rtol=1e-2)


PICKED = (warp._picked, warp._picked_by_products)


def by_definition(x, matrix, shift):
    """Reflected far around, doubled by zeros and a filter, sampled, filtered and halved: all in float64, one by one."""
    height, width = x.shape[:2]
    far = 2 * len(x)
    padded = np.pad(x.astype(np.float64), ((far, far), (far, far), (0, 0)), mode="reflect")
    taps = np.asarray(warp.SYM6)
    for axis in (0, 1):
        shape = list(padded.shape)
        shape[axis] *= 2
        spread = np.zeros(shape)
        spread[(slice(None),) * axis + (slice(None, None, 2),)] = padded
        # A filter of 12 taps of which the sixth is the middle: pixel 2 n of the result lies at pixel n.
        padded = scipy.ndimage.convolve1d(spread, np.sqrt(2) * taps, axis=axis, origin=-1, mode="constant")
    rows, columns = (np.arange(-12, 2 * size + 12) / 2 for size in (height, width))
    middle = (np.asarray([height, width]) - 1) / 2
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1) - middle - np.asarray(shift) * (height, width)
    points = 2 * (points @ np.asarray(matrix, np.float64).T + middle + far)
    places = points.transpose(2, 0, 1)
    sampled = np.stack([scipy.ndimage.map_coordinates(c, places, order=1) for c in np.moveaxis(padded, -1, 0)], axis=-1)
    for axis in (0, 1):
        sampled = scipy.ndimage.correlate1d(sampled, taps / np.sqrt(2), axis=axis, origin=-1, mode="constant")
    return sampled[12:-12:2, 12:-12:2]


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


SMOOTH = scipy.ndimage.gaussian_filter(PICTURE, (1.5, 1.5, 0))


@pytest.mark.parametrize(
    ("matrix", "shift"),
    [
        (np.eye(2), (0, 0)),
        (np.eye(2), (0.07, -0.11)),
        (np.eye(2) / 1.4, (0, 0)),
        (rotation(0.3) / 1.5, (0.02, 0)),
        (rotation(2.0) @ np.diag([0.8, 0.6]) @ rotation(-0.7), (0, 0.01)),
    ],
)
def test_a_transformation_is_scipys(matrix, shift):
    """Where nothing is reflected to rounding; where it is, as far as the filter is symmetric."""
    for picture, everywhere in ((PICTURE, 0.2), (SMOOTH, 0.03)):
        expected = by_definition(picture, matrix, shift)
        found = transformed(picture, jnp.float32(matrix), jnp.float32(shift))
        assert found.shape == picture.shape
        np.testing.assert_allclose(found[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-5)
        np.testing.assert_allclose(found, expected, atol=everywhere)


def test_a_rotation_far_outside_is_a_reflection():
    """Half the size, rotated: three quarters of the picture are reflected."""
    matrix, shift = 2 * rotation(0.4), (0.3, -0.2)
    expected = by_definition(SMOOTH, matrix, shift)
    np.testing.assert_allclose(transformed(SMOOTH, jnp.float32(matrix), jnp.float32(shift)), expected, atol=0.03)


def test_a_quarter_turn_is_one_both_ways():
    turned = transformed(SMOOTH, jnp.float32([[0, 1], [-1, 0]]), jnp.zeros(2))
    np.testing.assert_allclose(turned, np.rot90(SMOOTH), atol=0.02)


def test_tones_by_hand():
    """As matrices of colours, after appendix B."""
    grey = np.full((3, 3), 1 / 3)
    axis, angle = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3), 0.7
    matrices = {
        augment.inverted: np.eye(3) - 2 * grey,
        functools.partial(augment.saturated, factor=jnp.float32(1.7)): grey + 1.7 * (np.eye(3) - grey),
        functools.partial(augment.rotated, angle=jnp.float32(angle)): (
            np.cos(angle) * np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * grey
        ),
    }
    for function, matrix in matrices.items():
        np.testing.assert_allclose(function(jnp.asarray(PICTURE)), PICTURE @ matrix.T, atol=1e-6)
    one = jnp.asarray(PICTURE[..., :1])
    np.testing.assert_array_equal(augment.inverted(one), -one)
    np.testing.assert_array_equal(augment.saturated(one, jnp.float32(2)), one)
    np.testing.assert_array_equal(augment.rotated(one, jnp.float32(2)), one)


def test_bands_are_filtered_as_wavelets_are():
    """Bands by SciPy: low and high halves of halves. Their sum is the picture; the mean is in the lowest alone."""
    low, high = (np.asarray(warp.SYM2) * signs for signs in ([1] * 4, [1, -1, 1, -1]))
    low, high = (np.convolve(taps, taps[::-1]) / 2 for taps in (low, high))

    def spread(taps, by):
        found = np.zeros(by * (len(taps) - 1) + 1)
        found[::by] = taps
        return found

    # The highest band first; each next is of what was low before, at half the frequency.
    passed, bank = np.ones(1), []
    for by in (1, 2, 4):
        bank.append(np.convolve(passed, spread(high, by)))
        passed = np.convolve(passed, spread(low, by))
    bank = [passed, *bank[::-1]]
    gains = np.asarray([0.5, 2, 1.5, 3], np.float32)
    x = np.random.default_rng(2).normal(size=(48, 30, 2)).astype(np.float32)
    expected = x.astype(np.float64)
    for axis in (0, 1):
        bands = [scipy.ndimage.convolve1d(expected, taps, axis=axis, mode="mirror") for taps in bank]
        np.testing.assert_allclose(sum(bands), expected, atol=1e-9)
        expected = sum(gain * band for gain, band in zip(gains, bands, strict=True))
    np.testing.assert_allclose(amplified(x, gains), expected, atol=1e-4)
    np.testing.assert_allclose(amplified(x, jnp.ones(4)), x, atol=1e-5)


def test_each_happens_as_often_as_told_and_as_it_is_drawn():
    """From pictures that tell what was done to them, 2,000 of each, at a probability of 0.4."""
    count, probability = 2000, jnp.float32(0.4)
    every = jax.vmap(jax.random.key)(jnp.arange(count))
    matrix, shift, happens = jax.jit(jax.vmap(augment._drawn_geometry, (0, None)))(every, probability)
    scale, skewed = np.sqrt(np.linalg.det(matrix)), np.linalg.svd(matrix)[1]
    stretch = np.log2(skewed[:, 0] / skewed[:, 1]) / 2
    for one in (np.abs(np.log2(scale)) > 1e-5, stretch > 1e-5, (shift != 0).any(axis=1)):
        assert one.mean() == pytest.approx(0.4, abs=0.035)
    # Neither scaled nor stretched, a matrix is a rotation or the identity; rotated with the probability in all.
    alone = (np.abs(np.log2(scale)) < 1e-5) & (stretch < 1e-5)
    turned = np.abs(matrix - np.eye(2)).max(axis=(1, 2)) > 1e-4
    assert turned[alone].mean() == pytest.approx(0.4, abs=0.06)
    assert happens.mean() == pytest.approx(1 - 0.6**4, abs=0.03)
    assert np.log2(scale)[np.abs(np.log2(scale)) > 1e-5].std() == pytest.approx(0.2, rel=0.1)
    assert np.sqrt((stretch[stretch > 1e-5] ** 2).mean()) == pytest.approx(0.2, rel=0.1)
    assert shift[(shift != 0).any(axis=1)].std() == pytest.approx(1 / 8, rel=0.1)
    # Blits of a picture whose every pixel says where it was.
    place = jnp.broadcast_to(jnp.arange(256.0).reshape(16, 16, 1), (count, 16, 16, 1))
    moved = np.asarray(changed((augment.blit,), place, probability))[..., 0]
    assert set(np.unique(moved)) <= set(range(256))
    kept = (moved == np.arange(256).reshape(16, 16)).all(axis=(1, 2)).mean()
    # Each of flips (1/2), turns (3/4) and shifts (24/25, and twice as seldom by the two largest) moves something.
    assert kept == pytest.approx((1 - 0.4 / 2) * (1 - 0.4 * 3 / 4) * (1 - 0.4 * 15 / 16), abs=0.04)


@jax.jit
def each(images, probability=ONE):
    """What each policy makes of images, in turn."""
    index = jnp.arange(len(images), dtype=jnp.int32)
    return [augment.apply((policy,), jax.random.key(0), index, images, probability) for policy in POLICIES]


def test_what_they_promise_all_augmentations_do():
    """Shape, dtype, each example by itself and by its keys alone, nothing at probability 0."""
    none, low, part = each(IMAGES, jnp.zeros(())), each(IMAGES.astype(jnp.bfloat16)), each(IMAGES[:2])
    for place, whole in enumerate(each(IMAGES)):
        assert (whole.shape, whole.dtype) == (IMAGES.shape, IMAGES.dtype)
        assert not np.allclose(whole, IMAGES, atol=1e-3)
        np.testing.assert_array_equal(none[place], IMAGES)
        assert low[place].dtype == jnp.bfloat16
        np.testing.assert_allclose(low[place].astype(jnp.float32), whole, atol=0.06)
        np.testing.assert_allclose(part[place], whole[:2], atol=1e-5)
    flat = jnp.broadcast_to(jnp.linspace(-1, 1, 6)[:, None, None, None], IMAGES.shape)
    for moved in each(flat)[:2]:  # Nothing comes in from outside, and no brightness is lost.
        np.testing.assert_allclose(moved, flat, atol=1e-5)


def test_levels_of_a_pyramid_are_transformed_alike():
    wide = scipy.ndimage.zoom(SMOOTH, (2, 2, 1), order=1, grid_mode=True, mode="nearest")
    matrix, shift = jnp.float32(rotation(0.5) / 1.2), jnp.float32([0.1, 0.05])
    small, large = (np.asarray(transformed(picture, matrix, shift)) for picture in (SMOOTH, wide))
    shrunk = large.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk[2:-2, 2:-2], small[2:-2, 2:-2], atol=0.05)


def test_gradients_are_those_of_a_linear_function():
    """Each is affine in the pictures: a slope along a direction is a difference, however long."""
    random = np.random.default_rng(3)
    step, weight = (jnp.asarray(random.normal(size=(2, 8, 8, 3)), jnp.float32) for _ in range(2))

    @jax.jit
    def slope(images):
        return jax.jvp(lambda x: each(x), (images,), (step,))[1], jax.vjp(each, images)[1]([weight] * len(POLICIES))[0]

    forward, backward = slope(IMAGES[:2])
    for one, other, along in zip(each(IMAGES[:2] + step), each(IMAGES[:2]), forward, strict=True):
        np.testing.assert_allclose(one - other, along, atol=1e-4)
    total = sum(jnp.sum(weight * along) for along in forward)
    np.testing.assert_allclose(jnp.sum(backward * step), total, rtol=1e-3)


def test_r3gans_tones_are_half_as_often():
    every = jnp.broadcast_to(IMAGES[:1, :2, :2], (1500, 2, 2, 3))
    shares = [
        float((jnp.abs(changed((policy,), every, jnp.float32(p)) - every).max(axis=(1, 2, 3)) > 1e-6).mean())
        for policy, p in ((augment.tone, 0.3), (augment.rare_tone, 0.6))
    ]
    # Of the five, exchanging light and dark does something every second time.
    assert shares == pytest.approx([1 - 0.7**4 * 0.85] * 2, abs=0.04)
