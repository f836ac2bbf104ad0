"""Reads autoencoders, whose latents stand for pictures."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan.models.autoencoder import Decoder, Encoder
from jaxgan.support.errors import UserError

_OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
"""Of the attention's layers: today's, and those of the files as they were published."""


def load(path: Path) -> tuple[Encoder, Decoder, dict[str, Any]]:
    """Reads an autoencoder.

    Args:
        path: a safetensors file of diffusers' `AutoencoderKL`, such as `diffusion_pytorch_model.safetensors` of
            sd-vae-ft-mse; the attention's layers may have their old names or today's.

    Returns:
        The networks, and their parameters {"encoder": ..., "decoder": ...}, float32.

    Raises:
        UserError: it cannot be read, or holds no such autoencoder.
    """
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except Exception as error:  # Of many kinds, on damaged files.
        raise UserError(f"{path}: cannot be read as safetensors ({error}); is it whole?") from error
    return convert(arrays, str(path))


def convert(arrays: dict[str, np.ndarray], name: str) -> tuple[Encoder, Decoder, dict[str, Any]]:
    """As `load`, of arrays by diffusers' names; `name` is for messages."""
    blocks = [key for key in arrays if re.fullmatch(r"encoder\.down_blocks\.\d+\.resnets\.\d+\.conv1\.weight", key)]
    try:
        count = 1 + max(int(key.split(".")[2]) for key in blocks)
        widths = tuple(arrays[f"encoder.down_blocks.{index}.resnets.0.conv1.weight"].shape[0] for index in range(count))
        fields: Any = {
            "widths": widths,
            "blocks": len(blocks) // count,
            "channels": arrays["post_quant_conv.weight"].shape[0],
            "groups": min(32, widths[0]),
        }
    except (ValueError, KeyError):
        raise UserError(f"{name}: not an autoencoder of Stable Diffusion (diffusers' AutoencoderKL)") from None
    networks = {"encoder": Encoder(**fields), "decoder": Decoder(**fields)}
    inputs = {"encoder": (1, 16, 16, 3), "decoder": (1, 2, 2, fields["channels"])}
    params = {}
    for part, network in networks.items():
        shapes: Any = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(inputs[part]))["params"]
        flat: Any = flatten_dict(shapes, sep="/")
        found = {path: _found(arrays, part, path, leaf.shape, name) for path, leaf in flat.items()}
        params[part] = unflatten_dict(found, sep="/")
    return networks["encoder"], networks["decoder"], params


def _found(arrays: dict[str, np.ndarray], part: str, path: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A parameter by its path in our network, in our layout."""
    *layers_of, kind = path.split("/")
    theirs = ".".join(re.sub(r"_(?=\d)|(?<=\d)_", ".", layer) for layer in layers_of)
    if not theirs.startswith(("quant_conv", "post_quant_conv")):
        theirs = f"{part}.{theirs}"
    old = re.sub(r"attentions\.0\.(to_\w+(\.0)?)$", _old, theirs)
    ending = "bias" if kind == "bias" else "weight"
    array = arrays.get(f"{theirs}.{ending}", arrays.get(f"{old}.{ending}"))
    if array is None:
        raise UserError(f"{name}: no autoencoder of Stable Diffusion: it has no {theirs}.{ending}")
    if kind == "kernel":
        array = array.reshape(array.shape[:2]).T if len(shape) == 2 else array.transpose(2, 3, 1, 0)
    if array.shape != shape:
        raise UserError(f"{name}: {theirs}.{ending} is of {list(array.shape)}, where {list(shape)} were expected")
    return np.asarray(array, np.float32)


def _old(match: re.Match[str]) -> str:
    return f"attentions.0.{_OLD_NAMES[match[1]]}"
