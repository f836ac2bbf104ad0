"""What the discriminator is shown, and how its answers and their slopes are taken; pure functions for the step."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.step import augment
from jaxgan.step.game import Batch, Game, Network, TrainState, labels, used
from jaxgan.step.keys import each, stream


def apply(network: Network, params: Any, stats: Any, *inputs: Any, key: jax.Array, **keywords: Any) -> tuple[Any, Any]:
    """Calls a network as in training; returns its output and its updated statistics."""
    return network.apply({"params": params, **stats}, *inputs, rngs=key, mutable=list(stats), **keywords)


def judge(
    game: Game, params: Any, batch: Batch, noise: jax.Array, name: str, stats: Any, shown: Any
) -> tuple[jax.Array, Callable[[jax.Array], tuple[Any]], Any]:
    """The discriminator's logits, their pullback to what it was shown, and its new statistics."""

    def forward(shown: Any) -> tuple[jax.Array, Any]:
        return apply(game.discriminator, params, stats, shown, *labels(batch), key=stream(noise, name))

    return jax.vjp(forward, shown, has_aux=True)


def slope(judge: Callable[..., Any], stats: Any, shown: Any) -> Any:
    """The gradient of the sum of the logits for what the discriminator is shown."""
    logits, pullback, _ = judge("discriminator penalised", stats, shown)
    return pullback(jnp.ones_like(logits))[0]


def viewed(game: Game, image: Any, stats: Any) -> Any:
    """What of real images is played with; `stats` are the discriminator's, which know how far a stage is faded in."""
    if game.view is None:
        return image
    return game.view(image, stats["fade"]["alpha"] if "fade" in stats else jnp.ones(()))


def plain(game: Game, image: Any, stats: Any) -> Any:
    """What the discriminator is shown of real images that are neither augmented nor noisy; `stats` as for `viewed`."""
    image = viewed(game, image, stats)
    return packed(game, augment.repeated(image, game.guidance) if game.guidance else image)


def shown(game: Game, state: TrainState, image: Any, batch: Batch, key: jax.Array, like: Any = None) -> Any:
    """What the discriminator is shown of images: augmented, noisy, packed.

    Where `like` is given, augmentation takes the mean colours of that: so images that differ a little are changed
    alike.
    """
    if game.augment:
        image = image if like is None else (image, like)
        image = augment.apply(game.augment, stream(key, "augment"), batch["index"], image, state.augment)
        image = image if like is None else image[0]
    if game.guidance:
        image = augment.guided(stream(key, "guidance"), batch["index"], image, game.guidance)
    if used(game.instance_noise):
        sigma = jnp.asarray(game.instance_noise, jnp.float32)
        if game.instance_noise_steps:
            sigma *= jnp.maximum(0, 1 - state.step.astype(jnp.float32) / game.instance_noise_steps)
        image = augment.noise(stream(key, "instance noise"), batch["index"], image, sigma)
    return packed(game, image)


def moved(game: Game, state: TrainState, batch: Batch, key: jax.Array, kind: str, image: Any) -> Any:
    """What the discriminator is shown of "real" or "fake" images a small step away: all else about them stays."""
    step = jnp.asarray(game.difference, jnp.result_type(float))
    other = augment.noise(stream(key, f"difference {kind}"), batch["index"], image, step)
    return shown(game, state, other, batch, stream(key, f"shown {kind}"), like=image)


def packed(game: Game, image: Any) -> Any:
    """Arrays [N, ..., C] -> [N / pack, ..., pack * C], neighbours in the batch side by side."""
    if game.pack == 1:
        return image

    def pack(leaf: jax.Array) -> jax.Array:
        packs = leaf.reshape(len(leaf) // game.pack, game.pack, *leaf.shape[1:])
        return jnp.concatenate([packs[:, index] for index in range(game.pack)], axis=-1)

    return jax.tree.map(pack, image)


def _draw(game: Game, batch: Batch, key: jax.Array, sample: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """A draw for each thing that the discriminator judges, by its place in the whole batch."""
    return jax.vmap(sample)(each(key, batch["index"][:: game.pack]))


def exchanged(game: Game, batch: Batch, key: jax.Array, real: jax.Array, fake: jax.Array) -> list[jax.Array]:
    """Real and fake logits, some pairs exchanged: noisy labels."""
    if not used(game.noisy_labels):
        return [real, fake]
    swap = _draw(game, batch, stream(key, "noisy labels"), lambda k: jax.random.bernoulli(k, game.noisy_labels))
    swap = swap.reshape(-1, *[1] * (real.ndim - 1))
    return [jnp.where(swap, fake, real), jnp.where(swap, real, fake)]


def between(game: Game, batch: Batch, key: jax.Array, real: Any, fake: Any) -> Any:
    """A random place on the line from each fake to a real example (WGAN-GP)."""
    share = _draw(game, batch, stream(key, "between"), functools.partial(jax.random.uniform, dtype=jnp.float32))

    def between(a: jax.Array, b: jax.Array) -> jax.Array:
        a = a.astype(b.dtype)
        return b + share.reshape(-1, *[1] * (a.ndim - 1)).astype(b.dtype) * (a - b)

    return jax.tree.map(between, real, fake)


def around(game: Game, batch: Batch, key: jax.Array, real: Any) -> Any:
    """Real examples with noise of half the batch's standard deviation (DRAGAN)."""

    def jitter(leaf: jax.Array) -> jax.Array:
        sample = functools.partial(jax.random.normal, shape=leaf.shape[1:], dtype=leaf.dtype)
        moments = jnp.stack([jnp.mean(leaf), jnp.mean(leaf**2)])
        mean, square = moments if game.axis is None else jax.lax.pmean(moments, game.axis)
        return leaf + jnp.sqrt(square - mean**2) / 2 * _draw(game, batch, stream(key, "around"), sample)

    return jax.tree.map(jitter, real)


def inconsistency(
    game: Game, judge: Callable[..., Any], stats: Any, batch: Batch, key: jax.Array, shown: Any, logits: jax.Array
) -> jax.Array:
    """Mean square by which the logits change when what is shown is shifted."""
    index = batch["index"][:: game.pack]
    policies = (augment.translation,)
    shifted = augment.apply(policies, stream(key, "consistency"), index, shown, jnp.ones(()))
    return jnp.mean((judge("discriminator consistent", stats, shifted)[0] - logits) ** 2)
