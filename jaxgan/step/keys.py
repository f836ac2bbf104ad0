"""Keys of what is drawn: by the name of the stream, and by the example's place in the whole batch."""

import functools
import zlib

import jax
import jax.numpy as jnp


def stream(key: jax.Array, name: str) -> jax.Array:
    """The key of a named stream; a name rather than a position, so that a new stream disturbs no other."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def each(key: jax.Array, index: jax.Array) -> jax.Array:
    """A key for each example [N], by its place int32 [N]: the same one however a batch is dealt or split."""
    return jax.vmap(functools.partial(jax.random.fold_in, key))(index)


def normal(key: jax.Array, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers, float32 [N, *shape], each example's by its place int32 [N] alone."""
    return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(each(key, index))
