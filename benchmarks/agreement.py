"""Which measure agrees with eyes: sheets of samples to be put in order without their names, and each measure's order.

    launch/local.sh python benchmarks/agreement.py spoil SET --out DIRECTORY
    launch/local.sh python benchmarks/agreement.py blind --out DIRECTORY --round 1
    launch/local.sh python benchmarks/agreement.py measure SET --out DIRECTORY [--lite0 FILE]
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage, stats

from jaxgan.evaluate import features, measures, origins, report, resizing, sliced
from jaxgan.evaluate.networks import lite0
from jaxgan.style import weights
from jaxgan.support import images

COUNT, SEED, SHEET = 1000, 0, 64
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
VARIANTS = "-1f3f[b-f]"


def spoil(real: origins.Origin, out: Path) -> None:
    """Writes what can be made of one half of the real pictures."""
    pictures = _half(real, 1)
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


def _half(real: origins.Origin, which: int) -> np.ndarray:
    """One half of the real pictures, variants of one on one side."""
    halves = origins.halves(real, 1800, SEED, lambda name: re.sub(VARIANTS, "", name))
    return np.concatenate(list(real.blocks(halves[which])))


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


def measure(real: origins.Origin, out: Path, lite0: Path | None) -> None:
    """Writes every measure of all sheets to measures.json; what is there already stays."""
    path = out / "measures.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    add = measurer(real, lite0)
    for sheet, samples in sheets(out).items():
        add(samples, found.setdefault(sheet, {}))
        print(sheet, flush=True)
        path.write_text(json.dumps(found, indent=1))


def measurer(real: origins.Origin, lite0: Path | None = None) -> Callable[[np.ndarray, dict[str, float]], None]:
    """What adds to given measures those of samples that they lack, beside half of the real pictures."""
    looks = {"vgg16": vgg16()} | ({"lite0": _lite0(lite0)} if lite0 else {})
    pictures = _half(real, 0)
    wanted = {network: look(pictures) for network, look in looks.items()}
    patches = _patches(pictures)

    def add(samples: np.ndarray, mine: dict[str, float]) -> None:
        samples = samples[:COUNT]
        if "sliced_wasserstein" not in mine:
            mine["sliced_wasserstein"] = sliced.distance(_patches(samples), patches).value
        for network, look in looks.items():
            if any(f" in {network}" in name for name in mine):
                continue
            for layer, ours in look(samples).items():
                theirs = wanted[network][layer]
                mine[f"frechet in {network}:{layer}"] = measures.frechet(ours, theirs).value
                mine[f"kernel in {network}:{layer}"] = measures.kernel(ours, theirs, subsets=20).value
                for one, value in measures.neighbourhoods(ours, theirs).items():
                    mine[f"{one} in {network}:{layer}"] = value.value

    return add


Look = Callable[[np.ndarray], dict[str, np.ndarray]]


def _in_parts(apply: Callable[[jax.Array], dict[str, jax.Array]]) -> Look:
    """A function of pictures in [-1, 1] as one of any number of uint8 pictures."""
    compiled = jax.jit(apply)

    def look(pictures: np.ndarray) -> dict[str, np.ndarray]:
        filled = np.concatenate([pictures, pictures[: -len(pictures) % 50]])
        parts = [jax.device_get(compiled(part / np.float32(127.5) - 1)) for part in np.split(filled, len(filled) // 50)]
        return {name: np.concatenate([part[name] for part in parts])[: len(pictures)] for name in parts[0]}

    return look


def vgg16() -> Look:
    network = weights.load()

    def apply(x: jax.Array) -> dict[str, jax.Array]:
        return {name: jnp.mean(value, (1, 2)) for name, value in network.features((x + 1) / 2, LAYERS).items()}

    return _in_parts(apply)


def _lite0(file: Path) -> Look:
    params = lite0.from_arrays(str(file), features.read_arrays(str(file), file.read_bytes()))

    def apply(x: jax.Array) -> dict[str, jax.Array]:
        found: Any = lite0.Lite0().apply({"params": params}, resizing.resize(x, lite0.SIDE, "clean"))
        return {name: jnp.mean(found[name], (1, 2)) for name in lite0.OUTPUTS}

    return _in_parts(apply)


def _patches(pictures: np.ndarray) -> sliced.Patches:
    collector = sliced.Collector(len(pictures), SEED)
    for part in np.array_split(pictures, len(pictures) // 50):
        collector.add(np.asarray(level) for level in sliced.pyramid(jnp.asarray(part / np.float32(127.5) - 1)))
    return collector.patches()


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
        sign = 1 if one.split(" ")[0] in report.SMALLER else -1
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
    parser.add_argument("--lite0", type=Path, help="EfficientNet-lite0's trunk, .safetensors")
    parser.add_argument("--exclude", nargs="*", default=[])
    options = parser.parse_args()
    real: Any = origins.load(options.set) if options.set else None
    match options.what:
        case "spoil":
            spoil(real, options.out)
        case "blind":
            blind(options.out, options.round)
        case "measure":
            measure(real, options.out, options.lite0)
        case "compare":
            compare(options.out, options.exclude)


if __name__ == "__main__":
    main()
