"""Image data sets of TensorFlow Datasets, read at random access and without TensorFlow."""

import logging
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from jaxgan.support.errors import UserError

PREFIX = "tfds:"


class TfdsPictures:
    """A split of a prepared data set.

    Attributes:
        shape: of a picture: height, width, channels.
        classes: number of classes; 0 without labels.
        identity: name, version and split.
    """

    def __init__(
        self, name: str, split: str = "train", data_dir: str = "", size: int | None = None, conditional: bool = False
    ) -> None:
        """Opens it.

        Args:
            name: of the data set, with a config and a version if wanted: "cifar10", "name/config:1.0.0".
            split: such as "train" or "train[:80%]".
            data_dir: where TFDS keeps its data sets; "" for its own default.
            size: crop the middle square of pictures and bring it to this side; None keeps them, if all are alike.
            conditional: whether labels are wanted.

        Raises:
            UserError: it is not prepared (with the command that prepares it), or has no such split, no pictures, or no
                labels.
        """
        self._name, self._size = f"{PREFIX}{name}", size
        builder, self._source = _open(name, split, data_dir)
        features: Any = builder.info.features
        images = {key: feature for key, feature in features.items() if type(feature).__name__ == "Image"}
        if not images:
            raise UserError(f"{self._name}: has no pictures; its features are {', '.join(features)}")
        self._image = "image" if "image" in images else next(iter(images))
        labels = {key: feature for key, feature in features.items() if type(feature).__name__ == "ClassLabel"}
        if conditional and not labels:
            raise UserError(f"{self._name}: has no labels; leave out --conditional")
        self._label = ("label" if "label" in labels else next(iter(labels))) if conditional else ""
        self.classes = int(labels[self._label].num_classes) if conditional else 0
        height, width, channels = images[self._image].shape
        if size is None and (height is None or height != width):
            raise UserError(f"{self._name}: its pictures are of different shapes, or not square; give --size")
        self.shape = (size or height, size or width, channels or 3)
        self.identity = f"{builder.info.full_name}, {split}, {len(self._source)} of {self.shape}"

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Reads pictures, uint8 [n, H, W, C] as "image", and their labels, int32 [n] as "label"."""
        items = self._source.__getitems__([int(index) for index in indices])
        images = np.stack([self._fit(item[self._image]) for item in items])
        if not self._label:
            return {"image": images}
        labels = np.array([item[self._label] for item in items], np.int32)
        for index, label in zip(indices, labels, strict=True):
            if not 0 <= label < self.classes:
                raise UserError(
                    f"{self._name}: label {label} of example {index} is out of range, 0 to {self.classes - 1}"
                )
        return {"image": images, "label": labels}

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype != np.uint8:
            raise UserError(f"{self._name}: its pictures are {pixels.dtype}, where uint8 is needed")
        if pixels.shape != self.shape:
            image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            pixels = np.asarray(ImageOps.fit(image, self.shape[:2], Image.Resampling.LANCZOS))
        return pixels.reshape(self.shape)


def _open(name: str, split: str, data_dir: str) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of what TFDS imports.
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.registered import DatasetNotFoundError
    logging.getLogger("absl").setLevel(logging.ERROR)
    plain = name.split("/")[0].split(":")[0]
    place = f" --data_dir={data_dir}" if data_dir else ""
    prepare = f"prepare it with: pip install tensorflow && tfds build {plain} --file_format=array_record{place}"
    try:
        builder: Any = tfds.builder(name, data_dir=data_dir or None)
        if not builder.info.splits:
            raise UserError(f"{PREFIX}{name}: is not prepared in {builder.data_dir}; {prepare}")
        return builder, builder.as_data_source(split=split)
    except DatasetNotFoundError:
        raise UserError(
            f"{PREFIX}{name}: TFDS knows no such data set (nor is it in {data_dir or 'its folder'})"
        ) from None
    except NotImplementedError:
        raise UserError(f"{PREFIX}{name}: is prepared in a format without random access; {prepare}") from None
    except (ValueError, KeyError, AssertionError, OSError) as error:
        raise UserError(f"{PREFIX}{name}: {' '.join(str(error).split())[:300]}") from None
