"""How pictures are brought to the size that a network takes: as papers did it, or as it should be done.

All ways are linear and separable, so each is a matrix for the rows and one for the columns. Frechet distances differ
by the way, by as much as between good generators and better ones.

References:
    Parmar et al., On Aliased Resizing and Surprising Subtleties in GAN Evaluation, arXiv 2104.11222.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Resize = Literal["clean", "legacy_tensorflow", "legacy_pytorch"]
"""clean: bicubic with antialiasing, Pillow's, in floating point (clean-fid's). legacy_tensorflow: bilinear as
TensorFlow 1 had it, without antialiasing, pixels at their upper left corners: FID's as it was published, and of the
official codes of StyleGAN and ADM. legacy_pytorch: bilinear without antialiasing, pixels at their centres
(pytorch-fid's)."""


def resize(images: jax.Array, side: int, how: Resize) -> jax.Array:
    """Brings pictures [N, H, W, C] in [-1, 1] to [N, side, side, C]; those of that size stay as they are."""
    height, width = images.shape[1:3]
    if height == width == side:
        return images
    rows, columns = (jnp.asarray(matrix(size, side, how)) for size in (height, width))
    found = jnp.einsum("ih,nhwc->niwc", rows, images, precision="highest")
    found = jnp.einsum("jw,niwc->nijc", columns, found, precision="highest")
    return jnp.clip(found, -1, 1)  # Bicubic weights overshoot.


@functools.cache
def matrix(size: int, side: int, how: Resize) -> np.ndarray:
    """The weights float32 [side, size] of an axis of `size` pixels brought to `side`; each row adds up to 1."""
    weights = np.zeros((side, size), np.float64)
    step = size / side
    for row in range(side):
        if how == "clean":
            reach = 2 * max(step, 1)
            centre = (row + 0.5) * step
            first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), size)
            taps = np.arange(first, last)
            weights[row, taps] = _cubic((taps + 0.5 - centre) / max(step, 1))
            weights[row] /= weights[row].sum()
        else:
            place = max((row + 0.5) * step - 0.5, 0)
            if how == "legacy_tensorflow":  # It multiplies in single precision.
                place = float(np.float32(row) * np.float32(step))
            low = min(math.floor(place), size - 1)
            weights[row, low] += 1 - (place - low)
            weights[row, min(low + 1, size - 1)] += place - low
    return weights.astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """The bicubic kernel with a = -0.5."""
    x = np.abs(x)
    return np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))
