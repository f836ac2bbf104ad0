"""Whether a generator copies: the real pictures nearest to its samples."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.evaluate.diversity import squares
from jaxgan.support import images

SAMPLES = 16
"""Samples that are looked at of a run."""
_SIDE = 32  # Pictures are compared at this side at the most: details count less, and it is quick.
_TYPICAL = 64  # Real pictures whose own nearest neighbours are looked for, to know what is near.


@dataclasses.dataclass(frozen=True)
class Nearest:
    """Samples and their neighbours.

    Attributes:
        sheet: uint8 [height, width, C], a row for each sample: the sample, then the real pictures nearest to it.
        distance: root mean square difference of a pixel, 0..1, between samples and their nearest, float32 [N].
        typical: the median of the same between real pictures and their nearest other.
    """

    sheet: np.ndarray
    distance: np.ndarray
    typical: float

    @property
    def ratio(self) -> float:
        """How far samples are from real pictures, where real pictures from one another are 1; copies are near 0."""
        return float(np.median(self.distance)) / max(self.typical, 1e-6)

    @property
    def copied(self) -> int:
        """Samples nearer to a real picture than half of what is typical."""
        return int(np.sum(self.distance < self.typical / 2))

    def __str__(self) -> str:
        words = f"{self.copied} of {len(self.distance)} are close to a copy" if self.copied else "none is a copy"
        return f"Samples are {self.ratio:.2f} times as far from real pictures as those from each other; {words}"


def nearest(samples: np.ndarray, blocks: Iterable[np.ndarray], count: int = 3) -> Nearest | None:
    """Looks for the real pictures nearest to samples, going through all once.

    Args:
        samples: uint8 [N, H, W, C].
        blocks: the data, uint8 [n, H, W, C] at a time.
        count: neighbours of each sample.

    Returns:
        None where there are no data, or too few.
    """
    queries, best, found, first, small = samples, None, None, None, jnp.zeros(0)
    for block in blocks:
        begins = first is None
        if first is None:
            first = block[:_TYPICAL]  # As many as a block has.
            queries = np.concatenate([samples, first])
            small = _shrink(queries)
            best = np.full((len(queries), count), np.inf, np.float32)
            found = np.zeros((len(samples), count, *block.shape[1:]), np.uint8)
        assert best is not None
        assert found is not None
        distance = np.array(_distances(small, _shrink(block)))
        if begins:  # The nearest real picture of a real picture is not itself.
            distance[len(samples) + np.arange(len(first)), np.arange(len(first))] = np.inf
        together = np.concatenate([best, distance], axis=1)
        chosen = np.argsort(together, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(together, chosen, axis=1)
        chosen = chosen[: len(samples)]
        old = found[np.arange(len(samples))[:, None], np.minimum(chosen, count - 1)]
        new = block[np.maximum(chosen - count, 0)]
        found = np.where((chosen < count)[..., None, None, None], old, new)
    if best is None or found is None or not np.isfinite(best[:, 0]).all():
        return None
    pairs = np.concatenate([samples[:, None], found], axis=1)
    sheet = images.grid(pairs.reshape(-1, *samples.shape[1:]), count + 1)
    return Nearest(sheet, best[: len(samples), 0], float(np.median(best[len(samples) :, 0])))


def judge(samples: np.ndarray, blocks: Iterable[np.ndarray]) -> Nearest | None:
    """As `nearest`, of the first `SAMPLES` of a generator's outputs, float32 [N, H, W, C] in [-1, 1]."""
    return nearest(images.to_uint8(samples[:SAMPLES]), blocks)


@jax.jit
def _shrink(pictures: np.ndarray) -> jax.Array:
    """uint8 [n, H, W, C] -> float32 [n, F] in 0..1, averaged to at most `_SIDE` pixels a side."""
    n, height, width, channels = pictures.shape
    x = jnp.asarray(pictures).astype(jnp.float32) / 255
    size = (n, min(height, _SIDE), min(width, _SIDE), channels)
    return jax.image.resize(x, size, "linear", antialias=True).reshape(n, -1)


@jax.jit
def _distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """Root mean square difference of each row of [m, F] to each of [n, F]: [m, n]."""
    return jnp.sqrt(jnp.maximum(squares(a, b), 0) / a.shape[1])
