"""Latents of an autoencoder, which stand for pictures: sets of them, and the autoencoder that they are of.

latents.json                  the autoencoder's path and hash, shape and number of latents, how many a file
latents-00000.npy             means and standard deviations, float16 [N, h, w, 2 C], in the order of the pictures
pictures/                     the set of pictures (see `records`): its manifest, lists and labels, and perhaps they

Each use of a latent draws it anew from its mean and standard deviation.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan.data.source import Drawing
from jaxgan.models import autoencoder
from jaxgan.models.autoencoder import Decoder, Encoder
from jaxgan.support import files
from jaxgan.support.errors import UserError, first_line

if TYPE_CHECKING:  # They import much that runs on shipped data do without.
    from jaxgan.data import folder

_OURS = re.compile(r"pictures|plan\.json|latents\.json|latents-\d{5}\.npy(\.partial)?")
_PART = 512  # Latents a file.
_TOGETHER = 8  # Pictures a call of the encoder.

_OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
"""Of the attention's layers: today's, and those of the files as they were published."""


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """Which autoencoder latents are of.

    Attributes:
        path: its file.
        sha256: of the file.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, file: Path) -> "Autoencoder":
        """That of a file.

        Raises:
            UserError: it cannot be read.
        """
        return cls(str(file.absolute()), _hash(file))

    def open(self) -> tuple[Encoder, Decoder, dict[str, Any]]:
        """As `load`.

        Raises:
            UserError: the file is not there, or is another now.
        """
        path = Path(self.path)
        if not files.is_file(path):
            raise UserError(f"{path}: the autoencoder is not there; without it latents are no pictures: put it back")
        if _hash(path) != self.sha256:
            raise UserError(f"{path}: is another autoencoder than that of the latents; put that one back")
        return load(path)


@dataclasses.dataclass(frozen=True)
class _Manifest:
    version: int
    autoencoder: Autoencoder
    shape: tuple[int, int, int]
    count: int
    part: int
    pictures: bool


class LatentSet:
    """A set of latents: what `records.PictureSet` is of pictures.

    Attributes:
        autoencoder: what they are of.
        shape: of what is kept of each: height, width, twice the channels.
        classes: number of classes; 0 if labels are not wanted.
        identity: a text that differs when pictures or autoencoder do.
        labels: int32 [M], or None.
        pictures: the pictures themselves; None where they are not kept.
    """

    def __init__(self, path: Path, conditional: bool = False) -> None:
        """Opens it.

        Args:
            path: its directory.
            conditional: whether labels are wanted.

        Raises:
            UserError: it is damaged, or has no labels where they are wanted.
        """
        from jaxgan.data import records

        self._path, manifest = path, _read_manifest(path)
        about = records.read_manifest(path / "pictures")
        if conditional and not about.classes:
            raise UserError(f"{path}: has no labels; make it with --labels")
        self.autoencoder, self.shape, self._count, self._part = (
            manifest.autoencoder,
            manifest.shape,
            manifest.count,
            manifest.part,
        )
        self.identity = f"{about.sha256} by {manifest.autoencoder.sha256}"
        self.classes = len(about.classes) if conditional else 0
        self.labels: np.ndarray | None = None
        self.pictures = records.PictureSet(path / "pictures", conditional) if manifest.pictures else None
        try:
            self._parts = [np.load(_part(path, index), mmap_mode="r") for index in range(-(-self._count // self._part))]
            if conditional:
                self.labels = np.load(path / "pictures" / about.labels_name)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, first_line(error)) from None
        if sum(map(len, self._parts)) != self._count or any(part.shape[1:] != self.shape for part in self._parts):
            raise _damaged(path, "not all latents are there")

    def __len__(self) -> int:
        return self._count

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Means and standard deviations, float16 [n, h, w, 2 C] as "image", and with classes their labels."""
        found = [self._parts[index // self._part][index % self._part] for index in map(int, indices)]
        images = np.stack(found) if found else np.zeros((0, *self.shape), np.float16)
        return {"image": images} | ({} if self.labels is None else {"label": self.labels[indices]})


@dataclasses.dataclass(frozen=True, eq=False)
class LatentSource(Drawing):
    """Latents from a source of their means and standard deviations: `LatentSet` in batches.

    They are scaled, so that their variance is about 1 (`autoencoder.SCALE`).

    Attributes:
        held: the set; None where only shapes matter.
    """

    held: LatentSet | None = None
    _salt = (1,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a latent, [h, w, C]."""
        height, width, channels = self.source.shape
        return height, width, channels // 2

    def _one(self, draw: jax.Array, x: jax.Array) -> jax.Array:
        mean, deviation = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        return autoencoder.SCALE * (mean + deviation * jax.random.normal(jax.random.key(draw), mean.shape))

    def blocks(self) -> Iterator[np.ndarray]:
        """Nothing: latents are no pictures to look at."""
        return iter(())


def of(source: Any) -> LatentSet | None:
    """The set that a source's latents are of; None where its examples are no latents."""
    while isinstance(source, Drawing):
        if isinstance(source, LatentSource):
            return source.held
        source = source.source
    return None


def is_set(path: Path) -> bool:
    """Whether a directory holds a set of latents."""
    return files.is_file(path / "latents.json")


def begin(out: Path, settings: "folder.Settings", file: Path) -> Autoencoder:
    """Checks, before anything is converted, that latents can be made.

    Args:
        out: the set's directory.
        settings: how pictures are brought to one shape: squares in colour, of a side that can be halved often enough.
        file: the autoencoder's (see `load`).

    Raises:
        UserError: they cannot, or `out` holds something else.
    """
    width, height = settings.shown
    if settings.channels != "rgb" or width != height:
        raise UserError("--latents: takes squares in rgb")
    if not files.is_file(file):
        raise UserError(f"{file}: no such file; --latents takes an autoencoder's, in safetensors")
    about = Autoencoder.of(file)
    if width % (scale := about.open()[1].scale):
        raise UserError(f"size: {width} is no multiple of {scale}; this autoencoder makes a latent of so many pixels")
    if files.is_dir(out):
        other = [path for path in out.iterdir() if not _OURS.fullmatch(path.name) and not path.name.startswith(".")]
        if other:
            raise UserError(f"{out}: exists, and is no set of latents; choose another --out")
    if is_set(out) and _read_manifest(out).autoencoder.sha256 != about.sha256:
        raise UserError(f"{out}: was made with another autoencoder; choose another --out, or delete it")
    return about


def is_final(out: Path) -> bool:
    """Whether a directory holds a finished set of latents without its pictures, which stays as it is."""
    return is_set(out) and not _read_manifest(out).pictures


def encode(out: Path, about: Autoencoder, keep_pictures: bool, report: Callable[[int, int], None]) -> None:
    """Makes latents of the set in `out/pictures`; goes on where it was interrupted, with the same result.

    Args:
        out: the set's directory.
        about: the autoencoder.
        keep_pictures: whether the pictures stay, to measure samples against; else their records are removed.
        report: told how many are done, of how many.

    Raises:
        UserError: as `load`, or the pictures are damaged.
    """
    from jaxgan.data import records

    pictures = records.PictureSet(out / "pictures")
    encoder, decoder, params = about.open()
    side = pictures.shape[0] // decoder.scale

    @jax.jit
    def encoded(params: Any, images: jax.Array) -> jax.Array:
        found: Any = encoder.apply({"params": params}, images.astype(jnp.float32) / 127.5 - 1)
        return jnp.concatenate(autoencoder.moments(found), axis=-1).astype(jnp.float16)

    plan = {"pictures": pictures.identity, "autoencoder": about.sha256}
    if _read_plan(out) != plan:  # Of other pictures.
        for old in (out / "latents.json", *out.glob("latents-*.npy")):
            old.unlink(missing_ok=True)
        files.write_atomically(out / "plan.json", json.dumps(plan) + "\n")
    for index in range(-(-len(pictures) // _PART)):
        numbers = np.arange(index * _PART, min((index + 1) * _PART, len(pictures)))
        if not files.is_file(_part(out, index)):
            made = []
            for first in range(0, len(numbers), _TOGETHER):
                images = pictures.read(numbers[first : first + _TOGETHER])["image"]
                filled = np.concatenate([images, images[:1].repeat(_TOGETHER - len(images), axis=0)])
                made.append(np.asarray(encoded(params["encoder"], filled))[: len(images)])
                report(int(numbers[0]) + first + len(images), len(pictures))
            with files.replacing(_part(out, index)) as partial, partial.open("wb") as opened:
                np.save(opened, np.concatenate(made))
        report(int(numbers[-1]) + 1, len(pictures))
    manifest = _Manifest(1, about, (side, side, 2 * encoder.channels), len(pictures), _PART, keep_pictures)
    files.write_atomically(out / "latents.json", json.dumps(dataclasses.asdict(manifest), indent=2) + "\n")
    for name in () if keep_pictures else pictures.manifest.part_names:
        (out / "pictures" / name).unlink(missing_ok=True)


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


def _hash(path: Path) -> str:
    with files.in_one_line(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(path: Path, index: int) -> Path:
    return path / f"latents-{index:05}.npy"


def _damaged(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: cannot be read ({what}); delete it and make it anew: jaxgan data make ... --latents FILE"
    )


def _read_manifest(path: Path) -> _Manifest:
    try:
        return pydantic.TypeAdapter(_Manifest).validate_json((path / "latents.json").read_bytes())
    except (OSError, pydantic.ValidationError) as error:
        raise _damaged(path, first_line(error)) from None


def _read_plan(out: Path) -> Any:
    try:
        return json.loads((out / "plan.json").read_text())
    except (OSError, ValueError):
        return None
