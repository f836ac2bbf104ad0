"""The fully connected pair: the first GAN (Goodfellow et al., arXiv 1406.2661)."""

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import layers


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> float32 `[N, *shape]`, images in [-1, 1] or points anywhere.

    Attributes:
        shape: shape of one output: (28, 28, 1), an image; (2,), a point.
        widths: units of each hidden layer.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (256, 512, 1024)
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        del train  # Behaves the same; the argument is every generator's.
        x = layers.concatenate_label(latent, label, self.classes, self.dtype)
        for width in self.widths:
            x = layers.leaky_relu(layers.Dense(width, dtype=self.dtype)(x))
        x = layers.Dense(math.prod(self.shape), dtype=self.dtype)(x)
        x = x.astype(jnp.float32).reshape(-1, *self.shape)
        return x if len(self.shape) == 1 else jnp.tanh(x)


class Discriminator(nn.Module):
    """Images [N, ...] (and labels int32 [N]) -> float32 logits [N].

    Attributes:
        widths: units of each hidden layer.
        norm: "none" or "spectral".
        dropout: share of each hidden layer's units to drop.
        minibatch_stddev: size of the groups whose spread the last layer is told (see `layers.minibatch_stddev`); 0 for
            none.
        fourier: random directions of the input whose sines and cosines are appended to it; 0 for none.
        fourier_scale: standard deviation of their frequencies.
        classes: number of classes; 0 if not conditional.
        dtype: what to compute in.
        axis: the mapped axis over which a batch is split (see `train_step.Game.axis`).
    """

    widths: tuple[int, ...] = (1024, 512, 256)
    norm: Literal["none", "spectral"] = "none"
    dropout: float = 0.0
    minibatch_stddev: int = 0
    fourier: int = 0
    fourier_scale: float = 1.0
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None) -> jax.Array:
        x = image.reshape(image.shape[0], -1).astype(self.dtype)
        if self.fourier:
            x = layers.fourier(x, self.fourier, self.fourier_scale)
        for width in self.widths:
            x = layers.leaky_relu(layers.normalised(layers.Dense(width, dtype=self.dtype), self.norm, x))
            x = layers.dropout(self, x, self.dropout, self.axis)
        x = layers.minibatch_stddev(x, self.minibatch_stddev)
        return layers.classify(x, label, self.classes, self.dtype, self.norm)
