"""A generator as a program of its own: StableHLO with the weights inside, which JAX runs without jaxgan."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from jaxgan import train_step
from jaxgan.latent import sampling

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def program(game: train_step.Game, variables: Any, classes: int, psi: float | None = None) -> bytes:
    """Exports a generator, as a rule with `state.ema`.

    Args:
        game: the rules.
        variables: the generator's variables.
        classes: number of classes; 0 if not conditional.
        psi: of a generator with styles, draw them towards the average one (see `stylegan2.truncate`).

    Returns:
        What `jax.export.deserialize` reads: a function of latents float32 [N, latent_size], standard normal, and of a
        conditional generator of labels int32 [N], for any N; it gives pictures float32 [N, H, W, C] in [-1, 1].
    """
    variables = jax.tree.map(jnp.asarray, jax.device_get(variables))  # On no device in particular.

    def generate(latent: jax.Array, label: jax.Array | None = None) -> jax.Array:
        return jnp.clip(sampling.generate(game, psi, variables, latent, label), -1, 1)

    (count,) = export.symbolic_shape("n")
    arguments = [jax.ShapeDtypeStruct((count, game.latent_size), jnp.float32)]
    if classes:
        arguments.append(jax.ShapeDtypeStruct((count,), jnp.int32))
    return bytes(export.export(jax.jit(generate), platforms=PLATFORMS)(*arguments).serialize())
