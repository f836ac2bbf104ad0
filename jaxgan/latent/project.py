"""Projection: the latent whose picture is nearest to a given one.

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958, appendix D (styles).
    Abdal, Qin and Wonka, Image2StyleGAN, arXiv 1904.03189 (a style of its own for each layer: W+).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxgan import train_step
from jaxgan.evaluate import lpips
from jaxgan.latent import mix
from jaxgan.step.keys import stream

History = dict[str, jax.Array]

_RATE = 0.1
_WARM_UP, _COOL_DOWN = 0.05, 0.25  # Shares of the iterations in which the rate rises, and falls.
_NOISE, _NOISY = 0.05, 0.75  # Noise at the beginning, in spreads of the styles; share of the iterations that have it.
_PULL = 0.1  # Weight of the latent's length.
_CANDIDATES, _BATCH = 200, 8
_WORTH_COMPILING = 5e6  # Pixels, times iterations; see `style.transfer`.
_ADAM = optax.scale_by_adam()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Goal:
    """What the search aims at.

    Attributes:
        variables: the generator's.
        metric: the distance.
        image: the target, [1, H, W, C] in -1..1.
        features: its features.
        label: int32 [1], the class, for a conditional generator whose latent is searched.
        spread: root mean square distance of styles from their mean; None where a latent is searched.
        pixel_weight: of the mean square difference of pixels, beside the distance.
    """

    variables: Any
    metric: lpips.Metric
    image: jax.Array
    features: lpips.Features
    label: jax.Array | None
    spread: jax.Array | None
    pixel_weight: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """All that the search remembers.

    Attributes:
        latent: [1, size]; of a style-based generator styles [1, L, W].
        optimizer: the state of Adam.
    """

    latent: jax.Array
    optimizer: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Projection:
    """What a search found.

    Attributes:
        latent: [size]; of a style-based generator styles [L, W].
        picture: its picture, [H, W, C] in -1..1.
        distance: LPIPS from it to the target.
        history: "loss", "lpips" and "pixels" (the mean square) of each iteration, before its step, [steps].
        pictures: [F, H, W, C], the first one, then that of every so many iterations.
    """

    latent: jax.Array
    picture: jax.Array
    distance: jax.Array
    history: History
    pictures: jax.Array


def project(
    game: train_step.Game,
    variables: Any,
    metric: lpips.Metric,
    target: jax.Array,
    key: jax.Array,
    label: int | None = None,
    *,
    steps: int = 500,
    plus: bool = False,
    pixel_weight: float = 1.0,
    every: int = 0,
    on_pictures: Callable[[int, History, jax.Array], None] | None = None,
) -> Projection:
    """Searches the latent whose picture is nearest to a given one: LPIPS and the square of pixels, by Adam.

    Style-based generators are searched for styles from their mean on, others for a latent from the best of 200 random
    ones on, weakly held at the length that latents have. Pure: the same key, the same result.

    Args:
        game: the rules.
        variables: the generator's variables, as a rule `state.ema`.
        metric: the distance.
        target: [H, W, C] in -1..1, as the generator makes pictures.
        key: PRNG key, of the start and of the noise.
        label: the class, for a conditional generator.
        steps: iterations.
        plus: search for a style for each layer rather than one for all: nearer, but less like what training saw.
        pixel_weight: of the square of pixels.
        every: iterations from one picture on the way to the next; 0: only the first and the last.
        on_pictures: called at each with the iterations done, the losses of those since the last, and the picture
            [H, W, C] in -1..1. What it raises ends the search.

    Returns:
        The latent, and how it was found.
    """
    goal, state, picture = begin(game, variables, metric, target[None], key, label, pixel_weight)
    if target.shape[0] * target.shape[1] * steps > _WORTH_COMPILING:
        goal = dataclasses.replace(goal, metric=metric.using(form="fast"))
    inner = _searched(game)
    pictures, histories, limit = [picture], [], min(every or steps, steps)
    for done in range(0, steps, limit):
        count = min(limit, steps - done)
        state, history, picture = advance(inner, goal, state, key, done, count, steps, plus=plus, limit=limit)
        histories.append({name: values[:count] for name, values in history.items()})
        pictures.append(picture)
        if on_pictures is not None:
            on_pictures(done + count, histories[-1], picture)
    return Projection(
        latent=state.latent[0],
        picture=picture,
        distance=metric.compare(metric.features(picture[None]), goal.features)[0],
        history={name: jnp.concatenate([part[name] for part in histories]) for name in histories[0]},
        pictures=jnp.stack(pictures),
    )


@functools.partial(jax.jit, static_argnums=0)
def begin(
    game: train_step.Game,
    variables: Any,
    metric: lpips.Metric,
    image: jax.Array,
    key: jax.Array,
    label: int | jax.Array | None = None,
    pixel_weight: float | jax.Array = 1.0,
) -> tuple[Goal, State, jax.Array]:
    """What to aim at, where to begin, and its picture [H, W, C]. Arguments as for `project`; image [1, H, W, C]."""
    labels = None if label is None else jnp.full(1, label, jnp.int32)
    features = metric.features(image)
    weight = jnp.asarray(pixel_weight, jnp.float32)
    inner = _searched(game)
    if mix.has_styles(game):
        mean, spread = mix.statistics(game, variables, key, labels)
        goal = Goal(variables, metric, image, features, None, spread, weight)
        count = jax.eval_shape(lambda z: mix.styles(game, variables, z, labels), jnp.zeros((1, game.latent_size)))
        latent = jnp.broadcast_to(mean, count.shape)
    else:
        goal = Goal(variables, metric, image, features, labels, None, weight)
        candidates = train_step.latents(game, stream(key, "start"), _CANDIDATES)

        def judge(some: jax.Array) -> jax.Array:
            distance, pixels = _differences(goal, _render(inner, goal, some))
            return distance + weight * pixels

        found = lax.map(judge, candidates.reshape(-1, _BATCH, *candidates.shape[1:])).reshape(-1)
        latent = candidates[jnp.argmin(found)][None]
    return goal, State(latent, _ADAM.init(latent)), _render(inner, goal, latent)[0]


@functools.partial(jax.jit, static_argnames=("game", "plus", "limit"))
def advance(
    game: train_step.Game,
    goal: Goal,
    state: State,
    key: jax.Array,
    done: int | jax.Array,
    count: int | jax.Array,
    steps: int | jax.Array,
    *,
    plus: bool,
    limit: int,
) -> tuple[State, History, jax.Array]:
    """Some iterations. Their number is an argument: any runs the same program.

    Args:
        game: the rules, with a generator of latents or of styles (`mix.of_styles`).
        goal: what to aim at.
        state: where the search is.
        key: PRNG key of the search.
        done: iterations before.
        count: iterations now, at most `limit`.
        steps: iterations in all, on which rate and noise depend.
        plus: whether layers have styles of their own.
        limit: length of the history.

    Returns:
        The state; the losses [limit], those beyond `count` 0; the state's picture [H, W, C].
    """
    tied = state.latent.ndim == 3 and not plus

    def loss(latent: jax.Array, noise: jax.Array) -> tuple[jax.Array, History]:
        distance, pixels = _differences(goal, _render(game, goal, latent + noise))
        total = distance[0] + goal.pixel_weight * pixels[0]
        if latent.ndim == 2:
            total += _PULL * jnp.square(jnp.linalg.norm(latent) / math.sqrt(latent.shape[-1]) - 1)
        return total, {"loss": total, "lpips": distance[0], "pixels": pixels[0]}

    def body(index: jax.Array, carry: tuple[State, History]) -> tuple[State, History]:
        state, history = carry
        place = jnp.asarray(done + index, jnp.float32)
        share = place / jnp.asarray(steps, jnp.float32)
        noise = jnp.zeros(())
        if goal.spread is not None:  # A latent begins near its end, and noise only drives it away.
            shape = state.latent[:, :1].shape if tied else state.latent.shape
            drawn = jax.random.normal(jax.random.fold_in(stream(key, "noise"), done + index), shape)
            noise = _NOISE * goal.spread * jnp.square(jnp.maximum(1 - share / _NOISY, 0)) * drawn
        gradient, parts = jax.grad(loss, has_aux=True)(state.latent, noise)
        if tied:  # One style for all layers: each takes the same step.
            gradient = jnp.broadcast_to(jnp.mean(gradient, axis=1, keepdims=True), gradient.shape)
        # Optax's bias correction raises a float to an integer count, which strict dtype promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            update: Any
            update, optimizer = _ADAM.update(gradient, state.optimizer)
        rise = jnp.minimum((place + 1) / (_WARM_UP * jnp.asarray(steps, jnp.float32)), 1)
        fall = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum((1 - share) / _COOL_DOWN, 1))
        latent = state.latent - _RATE * rise * fall * update
        return State(latent, optimizer), {name: history[name].at[index].set(value) for name, value in parts.items()}

    history = {name: jnp.zeros(limit) for name in ("loss", "lpips", "pixels")}
    state, history = lax.fori_loop(0, count, body, (state, history))
    return state, history, _render(game, goal, state.latent)[0]


def _searched(game: train_step.Game) -> train_step.Game:
    """The game whose generator takes what is searched for."""
    return mix.of_styles(game) if mix.has_styles(game) else game


def _render(game: train_step.Game, goal: Goal, latent: jax.Array) -> jax.Array:
    label = None if goal.label is None else jnp.broadcast_to(goal.label, len(latent))
    return train_step.generate(game, goal.variables, latent, label)


def _differences(goal: Goal, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """LPIPS and mean square of pixels, [N] each, from the target."""
    distance = goal.metric.compare(goal.metric.features(images), goal.features)
    return distance, jnp.mean(jnp.square(images - goal.image), axis=(1, 2, 3))
