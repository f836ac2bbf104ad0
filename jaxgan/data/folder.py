"""Folders and archives of pictures as people have them: found, opened, brought to one shape."""

import contextlib
import dataclasses
import hashlib
import io
import math
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pydantic
import tyro
from PIL import Image, ImageColor, ImageOps

from jaxgan.data import archives, pictures
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

    size: Annotated[pydantic.PositiveInt | str, tyro.conf.arg(metavar="SIDE|WIDTHxHEIGHT")] = 64
    """Width and height of the result, pixels. Networks make squares: pictures of 96x64 are kept as squares of about as
    many pixels, and what a generator makes of them is put right again by sample, interpolate and project."""
    fit: Literal["crop", "pad", "squash", "random"] = "crop"
    """What to do with those of another shape: cut out the middle; fill up with the background; squash; cut out a part
    somewhere, which depends on the file's name alone."""
    channels: Literal["rgb", "grey", "rgba"] = "rgb"
    """Colours; grey; or colours and transparency."""
    background: str = "white"
    """What shows through transparent parts, and pads: a colour's name, or #rrggbb."""
    labels: bool = False
    """Keep classes: of dataset.json (StyleGAN's) or labels.csv (file, label, ...) where the folder has one, else of its
    sub-folders. Where a picture has several labels, each combination is a class. Pictures without are left out."""
    columns: tuple[str, ...] = ()
    """Of labels.csv, the columns that count, by the names in its first line; all but the file's if not given."""
    only: tuple[str, ...] = ()
    """Only pictures of these classes; of one class, without --labels, a set of its own."""
    limit: pydantic.NonNegativeInt = 0
    """Only so many of the files, evenly spread over them; 0 for all."""
    range: Annotated[str, tyro.conf.arg(metavar="LOW:HIGH")] = ""
    """Of pictures of more than 8 bits, and of arrays (.npy): the values that become black and white, such as 0:4095 for
    12 bits kept in 16; those of their kind of numbers, or 0:1 of floating point, if not given."""
    min_side: pydantic.NonNegativeInt = 0
    """Leave out pictures whose shorter side has fewer pixels."""
    max_aspect: Annotated[float, pydantic.Field(ge=1)] | None = None
    """Leave out pictures whose longer side is more than so many times the shorter."""

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height that a picture should have."""
        if isinstance(self.size, int):
            return self.size, self.size
        width, height = map(int, self.size.split("x"))
        return width, height

    @property
    def side(self) -> int:
        """Side of the square that a picture is kept as: one that networks can have, of about as many pixels."""
        width, height = self.shown
        if width == height:
            return width
        possible = (base << doublings for base in (4, 5, 6, 7) for doublings in range(1, 12))
        return min(possible, key=lambda side: abs(side - math.sqrt(width * height)))

    @property
    def span(self) -> tuple[float, float] | None:
        """The values of `range`; None if not given."""
        return (float(self.range.partition(":")[0]), float(self.range.partition(":")[2])) if self.range else None


class Skipped(Exception):
    """A file that cannot be used; the message says why."""


def check_settings(settings: Settings) -> Settings:
    """Checks every field.

    Raises:
        UserError: names the first bad field.
    """
    try:
        pydantic.TypeAdapter(Settings).validate_python(dataclasses.asdict(settings))
        if isinstance(settings.size, str) and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", settings.size):
            raise UserError(f"size: {settings.size!r} is no side and no WIDTHxHEIGHT, such as 96x64")
        _check_span(settings)
        ImageColor.getrgb(settings.background)
    except UserError:
        raise
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{first['loc'][0]}: {first['msg']} (it is {first['input']!r})") from None
    except ValueError:
        raise UserError(f"background: {settings.background!r} is no colour; try white, black or #80c0ff") from None
    return settings


def _check_span(settings: Settings) -> None:
    try:
        span = settings.span
        if span and not -math.inf < span[0] < span[1] < math.inf:
            raise ValueError
    except ValueError:
        raise UserError(f"range: {settings.range!r} is not LOW:HIGH, numbers of which the second is larger") from None


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder or an archive holds.

    Attributes:
        files: paths from the folder, sorted; of a tar archive in its order.
        unreadable: sub-folders, or members of an archive, that cannot be read, and why.
        left_out: number of directories left out: hidden ones, and those of runs, sweeps and sets.
    """

    files: list[str]
    unreadable: dict[str, str]
    left_out: int


def listing(folder: Path) -> Listing:
    """All files in a folder and its sub-folders, or in an archive; links are not followed to folders.

    Hidden files and directories are left out, and so are directories that jaxgan has made, or a run that lies in the
    folder would be trained on its own samples.

    Raises:
        UserError: it is no folder of pictures, or cannot be read.
    """
    if folder.is_file() and archives.is_archive(folder):
        with archives.opened(folder) as archive:
            return Listing(archive.files, archive.unreadable, archive.left_out)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder or archive ({', '.join(archives.ENDINGS[:4])} ...)")
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


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[archives.Archive | None]:
    """The archive that pictures lie in, open; None of a folder."""
    if folder.is_dir() or not archives.is_archive(folder):
        yield None
    else:
        with archives.opened(folder) as archive:
            yield archive


def convert(
    folder: Path,
    file: str,
    settings: Settings,
    archive: archives.Archive | None = None,
    deep: list[float] | None = None,
) -> np.ndarray:
    """Brings a file to the settings' shape.

    Args:
        folder: where it lies.
        file: its path from there.
        settings: the shape.
        archive: the folder, where that is an archive.
        deep: gets the largest value of a picture of 16 bits.

    Returns:
        uint8 [side, side, channels].

    Raises:
        Skipped: it is no picture, is broken, or a filter leaves it out.
    """
    try:
        with warnings.catch_warnings():  # What a picture is taken for must not depend on the user's filters.
            warnings.simplefilter("ignore")
            return _convert(folder, file, settings, archive, [] if deep is None else deep)
    except Skipped:
        raise
    except UserError as error:
        raise Skipped(str(error).removeprefix(f"{folder / file}: ")) from None
    except MemoryError:
        raise Skipped("is too large for the memory that there is") from None
    except Exception as error:  # Pillow raises anything when a picture is odd.
        raise Skipped(f"cannot be converted: {error or type(error).__name__}") from None


def _convert(
    folder: Path, file: str, settings: Settings, archive: archives.Archive | None, deep: list[float]
) -> np.ndarray:
    path, content = folder / file, None
    if archive:
        content = archive.read(file)
    elif not path.is_file():
        raise Skipped("is no file (a link that leads nowhere, or to a folder?)")
    if path.suffix.lower() == ".npy":
        values = pictures.open_array(path, content)
        image = pictures.as_picture(values, settings.span)
        short, long = sorted(values.shape[:2])
    else:
        least = 2 * max(settings.shown)
        image = pictures.open_picture(path, least, content)
        with Image.open(path if content is None else io.BytesIO(content)) as header:
            short, long = sorted(header.size)  # A JPEG may have been decoded at a fraction of its size.
        values = np.asarray(image) if image.mode in pictures.DEEP else None
    if values is not None and values.dtype == np.uint16:
        deep.append(float(values.max()))
    if short < settings.min_side:
        raise Skipped(f"the shorter side has {short} pixels, fewer than min_side {settings.min_side}")
    if settings.max_aspect is not None and long > settings.max_aspect * short:
        raise Skipped(f"{long / short:.1f} times as long as wide, more than max_aspect {settings.max_aspect:g}")
    image = in_mode(image, settings)
    shown, square = settings.shown, (settings.side, settings.side)
    resample = Image.Resampling.LANCZOS
    if settings.fit == "squash":
        image = image.resize(square, resample, reducing_gap=3)
    elif settings.fit == "pad":
        colour = _background(settings, image.mode)
        image = ImageOps.pad(image, shown, resample, color=colour)
    else:
        image = ImageOps.fit(image, shown, resample, centering=_place(file) if settings.fit == "random" else (0.5, 0.5))
    if image.size != square:
        image = image.resize(square, resample)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def in_mode(image: Image.Image, settings: Settings) -> Image.Image:
    """Brings a picture to 8 bits and the settings' channels, transparent parts on their background."""
    if image.mode in pictures.DEEP and settings.range:
        image = pictures.as_picture(np.asarray(image), settings.span)
    elif image.mode in pictures.DEEP:
        pictures.check_finite(np.asarray(image))
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
