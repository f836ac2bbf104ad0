"""Parameters of GAT's authors' networks (github.com/hse1032/GAT), by their names, as ours have them."""

import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.models import gat
from jaxgan.support.errors import UserError

Arrays = Mapping[str, np.ndarray]


def is_gat(arrays: Arrays) -> bool:
    """Whether a generator's arrays are of GAT."""
    return "latent_embedder.0.weight" in arrays


def convert(arrays: Arrays) -> tuple[gat.Generator, int, dict[str, Any]]:
    """Converts a generator's parameters and buffers.

    Args:
        arrays: by the authors' names, `blocks.0.attn.qkv.weight` [out, in], `final_layers.0.linear.weight`, ...

    Returns:
        The generator, the length of its latents, and its variables.

    Raises:
        KeyError: names what is missing.
        UserError: its sizes are none of GAT's.
    """
    sizes = _sizes(arrays)
    if sizes["depth"] % gat.PICTURES:
        raise UserError(f"{sizes['depth']} blocks are no multiple of {gat.PICTURES}")
    table = arrays["y_embedder.embedding_table.weight"]
    width, quarter = sizes["width"], sizes["depth"] // gat.PICTURES
    side = math.isqrt(arrays["pos_embed"].shape[1]) * sizes["patch"]
    channels = len(arrays["final_layers.0.linear.bias"]) // sizes["patch"] ** 2
    blocks = [_block(arrays, f"blocks.{index}", sizes) for index in range(sizes["depth"])]
    for index, block in enumerate(blocks):
        block["style"] = dense(arrays, f"blocks.{index}.adaLN_modulation.1")
    quarters = [_stacked(blocks[begin : begin + quarter]) for begin in range(0, sizes["depth"], quarter)]
    ends = [
        {
            "blocks": quarters[index],
            "style": dense(arrays, f"final_layers.{index}.adaLN_modulation.1"),
            "picture": dense(arrays, f"final_layers.{index}.linear"),
        }
        for index in range(gat.PICTURES)
    ]
    mapper = {"label": {"embedding": table}}
    mapper |= {f"dense{place}": dense(arrays, f"latent_embedder.{2 * place}") for place in (0, 1)}
    generator = gat.Generator(side, channels, classes=len(table), **sizes)
    variables = {
        "params": {"mapper": mapper, "synthesizer": {"quarters": _stacked(ends)}},
        "batch_stats": {"average_style": arrays["w_avg"].reshape(len(table), width)},
    }
    return generator, table.shape[1], variables


def convert_discriminator(arrays: Arrays, generator: gat.Generator) -> tuple[gat.Discriminator, dict[str, Any]]:
    """Converts a discriminator's parameters, as `convert` a generator's; projections for DINOv2's tokens are left out.

    Args:
        arrays: by the authors' names.
        generator: whose pictures it judges.

    Returns:
        The discriminator, and its parameters.

    Raises:
        KeyError: names what is missing.
        UserError: it does not judge such pictures.
    """
    sizes = _sizes(arrays)
    table, kernel = arrays["y_embedder.embedding_table.weight"], arrays["x_embedder.proj.weight"]
    blocks = []
    for name in (f"blocks.{index}" for index in range(sizes["depth"])):
        block = _block(arrays, name, sizes)
        for ours, norm, size in (("attention", "norm1", "ls_attn"), ("gated", "norm2", "ls_mlp")):
            block[f"{ours}_norm"] = {"scale": arrays[f"{name}.{norm}.weight"]}
            block[f"{ours}_size"] = arrays[f"{name}.{size}"]
        blocks.append(block)
    params = {
        # Of [C, p, p], where ours are [p, p, C].
        "patches": {
            "kernel": kernel.transpose(2, 3, 1, 0).reshape(-1, sizes["width"]),
            "bias": arrays["x_embedder.proj.bias"],
        },
        "token": arrays["cls_token"].reshape(-1),
        "blocks": _stacked(blocks),
        "norm": {"scale": arrays["final_layer.0.weight"]},
        "logit": dense(arrays, "final_layer.1"),
        "label": {"embedding": table},
    }
    params |= {f"label{place}": dense(arrays, f"y_embedder.latent_embedder.{2 * place}") for place in (0, 1)}
    module = gat.Discriminator(embedding=table.shape[1], classes=len(table), **sizes)
    images = (jnp.zeros((1, generator.size, generator.size, generator.channels)),) * gat.PICTURES
    label = jnp.zeros(1, jnp.int32)
    check(jax.eval_shape(module.init, jax.random.key(0), images, label)["params"], params)
    return module, params


def check(wanted: Any, variables: dict[str, Any]) -> None:
    """Raises UserError where arrays have not the shapes that a network's variables have."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        found: Any = functools.reduce(lambda tree, part: tree[part.key], path, variables)
        if np.shape(found) != leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UserError(f"what becomes {name} has the shape {np.shape(found)}, not {leaf.shape}")


def _sizes(arrays: Arrays) -> dict[str, Any]:
    """What both networks' arrays tell: features, blocks, heads, side of a patch."""
    width, features = arrays["blocks.0.attn.proj.weight"].shape[0], len(arrays["blocks.0.attn.q_norm.weight"])
    depth = len({found[1] for name in arrays if (found := re.match(r"blocks\.(\d+)\.", name))})
    patch = arrays["x_embedder.proj.weight"].shape[-1]
    return {"width": width, "depth": depth, "heads": width // features, "patch": patch}


def _block(arrays: Arrays, name: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """What the blocks of both networks have."""
    heads, features = sizes["heads"], sizes["width"] // sizes["heads"]
    # Their pairs that turn are neighbours, ours lie half a head apart.
    order = np.arange(features).reshape(-1, 2).T.reshape(-1)

    def turned(value: np.ndarray) -> np.ndarray:
        split = value.reshape(-1, 3, heads, features)
        return np.concatenate([split[:, :2][..., order], split[:, 2:]], axis=1).reshape(value.shape)

    attention: dict[str, Any] = {
        "qkv": {end: turned(value) for end, value in dense(arrays, f"{name}.attn.qkv").items()},
        "out": dense(arrays, f"{name}.attn.proj"),
    }
    for ours, theirs in (("query", "q"), ("key", "k")):
        attention[f"{ours}_scale"] = arrays[f"{name}.attn.{theirs}_norm.weight"][order]
    gated = {"inner": dense(arrays, f"{name}.mlp.w12"), "out": dense(arrays, f"{name}.mlp.w3")}
    return {"attention": attention, "gated": gated}


def dense(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """A dense layer."""
    return {"kernel": arrays[f"{name}.weight"].T, "bias": arrays[f"{name}.bias"]}


def _stacked(trees: list[dict[str, Any]]) -> dict[str, Any]:
    """Trees of the same names as one, whose arrays have the tree's number first."""
    return {
        name: _stacked([tree[name] for tree in trees])
        if isinstance(value, dict)
        else np.stack([tree[name] for tree in trees])
        for name, value in trees[0].items()
    }
