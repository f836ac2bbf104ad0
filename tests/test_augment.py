"""Augmentation: what it does to an image, what it leaves, and that it is each example's own."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxgan.step import augment, window

POLICIES = {name: augment.POLICIES[name] for name in ("colour", "translation", "cutout", "flip")}  # See test_ada.py.
ONE = jnp.ones(())
INDEX = jnp.arange(8, dtype=jnp.int32)
IMAGES = jax.random.uniform(jax.random.key(5), (8, 8, 8, 3), minval=-1)


def changed(policy, images: Any = IMAGES, probability=ONE, key=0):
    return augment.apply((policy,), jax.random.key(key), INDEX[: len(jax.tree.leaves(images)[0])], images, probability)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_policy_keeps_shape_and_dtype_and_passes_gradients(policy, dtype):
    images = IMAGES.astype(dtype)
    after = jax.jit(lambda x: changed(policy, x))(images)
    assert (after.shape, after.dtype) == (images.shape, images.dtype)
    assert not np.array_equal(after, images)
    np.testing.assert_array_equal(changed(policy, images, jnp.zeros(())), images)
    if dtype == jnp.float32:
        check_grads(lambda x: changed(policy, x), (IMAGES[:2],), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_happens_to_an_example_does_not_depend_on_the_batch(policy):
    np.testing.assert_allclose(changed(policy)[:3], changed(policy, IMAGES[:3]), rtol=1e-6)


def test_a_probability_is_the_share_of_examples_that_change():
    images = jnp.ones((1000, 4, 4, 1))
    index = jnp.arange(1000, dtype=jnp.int32)
    after = augment.apply((augment.cutout,), jax.random.key(0), index, images, jnp.float32(0.3))
    share = (np.asarray(after) != 1).any(axis=(1, 2, 3)).mean()
    assert share == pytest.approx(0.3, abs=0.05)


@given(st.sampled_from(list(POLICIES.values())), st.integers(0, 10**6), st.sampled_from([(5, 8, 1), (16, 7, 3)]))
def test_invariants(policy, seed, shape):
    images = jax.random.uniform(jax.random.key(seed), (6, *shape), minval=-1)
    whole = changed(policy, images, key=seed)
    assert (whole.shape, whole.dtype) == (images.shape, images.dtype)
    np.testing.assert_array_equal(changed(policy, images, jnp.zeros(()), seed), images)
    np.testing.assert_allclose(changed(policy, images[:3], key=seed), whole[:3], atol=1e-6)


def shifted(image: np.ndarray, y: int, x: int) -> np.ndarray:
    padded = np.pad(image, ((9, 9), (9, 9), (0, 0)))
    return padded[9 - y : 9 - y + image.shape[0], 9 - x : 9 - x + image.shape[1]]


@given(st.integers(0, 10**6), st.sampled_from([(16, 16, 1), (28, 12, 2)]))
def test_translation_by_hand(seed, shape):
    """Exactly one shift by at most an eighth (rounded) explains the result, to the last bit."""
    image = np.asarray(jax.random.uniform(jax.random.key(seed), (1, *shape), minval=-1))
    after = np.asarray(changed(augment.translation, jnp.asarray(image), key=seed))[0]
    reach = [round(size / 8) for size in shape[:2]]
    fits = [
        (y, x)
        for y in range(-reach[0], reach[0] + 1)
        for x in range(-reach[1], reach[1] + 1)
        if np.array_equal(shifted(image[0], y, x), after)
    ]
    assert len(fits) == 1


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
    # mean + b + c (grey - mean + s (x - grey)): the draws b, c and s recovered, and then the whole image.
    for x, now in zip(np.asarray(IMAGES), np.asarray(changed(augment.colour)), strict=True):
        grey, mean = x.mean(axis=-1, keepdims=True), x.mean()
        chroma, light = x - grey, grey - mean
        now_grey = now.mean(axis=-1, keepdims=True)
        b = now.mean() - mean
        c = (light * (now_grey - now.mean())).sum() / (light**2).sum()
        s = (chroma * (now - now_grey)).sum() / (chroma**2).sum() / c
        np.testing.assert_allclose(now, mean + b + c * (light + s * chroma), atol=1e-5)
        assert abs(b) <= 0.5 + 1e-5
        assert 0.5 - 1e-5 <= c <= 1.5 + 1e-5
        assert -1e-5 <= s <= 2 + 1e-5


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_double_precision_is_kept_and_gradients_are_exact(policy):
    with jax.enable_x64(True):
        images = jnp.asarray(np.asarray(IMAGES[:3], np.float64))
        after = changed(policy, images, jnp.float32(1))
        assert after.dtype == jnp.float64
        np.testing.assert_allclose(after, changed(policy, images.astype(jnp.float32), jnp.float32(1)), atol=1e-6)
        check_grads(lambda x: changed(policy, x, jnp.float32(0.5)), (images,), order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_draw_does_not_depend_on_the_dtype(policy):
    low = changed(policy, IMAGES.astype(jnp.bfloat16)).astype(jnp.float32)
    np.testing.assert_allclose(low, changed(policy), atol=0.04)


def first(keys, image, probability):
    return jax.vmap(jax.random.uniform)(keys)


def second(keys, image, probability):
    return jax.vmap(jax.random.uniform)(keys)


def test_a_policy_draws_by_its_name_and_not_by_its_place():
    assert not np.array_equal(changed(first), changed(second))
    policies = (augment.cutout, augment.translation, augment.flip)
    together = augment.apply(policies, jax.random.key(0), INDEX, IMAGES, ONE)
    np.testing.assert_array_equal(together, functools.reduce(lambda x, policy: changed(policy, x), policies, IMAGES))


def test_under_scan_vmap_and_shard_map_as_without():
    def all_of(index, images):
        policies = tuple(POLICIES.values())
        return augment.apply(policies, jax.random.key(0), index, images, jnp.float32(0.7))

    plain = all_of(INDEX, IMAGES)
    _, scanned = jax.lax.scan(
        lambda _, part: (None, all_of(*part)), None, (INDEX.reshape(4, 2), IMAGES.reshape(4, 2, 8, 8, 3))
    )
    np.testing.assert_allclose(scanned.reshape(plain.shape), plain, atol=1e-6)
    mapped = jax.vmap(all_of)(INDEX.reshape(2, 4), IMAGES.reshape(2, 4, 8, 8, 3))
    np.testing.assert_allclose(mapped.reshape(plain.shape), plain, atol=1e-6)
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("batch")
    sharded = jax.shard_map(all_of, mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_allclose(jax.jit(sharded)(INDEX, IMAGES), plain, atol=1e-6)


def test_cutout_cuts_this_share_of_the_area_on_average_and_alike_in_a_pyramid():
    """A side of 1/2 at a uniform place keeps 7/16 of the length inside on average, so 49/256 of the area."""
    index = jnp.arange(2000, dtype=jnp.int32)
    pyramid = {size: jnp.ones((2000, size, size, 1)) for size in (32, 16)}
    after = augment.apply((augment.cutout,), jax.random.key(0), index, pyramid, ONE)
    shares = {size: 1 - np.asarray(after[size]).mean(axis=(1, 2, 3)) for size in pyramid}
    assert shares[32].mean() == pytest.approx(49 / 256, abs=0.008)
    np.testing.assert_allclose(shares[16], shares[32], atol=0.05)  # By half a pixel of the smaller on each side.


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


def test_adaptation_crosses_the_whole_range_in_so_many_images():
    def after(steps, sign):
        rise = jax.lax.scan(lambda p, _: (augment.adapt(p, sign, 64, 0.6, 6400), None), jnp.float32(0), None, steps)
        return float(rise[0])

    assert after(50, jnp.float32(0.9)) == pytest.approx(0.5, abs=1e-5)
    assert after(101, jnp.float32(0.9)) == 1
    assert after(101, jnp.float32(0.3)) == 0


@given(st.floats(0, 1, width=32), st.floats(-1, 1, width=32), st.integers(1, 10**6))
def test_adaptation_stays_a_probability_and_goes_towards_the_target(probability, sign, batch_size):
    after = float(augment.adapt(jnp.float32(probability), jnp.float32(sign), batch_size))
    assert 0 <= after <= 1
    assert (after - probability) * (np.float32(sign) - np.float32(0.6)) >= 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_window_is_the_same_numbers_by_slices_and_by_products(dtype, key):
    images = jax.random.normal(key, (5, 9, 7, 3)).astype(dtype)
    starts = jax.random.randint(key, (5, 2), 0, 4, jnp.int32)

    def weighed(way, images):
        cut = jax.vmap(functools.partial(way, (6, 4)))(images, starts)
        return jnp.sum(cut * jnp.arange(cut.size, dtype=dtype).reshape(cut.shape)), cut

    (slices, products) = (
        jax.grad(functools.partial(weighed, way), has_aux=True)(images)
        for way in (window.by_slices, window.by_products)
    )
    jax.tree.map(np.testing.assert_array_equal, products, slices)
    row, column = starts[2]
    np.testing.assert_array_equal(slices[1][2], images[2, row : row + 6, column : column + 4])
