"""Configs: frozen dataclasses that describe an experiment, as Python files and as JSON.

A file under `configs/` assigns a `Config` to the name `config`; its docstring tells the command, the time and the
measured result. A run keeps its config as JSON, which is enough to rebuild it.
"""

import ast
import dataclasses
import difflib
import json
import runpy
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import tyro
from pydantic import Field, NonNegativeInt, PositiveInt

from jaxgan.errors import UserError

Rate = Annotated[float, Field(ge=0, lt=1)]
_no_others = pydantic.with_config(pydantic.ConfigDict(extra="forbid"))


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam:
    """How a player learns: Adam (arXiv 1412.6980), with DCGAN's settings."""

    learning_rate: pydantic.PositiveFloat = 2e-4
    """Step size."""
    beta1: Rate = 0.5
    """Decay of the average of gradients."""
    beta2: Rate = 0.999
    """Decay of the average of squared gradients."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPGenerator(Adam):
    """Fully connected generator."""

    kind: tyro.conf.Suppress[Literal["mlp"]] = "mlp"
    widths: tuple[PositiveInt, ...] = (256, 512, 1024)
    """Units of each hidden layer."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPDiscriminator(Adam):
    """Fully connected discriminator."""

    kind: tyro.conf.Suppress[Literal["mlp"]] = "mlp"
    widths: tuple[PositiveInt, ...] = (1024, 512, 256)
    """Units of each hidden layer."""
    dropout: Rate = 0.0
    """Share of each hidden layer's units to drop: a weaker, less certain discriminator."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class DCGANGenerator(Adam):
    """Convolutional generator."""

    kind: tyro.conf.Suppress[Literal["dcgan"]] = "dcgan"
    width: PositiveInt = 64
    """Features of the last hidden layer; each smaller feature map has twice as many."""
    upsampling: Literal["transposed", "nearest"] = "transposed"
    """Transposed convolutions, or repeated pixels and a convolution (no checkerboard)."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class DCGANDiscriminator(Adam):
    """Convolutional discriminator."""

    kind: tyro.conf.Suppress[Literal["dcgan"]] = "dcgan"
    width: PositiveInt = 64
    """Features of the first layer; each smaller feature map has twice as many."""
    downsampling: Literal["strided", "pooling"] = "strided"
    """Strided convolutions, or convolutions and max-pooling."""
    features: NonNegativeInt = 0
    """Length of a fully connected feature vector before the classifier; 0 for none."""
    norm: Literal["batch", "none"] = "batch"
    """Batch normalisation as in the paper, or none: classes are covered sooner."""
    dropout: Rate = 0.0
    """Share of each hidden layer's features to drop: a weaker, less certain discriminator."""


@_no_others
@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """An experiment. With a seed it determines every number of the run."""

    generator: Annotated[MLPGenerator | DCGANGenerator, Field(discriminator="kind")] = DCGANGenerator()
    """The generator and how it learns."""
    discriminator: Annotated[MLPDiscriminator | DCGANDiscriminator, Field(discriminator="kind")] = DCGANDiscriminator()
    """The discriminator and how it learns."""
    data: Literal["mnist"] = "mnist"
    """The data set."""
    conditional: bool = False
    """Give both networks the labels, so that one can ask for a class."""
    latent_size: PositiveInt = 100
    """Length of a latent vector."""
    batch_size: PositiveInt = 128
    """Real examples a discriminator update, and fakes."""
    discriminator_updates: PositiveInt = 1
    """Updates of the discriminator for each update of the generator."""
    accumulate: PositiveInt = 1
    """Deal every batch into so many parts, computed one after another in the memory of one; batch normalisation sees
    each part by itself, otherwise the update is the same."""
    r1: pydantic.NonNegativeFloat = 0.0
    """Weight of the R1 penalty, which keeps the discriminator smooth around the data (arXiv 1801.04406); 0 for none."""
    ema_decay: Rate = 0.999
    """Decay of the moving average of the generator that samples are drawn from."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What networks compute in; parameters, losses and optimisers are float32."""
    seed: NonNegativeInt = 0
    """Of everything random."""
    steps: PositiveInt = 2000
    """Length of the run; a finished run goes on when this is raised."""
    log_every: PositiveInt = 10
    """Steps between lines of metrics.jsonl and points in TensorBoard."""
    sample_every: PositiveInt = 200
    """Steps between pictures of samples."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints."""
    keep_last: PositiveInt = 2
    """Checkpoints to keep, counted from the newest."""
    keep_every: PositiveInt | None = None
    """Also keep for good each checkpoint whose step is a multiple of this."""


FREE = {"steps", "sample_every", "checkpoint_every", "keep_last", "keep_every"}
"""Fields that may change when a run goes on: they bear on how long and what is kept, not on any number of the run."""

_ADAPTER = pydantic.TypeAdapter(Config)


def validate(config: Config, where: str) -> Config:
    """Checks every field's type and range.

    Args:
        config: the config.
        where: named by the error: a file, or "command line".

    Raises:
        UserError: names the first bad field and what it should be.
    """
    return from_json(to_json(config), where)


def to_json(config: Config) -> str:
    """The config as JSON text, fields in order."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, where: str) -> Config:
    """Rebuilds a config from `to_json`'s text.

    Raises:
        UserError: names `where`, the first bad field, what it should be, and for an unknown field the nearest name.
    """
    try:
        return _ADAPTER.validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
    # A union's member is part of pydantic's path ("generator.dcgan.width"); it is not part of ours.
    path = [str(part) for part in first["loc"] if part not in ("mlp", "dcgan")]
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    if first["type"] == "unexpected_keyword_argument":
        message = f"no such field{nearest(path[-1], _field_names())}"
    value = first["input"]
    shown = f" (it is {value!r})" if isinstance(value, str | int | float) and path else ""
    raise UserError(f"{where}: {'.'.join(path) or 'not a config'}: {message}{shown}")


def differences(old: Config, new: Config) -> list[str]:
    """The fields, outside `FREE`, in which two configs differ, as "generator.width (64, now 32)"."""
    a, b = _flatten(dataclasses.asdict(old)), _flatten(dataclasses.asdict(new))
    changed = [name for name in a | b if a.get(name) != b.get(name) and name not in FREE]
    return [f"{name} ({a.get(name)}, now {b.get(name)})" for name in changed]


def folder() -> Path:
    """Where the configs are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> dict[str, str]:
    """Every config's name and the first line of its docstring."""
    files = sorted(path for path in folder().glob("*.py") if path.stem != "__init__")
    return {path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0] for path in files}


def load(target: str) -> tuple[str, Config]:
    """Loads a config by name (of a file under `configs/`) or by the path of a Python file.

    Returns:
        Its name and the config.

    Raises:
        UserError: there is no such config (with the nearest name), or the file makes none.
    """
    path = Path(target) if target.endswith(".py") else folder() / f"{target}.py"
    if not path.is_file():
        raise UserError(
            f"{target}: no such config or run{nearest(target, names())}; `jaxgan configs` lists the configs"
        )
    try:
        config = runpy.run_path(str(path)).get("config")
    except Exception as error:
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise UserError(f"{path}: must assign a jaxgan.config.Config to the name `config`")
    return path.stem, validate(config, str(path))


def nearest(name: str, known: Any) -> str:
    """A hint for a misspelt name, "; did you mean width?", or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _field_names() -> set[str]:
    kinds = (Config, MLPGenerator, MLPDiscriminator, DCGANGenerator, DCGANDiscriminator)
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
