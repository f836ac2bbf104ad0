"""Reads networks that others trained, of their parameters by name, as safetensors, npz or pth: StyleGAN2 and GAT.

NVIDIA's own files are pickles, which run what is in them. On a machine where that may be, `G_ema.state_dict()` of
stylegan2-ada-pytorch, saved with `safetensors.torch.save_file`, `numpy.savez` or `torch.save`, is all that is needed
here. A file may hold the discriminator, too: then names begin with "G_ema." and "D.", and "G." for the generator as it
was trained, where that is wanted; of `torch.save` a dictionary of the three is as good. A checkpoint of GAT's authors'
code is such a dictionary, beside its optimisers and options.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from jaxgan.models import equalised, gat, layers, stylegan2
from jaxgan.models.dcgan import stages
from jaxgan.run import published_gat
from jaxgan.support import torch_file
from jaxgan.support.errors import UserError

Arrays = Mapping[str, np.ndarray]
_PARTS = {"G_ema": "G_ema", "G": "G", "D": "D", "ema": "G_ema", "generator": "G", "discriminator": "D"}


@dataclasses.dataclass(frozen=True)
class Published:
    """What a file holds.

    Attributes:
        generator: the network.
        latent_size: length of its latents.
        ema: variables of the averaged generator.
        trained: those of the generator as it was trained; `ema` where the file has no others.
        discriminator: the network; None where the file has none that can be taken.
        params: its parameters.
        without: why there is no discriminator.
    """

    generator: stylegan2.Generator | gat.Generator
    latent_size: int
    ema: dict[str, Any]
    trained: dict[str, Any]
    discriminator: stylegan2.Discriminator | gat.Discriminator | None
    params: dict[str, Any]
    without: str = ""


def read(path: Path) -> Published:
    """Reads a generator, and its discriminator where the file holds one.

    Args:
        path: a .safetensors, .npz, .pth or .pt file of parameters and buffers.

    Raises:
        UserError: it cannot be read, or holds no generator of GAT, nor of StyleGAN2 with skips.
    """
    parts = _parts(_arrays(path))
    generator, latent_size, ema = _converted(path, parts.get("G_ema", parts.get("G", {})))
    trained = _converted(path, parts["G"])[2] if "G" in parts else ema
    module, params, without = None, {}, "the file holds none"
    if "D" in parts:
        try:
            if isinstance(generator, gat.Generator):
                module, params = published_gat.convert_discriminator(parts["D"], generator)
            else:
                module, params = convert_discriminator(parts["D"])
            without = ""
        except (UserError, ValueError, IndexError) as wrong:
            without = str(wrong)
        except KeyError as missing:
            without = f"the file's has no {missing.args[0]}"
    return Published(generator, latent_size, ema, trained, module, params, without)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name."""
    try:
        if path.suffix == ".npz":
            with np.load(path) as file:
                return {name: np.asarray(file[name]) for name in file.files}
        if path.suffix in (".pth", ".pt"):
            return torch_file.read(path.read_bytes(), lambda name: not name.startswith("opt"))
        if path.suffix == ".pkl":
            raise UserError(f"{path}: is a pickle, which runs what is in it; save state_dict()s (see jaxgan import -h)")
        return safetensors.numpy.load_file(path)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # The readers raise nearly everything on damaged files.
        raise UserError(f"{path}: cannot be read as safetensors, npz or pth: {error}") from None


def _parts(arrays: Arrays) -> dict[str, Arrays]:
    """Arrays by the network that their names begin with; where none do, all are of the averaged generator."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        part, _, rest = name.partition(".")
        if part in _PARTS:
            parts.setdefault(_PARTS[part], {})[rest] = value
    return dict(parts) if parts else {"G_ema": arrays}


def _converted(path: Path, arrays: Arrays) -> tuple[stylegan2.Generator | gat.Generator, int, dict[str, Any]]:
    is_gat = published_gat.is_gat(arrays)
    kind = "GAT generator" if is_gat else "StyleGAN2 generator with skips"
    try:
        found = (published_gat.convert if is_gat else convert)(arrays)
        _check_shapes(*found)
        return found
    except KeyError as missing:
        raise UserError(f"{path}: not a {kind}: it has no {missing.args[0]}") from None
    except (UserError, ValueError, IndexError) as wrong:  # NumPy's, of shapes that do not fit.
        raise UserError(f"{path}: not a {kind}: {wrong}") from None


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
    mapping = {f"dense{index}": published_gat.dense(arrays, f"mapping.fc{index}") for index in range(max(depth, 1))}
    style_size, latent_size = len(arrays["mapping.w_avg"]), len(mapping["dense0"]["kernel"])
    classes = 0
    if "mapping.embed.weight" in arrays:
        mapping["embed"] = published_gat.dense(arrays, "mapping.embed")
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
    return generator, latent_size, variables


def _is_ours(taps: np.ndarray) -> bool:
    """Whether a resampling filter, given for one axis or for both, is that of our networks."""
    taps = taps if taps.ndim == 1 else taps.sum(axis=0)
    return taps.shape == (4,) and np.allclose(taps, equalised.TAPS, atol=1e-6)


def convert_discriminator(arrays: Arrays) -> tuple[stylegan2.Discriminator, dict[str, Any]]:
    """Converts a residual discriminator's parameters, as `convert` a generator's.

    Args:
        arrays: by NVIDIA's names, `b8.conv0.weight` [out, in, 3, 3], `b4.out.weight` [1, in], ...

    Returns:
        The discriminator, and its parameters.

    Raises:
        KeyError: names what is missing.
        UserError: it is conditional, or of sizes that do not follow StyleGAN2's rule.
    """
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    if any(name.startswith("mapping.") for name in arrays):
        raise UserError("the file's is conditional, which is not read")
    sides = sorted({int(found[1]) for name in arrays if (found := re.match(r"b(\d+)\.conv0\.", name))})
    if not sides:
        raise KeyError("b8.conv0.weight")
    size = sides[-1]
    params = {"first": _layer(arrays, f"b{size}.fromrgb"), "last": _layer(arrays, "b4.conv")}
    params["logit"] = _layer(arrays, "b4.out")
    for side in sides:
        names = {f"conv{side}_0": "conv0", f"conv{side}_1": "conv1", f"skip{side}": "skip"}
        params |= {ours: _layer(arrays, f"b{side}.{theirs}") for ours, theirs in names.items()}
    features = arrays["b4.fc.weight"]  # Of [C, 4, 4], where ours are [4, 4, C].
    kernel = features.reshape(len(features), -1, 4, 4).transpose(2, 3, 1, 0).reshape(-1, len(features))
    params["features"] = {"kernel": kernel, "bias": arrays["b4.fc.bias"]}
    width, limit = params["first"]["kernel"].shape[-1], len(params["last"]["bias"])
    told = params["last"]["kernel"].shape[2] - limit
    if told not in (0, 1):
        raise UserError(f"the file's last layer takes {told} features more than it gives")
    module = stylegan2.Discriminator(width, limit, minibatch_stddev=4 * told)
    image = jnp.zeros((4, size, size, params["first"]["kernel"].shape[2]))
    published_gat.check(jax.eval_shape(module.init, jax.random.key(0), image)["params"], params)
    return module, params


def _check_shapes(generator: Any, latent_size: int, variables: dict[str, Any]) -> None:
    label = (jnp.zeros(1, jnp.int32),) if generator.classes else ()
    published_gat.check(
        jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, latent_size)), *label), variables
    )


def _layer(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """A layer of either kind, with a bias or without."""
    weight = arrays[f"{name}.weight"]
    found = {"kernel": weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0)}
    return found | ({"bias": arrays[f"{name}.bias"]} if f"{name}.bias" in arrays else {})


def _modulated(arrays: Arrays, name: str) -> dict[str, Any]:
    kernel = arrays[f"{name}.weight"].transpose(2, 3, 1, 0)
    return {"kernel": kernel, "bias": arrays[f"{name}.bias"], "affine": published_gat.dense(arrays, f"{name}.affine")}
