"""The trunk of EfficientNet-lite0: a small network trained on ImageNet.

References:
    Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv 1905.11946; "lite" is
    without squeeze-and-excitation, and with ReLU6.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.evaluate.networks import check
from jaxgan.models.conv import conv
from jaxgan.support.torch_file import Arrays

SIDE = 224
OUTPUTS = {"block2": 2, "block4": 4, "block10": 10, "block15": 15}
"""Blocks after which the picture is halved next, or ends: 24, 40, 112 and 320 channels."""

_STEM = 32
_BLOCKS = (  # Side and stride of the depthwise convolution, channels out.
    *((3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80), (3, 1, 80), (3, 1, 80)),
    *((5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192), (5, 1, 192), (5, 1, 192), (5, 1, 192), (3, 1, 320)),
)
_EXPANSION = 6


class Lite0(nn.Module):
    """Pictures [N, H, W, 3] in [-1, 1] -> features by the name of the output, [N, h, w, C].

    Batch normalisation is folded into kernels and biases.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = jax.nn.relu6(_Conv(_STEM, 3, 2, name="stem")(x))
        found = {}
        for index, (side, stride, features) in enumerate(_BLOCKS):
            y = x
            if index:
                y = jax.nn.relu6(_Conv(_EXPANSION * x.shape[-1], name=f"b{index}/expand")(y))
            y = jax.nn.relu6(_Depthwise(side, stride, name=f"b{index}/depth")(y))
            y = _Conv(features, name=f"b{index}/project")(y)
            x = x + y if stride == 1 and x.shape[-1] == features else y
            found |= {name: x for name, last in OUTPUTS.items() if last == index}
        return found


class _Conv(nn.Module):
    features: int
    side: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.side, self.side, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return conv(x, kernel, self.stride) + self.param("bias", nn.initializers.zeros, (self.features,))


class _Depthwise(nn.Module):
    """A convolution of each channel by itself, as a sum of shifted pictures: on CPU XLA's own is a naive loop."""

    side: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.he_normal(), (self.side, self.side, 1, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        height, width = (-(-size // self.stride) for size in x.shape[1:3])
        pads = []
        for size, out in zip(x.shape[1:3], (height, width), strict=True):
            total = max((out - 1) * self.stride + self.side - size, 0)
            pads.append((total // 2, total - total // 2))
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        down, across = self.stride * (height - 1) + 1, self.stride * (width - 1) + 1
        taps = [
            x[:, i : i + down : self.stride, j : j + across : self.stride] * kernel[i, j, 0]
            for i in range(self.side)
            for j in range(self.side)
        ]
        return sum(taps, start=bias)


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a file of weights."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    variables = jax.eval_shape(Lite0().init, jax.random.key(0), image)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {"/".join(str(part.key) for part in path): leaf.shape for path, leaf in leaves}


def from_arrays(name: str, arrays: Arrays) -> dict[str, Any]:
    """The parameters, from arrays named "stem/kernel" (HWIO), "b1/expand/bias" and so on.

    Raises:
        UserError: an array is missing, or has another shape.
    """
    wanted = shapes()
    check(name, arrays, wanted, "EfficientNet-lite0's trunk")
    params: dict[str, Any] = {}
    for key in wanted:
        layer, kind = key.rsplit("/", 1)
        params.setdefault(layer, {})[kind] = arrays[key].astype(np.float32)
    return params
