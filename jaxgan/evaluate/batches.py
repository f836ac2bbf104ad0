"""Pictures in batches over all devices of this process, in memory that does not grow with their number."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

_EACH = 32  # Pictures a device.


def size() -> int:
    """Pictures in a batch: some on every device."""
    return _EACH * jax.local_device_count()


def rebatched(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same arrays [n, ...], joined and cut to batches; the last one may be smaller."""
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block)
        while sum(map(len, held)) >= size():
            together = np.concatenate(held) if len(held) > 1 else held[0]
            yield together[: size()]
            held = [together[size() :]]
    if sum(map(len, held)):
        yield np.concatenate(held)


def spread(tree: Any) -> Any:
    """Puts arrays [N, ...] on all devices, each a part of them; N is `size()`, or a multiple of the devices."""
    return jax.device_put(tree, NamedSharding(_mesh(), P("data")))


def everywhere(tree: Any) -> Any:
    """Puts a pytree on every device."""
    return jax.device_put(tree, NamedSharding(_mesh(), P()))


def filled(block: np.ndarray) -> np.ndarray:
    """A batch [n, ...] filled up to `size()` by repeating the last, so that one shape is compiled."""
    return np.concatenate([block, np.repeat(block[-1:], size() - len(block), axis=0)]) if len(block) < size() else block


def runner(function: Callable[[Any, jax.Array], Any], params: Any) -> Callable[[np.ndarray], Any]:
    """A compiled function of batches, run on all devices.

    Args:
        function: of parameters and of a batch [N, ...]; gives a pytree of arrays [N, ...].
        params: a pytree.

    Returns:
        A function of a batch [n, ...], n at most `size()`, to a pytree on the devices of which the first n count.
    """
    placed, compiled = everywhere(params), jax.jit(function)
    return lambda block: compiled(placed, spread(filled(block)))


def colours(pictures: jax.Array) -> jax.Array:
    """Pictures uint8 [N, H, W, C] as float32 [N, H, W, 3] in [-1, 1]; grey as colours, what is transparent on white."""
    return on_white(pictures.astype(jnp.float32) / 127.5 - 1)


def on_white(x: jax.Array) -> jax.Array:
    """Pictures [N, H, W, C] in [-1, 1] as [N, H, W, 3]; grey as colours, what is transparent on white."""
    if x.shape[-1] == 4:
        cover = (x[..., 3:] + 1) / 2
        x = x[..., :3] * cover + 1 - cover
    return jnp.broadcast_to(x, (*x.shape[:3], 3))


@functools.cache
def _mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), ("data",))
