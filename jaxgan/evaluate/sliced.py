"""Sliced Wasserstein distance of small patches at every scale: what pictures look like near by, without a network.

References:
    Karras et al., Progressive Growing of GANs, arXiv 1710.10196, section 5.
"""

import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.evaluate.measures import Value

PATCH = 7
LEAST = 16
"""Pixels a side of the coarsest pictures."""

_EACH = 128  # Patches a picture and scale, as in the paper;
_ALL = 2**16  # but no more of them, so that memory does not grow with the number of pictures.
_DIRECTIONS, _REPEATS = 128, 4
_FILTER = np.array([1, 4, 6, 4, 1]) / 16

Patches = list[np.ndarray]
"""For each scale, fine to coarse, float32 [P, 7 * 7 * 3]; a picture's are together."""


class Collector:
    """Takes patches out of pictures as they come by.

    `pyramid` is what is computed of each batch, `add` takes its result.
    """

    def __init__(self, count: int, seed: int) -> None:
        """For `count` pictures; `seed` is of the places."""
        self._each = max(1, min(_EACH, _ALL // count))
        self._seed, self._random = seed, list[np.random.Generator]()
        self._parts: list[Patches] = []

    def add(self, levels: Iterable[np.ndarray]) -> None:
        """Takes patches out of a pyramid, [n, h, w, 3] each."""
        levels = list(levels)
        if not self._random:
            self._random = [np.random.default_rng([self._seed, place]) for place in range(len(levels))]
        self._parts.append([self._cut(*pair) for pair in zip(levels, self._random, strict=True)])

    def patches(self) -> Patches:
        """All that were taken."""
        return [np.concatenate(level) for level in zip(*self._parts, strict=True)]

    def _cut(self, level: np.ndarray, random: np.random.Generator) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
        count, rows, columns = windows.shape[:3]
        # Drawn as fractions, picture by picture: the same ones in whatever batches these come.
        place = random.random((count, self._each, 2))
        y, x = (place[..., axis] * size for axis, size in ((0, rows), (1, columns)))
        cut = windows[np.arange(count)[:, None], y.astype(int), x.astype(int)]
        return cut.reshape(count * self._each, -1)


def levels(height: int, width: int) -> int:
    """Scales of a pyramid whose coarsest pictures have at least 16 pixels a side; 0 for pictures that are smaller."""
    side, count = min(height, width), 0
    while side >= LEAST:
        side, count = (side + 1) // 2, count + 1
    return count


def pyramid(pictures: jax.Array) -> list[jax.Array]:
    """The Laplacian pyramid of pictures [N, H, W, 3]: what each scale adds to the next, and the coarsest pictures."""
    found = []
    for _ in range(levels(*pictures.shape[1:3]) - 1):
        smaller = _apply(_down, pictures)
        found.append(pictures - _apply(lambda size: _up((size + 1) // 2, size), smaller, pictures.shape))
        pictures = smaller
    return [*found, pictures]


def distance(a: Patches, b: Patches, seed: int = 0) -> Value:
    """The sliced Wasserstein distance, times 1000, averaged over the scales.

    Each channel of a set's patches is brought to mean 0 and deviation 1; then the mean difference of sorted projections
    on 4 times 128 random directions. Smaller is better. Of different numbers of patches, the first are compared. The
    spread is that of four equal parts of the patches, as far as these are independent, by 1 / sqrt(4).

    Args:
        a: patches of samples.
        b: of real pictures, of the same size.
        seed: of the directions.
    """
    whole = _distance(a, b, np.random.default_rng(seed), _REPEATS)
    count = min(len(a[0]), len(b[0])) // 4
    if not count:
        return Value(whole, None)

    def quarter(x: Patches, part: int) -> Patches:
        return [level[part * count : (part + 1) * count] for level in x]

    quarters = [_distance(quarter(a, part), quarter(b, part), np.random.default_rng(seed), 1) for part in range(4)]
    return Value(whole, float(np.std(quarters, ddof=1) / 2))


def _distance(a: Patches, b: Patches, random: np.random.Generator, repeats: int) -> float:
    found = []
    for x, y in zip(a, b, strict=True):
        count = min(len(x), len(y))
        x, y = _normalised(x[:count]), _normalised(y[:count])
        for _ in range(repeats):
            directions = random.normal(size=(x.shape[1], _DIRECTIONS))
            directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
            # Sorting goes along rows that lie together.
            found.append(np.mean(np.abs(np.sort(directions.T @ x.T, axis=1) - np.sort(directions.T @ y.T, axis=1))))
    return 1000 * float(np.mean(found))


def _normalised(patches: np.ndarray) -> np.ndarray:
    """Each channel brought to mean 0 and deviation 1 over all patches; a patch's channels are in three blocks."""
    x = patches.reshape(len(patches), 3, -1)
    mean, deviation = (np.asarray(f(x, axis=(0, 2), keepdims=True, dtype=np.float64)) for f in (np.mean, np.std))
    return ((x - mean) / np.maximum(deviation, 1e-8)).astype(np.float32).reshape(patches.shape)


def _apply(matrix: Callable[[int], np.ndarray], images: jax.Array, like: tuple[int, ...] | None = None) -> jax.Array:
    rows, columns = (jnp.asarray(matrix(size)) for size in (like or images.shape)[1:3])
    found = jnp.einsum("ih,nhwc->niwc", rows, images, precision="highest")
    return jnp.einsum("jw,niwc->nijc", columns, found, precision="highest")


@functools.cache
def _down(size: int) -> np.ndarray:
    """Filters an axis and takes every second pixel, float32 [size / 2, size]."""
    return _filtered(size)[::2].astype(np.float32)


@functools.cache
def _up(size: int, out: int) -> np.ndarray:
    """Puts zeros between pixels and filters, float32 [out, size]."""
    return 2 * _filtered(out)[:, ::2][:, :size].astype(np.float32)


def _filtered(size: int) -> np.ndarray:
    """The 5-tap filter, [size, size]; beyond its ends a picture goes on as in a mirror at its last pixel."""
    weights = np.zeros((size, size))
    for row in range(size):
        for offset, weight in zip(range(-2, 3), _FILTER, strict=True):
            place = abs(row + offset)
            weights[row, place if place < size else 2 * (size - 1) - place] += weight
    return weights
