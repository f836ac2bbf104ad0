"""Pictures: grids, strips, animations, and files of them."""

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxgan.support import files
from jaxgan.support.errors import UserError

ANIMATIONS = (".gif", ".webp", ".mp4")
PICTURES = (".png", ".jpg", ".jpeg")
SCREEN = (1920, 1080)
"""Width and height, pixels, that a sheet fits."""
GAP = 2
_MARK = "Software", "jaxgan"  # In every .png.


def check_suffix(path: Path, allowed: tuple[str, ...]) -> None:
    """Raises UserError for a file whose ending is none of these."""
    if path.suffix not in allowed:
        raise UserError(f"{path}: unknown ending {path.suffix or '(none)'}; one of {', '.join(allowed)}")


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Brings pixels from [-1, 1] (clipped) to 0..255, rounded to the nearest."""
    return np.clip(np.round((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(images: np.ndarray, columns: int, gap: int = GAP, least_width: int = 512) -> np.ndarray:
    """Lays pictures out in rows on black, enlarged by a whole factor if they are tiny.

    Args:
        images: uint8 [N, H, W, C].
        columns: pictures in a row.
        gap: pixels between pictures, before enlarging.
        least_width: the whole is enlarged as long as its width stays within about this.

    Returns:
        uint8 [height, width, C].
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        y, x = gap + row * (height + gap), gap + column * (width + gap)
        sheet[y : y + height, x : x + width] = image
    scale = max(1, round(least_width / sheet.shape[1]))
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def sheet(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Lays pictures out so that the sheet fits a screen of 1920 x 1080 pixels.

    As a square, or in columns that are given, enlarged by a whole factor if they are tiny. Where that would not fit, in
    rows that fill the screen, unless columns are given, and made smaller if they must be.

    Args:
        images: uint8 [N, H, W, C].
        columns: pictures in a row; as many as rows if None.

    Returns:
        uint8 [height, width, C].
    """
    count, height, width, _ = images.shape
    best, room = layout(count, height, width, columns)
    if room is None:
        rows = -(-count // best)
        return grid(images, best, least_width=min(512, 512 * SCREEN[1] // (rows * (height + GAP) + GAP)))
    share = min(1.0, room / width)
    size = max(1, int(width * share)), max(1, int(height * share))
    gap = GAP if room >= 4 * GAP else 0
    return grid(np.stack([resized(image, size) for image in images]), best, gap, least_width=1)


def layout(count: int, height: int, width: int, columns: int | None = None) -> tuple[int, float | None]:
    """How many columns a `sheet` has, and how wide its pictures may be; None where they fit as they are."""
    wide, high = SCREEN
    square = columns or max(1, round(count**0.5))
    if square * (width + GAP) + GAP <= wide and -(-count // square) * (height + GAP) + GAP <= high:
        return square, None
    # Of all numbers of columns, that with which pictures are largest.
    shares = {
        number: min((wide - GAP) / number - GAP, ((high - GAP) / -(-count // number) - GAP) * width / height)
        for number in ([columns] if columns else range(1, count + 1))
    }
    best = max(shares, key=lambda number: shares[number])
    return best, shares[best]


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture uint8 [H, W, C] at another width and height, as uint8 [height, width, C]."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    made = np.asarray(pillow(image).resize(size, Image.Resampling.LANCZOS))
    return made if made.ndim == 3 else made[..., None]


def pillow(image: np.ndarray) -> Image.Image:
    """A picture uint8 [H, W, C] with C = 1, 3 or 4 as Pillow has it."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save(path: Path, image: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, C] with C = 1, 3 or 4; the ending decides the format.

    Raises:
        UserError: the file cannot be written, or is a JPEG of a picture with transparency.
    """
    if image.shape[-1] == 4 and path.suffix in (".jpg", ".jpeg"):
        raise UserError(f"{path}: cannot be written: JPEG has no transparency, and this has; name it .png")
    options: dict[str, Any] = {}
    if path.suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text(*_MARK)
    with files.replacing(path) as partial:
        pillow(image).save(partial, **options)


def check_ours(paths: Iterable[Path]) -> None:
    """Raises UserError where one of these files is there already, and is no .png that `save` wrote."""
    for path in filter(files.is_file, paths):
        mark = None
        with contextlib.suppress(OSError, SyntaxError, ValueError), Image.open(path) as file:
            mark = file.info.get(_MARK[0])
        if mark != _MARK[1]:
            raise UserError(f"{path}: is there already, and nothing that jaxgan made; choose another --out")


def load(path: Path) -> np.ndarray:
    """Reads back a picture that `save` wrote, uint8 [H, W, C]."""
    with Image.open(path) as file:
        picture = np.asarray(file)
    return picture[..., None] if picture.ndim == 2 else picture


def save_animation(path: Path, frames: Sequence[np.ndarray], frames_per_second: int = 20) -> None:
    """Writes an animation of pictures uint8 [H, W, C], GIF, WebP or MP4 by the ending, that repeats for ever.

    Raises:
        UserError: the file cannot be written, or MP4 is asked for without the extra that has an encoder.
    """
    with files.replacing(path) as partial:
        if path.suffix == ".mp4":
            _save_mp4(path, partial, frames, frames_per_second)
            return
        pictures = [pillow(frame) for frame in frames]
        duration = 1000 // frames_per_second
        pictures[0].save(partial, save_all=True, append_images=pictures[1:], duration=duration, loop=0)


def _save_mp4(path: Path, partial: Path, frames: Sequence[np.ndarray], frames_per_second: int) -> None:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(f"{path}: MP4 needs an encoder: pip install 'jaxgan[video]', or write a .gif") from None
    height, width, _ = frames[0].shape
    writer = imageio_ffmpeg.write_frames(str(partial), (width, height), fps=frames_per_second, macro_block_size=2)
    with warnings.catch_warnings():
        # The encoder is another program; JAX warns of forks, which matters to a child that goes on with Python.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(np.broadcast_to(frame[..., :3], (height, width, 3))))
    writer.close()
