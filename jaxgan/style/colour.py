"""Keeping a content's colours: two ways, from before and from after the transfer.

References:
    Gatys, Bethge, Hertzmann and Shechtman, Preserving Color in Neural Artistic Style Transfer, arXiv 1606.05897.
"""

import jax
import jax.numpy as jnp

_LUMA = (0.299, 0.587, 0.114)


def keep_colours(image: jax.Array, content: jax.Array) -> jax.Array:
    """The brightness of one picture with the colours of another (luminance transfer).

    Args:
        image: [H, W, 3] in 0..1, what gives each pixel's luma.
        content: the same, what gives each pixel's difference of colour from luma.

    Returns:
        [H, W, 3] in 0..1.
    """
    weights = jnp.array(_LUMA, image.dtype)
    return jnp.clip(content + (image @ weights - content @ weights)[..., None], 0, 1)


def match_colours(style: jax.Array, content: jax.Array) -> jax.Array:
    """The linear change of a style's colours to the mean and covariance of a content's.

    Of all linear maps that match, the one that moves colours least (the optimal transport of Gaussians).

    Args:
        style: [h, w, 3] in 0..1.
        content: [H, W, 3] in 0..1.

    Returns:
        [h, w, 3] in 0..1.
    """
    mean_s, cov_s = _moments(style)
    mean_c, cov_c = _moments(content)
    root = _power(cov_s, 0.5)
    inverse = _power(cov_s, -0.5)
    change = inverse @ _power(root @ cov_c @ root, 0.5) @ inverse
    return jnp.clip((style - mean_s) @ change + mean_c, 0, 1)


def _moments(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    pixels = image.reshape(-1, 3)
    mean = jnp.mean(pixels, axis=0)
    # A grey picture has no variance across grey: a grain of noise makes the covariance invertible.
    return mean, (pixels - mean).T @ (pixels - mean) / pixels.shape[0] + 1e-5 * jnp.eye(3)


def _power(matrix: jax.Array, exponent: float) -> jax.Array:
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, 1e-12) ** exponent) @ vectors.T
