"""What a style transfer does unless told otherwise: the one place where the command line and `Options` look it up.

Nothing here needs JAX, so that the command line can show it without loading it.
"""

import math
from typing import Literal

Layers = tuple[tuple[str, float], ...]
"""Names of layers, each with its weight among the others."""
Padding = Literal["zero", "replicate", "reflect"]

CONTENT_WEIGHT = 1.0
STYLE_WEIGHT = 8.0
"""With 20, faces break up, and a style of one brightness takes the content's light (`benchmarks/style_grid.py`)."""
TV_WEIGHT = 10.0
COARSE_WEIGHT = 200.0
"""Without it the demonstration at 512 px, shrunk to 256 px, had 46 % more style loss than at 256 px; with 30 it had
28 % more, with 100 16 %, with 300 8 %. Its style loss at its own size grew by 3, 7 and 11 %."""
TEMPORAL_WEIGHT = 1000.0
"""A tenth of it left 0.69 of the flicker of frames made one by one, this 0.46 (`benchmarks/style_flicker.py`, 8 frames
of 96 px, 40 iterations, Gram matrices at three layers)."""
CONTENT_LAYERS: Layers = (("relu4_2", 1.0),)
STYLE_LAYERS: Layers = tuple((f"relu{block}_1", 2.0 ** (5 - block)) for block in range(1, 6))
"""16:8:4:2:1. With equal weights the deep layers, which see least of single pixels, leave speckles."""
STYLE_LOSS: Literal["gram", "wasserstein", "statistics"] = "wasserstein"
PADDING: Padding = "replicate"
"""Zeros, as the network was trained with, are a dark frame, which the picture then answers with a bright one."""
STEPS = 400
FRAME_STEPS = 150
"""Of each frame of a film but the first, which begins where the one before has ended."""
SIZE = 512
AVERAGE = 0.9
LEAST_SIDE = 160
"""Below, too little of most contents is left to recognise, and the losses end higher, too."""


def stages(shape: tuple[int, ...], steps: int = STEPS, scales: int | None = None) -> tuple[tuple[float, int], ...]:
    """The sizes to go through, from small to large, each twice the one before.

    Args:
        shape: of the content, [H, W, ...].
        steps: iterations in all, as many at each size.
        scales: how many sizes at the most; None: as many as have a shorter side of `LEAST_SIDE` or more. So whatever
            the size, the largest forms are found at the same one.

    Returns:
        (fraction of the content's size, iterations), the last of fraction 1.
    """
    most = 1 + max(0, int(math.log2(min(shape[:2]) / LEAST_SIDE))) if min(shape[:2]) >= LEAST_SIDE else 1
    count = most if scales is None else min(scales, most)
    ends = [steps * (index + 1) // count for index in range(count)]
    counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    return tuple((0.5 ** (count - 1 - index), n) for index, n in enumerate(counts) if n)


def spelled(layers: Layers) -> tuple[str, ...]:
    """Layers as the command line takes them: "relu1_1=16"; a single one by its name alone."""
    return tuple(name if len(layers) == 1 else f"{name}={weight:g}" for name, weight in layers)
