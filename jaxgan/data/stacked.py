"""Stacked MNIST: three digits as the channels of one picture, a data set of 1000 modes (VEEGAN, arXiv 1705.07761)."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.source import normalised, order


@dataclasses.dataclass(frozen=True, eq=False)
class StackedMNIST:
    """Digits on the device, three of which make a picture; only indices travel.

    Each channel goes through all digits in an order of its own, so every digit is used equally often.

    Attributes:
        images: uint8 [M, H, W, 1].
        batch_size: pictures in a batch.
        seed: of the order.
        part: which block of the batch this process feeds,
        parts: of how many.
    """

    images: np.ndarray
    batch_size: int
    seed: int
    part: int = 0
    parts: int = 1
    count = 0  # Made up.
    identity = "stacked_mnist"
    streams = False

    @property
    def resident(self) -> np.ndarray:
        """All digits."""
        return self.images

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one picture."""
        return (*self.images.shape[1:3], 3)

    @property
    def classes(self) -> int:
        """No labels."""
        return 0

    def __getitem__(self, step: int) -> np.ndarray:
        """Indices of the digits of a step, int32 [batch_size / parts, 3]."""
        seeds = (3 * self.seed + channel for channel in range(3))
        orders = [order(len(self.images), self.batch_size, seed, step, self.part, self.parts) for seed in seeds]
        return np.stack(orders, axis=1)

    def batch(self, resident: Any, item: Any) -> dict[str, jax.Array]:
        """Stacks the digits and brings pixels from 0..255 to [-1, 1]."""
        digits = resident[item][..., 0]  # [N, 3, H, W]
        return normalised({"image": jnp.moveaxis(digits, 1, -1)})

    def replace(self, **fields: Any) -> Self:
        return dataclasses.replace(self, **fields)

    def blocks(self) -> Iterator[np.ndarray]:
        return iter(())  # A thousand modes of sixty million pictures each: none is copied.
