"""Differentiable augmentation of what the discriminator sees, real and fake alike: for small data sets, and noise.

An augmentation is a function of (keys [N], images, probability): each example is changed with that probability, by its
own key. Images may be a pytree of resolutions [N, H, W, C]: all get the same change, in shares of their size. Gradients
pass through, so that the generator learns from a discriminator that never sees an image unchanged.

References:
    Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, arXiv 2006.10738.
    Karras et al., Training Generative Adversarial Networks with Limited Data, arXiv 2006.06676.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.step import window
from jaxgan.step.keys import each, normal, stream

Augment = Callable[[jax.Array, Any, jax.Array], Any]
"""(keys [N], image pytree of [N, H, W, C] in [-1, 1], probability scalar) -> the same shapes and dtypes.

A plain function with a name, so that tuples of them hash and each draws by its own name."""


def colour(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Brightness by +-0.5, saturation by a factor up to 2, contrast by 0.5 to 1.5, each by itself."""
    for name, change in (("brightness", _brightness), ("saturation", _saturation), ("contrast", _contrast)):
        image = _changed(_named(keys, name), image, probability, change)
    return image


def translation(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Shifts by up to an eighth of the size; what comes in is 0, a middle grey, as in the paper's code."""
    return _changed(keys, image, probability, _shift)


def cutout(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Sets a square of half the side to 0; part of it may lie outside."""
    return _changed(keys, image, probability, _cut)


def flip(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Mirrors left and right, every second time."""
    return _changed(keys, image, probability / 2, lambda key, x: x[:, ::-1])


def colours(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Brightness, saturation and contrast as `colour` has them, but together, every second time, as GAT's authors do.

    Around the mean colours of the last picture of the pytree, of one size with the others.
    """

    def one(key: jax.Array, x: jax.Array, last: jax.Array) -> jax.Array:
        happens = jax.random.uniform(key, dtype=probability.dtype) < probability / 2
        pixel, mean = jnp.mean(last, axis=-1, keepdims=True), jnp.mean(last)
        y = pixel + (x + _uniform(stream(key, "brightness"), x, -0.5, 0.5) - pixel) * _uniform(
            stream(key, "saturation"), x, 0, 2
        )
        y = mean + (y - mean) * _uniform(stream(key, "contrast"), x, 0.5, 1.5)
        return jnp.where(happens, y, x)

    last = jax.tree.leaves(image)[-1]
    return jax.tree.map(lambda leaf: jax.vmap(one)(keys, leaf, last), image)


def mirror(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Mirrors left and right two times in five, as GAT's authors do, so that what is shown says which way it was."""
    return _changed(keys, image, 0.4 * probability, lambda key, x: x[:, ::-1])


POLICIES: dict[str, Augment] = {
    policy.__name__: policy for policy in (colour, translation, cutout, flip, colours, mirror)
}
"""By the names that configs use."""


def apply(policies: tuple[Augment, ...], key: jax.Array, index: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Applies augmentations one after another.

    Args:
        policies: which; the draws of each depend on its name, not on the others or its place among them.
        key: PRNG key.
        index: int32 [N], each example's place in the whole batch: what an example gets depends on nothing else.
        image: pytree of [N, H, W, C].
        probability: of each augmentation for each example, 0 to 1.

    Returns:
        As `image`.
    """
    keys = each(key, index)
    for policy in policies:
        image = policy(_named(keys, policy.__name__), image, probability)
    return image


def noise(key: jax.Array, index: jax.Array, image: Any, sigma: jax.Array) -> Any:
    """Instance noise: adds sigma times standard normal noise, which blurs the two distributions into each other.

    Args:
        key: PRNG key.
        index: int32 [N], each example's place in the whole batch.
        image: pytree of [N, ...].
        sigma: standard deviation, scalar.

    Returns:
        As `image`.

    References:
        Sonderby et al., arXiv 1610.04490, section 2.3; Arjovsky and Bottou, arXiv 1701.04862, section 3.
    """
    leaves, structure = jax.tree.flatten(image)

    def noisy(place: int, leaf: jax.Array) -> jax.Array:
        keys = each(jax.random.fold_in(key, place), index)
        drawn = jax.vmap(lambda k: jax.random.normal(k, leaf.shape[1:], leaf.dtype))(keys)
        return leaf + sigma.astype(leaf.dtype) * drawn

    return structure.unflatten([noisy(place, leaf) for place, leaf in enumerate(leaves)])


def repeated(image: Any, levels: tuple[float, ...]) -> tuple[jax.Array, ...]:
    """A picture for each level of noise: those of a tuple, or one array as often as there are levels."""
    return image if isinstance(image, tuple) else (image,) * len(levels)


def guided(key: jax.Array, index: jax.Array, image: Any, levels: tuple[float, ...]) -> tuple[jax.Array, ...]:
    """Guidance by pictures with ever less noise: `x (1 - t) + t noise`, t from the first picture to the last.

    A generator's first pictures need to be right only as far as they can be told from real ones through the noise, so
    each part of it has something of its own to learn. The noise of a picture is that of the one after it, as much as
    that has of it, and fresh noise: what one picture shows no other denies.

    Args:
        key: PRNG key.
        index: int32 [N], each example's place in the whole batch.
        image: a tuple of [N, H, W, C], a picture a level, or one array that stands for all of them.
        levels: t of each picture, below 1, falling.

    Returns:
        A tuple of [N, H, W, C].

    References:
        Hyun et al., Scalable GANs with Transformers, arXiv 2509.24935, section 3.2; .885, .76, .51, .01 there.
    """
    shown, total, before = [], 0, 0.0
    for place, (level, picture) in reversed(list(enumerate(zip(levels, repeated(image, levels), strict=True)))):
        kept = (1 - level) / (1 - before)
        fresh = normal(jax.random.fold_in(key, place), index, picture.shape[1:]).astype(picture.dtype)
        total = kept * total + math.sqrt(max(0, level**2 - (kept * before) ** 2)) * fresh
        shown.append((1 - level) * picture + total)
        before = level
    return tuple(shown[::-1])


def adapt(
    probability: jax.Array, sign: jax.Array, batch_size: int, target: float = 0.6, images: int = 500_000
) -> jax.Array:
    """ADA's rule: more augmentation while the discriminator is surer of real examples than the target, else less.

    Args:
        probability: now.
        sign: mean sign of the logits of real examples, -1 to 1 (the paper's r_t).
        batch_size: real examples since the last call.
        target: of `sign`.
        images: real examples in which the probability may go from 0 to 1.

    Returns:
        The probability from now on, 0 to 1.

    References:
        arXiv 2006.06676, section 3.2.
    """
    step = jnp.sign(sign - target).astype(probability.dtype) * (batch_size / images)
    return jnp.clip(probability + step, 0, 1)


def _changed(keys: jax.Array, image: Any, probability: jax.Array, change: Callable[[jax.Array, jax.Array], Any]) -> Any:
    """Changes each example [H, W, C] of each array with a probability."""

    def one(key: jax.Array, x: jax.Array) -> jax.Array:
        happens = jax.random.uniform(key, dtype=probability.dtype) < probability
        return jnp.where(happens, change(jax.random.fold_in(key, 1), x), x)

    return jax.tree.map(lambda leaf: jax.vmap(one)(keys, leaf), image)


def _named(keys: jax.Array, name: str) -> jax.Array:
    return jax.vmap(lambda key: stream(key, name))(keys)


def _brightness(key: jax.Array, x: jax.Array) -> jax.Array:
    return x + _uniform(key, x, -0.5, 0.5)


def _saturation(key: jax.Array, x: jax.Array) -> jax.Array:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    return mean + (x - mean) * _uniform(key, x, 0, 2)


def _contrast(key: jax.Array, x: jax.Array) -> jax.Array:
    mean = jnp.mean(x)
    return mean + (x - mean) * _uniform(key, x, 0.5, 1.5)


def _uniform(key: jax.Array, x: jax.Array, low: float, high: float) -> jax.Array:
    # Drawn in float32 whatever the dtype of the image: the same draw for all, and bfloat16 has few numbers.
    return jax.random.uniform(key, (), jnp.float32, low, high).astype(x.dtype)


def _shift(key: jax.Array, x: jax.Array) -> jax.Array:
    share = jax.random.uniform(key, (2,), jnp.float32, -1, 1) / 8
    reach = [size // 8 + 1 for size in x.shape[:2]]
    start = [reach[axis] - jnp.round(share[axis] * x.shape[axis]).astype(jnp.int32) for axis in (0, 1)]
    padded = jnp.pad(x, [(reach[0], reach[0]), (reach[1], reach[1]), (0, 0)])
    return window.cut(padded, jnp.stack(start), x.shape[:2])


def _cut(key: jax.Array, x: jax.Array) -> jax.Array:
    centre = jax.random.uniform(key, (2,), jnp.float32)
    inside = [
        jnp.abs((jnp.arange(size, dtype=jnp.float32) + 0.5) / size - centre[axis]) < 0.25
        for axis, size in enumerate(x.shape[:2])
    ]
    return jnp.where((inside[0][:, None] & inside[1])[..., None], 0, x)
