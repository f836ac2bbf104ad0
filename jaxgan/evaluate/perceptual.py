"""How different a generator's pictures look from one another: LPIPS diversity and perceptual path length."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.evaluate import batches, lpips
from jaxgan.evaluate.measures import Value, mean
from jaxgan.latent import mix, sampling
from jaxgan.step.keys import each, stream
from jaxgan.train_step import Game

EPSILON = 1e-4
"""Share of the way between two latents that a path's ends are apart."""

_CUT = 1  # Per cent of the paths that are left out at either end, as in the authors' code.


def distances(metric: lpips.Metric, first: Iterable[np.ndarray], second: Iterable[np.ndarray]) -> np.ndarray:
    """LPIPS distances float32 [N] of pictures, uint8 [n, H, W, C] at a time, to as many others.

    Of pairs of a generator's pictures their mean is the LPIPS diversity.

    References:
        Zhu et al., Toward Multimodal Image-to-Image Translation, arXiv 1711.11586, section 5.
    """

    def compare(metric: lpips.Metric, pairs: jax.Array) -> jax.Array:
        return metric(batches.colours(pairs[:, 0]), batches.colours(pairs[:, 1]))

    run = batches.runner(compare, metric)
    pairs = zip(batches.rebatched(first), batches.rebatched(second), strict=True)
    return np.concatenate([np.asarray(run(np.stack(pair, axis=1)))[: len(pair[0])] for pair in pairs])


def path_length(
    game: Game,
    variables: Any,
    metric: lpips.Metric,
    key: jax.Array,
    count: int,
    space: Literal["z", "w"],
    classes: int = 0,
) -> Iterator[np.ndarray]:
    """Lengths of short paths of a generator, in LPIPS distance over the square of the way gone.

    In z: between two latents on their sphere, somewhere on the way (the paper's "full"); in w: from a style a little
    towards another, on a straight line (StyleGAN2's `ppl2_wend`). Smaller is smoother. `path_value` makes one figure.

    Args:
        game: the rules.
        variables: the generator's, as a rule the averaged ones.
        metric: LPIPS.
        key: PRNG key.
        count: paths.
        space: "w" needs a generator with styles.
        classes: of a conditional generator; the ends of a path have the same class.

    Yields:
        float32 [n], until there are `count`.

    References:
        Karras et al., A Style-Based Generator Architecture for GANs, arXiv 1812.04948, section 4.1.
    """
    placed = batches.everywhere((variables, metric, key))
    for begin in range(0, count, batches.size()):
        index = batches.spread(np.arange(begin, begin + batches.size(), dtype=np.int32))
        yield np.asarray(_lengths(game, space, classes, *placed, index))[: count - begin]


def path_value(lengths: np.ndarray) -> Value:
    """The mean of paths' lengths [N] without the shortest and the longest hundredth, with its standard error."""
    low = np.percentile(lengths, _CUT, method="lower")
    high = np.percentile(lengths, 100 - _CUT, method="higher")
    return mean(lengths[(low <= lengths) & (lengths <= high)].astype(np.float64))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _lengths(
    game: Game, space: str, classes: int, variables: Any, metric: lpips.Metric, key: jax.Array, index: jax.Array
) -> jax.Array:
    start, end = (sampling.latents_at(game, stream(key, name), index) for name in ("start", "end"))
    label = index % classes if classes else None
    if space == "w":
        here, there = (mix.styles(game, variables, latent, label) for latent in (start, end))
        ends = here, here + EPSILON * (there - here)
        made = mix.of_styles(game)
    else:
        share = jax.vmap(jax.random.uniform)(each(stream(key, "share"), index))
        # Normal latents lie near a sphere, and a mapping to styles brings them onto it.
        start, end = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) * game.latent_size**0.5 for x in (start, end))
        ends = [jax.vmap(sampling.slerp)(start, end, place) for place in (share, share + EPSILON)]
        made = game
    one, other = (sampling.generate(made, None, variables, latent, label) for latent in ends)
    return metric(one, other) / EPSILON**2
