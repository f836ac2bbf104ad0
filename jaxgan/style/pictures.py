"""Pictures in and out of files, of every kind that people have, in sRGB whatever space they come in."""

import functools
import importlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from jaxgan.data.pictures import DEEP, deep_grey, has_alpha, open_picture
from jaxgan.style import film
from jaxgan.support.errors import UserError
from jaxgan.support.files import refusal, write_atomically

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""What can be written."""
LEAST = 32
"""The least width and height of a picture that style transfer can use."""
DEEP_SUFFIXES = (".png", ".tif", ".tiff")
_NEAR = 2.5 / 255
"""Colours that differ by less are the same: rounding of profiles and of JPEG comes to as much."""


class Picture(NamedTuple):
    """A picture as it was read.

    Attributes:
        pixels: float32 [H, W, 3] in 0..1, sRGB; where it is partly transparent, the colour without what shows through.
        alpha: float32 [H, W] in 0..1, how opaque it is; None: everywhere.
        note: a line on what reading it has cost, or "".
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    note: str = ""

    def over_white(self) -> np.ndarray:
        """The picture on a white ground, [H, W, 3]."""
        if self.alpha is None:
            return self.pixels
        return 1 - self.alpha[..., None] * (1 - self.pixels)

    @property
    def grey(self) -> bool:
        """Whether it has no colours."""
        return is_grey(self.pixels)


def is_grey(pixels: np.ndarray) -> bool:
    """Whether a picture [H, W, 3] in 0..1 has no colours."""
    return bool((pixels.max(axis=-1) - pixels.min(axis=-1)).max() < _NEAR)


def read(
    path: Path,
    size: int | None = None,
    crop: tuple[float, float, float, float] | None = None,
    remedy: str = "crop it or take a larger --size",
) -> Picture:
    """Reads a picture: turned as its EXIF says, any depth, palette or CMYK, converted to sRGB by its ICC profile.

    Colours of 16 bits and of floating point are kept as they are in sRGB (by `jaxgan[deep]`); a conversion from
    another space goes through 8 bits, and the note says so.

    Args:
        path: the file.
        size: what to bring its longer side to; None: leave it.
        crop: the part to take before: left, top, right and bottom as fractions; None: all.
        remedy: what to do, for the message, where it is too narrow at this size.

    Raises:
        UserError: there is no such file, it is no whole picture, or too small or narrow.
    """
    layers, note = _layers(path)
    if crop is not None:
        height, width = layers.shape[:2]
        left, right = (round(edge * width) for edge in crop[::2])
        top, bottom = (round(edge * height) for edge in crop[1::2])
        layers = layers[top:bottom, left:right]
    height, width = layers.shape[:2]
    if min(height, width) < LEAST:
        raise UserError(f"{path}: {width} x {height} pixels: at least {LEAST} x {LEAST} are needed")
    if size is not None:
        scale = size / max(height, width)
        target = (round(height * scale), round(width * scale))
        if min(target) < LEAST:
            raise UserError(
                f"{path}: {width} x {height} pixels, {target[1]} x {target[0]} at size {size}: "
                f"too narrow, at least {LEAST} x {LEAST} are needed; {remedy}"
            )
        layers = _fit_layers(layers, target)
    if layers.shape[2] == 3:
        return Picture(layers, None, note)
    alpha = layers[..., 3]
    # What is not seen at all has no colour; white is what it is shown on elsewhere.
    return Picture(np.where(alpha[..., None] > 0, layers[..., :3], 1), alpha, note)


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Reads a mask, white or opaque where a style belongs, and brings it to a height and width.

    A mask may lie in the colours, in the transparency (a shape of one colour on a transparent ground), or in both
    (white on a transparent ground, black on white).

    Returns:
        float32 [H, W] in 0..1.

    Raises:
        UserError: as `read`, its shape is not that of the content, or it is black everywhere.
    """
    picture = read(path)
    height, width = picture.pixels.shape[:2]
    if abs(width / height - size[1] / size[0]) > 0.02 * size[1] / size[0]:
        raise UserError(
            f"{path}: the mask is {width} x {height}, of another shape than the content, {size[1]} x {size[0]}"
        )
    mask = picture.pixels.mean(axis=-1)
    if picture.alpha is not None:
        shown = mask[picture.alpha > 0]
        # A shape of one colour says by its outline alone where the style belongs.
        mask = picture.alpha if shown.size and np.ptp(shown) < _NEAR else mask * picture.alpha
    if mask.max() < _NEAR:
        raise UserError(f"{path}: the mask is black everywhere, so its style would be nowhere; white is where it goes")
    return fit(np.repeat(mask[..., None], 3, axis=-1), size)[..., 0]


def fit(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Brings a picture [H, W, 3] in 0..1 to a height and width, with antialiasing, in full precision."""
    if pixels.shape[:2] == size:
        return pixels
    planes = [
        Image.fromarray(np.ascontiguousarray(pixels[..., plane])).resize((size[1], size[0]), Image.Resampling.LANCZOS)
        for plane in range(3)
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0, 1)


def check_writable(path: Path, force: bool, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Finds out, before the work, whether a picture can be written.

    Raises:
        UserError: its ending is unknown, it exists (and may not be overwritten), or its folder cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, and so is none of the pictures; name a file such as {path}/out.png")
        raise UserError(f"{path}: unknown ending {path.suffix or '(none)'}; one of {', '.join(suffixes)}")
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
        raise UserError(f"{path.parent}: cannot be written: {refusal(error)}") from None


def check_depth(path: Path, depth: int) -> None:
    """Finds out, before the work, whether a picture of 16 bits can be written.

    Raises:
        UserError: its format has none, or what writes them is not installed.
    """
    if depth == 8:
        return
    if path.suffix.lower() not in DEEP_SUFFIXES:
        raise UserError(f"{path}: --depth 16 needs .png or .tiff; {path.suffix} holds 8 bits")
    _deep_library(path, "tifffile" if path.suffix.lower() != ".png" else "cv2")


def check_alpha(path: Path, content: Path) -> None:
    """Raises UserError for a format that cannot keep the transparency of a content."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise UserError(f"{path}: {content.name} is partly transparent, which JPEG cannot keep; write .png or .webp")


def write(
    path: Path,
    pixels: np.ndarray,
    alpha: np.ndarray | None = None,
    depth: int = 8,
    settings: dict[str, Any] | None = None,
) -> None:
    """Writes a picture in sRGB, with its profile, whole or not at all; the ending decides the format.

    Args:
        path: the file.
        pixels: [H, W, 3] in 0..1.
        alpha: [H, W] in 0..1, how opaque it is; None: everywhere.
        depth: bits a channel, 8 or (PNG and TIFF) 16.
        settings: what made it; embedded as JSON in a PNG's text "jaxgan", a JPEG's comment, a deep TIFF's description.

    Raises:
        UserError: it cannot be written.
    """
    layers = np.asarray(pixels) if alpha is None else np.concatenate([pixels, alpha[..., None]], axis=-1)
    layers = np.clip(layers, 0, 1)
    text = json.dumps(settings or {})
    try:
        if depth == 16:
            data = _deep_bytes(path, np.round(layers * 65535).astype(np.uint16), text)
        else:
            data = _bytes(path, Image.fromarray(np.round(layers * 255).astype(np.uint8)), text)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be written: {error}") from error
    write_atomically(path, data)


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, the same bytes at each call and every day."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = b"".join(number.to_bytes(2, "big") for number in (2000, 1, 1, 0, 0, 0))
    return profile[:24] + made + profile[36:]


def to_srgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Converts a picture of 8 bits from the space of its ICC profile, if it has one, to sRGB.

    Relative colorimetric, with black point compensation. A profile for another kind of picture is left out.

    Returns:
        The picture, and why its profile was left out, or "".
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image, ""
    space = profile[16:20]
    try:
        if space == b"RGB " and not _is_srgb(profile):
            transparent = has_alpha(image)
            image = image.convert("RGBA" if transparent else "RGB")
            colours = _converted(image.convert("RGB"), profile)
        elif space == b"GRAY" and image.mode in ("L", "LA", "1"):
            transparent = image.mode == "LA"
            colours = _converted(image.convert("L"), profile)
        else:
            return image, ""
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, "its colour profile is damaged and left out"
    if transparent:
        colours.putalpha(image.getchannel("A"))
    return colours, ""


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    found = ImageCms.profileToProfile(
        image,
        io.BytesIO(profile),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert found is not None
    return found


@functools.lru_cache
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile's colours are those of sRGB, up to rounding."""
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(36, 6, 3)
    found = np.asarray(_converted(Image.fromarray(colours), profile), np.float32)
    return bool(np.abs(found - colours).max() < 255 * _NEAR)


def _layers(path: Path) -> tuple[np.ndarray, str]:
    """A picture in sRGB, float32 [H, W, 3], or [H, W, 4] where it is partly transparent, and a note."""
    deep = _read_deep(path)
    if isinstance(deep, tuple):
        layers, profile = deep
        if profile is None or (profile[16:20] == b"RGB " and _is_srgb_or_damaged(profile)):
            return _opaque(layers), ""
        image = Image.fromarray(np.round(layers * 255).astype(np.uint8))
        image.info["icc_profile"] = profile
        note = "converted from its colour profile by way of 8 bits"
    else:
        image, note = open_picture(path), deep
        if image.mode in DEEP:
            grey = deep_grey(image)
            profile = image.info.get("icc_profile")
            if not profile:
                return np.repeat(grey[..., None], 3, axis=-1), ""
            image = Image.fromarray(np.round(grey * 255).astype(np.uint8))
            image.info["icc_profile"] = profile
            note = "converted from its colour profile by way of 8 bits"
    image, problem = to_srgb(image)
    image = image.convert("RGBA" if has_alpha(image) else "RGB")
    if film.is_film(path):
        note = "the first of its pictures"
    return _opaque(np.asarray(image, np.float32) / 255), problem or note


def _is_srgb_or_damaged(profile: bytes) -> bool:
    try:
        return _is_srgb(profile)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return True


def _opaque(layers: np.ndarray) -> np.ndarray:
    """Without transparency that is none."""
    return layers[..., :3] if layers.shape[2] == 4 and layers[..., 3].min() == 1 else layers


def _fit_layers(layers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if layers.shape[2] == 3 or layers.shape[:2] == size:
        return fit(layers, size)
    # Colours that are not seen must not bleed into those that are.
    alpha = np.repeat(layers[..., 3:], 3, axis=-1)
    colours, alpha = fit(layers[..., :3] * alpha, size), fit(alpha, size)
    return np.concatenate([np.clip(colours / np.maximum(alpha, 1e-6), 0, 1), alpha[..., :1]], axis=-1)


def _read_deep(path: Path) -> tuple[np.ndarray, bytes | None] | str:
    """A PNG or TIFF of more than 8 bits and more than one channel, float32 [H, W, 3 or 4] in 0..1, and its profile.

    Anything else is for Pillow, which turns 16 bits to 8: then a note, or "".
    """
    try:
        data = path.read_bytes()
        found = _deep_header(data)
    except Exception:  # Pillow will say what is wrong with it.
        return ""
    if found is None:
        return ""
    floating, profile, orientation = found
    try:
        import cv2
    except ImportError:
        if floating:
            raise UserError(f"{path}: a TIFF of floating-point colours: pip install 'jaxgan[deep]'") from None
        return "16 bits, read as 8; pip install 'jaxgan[deep]' reads all of them"
    cv2.utils.logging.setLogLevel(0)  # pyright: ignore[reportAttributeAccessIssue]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        return "" if pixels is None else "read as 8 bits"
    whole = pixels.dtype == np.uint16
    pixels = np.nan_to_num(pixels.astype(np.float32))
    most = pixels[..., :3].max()
    # Floating point is in 0..1, unless it shows that it is not.
    pixels /= 65535 if whole or most > 255 else 255 if most > 1.5 else 1
    pixels = np.clip(pixels, 0, 1)[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return _turned(pixels, orientation), profile


def _deep_header(data: bytes) -> tuple[bool, bytes | None, int] | None:
    """Whether the colours are of floating point, the profile, and the EXIF orientation; None: not deep colours."""
    if data.startswith(b"\x89PNG"):
        if data[24] != 16 or data[25] not in (2, 4, 6):
            return None
        with Image.open(io.BytesIO(data)) as image:
            return False, image.info.get("icc_profile"), image.getexif().get(0x0112, 1)
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    file = io.BytesIO(data)
    directory = ImageFileDirectory_v2(file.read(16 if b"+" in data[:4] else 8))
    file.seek(directory.next)
    directory.load(file)
    bits, samples, photometric = directory.get(258, 1), directory.get(277, 1), directory.get(262, 1)
    if np.max(bits) <= 8 or samples not in (3, 4) or photometric != 2:
        return None
    # OpenCV turns a TIFF itself.
    return np.max(directory.get(339, 1)) == 3, directory.get(34675), 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as the EXIF orientation wants them to be seen."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    mirrored_rows, mirrored_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if mirrored_rows else 1, :: -1 if mirrored_columns else 1])


def _bytes(path: Path, image: Image.Image, text: str) -> bytes:
    image_format = Image.registered_extensions()[path.suffix.lower()]
    keywords: dict[str, Any] = {"icc_profile": srgb_profile()}
    if image_format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        keywords["pnginfo"] = PngInfo()
        keywords["pnginfo"].add_text("jaxgan", text)
    elif image_format in ("JPEG", "WEBP"):
        keywords["quality"] = 95
    if image_format == "JPEG":
        # Half as many pixels of colour as of brightness, the custom elsewhere, smear strokes.
        keywords |= {"comment": text.encode(), "subsampling": "4:4:4"}
    buffer = io.BytesIO()
    image.save(buffer, image_format, **keywords)
    return buffer.getvalue()


def _deep_bytes(path: Path, layers: np.ndarray, text: str) -> bytes:
    if path.suffix.lower() != ".png":
        buffer = io.BytesIO()
        extra = {"extrasamples": ["unassalpha"]} if layers.shape[2] == 4 else {}
        _deep_library(path, "tifffile").imwrite(
            buffer, layers, photometric="rgb", iccprofile=srgb_profile(), description=text, metadata=None, **extra
        )
        return buffer.getvalue()
    from PIL.PngImagePlugin import putchunk

    cv2 = _deep_library(path, "cv2")
    order = [2, 1, 0, 3][: layers.shape[2]]
    profile = np.frombuffer(srgb_profile(), np.uint8)
    done, data = cv2.imencodeWithMetadata(".png", layers[..., order], [cv2.IMAGE_METADATA_ICCP], [profile])
    if not done:
        raise ValueError("OpenCV does not say why")
    header = 33  # The signature and the first chunk; the text may follow at once.
    chunk = io.BytesIO()
    putchunk(chunk, b"tEXt", b"jaxgan\0" + text.encode("latin-1", "replace"))
    whole = data.tobytes()
    return whole[:header] + chunk.getvalue() + whole[header:]


def _deep_library(path: Path, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{path}: 16 bits need a library: pip install 'jaxgan[deep]'") from None
