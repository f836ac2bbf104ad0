"""What the discriminator is shown, and how its answers and their slopes are taken; pure functions for the step."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.step import augment, schedules
from jaxgan.step.game import Batch, Game, Network, TrainState, labels, used
from jaxgan.step.keys import each, stream


def rngs(key: jax.Array) -> dict[str, jax.Array]:
    """What a network is given to draw by: see `Network`."""
    return {"params": key, "default": key}


def apply(network: Network, params: Any, stats: Any, *inputs: Any, key: jax.Array, **keywords: Any) -> tuple[Any, Any]:
    """Calls a network as in training; returns its output and its updated statistics."""
    return network.apply({"params": params, **stats}, *inputs, rngs=rngs(key), mutable=list(stats), **keywords)


def judge(
    game: Game, params: Any, batch: Batch, noise: jax.Array, name: str, stats: Any, shown: Any
) -> tuple[jax.Array, Callable[[jax.Array], tuple[Any]], Any]:
    """The discriminator's logits, their pullback to what it was shown, and its new statistics."""

    def forward(shown: Any) -> tuple[jax.Array, Any]:
        return apply(game.discriminator, params, stats, shown, *labels(batch), key=stream(noise, name))

    if not used(game.difference):
        return jax.vjp(forward, shown, has_aux=True)
    # Slopes are not what R1 and R2 need. Layers that are to be computed again where their gradients are
    # (rematerialised) would be kept if this were differentiated twice.
    logits, stats = forward(shown)
    return logits, lambda slope: jax.vjp(forward, shown, has_aux=True)[1](slope), stats


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
    return packed(game, matching(game, viewed(game, image, stats)))


def matching(game: Game, image: Any) -> Any:
    """Real images as the generator makes its own: the same one for each of several pictures (`Game.guidance`)."""
    return augment.repeated(image, game.guidance) if game.guidance else image


def shown(game: Game, state: TrainState, image: Any, batch: Batch, key: jax.Array, like: Any = None) -> Any:
    """What the discriminator is shown of images: augmented, noisy, packed.

    Where `like` is given, augmentation takes the mean colours of that: so images that differ a little are changed
    alike.
    """
    if game.augment:
        probability = state.augment
        if game.augment_rise_steps:
            probability *= 1 - schedules.falling(state.step, game.augment_rise_steps, 0.0)
        image = image if like is None else (image, like)
        image = augment.apply(game.augment, stream(key, "augment"), batch["index"], image, probability)
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
    other = jax.tree.map(functools.partial(augment.stored, batch["index"]), other)
    return shown(game, state, other, batch, stream(key, f"shown {kind}"), like=image)


def shown_from(
    game: Game, state: TrainState, image: Any, batch: Batch, key: jax.Array
) -> tuple[Any, Callable[[Any], Any]]:
    """As `shown`, and what takes a slope there to where R1 and R2 measure it (`Game.penalty_at`)."""
    if game.penalty_at == "shown" or used(game.difference):  # By a difference there is no slope to take anywhere.
        return shown(game, state, image, batch, key), lambda slope: slope
    image, pullback = jax.vjp(lambda image: shown(game, state, image, batch, key), image)
    return image, lambda slope: packed(game, pullback(slope)[0])


def preview(game: Game, image: jax.Array, key: jax.Array, step: int) -> jax.Array:
    """How the discriminator would see real images [N, H, W, C] at a step, each of them the first in its place.

    The probability of augmentation is that at the beginning. Of a pyramid the largest pictures are returned, of those
    with guidance the last, which have the least noise.
    """
    batch = {"image": image, "index": jnp.arange(len(image), dtype=jnp.int32)}
    nothing: Any = None
    state = TrainState(
        step=jnp.asarray(step, jnp.int32),
        generator=nothing,
        discriminator=nothing,
        ema=nothing,
        augment=jnp.full((), game.augment_probability, jnp.float32),
        path_length=jnp.zeros((), jnp.float32),
    )
    key = stream(jax.random.fold_in(key, step), "shown real")
    seen = jax.tree.leaves(shown(game, state, viewed(game, image, {}), batch, key))
    return max(reversed(seen), key=lambda leaf: leaf.size)


def packed(game: Game, image: Any) -> Any:
    """Arrays [N, ..., C] -> [N / pack, ..., pack * C], neighbours in the batch side by side."""
    if game.pack == 1:
        return image

    def pack(leaf: jax.Array) -> jax.Array:
        packs = leaf.reshape(len(leaf) // game.pack, game.pack, *leaf.shape[1:])
        return jnp.concatenate([packs[:, index] for index in range(game.pack)], axis=-1)

    return jax.tree.map(pack, image)


def of_fakes(game: Game, batch: Batch, key: jax.Array) -> Batch:
    """The batch with its fakes' labels: those of the real examples, or any (`Game.fake_classes`), by their places."""
    if not game.fake_classes or "label" not in batch:
        return batch
    keys = each(stream(key, "label"), batch["index"])
    draw = functools.partial(jax.random.randint, shape=(), minval=0, maxval=game.fake_classes, dtype=jnp.int32)
    return {**batch, "label": jax.vmap(draw)(keys)}


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
        return leaf + jnp.sqrt(jnp.maximum(square - mean**2, 0)) / 2 * _draw(game, batch, stream(key, "around"), sample)

    return jax.tree.map(jitter, real)


def inconsistency(
    game: Game, judge: Callable[..., Any], stats: Any, batch: Batch, key: jax.Array, shown: Any, logits: jax.Array
) -> jax.Array:
    """Mean square by which the logits change when what is shown is shifted."""
    index = batch["index"][:: game.pack]
    policies = (augment.translation,)
    shifted = augment.apply(policies, stream(key, "consistency"), index, shown, jnp.ones(()))
    return jnp.mean((judge("discriminator consistent", stats, shifted)[0] - logits) ** 2)
