"""LPIPS: how different two pictures look, measured in features of the VGG16 that ships with the package.

Version 0.1, linear heads on VGG16, as its authors published it.

References:
    Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, arXiv 1801.03924.
"""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.evaluate import batches
from jaxgan.style import vgg, weights
from jaxgan.support import download

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""Where pictures are compared."""
LEAST, MOST = 32, 256
"""Pixels a side that `fit` brings pictures to; the heads were trained on 64."""

_SHA256 = "1b8fa6bf5005574c45b9ce8a47ca73b575d3fb266b7851a21571cf9426633a79"
_EPSILON = 1e-10

Features = dict[str, jax.Array]


def distance(network: vgg.Network, heads: Mapping[str, jax.Array], a: jax.Array, b: jax.Array) -> jax.Array:
    """The LPIPS distance of pictures.

    Args:
        network: the trunk.
        heads: for each layer that is looked at, one weight a channel [C], 0 or more.
        a: [N, H, W, 3] in -1..1, RGB; at least 16 pixels a side for VGG16.
        b: the same shape.

    Returns:
        [N], 0 for equal pictures, about 1 for ones that have nothing in common.
    """
    return compare(heads, features(network, heads, a), features(network, heads, b))


def features(network: vgg.Network, heads: Mapping[str, jax.Array], images: jax.Array) -> Features:
    """Features of pictures [N, H, W, 3] in -1..1 at the heads' layers, [N, h, w, C] of length 1 at each position."""
    return {name: _unit(value) for name, value in network.features((images + 1) / 2, list(heads)).items()}


def compare(heads: Mapping[str, jax.Array], a: Features, b: Features) -> jax.Array:
    """The distance [N] of what `features` gave: for each layer the weighted square, averaged over positions; summed."""
    return sum((jnp.mean(jnp.square(a[n] - b[n]) @ heads[n], axis=(1, 2)) for n in heads), start=jnp.float32(0))


def fit(images: jax.Array) -> jax.Array:
    """Brings pictures of any kind to what `distance` takes.

    Args:
        images: [N, H, W, C] in -1..1; C = 1 is grey, C = 4 has transparency, which lies on white.

    Returns:
        [N, h, w, 3]: those of fewer than 32 pixels a side enlarged to that, those of 512 and more averaged over squares
        to between 256 and 511 (arXiv 1912.04958, appendix D).
    """
    images = batches.on_white(images)
    count, height, width, _ = images.shape
    if min(height, width) < LEAST:
        return jax.image.resize(images, (count, max(height, LEAST), max(width, LEAST), 3), "linear")
    factor = min(height, width) // MOST
    if factor < 2:
        return images
    height, width = height // factor, width // factor
    blocks = images[:, : height * factor, : width * factor].reshape(count, height, factor, width, factor, 3)
    return jnp.mean(blocks, axis=(2, 4))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Metric:
    """A trunk and its heads: what the functions of this module take, as one pytree.

    Attributes:
        network: the trunk.
        heads: for each layer one weight a channel, [C].
    """

    network: vgg.Network
    heads: dict[str, jax.Array]

    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """The distance [N] of pictures [N, H, W, C] of any kind (see `fit`)."""
        return distance(self.network, self.heads, fit(a), fit(b))

    def features(self, images: jax.Array) -> Features:
        """What `compare` takes, of pictures [N, H, W, C] of any kind."""
        return features(self.network, self.heads, fit(images))

    def compare(self, a: Features, b: Features) -> jax.Array:
        """The distance [N] of features."""
        return compare(self.heads, a, b)

    def using(self, **attributes: Any) -> "Metric":
        """The same with other attributes of the trunk, such as `form="fast"`."""
        return dataclasses.replace(self, network=self.network.using(**attributes))


def load() -> Metric:
    """Reads the trunk and the heads of the package.

    Raises:
        UserError: a file of the package is damaged.
    """
    from safetensors.numpy import load

    data = (resources.files("jaxgan.support") / "assets" / "vgg" / "lpips.safetensors").read_bytes()
    download.check_hash("lpips.safetensors of the package", data, "sha256", _SHA256, "install jaxgan again")
    arrays = load(data)
    heads = {name: jnp.asarray(arrays[f"lpips{i}.kernel"]) for i, name in enumerate(LAYERS, 1)}
    return Metric(weights.load(), heads)


def _unit(x: jax.Array) -> jax.Array:
    """Divides by the length over channels; zeros stay, and their gradient is finite."""
    x = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    dark = square == 0
    return x / (jnp.where(dark, 1, jnp.sqrt(jnp.where(dark, 1, square))) + _EPSILON)
