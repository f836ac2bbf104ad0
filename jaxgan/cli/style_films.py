"""`jaxgan style` with a film: every frame from the one before, moved along the optical flow."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxgan.cli.style import STARTS, Style
from jaxgan.style import recipe
from jaxgan.support.errors import UserError
from jaxgan.support.files import write_atomically

if TYPE_CHECKING:
    from rich.console import Console


def whole(command: Style, console: "Console", stop: Sequence[int]) -> str:
    """Makes a film; says what has come of it.

    Finished frames are in OUT.frames until the film is written, so that a command that was stopped, or killed, goes on
    with the next.

    Raises:
        UserError: the film cannot be read, or written, or OUT.frames is of another command.
        StoppedError: a signal came.
    """
    import numpy as np

    from jaxgan.style import film, flow, pictures, saved

    content, *styles = command.pictures
    out = command.out
    assert out is not None
    pictures.check_writable(out, command.force, film.SUFFIXES)
    flow.opencv()
    for option, usual in (("depth", 8), ("trace", False), ("save_every", 0)):
        if getattr(command, option) != usual:
            raise UserError(f"--{option.replace('_', '-')}: is for pictures; {out} is a film")
    source = film.open_film(content)
    size = _size(command, source.size)
    if min(size) < pictures.LEAST:
        raise UserError(f"{content}: {size[1]} x {size[0]} pixels, where at least {pictures.LEAST} each are needed")
    network = command.load_network(console)
    given = command.read_styles(styles, max(size))
    folder = out.with_suffix(".frames")
    files = [content, *command.mask, *([] if command.init in STARTS else [Path(command.init)])]
    origin = saved.digest(
        command.settings() | {"files": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]},
        [style.over_white() for style in given],
    )
    _claim(folder, origin, command.force)
    count = len(source.ends)
    before = None
    for index, frame in enumerate(film.frames(source)):
        path = folder / f"{index:05}.png"
        image = pictures.fit(frame.astype(np.float32) / 255, size)
        shown = np.round(image * 255).astype(np.uint8)
        own = dataclasses.replace(command, steps=command.steps or (recipe.FRAME_STEPS if index else recipe.STEPS))
        if index:
            # The styles' colours are matched to the first frame: to each its own, they would flicker.
            own = dataclasses.replace(own, preserve_color=_later(command), scales=1)
        if not index or not path.exists():
            job = own.job(pictures.Picture(image), given)
            if not index:
                given = [pictures.Picture(style) for style in job.styles]
            if before is not None:
                there, back = flow.between(shown, before[0]), flow.between(before[0], shown)
                moved, trust = np.clip(flow.moved(before[1], there), 0, 1), flow.trust(there, back)
                start = trust[..., None] * moved + (1 - trust[..., None]) * image
                job = dataclasses.replace(job, start=start, temporal=(moved, trust))
            if not path.exists():
                console.print(f"frame {index + 1} of {count}")
                own.run(network, job, console, path, stop)
        before = shown, pictures.read(path).pixels
    film.write(out, _written(folder, count), source._replace(size=size))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return f"{count} frames in {out}"


def _size(command: Style, own: tuple[int, int]) -> tuple[int, int]:
    """Height and width to work at: the film's own, or even numbers, as MP4 likes them."""
    if command.size in (None, "original"):
        return own
    scale = command.size / max(own)
    height, width = (2 * round(side * scale / 2) for side in own)
    return height, width


def _later(command: Style):
    return "no" if command.preserve_color == "match" else command.preserve_color


def _claim(folder: Path, origin: str, force: bool) -> None:
    """Makes the folder for frames, or finds the one that the same command left."""
    mark = folder / "origin"
    if folder.exists() and not (mark.is_file() and mark.read_text() == origin):
        if not force or not mark.is_file():
            raise UserError(f"{folder}: is of another command, with another film or settings; delete it to begin anew")
        for path in folder.iterdir():
            path.unlink()
    write_atomically(mark, origin)


def _written(folder: Path, count: int):
    import numpy as np

    from jaxgan.style import pictures

    for index in range(count):
        pixels = pictures.read(folder / f"{index:05}.png").pixels
        yield np.round(pixels * 255).astype(np.uint8)
