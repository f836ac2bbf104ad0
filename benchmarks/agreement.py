"""Which measure agrees with eyes: sheets of samples to be put in order without their names, and each measure's order.

    launch/local.sh python benchmarks/agreement.py spoil SET --out DIRECTORY
    launch/local.sh python benchmarks/agreement.py blind --out DIRECTORY --round 1
    launch/local.sh python benchmarks/agreement.py measure SET --out DIRECTORY [--weights lite0=FILE]
    launch/local.sh python benchmarks/agreement.py compare --out DIRECTORY [--exclude NAME ...]

DIRECTORY holds an .npz file of samples for each sheet (benchmarks/families.py makes such). `spoil` adds some that are
made of one half of the real pictures: those themselves, blurred by a pixel, with noise, as a mosaic of 4 px, one
picture repeated. `blind` writes round-1/A.png, B.png, ... in an order of chance, and what they are to round-1.json.
Whoever looks writes the letters from best to worst, in one line, to round-1.txt; then the same with --round 2.
`measure` takes every measure of all sheets in every feature. `compare` prints how the ranks of each measure correlate
with those by eye (Spearman), the mean of the rounds, and those of the rounds with one another.
"""

import argparse
import json
import random
import re
import string
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage, stats

from jaxgan.evaluate import features, origins, report
from jaxgan.support import images

COUNT, SEED, SHEET = 1800, 0, 64
LAYERS = tuple(f"vgg16:{layer}" for layer in ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"))
LITE0 = ("lite0:block2", "lite0:block4", "lite0:block10", "lite0")
VARIANTS = "-1f3f[b-f]"
SMALLER = ("frechet", "kernel", "sliced_wasserstein")
MEASURES = ("frechet", "kernel", "precision", "recall", "density", "coverage")


def spoil(real: origins.Origin, out: Path) -> None:
    """Writes what can be made of one half of the real pictures."""
    half = origins.halves(real, COUNT, SEED, lambda name: re.sub(VARIANTS, "", name))[1]
    pictures = np.concatenate(list(real.blocks(half)))
    noise = np.random.default_rng(SEED).normal(0, 20, pictures.shape)
    count, side = len(pictures), pictures.shape[1]
    means = pictures.reshape(count, side // 4, 4, side // 4, 4, -1).mean((2, 4))
    made = {
        "data": pictures,
        "blurred": np.stack([ndimage.gaussian_filter(picture.astype(float), (1, 1, 0)) for picture in pictures]),
        "noise": np.clip(pictures + noise, 0, 255),
        "mosaic": means.repeat(4, 1).repeat(4, 2),
        "repeated": pictures[:1].repeat(count, 0),
    }
    for name, array in made.items():
        np.savez_compressed(out / f"{name}.npz", np.round(array).astype(np.uint8))


def sheets(out: Path) -> dict[str, np.ndarray]:
    """All samples, by name."""
    return {path.stem: np.load(path)["arr_0"] for path in sorted(out.glob("*.npz"))}


def blind(out: Path, number: int) -> None:
    """Writes sheets without names."""
    found = sheets(out)
    names = sorted(found)
    random.shuffle(names)
    key = dict(zip(string.ascii_uppercase, names, strict=False))
    for letter, name in key.items():
        step = len(found[name]) // SHEET  # Of data, too, whose order is not one of chance.
        images.save(out / f"round-{number}" / f"{letter}.png", images.grid(found[name][::step][:SHEET], 8, 2, 1024))
    (out / f"round-{number}.json").write_text(json.dumps(key))


def measure(real: origins.Origin, out: Path, weights: dict[str, str]) -> None:
    """Writes every measure of all sheets to measures.json; what is there already stays."""
    path = out / "measures.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    for name in (*LAYERS, *(LITE0 if "lite0" in weights else ())):
        looked = features.load(name, weights.get(name.split(":")[0]))
        for sheet in sheets(out):
            if f"frechet in {name}" in found.setdefault(sheet, {}):
                continue
            wanted = (*MEASURES, *(("sliced_wasserstein",) if name == LAYERS[0] else ()))
            plan = report.Options(count=COUNT, measures=wanted, variants=VARIANTS, seed=SEED)
            samples = origins.load(str(out / f"{sheet}.npz"))
            assert isinstance(samples, origins.Origin)
            for one, value in report.judge(samples, real, looked, plan).measures.items():
                if value is not None:
                    found[sheet][one if one == "sliced_wasserstein" else f"{one} in {name}"] = value.value
            path.write_text(json.dumps(found, indent=1))
            print(sheet, name, flush=True)


def compare(out: Path, exclude: list[str]) -> None:
    """Prints the table."""
    rounds = []
    for path in sorted(out.glob("round-*.txt")):
        key: dict[str, str] = json.loads(path.with_suffix(".json").read_text())
        order = [key[letter] for letter in path.read_text().split()]
        rounds.append([name for name in order if name not in exclude])
    names = sorted(rounds[0])
    ranks = np.array([[order.index(name) for name in names] for order in rounds], float)
    eyes = ranks.mean(0)
    print("from best to worst: " + ", ".join(names[index] for index in np.argsort(eyes)))
    if len(rounds) > 1:
        print(f"the rounds with one another: {_correlation(ranks[0], ranks[1]):.2f}")
    found: dict[str, dict[str, float]] = json.loads((out / "measures.json").read_text())
    values: dict[str, np.ndarray] = {}
    for one in next(iter(found.values())):
        sign = 1 if one.split(" ")[0] in SMALLER else -1
        values[one] = sign * np.array([found[name][one] for name in names])
    swd = np.log(values["sliced_wasserstein"])
    for one in list(values):
        if one.startswith("frechet"):
            values[f"sliced_wasserstein and {one}"] = swd + np.log(values[one])
    table = sorted(((_correlation(eyes, value), one) for one, value in values.items()), reverse=True)
    for correlation, one in table:
        print(f"{correlation:6.2f}  {one}")


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(stats.spearmanr(a, b).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("spoil", "blind", "measure", "compare"))
    parser.add_argument("set", nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--weights", nargs="*", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--exclude", nargs="*", default=[])
    options = parser.parse_args()
    real: Any = origins.load(options.set) if options.set else None
    match options.what:
        case "spoil":
            spoil(real, options.out)
        case "blind":
            blind(options.out, options.round)
        case "measure":
            measure(real, options.out, dict(pair.split("=", 1) for pair in options.weights))
        case "compare":
            compare(options.out, options.exclude)


if __name__ == "__main__":
    main()
