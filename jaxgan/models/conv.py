"""Convolutions that are fast on CPU too, wherever they stand: alone, in a scan, in a cond, differentiated twice.

XLA's CPU backend has a fast kernel for one order of dimensions, and brings convolutions into that order only in a
program's entry computation. In a loop or a branch, JAX's own gradients of a convolution (which are in another order)
fall to a naive loop, a hundred times slower; its transposed convolutions are slow everywhere. Here a convolution is
instead the sum of a few matrix products between linear images of its arguments,

    conv(x, k) = join([a @ b for a, b in zip(split(x), taps(k))])

so that its two gradients are the same products with the linear maps transposed. Two choices of the maps are used: plain
patches for few channels, and Winograd's minimal filtering F(m, r) otherwise: tiles of m outputs of r taps from
m + r - 1 products an axis, which leaves 1/4 (m = 4) or 4/9 (m = 2) of the multiplications of a 3x3 convolution. A
stride s is folded into the channels first (space to depth), which makes of the 4x4 convolution of stride 2 one of
r = 2, with 9/16 of the multiplications. What neither fits (bfloat16, tiny outputs, large kernels) goes to XLA's fast
kernel in the one order it takes. See docs/convolutions.md for the figures.

Winograd's dozens of products a convolution take a second to compile, so there are two forms of every program: "quick"
to compile, without them, and "fast" to run, with them where they save time. A program is of the quick form unless the
function that is traced is `compiled` in the other. That is the one place of this choice.

Convolution, input gradient and kernel gradient are one trilinear form; each has a `custom_vjp` made of the other two,
so that reverse-mode derivatives of every order stay on the fast path. Forward mode (`jax.jvp`, `jax.hessian`) is not
defined. On accelerators all three are XLA's own, in both forms. `grouped` is for convolutions of groups of features.
Each is traced once for a shape, however often a program has it.

Kernels may be of a wider dtype than what they are convolved with, as parameters are in mixed precision: the products
are taken in the narrower one, the kernel's gradient is summed, over examples and devices, in the wider.

References:
    Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
"""

import contextvars
import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Padding = str | int | Sequence[tuple[int, int]]
Form = Literal["quick", "fast", "everywhere"]
"""Of a program's convolutions on CPU: quick to compile; fast to run; or Winograd's algorithm everywhere that it can go,
as in runs from before there was a choice. All compute the same up to rounding."""
_ORDER = ("NHWC", "HWIO", "NHWC")


class _How(NamedTuple):
    """How the convolutions of a program are compiled."""

    form: Form = "quick"
    platform: str | None = None  # that the program is for; None: that which it is lowered for


_QUICK = _How()
_how = contextvars.ContextVar("how", default=_QUICK)


def compiled(function: Callable[..., Any], form: Form = "fast", platform: str | None = None) -> Callable[..., Any]:
    """The function, its convolutions compiled in the form named; for `jax.jit` and its like to trace.

        step = jax.jit(conv.compiled(train_step.train_step, "fast"), static_argnums=0)

    On 2 CPU cores a large convolution of the fast form runs two to three times as fast and takes ten times as long to
    compile: worth it from a thousand training steps on.

    Args:
        function: any function.
        form: of its convolutions, wherever in it they stand.
        platform: "cpu", "gpu" or "tpu", where it is known what the program is for: nothing is traced for others then.

    Returns:
        A function of the same arguments and result, up to rounding.
    """

    @functools.wraps(function)
    def chosen(*arguments: Any, **keywords: Any) -> Any:
        token = _how.set(_How(form, platform))
        try:
            return function(*arguments, **keywords)
        finally:
            _how.reset(token)

    return chosen


def conv(x: jax.Array, kernel: jax.Array, stride: int | tuple[int, int] = 1, padding: Padding = "SAME") -> jax.Array:
    """Convolution (cross-correlation), as `lax.conv_general_dilated` with NHWC and HWIO.

    Args:
        x: [N, H, W, C_in].
        kernel: [kh, kw, C_in, C_out], of x's dtype or another, whose precision its gradient has.
        stride: step along both axes, or along each.
        padding: "SAME", "VALID", a number of zeros on every side, or ((top, bottom), (left, right)).

    Returns:
        [N, H', W', C_out].

    Raises:
        ValueError: shapes, stride or padding do not fit.
    """
    _check(x, kernel, 2)
    strides = _pair(stride)
    axes = []
    for size, taps, step, pads in zip(x.shape[1:3], kernel.shape[:2], strides, _pads(padding), strict=True):
        if pads is None:
            out = -(-size // step)
            total = max((out - 1) * step + taps - size, 0)
            pads = (total // 2, total - total // 2)
        axes.append(_Axis(size, taps, step, pads[0], (size + sum(pads) - taps) // step + 1))
    return _conv(_checked(axes, padding), _how.get(), *alike(x, kernel))


def conv_transpose(
    x: jax.Array, kernel: jax.Array, stride: int | tuple[int, int] = 2, padding: Padding = "SAME"
) -> jax.Array:
    """Transposed convolution: the gradient, for its input, of the convolution that has this stride and padding.

    The same as PyTorch's `conv_transpose2d(x, w)` with `kernel[i, j, c, d] = w[c, d, i, j]`; "SAME" with a 4x4 kernel
    and stride 2 is its `padding=1`. `lax.conv_transpose` takes the kernel turned by half a turn.

    Args:
        x: [N, H, W, C_in].
        kernel: [kh, kw, C_in, C_out], of x's dtype or another, whose precision its gradient has.
        stride: growth along both axes, or along each.
        padding: that of the convolution transposed: "SAME" (gives [N, H * stride, W * stride, C_out]), "VALID", a
            number, or ((top, bottom), (left, right)); padding makes the result smaller.

    Returns:
        [N, H', W', C_out].

    Raises:
        ValueError: shapes, stride or padding do not fit.
    """
    _check(x, kernel, 2)
    strides = _pair(stride)
    axes = []
    for out, taps, step, pads in zip(x.shape[1:3], kernel.shape[:2], strides, _pads(padding), strict=True):
        low, high = (max(taps - step, 0) // 2, 0) if pads is None else pads
        size = out * step if pads is None else (out - 1) * step + taps - low - high
        axes.append(_Axis(size, taps, step, low, out))
    return _input_gradient(_checked(axes, padding), _how.get(), *alike(x, kernel.swapaxes(2, 3)))


def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Grouped convolution of stride 1, each group of features by itself, [N, H, W, C] -> [N, H, W, D].

    As `lax.conv_general_dilated` with `feature_group_count`, which is fast nowhere. On CPU it is a naive loop, its
    gradients too; products of patches are about ten times as fast. (Winograd's algorithm for each group would shorten
    a training step by another third, but takes ten times as long to compile.) On TPU a group of 16 features fills 16 of
    128 lanes, and on several GPUs XLA's partitioner gathers the whole batch on each: there, as many groups as have 128
    features (64 on GPUs, whose matrix units are content with these) are one convolution, whose kernel is zero between
    groups.

    Args:
        x: features; a group's are neighbours.
        kernel: [k, k, C / groups, D], k odd; a group's outputs are neighbours. Of x's dtype or another.
    """
    if kernel.shape[2] == x.shape[3]:
        return conv(x, kernel)
    return _grouped(_how.get(), *alike(x, kernel))


def by_platform(*arguments: Any, default: Callable[..., Any], **special: Callable[..., Any]) -> Any:
    """Calls one of several functions that compute the same, by what the program is for (see `compiled`).

    Args:
        *arguments: of the functions, arrays.
        default: for platforms that are not named.
        **special: by platform, "cpu", "gpu" or "tpu".
    """
    return _by_platform(_how.get(), *arguments, default=default, **special)


def alike(*arrays: jax.Array) -> list[jax.Array]:
    """The arrays, in `shard_map` each device's own where any of them is: gradients of such arguments are so, too."""
    # What an array is the same over, its type tells only where `check_vma` is set.
    varying = [getattr(getattr(jax.typeof(array), "mat", None), "varying", frozenset()) for array in arrays]
    together = frozenset().union(*varying)
    return [
        lax.pcast(array, tuple(together - own), to="varying") if together - own else array
        for array, own in zip(arrays, varying, strict=True)
    ]


def wider(*dtypes: Any) -> Any:
    """Which of floating dtypes has the most bits."""
    return max(dtypes, key=lambda dtype: jnp.finfo(dtype).bits)


class _Axis(NamedTuple):
    """One spatial axis of a convolution; zeros after the end follow from the rest (fewer than none: cut off)."""

    size: int  # of the input
    taps: int  # of the kernel
    stride: int
    low: int  # zeros before the beginning
    out: int  # size of the output

    @property
    def high(self) -> int:
        return (self.out - 1) * self.stride + self.taps - self.size - self.low

    @property
    def blocks(self) -> int:
        """r: taps of the kernel, counted in strides."""
        return -(-self.taps // self.stride)


_Axes = tuple[_Axis, _Axis]


def _by_platform(how: _How, *arguments: Any, default: Callable[..., Any], **special: Callable[..., Any]) -> Any:
    if how.platform is None:
        return lax.platform_dependent(*arguments, default=default, **special)
    return special.get(how.platform, default)(*arguments)


# jit in each, for its cache: traced once for all convolutions of the same shapes. Inlined, for what stays a function
# to XLA is not fused with what stands around it: a step of StyleGAN2 would take a third longer.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _conv(axes: _Axes, how: _How, x: jax.Array, kernel: jax.Array) -> jax.Array:
    kernel = kernel.astype(x.dtype)

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        algorithm = _choose(axes, how.form, x.shape, kernel)
        if algorithm is None:
            return _xla_conv(axes, x, kernel)
        split, taps, join = algorithm
        return join([a @ b for a, b in zip(split(x), taps(kernel), strict=True)])

    return _by_platform(how, x, kernel, cpu=ours, default=functools.partial(_xla_conv, axes))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _input_gradient(axes: _Axes, how: _How, g: jax.Array, kernel: jax.Array) -> jax.Array:
    shape = (g.shape[0], axes[0].size, axes[1].size, kernel.shape[2])
    kernel = kernel.astype(g.dtype)

    def ours(g: jax.Array, kernel: jax.Array) -> jax.Array:
        algorithm = _choose(axes, how.form, shape, kernel)
        if algorithm is None:
            # The barrier keeps the compiler from folding what is done to the kernel into the convolution again.
            return by_xla(g, lax.optimization_barrier(kernel[::-1, ::-1].swapaxes(2, 3)), _ORDER)
        split, taps, join = algorithm
        x = _like(shape, g.dtype, g, kernel)
        products = [a @ b.T for a, b in zip(_cotangents(join, split, x, g), taps(kernel), strict=True)]
        return _transpose(split, x, products)

    def by_xla(g: jax.Array, turned: jax.Array, order: tuple[str, str, str]) -> jax.Array:
        """The convolution of the dilated cotangent with the kernel turned round."""
        pads = [(a.taps - 1 - a.low, a.taps - 1 - a.high) for a in axes]
        return _xla(g, turned, (1, 1), pads, dilate_input=(axes[0].stride, axes[1].stride), order=order)

    def xla(g: jax.Array, kernel: jax.Array) -> jax.Array:
        return by_xla(g, kernel[::-1, ::-1], ("NHWC", "HWOI", "NHWC"))

    return _by_platform(how, g, kernel, cpu=ours, default=xla)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _kernel_gradient(axes: _Axes, how: _How, dtype: Any, x: jax.Array, g: jax.Array) -> jax.Array:
    shape = (axes[0].taps, axes[1].taps, x.shape[3], g.shape[3])

    def ours(x: jax.Array, g: jax.Array) -> jax.Array:
        kernel = _like(shape, x.dtype, x, g)
        algorithm = _choose(axes, how.form, x.shape, kernel)
        if algorithm is None:
            # Channels as the batch, the batch as channels: the fast order, which barriers keep.
            images, taps = lax.optimization_barrier((x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)))
            return lax.optimization_barrier(by_xla(images, taps, _ORDER)).transpose(1, 2, 0, 3)
        split, taps, join = algorithm
        parts = zip(split(x), _cotangents(join, split, x, g), strict=True)
        return _transpose(taps, kernel, [a.T @ b for a, b in parts])

    def by_xla(x: jax.Array, g: jax.Array, order: tuple[str, str, str]) -> jax.Array:
        """The convolution of the input with the cotangent as a dilated kernel."""
        pads = [(a.low, a.high) for a in axes]
        dilation = (axes[0].stride, axes[1].stride)
        return _xla(x, g, (1, 1), pads, dilate_kernel=dilation, order=order, dtype=wider(x.dtype, dtype))

    def xla(x: jax.Array, g: jax.Array) -> jax.Array:
        return by_xla(x, g, ("CHWN", "IHWO", "HWNC"))

    return _by_platform(how, x, g, cpu=ours, default=xla).astype(dtype)


# <conv(x, k), g> is linear in each of the three: the derivative for one argument is the form's map of the others.
_conv.defvjp(
    lambda axes, how, x, kernel: (_conv(axes, how, x, kernel), (x, kernel)),
    lambda axes, how, saved, g: (
        _input_gradient(axes, how, g, saved[1]),
        _kernel_gradient(axes, how, saved[1].dtype, saved[0], g),
    ),
)
_input_gradient.defvjp(
    lambda axes, how, g, kernel: (_input_gradient(axes, how, g, kernel), (g, kernel)),
    lambda axes, how, saved, x: (
        _conv(axes, how, x, saved[1]),
        _kernel_gradient(axes, how, saved[1].dtype, x, saved[0]),
    ),
)
_kernel_gradient.defvjp(
    lambda axes, how, dtype, x, g: (_kernel_gradient(axes, how, dtype, x, g), (x, g)),
    lambda axes, how, dtype, saved, kernel: (
        _input_gradient(axes, how, saved[1], kernel),
        _conv(axes, how, saved[0], kernel),
    ),
)


class _Algorithm(NamedTuple):
    """Three linear maps with `conv(x, k) = join([a @ b for a, b in zip(split(x), taps(k))])`."""

    split: Callable[[jax.Array], list[jax.Array]]
    taps: Callable[[jax.Array], list[jax.Array]]
    join: Callable[[list[jax.Array]], jax.Array]


def _choose(
    axes: _Axes, form: Form, shape: tuple[int, ...], kernel: jax.Array | jax.ShapeDtypeStruct
) -> _Algorithm | None:
    """The algorithm for an input of this shape; None for XLA's kernel."""
    kh, kw, channels, features = kernel.shape
    rows, columns = axes
    if kernel.dtype not in (jnp.float32, jnp.float64):
        return None
    # XLA exchanges a convolution's arguments where the kernel is the larger one, out of the fast order.
    exchanged = not kh * kw <= rows.out * columns.out <= rows.size * columns.size
    if exchanged or kh * kw * channels <= 64 or (kh, kw) == (rows.stride, columns.stride) == (1, 1):
        return _patches(axes, shape[0])
    # Tiles waste much of a very small output; few channels make thin products.
    possible = min(rows.out, columns.out) >= 4 and min(channels, features) >= 16
    if form == "quick" or not possible or not {rows.blocks, columns.blocks} <= {2, 3}:
        return None
    tile = _tile(axes, shape[0], channels, features)
    if form == "fast" and not _saves(axes, tile, min(channels, features)):
        return None
    return _winograd(axes, shape[0], tile)


def _saves(axes: _Axes, tile: int, channels: int) -> bool:
    """Whether Winograd's algorithm takes less time than XLA's kernel; measured on the layers of the shipped configs."""
    if max(a.stride for a in axes) == 1:
        return channels >= 32
    points = math.prod((tile + a.blocks - 1) * a.stride for a in axes)
    # A 3x3 convolution of stride 2 takes as many multiplications either way; XLA's is slow for large pictures.
    return points < math.prod(tile * a.taps for a in axes) or min(a.size for a in axes) >= 64


def _patches(axes: _Axes, count: int) -> _Algorithm:
    """One product of all patches with all taps."""
    rows, columns = axes

    def split(x: jax.Array) -> list[jax.Array]:
        x = _space_to_depth(axes, x, [a.out + a.blocks - 1 for a in axes])
        windows = [
            x[:, i : i + rows.out, :, j : j + columns.out] for i in range(rows.blocks) for j in range(columns.blocks)
        ]
        flat = [window.transpose(0, 1, 3, 2, 4, 5).reshape(count, rows.out, columns.out, -1) for window in windows]
        joined = jnp.concatenate(flat, axis=-1) if len(flat) > 1 else flat[0]
        return [joined.reshape(count * rows.out * columns.out, -1)]

    def taps(kernel: jax.Array) -> list[jax.Array]:
        return [_blocks_of(axes, kernel).transpose(0, 2, 1, 3, 4, 5).reshape(-1, kernel.shape[3])]

    def join(products: list[jax.Array]) -> jax.Array:
        return products[0].reshape(count, rows.out, columns.out, -1)

    return _Algorithm(split, taps, join)


def _tile(axes: _Axes, count: int, channels: int, features: int) -> int:
    """The side m of Winograd's tiles, 2 or 4, that costs less; measured: to move a number costs 100 multiplications."""
    if max(a.stride for a in axes) > 1:
        return 2  # Larger tiles cost more in moving the phases about than they save.

    def cost(m: int) -> int:
        points = math.prod(m + a.blocks - 1 for a in axes)
        tiles = count * math.prod(-(-a.out // m) for a in axes)
        moved = channels * features + tiles * (channels + features)
        return points * (tiles * channels * features + 100 * moved)

    return min((4, 2), key=cost)


def _winograd(axes: _Axes, count: int, m: int) -> _Algorithm:
    """A product for each of the (m + r - 1)^2 points of the transformed m x m tiles (and each phase of a stride)."""
    rows, columns = axes
    down, across = -(-rows.out // m), -(-columns.out // m)  # tiles
    (data_rows, taps_rows, out_rows), (data_columns, taps_columns, out_columns) = (
        _toom_cook(m, a.blocks) for a in axes
    )

    def split(x: jax.Array) -> list[jax.Array]:
        # A tile reaches r - 1 <= m blocks into the next one, which the last tile of a line must find too.
        x = _space_to_depth(axes, x, [m * (down + 1), m * (across + 1)])
        return [
            phase.reshape(count * down * across, -1)
            for row in _mix(data_rows, _tiles(x, 1, m, down, m + rows.blocks - 1))
            for tile in _mix(data_columns, _tiles(row, 3, m, across, m + columns.blocks - 1))
            for phase in _unstack(tile, 2)
        ]

    def taps(kernel: jax.Array) -> list[jax.Array]:
        blocks = _blocks_of(axes, kernel)
        return [
            point[phase].reshape(-1, kernel.shape[3])
            for row in _mix(taps_rows, [blocks[i] for i in range(rows.blocks)])
            for point in _mix(taps_columns, [row[:, i] for i in range(columns.blocks)])
            for phase in range(rows.stride)
        ]

    def join(products: list[jax.Array]) -> jax.Array:
        phases = [products[phase :: rows.stride] for phase in range(rows.stride)]
        points = [
            functools.reduce(jnp.add, parts).reshape(count, down, across, -1) for parts in zip(*phases, strict=True)
        ]
        width = len(out_columns[0])
        lines = [points[i : i + width] for i in range(0, len(points), width)]
        outputs = _mix(out_rows, [jnp.stack(_mix(out_columns, line), axis=3) for line in lines])
        out = jnp.stack(outputs, axis=2).reshape(count, m * down, m * across, -1)
        return out[:, : rows.out, : columns.out]

    return _Algorithm(split, taps, join)


_Matrix = list[list[float]]


@functools.cache
def _toom_cook(m: int, r: int) -> tuple[_Matrix, _Matrix, _Matrix]:
    """F(m, r): m outputs y = A^T [(G g) * (B^T d)] of r taps g and m + r - 1 data d; returns B^T, G and A^T.

    The filter is a product of polynomials evaluated at m + r - 2 points and at infinity (Lavin and Gray, section 4);
    of the points tried, these had about the least rounding error.
    """
    points = [Fraction(point) for point in ("0", "1", "-1", "1/2", "-2")[: m + r - 2]]

    def expand(roots: list[Fraction]) -> list[Fraction]:
        """Coefficients of the monic polynomial with these roots, from the constant on."""
        polynomial = [Fraction(1)]
        for root in roots:
            pairs = zip([Fraction(0), *polynomial], [*polynomial, Fraction(0)], strict=True)
            polynomial = [a - root * b for a, b in pairs]
        return polynomial

    others = [[q for q in points if q != p] for p in points]
    data = [[*expand(rest), Fraction(0)] for rest in others] + [expand(points)]
    scales = [math.prod((p - q for q in rest), start=Fraction(1)) for p, rest in zip(points, others, strict=True)]
    taps = [[p**k / scale for k in range(r)] for p, scale in zip(points, scales, strict=True)]
    taps.append([Fraction(k == r - 1) for k in range(r)])
    out = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    b, g, a = ([[float(value) for value in row] for row in matrix] for matrix in (data, taps, out))
    return b, g, a


def _mix(matrix: list[list[float]], parts: list[jax.Array]) -> list[jax.Array]:
    """The linear combinations of arrays that the rows of a matrix name."""

    def combine(row: list[float]) -> jax.Array:
        terms = [part if c == 1 else part * c for c, part in zip(row, parts, strict=True) if c]
        return functools.reduce(jnp.add, terms)

    return [combine(row) for row in matrix]


def _tiles(x: jax.Array, axis: int, m: int, count: int, width: int) -> list[jax.Array]:
    """The elements of overlapping tiles along an axis: the j-th result holds the elements m t + j, t < count."""
    parts = _unstack(x.reshape(*x.shape[:axis], -1, m, *x.shape[axis + 1 :]), axis + 1)
    return [lax.slice_in_dim(parts[j % m], j // m, j // m + count, axis=axis) for j in range(width)]


def _unstack(x: jax.Array, axis: int) -> list[jax.Array]:
    # Not by indexing: the transpose of a split is one concatenation, that of indexing a sum of padded arrays.
    return [part.squeeze(axis) for part in lax.split(x, (1,) * x.shape[axis], axis)]


def _space_to_depth(axes: _Axes, x: jax.Array, blocks: list[int]) -> jax.Array:
    """[N, H, W, C], padded and cut to `blocks` strides an axis -> [N, blocks, stride, blocks, stride, C]."""
    padding = [(a.low, n * a.stride - a.size - a.low, 0) for a, n in zip(axes, blocks, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *padding, (0, 0, 0)])
    return x.reshape(x.shape[0], blocks[0], axes[0].stride, blocks[1], axes[1].stride, x.shape[3])


def _blocks_of(axes: _Axes, kernel: jax.Array) -> jax.Array:
    """[kh, kw, C, D], filled up with zeros to whole strides -> [r, stride, r, stride, C, D]."""
    (r, s), (q, t) = ((a.blocks, a.stride) for a in axes)
    fill = [(0, a.blocks * a.stride - a.taps) for a in axes]
    kernel = jnp.pad(kernel, [*fill, (0, 0), (0, 0)])
    return kernel.reshape(r, s, q, t, *kernel.shape[2:])


def _cotangents(
    join: Callable[[list[jax.Array]], jax.Array],
    split: Callable[[jax.Array], list[jax.Array]],
    x: jax.Array,
    g: jax.Array,
) -> list[jax.Array]:
    """The cotangents of the products, for a cotangent g of their join."""
    parts = jax.eval_shape(split, x)
    return _transpose(join, [_like((part.shape[0], g.shape[3]), g.dtype, g) for part in parts], g)


def _like(shape: tuple[int, ...], dtype: Any, *arrays: jax.Array) -> jax.Array:
    """An array of this shape that is the same on all devices of a `shard_map` only if the others are.

    For its type alone; nothing is ever computed of it.
    """
    return jnp.broadcast_to(functools.reduce(jnp.add, (array.ravel()[0].astype(dtype) for array in arrays)), shape)


def _transpose(function, argument, cotangent):
    """Applies the transpose of a linear function of an argument of this shape."""
    return jax.linear_transpose(function, argument)(cotangent)[0]


def _xla_conv(axes: _Axes, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _xla(x, kernel, (axes[0].stride, axes[1].stride), [(a.low, a.high) for a in axes])


def _xla(
    x, kernel, strides, pads, dilate_input=(1, 1), dilate_kernel=(1, 1), order=_ORDER, dtype: Any = None
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        lhs_dilation=dilate_input,
        rhs_dilation=dilate_kernel,
        dimension_numbers=order,
        preferred_element_type=dtype,
    )


def _pair(stride: int | tuple[int, int]) -> tuple[int, int]:
    pair = (stride, stride) if isinstance(stride, int) else tuple(stride)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"stride must be one or two positive numbers, not {stride}")
    return pair


def _pads(padding: Padding) -> Sequence[tuple[int, int] | None]:
    if padding == "SAME":
        return (None, None)
    if padding == "VALID":
        return ((0, 0), (0, 0))
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    if isinstance(padding, str) or np.shape(padding) != (2, 2):
        raise ValueError(f'padding must be "SAME", "VALID", a number or two pairs of numbers, not {padding!r}')
    return padding


def _check(x: jax.Array, kernel: jax.Array, channel: int) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[channel]:
        raise ValueError(f"x [N, H, W, C] and kernel [kh, kw, C, D] do not fit: {x.shape} and {kernel.shape}")


def _checked(axes: list[_Axis], padding: Padding) -> _Axes:
    for axis in axes:
        if axis.out < 1 or axis.size < 1:
            raise ValueError(f"{axis.taps} taps at stride {axis.stride} and padding {padding!r} leave nothing")
    return (axes[0], axes[1])


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _grouped(how: _How, x: jax.Array, kernel: jax.Array) -> jax.Array:
    tpu, gpu = (functools.partial(_grouped_by_slices, width) for width in (128, 64))
    return _by_platform(how, x, kernel, cpu=_grouped_by_patches, tpu=tpu, default=gpu)


def _grouped_by_slices(width: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Dense convolutions of neighbouring groups, `width` features at a time."""
    (k, _, group, features), channels = kernel.shape, x.shape[3]
    groups, each = channels // group, features * group // channels
    together = max(1, width // group)
    axis = _Axis(x.shape[1], k, 1, k // 2, x.shape[1]), _Axis(x.shape[2], k, 1, k // 2, x.shape[2])
    out = []
    for first in range(0, groups, together):
        count = min(together, groups - first)
        own = kernel[..., first * each : (first + count) * each].reshape(k, k, 1, group, count, each)
        apart = jnp.eye(count, dtype=kernel.dtype)[:, None, :, None]
        dense = (own * apart).reshape(k, k, count * group, count * each)
        part = x[..., first * group : (first + count) * group]
        out.append(_conv(axis, _How(platform="gpu"), part, dense))
    return jnp.concatenate(out, axis=-1)


def _grouped_by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    (n, h, w, channels), (k, _, group, features), kernel = x.shape, kernel.shape, kernel.astype(x.dtype)
    groups, side = channels // group, (k // 2, k // 2)
    x = jnp.pad(x, ((0, 0), side, side, (0, 0)))
    x = x.reshape(n, h + k - 1, w + k - 1, groups, group).transpose(3, 0, 1, 2, 4)
    patches = jnp.concatenate([x[:, :, i : i + h, j : j + w] for i in range(k) for j in range(k)], axis=-1)
    taps = kernel.reshape(k * k * group, groups, -1).swapaxes(0, 1)
    y = patches.reshape(groups, n * h * w, -1) @ taps
    return y.reshape(groups, n, h, w, -1).transpose(1, 2, 3, 0, 4).reshape(n, h, w, features)
