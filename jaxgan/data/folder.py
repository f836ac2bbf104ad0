"""Folders of pictures as people have them: found, opened, brought to one shape."""

import dataclasses
import hashlib
import os
import warnings
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pydantic
from PIL import Image, ImageColor, ImageOps

from jaxgan.data import pictures
from jaxgan.support.errors import UserError

MODES = {"rgb": "RGB", "grey": "L", "rgba": "RGBA"}
"""Pillow's modes of 8 bits: a letter a channel."""
_OWN = (
    {"config.json", ".lock"},
    {"config.json", "checkpoints"},
    {"table.md", "sweep.png"},
    {"manifest.json", "files.txt"},
)
"""What is in every directory of a run (the first two), of a sweep, of a set."""


@pydantic.with_config(pydantic.ConfigDict(extra="forbid"))
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How pictures are brought to one shape."""

    size: pydantic.PositiveInt = 64
    """Width and height of the result, pixels."""
    fit: Literal["crop", "pad", "squash", "random"] = "crop"
    """What to do with those that are not square: cut out the middle; fill up with the background; squash; cut out a
    square somewhere, which depends on the file's name alone."""
    channels: Literal["rgb", "grey", "rgba"] = "rgb"
    """Colours; grey; or colours and transparency."""
    background: str = "white"
    """What shows through transparent parts, and pads: a colour's name, or #rrggbb."""
    labels: bool = False
    """Take the folder's sub-folders for classes; pictures outside of them are left out."""
    min_side: pydantic.NonNegativeInt = 0
    """Leave out pictures whose shorter side has fewer pixels."""
    max_aspect: Annotated[float, pydantic.Field(ge=1)] | None = None
    """Leave out pictures whose longer side is more than so many times the shorter."""


class Skipped(Exception):
    """A file that cannot be used; the message says why."""


def check_settings(settings: Settings) -> Settings:
    """Checks every field.

    Raises:
        UserError: names the first bad field.
    """
    try:
        pydantic.TypeAdapter(Settings).validate_python(dataclasses.asdict(settings))
        ImageColor.getrgb(settings.background)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{first['loc'][0]}: {first['msg']} (it is {first['input']!r})") from None
    except ValueError:
        raise UserError(f"background: {settings.background!r} is no colour; try white, black or #80c0ff") from None
    return settings


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        files: paths from the folder, sorted.
        unreadable: sub-folders that cannot be read, and why.
        left_out: number of directories left out: hidden ones, and those of runs, sweeps and sets.
    """

    files: list[str]
    unreadable: dict[str, str]
    left_out: int


def listing(folder: Path) -> Listing:
    """All files in a folder and its sub-folders; links are not followed to folders.

    Hidden files and directories are left out, and so are directories that jaxgan has made, or a run that lies in the
    folder would be trained on its own samples.

    Raises:
        UserError: it is no folder of pictures, or cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files, unreadable, left_out = [], {}, 0
    inner = [""]
    while inner:
        directory = inner.pop()
        try:
            with os.scandir(folder / directory) as entries:
                found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError as error:
            if not directory:
                raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
            unreadable[directory] = f"cannot be read: {error.strerror}"
            continue
        if any(marks <= found.keys() for marks in _OWN):
            if not directory:
                raise UserError(f"{folder}: is a run, a sweep or a set of jaxgan, where a folder of pictures is needed")
            left_out += 1
            continue
        for name, is_directory in found.items():
            path = f"{directory}/{name}" if directory else name
            if name.startswith(".") or name == "__MACOSX":
                left_out += is_directory
            elif is_directory:
                inner.append(path)
            else:
                files.append(path)
    return Listing(sorted(files), unreadable, left_out)


def said(left_out: int) -> str:
    """The directories left out, as the end of a sentence."""
    what = "1 directory is" if left_out == 1 else f"{left_out:,} directories are"
    return f"; {what} left out, being hidden or of runs, sweeps or sets" if left_out else ""


def classes(files: list[str]) -> list[str]:
    """Names of the sub-folders, sorted: class k is the k-th."""
    return sorted({file.split("/")[0] for file in files if "/" in file})


def convert(folder: Path, file: str, settings: Settings) -> np.ndarray:
    """Brings a file to the settings' shape.

    Returns:
        uint8 [size, size, channels].

    Raises:
        Skipped: it is no picture, is broken, or a filter leaves it out.
    """
    try:
        with warnings.catch_warnings():  # What a picture is taken for must not depend on the user's filters.
            warnings.simplefilter("ignore")
            return _convert(folder, file, settings)
    except Skipped:
        raise
    except UserError as error:
        raise Skipped(str(error).removeprefix(f"{folder / file}: ")) from None
    except MemoryError:
        raise Skipped("is too large for the memory that there is") from None
    except Exception as error:  # Pillow raises anything when a picture is odd.
        raise Skipped(f"cannot be converted: {error or type(error).__name__}") from None


def _convert(folder: Path, file: str, settings: Settings) -> np.ndarray:
    size = settings.size
    if not (folder / file).is_file():
        raise Skipped("is no file (a link that leads nowhere, or to a folder?)")
    image = pictures.open_picture(folder / file, least=2 * size)
    with Image.open(folder / file) as header:  # A JPEG may have been decoded at a fraction of its size.
        short, long = sorted(header.size)
    if short < settings.min_side:
        raise Skipped(f"the shorter side has {short} pixels, fewer than min_side {settings.min_side}")
    if settings.max_aspect is not None and long > settings.max_aspect * short:
        raise Skipped(f"{long / short:.1f} times as long as wide, more than max_aspect {settings.max_aspect:g}")
    image = in_mode(image, settings)
    square = (size, size)
    resample = Image.Resampling.LANCZOS
    if settings.fit == "squash":
        image = image.resize(square, resample, reducing_gap=3)
    elif settings.fit == "pad":
        colour = _background(settings, image.mode)
        image = ImageOps.pad(image, square, resample, color=colour)
    else:
        image = ImageOps.fit(
            image, square, resample, centering=_place(file) if settings.fit == "random" else (0.5, 0.5)
        )
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def in_mode(image: Image.Image, settings: Settings) -> Image.Image:
    """Brings a picture to 8 bits and the settings' channels, transparent parts on their background."""
    if image.mode in pictures.DEEP:
        image = Image.fromarray(np.round(pictures.deep_grey(image) * 255).astype(np.uint8))
    mode = MODES[settings.channels]
    if not pictures.has_alpha(image):
        return image.convert(mode)
    image = image.convert("RGBA")
    if settings.channels == "rgba":
        return image
    below = Image.new("RGBA", image.size, _background(settings, "RGBA"))
    return Image.alpha_composite(below, image).convert(mode)


def _background(settings: Settings, mode: str) -> tuple[int, ...] | int:
    if mode == "RGBA" and settings.channels == "rgba":
        return (*ImageColor.getrgb(settings.background)[:3], 0)
    return ImageColor.getcolor(settings.background, mode)


def _place(file: str) -> tuple[float, float]:
    """Where a random square lies, 0 to 1 along each axis, for ever the same for a name."""
    drawn = hashlib.sha256(os.fsencode(file)).digest()
    return drawn[0] / 255, drawn[1] / 255
