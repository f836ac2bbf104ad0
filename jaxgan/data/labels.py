"""The classes of a folder's or an archive's pictures: of dataset.json, of labels.csv, or of sub-folders."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

from jaxgan.data import archives
from jaxgan.support.errors import UserError

JSON, CSV = "dataset.json", "labels.csv"


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What class each file is of.

    Attributes:
        of: the class's name, by file; files without a class are not in it.
        source: the file that says so; "" for sub-folders.
        wrapper: the one sub-folder, or several nested ones, that all others lie in; "" if there is none.
    """

    of: dict[str, str]
    source: str = ""
    wrapper: str = ""

    @property
    def without(self) -> str:
        """Why a file has no class."""
        if self.source:
            return f"has no label in {self.source}"
        return "lies outside of the sub-folders that are the classes"


def read(folder: Path, files: list[str], columns: tuple[str, ...], archive: archives.Archive | None) -> Labelled:
    """Finds the classes of files.

    Args:
        folder: where they lie.
        files: their paths from there.
        columns: of labels.csv, those that count; all if there are none.
        archive: the folder, where that is an archive.

    Raises:
        UserError: dataset.json or labels.csv cannot be understood, or has not those columns.
    """
    for name, reader in ((JSON, _of_json), (CSV, _of_csv)):
        if name in files:
            path = folder / name
            try:
                text = (archive.read(name) if archive else path.read_bytes()).decode("utf-8-sig")
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise UserError(f"{path}: is not UTF-8") from None
            known = set(files)
            found = reader(path, text, columns, known)
            if found is not None:
                return Labelled({file: label for file, label in found.items() if file in known}, name)
    if columns:
        raise UserError(f"columns: {folder} has no {CSV}")
    return _of_folders(files)


def ordered(names: set[str]) -> list[str]:
    """Names of classes in order: numbers by their value, others as text."""
    return sorted(names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))


def _of_json(path: Path, text: str, columns: tuple[str, ...], known: set[str]) -> dict[str, str] | None:
    """Labels as StyleGAN's data sets have them, {"labels": [[file, class or vector], ...]}; None where it has none."""
    try:
        pairs = json.loads(text)["labels"]
        if pairs is None:
            return None
        lines = [(str(file).removeprefix("./"), _named(label)) for file, label in pairs]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path}: is not {{"labels": [["FILE", 0], ...]}} ({type(error).__name__}: {error}); mend it, or leave out '
            "--labels"
        ) from None
    if columns:
        raise UserError(f"columns: are of {CSV}, and the labels are those of {path}; leave them out")
    return _agreeing(path, lines)


def _agreeing(path: Path, lines: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file, label in lines:
        if found.setdefault(file, label) != label:
            raise UserError(f"{path}: {file} has two labels, {found[file]} and {label}; leave one of them")
    return found


def _named(label: Any) -> str:
    """A class's name, of its number; of a vector with a single 1 the place of that, of others all of their numbers."""
    if not isinstance(label, list):
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise TypeError(f"{label!r} is no label")
        return str(label)
    if sorted(label) == [0] * (len(label) - 1) + [1]:
        return str(label.index(1))
    return " ".join(f"{number:g}" for number in label)


def _of_csv(path: Path, text: str, columns: tuple[str, ...], known: set[str]) -> dict[str, str]:
    """Labels of lines FILE,LABEL,...; the first line names the columns."""
    try:
        header, *lines = csv.reader(io.StringIO(text, newline=None)) if text.strip() else [[]]
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as CSV: {error}") from None
    header = [name.strip() for name in header]
    if len(header) < 2 or header[0].removeprefix("./") in known:
        separated = (
            "; its values must be separated by commas" if len(header) == 1 and re.search(r"[;\t]", header[0]) else ""
        )
        raise UserError(f"{path}: needs a first line that names its columns, such as file,label{separated}")
    if unknown := [name for name in columns if name not in header[1:]]:
        raise UserError(f"columns: {path} has no column {unknown[0]!r}; it has {', '.join(header[1:])}")
    places = [header.index(name, 1) for name in columns or header[1:]]
    found: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 2):
        if len(line) not in (0, len(header)):
            raise UserError(f"{path}: line {number} has {len(line)} values, where the first line has {len(header)}")
        if line and all(line[place].strip() for place in places):
            label = " ".join(line[place].strip() for place in places)
            found.append((line[0].strip().removeprefix("./"), label))
    return _agreeing(path, found)


def _of_folders(files: list[str]) -> Labelled:
    """The sub-folders' names; where one holds all of the others, those in it."""
    wrapper = ""
    while True:
        inner = [file.removeprefix(wrapper) for file in files if file.startswith(wrapper)]
        tops = {file.split("/")[0] for file in inner if "/" in file}
        if len(tops) != 1 or not any(file.count("/") > 1 for file in inner):
            break
        wrapper += f"{tops.pop()}/"
    of = {wrapper + file: file.split("/")[0] for file in inner if "/" in file}
    return Labelled(of, wrapper=wrapper.rstrip("/"))
