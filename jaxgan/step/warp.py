"""Pictures moved about: exactly, pixel by pixel, and by any affine transformation, without aliasing; reflected around.

What is moved how is given, so that it can be used again. Each function is of one picture [H, W, C]; `vmap` gives each
example its own.

References:
    Karras et al., Training Generative Adversarial Networks with Limited Data, arXiv 2006.06676, appendix B.
    Daubechies, Ten Lectures on Wavelets, 1992: the orthogonal filters "symlets".
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.models import conv

SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
"""Symlet of 2 vanishing moments, low-pass; the sum of squares is 1."""
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263748278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
"""Symlet of 6 vanishing moments: doubled and halved with it, a picture is what it was."""
_HALF = len(SYM6) // 2


def blitted(x: jax.Array, flip: jax.Array, turns: jax.Array, shift: jax.Array) -> jax.Array:
    """Mirrored left and right, turned, and shifted, in this order; every pixel is one of the picture's.

    On TPU by products with matrices of 0 and 1, elsewhere by picking rows and columns, as `window.cut`.

    Args:
        x: [H, W, C].
        flip: bool scalar, whether to mirror it.
        turns: int32 scalar, quarter turns counterclockwise; of a picture that is not square the odd ones are left out.
        shift: float32 [2], by which share of the size, down and to the right, rounded to whole pixels.

    Returns:
        [H, W, C].
    """
    height, width = x.shape[:2]
    turns = turns % 4 if height == width else turns % 4 // 2 * 2
    odd = turns % 2 == 1
    if height == width:
        x = jnp.where(odd, x.transpose(1, 0, 2), x)
    backwards = ((turns == 1) | (turns == 2)) ^ (flip & odd), ((turns == 2) | (turns == 3)) ^ (flip & ~odd)
    places = []
    for axis, size in enumerate((height, width)):
        by = jnp.round(shift[axis] * size).astype(jnp.int32)
        place = _reflected(jnp.arange(size, dtype=jnp.int32) - by, size)
        places.append(jnp.where(backwards[axis], size - 1 - place, place))
    return conv.by_platform(x, *places, tpu=_picked_by_products, default=_picked)


def _picked(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    return x[rows][:, columns]


def _picked_by_products(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    down, right = (
        place[:, None] == jnp.arange(size, dtype=jnp.int32)
        for place, size in zip((rows, columns), x.shape[:2], strict=True)
    )
    return _along_both(x, down, right)


def _reflected(place: jax.Array, size: int) -> jax.Array:
    """Places anywhere as those of a row of `size` pixels, mirrored at its first and its last, again and again."""
    period = max(2 * (size - 1), 1)
    place = place % period
    return jnp.minimum(place, period - place)


def transformed(x: jax.Array, matrix: jax.Array, shift: jax.Array) -> jax.Array:
    """The picture y with y(p) = x(matrix (p - shift)) about the centre: doubled, sampled linearly, halved.

    Doubling and halving filter with `SYM6`, so that little is blurred and little aliased. Farther outside than half the
    filter's length the doubled picture is reflected rather than the picture, as if the filter were symmetric, which it
    nearly is: otherwise nine times the memory would be needed. Samples are gathered on every platform.

    Args:
        x: [H, W, C].
        matrix: float32 [2, 2], of vectors (down, right).
        shift: float32 [2], shares of the size, down and to the right.

    Returns:
        [H, W, C].
    """
    size = jnp.asarray(x.shape[:2], jnp.float32)
    wide = x.astype(x.dtype if x.dtype.itemsize > 2 else jnp.float32)
    doubled = _along_both(wide, *(_doubling(n) for n in x.shape[:2]))
    # What the halving filter will look at: half a filter more on each side. Pixel k of a doubled picture is at k / 2.
    grid = jnp.meshgrid(*(jnp.arange(-_HALF + 1, 2 * n + _HALF - 1, dtype=jnp.float32) / 2 for n in x.shape[:2]))
    middle = (size - 1) / 2
    points = jnp.stack([axis.T for axis in grid], axis=-1) - middle - shift * size
    points = 2 * (jnp.einsum("ab,hwb->hwa", matrix, points, precision="highest") + middle)
    return _along_both(_sampled(doubled, points), *(_halving(n) for n in x.shape[:2])).astype(x.dtype)


def _sampled(x: jax.Array, points: jax.Array) -> jax.Array:
    """A doubled picture, which begins 2 * _HALF pixels before, at points [h, w, 2], linearly -> [h, w, C]."""
    low = jnp.floor(points)
    share = (points - low).astype(x.dtype)

    def place(axis: int, by: int) -> jax.Array:
        at, border = low[..., axis].astype(jnp.int32) + by, 2 * _HALF
        last = x.shape[axis] - 2 - 2 * border  # Of the original pixels; behind it is half a pixel more.
        there = (at >= -border) & (at <= last + border)
        return jnp.where(there, at, _reflected(at, last + 1)) + border

    rows, columns = ([place(axis, by) for by in (0, 1)] for axis in (0, 1))
    down, right = share[..., :1], share[..., 1:]
    above, below = (x[row, columns[0]] * (1 - right) + x[row, columns[1]] * right for row in rows)
    return above * (1 - down) + below * down


@functools.lru_cache(8)
def _doubling(size: int) -> np.ndarray:
    """The matrix that doubles a row of pixels, reflected around, pixel k of the result at k / 2 of the original ones.

    The result begins `_HALF` original pixels before the first and ends as many after the last.

    Returns:
        [2 size + 4 _HALF, size].
    """
    matrix, period = np.zeros((2 * size + 4 * _HALF, size)), max(2 * (size - 1), 1)
    for row in range(len(matrix)):
        # Of a row of pixels with zeros between them, filtered.
        for tap in range((row + _HALF - 1) % 2, 2 * _HALF, 2):
            place = (row - 2 * _HALF + _HALF - 1 - tap) // 2 % period
            matrix[row, min(place, period - place)] += np.sqrt(2) * SYM6[tap]
    return matrix


@functools.lru_cache(8)
def _halving(size: int) -> np.ndarray:
    """The matrix [size, 2 size + 2 _HALF - 2] that halves a row of pixels: after `_doubling` the identity."""
    matrix = np.zeros((size, 2 * size + 2 * _HALF - 2))
    for row in range(size):
        matrix[row, 2 * row : 2 * row + 2 * _HALF] = np.asarray(SYM6) / np.sqrt(2)
    return matrix


def _along_both(x: jax.Array, down: Any, right: Any) -> jax.Array:
    """The products of matrices [h, H] and [w, W] with a picture [H, W, C] along both axes -> [h, w, C]."""
    matrices = (matrix.astype(x.dtype) for matrix in (down, right))
    return jnp.einsum("hH,wW,HWc->hwc", *matrices, x, precision="highest", optimize=[(0, 2), (0, 1)])


def amplified(x: jax.Array, gains: jax.Array) -> jax.Array:
    """Four bands of spatial frequencies, the lowest first, each times its gain, along both axes.

    Args:
        x: [H, W, C].
        gains: [4].

    Returns:
        [H, W, C].
    """
    gains = gains.astype(x.dtype)
    bands = (_bands(size).astype(x.dtype) for size in x.shape[:2])
    return _along_both(x, *(jnp.einsum("b,bij->ij", gains, band, precision="highest") for band in bands))


@functools.lru_cache(8)
def _bands(size: int) -> np.ndarray:
    """Of each band the matrix [size, size] that filters a row, reflected around; their sum is the identity."""
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = low * (-1.0) ** (np.arange(len(low)) - len(low) // 2)
    bank = np.ones((1, 1))
    for _ in range(3):  # The lowest band of before is cut into a low and a high half; the bands above are spread.
        spread = np.zeros((len(bank), 2 * bank.shape[1] - 1))
        spread[:, ::2] = bank
        bank = np.stack([np.convolve(row, low) for row in spread])
        highest = np.zeros(bank.shape[1])
        middle = (len(highest) - len(high)) // 2
        highest[middle : middle + len(high)] = high
        bank = np.concatenate([bank, highest[None]])
    reach = bank.shape[1] // 2
    matrices = np.zeros((len(bank), size, size))
    period = max(2 * (size - 1), 1)
    for tap in range(-reach, reach + 1):
        place = (np.arange(size) + tap) % period
        place = np.minimum(place, period - place)
        matrices[:, np.arange(size), place] += bank[:, tap + reach, None]
    return matrices
