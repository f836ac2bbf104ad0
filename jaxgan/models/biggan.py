"""The class-conditional residual pair: BigGAN (Brock, Donahue and Simonyan, arXiv 1809.11096), at DCGAN's sizes.

Details are those of the authors' PyTorch code, which says where the papers are silent or wrong. All kernels start
orthogonal and are spectrally normalised, the generator's too.

References:
    Miyato et al., Spectral Normalization for Generative Adversarial Networks, arXiv 1802.05957: the residual blocks.
    Miyato and Koyama, cGANs with Projection Discriminator, arXiv 1802.05637.
    Zhang et al., Self-Attention Generative Adversarial Networks, arXiv 1805.08318.
    Chen et al., On Self Modulation for Generative Adversarial Networks, arXiv 1810.01365: without classes.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import dcgan, layers

_orthogonal = nn.initializers.orthogonal()
_Conv = functools.partial(layers.Conv, kernel_init=_orthogonal)
# Features in units of the width, in the order of the layers, where the authors depart from min(2^k, 16).
_GENERATOR = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), 256: (16, 16, 8, 8, 4, 2, 1)}
_DISCRIMINATOR = {32: (4, 4, 4, 4), 256: (1, 2, 4, 8, 8, 16, 16)}


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> float32 [N, size, size, channels] in [-1, 1].

    The latent is cut into equal chunks: the first makes the smallest feature map (and is longer by what is left over),
    and each of the others, behind the class's vector, conditions the batch normalisation of one residual block. Without
    classes the chunk conditions alone (self-modulation).

    Attributes:
        size: side of the images (see `dcgan.stages`).
        channels: channels of the images.
        width: what the number of features is a multiple of; 96 in the paper.
        attention: side of the feature map that attends to itself; 0 for none. 64 in the paper, for images of 128.
        shared: length of the class's vector, which all blocks share.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
        axis: the mapped axis over which a batch is split (see `train_step.Game.axis`).
    """

    size: int
    channels: int
    width: int = 64
    attention: int = 0
    shared: int = 128
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        base, doublings = dcgan.stages(self.size)
        check_attention(self.attention, sides := generator_sides(self.size))
        rule = _GENERATOR.get(self.size, _multiples(doublings)[::-1])
        first, *widths = [self.width * multiple for multiple in rule]

        start, *conditions = _chunks(latent.astype(self.dtype), doublings)
        label = layers.check_label(label, self.classes)
        if label is not None:
            # Not normalised: the authors found that this cripples the generator.
            embed = nn.Embed(self.classes, self.shared, embedding_init=_orthogonal, name="shared")
            shared = embed(label).astype(self.dtype)
            conditions = [jnp.concatenate([shared, chunk], axis=-1) for chunk in conditions]

        x = _spectral(_dense(base * base * first, self.dtype), start).reshape(-1, base, base, first)
        for width, side, condition in zip(widths, sides, conditions, strict=True):
            x = UpBlock(width, self.dtype, self.axis)(x, condition, train)
            if side == self.attention:
                x = SelfAttention(self.dtype)(x)
        x = nn.relu(layers.batch_norm(x, train, self.axis))
        return jnp.tanh(_spectral(_Conv(self.channels, dtype=self.dtype), x).astype(jnp.float32))


class Discriminator(nn.Module):
    """Images [N, size, size, channels] (and labels int32 [N]) -> float32 logits [N].

    Features are summed over all positions; to their linear function is added their projection on the class's vector.

    Attributes:
        width: features of the first block (a quarter of them for images of 32); 96 in the paper.
        attention: side of the feature map that attends to itself, after the first block of that side; 0 for none.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in; the logits are made in float32.
    """

    width: int = 64
    attention: int = 0
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None) -> jax.Array:
        size = image.shape[1]
        _, halvings = dcgan.stages(size)
        widths = [self.width * multiple for multiple in _DISCRIMINATOR.get(size, _multiples(halvings))]
        check_attention(self.attention, sides := discriminator_sides(size))

        x = image.astype(self.dtype)
        for index, (width, side) in enumerate(zip(widths, sides, strict=True)):
            # The first block sees pixels, of which an activation would cut off half.
            x = DownBlock(width, side < (sides[index - 1] if index else size), index > 0, self.dtype)(x)
            if side == self.attention and side not in sides[:index]:
                x = SelfAttention(self.dtype)(x)
        features = jnp.sum(nn.relu(x).astype(jnp.float32), axis=(1, 2))
        logits = _spectral(_dense(1, jnp.float32, name="logit"), features)[:, 0]
        label = layers.check_label(label, self.classes)
        if label is not None:
            embed = nn.Embed(self.classes, features.shape[-1], embedding_init=_orthogonal, name="label")
            logits = logits + jnp.sum(_spectral(embed, label) * features, axis=-1)
        return logits


class UpBlock(nn.Module):
    """The generator's residual block, [N, H, W, C] and conditions [N, D] -> [N, 2H, 2W, features].

    Attributes:
        features: output channels.
        dtype: what to compute in.
        axis: the mapped axis over which the batch is split.
    """

    features: int
    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool) -> jax.Array:
        h = nn.relu(ConditionalBatchNorm(self.dtype, self.axis)(x, condition, train))
        h = _spectral(_Conv(self.features, dtype=self.dtype), layers.upsample(h))
        h = nn.relu(ConditionalBatchNorm(self.dtype, self.axis)(h, condition, train))
        h = _spectral(_Conv(self.features, dtype=self.dtype), h)
        # Repeating pixels and 1x1 convolutions commute; this order takes a quarter of the time.
        return h + layers.upsample(_spectral(_Conv(self.features, kernel=1, dtype=self.dtype, name="skip"), x))


class DownBlock(nn.Module):
    """The discriminator's residual block, [N, H, W, C] -> [N, H/2, W/2, features].

    Attributes:
        features: output channels.
        halve: whether to halve the side, by mean-pooling.
        activate: whether the block begins with an activation.
        dtype: what to compute in.
    """

    features: int
    halve: bool = True
    activate: bool = True
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.relu(x) if self.activate else x
        h = _spectral(_Conv(self.features, dtype=self.dtype), h)
        h = _spectral(_Conv(self.features, dtype=self.dtype), nn.relu(h))
        if self.halve:
            h, x = layers.average_pool(h), layers.average_pool(x)
        if self.halve or x.shape[-1] != self.features:
            x = _spectral(_Conv(self.features, kernel=1, dtype=self.dtype, name="skip"), x)
        return h + x


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain and bias are linear in a condition, [N, H, W, C] and [N, D] -> [N, H, W, C].

    As `layers.batch_norm` in float32; the gain is 1 + a spectrally normalised linear map of the condition, the bias
    another one (arXiv 1809.11096, appendix B).

    Attributes:
        dtype: what to compute the linear maps in.
        axis: the mapped axis over which the batch is split; its moments are those of the whole batch.
    """

    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool) -> jax.Array:
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=layers.MOMENTUM,
            epsilon=1e-5,
            use_scale=False,
            use_bias=False,
            axis_name=self.axis,
        )
        gain, bias = (
            _spectral(_dense(x.shape[-1], self.dtype, use_bias=False, name=name), condition)[:, None, None]
            for name in ("gain", "bias")
        )
        normalised = norm(x.astype(jnp.float32))
        return (normalised * (1 + gain.astype(jnp.float32)) + bias.astype(jnp.float32)).astype(x.dtype)


class SelfAttention(nn.Module):
    """Adds to each position a mean over all positions, weighted by likeness, [N, H, W, C] -> [N, H, W, C].

    Equations 1 to 3 of arXiv 1805.08318 as its authors' code has them: keys and values are max-pooled to half the side.
    Their share, gamma, starts at 0. H and W are even.

    Attributes:
        dtype: what to compute in; the weights are made in float32.
    """

    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, h, w, c = x.shape

        def project(name: str, features: int, x: jax.Array) -> jax.Array:
            return _spectral(_Conv(features, kernel=1, use_bias=False, dtype=self.dtype, name=name), x)

        query = project("query", max(c // 8, 1), x).reshape(n, h * w, -1)
        key = layers.max_pool(project("key", max(c // 8, 1), x)).reshape(n, h * w // 4, -1)
        value = layers.max_pool(project("value", c // 2, x)).reshape(n, h * w // 4, -1)
        likeness = jnp.einsum("nqc,nkc->nqk", query, key, preferred_element_type=jnp.float32)
        weights = nn.softmax(likeness).astype(self.dtype)
        attended = jnp.einsum("nqk,nkc->nqc", weights, value).reshape(n, h, w, -1)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return layers.plus(x, gamma * project("output", c, attended).astype(gamma.dtype))


def _dense(features: int, dtype: layers.DTYPE, use_bias: bool = True, name: str | None = None) -> layers.Dense:
    return layers.Dense(features, use_bias=use_bias, dtype=dtype, kernel_init=_orthogonal, name=name)


def _spectral(layer: nn.Module, x: jax.Array) -> jax.Array:
    return layers.normalised(layer, "spectral", x)


def _multiples(count: int) -> tuple[int, ...]:
    """Features in units of the width, from the largest feature map to the smallest."""
    return tuple(min(2**index, 16) for index in range(count + 1))


def _chunks(latent: jax.Array, count: int) -> list[jax.Array]:
    """Cuts latents [N, Z] into a first chunk and `count` of Z // (count + 1); the first has what is left over."""
    size = latent.shape[-1]
    chunk = size // (count + 1)
    if not chunk:
        raise ValueError(f"a latent of {size} is too short for {count} residual blocks: it takes {count + 1} or more")
    first = size - count * chunk
    return jnp.split(latent, [first + index * chunk for index in range(count)], axis=-1)


def generator_sides(size: int) -> list[int]:
    """Sides of the feature maps after each block of the generator."""
    base, doublings = dcgan.stages(size)
    return [base * 2**index for index in range(1, doublings + 1)]


def discriminator_sides(size: int) -> list[int]:
    """Sides of the feature maps after each block of the discriminator."""
    _, halvings = dcgan.stages(size)
    blocks = len(_DISCRIMINATOR.get(size, _multiples(halvings)))
    if size == 32:
        halvings = 2  # As SNGAN on CIFAR-10, whose last map is 8 x 8.
    return [size // 2 ** min(index + 1, halvings) for index in range(blocks)]


def check_attention(side: int, sides: list[int]) -> None:
    """Raises ValueError where attention (0 for none) is to be in a feature map of a side that there is not."""
    # Odd sides cannot be pooled.
    possible = sorted({possible for possible in sides if possible % 2 == 0})
    if side and side not in possible:
        raise ValueError(f"no feature map of side {side} for attention; there are {possible}")
