"""Stable Diffusion's autoencoder: pictures of 8 x 8 pixels a latent, four numbers each, and back.

What latent diffusion and GANs on latents are trained on: of pictures it makes latents, of latents pictures. Its weights
are the user's (see `data.latents.load`). Layers are named as in the files of these.

References:
    Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752, section 3.1.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import layers

SCALE = 0.18215
"""What latents are multiplied by, so that their variance is about 1."""


class Encoder(nn.Module):
    """Pictures [N, H, W, 3] in [-1, 1] -> means and logarithms of variances of latents, [N, H/8, W/8, 2 * channels].

    Attributes:
        widths: features at each size, from the pictures' on; each but the last is halved.
        blocks: residual blocks at each size.
        channels: of a latent.
        groups: in which features are normalised.
    """

    widths: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    channels: int = 4
    groups: int = 32

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        x = _conv(self.widths[0], name="conv_in")(image)
        for index, width in enumerate(self.widths):
            for block in range(self.blocks):
                x = _Resnet(width, self.groups, name=f"down_blocks_{index}_resnets_{block}")(x)
            if index < len(self.widths) - 1:  # The border of zeros is below and to the right.
                x = _conv(width, name=f"down_blocks_{index}_downsamplers_0_conv", stride=2)(x)
        x = _Middle(self.groups, name="mid_block")(x)
        x = _conv(2 * self.channels, name="conv_out")(_activated(x, self.groups, "conv_norm_out"))
        return layers.Dense(2 * self.channels, name="quant_conv")(x)


class Decoder(nn.Module):
    """Latents [N, h, w, channels], not multiplied by `SCALE` -> pictures [N, 8 h, 8 w, 3], about in [-1, 1].

    Attributes as for `Encoder`.
    """

    widths: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    channels: int = 4
    groups: int = 32

    @property
    def scale(self) -> int:
        """How many times as wide as latents pictures are."""
        return 2 ** (len(self.widths) - 1)

    @nn.compact
    def __call__(self, latent: jax.Array) -> jax.Array:
        x = layers.Dense(self.channels, name="post_quant_conv")(latent)
        x = _conv(self.widths[-1], name="conv_in")(x)
        x = _Middle(self.groups, name="mid_block")(x)
        for index, width in enumerate(self.widths[::-1]):
            for block in range(self.blocks + 1):
                x = _Resnet(width, self.groups, name=f"up_blocks_{index}_resnets_{block}")(x)
            if index < len(self.widths) - 1:
                x = _conv(width, name=f"up_blocks_{index}_upsamplers_0_conv")(layers.upsample(x))
        return _conv(3, name="conv_out")(_activated(x, self.groups, "conv_norm_out"))


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A generator of latents, as a network that in evaluation makes pictures of them.

    It does so where its variables have the decoder's parameters, as the collection "decoder"; otherwise, and in
    training, it is the generator itself.

    Attributes:
        generator: of latents, multiplied by `SCALE`.
        decoder: the decoder.
    """

    generator: Any
    decoder: Decoder

    def init(self, *args: Any, **keywords: Any) -> Any:
        return self.generator.init(*args, **keywords)

    def apply(self, variables: Any, *args: Any, **keywords: Any) -> Any:
        own = {name: value for name, value in variables.items() if name != "decoder"}
        made = self.generator.apply(own, *args, **keywords)
        if keywords.get("train", True) or keywords.get("method") == "mapping" or "decoder" not in variables:
            return made
        return self.decoder.apply({"params": variables["decoder"]}, made / SCALE)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Of copying and the like.
            raise AttributeError(name)
        return getattr(self.generator, name)


def moments(found: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The means and standard deviations [N, h, w, C] in what an encoder gives [N, h, w, 2 C]."""
    mean, logarithm = jnp.split(found, 2, axis=-1)
    return mean, jnp.exp(jnp.clip(logarithm, -30, 20) / 2)


class _Resnet(nn.Module):
    """x + two convolutions, each after a norm and a SiLU, [N, H, W, C] -> [N, H, W, width]."""

    width: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = _conv(self.width, name="conv1")(_activated(x, self.groups, "norm1"))
        y = _conv(self.width, name="conv2")(_activated(y, self.groups, "norm2"))
        return y + (x if x.shape[-1] == self.width else layers.Dense(self.width, name="conv_shortcut")(x))


class _Middle(nn.Module):
    """A residual block, attention of all positions to all, a residual block."""

    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _Resnet(x.shape[-1], self.groups, name="resnets_0")(x)
        x = x + _Attention(self.groups, name="attentions_0")(x)
        return _Resnet(x.shape[-1], self.groups, name="resnets_1")(x)


class _Attention(nn.Module):
    """One head, [N, H, W, C] -> [N, H, W, C]."""

    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, height, width, features = x.shape
        y = nn.GroupNorm(self.groups, epsilon=1e-6, name="group_norm")(x).reshape(n, -1, 1, features)
        q, k, v = (layers.Dense(features, name=name)(y) for name in ("to_q", "to_k", "to_v"))
        y = jax.nn.dot_product_attention(q, k, v).reshape(n, height, width, features)
        return layers.Dense(features, name="to_out_0")(y)


def _conv(width: int, name: str, stride: int = 1) -> layers.Conv:
    return layers.Conv(width, stride=stride, name=name)


def _activated(x: jax.Array, groups: int, name: str) -> jax.Array:
    return jax.nn.silu(nn.GroupNorm(groups, epsilon=1e-6, name=name)(x))
