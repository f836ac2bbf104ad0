"""The pair of progressive growing, at one stage of its growth (Karras et al., arXiv 1710.10196, table 2).

A stage is a size of the pictures. Its newest layers are faded in: `fade`, a variable collection of both networks, holds
alpha, by which the newest layers count, from 0 to 1. At alpha = 0 both are the networks of the stage before.
`jaxgan.run.growth` takes a state from one stage to the next.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import equalised, layers
from jaxgan.models.dcgan import stages


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> float32 [N, side, side, channels], about in [-1, 1].

    In evaluation (`train=False`) pictures are brought to the full size by repeating pixels.

    Attributes:
        size: the full size, that of the last stage (see `dcgan.stages`).
        channels: channels of the images.
        side: size of the pictures at this stage; the full size if None.
        width: features at the full size; each smaller size has twice as many,
        max_width: but at most so many.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
    """

    size: int
    channels: int
    side: int | None = None
    width: int = 16
    max_width: int = 512
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        features = by_side(self.size, self.width, self.max_width)
        base, last = min(features), self.side or self.size
        alpha = self.variable("fade", "alpha", jnp.ones, (), jnp.float32)
        x = GeneratorStart(base, features[base], self.classes, self.dtype, name="start")(latent, label)
        before = x
        for side in [side for side in features if base < side <= last]:
            before, x = x, GeneratorBlock(features[side], self.dtype, name=f"block{side}")(x)
        picture = to_picture(self.channels, last, self.dtype)(x)
        if last > base:
            coarse = layers.upsample(to_picture(self.channels, last // 2, self.dtype)(before))
            picture = _faded(coarse, picture, alpha.value)
        while not train and picture.shape[1] < self.size:
            picture = layers.upsample(picture)
        return picture.astype(jnp.float32)


class Discriminator(nn.Module):
    """Images [N, side, side, channels] (and labels int32 [N]) -> float32 logits [N].

    Attributes:
        size: the full size, that of the last stage; the images' own size tells the stage.
        width: features at the full size; each smaller size has twice as many,
        max_width: but at most so many.
        minibatch_stddev: size of the groups whose spread the last layers are told (see `layers.minibatch_stddev`); 0
            for none.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
    """

    size: int
    width: int = 16
    max_width: int = 512
    minibatch_stddev: int = 4
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None) -> jax.Array:
        features = by_side(self.size, self.width, self.max_width)
        side, base = image.shape[1], min(features)
        alpha = self.variable("fade", "alpha", jnp.ones, (), jnp.float32)
        x = from_picture(features[side], side, self.dtype, image)
        while side > base:
            x = DiscriminatorBlock(x.shape[-1], features[side // 2], self.dtype, name=f"block{side}")(x)
            side //= 2
            if side == image.shape[1] // 2:
                coarse = from_picture(features[side], side, self.dtype, layers.average_pool(image))
                x = _faded(coarse, x, alpha.value)
        end = DiscriminatorEnd(features[base], self.minibatch_stddev, self.classes, self.dtype, name="end")
        return end(x, label)


class GeneratorBlock(nn.Module):
    """Doubles the size by repeating pixels; two convolutions, [N, H, W, C] -> [N, 2H, 2W, features]."""

    features: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        up = equalised.Conv(self.features, resample="repeat", gain=equalised.GAIN, dtype=self.dtype)
        x = equalised.pixel_norm(layers.leaky_relu(up(x)))
        conv = equalised.Conv(self.features, gain=equalised.GAIN, dtype=self.dtype)
        return equalised.pixel_norm(layers.leaky_relu(conv(x)))


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second halves the size, [N, 2H, 2W, C] -> [N, H, W, features]."""

    inner: int
    features: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = equalised.Conv(self.inner, gain=equalised.GAIN, dtype=self.dtype)
        down = equalised.Conv(self.features, resample="average", gain=equalised.GAIN, dtype=self.dtype)
        return layers.leaky_relu(down(layers.leaky_relu(conv(x))))


class GeneratorStart(nn.Module):
    """Latents [N, Z] (and labels) -> the smallest feature map [N, side, side, features]."""

    side: int
    features: int
    classes: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None) -> jax.Array:
        x = equalised.pixel_norm(layers.concatenate_label(latent, label, self.classes, self.dtype))
        # A quarter of the gain, as the authors' code has it.
        dense = equalised.Dense(self.side**2 * self.features, equalised.GAIN / 4, use_bias=False, dtype=self.dtype)
        x = dense(x).reshape(x.shape[0], self.side, self.side, self.features)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x = equalised.pixel_norm(layers.leaky_relu(layers.plus(x, bias)))
        conv = equalised.Conv(self.features, gain=equalised.GAIN, dtype=self.dtype)
        return equalised.pixel_norm(layers.leaky_relu(conv(x)))


class DiscriminatorEnd(nn.Module):
    """The smallest feature map [N, H, W, C] (and labels) -> float32 logits [N]."""

    features: int
    minibatch_stddev: int
    classes: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None) -> jax.Array:
        x = layers.minibatch_stddev(x, self.minibatch_stddev)
        x = layers.leaky_relu(equalised.Conv(self.features, gain=equalised.GAIN, dtype=self.dtype)(x))
        dense = equalised.Dense(self.features, gain=equalised.GAIN, dtype=self.dtype)
        return equalised.classify(layers.leaky_relu(dense(x.reshape(len(x), -1))), label, self.classes)


def to_picture(channels: int, side: int, dtype: layers.DTYPE) -> equalised.Conv:
    """The layer that makes pictures [N, side, side, channels] of features."""
    return equalised.Conv(channels, kernel=1, dtype=dtype, name=f"picture{side}")


def from_picture(features: int, side: int, dtype: layers.DTYPE, picture: jax.Array) -> jax.Array:
    """Features [N, side, side, features] of pictures."""
    conv = equalised.Conv(features, kernel=1, gain=equalised.GAIN, dtype=dtype, name=f"picture{side}")
    return layers.leaky_relu(conv(picture))


def shrunk(side: int, image: jax.Array, alpha: jax.Array) -> jax.Array:
    """What a stage's discriminator is shown of a real picture, [N, size, size, C] -> [N, side, side, C].

    While the stage is faded in, so are the picture's finest details: a generator can make no others.

    Args:
        side: the stage's size.
        image: real pictures, of the full size.
        alpha: how far the stage is faded in, 0 to 1.
    """
    smallest = stages(image.shape[1])[0]
    while image.shape[1] > side:
        image = layers.average_pool(image)
    if side == smallest:  # There is nothing to fade from.
        return image
    return _faded(layers.upsample(layers.average_pool(image)), image, alpha)


def by_side(size: int, width: int, max_width: int) -> dict[int, int]:
    """Features of every side, from the smallest to the full size, which has `width`."""
    base, doublings = stages(size)
    return {base * 2**index: own for index, own in enumerate(layers.widths(width, max_width, doublings))}


def _faded(old: jax.Array, new: jax.Array, alpha: jax.Array) -> jax.Array:
    return old + alpha.astype(new.dtype) * (new - old)
