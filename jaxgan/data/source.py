"""Sources: a data set as a pure function of (seed, step).

A batch comes about in two halves, so that small sets can live on the device and large ones can stream:

    item = source[step]                          # on the host: NumPy arrays, what has to travel for this step
    batch = source.batch(source.resident, item)  # on the device, inside the compiled step

Among several processes each has a source that feeds its own block of every batch. Being a function of the step, a
source has no state to save: training resumes at any step with the batches that the unbroken run would have seen.
"""

import dataclasses
import functools
import math
import os
import threading
from collections.abc import Iterator
from typing import Any, Protocol, Self

import grain
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.step import window
from jaxgan.support.errors import UserError

_AHEAD = 2**26  # Bytes of items to fetch ahead.
_BLOCK = 2**25  # Bytes at a time when all are looked at.
_EPOCHS = 2  # Whose order is kept: one that ends while the next begins.
_ORDERING = threading.Lock()


class Source(Protocol):
    """What training needs of a data set.

    Attributes:
        resident: pytree of arrays that stay on the device, given to `batch` at every step.
        shape: shape of one image (height, width, channels), or of one point (2,).
        classes: number of labels; 0 where batches have none.
        count: number of examples; 0 where they are made up.
        identity: a text that differs when the data do.
        streams: whether items are read from somewhere, and so worth fetching ahead.
    """

    @property
    def resident(self) -> Any: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def identity(self) -> str: ...
    @property
    def streams(self) -> bool: ...

    def __getitem__(self, step: int) -> Any:
        """What travels to the device for a step, a pytree of NumPy arrays of the same shapes at every step."""
        ...

    def batch(self, resident: Any, item: Any) -> dict[str, jax.Array]:
        """The batch of a step, traced into it: "image" float32 [N, *shape], pixels in [-1, 1]; "label" int32 [N]."""
        ...

    def replace(self, **fields: Any) -> Self:
        """The same data in another order (`seed`), for another process (`part`, `parts`) or in another `batch_size`."""
        ...

    def blocks(self) -> Iterator[np.ndarray]:
        """All examples once, in no order of training, [n, *shape] as they are kept; nothing where they are made up."""
        ...


class Pictures(Protocol):
    """A data set from which pictures are read by number: what `StreamSource` feeds to training.

    Attributes:
        shape: shape of a picture: height, width, channels.
        classes: number of classes; 0 where there are no labels.
        identity: a text that differs when the data do.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> int: ...
    @property
    def identity(self) -> str: ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Pictures, uint8 [n, H, W, C] as "image", and with classes their labels, int32 [n] as "label"."""
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
        identity: a text that differs when the data do.
        least_classes: how many classes there are, where the labels may not have them all.
    """

    images: np.ndarray
    labels: np.ndarray | None
    batch_size: int
    seed: int
    part: int = 0
    parts: int = 1
    identity: str = ""
    least_classes: int = 0
    streams = False

    def __post_init__(self) -> None:
        if not len(self.images):
            raise UserError("the data have no examples")
        if self.labels is not None and len(self.labels) != len(self.images):
            raise UserError(f"the data have {len(self.images)} examples, but {len(self.labels)} labels")

    @property
    def resident(self) -> dict[str, np.ndarray]:
        """The whole set, each example a row: in another shape TPUs would copy all of it before they pick from it."""
        rows = self.images.reshape(len(self.images), -1)
        return {"image": rows} | ({} if self.labels is None else {"label": self.labels})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.images.shape[1:]

    @property
    def classes(self) -> int:
        """Number of labels."""
        return 0 if self.labels is None else max(self.least_classes, int(self.labels.max()) + 1)

    def __getitem__(self, step: int) -> np.ndarray:
        """Indices of the examples of a step, int32 [batch_size / parts]."""
        return order(len(self.images), self.batch_size, self.seed, step, self.part, self.parts)

    def batch(self, resident: Any, item: Any) -> dict[str, jax.Array]:
        """Picks the examples and brings pixels from 0..255 to [-1, 1]."""
        batch = {name: array[item] for name, array in resident.items()}
        return normalised(batch | {"image": batch["image"].reshape(len(item), *self.shape)})

    def replace(self, **fields: Any) -> Self:
        return dataclasses.replace(self, **fields)

    def blocks(self) -> Iterator[np.ndarray]:
        return (self.images[begin:end] for begin, end in _ranges(self.count, self.images[:1].nbytes))

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.images)


@dataclasses.dataclass(frozen=True, eq=False)
class StreamSource:
    """Pictures that are read when they are needed; they travel as uint8. The order is that of `ArraySource`.

    Attributes:
        pictures: where they are read from.
        batch_size: examples in a batch.
        seed: of the order.
        part: which block of the batch this process feeds,
        parts: of how many.
    """

    pictures: Pictures
    batch_size: int
    seed: int
    part: int = 0
    parts: int = 1
    streams = True

    @property
    def resident(self) -> tuple[()]:
        """Nothing."""
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one picture."""
        return self.pictures.shape

    @property
    def classes(self) -> int:
        """Number of labels."""
        return self.pictures.classes

    @property
    def identity(self) -> str:
        """That of the pictures."""
        return self.pictures.identity

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """The examples of a step: "image" uint8 [batch_size / parts, H, W, C], and perhaps "label"."""
        return self.pictures.read(order(len(self.pictures), self.batch_size, self.seed, step, self.part, self.parts))

    def batch(self, resident: Any, item: Any) -> dict[str, jax.Array]:
        """Brings pixels from 0..255 to [-1, 1]."""
        del resident
        return normalised(item)

    def replace(self, **fields: Any) -> Self:
        return dataclasses.replace(self, **fields)

    def blocks(self) -> Iterator[np.ndarray]:
        for begin, end in _ranges(self.count, math.prod(self.shape)):
            yield self.pictures.read(np.arange(begin, end))["image"]

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.pictures)


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """A source whose batches are another's, with something drawn for each example, each time anew.

    What an example gets depends on seed and step and its place in the batch, on nothing else.

    Attributes:
        source: the other source.
    """

    source: Any
    _salt = ()  # Makes draws of one kind unlike those of another.

    @property
    def resident(self) -> Any:
        return self.source.resident

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def classes(self) -> int:
        return self.source.classes

    @property
    def identity(self) -> str:
        return self.source.identity

    @property
    def count(self) -> int:
        return self.source.count

    @property
    def streams(self) -> bool:
        return self.source.streams

    @property
    def seed(self) -> int:
        return self.source.seed

    @property
    def batch_size(self) -> int:
        return self.source.batch_size

    @property
    def part(self) -> int:
        return self.source.part

    @property
    def parts(self) -> int:
        return self.source.parts

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The source's item, and a random uint32 for each example."""
        count = self.batch_size // self.parts
        generator = np.random.Generator(np.random.Philox([self.seed, step, *self._salt]))
        draw = generator.integers(2**32, size=self.batch_size)[self.part * count : (self.part + 1) * count]
        return {"item": self.source[step], "draw": draw.astype(np.uint32)}

    def batch(self, resident: Any, item: Any) -> dict[str, jax.Array]:
        """The source's batch, with what is drawn."""
        batch = self.source.batch(resident, item["item"])
        return batch | {"image": jax.vmap(self._one)(item["draw"], batch["image"])}

    def _one(self, draw: jax.Array, x: jax.Array) -> jax.Array:
        raise NotImplementedError

    def replace(self, **fields: Any) -> Self:
        return dataclasses.replace(self, source=self.source.replace(**fields))

    def blocks(self) -> Iterator[np.ndarray]:
        return self.source.blocks()


@dataclasses.dataclass(frozen=True, eq=False)
class VariedSource(Drawing):
    """A source whose real pictures are varied on the device, each time anew: a data set that seems larger.

    Attributes:
        changes: "flip" mirrors every second picture; "crop" cuts a square out of it somewhere; "colour" changes
            brightness, saturation and contrast a little.
        size: side of the squares, where they are cut out.
    """

    changes: tuple[str, ...]
    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.source.shape
        return (self.size, self.size, shape[2]) if "crop" in self.changes else shape

    def _one(self, draw: jax.Array, x: jax.Array) -> jax.Array:
        flip, crop, colour = jax.random.split(jax.random.key(draw), 3)
        if "flip" in self.changes:
            x = jnp.where(jax.random.bernoulli(flip), x[:, ::-1], x)
        if "crop" in self.changes:
            room = jnp.array(x.shape[:2], jnp.int32) - self.size + 1
            start = jax.random.randint(crop, (2,), 0, room, jnp.int32)
            x = window.cut(x, start, self.shape[:2])
        if "colour" in self.changes:
            brightness, saturation, contrast = jax.random.uniform(colour, (3,), jnp.float32, -1, 1)
            rgb, alpha = x[..., :3], x[..., 3:]
            grey = rgb.mean(axis=-1, keepdims=True)
            rgb = grey + (rgb - grey) * (1 + 0.2 * saturation)
            rgb = rgb.mean() + (rgb - rgb.mean()) * (1 + 0.1 * contrast) + 0.1 * brightness
            x = jnp.concatenate([jnp.clip(rgb, -1, 1), alpha], axis=-1)
        return x

    def blocks(self) -> Iterator[np.ndarray]:
        edge = (self.source.shape[0] - self.shape[0]) // 2
        for block in self.source.blocks():
            yield block[:, edge : edge + self.shape[0], edge : edge + self.shape[1]]


def order(count: int, batch_size: int, seed: int, step: int, part: int = 0, parts: int = 1) -> np.ndarray:
    """Which of `count` examples a process has at a step, int32 [batch_size / parts].

    The whole batch of a step is the same for any number of processes; every epoch is a permutation of its own, without
    a gap between epochs.
    """
    block = batch_size // parts
    position = step * batch_size + part * block + np.arange(block)
    epochs, places = np.divmod(position, count)
    indices = np.empty(block, np.int32)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = _permutation(seed, int(epoch), count)[places[here]]
    return indices


def normalised(batch: dict[str, Any]) -> dict[str, jax.Array]:
    """Brings pixels from 0..255 to [-1, 1]; what is not uint8 stays."""
    if batch["image"].dtype != np.uint8:
        return batch
    return batch | {"image": batch["image"].astype(jnp.float32) / 127.5 - 1}


def fetched(source: Source, begin: int, end: int) -> Iterator[Any]:
    """The items of the steps from `begin` to `end`, in order; those that are read are fetched ahead, by threads."""
    if not source.streams:
        return map(source.__getitem__, range(begin, end))
    ahead = max(2, min(64, _AHEAD // item_bytes(source)))
    threads = min(ahead, 16, 2 * (os.cpu_count() or 1))
    steps = grain.MapDataset.range(begin, end).map(source.__getitem__)
    return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)))


def item_bytes(source: Source) -> int:
    """How much travels for a step."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(source[0]))


def _ranges(count: int, size: int) -> list[tuple[int, int]]:
    """Splits so many examples of so many bytes into blocks."""
    block = max(1, min(1000, _BLOCK // size))
    return [(begin, min(begin + block, count)) for begin in range(0, count, block)]


def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of an epoch, made once however many threads ask for it."""
    with _ORDERING:
        kept = _kept(seed, count)
        if epoch not in kept:
            if len(kept) == _EPOCHS:
                del kept[max(kept, key=lambda other: abs(other - epoch))]
            numbers = np.arange(count, dtype=np.int32 if count <= 2**31 else np.int64)
            kept[epoch] = np.random.Generator(np.random.Philox([seed, epoch])).permutation(numbers)
        return kept[epoch]


@functools.lru_cache(maxsize=256)  # Those of a whole sweep.
def _kept(seed: int, count: int) -> dict[int, np.ndarray]:
    """The orders of the epochs in use, by epoch."""
    return {}
