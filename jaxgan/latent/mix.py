"""Styles of a style-based generator: from latents, to pictures, and mixed.

Such a generator is two networks (arXiv 1812.04948): a mapping from latents to styles, one for each layer of the second,
which makes the picture from them, coarse to fine. A module has styles if it has the methods `mapping` and `synthesis`,
as `models.stylegan2.Generator`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import train_step
from jaxgan.latent import sampling
from jaxgan.models import stylegan2
from jaxgan.step.keys import stream

_COUNT = 10_000  # Latents whose styles tell the mean and the spread (arXiv 1912.04958, appendix D).


def has_styles(game: train_step.Game) -> bool:
    """Whether a game's generator is style-based."""
    return hasattr(game.generator, "mapping")


def truncations(game: train_step.Game, truncation: float | None) -> tuple[float | None, float | None]:
    """What a truncation means to a game's generator: psi of styles, or the bound of latents, the other None."""
    return (truncation, None) if has_styles(game) else (None, truncation)


def of_styles(game: train_step.Game) -> train_step.Game:
    """The game whose generator takes styles [N, L, W] where the given one takes latents [N, latent_size]."""
    return dataclasses.replace(game, generator=_Synthesis(game.generator))


@functools.partial(jax.jit, static_argnums=0)
def styles(
    game: train_step.Game,
    variables: Any,
    latent: jax.Array,
    label: jax.Array | None = None,
    psi: float | jax.Array | None = None,
) -> jax.Array:
    """The styles of latents.

    Args:
        game: the rules, with a style-based generator.
        variables: the generator's variables, as a rule `state.ema`.
        latent: [N, latent_size].
        label: int32 [N] for a conditional generator.
        psi: draw them towards the average one (see `stylegan2.truncate`).

    Returns:
        [N, L, W], a style for each of L layers, coarse to fine.
    """
    generator: Any = game.generator
    found = generator.apply(variables, latent, label, train=False, method="mapping")
    return found if psi is None else stylegan2.truncate(found, sampling.average_style(variables, label), psi)


@functools.partial(jax.jit, static_argnums=0)
def statistics(
    game: train_step.Game, variables: Any, key: jax.Array, label: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Where styles lie, judged by those of 10,000 latents.

    Args:
        game: the rules, with a style-based generator.
        variables: the generator's variables.
        key: PRNG key.
        label: int32 [1], the class, for a conditional generator.

    Returns:
        Their mean [W], and the root of their mean square distance from it.
    """
    latent = train_step.latents(game, stream(key, "statistics"), _COUNT)
    labels = None if label is None else jnp.broadcast_to(label, _COUNT)
    found = styles(game, variables, latent, labels)[:, 0]
    mean = jnp.mean(found, axis=0)
    return mean, jnp.sqrt(jnp.mean(jnp.sum(jnp.square(found - mean), axis=-1)))


def cross(coarse: jax.Array, fine: jax.Array, crossover: int) -> jax.Array:
    """Styles [..., L, W] of which the first `crossover` layers are those of `coarse`, the others those of `fine`."""
    return jnp.where(jnp.arange(coarse.shape[-2])[:, None] < crossover, coarse, fine)


def grid(game: train_step.Game, variables: Any, top: jax.Array, side: jax.Array, crossover: int) -> np.ndarray:
    """Mixes every style of one set with every one of another.

    Args:
        game: the rules, with a style-based generator.
        variables: the generator's variables.
        top: styles [C, L, W], whose coarse layers go to the cells below.
        side: styles [R, L, W], whose other layers go to the cells beside.
        crossover: how many layers are coarse, 0 to L.

    Returns:
        Pictures uint8 [1 + R, 1 + C, H, W, channels]: the sources along the top and down the side, the corner black.

    References:
        Karras, Laine and Aila, A Style-Based Generator Architecture for Generative Adversarial Networks, arXiv
        1812.04948, figure 3.
    """
    rows, columns = len(side), len(top)
    cells = cross(top[None], side[:, None], crossover).reshape(-1, *top.shape[1:])
    made = sampling.pictures(of_styles(game), variables, jnp.concatenate([top, side, cells]))
    sheet = np.zeros((1 + rows, 1 + columns, *made.shape[1:]), np.uint8)
    sheet[0, 1:], sheet[1:, 0] = made[:columns], made[columns : columns + rows]
    sheet[1:, 1:] = made[columns + rows :].reshape(rows, columns, *made.shape[1:])
    return sheet


@dataclasses.dataclass(frozen=True)
class _Synthesis:
    """The second half of a style-based generator, as a network of its own with the same variables."""

    generator: Any

    def init(self, rngs: Any, *args: Any) -> Any:
        return self.generator.init(rngs, *args, method="synthesis")

    def apply(self, variables: Any, *args: Any, **keywords: Any) -> Any:
        return self.generator.apply(variables, *args, **keywords, method="synthesis")
