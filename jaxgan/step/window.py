"""Windows cut out of pictures at places that are drawn: what shifts and crops are made of."""

import functools

import jax
import jax.numpy as jnp

from jaxgan.models import conv


def cut(x: jax.Array, start: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The pixels from `start` on, exactly; under `vmap` each example's own.

    A slice is the fastest way on CPU, by three to nine times. TPU's compiler makes of many slices a loop over the
    examples; two products with matrices of 0 and 1 are the same numbers in a thirtieth of the time.

    Args:
        x: [H, W, C].
        start: int32 [2], the first row and column.
        shape: (h, w) of the window, which lies within the picture.

    Returns:
        [h, w, C].
    """
    ways = functools.partial(by_products, shape), functools.partial(by_slices, shape)
    return conv.by_platform(x, start, tpu=ways[0], default=ways[1])


def by_slices(shape: tuple[int, ...], x: jax.Array, start: jax.Array) -> jax.Array:
    """As `cut`, by slicing."""
    return jax.lax.dynamic_slice(x, [*start, jnp.zeros((), jnp.int32)], (*shape, x.shape[2]))


def by_products(shape: tuple[int, ...], x: jax.Array, start: jax.Array) -> jax.Array:
    """As `cut`, by products with a matrix that picks rows and one that picks columns."""
    rows, columns = (
        (start[axis] + jnp.arange(size, dtype=jnp.int32))[:, None] == jnp.arange(x.shape[axis], dtype=jnp.int32)
        for axis, size in enumerate(shape)
    )
    return jnp.einsum(
        "hH,wW,HWc->hwc",
        rows.astype(x.dtype),
        columns.astype(x.dtype),
        x,
        precision="highest",
        optimize=[(0, 2), (0, 1)],
    )
