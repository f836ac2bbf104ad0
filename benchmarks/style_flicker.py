"""How much a film flickers, with each frame from the one before and with each by itself.

    launch/local.sh python benchmarks/style_flicker.py --out FOLDER [--frames 36] [--size 192] [--steps 150]
        [--options "OPTIONS of jaxgan style, for both sides"]

The film is made of two pictures with a known motion: the demonstration's cat behind, a painted disc that crosses it.
Flicker is the root mean square, over the pixels that are seen in both, of the difference of each frame from the one
before moved along the true flow, in levels of 255; the content's own, which resampling leaves, stands beside. Both
sides are made by `jaxgan style` with the same iterations a frame, and written and read as the same kind of film. What
is there already is left alone: the same command goes on. Needs `jaxgan[video]`.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

import jaxgan
from jaxgan import cli
from jaxgan.style import film, flow, pictures

ASSETS = Path(jaxgan.__path__[0]) / "support" / "assets" / "style"
PAN, DRIFT = np.array([1.7, 0.6]), np.array([-2.3, 1.3])  # Pixels a frame, right and down, at 192 px.


class Scene:
    """The film and its true flow."""

    def __init__(self, size: int) -> None:
        self.size, self.unit = size, size / 192
        back, front = (Image.open(ASSETS / name).convert("RGB") for name in ("chelsea.jpg", "swirls.jpg"))
        height = round(230 * self.unit)
        self.back = np.asarray(back.resize((round(height * 1.5), height), Image.Resampling.LANCZOS))
        self.front = np.asarray(front.resize((size, size), Image.Resampling.LANCZOS))[..., ::-1]  # Other colours.
        self.places = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2), axis=-1)

    def disc(self, number: int) -> np.ndarray:
        """Where each pixel lies on the disc, [H, W, 2], from its centre."""
        return self.places - self.unit * (np.array([140, 60]) + number * DRIFT)

    def covered(self, number: int) -> np.ndarray:
        return np.linalg.norm(self.disc(number), axis=-1) < 34 * self.unit

    def frame(self, number: int) -> np.ndarray:
        """uint8 [H, W, 3]."""
        where = self.places + self.unit * number * PAN
        behind = self._at(self.back, where)
        before = self._at(self.front, self.disc(number) + self.size / 2)
        return np.where(self.covered(number)[..., None], before, behind)

    def flow(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """From a frame to the one before, [H, W, 2], and which pixels are seen there, [H, W]."""
        covered = self.covered(number)
        vectors = np.where(covered[..., None], -DRIFT * self.unit, PAN * self.unit).astype(np.float32)
        there = self.places + vectors
        inside = ((there >= 0) & (there <= self.size - 1)).all(axis=-1)
        # Near its edge, pixels of the frame before are partly the disc's.
        distance = np.linalg.norm(there - (self.places - self.disc(number - 1)), axis=-1) / self.unit
        return vectors, inside & np.where(covered, distance < 32, distance > 36)

    @staticmethod
    def _at(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
        rows, columns = np.mgrid[: where.shape[0], : where.shape[1]].astype(np.float32)
        vectors = where - np.stack([columns, rows], axis=-1)
        return np.clip(flow.moved(np.ascontiguousarray(picture), vectors.astype(np.float32)), 0, 255).astype(np.uint8)


def flicker(scene: Scene, frames: list[np.ndarray]) -> float:
    squares = []
    for number in range(1, len(frames)):
        vectors, seen = scene.flow(number)
        moved = flow.moved(frames[number - 1].astype(np.float32), vectors)
        squares.append(np.mean(np.square(frames[number] - moved)[seen]))
    return float(np.sqrt(np.mean(squares)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=36)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--options", default="")
    options = parser.parse_args()
    scene = Scene(options.size)
    content = [scene.frame(number) for number in range(options.frames)]
    ends = tuple(Fraction(number + 1, 12) for number in range(options.frames))
    about = film.Film(Path("scene.webp"), (options.size, options.size), ends)
    folder = options.out / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(content):
        Image.fromarray(frame).save(folder / f"{number:05}.png")
    first, *rest = (Image.fromarray(frame) for frame in content)
    first.save(options.out / "scene.webp", save_all=True, append_images=rest, duration=83, loop=0, lossless=True)
    style = [str(ASSETS / "swirls.jpg"), "--steps", str(options.steps), "--size", "original"]
    style += shlex.split(options.options)

    def timed(arguments: list[str]) -> float:
        since = time.perf_counter()
        cli.main(["style", *arguments])
        return (time.perf_counter() - since) / options.frames

    together, alone = options.out / "together.webp", options.out / "alone.webp"
    if not together.exists():
        seconds = timed([str(options.out / "scene.webp"), *style, "--out", str(together), "--quiet"])
        print(f"each frame from the one before: {seconds:.1f} s a frame", flush=True)
    if not alone.exists():
        seconds = timed([str(folder), *style, "--scales", "1", "--out", str(options.out / "alone"), "--quiet"])
        print(f"each frame by itself: {seconds:.1f} s a frame", flush=True)

        def made() -> Iterator[np.ndarray]:
            for number in range(options.frames):
                pixels = pictures.read(options.out / "alone" / f"{number:05}.png").pixels
                yield np.round(pixels * 255).astype(np.uint8)

        film.write(alone, made(), about)
    found = {path: flicker(scene, [*film.frames(film.open_film(path))]) for path in (together, alone)}
    print(f"flicker of the content {flicker(scene, content):.2f}, together {found[together]:.2f}, ", end="")
    print(f"alone {found[alone]:.2f}, ratio {found[together] / found[alone]:.2f}; ", end="")
    print(f"{options.frames} frames of {options.size} px, {options.steps} iterations, {sys.platform}")


if __name__ == "__main__":
    main()
