"""Opens picture files of every kind that people have."""

import io
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from jaxgan.support.errors import UserError, first_line

DEEP = ("I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's modes of more than 8 bits."""
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF", "JPEG2000", "ICO", "TGA", "PPM")
# Named, for Pillow would hand some others, such as EPS, to other programs.


def is_picture(name: str) -> bool:
    """Whether a file's name ends as those of pictures that can be opened do."""
    Image.init()
    ending = Path(name).suffix.lower()
    return Image.registered_extensions().get(ending) in _FORMATS or ending in (".heic", ".heif")


def open_picture(path: Path, least: int | None = None, content: bytes | None = None) -> Image.Image:
    """Opens a picture (the first, of several in a file), decoded, turned as its EXIF says; CMYK by its profile.

    Args:
        path: the file.
        least: a JPEG may be decoded at a fraction of its size, as long as both sides keep so many pixels: much faster.
        content: of the file, where it lies in an archive.

    Raises:
        UserError: there is no such file, or it is no whole picture in a known format.
    """
    if content is None and path.is_dir():
        raise UserError(f"{path}: is a folder where a picture is needed")
    if path.suffix.lower() in (".heic", ".heif"):
        _register_heif(path)
    try:
        if content == b"" or (content is None and path.stat().st_size == 0):
            raise UserError(f"{path}: is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            file = path if content is None else io.BytesIO(content)
            with Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
                if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                    raise Image.DecompressionBombError
                if least is not None and image.format in ("JPEG", "MPO"):
                    image.draft(None, (least, least))
                return _from_cmyk(ImageOps.exif_transpose(image))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller first") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{path}: not a picture in a known format") from None
    except Exception as error:  # Pillow's readers raise anything when a file is broken.
        raise UserError(f"{path}: cannot be read as a picture: {error}; is it cut short?") from None


def has_alpha(image: Image.Image) -> bool:
    """Whether parts of a picture may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def open_array(path: Path, content: bytes | None = None) -> np.ndarray:
    """Opens a picture that is an array in an .npy file: numbers [H, W], or [H, W, C] with 1, 3 or 4 channels.

    Args:
        path: the file.
        content: of the file, where it lies in an archive.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        array = np.load(path if content is None else io.BytesIO(content), allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of several")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as an array: {first_line(error)}") from None
    numbers = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not (fits and array.size and (numbers or array.dtype == np.bool_)):
        raise UserError(f"{path}: is no picture, numbers [H, W] or [H, W, 1, 3 or 4], but {array.dtype} {array.shape}")
    return array


def as_picture(values: np.ndarray, span: tuple[float, float] | None) -> Image.Image:
    """Brings numbers of any kind to a picture of 8 bits.

    Args:
        values: [H, W] or [H, W, C].
        span: the values that become 0 and 255; what lies beyond is cut. None for those of the dtype, or 0 and 1 of
            floating point numbers.

    Raises:
        UserError: there are NaN or infinite values, or values for which `span` is needed.
    """
    check_finite(values)
    low, high = span or {"u1": (0, 255), "u2": (0, 65535), "b1": (0, 1)}.get(values.dtype.str[1:], (0, 1))
    least, most = values.min(), values.max()
    if span is None and not low <= least <= most <= high:
        raise UserError(f"its values go from {least:g} to {most:g}; say which are black and white: --range LOW:HIGH")
    share = np.clip((values.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    pixels = np.round(share * 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def check_finite(values: np.ndarray) -> None:
    """Raises UserError for NaN and infinite values, with their number."""
    if bad := np.count_nonzero(~np.isfinite(values)):
        raise UserError(f"{bad:,} of its {values.size:,} values are NaN or infinite")


def deep_grey(image: Image.Image) -> np.ndarray:
    """A picture of one of the modes `DEEP` as float32 [H, W] in 0..1.

    Raises:
        UserError: of floating point values one cannot tell which is white.
    """
    grey = np.asarray(image, np.float32)
    limit = 65535  # Pillow gives 16-bit pictures in several modes, some of which do not say how many bits they hold.
    if image.mode == "F":
        # What resampling adds beyond black and white is cut; values farther out are of another range.
        least, most = grey.min(), grey.max()
        ranges = {1: -np.inf, 255: 2, 65535: 512}
        limit = next((white for white, low in ranges.items() if low <= most <= white * 256 / 255), None)
        if limit is None or least < -limit / 255:
            raise UserError(
                f"its values go from {least:g} to {most:g}, where black is 0 and white 1, 255 or 65,535; bring them "
                "there, or say in `jaxgan data make` which are black and white: --range LOW:HIGH"
            )
    return np.clip(grey / limit, 0, 1)


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode != "CMYK" or not profile:
        return image
    try:
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, io.BytesIO(profile), target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image  # A damaged profile: the plain formula will do.
    if converted is None:
        return image
    converted.info.pop("icc_profile", None)
    return converted


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(f"{path}: HEIC needs a plugin: pip install 'jaxgan[heic]'") from None
    pillow_heif.register_heif_opener()
