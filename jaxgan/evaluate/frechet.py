"""Frechet distance of generated pictures to real ones, in features of the VGG16 that ships with the package.

The measure is FID's (Heusel et al., arXiv 1706.08500, equation 6), the features are not: those are Inception's, which
does not ship. Distances compare runs on one data set with each other, not with published FIDs. A distance depends on
how many pictures it is taken from; the data's own halves, at as many, are the floor.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.style import vgg, weights

_LAYER = "relu5_3"
_BATCH = 50
_LEAST = 32  # Pixels a side: four poolings leave 2 of them.


def features(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Features of pictures: VGG16's relu5_3, averaged over positions.

    Args:
        pictures: uint8 [n, H, W, C] at a time; grey ones are taken as colours, transparent ones lie on white, those of
            fewer than 32 pixels a side are enlarged to that.

    Returns:
        float32 [N, 512].
    """
    network = weights.load()
    found = []
    for block in pictures:
        for begin in range(0, len(block), _BATCH):
            part = block[begin : begin + _BATCH]
            filled = np.concatenate([part, np.repeat(part[-1:], _BATCH - len(part), axis=0)])
            found.append(np.asarray(_features(network, filled))[: len(part)])
    return np.concatenate(found)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two sets of features [N, F] and [M, F], taken as normal distributions.

    |mean a - mean b|^2 + trace(A + B - 2 (A B)^(1/2)), A and B the covariances.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The roots of the eigenvalues of A B are those of the symmetric A^(1/2) B A^(1/2).
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2) + np.trace(first) + np.trace(second) - 2 * shared)


@jax.jit
def _features(network: vgg.Network, pictures: jax.Array) -> jax.Array:
    x = pictures.astype(jnp.float32) / 255
    if x.shape[-1] == 4:
        x = x[..., :3] * x[..., 3:] + 1 - x[..., 3:]
    x = jnp.broadcast_to(x, (*x.shape[:3], 3))
    if min(x.shape[1:3]) < _LEAST:
        x = jax.image.resize(x, (len(x), _LEAST, _LEAST, 3), "linear")
    return jnp.mean(network.features(x, [_LAYER])[_LAYER], axis=(1, 2))
