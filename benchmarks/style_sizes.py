"""Whether a style looks the same at every size.

    launch/local.sh python benchmarks/style_sizes.py --out FOLDER [--content FILE] [--style FILE] [--sizes 256 512 1024]
        [--largest 2048] [--steps N]

Makes one pair (the demonstration's, if not told otherwise) at each size by `jaxgan style`, and the largest by 60
iterations from the result before it, half of them at that one's size, in bands. Prints of each, shrunk to 256 px, the
style loss beside that of the first size's result; and how much rows at the edges of bands differ from their
neighbours, beside all other rows. What is there already is left alone: the same command goes on.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxgan
from jaxgan import cli
from jaxgan.style import pictures, transfer, weights

ASSETS = Path(jaxgan.__path__[0]) / "support" / "assets" / "style"
BAND_ROWS = 256


def style_loss(picture: Path, style: Path) -> float:
    """Of a picture shrunk to 256 px, with the default objective."""
    network, options = weights.load(), transfer.Options()
    image, other = (jnp.asarray(pictures.read(path, 256).pixels) for path in (picture, style))
    targets = transfer.prepare(network, image, (other,), options, None, 1.0)
    return float(jax.jit(transfer.objective)(network, targets, options, image)[1]["style"])


def edges(picture: Path) -> tuple[float, float, float]:
    """Mean difference of rows from the next: at the edges of bands, elsewhere, and the largest elsewhere."""
    pixels = pictures.read(picture).pixels * 255
    steps = np.abs(np.diff(pixels, axis=0)).mean(axis=(1, 2))
    at = np.arange(BAND_ROWS - 1, len(steps), BAND_ROWS)
    elsewhere = np.delete(steps, at)
    return float(steps[at].mean()), float(elsewhere.mean()), float(elsewhere.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--content", type=Path, default=ASSETS / "chelsea.jpg")
    parser.add_argument("--style", type=Path, default=ASSETS / "swirls.jpg")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--largest", type=int, default=2048, help="0: leave it out")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    made: dict[int, Path] = {size: options.out / f"{size}.png" for size in options.sizes}
    pair = ["style", str(options.content), str(options.style)]
    for size, path in made.items():
        if not path.exists():
            since = time.perf_counter()
            cli.main([*pair, "--size", str(size), "--steps", str(options.steps), "--out", str(path)])
            print(f"{size} px: {time.perf_counter() - since:.0f} s", flush=True)
    if options.largest:
        path, before = options.out / f"{options.largest}.png", made[options.sizes[-1]]
        if not path.exists():
            extra = ["--steps", "60", "--scales", "2", "--init", str(before), "--save-memory"]
            cli.main([*pair, "--size", str(options.largest), *extra, "--out", str(path)])
        made[options.largest] = path
    first = style_loss(made[options.sizes[0]], options.style)
    for size, path in made.items():
        loss = style_loss(path, options.style)
        print(f"{size} px: style loss {loss:.4f} at 256 px, {loss / first - 1:+.0%} of that of {options.sizes[0]} px")
    if options.largest:
        at, elsewhere, most = edges(made[options.largest])
        print(
            f"rows at the edges of bands differ by {at:.2f} of 255, others by {elsewhere:.2f}, at the most {most:.2f}"
        )


if __name__ == "__main__":
    main()
