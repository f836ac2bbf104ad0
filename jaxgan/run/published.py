"""Makes runs of NVIDIA's published StyleGAN2 generators, of their parameters by name, as safetensors or npz.

Their own files are pickles, which run what is in them. On a machine where that may be, `G_ema.state_dict()` of
stylegan2-ada-pytorch, saved with `safetensors.torch.save_file` or `numpy.savez`, is all that is needed here.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from jaxgan import config as cfg
from jaxgan.models import equalised, layers, stylegan2
from jaxgan.models.dcgan import stages
from jaxgan.run import build, checkpoint, directory
from jaxgan.support.errors import UserError
from jaxgan.support.files import write_atomically

Arrays = Mapping[str, np.ndarray]


def adopt(file: Path, run: Path, clamp: float = 256.0) -> directory.Trained:
    """Makes a run, at step 0, of a StyleGAN2 generator that NVIDIA published (see `load`).

    Args:
        file: of its parameters and buffers.
        run: the directory, which is made.
        clamp: what it keeps its activations within, which the file does not tell; 0 for nothing.

    Raises:
        UserError: the file cannot be read, or there is a run already.
    """
    if directory.is_run(run):
        raise UserError(f"{run}: holds a run already; choose another --out, or delete it")
    generator, latent_size, variables = load(file)
    sizes: Any = {"width": generator.width, "max_width": generator.max_width, "clamp": clamp}
    rates: Any = {"learning_rate": 2.5e-3, "beta1": 0.0, "beta2": 0.99}
    config = cfg.Config(
        data="",
        size=generator.size,
        conditional=generator.classes > 0,
        generator=cfg.StyleGAN2Generator(
            **sizes, **rates, style_size=generator.style_size, mapping_layers=generator.mapping_layers
        ),
        discriminator=cfg.StyleGAN2Discriminator(**sizes, **rates),
        latent_size=latent_size,
        batch_size=32,
        r1=10.0,
        penalty_every=16,
        path_length=2.0,
        augment=("colour", "translation", "cutout"),
    )
    shape = (generator.size, generator.size, generator.channels)
    plan = build.experiment(config, shape, generator.classes)
    state = jax.jit(functools.partial(plan.init, plan.stages[0], plan.seed))()
    arrays = jax.tree.map(jnp.asarray, variables)
    params, stats = arrays["params"], {name: value for name, value in arrays.items() if name != "params"}
    state = dataclasses.replace(
        state, generator=dataclasses.replace(state.generator, params=params, stats=stats), ema=arrays
    )
    with directory.lock(run), checkpoint.open_for_saving(run, plan) as saver:
        saver.save(state)
        directory.write_config(run, config)
        about = {"shape": list(shape), "classes": generator.classes, "identity": None}
        write_atomically(run / "data.json", json.dumps(about, indent=2) + "\n")
    return directory.Trained(plan, state, [])


def load(path: Path) -> tuple[stylegan2.Generator, int, dict[str, Any]]:
    """Reads a generator.

    Args:
        path: a .safetensors or .npz file of its parameters and buffers.

    Returns:
        The generator, the length of its latents, and its variables.

    Raises:
        UserError: it cannot be read, or holds no StyleGAN2 generator with skips.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as file:
                arrays = {name: np.asarray(file[name]) for name in file.files}
        else:
            arrays = safetensors.numpy.load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # The readers raise nearly everything on damaged files.
        raise UserError(f"{path}: cannot be read as safetensors or npz: {error}") from None
    try:
        return convert(arrays)
    except KeyError as missing:
        raise UserError(f"{path}: not a StyleGAN2 generator with skips: it has no {missing.args[0]}") from None
    except UserError as wrong:
        raise UserError(f"{path}: not a StyleGAN2 generator with skips: {wrong}") from None


def convert(arrays: Arrays) -> tuple[stylegan2.Generator, int, dict[str, Any]]:
    """Converts a generator's parameters and buffers.

    Args:
        arrays: by NVIDIA's names, `mapping.fc0.weight` [out, in], `synthesis.b8.conv0.weight` [out, in, 3, 3], ...

    Returns:
        The generator, the length of its latents, and its variables.

    Raises:
        KeyError: names what is missing.
        UserError: sizes or filters do not follow StyleGAN2's rule.
    """
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    for name, value in arrays.items():
        if name.endswith("resample_filter") and not _is_ours(value):
            raise UserError(f"{name} is another filter than [1, 3, 3, 1]")
    sides = sorted({int(found[1]) for name in arrays if (found := re.match(r"synthesis\.b(\d+)\.", name))}) or [4]
    depth = len({name for name in arrays if re.fullmatch(r"mapping\.fc\d+\.weight", name)})
    features = {side: len(arrays[f"synthesis.b{side}.conv1.weight"]) for side in sides}
    mapping = {f"dense{index}": _dense(arrays, f"mapping.fc{index}") for index in range(max(depth, 1))}
    style_size, latent_size = len(arrays["mapping.w_avg"]), len(mapping["dense0"]["kernel"])
    classes = 0
    if "mapping.embed.weight" in arrays:
        mapping["embed"] = _dense(arrays, "mapping.embed")
        classes, latent_size = len(mapping["embed"]["kernel"]), latent_size - style_size
    synthesis: dict[str, Any] = {"const": arrays["synthesis.b4.const"].transpose(1, 2, 0)}
    noise = {}
    for side in sides:
        for index in (0, 1) if side > sides[0] else (1,):
            layer, name = f"synthesis.b{side}.conv{index}", f"conv{side}_{index}"
            synthesis[name] = _modulated(arrays, layer)
            synthesis[name]["noise_strength"] = arrays[f"{layer}.noise_strength"].reshape(())
            noise[name] = {"noise": arrays[f"{layer}.noise_const"]}
        synthesis[f"picture{side}"] = _modulated(arrays, f"synthesis.b{side}.torgb")
    size, channels = sides[-1], len(synthesis[f"picture{sides[-1]}"]["bias"])
    width, limit = features[size], max(features.values())
    try:
        doublings = stages(size)[1]
    except ValueError as error:
        raise UserError(str(error)) from None
    if list(features.values()) != layers.widths(width, limit, doublings):
        raise UserError(f"features of {features} by size do not double at each halving up to a limit")
    generator = stylegan2.Generator(
        size, channels, width, limit, style_size, mapping_layers=max(depth, 1), classes=classes
    )
    variables = {
        "params": {"mapper": mapping, "synthesizer": synthesis},
        "batch_stats": {"average_style": arrays["mapping.w_avg"]},
        "noise": {"synthesizer": noise},
    }
    _check_shapes(generator, latent_size, variables)
    return generator, latent_size, variables


def _is_ours(taps: np.ndarray) -> bool:
    """Whether a resampling filter, given for one axis or for both, is that of our networks."""
    taps = taps if taps.ndim == 1 else taps.sum(axis=0)
    return taps.shape == (4,) and np.allclose(taps, equalised.TAPS, atol=1e-6)


def _check_shapes(generator: stylegan2.Generator, latent_size: int, variables: dict[str, Any]) -> None:
    label = (jnp.zeros(1, jnp.int32),) if generator.classes else ()
    wanted = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, latent_size)), *label)
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        found: Any = functools.reduce(lambda tree, part: tree[part.key], path, variables)
        if np.shape(found) != leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UserError(f"what becomes {name} has the shape {np.shape(found)}, not {leaf.shape}")


def _dense(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    return {"kernel": arrays[f"{name}.weight"].T, "bias": arrays[f"{name}.bias"]}


def _modulated(arrays: Arrays, name: str) -> dict[str, Any]:
    kernel = arrays[f"{name}.weight"].transpose(2, 3, 1, 0)
    return {"kernel": kernel, "bias": arrays[f"{name}.bias"], "affine": _dense(arrays, f"{name}.affine")}
