"""How to learn a few hundred pictures: anew, from the generator that ships, with FreezeD; by equal processor time.

    launch/local.sh python benchmarks/held_out.py FOLDER --out SPLIT
    launch/local.sh jaxgan data make SPLIT/held_out --size 64 --out SET
    launch/local.sh python benchmarks/fine_tuning.py SET WHAT ... --out DIRECTORY [--marks 5 10 20 30]

WHAT is what families.py takes: `own_images`, `fine_tuned=emoji:start=emoji`,
`frozen=emoji:start=emoji,discriminator.freeze=2`. Every fifth picture of SET is kept back (DIRECTORY/kept.npz); the
others are trained on (DIRECTORY/learned.npz). At every mark there are the samples and the sheet of families.py, whose
measures are beside all that was learned, and how far the discriminator takes the kept pictures for generated ones
(overfitting) and samples are nearer to learned pictures than kept ones are (memorisation, in VGG16). Curves go to
DIRECTORY/curves.png; DIRECTORY/NAME/MARK-neighbours.png shows samples beside the learned pictures nearest to them. The
same command again leaves out what is done.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import agreement
import families
import numpy as np

from jaxgan import config as cfg
from jaxgan.evaluate import logits, measures, neighbours, origins
from jaxgan.run import directory
from jaxgan.support import images

LAYERS, DEEP = families.LAYERS, families.LAYERS[-1]
CURVES = (*(f"frechet in vgg16:{layer}" for layer in LAYERS), "overfitting", "memorisation")


def train(config: cfg.Config, run: Path, mark: float) -> None:
    """Trains in this process until a mark, and asks the discriminator about the kept pictures."""
    if not (run / f"{mark:g}.npz").is_file():
        families.train(config, run, mark)
    trained = directory.read(run)
    said = []
    for name in ("learned", "kept"):
        origin: Any = origins.load(str(run.parent / f"{name}.npz"))
        said.append(logits.of(trained, origin, np.arange(origin.count)))
    made = origins.samples(str(run), trained, families.SEED)
    found = measures.overfitting(said[0], said[1], logits.of(trained, made, np.arange(400)))
    (run / f"{mark:g}.overfitting").write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("what", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--marks", type=float, nargs="+", default=[5, 10, 20, 30], help="minutes of processor time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out
    real: Any = origins.load(str(options.set))
    pictures = np.concatenate(list(real.blocks(np.arange(real.count))))
    back = np.arange(len(pictures)) % 5 == 0
    learned, kept = pictures[~back], pictures[back]
    for name, part in (("learned", learned), ("kept", kept)):
        if not (path := out / f"{name}.npz").is_file():  # Written once: runs notice when their data's file changes.
            np.savez_compressed(path, image=part)
    runs = families.train_all(options.what, out / "learned.npz", out, options.marks, options.seed, train, "overfitting")
    families.plot(out / "curves.png", judge(runs, learned, kept), CURVES)


def judge(runs: list[Path], learned: np.ndarray, kept: np.ndarray) -> dict[Path, dict[float, dict[str, float]]]:
    """Measures of all marks of all runs; prints a table of them, and writes neighbours."""
    look, all_found = agreement.vgg16(), {}
    theirs, unseen = look(learned), look(kept)
    print(f"| what | minutes | steps | {' | '.join(CURVES)} |\n|{'---|' * (3 + len(CURVES))}")
    for run in runs:
        for line in (run / "marks").read_text().splitlines():
            mark, steps, _ = line.split()
            made = np.load(run / f"{mark}.npz")["arr_0"][: agreement.COUNT]
            ours = look(made)
            found = {
                f"frechet in vgg16:{layer}": measures.frechet(ours[layer], theirs[layer]).value for layer in LAYERS
            }
            found["overfitting"] = json.loads((run / f"{mark}.overfitting").read_text())[0]
            found["memorisation"] = measures.memorisation(ours[DEEP], theirs[DEEP], unseen[DEEP]).value
            all_found.setdefault(run, {})[float(mark)] = found
            values = " | ".join(f"{found[one]:.3g}" for one in CURVES)
            print(f"| {run.name} | {mark} | {int(steps):,} | {values} |", flush=True)
            near: Any = neighbours.nearest(made[: neighbours.SAMPLES], [learned])
            images.save(run / f"{mark}-neighbours.png", near.sheet)
    return all_found


if __name__ == "__main__":
    main()
