"""The convolutional trunks of VGG16 and VGG19 in Flax, whose features tell content from style.

References:
    Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models.conv import Form, compiled, conv
from jaxgan.models.layers import average_pool, max_pool
from jaxgan.support.errors import UserError

BLOCKS = {"VGG16": (2, 2, 3, 3, 3), "VGG19": (2, 2, 4, 4, 4)}
"""Convolutions in each block; a 2x2 pooling follows each block."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each block."""
UNIT = 32
"""Bands of rows start at multiples of this, so that poolings pair the same rows as in the whole picture."""

Preprocessing = Literal["torchvision", "caffe"]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)


class VGG(nn.Module):
    """A trunk. Its parameters are {"conv1_1": {"kernel": [3, 3, C, D], "bias": [D]}, ...}.

    Attributes:
        blocks: convolutions in each block, such as `BLOCKS["VGG16"]`.
        widths: channels of each block.
        preprocessing: how the training showed pictures: "torchvision" (RGB, standardised) or "caffe" (BGR in 0..255,
            less the mean). A property of the weights.
        pooling: "max", as trained, or "average", which Gatys et al. found to give smoother pictures.
        padding: what a convolution sees beyond the picture's edge: "zero", as trained, or "replicate" or "reflect" the
            picture, which keeps frames from appearing at its edges.
        dtype: of the features; "bfloat16" halves their memory.
        remat: compute each block's features again for the gradient instead of keeping them: less memory, more time.
        form: of the convolutions, see `jaxgan.models.conv.compiled`; on CPU, "quick" compiles in a tenth of the time
            and runs for about 1.6 times as long as "fast".
    """

    blocks: tuple[int, ...] = BLOCKS["VGG16"]
    widths: tuple[int, ...] = WIDTHS
    preprocessing: Preprocessing = "torchvision"
    pooling: Literal["max", "average"] = "max"
    padding: Literal["zero", "replicate", "reflect"] = "zero"
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False
    form: Form = "quick"

    def setup(self) -> None:
        for block, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), 1):
            for index in range(1, count + 1):
                setattr(self, f"conv{block}_{index}", _Conv(width, self.padding))

    def __call__(self, images: jax.Array, layers: Sequence[str]) -> dict[str, jax.Array]:
        """The features of pictures at some layers; computes no further than the last of them.

        Args:
            images: [N, H, W, 3], RGB in 0..1.
            layers: names such as "conv4_2" (before the ReLU), "relu4_2" (after it), "pool4".

        Returns:
            For each layer [N, H / 2^b, W / 2^b, C], where b poolings came before it; a pooling drops an odd last row
            or column.

        Raises:
            UserError: the network has no such layer.
        """
        check_layers(self, layers)
        run = nn.remat(VGG._block, static_argnums=(2, 3, 4)) if self.remat else VGG._block
        last = max(block_of(name) for name in layers)
        x = preprocess(images, self.preprocessing).astype(self.dtype)
        found: dict[str, jax.Array] = {}
        for block in range(1, last + 1):
            wanted = tuple(name for name in layers if block_of(name) == block)
            x, here = run(self, x, block, wanted, block == last)
            found |= here
        return found

    def _block(
        self, x: jax.Array, block: int, wanted: tuple[str, ...], last: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """A block's output, pooled, and the features wanted. Stops early where nothing more is wanted."""
        found: dict[str, jax.Array] = {}
        for index in range(1, self.blocks[block - 1] + 1):
            before = getattr(self, f"conv{block}_{index}")(x)
            x = nn.relu(before)
            names = {f"conv{block}_{index}": before, f"relu{block}_{index}": x}
            found |= {name: value for name, value in names.items() if name in wanted}
            if last and len(found) == len(set(wanted)):
                return x, found
        x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
        x = _max_pool(x) if self.pooling == "max" else _average_pool(x)
        if f"pool{block}" in wanted:
            found[f"pool{block}"] = x
        return x, found


# Poolings whose gradient is one pass. JAX's own is a sum of four padded pictures, and takes up to four times as long;
# networks that are trained keep it, for their runs resume as they began, to the last bit.


@jax.custom_jvp
def _max_pool(x: jax.Array) -> jax.Array:
    """As `layers.max_pool`; its gradient goes to the largest of each four, in equal parts where there are several."""
    return max_pool(x)


@_max_pool.defjvp
def _max_pool_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    y = max_pool(x)
    largest = (_fours(x) == y[:, :, None, :, None]).astype(x.dtype)
    # The sum by slices: XLA fuses it, where it makes a pass of its own of a reduction.
    count = largest[:, :, :1, :, :1] + largest[:, :, :1, :, 1:] + largest[:, :, 1:, :, :1] + largest[:, :, 1:, :, 1:]
    return y, jnp.sum(largest / count * _fours(tangent), (2, 4))


@jax.custom_jvp
def _average_pool(x: jax.Array) -> jax.Array:
    """As `layers.average_pool`."""
    return average_pool(x)


@_average_pool.defjvp
def _average_pool_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return average_pool(*primals), jnp.sum(_fours(*tangents), (2, 4)) / 4


def _fours(x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, H/2, 2, W/2, 2, C]."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c)


class _Conv(nn.Module):
    """A 3x3 convolution, [N, H, W, C] -> [N, H, W, features]."""

    features: int
    padding: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        padding = "SAME"
        if self.padding != "zero":
            mode: Any = {"replicate": "edge", "reflect": "reflect"}[self.padding]
            x, padding = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode), "VALID"
        return conv(x, kernel.astype(x.dtype), padding=padding) + bias.astype(x.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Network:
    """A trunk with what it has learned.

    Attributes:
        module: the trunk.
        params: its parameters.
    """

    module: VGG = dataclasses.field(metadata={"static": True})
    params: dict[str, dict[str, jax.Array]]

    def features(self, images: jax.Array, layers: Sequence[str]) -> dict[str, jax.Array]:
        """The features of pictures at some layers; see `VGG.__call__`."""
        apply = compiled(self.module.apply, self.module.form)
        return apply({"params": self.params}, images, layers)

    def using(self, **attributes: Any) -> "Network":
        """The same with other attributes of `VGG`, such as `pooling="average"`."""
        return dataclasses.replace(self, module=self.module.clone(**attributes))


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


def reach(module: VGG, layers: Sequence[str]) -> int:
    """How many pixels away, at most, a pixel influences features at any of the layers."""
    last = max(block_of(name) for name in layers)
    # A 3x3 convolution looks one position further, a pooling one position of its input.
    return sum((count + 1) * 2**index for index, count in enumerate(module.blocks[:last]))


def halo(module: VGG, layers: Sequence[str]) -> int:
    """Rows that a band needs above and below it: `reach`, up to a multiple of `UNIT`."""
    return -(-reach(module, layers) // UNIT) * UNIT


def layer_names(module: VGG) -> list[str]:
    """All layers of a network, in order."""
    names = []
    for block, count in enumerate(module.blocks, 1):
        names += [f"{kind}{block}_{index}" for index in range(1, count + 1) for kind in ("conv", "relu")]
        names.append(f"pool{block}")
    return names


def check_layers(module: VGG, layers: Sequence[str]) -> None:
    """Raises UserError for a layer that the network does not have."""
    known = layer_names(module)
    for name in layers:
        if name not in known:
            raise UserError(f"{name}: no such layer in the network; its layers are {', '.join(known)}")
