"""The convolutional trunks of VGG16 and VGG19, whose features tell content from style.

References:
    Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.errors import UserError
from jaxgan.models.conv import conv
from jaxgan.models.layers import max_pool

BLOCKS = {"VGG16": (2, 2, 3, 3, 3), "VGG19": (2, 2, 4, 4, 4)}
"""Convolutions in each block; a 2x2 pooling follows each block."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each block."""

Preprocessing = Literal["torchvision", "caffe"]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VGG:
    """A trunk: what it has learned, and how to run it.

    Attributes:
        params: {"conv1_1": {"kernel": [3, 3, C, D], "bias": [D]}, ...}.
        preprocessing: how the training showed pictures: "torchvision" (RGB, standardised) or "caffe" (BGR in 0..255,
            less the mean). A property of the weights.
        pooling: "max", as trained, or "average", which Gatys et al. found to give smoother pictures.
        padding: what a convolution sees beyond the picture's edge: "zero", as trained, or "replicate" or "reflect" the
            picture, which keeps frames from appearing at its edges.
        dtype: of the features; "bfloat16" halves their memory.
        remat: compute each block's features again for the gradient instead of keeping them: less memory, more time.
    """

    params: dict[str, dict[str, jax.Array]]
    preprocessing: Preprocessing = dataclasses.field(default="torchvision", metadata={"static": True})
    pooling: Literal["max", "average"] = dataclasses.field(default="max", metadata={"static": True})
    padding: Literal["zero", "replicate", "reflect"] = dataclasses.field(default="zero", metadata={"static": True})
    dtype: Literal["float32", "bfloat16"] = dataclasses.field(default="float32", metadata={"static": True})
    remat: bool = dataclasses.field(default=False, metadata={"static": True})


def features(
    network: VGG, images: jax.Array, layers: Sequence[str], differentiable: bool = True
) -> dict[str, jax.Array]:
    """The features of pictures at some layers; computes no further than the last of them.

    Args:
        network: the trunk.
        images: [N, H, W, 3], RGB in 0..1.
        layers: names such as "conv4_2" (before the ReLU), "relu4_2" (after it), "pool4".
        differentiable: False takes the compiler's own convolution: quick to compile, slow to differentiate.

    Returns:
        For each layer [N, H / 2^b, W / 2^b, C], where b poolings came before it; a pooling drops an odd last row or
        column.

    Raises:
        UserError: the network has no such layer.
    """
    check_layers(network, layers)
    last = max(block_of(name) for name in layers)
    x = preprocess(images, network.preprocessing).astype(network.dtype)
    found: dict[str, jax.Array] = {}
    for block in range(1, last + 1):
        wanted = tuple(name for name in layers if block_of(name) == block)
        run = functools.partial(_block, block=block, wanted=wanted, last=block == last, differentiable=differentiable)
        x, here = (jax.checkpoint(run) if network.remat else run)(network, x)
        found |= here
    return found


def preprocess(images: jax.Array, preprocessing: Preprocessing) -> jax.Array:
    """Brings pictures [..., 3], RGB in 0..1, to what the network was trained on."""
    if preprocessing == "caffe":
        return images[..., ::-1] * 255 - jnp.array(_CAFFE_MEAN, images.dtype)
    return (images - jnp.array(_MEAN, images.dtype)) / jnp.array(_STD, images.dtype)


def block_of(layer: str) -> int:
    """The block, 1 to 5, that a layer belongs to; its features are 2^(block - 1) times smaller than the picture.

    Poolings belong to the block they end, and are half as large again.
    """
    return int(layer.removeprefix("conv").removeprefix("relu").removeprefix("pool")[0])


def shrinkage(layer: str) -> int:
    """How many pixels of the picture, along each axis, one position of a layer stands for."""
    return 2 ** (block_of(layer) - 1 + layer.startswith("pool"))


def reach(network: VGG, layers: Sequence[str]) -> int:
    """How many pixels away, at most, a pixel influences features at any of the layers."""
    last = max(block_of(name) for name in layers)
    # A 3x3 convolution looks one position further, a pooling one position of its input.
    return sum((count + 1) * 2**index for index, count in enumerate(blocks(network)[:last]))


def blocks(network: VGG) -> tuple[int, ...]:
    """Convolutions in each block of a network."""
    return tuple(sum(name.startswith(f"conv{block}_") for name in network.params) for block in range(1, 6))


def layer_names(network: VGG) -> list[str]:
    """All layers of a network, in order."""
    names = []
    for block, count in enumerate(blocks(network), 1):
        names += [f"{kind}{block}_{index}" for index in range(1, count + 1) for kind in ("conv", "relu")]
        names += [f"pool{block}"] if count else []
    return names


def check_layers(network: VGG, layers: Sequence[str]) -> None:
    """Raises UserError for a layer that the network does not have."""
    known = layer_names(network)
    for name in layers:
        if name not in known:
            raise UserError(f"{name}: no such layer in the network; its layers are {', '.join(known)}")


def random_params(architecture: str, key: jax.Array) -> dict[str, dict[str, jax.Array]]:
    """Untrained parameters of an architecture of `BLOCKS` (He initialisation, arXiv 1502.01852)."""
    params, channels = {}, 3
    for block, (count, width) in enumerate(zip(BLOCKS[architecture], WIDTHS, strict=True), 1):
        for index in range(1, count + 1):
            key, draw = jax.random.split(key)
            kernel = jax.random.normal(draw, (3, 3, channels, width)) * (2 / (9 * channels)) ** 0.5
            params[f"conv{block}_{index}"] = {"kernel": kernel, "bias": jnp.zeros(width)}
            channels = width
    return params


def _block(
    network: VGG, x: jax.Array, block: int, wanted: tuple[str, ...], last: bool, differentiable: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """One block's features: its output, pooled, and those wanted. Stops early where nothing more is wanted."""
    found: dict[str, jax.Array] = {}
    for index in range(1, blocks(network)[block - 1] + 1):
        layer = network.params[f"conv{block}_{index}"]
        x = _conv(network, x, layer["kernel"].astype(x.dtype), differentiable) + layer["bias"].astype(x.dtype)
        names = {f"conv{block}_{index}": x, f"relu{block}_{index}": jax.nn.relu(x)}
        x = names[f"relu{block}_{index}"]
        found |= {name: value for name, value in names.items() if name in wanted}
        if last and len(found) == len(set(wanted)):
            return x, found
    x = _pool(network, x)
    if f"pool{block}" in wanted:
        found[f"pool{block}"] = x
    return x, found


def _conv(network: VGG, x: jax.Array, kernel: jax.Array, differentiable: bool) -> jax.Array:
    padding = "SAME"
    if network.padding != "zero":
        mode: Any = {"replicate": "edge", "reflect": "reflect"}[network.padding]
        x, padding = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode), "VALID"
    if differentiable:
        return conv(x, kernel, padding=padding)
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _pool(network: VGG, x: jax.Array) -> jax.Array:
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    if network.pooling == "max":
        return max_pool(x)
    return (x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]) / 4
