"""What style transfer minimises.

A picture's style, at a layer, is a statistic of the layer's features over all positions: which features occur, and
which occur together, but not where. Every statistic here is a mean over positions, not a sum, so a loss means the same
at every size of the picture.

References:
    Gatys, Ecker and Bethge, A Neural Algorithm of Artistic Style, arXiv 1508.06576.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Moments = Any
Target = Any


class StyleLoss(NamedTuple):
    """A way to compare styles.

    Attributes:
        moments: features [P, C] of P positions, and their weights [P] (None: all 1) -> a pytree of float32 weighted
            *sums* over the positions; so the moments of a picture are the sum of those of its parts.
        target: moments divided by the sum of weights -> what `distance` needs of the style.
        distance: moments divided by the sum of weights, and a target -> a scalar that is 0 where the styles are equal.
    """

    moments: Callable[[jax.Array, jax.Array | None], Moments]
    target: Callable[[Moments], Target]
    distance: Callable[[Moments, Target], jax.Array]


def content(features: jax.Array, target: jax.Array) -> jax.Array:
    """Half the mean squared difference of features, [..., C] both (arXiv 1508.06576, equation 1, as a mean)."""
    return jnp.mean(jnp.square(features.astype(jnp.float32) - target.astype(jnp.float32))) / 2


def gram(features: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Gram matrix of features, their mean product over positions, in float32.

    Args:
        features: [P, C].
        weights: [P], how much each position counts; all the same if None.

    Returns:
        [C, C], sum_p w_p f_p f_p^T / sum_p w_p.
    """
    return _second(features, weights) / (features.shape[0] if weights is None else jnp.sum(weights))


def total_variation(image: jax.Array, power: int = 2) -> jax.Array:
    """Roughness of a picture: the mean of `|difference of neighbours|^power`, down plus across.

    Args:
        image: [H, W, C].
        power: 1 (keeps edges) or 2 (rounds them).
    """
    down, across = jnp.abs(image[1:] - image[:-1]), jnp.abs(image[:, 1:] - image[:, :-1])
    return jnp.mean(down**power) + jnp.mean(across**power)


def temporal(image: jax.Array, frame: jax.Array, trust: jax.Array) -> jax.Array:
    """Mean squared distance from the frame before where it is to be trusted (arXiv 1604.08610, equation 7).

    Args:
        image: [H, W, C].
        frame: [H, W, C], the frame before, moved along the optical flow.
        trust: [H, W], each position's weight.
    """
    return jnp.mean(trust[..., None] * jnp.square(image - frame))


@jax.custom_vjp
def _second(features: jax.Array, weights: jax.Array | None) -> jax.Array:
    # A sum over 10^4 or more positions overruns bfloat16's eight bits: whatever the features, sums are float32.
    return jnp.matmul(_weighted(features, weights).T, features, preferred_element_type=jnp.float32)


def _second_backward(saved: tuple[jax.Array, jax.Array | None], g: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    # The two factors are one: their gradients together take one product instead of two.
    features, weights = saved
    product = features @ (g + g.T).astype(features.dtype)
    if weights is None:
        return product, None
    weight_gradient = jnp.sum(product.astype(jnp.float32) * features.astype(jnp.float32), axis=1) / 2
    return _weighted(product, weights), weight_gradient


_second.defvjp(lambda features, weights: (_second(features, weights), (features, weights)), _second_backward)


def _weighted(features: jax.Array, weights: jax.Array | None) -> jax.Array:
    return features if weights is None else features * weights[:, None].astype(features.dtype)


def _first(features: jax.Array, weights: jax.Array | None) -> jax.Array:
    features = features.astype(jnp.float32)
    return jnp.sum(features, axis=0) if weights is None else weights @ features


def _gram_distance(gram: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(gram - target)) / (4 * gram.shape[0] ** 2)


GRAM = StyleLoss(moments=_second, target=lambda gram: gram, distance=_gram_distance)
"""Gatys et al.: squared difference of Gram matrices / (4 C^2) (arXiv 1508.06576, equation 4, with means for sums)."""


class _Gaussian(NamedTuple):
    mean: jax.Array
    root: jax.Array  # symmetric square root of the covariance
    trace: jax.Array  # of the covariance


def _gaussian_moments(features: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    return _first(features, weights), _second(features, weights)


def _gaussian_target(moments: tuple[jax.Array, jax.Array]) -> _Gaussian:
    mean, covariance = _covariance(moments)
    values, vectors = jnp.linalg.eigh(covariance)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0))) @ vectors.T
    return _Gaussian(mean, root, jnp.trace(covariance))


def _gaussian_distance(moments: tuple[jax.Array, jax.Array], target: _Gaussian) -> jax.Array:
    mean, covariance = _covariance(moments)
    between = target.root @ covariance @ target.root
    cross = _trace_of_root((between + between.T) / 2)
    return jnp.sum(jnp.square(mean - target.mean)) + jnp.trace(covariance) + target.trace - 2 * cross


@jax.custom_vjp
def _trace_of_root(matrix: jax.Array) -> jax.Array:
    """Trace of the square root of a positive semidefinite matrix."""
    return _root(matrix)[0]


def _root(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The trace of the square root, and the inverse square root, by Newton and Schulz's coupled iteration.

    Matrix products alone: an eigendecomposition of 512 x 512 takes as long as the network. Directions with less than
    about 10^-6 of the largest variance count for less than they should, which also bounds the slope there.
    """
    size = matrix.shape[0]
    eye = jnp.eye(size, dtype=matrix.dtype)
    norm = jnp.sqrt(jnp.sum(jnp.square(matrix))) + 1e-20

    def step(_: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        root, inverse = pair
        change = 1.5 * eye - 0.5 * inverse @ root
        return root @ change, change @ inverse

    root, inverse = lax.fori_loop(0, 15, step, (matrix / norm, eye))
    return jnp.trace(root) * jnp.sqrt(norm), inverse / jnp.sqrt(norm)


def _trace_of_root_forward(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _root(matrix)


_trace_of_root.defvjp(_trace_of_root_forward, lambda inverse, g: (g / 2 * inverse,))


def _covariance(moments: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    mean, second = moments
    return mean, second - jnp.outer(mean, mean)


WASSERSTEIN = StyleLoss(moments=_gaussian_moments, target=_gaussian_target, distance=_gaussian_distance)
"""Squared Wasserstein-2 distance of the Gaussians with the features' means and covariances:
`|m - n|^2 + tr(A + B - 2 (B^1/2 A B^1/2)^1/2)`. Matches features' colours and contrasts more closely than Gram
matrices, whose largest entries dominate; costs some forty matrix products a layer and iteration more."""


def _statistics_moments(features: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    return _first(features, weights), _first(jnp.square(features.astype(jnp.float32)), weights)


def _statistics_target(moments: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    mean, square = moments
    # The deviation of a feature that never varies has an infinite slope; this much is nothing beside the others.
    floor = 1e-6 * jnp.mean(square) + 1e-12
    return mean, jnp.sqrt(jnp.maximum(square - jnp.square(mean), 0) + floor)


def _statistics_distance(moments: tuple[jax.Array, jax.Array], target: tuple[jax.Array, jax.Array]) -> jax.Array:
    mean, deviation = _statistics_target(moments)
    return jnp.sum(jnp.square(mean - target[0])) + jnp.sum(jnp.square(deviation - target[1]))


STATISTICS = StyleLoss(moments=_statistics_moments, target=_statistics_target, distance=_statistics_distance)
"""Squared differences of each feature's mean and standard deviation (Huang and Belongie, arXiv 1703.06868): the
cheapest, blind to which features occur together."""

BY_NAME = {"gram": GRAM, "wasserstein": WASSERSTEIN, "statistics": STATISTICS}
