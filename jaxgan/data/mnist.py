"""MNIST, which ships with the package."""

import functools
import gzip
from importlib import resources
from typing import Literal

import numpy as np


@functools.lru_cache
def load_mnist(split: Literal["train", "test"] = "train") -> tuple[np.ndarray, np.ndarray]:
    """The handwritten digits of LeCun, Cortes and Burges.

    Args:
        split: "train" (60,000 digits) or "test" (10,000).

    Returns:
        Images uint8 [M, 28, 28, 1], white on black, and labels int32 [M] in 0..9; not to be written to.
    """
    prefix = {"train": "train", "test": "t10k"}[split]
    images = _read(f"{prefix}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28, 1)
    labels = _read(f"{prefix}-labels-idx1-ubyte.gz", header=8).astype(np.int32)
    labels.setflags(write=False)
    return images, labels


def _read(name: str, header: int) -> np.ndarray:
    packed = (resources.files("jaxgan.support") / "assets" / "mnist" / name).read_bytes()
    return np.frombuffer(gzip.decompress(packed), np.uint8, offset=header)
