"""Paints styles: brush strokes (the demo's, jaxgan/support/assets/style/swirls.jpg) or ink along random vortices.

python docs/images/paint.py swirls|ink OUT
"""

import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE, SCALE = 512, 3
PALETTE = np.array(
    [[18, 32, 84], [30, 62, 132], [52, 104, 168], [110, 158, 190], [176, 200, 190], [232, 196, 86], [246, 226, 150]]
)


def field(random: np.random.Generator, count: int = 14):
    """A flow [2] and a brightness at points [P, 2] of the unit square."""
    centre, turn, width = random.random((count, 2)), random.choice([-1, 1], count), random.uniform(0.05, 0.16, count)

    def at(points):
        offset = points[:, None] - centre
        near = np.exp(-np.sum(offset**2, axis=-1) / (2 * width**2))
        flow = np.stack([-offset[..., 1], offset[..., 0]], axis=-1) / width[:, None]
        flow = np.sum(flow * (turn * near)[..., None], axis=1) + np.array([0.25, 0.05])
        waves = 0.6 + 0.4 * np.cos(np.linalg.norm(offset, axis=-1) / width * 5)
        rings = np.sum((near * waves)[:, ::2], axis=1)
        return flow, rings + 0.12 * np.sin(points[:, 1] * 19 + points[:, 0] * 5)

    return at


def strokes(random: np.random.Generator, flow_at, count: int, length: int):
    """Lines [count, length + 1, 2] along the flow, in pixels, and the brightness [count] where they begin."""
    path = [random.uniform(-0.03, 1.03, (count, 2))]
    for _ in range(length):
        flow, _ = flow_at(path[-1])
        path.append(path[-1] + 0.004 * flow / (np.linalg.norm(flow, axis=1, keepdims=True) + 0.05))
    return np.stack(path, axis=1) * SIZE * SCALE, flow_at(path[0])[1]


def swirls() -> Image.Image:
    """Wide strokes under narrow ones, from dark blue to yellow."""
    random = np.random.default_rng(7)
    flow_at = field(random)
    image = Image.new("RGB", (SIZE * SCALE,) * 2, (24, 40, 92))
    draw = ImageDraw.Draw(image)
    for width, length, count in ((13, 16, 2500), (7, 14, 6000), (4, 11, 6000)):
        lines, level = strokes(random, flow_at, count, length)
        index = np.clip(level * 4.4 + 1.3 + random.normal(0, 0.8, count), 0, len(PALETTE) - 1.001)
        low = index.astype(int)
        colours = PALETTE[low] + (index - low)[:, None] * (PALETTE[low + 1] - PALETTE[low])
        colours = np.clip(colours + random.normal(0, 9, (count, 3)), 0, 255).astype(int)
        for line, colour in zip(lines, colours, strict=True):
            points = [tuple(point) for point in line]
            draw.line(points, tuple(colour), width * SCALE // 2, joint="curve")
            draw.line([(x + SCALE, y + SCALE) for x, y in points], tuple(colour * 4 // 5), SCALE // 2)
    return image


def ink() -> Image.Image:
    """Black hatching on paper, denser where it is darker, with some blots."""
    random = np.random.default_rng(3)
    flow_at = field(random, 10)
    image = Image.new("RGB", (SIZE * SCALE,) * 2, (238, 230, 212))
    draw = ImageDraw.Draw(image)
    lines, level = strokes(random, flow_at, 7000, 12)
    for line, value in zip(lines, level, strict=True):
        if value < random.uniform(-0.3, 0.6):
            draw.line([tuple(point) for point in line], (28, 24, 30), random.integers(SCALE // 2, SCALE + 2))
    return image


def main() -> None:
    """Paints and writes a picture."""
    image = {"swirls": swirls, "ink": ink}[sys.argv[1]]()
    image = image.filter(ImageFilter.GaussianBlur(1)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    image.save(sys.argv[2], quality=90)


if __name__ == "__main__":
    main()
