"""DINOv2: vision transformers that learned without labels, in whose features distances agree best with people.

References:
    Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, arXiv 2304.07193.
    Stein et al., Exposing flaws of generative model evaluation metrics, arXiv 2306.04675, which compares nine encoders.
"""

import math
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.evaluate.networks import check
from jaxgan.support.errors import UserError
from jaxgan.support.torch_file import Arrays

SIDE = 224
PATCH = 14
NAMES = {384: "ViT-S/14", 768: "ViT-B/14", 1024: "ViT-L/14"}
"""Of the networks, by their width."""

_TRAINED = 37  # Patches a side of the pictures that the positions were learned for.
_HEAD = 64
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPSILON = 1e-6


class DINOv2(nn.Module):
    """Pictures [N, H, W, 3] in [-1, 1], sides multiples of 14 -> tokens [N, 1 + patches, width], the class token first.

    Attributes:
        width: length of a token.
        depth: blocks.
    """

    width: int = 384
    depth: int = 12

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = ((x + 1) / 2 - jnp.array(_MEAN, x.dtype)) / jnp.array(_STD, x.dtype)
        count, height, width, _ = x.shape
        rows, columns = height // PATCH, width // PATCH
        patches = x.reshape(count, rows, PATCH, columns, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
        x = nn.Dense(self.width, name="patch_embed_proj")(patches.reshape(count, rows * columns, -1))
        first = self.param("cls_token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (count, 1, self.width)), x], axis=1)
        positions = self.param("pos_embed", nn.initializers.normal(0.02), (1, 1 + _TRAINED**2, self.width))
        x = x + interpolated(positions, rows, columns)
        for index in range(self.depth):
            x = _Block(name=f"blocks_{index}")(x)
        return nn.LayerNorm(_EPSILON, name="norm")(x)


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        inner = _Attention(name="attn")(nn.LayerNorm(_EPSILON, name="norm1")(x))
        x = x + inner * self.param("ls1", nn.initializers.ones, (width,))
        inner = nn.Dense(4 * width, name="mlp_fc1")(nn.LayerNorm(_EPSILON, name="norm2")(x))
        inner = nn.Dense(width, name="mlp_fc2")(nn.gelu(inner, approximate=False))
        return x + inner * self.param("ls2", nn.initializers.ones, (width,))


class _Attention(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        count, tokens, width = x.shape
        parts = nn.Dense(3 * width, name="qkv")(x).reshape(count, tokens, 3, width // _HEAD, _HEAD)
        x = jax.nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
        return nn.Dense(width, name="proj")(x.reshape(count, tokens, width))


def interpolated(positions: jax.Array, rows: int, columns: int) -> jax.Array:
    """Embeddings of positions for pictures of so many patches, from those learned, [1, 1 + 37^2, C] -> [1, 1 + P, C].

    Bicubic as in the authors' code, which asks for a tenth of a patch more than there are: their scale, not the exact
    one, tells where each patch looks.
    """
    if rows == columns == _TRAINED:
        return positions
    square = positions[0, 1:].reshape(_TRAINED, _TRAINED, -1)
    down, across = (jnp.asarray(_bicubic(count, _TRAINED / (count + 0.1))) for count in (rows, columns))
    found = jnp.einsum("ih,hwc,jw->ijc", down, square, across, precision="highest")
    return jnp.concatenate([positions[:, :1], found.reshape(1, rows * columns, -1)], axis=1)


def _bicubic(count: int, step: float) -> np.ndarray:
    """Weights [count, 37] of PyTorch's bicubic interpolation (a = -0.75, the border repeated)."""
    a = -0.75
    weights = np.zeros((count, _TRAINED), np.float64)
    for row in range(count):
        place = (row + 0.5) * step - 0.5
        base = math.floor(place)
        for tap in range(base - 1, base + 3):
            t = abs(place - tap)
            near = (a + 2) * t**3 - (a + 3) * t**2 + 1
            far = a * (t**3 - 5 * t**2 + 8 * t - 4)
            weights[row, min(max(tap, 0), _TRAINED - 1)] += near if t <= 1 else far
    return weights.astype(np.float32)


def shapes(width: int, depth: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of the published files that are used."""
    return {name: _published(path, shape) for name, (path, shape) in _named(width, depth).items()}


def from_torch(name: str, state: Arrays) -> tuple[DINOv2, dict[str, Any]]:
    """The network that some published tensors are of, and its parameters.

    Args:
        name: of the file, for messages.
        state: the tensors.

    Raises:
        UserError: they are not those of a DINOv2 with patches of 14 pixels and without registers.
    """
    if "register_tokens" in state:
        raise UserError(f"{name}: a DINOv2 with registers; take the file without (its name has no _reg4)")
    width = state["cls_token"].shape[-1] if "cls_token" in state else 384
    blocks = {int(match[1]) for key in state if (match := re.match(r"blocks\.(\d+)\.", key))}
    depth = len(blocks) or 12
    check(name, state, shapes(width, depth), "a DINOv2 (ViT-S, B or L of 14)")
    params: dict[str, Any] = {}
    for tensor, (path, shape) in _named(width, depth).items():
        array = state[tensor].astype(np.float32)
        if path[-1] == "kernel":  # The patches' is [width, 3, 14, 14], the others [outputs, inputs].
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        place = params
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = array.reshape(shape)
    return DINOv2(width, depth), params


def _named(width: int, depth: int) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Place and shape of each parameter, by its name in the published file."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    variables = jax.eval_shape(DINOv2(width, depth).init, jax.random.key(0), image)
    found = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        path = tuple(str(key.key) for key in keys)
        theirs = ".".join(path).replace("embed_proj", "embed.proj")
        theirs = theirs.replace("blocks_", "blocks.").replace("mlp_", "mlp.")
        theirs = re.sub(r"\.(kernel|scale)$", ".weight", theirs)
        found[re.sub(r"\.(ls\d)$", r".\1.gamma", theirs)] = (path, leaf.shape)
    return found


def _published(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    if path[0] == "patch_embed_proj" and path[-1] == "kernel":
        return (shape[1], 3, PATCH, PATCH)
    return shape[::-1] if path[-1] == "kernel" else shape
