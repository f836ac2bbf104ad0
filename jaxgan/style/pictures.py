"""Pictures in and out of files, of every kind that people have."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxgan.data.pictures import DEEP, deep_grey, has_alpha, open_picture
from jaxgan.support.errors import UserError
from jaxgan.support.files import write_atomically

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""What can be written."""
LEAST = 32
"""The least width and height of a picture that style transfer can use."""


def read(
    path: Path, size: int | None = None, crop: tuple[float, float, float, float] | None = None
) -> tuple[np.ndarray, bytes | None]:
    """Reads a picture as RGB: turned as its EXIF says, transparency over white, any depth, palette or CMYK.

    Args:
        path: the file.
        size: what to bring its longer side to; None: leave it.
        crop: the part to take before: left, top, right and bottom as fractions; None: all.

    Returns:
        float32 [H, W, 3] in 0..1, and the ICC profile that its colours are meant in, if it has one for RGB.

    Raises:
        UserError: there is no such file, it is no whole picture, or too small or narrow.
    """
    image = open_picture(path)
    profile = image.info.get("icc_profile")
    if crop is not None:
        edges = [round(edge * side) for edge, side in zip(crop, image.size * 2, strict=True)]
        image = image.crop((edges[0], edges[1], edges[2], edges[3]))
    if min(image.size) < LEAST:
        raise UserError(f"{path}: {image.width} x {image.height} pixels: at least {LEAST} x {LEAST} are needed")
    pixels = _rgb(image)
    if size is not None:
        scale = size / max(pixels.shape[:2])
        height, width = (round(side * scale) for side in pixels.shape[:2])
        if min(height, width) < LEAST:
            raise UserError(
                f"{path}: {image.width} x {image.height} pixels, {width} x {height} at size {size}: "
                f"too narrow, at least {LEAST} x {LEAST} are needed; crop it or take a larger --size"
            )
        pixels = fit(pixels, (height, width))
    # A profile for grey or CMYK says nothing about the RGB that we write.
    return pixels, profile if profile and profile[16:20] == b"RGB " else None


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Reads a mask, white where a style belongs, and brings it to a height and width, float32 [H, W] in 0..1.

    Raises:
        UserError: as `read`, or its shape is not that of the content.
    """
    mask, _ = read(path)
    height, width = mask.shape[:2]
    if abs(width / height - size[1] / size[0]) > 0.02 * size[1] / size[0]:
        raise UserError(
            f"{path}: the mask is {width} x {height}, of another shape than the content, {size[1]} x {size[0]}"
        )
    return fit(mask, size).mean(axis=-1)


def fit(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Brings a picture [H, W, 3] in 0..1 to a height and width, with antialiasing, in full precision."""
    if pixels.shape[:2] == size:
        return pixels
    planes = [
        Image.fromarray(np.ascontiguousarray(pixels[..., plane])).resize((size[1], size[0]), Image.Resampling.LANCZOS)
        for plane in range(3)
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0, 1)


def check_writable(path: Path, force: bool) -> None:
    """Finds out, before the work, whether a picture can be written.

    Raises:
        UserError: its ending is unknown, it exists (and may not be overwritten), or its folder cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: unknown ending {path.suffix or '(none)'}; one of {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder")
    if path.parent.exists() and not path.parent.is_dir():
        raise UserError(f"{path.parent}: is a file where a folder is needed")
    if path.exists() and not force:
        raise UserError(f"{path}: exists; give --force to overwrite it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written: {error.strerror or error}") from None


def write(path: Path, pixels: np.ndarray, profile: bytes | None = None, settings: dict[str, Any] | None = None) -> None:
    """Writes a picture, whole or not at all; the ending decides the format.

    Args:
        path: the file.
        pixels: [H, W, 3] in 0..1.
        profile: ICC profile to embed.
        settings: what made it; embedded as JSON in a PNG's text "jaxgan" or a JPEG's comment.

    Raises:
        UserError: it cannot be written.
    """
    image = Image.fromarray(np.round(np.clip(np.asarray(pixels), 0, 1) * 255).astype(np.uint8))
    image_format = Image.registered_extensions()[path.suffix.lower()]
    keywords: dict[str, Any] = {} if profile is None else {"icc_profile": profile}
    text = json.dumps(settings or {})
    if image_format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        keywords["pnginfo"] = PngInfo()
        keywords["pnginfo"].add_text("jaxgan", text)
    elif image_format in ("JPEG", "WEBP"):
        keywords["quality"] = 95
    if image_format == "JPEG":
        keywords["comment"] = text.encode()
    buffer = io.BytesIO()
    try:
        image.save(buffer, image_format, **keywords)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be written: {error}") from error
    write_atomically(path, buffer.getvalue())


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode in DEEP:
        return np.repeat(deep_grey(image)[..., None], 3, axis=-1)
    if has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return np.asarray(image.convert("RGB"), np.float32) / 255
