"""Pictures in memory: NumPy arrays, .npz files, and anything with a length and items."""

import contextlib
import hashlib
import io
import operator
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.support.errors import UserError, first_line

IMAGE_NAMES = ("image", "images", "x", "x_train", "arr_0")
"""What an .npz file may call pictures,"""
LABEL_NAMES = ("label", "labels", "y", "y_train", "arr_1")
"""and labels."""
_CHANNELS = (1, 3, 4)


class Items:
    """Pictures from anything with `__len__` and `__getitem__`, read when they are needed.

    An item is an array, a pair (array, label), or a mapping of "image" and perhaps "label"; arrays are uint8
    [H, W, C] or [H, W], all of one shape.

    Attributes:
        items: the sequence.
        classes: number of labels; 0 to leave labels out.
        identity: a text that is the same for the same data.
    """

    def __init__(self, items: Any, classes: int = 0, identity: str = "items") -> None:
        self.items, self.classes = items, classes
        if not len(items):
            raise UserError("the data has no items")
        self.shape = _picture(items[0], "item 0").shape
        self.identity = f"{identity}, {len(items)} of {self.shape}"

    def __len__(self) -> int:
        return len(self.items)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Reads pictures, uint8 [n, H, W, C] as "image", and their labels, int32 [n] as "label"."""
        images = np.empty((len(indices), *self.shape), np.uint8)
        labels = np.empty(len(indices), np.int32)
        for place, index in enumerate(map(int, indices)):
            item = self.items[index]
            image = _picture(item, f"item {index}")
            if image.shape != self.shape:
                raise UserError(f"item {index}: a picture of shape {image.shape}, where item 0 has {self.shape}")
            images[place] = image
            if self.classes:
                labels[place] = _label(item, index, self.classes)
        return {"image": images} | ({"label": labels} if self.classes else {})


def load_npz(path: Path, conditional: bool) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Loads an .npz file of "image" uint8 [M, H, W, C] or [M, H, W], and perhaps "label" integers [M].

    Of an .npy file the one array is "image".

    The names images, x, x_train and arr_0 are known for the first too, and labels, y, y_train and arr_1 for the second.

    Args:
        path: the file.
        conditional: whether labels are wanted.

    Returns:
        Images uint8 [M, H, W, C], labels int32 [M] or None, and a hash of the file.

    Raises:
        UserError: names the file, and the array that is missing or of the wrong kind.
    """
    where = str(path)
    try:
        data = path.read_bytes()
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        with contextlib.nullcontext({"image": loaded}) if isinstance(loaded, np.ndarray) else loaded as arrays:
            found: dict[str, np.ndarray] = {}
            for kind, names in (("image", IMAGE_NAMES), ("label", LABEL_NAMES)):
                name = next((name for name in names if name in arrays), None)
                if name is not None and (kind == "image" or conditional):
                    where = f"{path}: {name}"
                    found[kind] = arrays[name]
            named = ", ".join(arrays)
        identity = hashlib.sha256(data).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if "Object arrays" in str(error):
            raise UserError(
                f"{where}: holds Python objects, perhaps pictures of several shapes; give uint8 [M, H, W, C], or files"
            ) from None
        raise UserError(f"{path}: cannot be read as {path.suffix}: {first_line(error)}") from None
    if "image" not in found:
        raise UserError(f"{path}: has no array named image (it has {named})")
    images = check_images(found["image"], str(path), "M, H, W")
    if not conditional:
        return images, None, identity
    if "label" not in found:
        raise UserError(f"{path}: has no array named label (it has {named}); leave out --conditional, or add it")
    return images, check_labels(found["label"], len(images), str(path)), identity


def check_images(images: np.ndarray, where: str, axes: str) -> np.ndarray:
    """Checks pictures, or one, and gives them an axis of channels where they have none.

    Args:
        images: uint8 [M, H, W, C] or [M, H, W], or without M.
        where: what a message begins with.
        axes: the axes but the channels: "M, H, W" or "H, W".

    Raises:
        UserError: says what is wanted, what was found, and what to do.
    """
    rank = axes.count(",") + 1
    found = f"{where}: must be uint8 [{axes}, C] or [{axes}], not {images.dtype} {images.shape}"
    if not images.size:
        raise UserError(f"{found}, which has no pictures")
    if images.dtype != np.uint8:
        raise UserError(f"{found}{_to_uint8(images)}")
    if images.ndim == rank:
        return images[..., None]
    if images.ndim != rank + 1:
        raise UserError(found)
    if images.shape[-1] not in _CHANNELS and images.shape[rank - 2] in _CHANNELS:
        moved = (*range(rank - 2), rank - 1, rank, rank - 2)
        raise UserError(f"{found}; move the channels last: images.transpose{moved}")
    if images.shape[-1] not in _CHANNELS:
        raise UserError(f"{found}: pictures have 1, 3 or 4 channels; take some: images[..., :3]")
    return images


def _to_uint8(images: np.ndarray) -> str:
    """How to bring numbers to uint8, by the range that they have."""
    if not np.issubdtype(images.dtype, np.number) and images.dtype != np.bool_:
        return ""
    low, high = images.min(), images.max()
    if low >= 0 and 1 < high <= 255:
        change = "images.round().astype(np.uint8)"
    elif low >= 0 and high <= 1:
        change = "(images * 255.0).round().astype(np.uint8)"
    elif low >= -1 and high <= 1:
        change = "((images + 1) * 127.5).round().astype(np.uint8)"
    else:
        return f", of {low:g} to {high:g}; bring them to 0 to 255 first"
    return f", of {low:g} to {high:g}; bring them to 0 to 255: {change}"


def check_labels(labels: np.ndarray, count: int, where: str) -> np.ndarray:
    """Checks the labels of `count` pictures and brings them to int32.

    Raises:
        UserError: they are no integers from 0 on, one a picture.
    """
    if labels.shape != (count,):
        raise UserError(f"{where}: label must have the shape ({count},), one a picture, not {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{where}: label must be integers, not {labels.dtype}")
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= max(count, 2)))):
        raise UserError(f"{where}: label {labels[wrong[0]]} of picture {wrong[0]} is out of range; labels count from 0")
    return labels.astype(np.int32)


def _picture(item: Any, where: str) -> np.ndarray:
    if isinstance(item, dict):
        item = item.get("image")
    elif isinstance(item, tuple | list):
        item = item[0]
    try:
        image = np.asarray(item)
    except ValueError:  # Nested lists of several lengths.
        raise UserError(f"{where}: is no picture; uint8 [H, W, C] or [H, W] is needed") from None
    return check_images(image, where, "H, W")


def _label(item: Any, index: int, classes: int) -> int:
    label = item.get("label") if isinstance(item, dict) else item[1] if isinstance(item, tuple | list) else None
    if label is None:
        raise UserError(f"item {index}: has no label")
    try:
        number = operator.index(label)
    except TypeError:
        raise UserError(f"item {index}: label {label!r} must be an integer, 0 to {classes - 1}") from None
    if not 0 <= number < classes:
        raise UserError(f"item {index}: label {number} is out of range, 0 to {classes - 1}")
    return number
