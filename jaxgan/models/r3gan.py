"""R3GAN's pair (arXiv 2501.05441): residual blocks of grouped convolutions, without any normalisation.

Together with `losses.relativistic_paired`, R1 and R2 this is the paper's baseline: of StyleGAN's tricks only the
filtered resampling is left, and both networks are the same plain ResNeXt, one turned round. The paper's sizes:

    CIFAR-10       Generator(32, 3, width=768, classes=10)
    FFHQ 64        Generator(64, 3, width=384)
    FFHQ 256       Generator(256, 3, width=96)
    ImageNet 32    Generator(32, 3, width=1536, max_width=1536, group_width=32, classes=1000)
    ImageNet 64    Generator(64, 3, width=1536, max_width=1536, group_width=32, classes=1000)

and discriminators alike, with latents of length 64.

References:
    Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, arXiv 2501.05441, section 3.
    Xie et al., Aggregated Residual Transformations for Deep Neural Networks, arXiv 1611.05431.
    Zhang et al., Fixup Initialization, arXiv 1901.09321.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import conv, equalised, layers
from jaxgan.models.dcgan import stages

GAIN = math.sqrt(2 / (1 + 0.2**2))
"""Of kernels before a leaky ReLU of slope 0.2, so that variance is kept."""


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> float32 [N, size, size, channels], meant for [-1, 1] but not bounded.

    A learned map, each of its features times a linear function of the latent, goes through residual blocks and is
    doubled in size, until it has that of the images.

    Attributes:
        size: side of the images (see `dcgan.stages`).
        channels: channels of the images.
        width: features at the largest size; they double at each halving.
        max_width: up to so many.
        blocks: residual blocks at each size.
        group_width: features in a group of the 3x3 convolutions; 0 for one group of all.
        expansion: features inside a block, in multiples of those outside.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
    """

    size: int
    channels: int
    width: int = 96
    max_width: int = 768
    blocks: int = 2
    group_width: int = 16
    expansion: int = 2
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        base, doublings = stages(self.size)
        widths = layers.widths(self.width, self.max_width, doublings)
        gain = _gain(self.blocks * len(widths))
        x, label = latent.astype(self.dtype), layers.check_label(label, self.classes)
        if label is not None:
            embed = nn.Embed(self.classes, x.shape[-1], embedding_init=_msr(), name="label")
            x = jnp.concatenate([x, embed(label).astype(x.dtype)], axis=-1)
        basis = self.param("basis", nn.initializers.normal(1.0), (base, base, widths[0]), jnp.float32)
        x = _linear(widths[0], self.dtype, name="latent")(x)[:, None, None]
        x = (basis * x.astype(basis.dtype)).astype(self.dtype)
        for index, width in enumerate(widths):
            if index:
                x = equalised.upsample(_project(x, width, self.dtype, name=f"project{index}"))
            for block in range(self.blocks):
                x = Block(gain, self.group_width, self.expansion, self.dtype, name=f"block{index}_{block}")(x)
        return _linear(self.channels, self.dtype, name="image")(x).astype(jnp.float32)


class Discriminator(nn.Module):
    """Images [N, size, size, channels] (and labels int32 [N]) -> float32 logits [N].

    The generator turned round: residual blocks and halvings, then a learned map's product with each feature. With
    classes the logit is the projection on a learned vector of the class, and nothing else.

    Attributes:
        width: features at the largest size; they double at each halving.
        max_width: up to so many.
        blocks: residual blocks at each size.
        group_width: features in a group of the 3x3 convolutions; 0 for one group of all.
        expansion: features inside a block, in multiples of those outside.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in; what follows the last block is in float32.
    """

    width: int = 96
    max_width: int = 768
    blocks: int = 2
    group_width: int = 16
    expansion: int = 2
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None) -> jax.Array:
        label = layers.check_label(label, self.classes)
        base, halvings = stages(image.shape[1])
        widths = layers.widths(self.width, self.max_width, halvings)[::-1]
        gain = _gain(self.blocks * len(widths))
        x = _linear(widths[0], self.dtype, name="image")(image.astype(self.dtype))
        for index, width in enumerate(widths):
            if index:
                x = _project(equalised.downsample(x), width, self.dtype, name=f"project{index}")
            for block in range(self.blocks):
                x = Block(gain, self.group_width, self.expansion, self.dtype, name=f"block{index}_{block}")(x)
        basis = self.param("basis", _msr(), (base, base, widths[-1]), jnp.float32)
        x = jnp.sum(x.astype(jnp.float32) * basis, axis=(1, 2))
        if label is None:
            return _linear(1, jnp.float32, name="logit")(x)[:, 0]
        features = _linear(widths[-1], jnp.float32, name="logit")(x)
        embed = nn.Embed(self.classes, widths[-1], embedding_init=_msr(1 / math.sqrt(widths[-1])), name="label")
        return jnp.sum(features * embed(label), axis=-1)


class Block(nn.Module):
    """x + project(3x3(expand(x))), [N, H, W, C] -> [N, H, W, C]; the identity at first, as `project` is zero.

    There is no activation on the way through, nor after the sum.

    Attributes:
        gain: of the first two kernels (see `_gain`).
        group_width: features in a group of the 3x3 convolution; 0 for one group of all.
        expansion: features inside, in multiples of C.
        dtype: what to compute in.
    """

    gain: float
    group_width: int = 16
    expansion: int = 2
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1] * self.expansion
        group = self.group_width or features
        if features % group:
            raise ValueError(f"groups of {group} do not divide the {features} features of a block")
        expand = layers.Dense(features, dtype=self.dtype, kernel_init=_msr(self.gain), name="expand")
        y = layers.leaky_relu(expand(x))
        kernel = layers.kernel(self, _msr(self.gain), (3, 3, group, features))
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        y = layers.leaky_relu(layers.plus(conv.grouped(y, kernel), bias))
        project = layers.Dense(
            x.shape[-1], use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="project"
        )
        return x + project(y)


def _gain(blocks: int) -> float:
    """Of the first two of a block's three layers: the more blocks, the smaller (arXiv 1901.09321, section 3)."""
    return GAIN * blocks ** (-1 / 4)


def _msr(gain: float = 1.0) -> nn.initializers.Initializer:
    """Normal of standard deviation gain / sqrt(fan in) (arXiv 1502.01852)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def _linear(features: int, dtype: layers.DTYPE, name: str) -> layers.Dense:
    return layers.Dense(features, use_bias=False, dtype=dtype, kernel_init=_msr(), name=name)


def _project(x: jax.Array, features: int, dtype: layers.DTYPE, name: str) -> jax.Array:
    """Changes the number of features, where it is another."""
    return x if x.shape[-1] == features else _linear(features, dtype, name)(x)
