"""Directions of a latent space along which pictures change most, in closed form: SeFa.

References:
    Shen and Zhou, Closed-Form Factorization of Latent Semantics in GANs, arXiv 2007.06600.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import train_step
from jaxgan.latent import mix
from jaxgan.step.keys import stream
from jaxgan.support.errors import UserError


def weights(game: train_step.Game, params: Any) -> np.ndarray:
    """The linear map that the latent, or the style of a style-based generator, goes through first.

    Args:
        game: the rules.
        params: the generator's parameters.

    Returns:
        float64 [size, D], inputs first. Of style-based generators the kernels `affine/kernel` of all layers, side by
        side; of others the first fully connected kernel that takes the whole latent, without a label's rows.

    Raises:
        UserError: the generator has no such layer.
    """
    kernels = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if leaf.ndim == 2
    }
    if mix.has_styles(game):
        found = [kernel for name, kernel in kernels.items() if name.endswith("affine/kernel")]
    else:
        # The vector of a label, appended to the latent, is as long as that.
        lengths = (game.latent_size, 2 * game.latent_size)
        fitting = [k for name, k in kernels.items() if name.split("/")[-1] == "kernel" and len(k) in lengths]
        found = [kernel[: game.latent_size] for kernel in fitting[:1]]
    if not found:
        family = type(game.generator).__module__.rpartition(".")[2]
        raise UserError(f"directions: the generator of {family} has no layer that the whole latent goes through first")
    return np.concatenate(found, axis=1)


def directions(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The directions n of length 1 that a linear map changes most: the eigenvectors of A^T A (paper, equation 7).

    Args:
        matrix: A^T [size, D], as `weights` gives it.
        count: directions, at most `size`.

    Returns:
        float32 [count, size], from the strongest on, the largest component positive; and their `|A n|^2` [count].
    """
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    values, vectors = values[::-1][:count], vectors.T[::-1][:count]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return (vectors * np.sign(largest)).astype(np.float32), values.astype(np.float32)


def deviation(
    game: train_step.Game, variables: Any, key: jax.Array, label: jax.Array | None = None
) -> float | jax.Array:
    """How far latents, or the styles of a style-based generator, lie apart along a direction: one standard deviation.

    Args:
        game: the rules.
        variables: the generator's variables.
        key: PRNG key, of the latents whose styles tell.
        label: int32 [1], the class, for a conditional generator.
    """
    if not mix.has_styles(game):
        return 1.0
    mean, spread = mix.statistics(game, variables, stream(key, "mean"), label)
    return spread / len(mean) ** 0.5


def moved(point: jax.Array, found: np.ndarray, amounts: Sequence[float], unit: float | jax.Array) -> jax.Array:
    """A point [size], or styles [L, size], moved along several directions [count, size] by so many units each."""
    return point + jnp.asarray(amounts, jnp.float32) * unit @ found[: len(amounts)]


def sliders(point: jax.Array, found: np.ndarray, steps: int, reach: float | jax.Array) -> jax.Array:
    """Points along directions, from -reach to +reach.

    Args:
        point: [size], a latent; or [L, size], its styles.
        found: [count, size], directions.
        steps: points along each, 2 or more; of an odd number the middle one is `point`.
        reach: how far to go.

    Returns:
        [count * steps, ...], direction by direction.
    """
    shift = jnp.linspace(-1, 1, steps)[:, None] * reach * found[:, None]
    shift = shift.reshape(-1, *[1] * (point.ndim - 1), point.shape[-1])
    return point + shift
