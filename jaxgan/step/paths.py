"""Path length regularisation: equal steps in the space of styles should change the picture equally.

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958, section 3.2 and appendix B.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.step import judging
from jaxgan.step.game import Batch, Game, Network, TrainState, drawn, labels, own
from jaxgan.step.keys import normal, stream

_DECAY = 0.99  # Of the running mean of lengths.


def lengths(
    generator: Network, params: Any, stats: Any, latent: jax.Array, label: tuple[jax.Array, ...], y: Any, key: jax.Array
) -> jax.Array:
    """|J^T y| of each example, J the Jacobian of the pictures for the styles; the root mean square over layers.

    Args:
        generator: has methods "mapping", latents -> styles [N, layers, W], and "synthesis", styles -> pictures.
        params: its parameters.
        stats: its other variables.
        latent: [N, Z].
        label: (int32 [N],) or nothing.
        y: directions in the space of pictures, shaped like them.
        key: of the networks' own noise.

    Returns:
        [N].
    """
    styles, _ = judging.apply(generator, params, stats, latent, *label, key=key, method="mapping")

    def pictures(styles: jax.Array) -> jax.Array:
        return judging.apply(generator, params, stats, styles, key=key, method="synthesis")[0]

    (slope,) = jax.vjp(pictures, styles)[1](y)
    return jnp.sqrt(jnp.mean(jnp.sum(slope**2, axis=2), axis=1) + 1e-12)


def gradients(
    game: Game, state: TrainState, key: jax.Array, batch: Batch, stats: Any, noise: jax.Array
) -> tuple[tuple[Any, tuple[jax.Array, jax.Array]], Any]:
    """Gradients of the penalty, `weight * E (|J^T y| - a)^2`, for the generator's parameters.

    y is normal noise, of length 1 on average, and a the running mean of the lengths, from before. Every second example
    of the batch takes part, with a latent of its own: half the memory, for a penalty that is seldom applied.

    Args:
        game: the rules.
        state: the state before.
        key: of the step.
        batch: prepared, an even number of examples on every device.
        stats: the generator's statistics.
        noise: key of the networks' own noise.

    Returns:
        ((gradients, times `path_every`; (mean length, penalty)), `stats`).
    """
    index = batch["index"][::2]
    if len(batch["index"]) % 2:
        raise ValueError(f"path_length: needs an even number of examples on every device, not {len(batch['index'])}")
    latent = drawn(game, stream(key, "path latent"), index)
    label = jax.tree.map(lambda leaf: leaf[::2], labels(judging.of_fakes(game, batch, key)))
    shape = batch["image"].shape[1:]
    y = normal(stream(key, "path direction"), index, shape) / jnp.sqrt(float(shape[0] * shape[1]))

    def penalty(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        found = lengths(game.generator, params, stats, latent, label, y, stream(noise, "path"))
        apart = jnp.mean((found - state.path_length) ** 2)
        return game.path_every * game.path_length * apart, (jnp.mean(found), game.path_length * apart)

    return jax.grad(penalty, has_aux=True)(own(game, state.generator.params)), stats


def updated(mean: jax.Array, length: jax.Array) -> jax.Array:
    """The running mean of lengths after another one."""
    return _DECAY * mean + (1 - _DECAY) * length
