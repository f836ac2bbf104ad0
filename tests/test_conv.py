"""Convolutions against XLA's own: values, and derivatives of the first and second order, wherever they stand."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxgan.models import conv as fast

ORDER = ("NHWC", "HWIO", "NHWC")
FORMS = ("quick", "fast")
# Shapes that take each way through the module: Winograd (r = 2 and 3), patches, XLA's kernel.
WAYS = {
    "winograd 4x4 stride 2": ((2, 8, 10, 16), (4, 4, 16, 16), 2),
    "winograd 3x3, tiles of 4": ((2, 9, 12, 32), (3, 3, 32, 32), 1),
    "winograd 3x3, tiles of 2": ((1, 5, 4, 32), (3, 3, 32, 32), 1),
    "winograd 5x3, strides 2 and 1": ((2, 9, 5, 16), (5, 3, 16, 16), (2, 1)),
    "patches 4x4 stride 2": ((2, 8, 10, 1), (4, 4, 1, 3), 2),
    "patches 1x1": ((2, 5, 4, 70), (1, 1, 70, 3), 1),
    "patches, small output": ((2, 8, 7, 16), (4, 4, 16, 16), 3),
    "xla, few features": ((2, 6, 6, 16), (3, 3, 16, 2), 1),
    "xla, 7x7": ((2, 9, 8, 16), (7, 7, 16, 16), 1),
}


def reference(x, kernel, stride, padding):
    stride = (stride, stride) if isinstance(stride, int) else stride
    padding = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=ORDER)


def draw(shape, dtype=jnp.float32, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def assert_close(a, b, rtol=2e-5):
    """Within rtol of the largest value: what float32 sums of this length allow."""

    def check(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * max(1e-3, np.abs(b).max(initial=0)))

    jax.tree.map(check, a, b)


def derivatives(function, x, kernel):
    """Value, both gradients, and the gradients of a penalty on the gradients (which differentiate twice)."""

    def loss(x, kernel):
        y = function(x, kernel)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape)) + y * y / 2)

    def penalty(x, kernel):
        for_x, for_kernel = jax.grad(loss, (0, 1))(x, kernel)
        return jnp.sum(for_x**2) + jnp.sum(for_kernel**2)

    @jax.jit
    def both(x, kernel):
        return function(x, kernel), jax.grad(loss, (0, 1))(x, kernel), jax.grad(penalty, (0, 1))(x, kernel)

    return both(x, kernel)


sizes, taps, steps = st.integers(1, 11), st.integers(1, 5), st.integers(1, 3)
pads = st.tuples(st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=20)
@given(
    size=st.tuples(sizes, sizes),
    kernel=st.tuples(taps, taps),
    stride=st.one_of(steps, st.tuples(steps, steps)),
    padding=st.one_of(st.sampled_from(["SAME", "VALID", 0, 1, 2]), st.tuples(pads, pads)),
    channels=st.sampled_from([(1, 3), (16, 16), (17, 2), (70, 20)]),
)
def test_equals_xla_up_to_the_second_order(size, kernel, stride, padding, channels):
    x, k = draw((2, *size, channels[0])), draw((*kernel, *channels), seed=1)
    try:
        expected = reference(x, k, stride, padding)
    except (TypeError, ValueError):
        expected = jnp.zeros(0)
    if expected.size == 0:
        with pytest.raises(ValueError, match="leave nothing"):
            fast.conv(x, k, stride, padding)
        return
    xlas = derivatives(lambda x, k: reference(x, k, stride, padding), x, k)
    for form in FORMS:
        ours = derivatives(fast.compiled(lambda x, k: fast.conv(x, k, stride, padding), form), x, k)
        assert_close(ours, xlas, rtol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_taken_and_exact_in_float64(way):
    shape, kernel_shape, stride = WAYS[way]
    with jax.enable_x64(True):
        x, k = draw(shape, jnp.float64), draw(kernel_shape, jnp.float64, seed=1)
        xlas = derivatives(lambda x, k: reference(x, k, stride, "SAME"), x, k)
        for form in FORMS:
            ours = derivatives(fast.compiled(lambda x, k: fast.conv(x, k, stride), form), x, k)
            assert_close(ours, xlas, rtol=1e-12)
        steps = fast._pair(stride)
        axes = [fast._Axis(shape[1 + i], kernel_shape[i], steps[i], 1, -(-shape[1 + i] // steps[i])) for i in (0, 1)]
        arguments = (shape, jax.ShapeDtypeStruct(kernel_shape, jnp.float64))
        quick = fast._choose((axes[0], axes[1]), "quick", *arguments)
        assert quick is None or quick.split.__qualname__.startswith("_patches")
        algorithm = fast._choose((axes[0], axes[1]), "fast", *arguments)
        if algorithm is None:
            assert way.startswith("xla")
            return
        assert way.startswith(algorithm.split.__qualname__.split(".")[0].strip("_"))
        if "tiles of" in way:
            tile = round(len(algorithm.taps(k)) ** 0.5) - axes[0].blocks + 1
            assert way.endswith(f"tiles of {tile}")


@settings(max_examples=8)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=taps,
    stride=steps,
    padding=st.sampled_from(["SAME", "VALID", 1]),
    channels=st.sampled_from([(3, 1), (16, 17)]),
)
def test_transposed_is_the_transpose_of_xlas_convolution(size, kernel, stride, padding, channels):
    x, k = draw((2, *size, channels[0])), draw((kernel, kernel, *channels), seed=1)
    if padding == 1:
        grown = [(n - 1) * stride + kernel - 2 for n in size]
        if min(grown) < 1:
            return
    else:
        grown = [n * stride if padding == "SAME" else (n - 1) * stride + kernel for n in size]
    image = jax.ShapeDtypeStruct((2, *grown, channels[1]), jnp.float32)

    def theirs(x, k):
        convolve = functools.partial(reference, kernel=k.swapaxes(2, 3), stride=stride, padding=padding)
        return jax.linear_transpose(convolve, image)(x)[0]

    ours = functools.partial(fast.conv_transpose, stride=stride, padding=padding)
    expected = derivatives(theirs, x, k)
    for form in FORMS:
        assert_close(derivatives(fast.compiled(ours, form), x, k), expected, rtol=1e-4)


def test_transposed_is_laxs_with_the_kernel_turned():
    x, k = draw((2, 5, 6, 16)), draw((4, 4, 16, 16), seed=1)
    theirs = lax.conv_transpose(x, k[::-1, ::-1], (2, 2), "SAME", dimension_numbers=ORDER)
    assert_close(fast.conv_transpose(x, k), theirs)


def test_transposed_by_hand():
    # One pixel of value 2 at the origin leaves the kernel, cut by padding, in the corner.
    x = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0, 0].set(2.0)
    kernel = jnp.arange(16.0).reshape(4, 4, 1, 1)
    expected = np.zeros((4, 4))
    expected[:3, :3] = 2 * np.arange(16).reshape(4, 4)[1:, 1:]
    np.testing.assert_allclose(fast.conv_transpose(x, kernel)[0, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "way", ["winograd 4x4 stride 2", "winograd 3x3, tiles of 4", "patches 4x4 stride 2", "xla, few features"]
)
def test_scan_cond_map_vmap_and_remat_change_nothing(way):
    shape, kernel_shape, stride = WAYS[way]
    x, k = draw(shape), draw(kernel_shape, seed=1)
    convolve = fast.compiled(fast.conv)

    @jax.jit
    def gradients(x, k):
        return jax.grad(lambda x, k: jnp.sum(convolve(x, k, stride) ** 2), (0, 1))(x, k)

    expected = gradients(x, k)
    scanned = lax.scan(lambda c, _: (c, gradients(x, k)), 0, length=2)[1]
    assert_close(jax.tree.map(lambda a: a[1], scanned), expected)
    assert_close(jax.jit(lambda p: lax.cond(p, lambda: gradients(x, k), lambda: (x, k)))(True), expected)
    pair = jnp.stack([k, 2 * k])
    separately = jax.tree.map(lambda *a: jnp.stack(a), expected, gradients(x, 2 * k))
    assert_close(lax.map(lambda k: gradients(x, k), pair), separately)
    assert_close(jax.vmap(lambda k: gradients(x, k))(pair), separately)
    rematerialised = jax.grad(jax.checkpoint(lambda x: jnp.sum(convolve(x, k, stride) ** 2)))(x)
    assert_close(rematerialised, expected[0])


def test_bfloat16_keeps_its_dtype():
    x, k = draw((2, 8, 8, 16), jnp.bfloat16), draw((4, 4, 16, 16), jnp.bfloat16, seed=1)
    value, pullback = jax.vjp(lambda x, k: fast.conv(x, k, 2), x, k)
    cotangents = pullback(value)
    assert {a.dtype for a in (value, *cotangents)} == {jnp.dtype("bfloat16")}
    expected = reference(x.astype(jnp.float32), k.astype(jnp.float32), 2, "SAME")
    assert_close(value.astype(jnp.float32), expected, rtol=1e-2)


def looped_convolutions(function, *arguments):
    """The orders of dimensions of the convolutions in a compiled loop of a function."""

    def loop(arguments):
        def body(carry, _):
            return jax.tree.map(lambda a, b: a + 1e-3 * b, carry, function(*carry)), None

        return lax.scan(body, arguments, length=3)[0]

    compiled = jax.jit(loop).lower(arguments).compile().as_text()
    assert compiled is not None
    return re.findall(r"dim_labels=(\S+?)[,\s]", compiled)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_no_convolution_in_a_loop_is_in_a_slow_order(way, form):
    """The guard of what this module is for. XLA's own gradients fail it, as the last lines show."""
    shape, kernel_shape, stride = WAYS[way]
    x, k = draw(shape), draw(kernel_shape, seed=1)

    def second_order(convolve):
        loss = lambda x, k: jnp.sum(convolve(x, k) ** 2)  # noqa: E731
        penalty = lambda x, k: loss(x, k) + jnp.sum(jax.grad(loss)(x, k) ** 2)  # noqa: E731
        return jax.grad(penalty, (0, 1))

    ours = looped_convolutions(second_order(fast.compiled(lambda x, k: fast.conv(x, k, stride), form)), x, k)
    assert set(ours) <= {"b01f_01io->b01f"}
    theirs = looped_convolutions(second_order(lambda x, k: reference(x, k, stride, "SAME")), x, k)
    assert set(theirs) - {"b01f_01io->b01f"}


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_keep_xlas_own(platform):
    x, k = draw((2, 8, 8, 16)), draw((4, 4, 16, 16), seed=1)
    gradients = jax.jit(jax.grad(lambda x, k: jnp.sum(fast.conv(x, k, 2) ** 2), (0, 1)))
    exported = jax.export.export(gradients, platforms=[platform])(x, k)
    text = exported.mlir_module()
    assert text.count("stablehlo.convolution") == 3
    assert "dot_general" not in text


def test_what_is_known_of_the_platform_is_all_that_is_traced(key):
    """Also where it is not the one of this process: programs for accelerators are lowered on CPU hosts."""

    def operations(platform):
        loss = fast.compiled(lambda x, k: jnp.sum(fast.conv(x, k) ** 2) + jnp.sum(fast.grouped(x, k)), "fast", platform)
        arguments = draw((2, 8, 8, 32)), draw((3, 3, 32, 32), seed=1)
        return set(re.findall(r"\w+", str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(*arguments))))

    both = {"platform_index", "conv_general_dilated", "dot_general"}
    assert both <= operations(None)
    assert both & operations("cpu") == {"dot_general"}
    assert both & operations("tpu") == {"conv_general_dilated"}


def test_a_shape_is_not_traced_anew_for_every_use(monkeypatch):
    traced, choose = [], fast._choose
    monkeypatch.setattr(fast, "_choose", lambda axes, *rest: traced.append(axes) or choose(axes, *rest))
    k = draw((3, 3, 19, 19))  # A shape that no other test has.

    def chain(x, k):
        for _ in range(5):
            x = fast.conv(x, k)
        return jnp.sum(x**2)

    def penalty(x, k):
        return chain(x, k) + jnp.sum(jax.grad(chain)(x, k) ** 2)

    jax.jit(jax.grad(penalty, (0, 1))).lower(draw((2, 7, 7, 19)), k)
    assert len(traced) <= 4  # The convolution, also of cotangents, and its two gradients; not those of every use.


@pytest.mark.parametrize(
    ("shape", "kernel", "arguments", "message"),
    [
        ((1, 4, 4, 3), (3, 3, 2, 5), {}, r"do not fit: \(1, 4, 4, 3\) and \(3, 3, 2, 5\)"),
        ((4, 4, 3), (3, 3, 3, 5), {}, "do not fit"),
        ((1, 4, 4, 3), (3, 3, 3, 5), {"padding": "FULL"}, 'padding must be "SAME", "VALID"'),
        ((1, 4, 4, 3), (3, 3, 3, 5), {"padding": (1, 1)}, "padding must be"),
        ((1, 4, 4, 3), (3, 3, 3, 5), {"stride": 0}, "stride must be"),
        ((1, 2, 2, 3), (3, 3, 3, 5), {"padding": "VALID"}, "leave nothing"),
    ],
)
def test_mistakes_are_named(shape, kernel, arguments, message):
    with pytest.raises(ValueError, match=message):
        fast.conv(jnp.zeros(shape), jnp.zeros(kernel), **arguments)


@pytest.mark.parametrize(("channels", "features"), [(192, 192), (48, 96)])
@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_groups_on_accelerators_are_dense_convolutions(platform, channels, features, key):
    """As XLA's own grouped convolution, and its gradients; none of them has groups."""
    x, k = draw((2, 5, 6, channels)), draw((3, 3, 16, features), seed=1)

    def own(x, k):
        return jnp.sum(jnp.sin(fast.grouped(x, k)))

    def xla(x, k):
        count = channels // 16
        order = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=order, feature_group_count=count)
        return jnp.sum(jnp.sin(y))

    own = jax.grad(fast.compiled(own, platform=platform), (0, 1))
    assert "feature_group_count=1" in (program := str(jax.make_jaxpr(own)(x, k)))
    assert f"feature_group_count={channels // 16}" not in program
    for a, b in zip(own(x, k), jax.grad(xla, (0, 1))(x, k), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("function", [fast.conv, fast.conv_transpose])
def test_a_wider_kernel_is_rounded_and_its_gradient_is_not(function, platform):
    """Sums of 1001 ones, which bfloat16 does not have; also those of a gradient penalty."""
    x, k = jnp.ones((7, 11, 13, 2), jnp.bfloat16), jnp.full((1, 1, 2, 3), 1 + 2**-12)
    function = fast.compiled(functools.partial(function, stride=1), platform=platform)
    y, pullback = jax.vjp(function, x, k)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, 2)
    dx, dk = pullback(jnp.ones_like(y))
    assert (dx.dtype, dk.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(dk, 1001)

    def penalty(k):
        slope = jax.grad(lambda x: jnp.sum(function(x, k).astype(jnp.float32)))(x)
        return jnp.sum(slope.astype(jnp.float32))

    np.testing.assert_array_equal(jax.grad(penalty)(k), 1001)
