"""The convolutional pair: DCGAN (Radford, Metz and Chintala, arXiv 1511.06434), for any size of b * 2^k, b = 4..7."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import layers


def stages(size: int) -> tuple[int, int]:
    """Splits an image size into the side of the smallest feature map and the number of doublings from there.

    Args:
        size: side of a square image: 4 * 2^k, or 28 (7 * 4), or any b * 2^k with b in 4..7 and k > 0.

    Returns:
        (b, k), for instance (4, 4) for 64 and (7, 2) for 28.

    Raises:
        ValueError: no such b and k; the message names the nearest sizes that have them.
    """
    possible = {base * 2**k: (base, k) for base in (4, 5, 6, 7) for k in range(1, 12)}
    if size not in possible:
        nearest = sorted(sorted(possible, key=lambda s: abs(s - size))[:2])
        raise ValueError(f"no image size {size} (4 to 7 times a power of two); the nearest are {nearest}")
    return possible[size]


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> float32 [N, size, size, channels] in [-1, 1].

    A fully connected layer makes the smallest feature map; each stage doubles the side and halves the features
    (at most 8 * width).

    Attributes:
        size: side of the images (see `stages`).
        channels: channels of the images.
        width: features of the last hidden layer.
        upsampling: "transposed" (4x4 transposed convolutions of stride 2, as the paper) or "nearest" (repeated
            pixels and a 3x3 convolution, which leaves no checkerboard).
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
        axis: the mapped axis over which a batch is split (see `train_step.Game.axis`).
    """

    size: int
    channels: int
    width: int = 64
    upsampling: Literal["transposed", "nearest"] = "transposed"
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        base, doublings = stages(self.size)
        widths = layers.widths(self.width, 8 * self.width, doublings - 1)
        x = layers.concatenate_label(latent, label, self.classes, self.dtype)
        x = layers.dense(base * base * widths[0], self.dtype)(x).reshape(-1, base, base, widths[0])
        x = nn.relu(layers.batch_norm(x, train, self.axis))
        for width in widths[1:]:
            x = self._double(x, width, use_bias=False)
            x = nn.relu(layers.batch_norm(x, train, self.axis))
        return jnp.tanh(self._double(x, self.channels, use_bias=True).astype(jnp.float32))

    def _double(self, x: jax.Array, features: int, use_bias: bool) -> jax.Array:
        if self.upsampling == "transposed":
            return layers.ConvTranspose(features, use_bias=use_bias, dtype=self.dtype)(x)
        return layers.Conv(features, use_bias=use_bias, dtype=self.dtype)(layers.upsample(x))


class Discriminator(nn.Module):
    """Images [N, size, size, channels] (and labels int32 [N]) -> float32 logits [N].

    Each stage halves the side and doubles the features (at most 8 * width), down to a side of 4 to 7.

    Attributes:
        width: features of the first layer.
        downsampling: "strided" (4x4 convolutions of stride 2, as the paper) or "pooling" (a 3x3 convolution and 2x2
            max-pooling, as classifiers have it).
        features: length of a fully connected feature vector before the classifier; 0 for none, as the paper.
        norm: "batch" (every layer but the first, as the paper), "spectral" (every layer) or "none": the statistics of a
            real and of a fake batch differ, which tells the two apart however good each picture is.
        dropout: share of each hidden layer's features to drop.
        minibatch_stddev: size of the groups whose spread the last layers are told (see `layers.minibatch_stddev`); 0
            for none.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
        axis: the mapped axis over which a batch is split (see `train_step.Game.axis`).
    """

    width: int = 64
    downsampling: Literal["strided", "pooling"] = "strided"
    features: int = 0
    norm: Literal["batch", "spectral", "none"] = "batch"
    dropout: float = 0.0
    minibatch_stddev: int = 0
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        _, halvings = stages(image.shape[1])
        x = image.astype(self.dtype)
        for index, width in enumerate(layers.widths(self.width, 8 * self.width, halvings - 1)[::-1]):
            # The first layer is not normalised (paper, section 3), so that the scale of the pixels stays visible.
            normalised = self.norm == "batch" and index > 0
            x = self._halve(x, width, use_bias=not normalised)
            x = layers.batch_norm(x, train, self.axis) if normalised else x
            x = layers.dropout(self, layers.leaky_relu(x), self.dropout, self.axis)
        x = layers.minibatch_stddev(x, self.minibatch_stddev)
        x = x.reshape(x.shape[0], -1)
        if self.features:
            x = layers.leaky_relu(layers.normalised(layers.dense(self.features, self.dtype), self.norm, x))
        return layers.classify(x, label, self.classes, self.dtype, self.norm)

    def _halve(self, x: jax.Array, features: int, use_bias: bool) -> jax.Array:
        if self.downsampling == "strided":
            conv = layers.Conv(features, kernel=4, stride=2, use_bias=use_bias, dtype=self.dtype)
            return layers.normalised(conv, self.norm, x)
        conv = layers.Conv(features, use_bias=use_bias, dtype=self.dtype)
        return layers.max_pool(layers.normalised(conv, self.norm, x))
