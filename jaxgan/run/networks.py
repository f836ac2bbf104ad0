"""A run's networks without the rest of its state: to begin another run with, and as a file that anything can read.

The file is of safetensors: arrays by names such as "ema/params/synthesizer/const", of three parts: "generator" and
"discriminator", as they were trained, and "ema", the averaged generator, from which samples are drawn. Kernels of
convolutions are [height, width, in, out], those of fully connected layers [in, out]. Its metadata say of which run they
are, so that whatever reads a run reads the file, too. One ships with the package: `emoji` (see configs/emoji.py).
"""

import dataclasses
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from jaxgan import config as cfg
from jaxgan.data import latents
from jaxgan.step.game import TrainState
from jaxgan.support.errors import UserError
from jaxgan.support.files import in_one_line, is_file, write_atomically

PARTS = ("generator", "discriminator", "ema")
_OWN = ("fade",)  # Collections that a run keeps of its own: how far it has grown.
_KNOWN = ("jaxgan", "config", "shape", "classes", "shown", "autoencoder")
_NAMED = 8  # Layers, at the most, that a line names.


@dataclasses.dataclass(frozen=True)
class About:
    """What networks are of.

    Attributes:
        config: of the run that trained them.
        shape: of one example.
        classes: number of labels; 0 if not conditional.
        shown: width and height that its pictures should have, where they are squares and should not be.
        autoencoder: of which examples are latents; None where they are not.
    """

    config: cfg.Config
    shape: tuple[int, ...]
    classes: int
    shown: tuple[int, int] | None = None
    autoencoder: latents.Autoencoder | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """Networks without a run.

    Attributes:
        where: the run or the file that they are from.
        step: the steps that they were trained for; None where that is not known.
        arrays: by part ("generator", "discriminator", "ema"; one may be missing), by path ("params/Dense_0/kernel").
        path_length: the running mean of path lengths; 0 where they were not regularised, or it is not known.
        about: what they are of; None where that is not known.
    """

    where: str
    step: int | None
    arrays: dict[str, dict[str, np.ndarray]]
    path_length: float = 0.0
    about: About | None = None

    @property
    def sha256(self) -> str:
        """The hash of all arrays, with their names: the same of a run and of its file."""
        return digest(self.arrays)


def file_of(path: Path) -> Path | None:
    """The file that a path or a shipped name means, if any: a run's directory comes before a shipped name."""
    if path.suffix == ".safetensors":
        return path
    if str(path) in cfg.NETWORKS and not is_file(path / "config.json"):
        return Path(str(resources.files("jaxgan.support") / "assets" / "generators" / f"{path}.safetensors"))
    return None


def of_state(where: str, state: TrainState, about: About | None = None) -> Networks:
    """The networks of a state."""
    ema = {name: value for name, value in state.ema.items() if name != "decoder"}
    trees = {"generator": state.generator.variables, "discriminator": state.discriminator.variables, "ema": ema}
    arrays = {part: flatten(jax.tree.map(np.asarray, tree)) for part, tree in trees.items()}
    return Networks(where, int(state.step), arrays, float(state.path_length), about)


def save(path: Path, networks: Networks) -> None:
    """Writes networks to a file of safetensors.

    Raises:
        UserError: it cannot be written.
    """
    metadata: dict[str, Any] = {"jaxgan": {"step": networks.step, "path_length": networks.path_length}}
    if about := networks.about:
        shown = {"shown": about.shown} if about.shown else {}
        metadata |= {"config": json.loads(cfg.to_json(about.config)), "shape": about.shape, "classes": about.classes}
        metadata |= shown | ({"autoencoder": dataclasses.asdict(about.autoencoder)} if about.autoencoder else {})
    named = {f"{part}/{name}": array for part, arrays in networks.arrays.items() for name, array in arrays.items()}
    write_atomically(path, safetensors.numpy.save(named, {name: json.dumps(value) for name, value in metadata.items()}))


def load(path: Path) -> Networks | None:
    """Reads what `save` wrote; None of a file of safetensors that something else wrote.

    Raises:
        UserError: it cannot be read.
    """
    with in_one_line(path, "read"):
        try:
            with safetensors.safe_open(path, "numpy") as file:
                metadata = {
                    name: json.loads(value) for name, value in (file.metadata() or {}).items() if name in _KNOWN
                }
                names, own = list(file.keys()), metadata.get("jaxgan")
                if not isinstance(own, dict) or any(name.partition("/")[0] not in PARTS for name in names):
                    return None
                arrays: dict[str, dict[str, np.ndarray]] = {}
                for name in names:
                    part, _, rest = name.partition("/")
                    arrays.setdefault(part, {})[rest] = file.get_tensor(name)
        except (safetensors.SafetensorError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as safetensors: {error}") from None
    about = None
    if "config" in metadata:
        config = cfg.from_json(json.dumps(metadata["config"]), str(path))
        shown = metadata.get("shown")
        encoder = latents.Autoencoder(**metadata["autoencoder"]) if "autoencoder" in metadata else None
        about = About(config, tuple(metadata["shape"]), metadata["classes"], tuple(shown) if shown else None, encoder)
    return Networks(str(path), own.get("step"), arrays, float(own.get("path_length") or 0), about)


def fill(networks: Networks, wanted: TrainState) -> TrainState:
    """A state with all that is known of it: the networks, of their step; optimisers are zeros.

    Args:
        networks: where from.
        wanted: shapes and dtypes of the state.

    Raises:
        UserError: the networks are not those of such a state.
    """
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), wanted)
    state, new = transplant(networks, state, grown=True)
    if new:
        raise UserError(f"{networks.where}: is not whole: {new}")
    return jax.tree.map(jax.numpy.asarray, dataclasses.replace(state, step=np.int32(networks.step or 0)))


def transplant(networks: Networks, state: TrainState, grown: bool = False) -> tuple[TrainState, str]:
    """Puts networks into a state before its first step, as far as they fit it.

    A layer fits where the state has one of its path, with parameters of the same shapes. What fits of "generator" is
    taken for the generator, of "ema" for its average; where one of these two is missing, the other is taken for both.
    Optimisers, and how far networks have grown unless told otherwise, stay as they are in the state.

    Args:
        networks: where from.
        state: a run's first.
        grown: whether how far networks have grown is taken, too.

    Returns:
        The state, its leaves NumPy arrays where they were taken, and what did not fit, in words: "" where all did.

    Raises:
        UserError: nothing fits of a network that is there.
    """
    parts = networks.arrays
    generator = parts.get("generator", parts.get("ema", {}))
    new: list[str] = []

    def fit(name: str, found: dict[str, np.ndarray], variables: Any, said: bool = True) -> Any:
        wanted = flatten(variables)
        unlike = {path for path, leaf in wanted.items() if path not in found or found[path].shape != leaf.shape}
        layers = dict.fromkeys(_layer(path) for path in wanted if path in unlike and path.startswith("params/"))
        fitting = {
            path
            for path in wanted.keys() - unlike
            if (grown or path.partition("/")[0] not in _OWN)
            and not (path.startswith("params/") and _layer(path) in layers)
        }
        if found and not any(path.startswith("params/") for path in fitting):
            raise UserError(
                f"{networks.where}: no layer of its {name} fits this one's; take a config of the same kind and width"
            )
        if said and layers:
            new.append(f"the {name} has new {_listed(list(layers))}" if found else f"the {name} is new")

        def chosen(path: Any, leaf: Any) -> Any:
            name = _path(path)
            return np.asarray(found[name]).astype(leaf.dtype) if name in fitting else leaf

        return jax.tree_util.tree_map_with_path(chosen, variables)

    def player(name: str, found: dict[str, np.ndarray], old: Any) -> Any:
        variables = fit(name, found, old.variables)
        stats = {collection: value for collection, value in variables.items() if collection != "params"}
        return dataclasses.replace(old, params=variables["params"], stats=stats)

    state = dataclasses.replace(
        state,
        generator=player("generator", generator, state.generator),
        discriminator=player("discriminator", parts.get("discriminator", {}), state.discriminator),
        ema=fit("generator", parts.get("ema", generator), state.ema, said=False),
        path_length=np.full((), networks.path_length, np.float32),
    )
    return state, "; ".join(new)


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of nested dictionaries by their paths, "params/Dense_0/kernel"."""
    return {_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def digest(tree: Any) -> str:
    """SHA-256 of a pytree of arrays: of every leaf's path, dtype, shape and bytes."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _layer(path: str) -> str:
    """The layer that an array is of: "Dense_0" of "params/Dense_0/kernel"."""
    return ".".join(path.split("/")[1:-1]) or path.split("/")[-1]


def _listed(names: list[str]) -> str:
    names = [name for name in names if name.rpartition(".")[0] not in names]
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
