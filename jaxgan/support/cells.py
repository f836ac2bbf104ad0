"""What notebooks show: figures and pictures with a text for those who do not see them, in place of the one before."""

import io
from typing import Any

import numpy as np
from PIL import Image


def show(what: Any, alt: str, place: Any = None) -> Any:
    """Shows a picture below a notebook's cell, with alternative text.

    Args:
        what: a matplotlib `Figure`, a PIL image, or an array, uint8 [H, W, C] or [H, W].
        alt: what is to be seen, for those who do not see it.
        place: what an earlier call returned: its picture is replaced, so that it seems to move.

    Returns:
        A place for the next call.
    """
    from IPython import display  # pyright: ignore[reportMissingImports]  (A kernel has it.)

    buffer = io.BytesIO()
    if hasattr(what, "savefig"):
        what.savefig(buffer, format="png", dpi=80)
        what = Image.open(buffer).convert("RGB")
        buffer = io.BytesIO()
    image = Image.fromarray(np.squeeze(what)) if isinstance(what, np.ndarray) else what
    kind, encoded = smallest(image)
    data, metadata = {kind: encoded, "text/plain": alt}, {kind: {"alt": alt}}
    if place is None:
        return display.display(data, raw=True, metadata=metadata, display_id=True)
    place.update(data, raw=True, metadata=metadata)
    return place


def smallest(image: Image.Image) -> tuple[str, bytes]:
    """A picture in few bytes, so that a notebook stays small: as PNG of few colours, or as JPEG; and its MIME type."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    (image if image.mode == "L" else image.quantize(128)).save(png, "png", optimize=True)
    image.convert("RGB").save(jpeg, "jpeg", quality=65, optimize=True)
    found = {"image/png": png.getvalue(), "image/jpeg": jpeg.getvalue()}
    return min(found.items(), key=lambda item: len(item[1]))
