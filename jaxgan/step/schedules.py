"""What changes over the steps of a run: weights and probabilities, and the decay of the generator's average."""

import jax
import jax.numpy as jnp

from jaxgan.step.game import Game, used


def falling(step: jax.Array, steps: int, final: float) -> jax.Array:
    """From 1 at step 0 to `final` at step `steps` and after, by half a cosine."""
    share = jnp.minimum(step.astype(jnp.float32) / steps, 1)
    return final + (1 - final) * (1 + jnp.cos(jnp.pi * share)) / 2


def averaging(game: Game, step: jax.Array, examples: int) -> jax.Array:
    """The decay of the generator's moving average at a step.

    Args:
        game: the rules.
        step: int32 scalar, steps done.
        examples: real examples of each step's last update, over all devices.

    Returns:
        float32 scalar: the average becomes so much of itself and the rest of the generator.

    References:
        Karras et al., arXiv 2006.06676, appendix C (a half-life in examples, at first a share of those seen).
    """
    time = step.astype(jnp.float32)
    if used(game.ema_half_life):
        half_life = jnp.asarray(game.ema_half_life, jnp.float32)
        if game.ema_rise_steps:
            half_life *= 1 - falling(step, game.ema_rise_steps, 0.0)
        if game.ema_ramp is not None:
            half_life = jnp.minimum(half_life, game.ema_ramp * examples * time)
        decay = jnp.exp2(-examples / jnp.maximum(half_life, 1e-8))
    elif game.ema_start:
        decay = jnp.asarray(game.ema_decay, jnp.float32)
    else:  # Early on a short average, so that the untrained generator is forgotten.
        decay = jnp.minimum(game.ema_decay, (1 + time) / (10 + time))
    return jnp.where(step < game.ema_start, 0, decay) if game.ema_start else decay
