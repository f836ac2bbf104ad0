"""Gaussians in the plane: what mode collapse is measured on (PacGAN, arXiv 1712.04086, section 4.1)."""

import dataclasses
import functools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Equal Gaussians.

    Attributes:
        centres: of the modes.
        sigma: standard deviation of each, in both directions.
    """

    centres: tuple[tuple[float, float], ...]
    sigma: float


RING = Mixture(tuple((math.cos(k * math.tau / 8), math.sin(k * math.tau / 8)) for k in range(8)), 0.01)
"""Eight on the unit circle."""
GRID = Mixture(tuple((float(x), float(y)) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)), 0.05)
"""Twenty-five on a square grid."""
MIXTURES = {"ring": RING, "grid": GRID}
"""By the names that configs use."""


@functools.lru_cache(maxsize=4)
def draw(mixture: Mixture, count: int = 100_000, seed: int = 0) -> np.ndarray:
    """Draws points: the same ones for the same seed.

    Args:
        mixture: of what.
        count: how many, N.
        seed: of the draw.

    Returns:
        float32 [N, 2], not to be written to.
    """
    random = np.random.Generator(np.random.Philox(seed))
    modes = random.integers(len(mixture.centres), size=count)
    points = np.array(mixture.centres)[modes] + mixture.sigma * random.normal(size=(count, 2))
    points = points.astype(np.float32)
    points.setflags(write=False)
    return points
