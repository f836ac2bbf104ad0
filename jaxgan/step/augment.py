"""Differentiable augmentation of what the discriminator sees, real and fake alike: for small data sets, and noise.

An augmentation is a function of (keys [N], images, probability): each example is changed with that probability, by its
own key; the same keys change other images in the same way. Images may be a pytree of resolutions [N, H, W, C]: all get
the same change, in shares of their size. Gradients pass through, so that the generator learns from a discriminator that
never sees an image unchanged.

`colour`, `translation` and `cutout` are DiffAugment's. `blit`, `geometry` and `tone` are the 12 operations of ADA's
default pipeline, each with the probability; `filter`, `grain` and `cutout` are what its others add. What is drawn for
these is given to functions of one picture, here and in `warp`, which can be called with anything else as well.

References:
    Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, arXiv 2006.10738.
    Karras et al., Training Generative Adversarial Networks with Limited Data, arXiv 2006.06676.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.models import conv
from jaxgan.step import warp, window
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


def blit(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Mirrors, turns by quarters, and shifts by whole pixels, up to an eighth of the size; reflected around."""

    def change(key: jax.Array, x: jax.Array) -> jax.Array:
        happens = _happens(key, probability, (3,))
        drawn = jax.random.uniform(stream(key, "drawn"), (4,), jnp.float32)
        flip, turns = drawn[0] < 0.5, jnp.floor(4 * drawn[1]).astype(jnp.int32)
        shift = (drawn[2:] - 0.5) / 4
        return warp.blitted(x, happens[0] & flip, jnp.where(happens[1], turns, 0), jnp.where(happens[2], shift, 0))

    return _each(keys, image, change)


def geometry(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Scales, stretches, rotates and shifts, without aliasing; reflected around.

    By 2^n, n of standard deviation 0.2; so much more one way than across it; by any angle; by parts of pixels, of
    standard deviation an eighth of the size.
    """

    def change(key: jax.Array, x: jax.Array) -> jax.Array:
        matrix, shift, happens = _drawn_geometry(key, probability)
        return jnp.where(happens, warp.transformed(x, matrix, shift), x)

    return _each(keys, image, change)


def _drawn_geometry(key: jax.Array, probability: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What `warp.transformed` takes, and whether it is anything but the identity."""
    either = 1 - jnp.sqrt(1 - probability)  # So that a picture is rotated, before or after, with the probability.
    happens = _happens(key, jnp.stack([probability, probability, probability, either, either]), (5,))
    normal = jax.random.normal(stream(key, "drawn"), (4,), jnp.float32)
    scale, stretch = jnp.where(happens[:2], jnp.exp2(0.2 * normal[:2]), 1)
    shift = jnp.where(happens[2], normal[2:] / 8, 0)
    angle = jnp.where(happens[3:], jax.random.uniform(stream(key, "angles"), (2,), jnp.float32, -jnp.pi, jnp.pi), 0)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    before, after = jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])]).transpose(2, 0, 1)
    stretched = jnp.stack([stretch, 1 / stretch])[:, None] * after
    return jnp.matmul(before, stretched, precision="highest") / scale, shift, jnp.any(happens)


def tone(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Brightness, contrast, light and dark, hue, saturation, each by itself.

    A number of standard deviation 0.2 is added; times 2^n, n of 0.5; exchanged every second time; rotated by any angle;
    times 2^n, n of 1.
    """

    def change(key: jax.Array, x: jax.Array) -> jax.Array:
        happens = _happens(key, probability, (5,))
        drawn = jax.random.normal(stream(key, "drawn"), (3,), jnp.float32)
        added, multiplied, factor = drawn[0] / 5, jnp.exp2(drawn[1] / 2), jnp.exp2(drawn[2])
        uniform = jax.random.uniform(stream(key, "angles"), (2,), jnp.float32, -1, 1)
        x = jnp.where(happens[0], x + added.astype(x.dtype), x)
        x = jnp.where(happens[1], x * multiplied.astype(x.dtype), x)
        x = jnp.where(happens[2] & (uniform[0] < 0), inverted(x), x)
        x = jnp.where(happens[3], rotated(x, jnp.pi * uniform[1]), x)
        return jnp.where(happens[4], saturated(x, factor), x)

    return _each(keys, image, change)


def rare_tone(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """As `tone`, half as often: R3GAN's."""
    return tone(keys, image, probability / 2)


def filter(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Each of four bands of spatial frequencies times 2^n, n of standard deviation 1; power is kept on average."""
    power = jnp.asarray([10, 1, 1, 1], jnp.float32) / 13  # What pictures have of each band.

    def change(key: jax.Array, x: jax.Array) -> jax.Array:
        happens = _happens(key, probability, (4,))
        drawn = jnp.where(happens, jnp.exp2(jax.random.normal(stream(key, "drawn"), (4,), jnp.float32)), 1)
        # Each band's gain, divided by what it does to the power of the whole.
        gains = drawn / jnp.prod(jnp.sqrt(1 + power * (drawn**2 - 1)))
        return jnp.where(jnp.any(happens), warp.amplified(x, gains), x)

    return _each(keys, image, change)


def grain(keys: jax.Array, image: Any, probability: jax.Array) -> Any:
    """Noise whose standard deviation is drawn, itself of standard deviation 0.1."""
    return _changed(keys, image, probability, _grain)


POLICIES: dict[str, Augment] = {
    policy.__name__: policy
    for policy in (
        colour,
        translation,
        cutout,
        flip,
        colours,
        mirror,
        blit,
        geometry,
        tone,
        rare_tone,
        filter,
        grain,
    )
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
    pictures = repeated(image, levels)
    keys = each(key, jnp.arange(len(levels), dtype=jnp.int32))
    fresh = jax.vmap(lambda key: normal(key, index, pictures[0].shape[1:]))(keys).astype(pictures[0].dtype)
    shown, total, before = [], 0, 0.0
    for place, (level, picture) in reversed(list(enumerate(zip(levels, pictures, strict=True)))):
        kept = (1 - level) / (1 - before)
        total = stored(index, kept * total + math.sqrt(max(0, level**2 - (kept * before) ** 2)) * fresh[place])
        shown.append(stored(index, (1 - level) * picture + total))
        before = level
    return tuple(shown[::-1])


def stored(index: jax.Array, image: jax.Array) -> jax.Array:
    """The images, on CPU written to memory as they are.

    What reads them in another order, as patches are, would else have XLA compute them again in that order, all draws
    anew for every pixel: GAT's step on CPU took twice as long. Its barriers do not last until then; a branch does.

    Args:
        index: int32 [N], each example's place; never negative, which the compiler does not know.
        image: array of any shape.

    Returns:
        image.
    """
    branch = functools.partial(jax.lax.cond, index[0] >= 0, lambda image: image, jnp.negative)
    return conv.by_platform(image, cpu=branch, default=lambda image: image)


def adapt(
    probability: jax.Array, sign: jax.Array, batch_size: int, target: float = 0.6, images: int = 500_000
) -> jax.Array:
    """ADA's rule: more augmentation while the discriminator is surer of real examples than the target, else less.

    Args:
        probability: now.
        sign: mean sign of the logits of real examples, -1 to 1 (the paper's r_t); by losses whose logits have no zero,
            of how much larger they are than fakes'.
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

    return _each(keys, image, one)


def _each(keys: jax.Array, image: Any, change: Callable[[jax.Array, jax.Array], jax.Array]) -> Any:
    """Changes each example [H, W, C] of each array by its key."""
    leaves, structure = jax.tree.flatten(image)
    if len(leaves) > 1 and len({leaf.shape for leaf in leaves}) == 1:
        changed = jax.vmap(jax.vmap(change, (None, 0)))(keys, jnp.stack(leaves, axis=1))
        return structure.unflatten([changed[:, place] for place in range(len(leaves))])
    return jax.tree.map(lambda leaf: jax.vmap(change)(keys, leaf), image)


def _happens(key: jax.Array, probability: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(stream(key, "happens"), shape, probability.dtype) < probability


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


def inverted(x: jax.Array) -> jax.Array:
    """Light and dark exchanged, hue and saturation kept: the mean over channels [..., C] with the other sign."""
    return x - 2 * jnp.mean(x, axis=-1, keepdims=True)


def rotated(x: jax.Array, angle: jax.Array) -> jax.Array:
    """Hue by an angle, in radians: colours [..., 3] rotated about the axis of greys; others stay as they are."""
    if x.shape[-1] != 3:
        return x
    sine, cosine = jnp.sin(angle).astype(x.dtype), jnp.cos(angle).astype(x.dtype)
    across = (jnp.roll(x, 1, axis=-1) - jnp.roll(x, -1, axis=-1)) / math.sqrt(3)
    return x * cosine + across * sine + jnp.mean(x, axis=-1, keepdims=True) * (1 - cosine)


def saturated(x: jax.Array, factor: jax.Array) -> jax.Array:
    """What of colours [..., C] is not grey, times a factor; of one channel nothing."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    return x if x.shape[-1] == 1 else mean + (x - mean) * factor.astype(x.dtype)


def _grain(key: jax.Array, x: jax.Array) -> jax.Array:
    noise = jax.random.normal(key, (1 + x.size,), jnp.float32)
    return x + (jnp.abs(noise[0]) / 10 * noise[1:].reshape(x.shape)).astype(x.dtype)


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
