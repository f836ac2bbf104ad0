"""Optical flow between frames of a film, and where it is to be trusted.

References:
    Kroeger et al., Fast Optical Flow using Dense Inverse Search, arXiv 1603.03590.
    Ruder, Dosovitskiy and Brox, Artistic style transfer for videos, arXiv 1604.08610.
"""

from typing import Any

import numpy as np

from jaxgan.support.errors import UserError


def between(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where each pixel of a frame is in another, relative to its place: float32 [H, W, 2], right and down.

    Args:
        frame: uint8 [H, W, 3].
        other: the same.

    Raises:
        UserError: OpenCV is not installed.
    """
    cv2 = opencv()
    grey, other_grey = (cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY) for picture in (frame, other))
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey, other_grey, None)


def moved(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """What a frame would show if it were another, moved: its pixel p is the picture's at p + flow(p).

    Args:
        picture: float32 [H, W, C].
        flow: [H, W, 2].
    """
    cv2 = opencv()
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    # Cubic: what linear interpolation softens a little it softens away in a hundred frames.
    return cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def trust(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where a flow and the one back agree: 0 or 1, float32 [H, W] (arXiv 1604.08610, equations 5 and 6).

    It is 0 where a pixel comes from beyond the edge, where following the flow there and back ends elsewhere (something
    has come into view), and at the edges of what moves.

    Args:
        there: [H, W, 2], from this frame to the other.
        back: [H, W, 2], from the other frame to this.
    """
    height, width = there.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + there[..., 0], y + there[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    returned = moved(back, there)

    def squared(vectors: np.ndarray) -> np.ndarray:
        return np.sum(np.square(vectors), axis=-1)

    closed = squared(there + returned) <= 0.01 * (squared(there) + squared(returned)) + 0.5
    slope = sum(squared(np.gradient(there, axis=axis)) for axis in (0, 1))
    smooth = slope <= 0.01 * squared(there) + 0.002
    return (inside & closed & smooth).astype(np.float32)


def opencv() -> Any:
    """OpenCV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise UserError("a film's optical flow needs OpenCV: pip install 'jaxgan[video]'") from None
    return cv2
