"""A grid of contents and styles, for recipes beside one another.

    launch/local.sh python benchmarks/style_grid.py --out GRID [--size 256] [--recipe NAME[:OPTIONS] ...]
        [--contents NAME ...] [--styles NAME ...] [--steps N]

Contents: scikit-image's astronaut, chelsea, coffee and rocket, matplotlib's grace_hopper, and a street painted here.
Styles: ink, oil, mosaic and poster, painted here; gravel, scikit-image's photograph of a texture; grey, a grey one.
(Both libraries are in the extra `bench`.)

A recipe is a name and options of `jaxgan style`: --recipe default --recipe "gram:--style-loss gram --padding zero".
Each picture is GRID/SIZE/RECIPE/CONTENT.STYLE.png; what is there already is left alone, and a stopped picture goes on,
so the same command again makes what is missing. Seconds of processor and wall are in GRID/SIZE/times.jsonl; a sheet of
each recipe in GRID/SIZE/RECIPE.png. Pictures of another program at GRID/SIZE/NAME/CONTENT.STYLE.png take part in:

    launch/local.sh python benchmarks/style_grid.py --out GRID --size 256 --beside|--blind default NAME

--beside puts all pairs on a sheet, GRID/SIZE/beside.png. --blind shuffles the pairs that both have into
GRID/SIZE/blind/NUMBER.png, content and style above, the two results below, left and right at random, and writes who is
whose to GRID/SIZE/blind/key.json, to be opened after choosing.
"""

import argparse
import json
import resource
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "images"))
import paint  # pyright: ignore[reportMissingImports]

PAINTED = ("ink", "oil", "mosaic", "poster", "street", "grey")
CONTENTS = ("astronaut", "chelsea", "coffee", "rocket", "grace_hopper", "street")
STYLES = ("ink", "oil", "mosaic", "poster", "gravel", "grey")


def source(name: str) -> Image.Image:
    """A picture of the grid by its name."""
    if name in PAINTED:
        return paint.painted(name)
    if name == "grace_hopper":
        from matplotlib import cbook

        path: Any = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
        return Image.open(path).convert("RGB")
    import skimage.data  # pyright: ignore[reportMissingImports]

    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def sources(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Files of pictures, written once."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: folder / f"{name}.png" for name in names}
    for name, path in found.items():
        if not path.exists():
            source(name).save(path)
    return found


def tile(path: Path | None, side: int) -> Image.Image:
    if path is None or not path.exists():
        return Image.new("RGB", (side, 1), "white")
    with Image.open(path) as image:
        shown = image.convert("RGB")
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    return shown


def sheet(rows: Sequence[Sequence[Path | None]], side: int) -> Image.Image:
    """Pictures in rows, as high as the highest of each."""
    tiles = [[tile(path, side) for path in row] for row in rows]
    heights = [max(shown.height for shown in row) for row in tiles]
    whole = Image.new("RGB", (side * max(map(len, rows)), sum(heights)), "white")
    for y, (row, height) in enumerate(zip(tiles, heights, strict=True)):
        for x, shown in enumerate(row):
            whole.paste(shown, (x * side + (side - shown.width) // 2, sum(heights[:y]) + (height - shown.height) // 2))
    return whole


def make(options: argparse.Namespace, recipe: str, contents: dict[str, Path], styles: dict[str, Path]) -> None:
    from jaxgan import cli

    name, _, extra = recipe.partition(":")
    place = options.out / str(options.size)
    for content, content_path in contents.items():
        for style, style_path in styles.items():
            out = place / name / f"{content}.{style}.png"
            if out.exists():
                continue
            print(f"{name}: {content} in the style of {style}", flush=True)
            arguments = ["style", str(content_path), str(style_path), "--out", str(out), "--size", str(options.size)]
            arguments += [] if options.steps is None else ["--steps", str(options.steps)]
            since, spent = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
            cli.main([*arguments, "--quiet", *shlex.split(extra)])
            now = resource.getrusage(resource.RUSAGE_SELF)
            line = {
                "recipe": recipe,
                "content": content,
                "style": style,
                "steps": options.steps,
                "seconds": round(time.perf_counter() - since, 1),
                "cpu_seconds": round(now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime, 1),
            }
            with (place / "times.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
    rows: list[list[Path | None]] = [[None, *styles.values()]]
    rows += [
        [path, *(place / name / f"{content}.{style}.png" for style in styles)] for content, path in contents.items()
    ]
    sheet(rows, min(options.size, 256)).save(place / f"{name}.png")


def beside(options: argparse.Namespace, contents: dict[str, Path], styles: dict[str, Path]) -> None:
    place = options.out / str(options.size)
    rows = [
        [place / name / f"{content}.{style}.png" for style in styles for name in options.beside] for content in contents
    ]
    sheet(rows, 160).save(place / "beside.png")
    print(f"{place / 'beside.png'}: in pairs, {' and '.join(options.beside)}")


def blind(options: argparse.Namespace, contents: dict[str, Path], styles: dict[str, Path]) -> None:
    place = options.out / str(options.size)
    folder = place / "blind"
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng()
    pairs = [
        (content, style)
        for content in contents
        for style in styles
        if all((place / name / f"{content}.{style}.png").exists() for name in options.blind)
    ]
    key = {}
    for number, index in enumerate(random.permutation(len(pairs)), 1):
        content, style = pairs[index]
        sides = [options.blind[side] for side in random.permutation(2)]
        rows: list[list[Path | None]] = [[contents[content], styles[style]]]
        rows.append([place / name / f"{content}.{style}.png" for name in sides])
        sheet(rows, options.size).save(folder / f"{number:02}.png")
        key[f"{number:02}"] = {"content": content, "style": style, "left": sides[0], "right": sides[1]}
    (folder / "key.json").write_text(json.dumps(key, indent=1))
    print(f"{len(key)} pairs in {folder}; key.json says whose is whose")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--recipe", action="append")
    parser.add_argument("--contents", nargs="+", choices=CONTENTS, default=CONTENTS)
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=STYLES)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--beside", nargs=2, metavar="RECIPE")
    parser.add_argument("--blind", nargs=2, metavar="RECIPE")
    options = parser.parse_args()
    contents = sources(options.out / "contents", tuple(options.contents))
    styles = sources(options.out / "styles", tuple(options.styles))
    if options.beside:
        return beside(options, contents, styles)
    if options.blind:
        return blind(options, contents, styles)
    for recipe in options.recipe or ["default"]:
        make(options, recipe, contents, styles)


if __name__ == "__main__":
    main()
