"""Pictures from a trained generator: samples, and walks between latents."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import train_step
from jaxgan.models import layers, stylegan2
from jaxgan.step.game import Game, drawn, standard_normal
from jaxgan.step.keys import each, stream
from jaxgan.support import images

_BATCH = 100  # Pictures a call of the generator, so that memory does not grow with the number asked for.


def draw_latents(game: Game, key: jax.Array, count: int, truncation: float | None = None) -> jax.Array:
    """Draws latents for sampling; the first ones are the same however many are drawn.

    Args:
        game: the rules.
        key: PRNG key.
        count: number of latents N.
        truncation: redraw components beyond +- this (arXiv 1809.11096, section 3.1): less variety, more typical
            pictures. None draws from the whole prior, as in training.

    Returns:
        [N, ...], of the default prior float32 [N, latent_size].

    Raises:
        ValueError: a truncation, and the game has a prior of its own.
    """
    return latents_at(game, key, jnp.arange(count), truncation)


def latents_at(game: Game, key: jax.Array, index: jax.Array, truncation: float | None = None) -> jax.Array:
    """The latents [N, ...] that have these places int32 [N] in what `draw_latents` draws."""
    if truncation is None:
        return drawn(game, key, index)
    if game.prior is not standard_normal:
        raise ValueError("truncation: only standard normal latents are truncated, and this game has another prior")
    size = (game.latent_size,)
    return jax.vmap(lambda k: jax.random.truncated_normal(k, -truncation, truncation, size))(each(key, index))


def latents_of(game: Game, seeds: Sequence[int], truncation: float | None = None) -> jax.Array:
    """A latent for each of several seeds, [N, ...]: the first that `draw_latents` draws of that seed."""
    return _firsts(game, jnp.asarray(seeds, jnp.uint32), truncation)


@functools.partial(jax.jit, static_argnums=0)
def _firsts(game: Game, seeds: jax.Array, truncation: float | None) -> jax.Array:
    return jax.vmap(lambda seed: latents_at(game, jax.random.key(seed), jnp.arange(1), truncation)[0])(seeds)


def labels(count: int, classes: int, label: int | None = None) -> np.ndarray | None:
    """Labels int32 [N] of so many samples: all classes in turn, or one class; None where there are no classes."""
    if not classes:
        return None
    return np.full(count, label, np.int32) if label is not None else np.arange(count, dtype=np.int32) % classes


def outputs(
    game: Game,
    variables: Any,
    latent: jax.Array,
    label: Any = None,
    psi: Any = None,
    noise: jax.Array | None = None,
    batch: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Runs a generator, as a rule with `state.ema`, a batch at a time.

    Args:
        game: the rules.
        variables: the generator's variables.
        latent: [N, ...], as drawn.
        label: int32 [N] for a conditional generator.
        psi: of a generator with styles, draw them towards the average one (see `stylegan2.truncate`).
        noise: of a generator with styles, PRNG key of noise that each picture has for itself, as in training; the same
            noise in all if None.
        batch: how many at a time, however few there are: one program for any number of them, so that none depends, by a
            last digit, on how many are asked for. None: as many as there are, at most 100.
        on_batch: called after each, with how many are made of how many.

    Returns:
        What it makes, float32 [N, ...].
    """
    count = len(latent)
    batch = batch or min(_BATCH, count)
    parts = []
    for begin in range(0, count, batch):
        # The last batch is filled up with repeats, so that one shape is compiled.
        index = jnp.arange(begin, begin + batch) % count
        own = None if noise is None else jax.random.fold_in(noise, begin)
        part = generate(game, psi, variables, latent[index], None if label is None else label[index], own)
        parts.append(np.asarray(part))
        if on_batch is not None:
            on_batch(min(begin + batch, count), count)
    return np.concatenate(parts)[:count]


@functools.partial(jax.jit, static_argnums=0)
def generate(
    game: Game,
    psi: float | jax.Array | None,
    variables: Any,
    latent: jax.Array,
    label: jax.Array | None,
    noise: jax.Array | None = None,
) -> jax.Array:
    """One batch of what `outputs` gives, on the devices that its arguments are on."""
    if psi is None and noise is None:
        return train_step.generate(game, variables, latent, label)
    apply: Any = functools.partial(game.generator.apply, variables)
    styles = apply(latent, label, train=False, method="mapping")
    if psi is not None:
        styles = stylegan2.truncate(styles, average_style(variables, label), psi)
    return apply(styles, train=noise is not None, rngs=noise, method="synthesis")


def average_style(variables: Any, label: jax.Array | None) -> jax.Array:
    """What styles are drawn towards: the average one [W], or each class's [N, 1, W] where a generator keeps these."""
    average = variables["batch_stats"]["average_style"]
    return average if average.ndim == 1 else average[label][:, None]


def pictures(
    game: Game,
    variables: Any,
    latent: jax.Array,
    label: Any = None,
    psi: Any = None,
    noise: jax.Array | None = None,
    batch: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """As `outputs`, as pictures: uint8 [N, H, W, C]."""
    return images.to_uint8(outputs(game, variables, latent, label, psi, noise, batch, on_batch))


def standing(
    game: Game,
    variables: Any,
    key: jax.Array,
    batches: int,
    classes: int = 0,
    truncation: float | None = None,
) -> Any:
    """The generator's variables with the moments of fresh batches, for its batch normalisation (standing statistics).

    Running averages are of generators of many steps, and of whole normal latents; these are of the very generator, and
    of the latents that it is to be sampled with.

    Args:
        game: the rules.
        variables: the generator's, as a rule `state.ema`.
        key: PRNG key.
        batches: how many, of 100 latents each, with labels drawn uniformly; 16 in the authors' code.
        classes: number of classes; 0 if not conditional.
        truncation: of the latents, see `draw_latents`.

    Returns:
        As `variables`.

    Raises:
        ValueError: it has no batch normalisation.

    References:
        Brock, Donahue and Simonyan, arXiv 1809.11096, appendix C.
    """

    def is_moment(path: Any) -> bool:
        return path[-1].key in ("mean", "var")

    stats: Any = variables.get("batch_stats", {})
    if not any(is_moment(path) for path, _ in jax.tree_util.tree_leaves_with_path(stats)):
        raise ValueError("the generator has no batch normalisation")
    total: Any = jax.tree.map(jnp.zeros_like, stats)
    empty = jax.tree_util.tree_map_with_path(lambda path, x: jnp.zeros_like(x) if is_moment(path) else x, stats)
    for index in range(batches):
        own = jax.random.fold_in(key, index)
        latent = draw_latents(game, stream(own, "latent"), _BATCH, truncation)
        label = jax.random.randint(stream(own, "label"), (_BATCH,), 0, classes) if classes else None
        found = _moments(game, {**variables, "batch_stats": empty}, latent, label, stream(own, "noise"))
        total = jax.tree.map(jnp.add, total, found)
    # Of its batch each call took a share of 1 - momentum, and the rest of what was there, 0.
    share = batches * (1 - layers.MOMENTUM)
    taken = jax.tree_util.tree_map_with_path(lambda path, x, was: x / share if is_moment(path) else was, total, stats)
    return {**variables, "batch_stats": taken}


@functools.partial(jax.jit, static_argnums=0)
def _moments(game: Game, variables: Any, latent: jax.Array, label: jax.Array | None, key: jax.Array) -> Any:
    labels = () if label is None else (label,)
    return game.generator.apply(variables, latent, *labels, rngs=key, mutable=["batch_stats"])[1]["batch_stats"]


def landscape(game: Game, variables: Any, reach: float) -> np.ndarray:
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


def fixed_sheet(game: Game, variables: Any, classes: int, key: jax.Array) -> np.ndarray:
    """A sheet of samples of the same latents at every call: 8 x 8, or for a conditional game a column a class.

    Returns:
        uint8 [height, width, C].
    """
    shown = min(classes, 10) or 8
    columns = shown * max(1, 8 // shown)
    count = 8 * columns
    label = jnp.arange(count) % shown if classes else None
    latent = train_step.latents(game, stream(key, "samples"), count)
    return images.grid(pictures(game, variables, latent, label), columns)


def walk(latent: jax.Array, frames: int) -> jax.Array:
    """A closed walk: through latents on great circles, through styles on straight lines.

    Args:
        latent: [N, size], or styles [N, L, W]: the places to visit, in order and back to the first.
        frames: pictures from each place to the next.

    Returns:
        [N * frames, ...].
    """
    share = jnp.arange(frames, dtype=latent.dtype) / frames
    ends = jnp.roll(latent, -1, axis=0)
    between = slerp if latent.ndim == 2 else (lambda a, b, t: (1 - t) * a + t * b)
    visited = jax.vmap(lambda a, b: jax.vmap(lambda t: between(a, b, t))(share))(latent, ends)
    return visited.reshape(-1, *latent.shape[1:])


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
def _logits(game: Game, variables: Any, image: jax.Array) -> jax.Array:
    # Statistics that a network updates, such as those of spectral normalisation, are dropped.
    mutable = [name for name in variables if name != "params"]
    return game.discriminator.apply(variables, image, rngs=jax.random.key(0), mutable=mutable)[0]
