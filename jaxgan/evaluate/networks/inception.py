"""FID's own network: Inception-v3 as TensorFlow published it on 2015-12-05, which is not the one of any library.

It differs from Inception-v3 as others have it: average pooling does not count what lies outside of the picture, the
last block pools by maxima where the others average, and there are 1008 classes.

References:
    Szegedy et al., Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567.
    Heusel et al., GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.evaluate.networks import check
from jaxgan.models.conv import conv
from jaxgan.support.torch_file import Arrays

SIDE = 299
SIZE = 2048
CLASSES = 1008
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of the published file, pt_inception-2015-12-05-6726825d.pth."""

_EPSILON = 1e-3
_Pair = tuple[int, int]


class Inception(nn.Module):
    """Pictures [N, 299, 299, 3] in [-1, 1] -> the features that FID is taken in, [N, 2048] ("pool3").

    Parameters are named as in the published file; each convolution has its normalisation folded in. Smaller pictures
    can be given, from 75 pixels a side on.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = (x * 127.5 - 0.5) / 128  # Pixels p of 0..255 are seen as (p - 128) / 128.
        x = _Conv(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = _Conv(32, (3, 3), padding="VALID", name="Conv2d_2a_3x3")(x)
        x = _Conv(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _max_pool(x)
        x = _Conv(80, (1, 1), name="Conv2d_3b_1x1")(x)
        x = _Conv(192, (3, 3), padding="VALID", name="Conv2d_4a_3x3")(x)
        x = _max_pool(x)
        x = _A(32, name="Mixed_5b")(x)
        x = _A(64, name="Mixed_5c")(x)
        x = _A(64, name="Mixed_5d")(x)
        x = _B(name="Mixed_6a")(x)
        x = _C(128, name="Mixed_6b")(x)
        x = _C(160, name="Mixed_6c")(x)
        x = _C(160, name="Mixed_6d")(x)
        x = _C(192, name="Mixed_6e")(x)
        x = _D(name="Mixed_7a")(x)
        x = _E("average", name="Mixed_7b")(x)
        x = _E("max", name="Mixed_7c")(x)
        return jnp.mean(x, axis=(1, 2))


class _Conv(nn.Module):
    """Convolution, bias (of the normalisation) and ReLU, [N, H, W, C] -> [N, H', W', features]."""

    features: int
    kernel: _Pair
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.he_normal(), (*self.kernel, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return nn.relu(conv(x, kernel, self.stride, self.padding) + bias)


def _chain(x: jax.Array, **layers: tuple[int, _Pair]) -> jax.Array:
    for name, (features, kernel) in layers.items():
        x = _Conv(features, kernel, name=name)(x)
    return x


class _A(nn.Module):
    pool: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branches = [
            _chain(x, branch1x1=(64, (1, 1))),
            _chain(x, branch5x5_1=(48, (1, 1)), branch5x5_2=(64, (5, 5))),
            _chain(x, branch3x3dbl_1=(64, (1, 1)), branch3x3dbl_2=(96, (3, 3)), branch3x3dbl_3=(96, (3, 3))),
            _chain(_average_pool(x), branch_pool=(self.pool, (1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class _B(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        double = _chain(x, branch3x3dbl_1=(64, (1, 1)), branch3x3dbl_2=(96, (3, 3)))
        branches = [
            _Conv(384, (3, 3), 2, "VALID", name="branch3x3")(x),
            _Conv(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(double),
            _max_pool(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class _C(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w, row, column = self.width, (1, 7), (7, 1)
        branches = [
            _chain(x, branch1x1=(192, (1, 1))),
            _chain(x, branch7x7_1=(w, (1, 1)), branch7x7_2=(w, row), branch7x7_3=(192, column)),
            _chain(
                x,
                branch7x7dbl_1=(w, (1, 1)),
                branch7x7dbl_2=(w, column),
                branch7x7dbl_3=(w, row),
                branch7x7dbl_4=(w, column),
                branch7x7dbl_5=(192, row),
            ),
            _chain(_average_pool(x), branch_pool=(192, (1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class _D(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        seven = _chain(x, branch7x7x3_1=(192, (1, 1)), branch7x7x3_2=(192, (1, 7)), branch7x7x3_3=(192, (7, 1)))
        branches = [
            _Conv(320, (3, 3), 2, "VALID", name="branch3x3_2")(_chain(x, branch3x3_1=(192, (1, 1)))),
            _Conv(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(seven),
            _max_pool(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class _E(nn.Module):
    pool: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _chain(x, branch3x3_1=(384, (1, 1)))
        double = _chain(x, branch3x3dbl_1=(448, (1, 1)), branch3x3dbl_2=(384, (3, 3)))
        pooled = _average_pool(x) if self.pool == "average" else nn.max_pool(x, (3, 3), padding="SAME")
        branches = [
            _chain(x, branch1x1=(320, (1, 1))),
            _chain(three, branch3x3_2a=(384, (1, 3))),
            _chain(three, branch3x3_2b=(384, (3, 1))),
            _chain(double, branch3x3dbl_3a=(384, (1, 3))),
            _chain(double, branch3x3dbl_3b=(384, (3, 1))),
            _chain(pooled, branch_pool=(192, (1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


def _max_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2))


def _average_pool(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of the published file that are used."""
    found: dict[str, tuple[int, ...]] = {"fc.weight": (CLASSES, SIZE)}
    for name, kernel in _kernels().items():
        height, width, inputs, outputs = kernel
        found[f"{name}.conv.weight"] = (outputs, inputs, height, width)
        found |= {f"{name}.bn.{kind}": (outputs,) for kind in ("weight", "bias", "running_mean", "running_var")}
    return found


def from_torch(name: str, state: Arrays) -> tuple[dict[str, Any], np.ndarray]:
    """The parameters of `Inception`, and the kernel float32 [2048, 1008] of the logits, from the published tensors.

    The Inception score is taken of logits without the bias, as in its authors' code.

    Args:
        name: of the file, for messages.
        state: the tensors.

    Raises:
        UserError: a tensor is missing, or has another shape.
    """
    check(name, state, shapes(), "FID's Inception-v3 of 2015")
    params: dict[str, Any] = {}
    for layer in _kernels():
        weight, scale, shift, mean, variance = (
            state[f"{layer}.{kind}"].astype(np.float64)
            for kind in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        scale = scale / np.sqrt(variance + _EPSILON)
        kernel = weight.transpose(2, 3, 1, 0) * scale
        *blocks, last = layer.split(".")
        place = params.setdefault(blocks[0], {}) if blocks else params
        place[last] = {"kernel": kernel.astype(np.float32), "bias": (shift - mean * scale).astype(np.float32)}
    return params, state["fc.weight"].T.astype(np.float32)


def _kernels() -> dict[str, tuple[int, ...]]:
    """The shape of each convolution's kernel, by its name in the file."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    variables = jax.eval_shape(Inception().init, jax.random.key(0), image)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {
        ".".join(str(part.key) for part in path[:-1]): leaf.shape for path, leaf in leaves if path[-1].key == "kernel"
    }
