"""Pictures from a trained generator: samples, and walks between latents."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import train_step
from jaxgan.models import stylegan2
from jaxgan.step.keys import each, normal, stream
from jaxgan.support import images

_BATCH = 100  # Pictures a call of the generator, so that memory does not grow with the number asked for.


def draw_latents(key: jax.Array, count: int, size: int, truncation: float | None = None) -> jax.Array:
    """Draws latents for sampling; the first ones are the same however many are drawn.

    Args:
        key: PRNG key.
        count: number of latents N.
        size: length of each.
        truncation: redraw components beyond +- this (arXiv 1809.11096, section 3.1): less variety, more typical
            pictures. None draws from the whole normal distribution, as in training.

    Returns:
        float32 [N, size].
    """
    return latents_at(key, jnp.arange(count), size, truncation)


def latents_at(key: jax.Array, index: jax.Array, size: int, truncation: float | None = None) -> jax.Array:
    """The latents [N, size] that have these places int32 [N] in what `draw_latents` draws."""
    if truncation is None:
        return normal(key, index, (size,))
    keys = each(key, index)
    return jax.vmap(lambda k: jax.random.truncated_normal(k, -truncation, truncation, (size,)))(keys)


def outputs(
    game: train_step.Game, variables: Any, latent: jax.Array, label: Any = None, psi: float | None = None
) -> np.ndarray:
    """Runs a generator, as a rule with `state.ema`, a batch at a time.

    Args:
        game: the rules.
        variables: the generator's variables.
        latent: [N, latent_size].
        label: int32 [N] for a conditional generator.
        psi: of a generator with styles, draw them towards the average one (see `stylegan2.truncate`).

    Returns:
        What it makes, float32 [N, ...].
    """
    count = len(latent)
    parts = []
    for begin in range(0, count, _BATCH):
        # The last batch is filled up with repeats, so that one shape is compiled.
        index = jnp.arange(begin, begin + min(_BATCH, count)) % count
        part = generate(game, psi, variables, latent[index], None if label is None else label[index])
        parts.append(np.asarray(part))
    return np.concatenate(parts)[:count]


@functools.partial(jax.jit, static_argnums=0)
def generate(
    game: train_step.Game, psi: float | jax.Array | None, variables: Any, latent: jax.Array, label: jax.Array | None
) -> jax.Array:
    """One batch of what `outputs` gives, on the devices that its arguments are on."""
    if psi is None:
        return train_step.generate(game, variables, latent, label)
    apply: Any = functools.partial(game.generator.apply, variables, train=False)  # pyright: ignore[reportCallIssue]
    styles = apply(latent, label, method="mapping")
    return apply(stylegan2.truncate(styles, average_style(variables, label), psi), method="synthesis")


def average_style(variables: Any, label: jax.Array | None) -> jax.Array:
    """What styles are drawn towards: the average one [W], or each class's [N, 1, W] where a generator keeps these."""
    average = variables["batch_stats"]["average_style"]
    return average if average.ndim == 1 else average[label][:, None]


def pictures(
    game: train_step.Game, variables: Any, latent: jax.Array, label: Any = None, psi: float | None = None
) -> np.ndarray:
    """As `outputs`, as pictures: uint8 [N, H, W, C]."""
    return images.to_uint8(outputs(game, variables, latent, label, psi))


def landscape(game: train_step.Game, variables: Any, reach: float) -> np.ndarray:
    """A discriminator's logits on the plane, for games of points.

    Args:
        game: the rules.
        variables: the discriminator's.
        reach: as far from the origin.

    Returns:
        float32 [96, 96], rows from the bottom up.
    """
    side = jnp.linspace(-reach, reach, 96)
    points = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    # A packed discriminator judges several points together; here it gets the same one several times.
    return np.asarray(_logits(game, variables, jnp.tile(points, game.pack))).reshape(96, 96)


def fixed_sheet(game: train_step.Game, variables: Any, classes: int, key: jax.Array) -> np.ndarray:
    """A sheet of samples of the same latents at every call: 8 x 8, or for a conditional game a column a class.

    Returns:
        uint8 [height, width, C].
    """
    columns = min(classes, 10) or 8
    count = 8 * columns
    label = jnp.arange(count) % columns if classes else None
    latent = train_step.latents(stream(key, "samples"), count, game.latent_size)
    return images.grid(pictures(game, variables, latent, label), columns)


def walk(latent: jax.Array, frames: int) -> jax.Array:
    """A closed walk through latents on great circles.

    Args:
        latent: [N, size], the places to visit, in order and back to the first.
        frames: pictures from each place to the next.

    Returns:
        [N * frames, size].
    """
    share = jnp.arange(frames, dtype=latent.dtype) / frames
    ends = jnp.roll(latent, -1, axis=0)
    return jax.vmap(lambda a, b: jax.vmap(lambda t: slerp(a, b, t))(share))(latent, ends).reshape(-1, latent.shape[-1])


def slerp(start: jax.Array, end: jax.Array, share: jax.Array) -> jax.Array:
    """Spherical interpolation between two latents [size]: `start` at share 0, `end` at 1.

    Normal latents lie near a sphere; a straight line between two passes inside it, where the generator was never
    trained.

    References:
        White, Sampling Generative Networks, arXiv 1609.04468, section 2.1.
    """
    cosine = jnp.vdot(start, end) / (jnp.linalg.norm(start) * jnp.linalg.norm(end))
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))
    # Nearly parallel vectors: the sines vanish, and the straight line is right.
    straight = jnp.sin(angle) < 1e-4
    sine = jnp.where(straight, 1, jnp.sin(angle))
    a = jnp.where(straight, 1 - share, jnp.sin((1 - share) * angle) / sine)
    b = jnp.where(straight, share, jnp.sin(share * angle) / sine)
    return a * start + b * end


@functools.partial(jax.jit, static_argnums=0)
def _logits(game: train_step.Game, variables: Any, image: jax.Array) -> jax.Array:
    # Statistics that a network updates, such as those of spectral normalisation, are dropped.
    mutable = [name for name in variables if name != "params"]
    return game.discriminator.apply(variables, image, rngs=jax.random.key(0), mutable=mutable)[0]
