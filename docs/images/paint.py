"""Paints styles and a content: brush strokes (the demo's, jaxgan/support/assets/style/swirls.jpg), ink, and others.

python docs/images/paint.py swirls|ink|oil|mosaic|poster|grey|street OUT
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


def oil() -> Image.Image:
    """Short thick strokes with ridges of paint, in reds, ochres and greens."""
    random = np.random.default_rng(11)
    flow_at = field(random, 18)
    palette = np.array([[62, 24, 28], [142, 42, 34], [196, 92, 40], [222, 166, 74], [236, 214, 168], [88, 110, 62]])
    image = Image.new("RGB", (SIZE * SCALE,) * 2, (112, 60, 40))
    draw = ImageDraw.Draw(image)
    for width, length, count in ((26, 9, 1800), (16, 7, 4500), (9, 6, 5000)):
        lines, level = strokes(random, flow_at, count, length)
        index = np.clip(np.round(level * 3.5 + 1 + random.normal(0, 0.9, count)), 0, len(palette) - 1).astype(int)
        for line, colour in zip(lines, palette[index] + random.normal(0, 10, (count, 3)), strict=True):
            points = [tuple(point) for point in line]
            for offset in range(-width // 2, width // 2 + 1, 3):  # Bristles, each of its own tone.
                tone = np.clip(colour * random.uniform(0.8, 1.15), 0, 255).astype(int)
                draw.line(
                    [(x + offset * SCALE // 2, y + offset * SCALE // 2) for x, y in points], tuple(tone), SCALE * 2
                )
    return image


def mosaic() -> Image.Image:
    """Small square stones in grey mortar, in rows that follow rings, blue, gold and white."""
    random = np.random.default_rng(5)
    flow_at = field(random, 8)
    palette = np.array([[22, 52, 110], [40, 96, 150], [96, 156, 170], [226, 222, 204], [214, 168, 64], [150, 74, 40]])
    image = Image.new("RGB", (SIZE * SCALE,) * 2, (92, 88, 84))
    draw = ImageDraw.Draw(image)
    step = 17 * SCALE
    places = np.stack(np.meshgrid(*[np.arange(0, SIZE * SCALE + step, step)] * 2), axis=-1).reshape(-1, 2).astype(float)
    places += random.normal(0, SCALE, places.shape)
    flow, level = flow_at(places / (SIZE * SCALE))
    angle = np.arctan2(flow[:, 1], flow[:, 0]) / 4
    index = np.clip(np.round(level * 3.6 + 0.6 + random.normal(0, 0.5, len(places))), 0, len(palette) - 1).astype(int)
    for place, turn, colour in zip(places, angle, palette[index] + random.normal(0, 8, (len(places), 3)), strict=True):
        half = step * random.uniform(0.40, 0.47)
        corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) + random.normal(0, SCALE, (4, 2))
        turned = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + place
        draw.polygon([tuple(corner) for corner in turned], tuple(np.clip(colour, 0, 255).astype(int)))
    return image


def poster() -> Image.Image:
    """Flat areas of four inks with hard edges and black outlines."""
    random = np.random.default_rng(9)
    flow_at = field(random, 9)
    side = SIZE * SCALE
    axis = (np.arange(side) + 0.5) / side
    places = np.stack(np.meshgrid(axis, axis), axis=-1)
    level = np.concatenate([flow_at(row)[1] for row in places]).reshape(side, side)
    palette = np.array([[24, 60, 92], [218, 62, 48], [242, 186, 58], [246, 238, 216]], np.uint8)
    index = np.digitize(level, [0.15, 0.4, 0.75])
    pixels = palette[index]
    image = Image.fromarray(pixels)
    edges = Image.fromarray((index * 60).astype(np.uint8)).filter(ImageFilter.FIND_EDGES)
    outline = edges.point(lambda value: 255 if value else 0).filter(ImageFilter.MaxFilter(2 * SCALE + 1))
    image.paste((18, 16, 20), mask=outline)
    return image


def grey() -> Image.Image:
    """The ink's lines on grey washes, without any colour."""
    random = np.random.default_rng(21)
    flow_at = field(random, 12)
    image = Image.new("L", (SIZE * SCALE,) * 2, 214)
    draw = ImageDraw.Draw(image)
    for width, count, length in ((20, 1500, 16), (3, 5000, 12)):
        lines, level = strokes(random, flow_at, count, length)
        for line, value in zip(lines, level, strict=True):
            tone = int(np.clip(60 + 150 * value + random.normal(0, 22), 0, 255))
            draw.line([tuple(point) for point in line], tone, width * SCALE // 2)
    return image.convert("RGB")


def street() -> Image.Image:
    """A street between houses in the evening, with a lamp, a car and people: straight lines in perspective."""
    random = np.random.default_rng(4)
    side = SIZE * SCALE
    rows = np.linspace(0, 1, side)[:, None, None]
    sky = (1 - rows) * np.array([70, 110, 170]) + rows * np.array([250, 190, 130])
    image = Image.fromarray(np.broadcast_to(sky, (side, side, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    far = (0.52 * side, 0.48 * side)

    def towards(x: float, y: float, depth: float) -> tuple[float, float]:
        return x * side + (far[0] - x * side) * depth, y * side + (far[1] - y * side) * depth

    draw.polygon([towards(0, 1, 0), towards(1, 1, 0), towards(1, 1, 0.96), towards(0, 1, 0.96)], (84, 80, 86))
    for edge, x in ((-1, 0.0), (1, 1.0)):
        for house in range(6, -1, -1):
            near, end, top = house / 7.5, (house + 1) / 7.5, random.uniform(-0.15, 0.2)
            tone = np.array([176, 118, 88]) + random.normal(0, 26, 3) - 10 * house
            if edge > 0:
                tone = tone * 0.72
            colour = tuple(np.clip(tone, 0, 255).astype(int))
            corners = [towards(x, 0.98, near), towards(x, 0.98, end), towards(x, top, end), towards(x, top, near)]
            draw.polygon(corners, colour, (50, 40, 40), SCALE)
            for floor in range(4):
                for window in range(2):
                    a, b = near + (end - near) * (0.15 + 0.45 * window), near + (end - near) * (0.45 + 0.45 * window)
                    low = top + (0.9 - top) * (0.85 - 0.22 * floor)
                    high = low - 0.11 * (0.9 - top)
                    lit = (250, 214, 120) if random.random() < 0.4 else (46, 54, 74)
                    draw.polygon(
                        [towards(x, low, a), towards(x, low, b), towards(x, high, b), towards(x, high, a)], lit
                    )
    for depth in np.linspace(0, 0.9, 9):
        draw.polygon([towards(0.49, 1, depth), towards(0.51, 1, depth), towards(0.51, 1, depth + 0.05),
                      towards(0.49, 1, depth + 0.05)], (226, 220, 200))  # fmt: skip
    draw.rounded_rectangle([0.56 * side, 0.62 * side, 0.78 * side, 0.74 * side], 8 * SCALE, (170, 30, 36))
    draw.rounded_rectangle([0.60 * side, 0.56 * side, 0.74 * side, 0.65 * side], 6 * SCALE, (60, 76, 96))
    for x in (0.61, 0.73):
        draw.ellipse([(x - 0.025) * side, 0.71 * side, (x + 0.025) * side, 0.76 * side], (24, 22, 24))
    for x, height, colour in ((0.30, 0.20, (40, 50, 90)), (0.36, 0.18, (120, 60, 90)), (0.42, 0.10, (60, 90, 70))):
        foot, width = 0.70 + height * 0.6, height * 0.16
        draw.rounded_rectangle([(x - width) * side, (foot - height * 0.8) * side, (x + width) * side, foot * side],
                               4 * SCALE, colour)  # fmt: skip
        draw.ellipse([(x - width * 0.7) * side, (foot - height * 1.02) * side, (x + width * 0.7) * side,
                      (foot - height * 0.76) * side], (222, 178, 150))  # fmt: skip
    draw.line(
        [(0.16 * side, 0.92 * side), (0.16 * side, 0.30 * side), (0.22 * side, 0.28 * side)], (30, 30, 34), 6 * SCALE
    )
    draw.ellipse([0.205 * side, 0.265 * side, 0.245 * side, 0.305 * side], (255, 240, 190))
    return image


def painted(name: str) -> Image.Image:
    """One of the pictures, [512, 512]."""
    makers = {"swirls": swirls, "ink": ink, "oil": oil, "mosaic": mosaic, "poster": poster, "grey": grey}
    image = (makers | {"street": street})[name]()
    return image.filter(ImageFilter.GaussianBlur(1)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    """Paints and writes a picture."""
    painted(sys.argv[1]).save(sys.argv[2], quality=90)


if __name__ == "__main__":
    main()
