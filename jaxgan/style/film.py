"""Films in and out of files: GIF, WebP and APNG by Pillow, MP4 and its like by ffmpeg."""

import contextlib
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxgan.support import files
from jaxgan.support.errors import UserError, first_line

SUFFIXES = (".gif", ".webp", ".mp4")
"""What can be written."""
_VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
_COPIED = ("aac", "mp3", "ac3", "alac")  # Sound that an MP4 holds as it is.


class Film(NamedTuple):
    """What a film is, besides its frames.

    Attributes:
        path: the file.
        size: height and width.
        ends: when each frame ends, in seconds from the beginning.
        sound: the kind of sound that it has, or "".
    """

    path: Path
    size: tuple[int, int]
    ends: tuple[Fraction, ...]
    sound: str = ""


def is_video(path: Path) -> bool:
    """Whether a file is one that only ffmpeg reads."""
    return path.suffix.lower() in _VIDEOS


def is_film(path: Path) -> bool:
    """Whether a file holds more than one picture to be seen one after another."""
    if is_video(path):
        return True
    if path.suffix.lower() not in (".gif", ".webp", ".png", ".apng"):
        return False
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # Whoever reads it says what is wrong.
        return False


def open_film(path: Path) -> Film:
    """Reads what a film is.

    Raises:
        UserError: it cannot be read, or ffmpeg is not installed.
    """
    if path.suffix.lower() not in _VIDEOS:
        return _open_animation(path)
    ffmpeg = _ffmpeg(path)
    with _readable(path), _undisturbed():
        count = ffmpeg.count_frames_and_secs(str(path))[0]
        reader = ffmpeg.read_frames(str(path))
        about = next(reader)
        reader.close()
    rate = exact_rate(about["fps"])
    width, height = about["size"]
    sound = str(about.get("audio_codec", "")).split(" ")[0].strip(",")
    return Film(path, (height, width), tuple(Fraction(n) / rate for n in range(1, count + 1)), sound)


def frames(film: Film) -> Iterator[np.ndarray]:
    """The frames, one after another, uint8 [H, W, 3], transparency over white.

    Raises:
        UserError: the film is broken.
    """
    if film.path.suffix.lower() not in _VIDEOS:
        yield from _animation_frames(film)
        return
    with _readable(film.path):
        reader = _ffmpeg(film.path).read_frames(str(film.path))
        try:
            with _undisturbed():
                next(reader)
            # What ffmpeg counts and what it gives may differ by the last frame.
            for data in itertools.islice(reader, len(film.ends)):
                yield np.frombuffer(data, np.uint8).reshape(*film.size, 3)
        finally:
            with _undisturbed():
                reader.close()


def write(path: Path, pictures: Iterable[np.ndarray], film: Film) -> None:
    """Writes frames with the times, and the sound where the format has any, of a film.

    A GIF holds hundredths of a second and WebP thousandths: ends are rounded, so nothing adds up. An MP4 has frames at
    a constant rate; those of a GIF or WebP last for as many of them as they need.

    Args:
        path: .gif, .webp or .mp4.
        pictures: uint8 [H, W, 3], as many as the film has frames.
        film: what it is made of.

    Raises:
        UserError: it cannot be written.
    """
    with files.replacing(path) as partial:
        if path.suffix.lower() == ".mp4":
            _write_mp4(partial, pictures, film)
            return
        unit = 10 if path.suffix.lower() == ".gif" else 1
        first, *rest = [Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures]
        keywords: dict[str, Any] = {"quality": 90} if unit == 1 else {}
        durations = milliseconds(film.ends, unit)
        first.save(partial, save_all=True, append_images=rest, duration=durations, loop=0, **keywords)


def exact_rate(rate: float) -> Fraction:
    """Frames a second as the standards have them, of a rounded number: 29.97 is 30000/1001."""
    for base in (24, 30, 48, 60, 120):
        if abs(rate - base * 1000 / 1001) < 0.006:
            return Fraction(base * 1000, 1001)
    return Fraction(rate).limit_denominator(1000)


def milliseconds(ends: Iterable[Fraction], unit: int) -> list[int]:
    """How long each frame lasts, in multiples of some milliseconds, so that every end is as near as may be."""
    whole = [0, *(round(end * 1000 / unit) * unit for end in ends)]
    return [max(unit, end - begin) for begin, end in itertools.pairwise(whole)]


def _open_animation(path: Path) -> Film:
    with _readable(path), Image.open(path) as image:
        lengths = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()  # WebP knows a frame's length only then.
            # Browsers give a frame that has no length a tenth of a second.
            lengths.append(Fraction(round(image.info.get("duration", 0)) or 100, 1000))
        width, height = image.size
    return Film(path, (height, width), tuple(itertools.accumulate(lengths)))


def _animation_frames(film: Film) -> Iterator[np.ndarray]:
    with _readable(film.path), Image.open(film.path) as image:
        for index in range(len(film.ends)):
            image.seek(index)
            shown = image.convert("RGBA")
            yield np.asarray(Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB"))


def _write_mp4(path: Path, pictures: Iterable[np.ndarray], film: Film) -> None:
    begins = (Fraction(0), *film.ends[:-1])
    # The longest time that every frame is a multiple of.
    scale = math.lcm(*(end.denominator for end in film.ends))
    tick = math.gcd(*(round((end - begin) * scale) for begin, end in zip(begins, film.ends, strict=True)))
    # Of frames that last 33 and 34 ms that would be a thousandth of a second: a place each at a rate that plays.
    rate = min(Fraction(scale, tick), max(Fraction(60), len(film.ends) / film.ends[-1]))
    height, width = film.size
    odd = height % 2 or width % 2  # Which the usual half resolution of colours does not allow.
    sound = {}
    if film.sound:
        copied = film.sound in _COPIED
        sound = {"audio_path": str(film.path), "audio_codec": "copy" if copied else "aac"}
    writer = _ffmpeg(path).write_frames(
        str(path),
        (width, height),
        fps=rate,
        quality=8,
        macro_block_size=1,
        pix_fmt_out="yuv444p" if odd else "yuv420p",
        ffmpeg_log_level="error",
        **sound,
    )
    with _undisturbed():
        writer.send(None)
    for picture, begin, end in zip(pictures, begins, film.ends, strict=False):
        for _ in range(round(end * rate) - round(begin * rate)):
            writer.send(np.ascontiguousarray(picture))
    writer.close()


def _ffmpeg(path: Path) -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(f"{path}: films of this kind need ffmpeg: pip install 'jaxgan[video]'") from None
    return imageio_ffmpeg


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Without warnings about how another program is run, which is imageio-ffmpeg's matter."""
    with warnings.catch_warnings():
        # JAX warns of forks, which matters to a child that goes on with Python.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        # Pipes that are left to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # The readers raise anything when a file is broken.
        raise UserError(f"{path}: cannot be read as a film: {first_line(error)}; is it cut short?") from None
