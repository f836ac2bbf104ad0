"""What a transfer takes of memory, said before it begins."""

from collections.abc import Sequence
from typing import Any

import jax
import psutil

from jaxgan.style import vgg

_BASE = 0.7 * 2**30  # What a process takes besides: libraries, weights, compiled programs.
_KEPT = 3.24  # Copies of each convolution's output that a program holds at once, by XLA's own account.
SHARE = 0.8  # Of what is free; other programs want some, too.
BANDS = (256, 128, 64, 32)


def available() -> int:
    """Bytes free where the computation runs."""
    device = jax.local_devices()[0]
    stats: dict[str, Any] | None = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return psutil.virtual_memory().available


def memory(module: vgg.VGG, shape: tuple[int, ...], layers: Sequence[str], band_rows: int = 0) -> int:
    """About how many bytes an iteration on a picture of this shape takes.

    Args:
        module: the network.
        shape: [H, W, ...].
        layers: that are looked at.
        band_rows: as in `transfer.Options`.
    """
    height, width = shape[:2]
    seen = min(height, band_rows + 2 * vgg.halo(module, layers)) if band_rows else height
    per_pixel = sum(
        count * features / 4**block
        for block, (count, features) in enumerate(zip(module.blocks, module.widths, strict=True))
        if block < max(vgg.block_of(name) for name in layers)
    )
    size = 2 if module.dtype == "bfloat16" else 4
    return round(_BASE + size * width * (_KEPT * seen * per_pixel))
