"""Multi-scale gradients: the generator shows the discriminator a picture of every size (Karnewar and Wang, 1903.06048).

Progressive growing's pair, whole from the beginning: gradients reach every size directly, where progressive growing
waits for one after the other.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import equalised, layers, progressive
from jaxgan.models.dcgan import stages


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> a pyramid: a tuple of float32 [N, side, side, channels], coarse to fine.

    In evaluation (`train=False`) the finest pictures only, [N, size, size, channels]. About in [-1, 1].

    Attributes:
        size: side of the finest pictures (see `dcgan.stages`).
        channels: channels of the images.
        width: features at the full size; each smaller size has twice as many,
        max_width: but at most so many.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
    """

    size: int
    channels: int
    width: int = 16
    max_width: int = 512
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(
        self, latent: jax.Array, label: jax.Array | None = None, train: bool = True
    ) -> jax.Array | tuple[jax.Array, ...]:
        features = progressive.by_side(self.size, self.width, self.max_width)
        base, x, pictures = min(features), jnp.zeros(()), []
        for side, width in features.items():
            if side == base:
                x = progressive.GeneratorStart(base, width, self.classes, self.dtype, name="start")(latent, label)
            else:
                x = progressive.GeneratorBlock(width, self.dtype, name=f"block{side}")(x)
            pictures.append(progressive.to_picture(self.channels, side, self.dtype)(x).astype(jnp.float32))
        return tuple(pictures) if train else pictures[-1]


class Discriminator(nn.Module):
    """A pyramid of images (and labels int32 [N]) -> float32 logits [N].

    Attributes:
        width: features at the full size; each smaller size has twice as many,
        max_width: but at most so many.
        combine: how a smaller picture joins the features of its size (paper, section 3): "simple" appends it;
            "lin_cat" appends features of it, as many as half of theirs; "cat_lin" appends it and makes of all as many
            features as before.
        minibatch_stddev: size of the groups whose spread the last layers are told (see `layers.minibatch_stddev`); 0
            for none.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
    """

    width: int = 16
    max_width: int = 512
    combine: Literal["simple", "lin_cat", "cat_lin"] = "simple"
    minibatch_stddev: int = 4
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, pyramid: tuple[jax.Array, ...], label: jax.Array | None = None) -> jax.Array:
        *smaller, finest = pyramid
        features = progressive.by_side(finest.shape[1], self.width, self.max_width)
        x = progressive.from_picture(self.width, finest.shape[1], self.dtype, finest)
        for picture in reversed(smaller):
            side = 2 * picture.shape[1]
            block = progressive.DiscriminatorBlock(features[side], features[side // 2], self.dtype, name=f"block{side}")
            x = self._combined(picture.astype(self.dtype), block(x))
        end = progressive.DiscriminatorEnd(x.shape[-1], self.minibatch_stddev, self.classes, self.dtype, name="end")
        return end(x, label)

    def _combined(self, picture: jax.Array, x: jax.Array) -> jax.Array:
        name = f"picture{picture.shape[1]}"
        if self.combine == "lin_cat":
            picture = equalised.Conv(x.shape[-1] // 2, kernel=1, dtype=self.dtype, name=name)(picture)
        joined = jnp.concatenate([picture, x], axis=-1)
        if self.combine == "cat_lin":
            return equalised.Conv(x.shape[-1], kernel=1, dtype=self.dtype, name=name)(joined)
        return joined


def pyramid(image: jax.Array) -> tuple[jax.Array, ...]:
    """Pictures of every size, coarse to fine, [N, size, size, C] -> a tuple of [N, side, side, C].

    Each pixel is the mean of those it stands for.
    """
    found = [image]
    for _ in range(stages(image.shape[1])[1]):
        found.append(layers.average_pool(found[-1]))
    return tuple(found[::-1])
