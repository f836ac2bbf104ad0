"""Sets of pictures: a folder converted once, as ArrayRecord files that are read at random access (see `making`).

manifest.json                            settings, number and shape of the pictures, classes, mean, hash, origin
pictures-1a2b3c4d-00000.arrayrecord      records of height x width x channels bytes
pictures-1a2b3c4d-labels.npy             int32, where there are classes
files.txt                                the file of each record, in order
skipped.txt                              the files left out, and why
duplicates.txt                           files whose pictures are the same
"""

import dataclasses
import hashlib
import math
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydantic
from array_record.python.array_record_data_source import ArrayRecordDataSource

from jaxgan.data import folder as folders
from jaxgan.support.errors import UserError, first_line

VERSION = 1
MAKING = ".making"
"""Directory in a set's, where its next one is made."""


class DamagedError(UserError):
    """Parts of a set are missing, or are not what they were."""


@pydantic.with_config(pydantic.ConfigDict(extra="forbid"))
@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a set holds.

    Attributes:
        version: of this format.
        source: the folder it was made from.
        listing: hash of that folder's files' names, sizes and times.
        settings: how pictures were brought to one shape.
        count: number of pictures.
        skipped: number of files left out.
        left_out: number of directories left out: hidden ones, and those of runs, sweeps and sets.
        duplicates: number of pictures that are the same as another.
        shape: of a picture: height, width, channels.
        classes: names of the classes; empty without labels.
        mean: of each channel, 0 to 255.
        std: standard deviation of each channel.
        parts: number of pictures in each file of records.
        sha256: of all pictures and labels.
        name: what the names of the files of records begin with.
        wrapper: a sub-folder that held all classes, and was none; "" if there was none.
        deep: the largest value of a picture of 16 bits; 0 if there were none.
    """

    version: int
    source: str
    listing: str
    settings: folders.Settings
    count: int
    skipped: int
    duplicates: int
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parts: tuple[int, ...]
    sha256: str
    left_out: int = 0
    name: str = "pictures"
    wrapper: str = ""
    deep: float = 0.0

    @property
    def part_names(self) -> list[str]:
        """Names of the files of records; one without pictures is not needed."""
        return [part_name(self.name, index) for index, count in enumerate(self.parts) if count]

    @property
    def labels_name(self) -> str:
        """Name of the file of labels."""
        return "labels.npy" if self.name == "pictures" else f"{self.name}-labels.npy"


class PictureSet:
    """A set on disk: anything from it by number, nothing kept in memory.

    Attributes:
        manifest: what it holds.
        labels: int32 [M], or None.
    """

    def __init__(self, path: Path, conditional: bool = False) -> None:
        """Opens it.

        Args:
            path: its directory.
            conditional: whether labels are wanted.

        Raises:
            UserError: it is damaged, or has no labels where they are wanted.
        """
        self.path, self.manifest = path, read_manifest(path)
        if conditional and not self.manifest.classes:
            raise UserError(
                f"{path}: has no labels; make it with --labels, of sub-folders, one a class, or of labels.csv"
            )
        names = self.manifest.part_names
        for name in [*names, self.manifest.labels_name] if conditional else names:
            if not (path / name).is_file():
                raise self._damaged(f"{name} is missing")
        self.labels = None
        try:
            self._records = ArrayRecordDataSource([str(path / name) for name in names])
            if conditional:
                self.labels = np.load(path / self.manifest.labels_name)
            count = len(self._records)
        except (OSError, ValueError, EOFError, RuntimeError) as error:
            raise self._damaged(f"cannot be read ({first_line(error)})") from None
        if count != self.manifest.count:
            raise self._damaged(f"has {count} records, but its manifest says {self.manifest.count}")
        if self.labels is not None and self.labels.shape != (count,):
            raise self._damaged(f"has labels of the shape {self.labels.shape}, not one a picture")

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(f"{self.path}: {what}; mend it with: {_command(self.path, self.manifest)}")

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a picture."""
        return self.manifest.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return 0 if self.labels is None else len(self.manifest.classes)

    @property
    def identity(self) -> str:
        """Hash of all pictures and labels."""
        return self.manifest.sha256

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Reads pictures, uint8 [n, H, W, C] as "image", and their labels, int32 [n] as "label"."""
        size = math.prod(self.shape)
        try:
            records = self._records.__getitems__([int(index) for index in indices])
        except (OSError, ValueError, RuntimeError) as error:
            raise self._damaged(f"cannot be read ({first_line(error)})") from None
        if any(len(record) != size for record in records):
            raise self._damaged("a record has not the length of a picture")
        images = np.frombuffer(b"".join(records), np.uint8).reshape(-1, *self.shape)
        return {"image": images} | ({} if self.labels is None else {"label": self.labels[indices]})

    def files(self) -> list[str]:
        """The file that each record comes from."""
        return (self.path / "files.txt").read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]

    def verify(self) -> None:
        """Reads everything.

        Raises:
            DamagedError: the pictures or labels are not those that were written.
        """
        found = (
            self.read(np.arange(begin, min(begin + 100, len(self))))["image"] for begin in range(0, len(self), 100)
        )
        if (
            hash_of((hashlib.sha256(image).hexdigest() for block in found for image in block), self.labels)
            != self.identity
        ):
            raise self._damaged("the pictures are not those that were written")


def is_set(path: Path) -> bool:
    """Whether a directory holds a finished set."""
    return (path / "manifest.json").is_file()


def read_manifest(path: Path) -> Manifest:
    """Reads a set's manifest.

    Raises:
        UserError: there is none, or it is damaged.
    """
    file = path / "manifest.json"
    if not file.is_file():
        raise UserError(f"{path}: no set of pictures (it has no manifest.json); make one: jaxgan data make")
    again = "the same `jaxgan data make` as before makes it anew"
    try:
        manifest = pydantic.TypeAdapter(Manifest).validate_json(file.read_bytes())
    except pydantic.ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"]))
        raise DamagedError(f"{file}: is damaged ({where + ': ' if where else ''}{what['msg']}); {again}") from None
    if manifest.version != VERSION:
        raise UserError(f"{file}: version {manifest.version}, this program reads {VERSION}; choose another --out")
    if not len(manifest.mean) == len(manifest.std) == manifest.shape[2] or sum(manifest.parts) != manifest.count:
        raise DamagedError(f"{file}: is damaged (its numbers do not agree); {again}")
    return manifest


def part_name(name: str, index: int) -> str:
    """Name of a file of records."""
    return f"{name}-{index:05}.arrayrecord"


def hash_of(hashes: Iterable[str], labels: np.ndarray | None) -> str:
    """The hash of a set, of those of its pictures in order and its labels."""
    sha = hashlib.sha256()
    for value in hashes:
        sha.update(value.encode())
    sha.update(b"" if labels is None else labels.tobytes())
    return sha.hexdigest()


def printable(path: Path | str) -> str:
    """A path in one line of text that is UTF-8, whatever bytes it is of."""
    return os.fsencode(path).decode(errors="backslashreplace").replace("\n", "?")


def _command(path: Path, manifest: Manifest) -> str:
    """The command that makes a set."""
    words = ["jaxgan", "data", "make", manifest.source, "--out", printable(path)]
    for field in dataclasses.fields(manifest.settings):
        value = getattr(manifest.settings, field.name)
        if value != field.default or field.name == "size":
            values = value if isinstance(value, tuple) else [] if value is True else [value]
            words += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)
