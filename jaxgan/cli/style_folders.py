"""`jaxgan style` with folders: every content in every style, each a picture of its own."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxgan.cli.style import Style
from jaxgan.support.errors import NonFiniteError, UserError
from jaxgan.support.files import in_one_line

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

_TILE = 256  # Pixels of a picture on a sheet, along its longer side.


@dataclasses.dataclass(frozen=True)
class _Task:
    """One picture to make."""

    content: Path
    styles: tuple[Path, ...]
    out: Path


def every(command: Style, console: "Console", stop: Sequence[int]) -> str:
    """Makes every picture, whatever becomes of the others, and the sheet; says what has come of it.

    Raises:
        UserError: there is nothing to make, or nothing could be made.
        StoppedError: a signal came.
    """
    from jaxgan.style import pictures

    tasks, skipped = _tasks(command), list[str]()
    if command.sheet is not None:
        pictures.check_writable(command.sheet, command.force)
    network = command.load_network(console)
    sizes = _working_sizes(command, {task.content for task in tasks})
    done: list[str] = []
    there = [task.out.name for task in tasks if task.out.exists() and not command.force]
    # Where a command was stopped it goes on, and learns there what it had finished.
    for task in sorted(tasks, key=lambda task: not task.out.with_suffix(".state").exists()):
        if task.out.name in (*done, *there):
            continue
        shown = f"{task.content.name} in the style of {', '.join(style.name for style in task.styles)}"
        console.print(f"{len(done) + len(there) + len(skipped) + 1} of {len(tasks)}: {shown}", soft_wrap=True)
        try:
            pictures.check_writable(task.out, True)
            pictures.check_depth(task.out, command.depth)
            size = sizes.get(task.content)
            job = command.job(*command.read(task.content, *task.styles, console=console, size=size), size)
            if job.alpha is not None:
                pictures.check_alpha(task.out, task.content)
            own = dataclasses.replace(command, pictures=(task.content, *task.styles))
            done += own.run(network, job, console, task.out, stop, done)
        except (UserError, NonFiniteError) as error:
            console.print(f"left out: {error}", soft_wrap=True)
            skipped.append(str(error))
            continue
        done.append(task.out.name)
    if len(skipped) == len(tasks):
        raise UserError(f"{command.pictures[0]}: nothing could be made: {skipped[0]}")
    if command.sheet is not None:
        pictures.write(command.sheet, _sheet(tasks), settings=command.settings())
    before = f" ({len(there)} were there before; --force makes them again)" if there else ""
    return "".join(
        [f"left out: {line}\n" for line in skipped] + [f"{len(done) + len(there)} pictures in {command.out}{before}"]
    )


def _tasks(command: Style) -> list[_Task]:
    """What there is to make, in order.

    Raises:
        UserError: a folder holds no pictures, or the results have no place.
    """
    from jaxgan.style import pictures

    content, *styles = command.pictures
    out = command.out
    assert out is not None
    if len(styles) > 1 and any(style.is_dir() for style in styles):
        raise UserError("a folder of styles stands alone: every picture in it is a style for itself")
    if any(folder.is_dir() and out.resolve() == folder.resolve() for folder in command.pictures):
        raise UserError(f"--out {out}: holds the pictures themselves; name another folder")
    groups = [(style,) for style in _listed(styles[0])] if styles[0].is_dir() else [tuple(styles)]
    contents = _listed(content)
    if out.suffix.lower() in pictures.SUFFIXES and not out.is_dir():
        raise UserError(f"--out {out}: a folder is needed, for every picture; --sheet {out} makes one picture of all")
    with in_one_line(out, "written"):
        out.mkdir(parents=True, exist_ok=True)
    tasks, taken = [], set[str]()
    for path, group in itertools.product(contents, groups):
        ending = path.suffix if path.suffix.lower() in pictures.SUFFIXES else ".png"
        if command.depth == 16 and ending.lower() not in pictures.DEEP_SUFFIXES:
            ending = ".png"
        style = f".{group[0].stem}" if styles[0].is_dir() else ""
        name = f"{path.stem}{style}{ending}"
        name = f"{path.name}{style}{ending}" if name in taken else name
        taken.add(name)
        tasks.append(_Task(path, group, out / name))
    return tasks


def _listed(path: Path) -> list[Path]:
    from jaxgan.data.pictures import is_picture

    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if is_picture(file.name) and not file.name.startswith("."))
    if not found:
        raise UserError(f"{path}: no pictures in this folder")
    return found


def _working_sizes(command: Style, contents: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Height and width that each content is worked on at: a few sizes for all, so that they share programs.

    A program is compiled for a size. Sides are rounded up to a multiple of about an eighth of the longer one, and the
    content is mirrored into what that adds.
    """
    from jaxgan.data.pictures import open_picture

    own: dict[Path, tuple[int, int]] = {}
    for path in contents:
        try:
            width, height = open_picture(path).size
        except UserError:
            continue  # It will be left out, or is of a kind that is read otherwise.
        side = command.longer_side()
        scale = 1.0 if side is None else side / max(width, height)
        own[path] = round(height * scale), round(width * scale)

    def rounded(shape: tuple[int, int]) -> tuple[int, int]:
        unit = max(16, 2 ** int(math.log2(max(shape) / 8)))
        return -(-shape[0] // unit) * unit, -(-shape[1] // unit) * unit

    shared = {path: rounded(shape) for path, shape in own.items()}
    return shared if len({*shared.values()}) < len({*own.values()}) else {}


def _sheet(tasks: Sequence[_Task]) -> "np.ndarray":
    """Contents down the side, styles along the top, on white."""
    import numpy as np

    from jaxgan.style import pictures

    def tile(path: Path) -> np.ndarray:
        whole = np.ones((_TILE, _TILE, 3), np.float32)
        try:
            image = pictures.read(path, _TILE).over_white()
        except UserError:
            return whole
        top, left = ((_TILE - side) // 2 for side in image.shape[:2])
        whole[top : top + image.shape[0], left : left + image.shape[1]] = image
        return whole

    contents, groups = ([*dict.fromkeys(parts)] for parts in zip(*((t.content, t.styles) for t in tasks), strict=True))
    results = {(task.content, task.styles): task.out for task in tasks}
    rows = [np.concatenate([np.ones((_TILE, _TILE, 3), np.float32), *(tile(group[0]) for group in groups)], axis=1)]
    for content in contents:
        row = [tile(content), *(tile(results[content, group]) for group in groups)]
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)
