"""What a transfer takes of memory, said before it begins, and what can be given back of it."""

import ctypes
import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import psutil

from jaxgan.style import vgg

_BASE = 1.05 * 2**30  # What a process takes besides: libraries, weights, compiled programs.
_COMPILING = 2.4 * 2**30  # What it takes while it compiles a program in the fast form.
_PER_PIXEL = 264  # Bytes: the picture, its gradient, the optimiser's moments, the content's features, and their copies.
_KEPT = 3.24  # Copies of each convolution's output that a program holds at once, by XLA's own account.
_COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's name for the event.
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
    """About how many bytes a transfer takes at its highest, on a picture of this shape.

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
    iteration = _BASE + _PER_PIXEL * height * width + size * width * _KEPT * seen * per_pixel
    return round(max(iteration, _COMPILING))


@functools.cache
def release_after_compiling() -> None:
    """Has the memory that a compilation used given back to the system, from now on.

    A program in the fast form leaves more than 1 GiB of it in the allocator's hands, beside the pictures' own need.
    Only the GNU C library can be asked; elsewhere it stays.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is None:
        return

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == _COMPILED and duration_secs > 1:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(listen)
