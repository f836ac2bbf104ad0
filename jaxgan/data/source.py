"""Sources: a data set as a pure function of (seed, step).

A batch comes about in two halves, so that small sets can live on the device and large ones can stream:

    item = source[step]                          # on the host: NumPy arrays, what has to travel for this step
    batch = source.batch(source.resident, item)  # on the device, inside the compiled step

Among several processes each has a source that feeds its own block of every batch. Being a function of the step, a
source has no state to save: training resumes at any step with the batches that the unbroken run would have seen.
"""

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Source(Protocol):
    """What training needs of a data set.

    Attributes:
        resident: pytree of arrays that stay on the device, given to `batch` at every step.
        shape: shape of one image (height, width, channels), or of one point (2,).
        classes: number of labels; 0 where batches have none.
    """

    @property
    def resident(self) -> Any: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> int: ...

    def __getitem__(self, step: int) -> Any:
        """What travels to the device for a step, a pytree of NumPy arrays of the same shapes at every step."""
        ...

    def batch(self, resident: Any, item: Any) -> dict[str, jax.Array]:
        """The batch of a step, traced into it: "image" float32 [N, *shape], pixels in [-1, 1]; "label" int32 [N]."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySource:
    """Pictures or points in memory that live on the device; only indices travel.

    Every epoch is a permutation of its own. Epochs follow one another without a gap (a batch may end one and begin the
    next), so every example is seen exactly once in each.

    Attributes:
        images: uint8 [M, H, W, C], or float32 [M, ...], which stay as they are.
        labels: int32 [M], or None.
        batch_size: examples in a batch.
        seed: of the order.
        part: which block of the batch this process feeds,
        parts: of how many.
    """

    images: np.ndarray
    labels: np.ndarray | None
    batch_size: int
    seed: int
    part: int = 0
    parts: int = 1

    @property
    def resident(self) -> dict[str, np.ndarray]:
        """The whole set."""
        return {"image": self.images} | ({} if self.labels is None else {"label": self.labels})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.images.shape[1:]

    @property
    def classes(self) -> int:
        """Number of labels."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def __getitem__(self, step: int) -> np.ndarray:
        """Indices of the examples of a step, int32 [batch_size / parts]."""
        count = self.batch_size // self.parts
        position = step * self.batch_size + self.part * count + np.arange(count)
        epochs, places = np.divmod(position, len(self.images))
        indices = np.empty(count, np.int32)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = _permutation(self.seed, int(epoch), len(self.images))[places[here]]
        return indices

    def batch(self, resident: Any, item: Any) -> dict[str, jax.Array]:
        """Picks the examples and brings pixels from 0..255 to [-1, 1]."""
        batch = {name: array[item] for name, array in resident.items()}
        if batch["image"].dtype != np.uint8:
            return batch
        return batch | {"image": batch["image"].astype(jnp.float32) / 127.5 - 1}


@functools.lru_cache(maxsize=64)  # Those of a whole sweep.
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox([seed, epoch])).permutation(count)
