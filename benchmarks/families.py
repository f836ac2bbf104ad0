"""Which networks and settings learn fastest: all on one set of pictures, by equal processor time.

    launch/local.sh jaxgan data make FOLDER --size 64 --out SET
    launch/local.sh python benchmarks/families.py SET WHAT ... --out DIRECTORY [--marks 2 5 10]

WHAT is a config, with settings of one's own and a name if one likes: `stylegan2_64`, `own_images:r1=1,penalty_every=4`,
`spectral=own_images:discriminator.norm=spectral,loss=hinge`. Each is trained in a process of its own up to every mark,
minutes of processor time (compiling, the process's start and the looks at samples not counted, so that what else the
machine does counts little); there 2,000 samples go to DIRECTORY/NAME/MARK.npz and a sheet of 64 to MARK.png: look at
them. Then a table of measures beside half of the real pictures (those of agreement.py: Frechet distance, precision,
recall and coverage in two layers of VGG16), and curves of them in DIRECTORY/curves.png. The same command again leaves
out what is done; with further marks it goes on.
"""

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import agreement
import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from jaxgan import config as cfg
from jaxgan.evaluate import origins
from jaxgan.latent import sampling
from jaxgan.run import directory, programs, training
from jaxgan.support import cache, images

FAMILIES = ("own_images", "progressive_64", "msg_64", "stylegan2_64", "r3gan_64", "gat_64")
COUNT, SEED, SHEET = 2000, 1, 64
LAYERS = ("relu3_3", "relu5_3")
SHARES = ("precision", "recall", "coverage")
EVERY = 1_000_000  # Steps: never.


def parse(what: str) -> tuple[str, cfg.Config]:
    """A name and a config, of [NAME=]CONFIG[:FIELD=VALUE,...]."""
    head, _, settings = what.partition(":")
    name, _, target = head.rpartition("=")
    changes = {}
    for setting in filter(None, settings.split(",")):
        field, _, text = setting.partition("=")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        changes[field] = value
    return name or what.replace(":", "+"), cfg.replaced(cfg.load(target)[1], changes)


def spent(run: Path) -> float:
    """Processor seconds that a run has had."""
    noted = run / "seconds"
    return float(noted.read_text()) if noted.is_file() else 0


@contextlib.contextmanager
def stopped_after(budget: float) -> Iterator[Any]:
    """Stops training in this process when it has had so many processor seconds, without those of compiling.

    Yields:
        Tells how many it has had.
    """
    busy, compile_steps, began = threading.Lock(), programs.compile_steps, 0.0

    def timed(*arguments: Any) -> Any:
        nonlocal began
        with busy:
            since = time.process_time()
            compiled = compile_steps(*arguments)
            if not began:  # What came before the first step.
                began = since
            began += time.process_time() - since
        return compiled

    def used() -> float:
        with busy:
            return time.process_time() - began if began else 0

    def watch() -> None:
        while used() < budget:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    programs.compile_steps = timed
    threading.Thread(target=watch, daemon=True).start()
    yield used


def train(config: cfg.Config, run: Path, mark: float) -> None:
    """Trains in this process until a run has had so many processor minutes, and keeps samples of it."""
    cache.keep_programs()
    before = spent(run)
    with stopped_after(60 * mark - before) as used:
        training.train(config, run, quiet=True)
        total = before + used()
    trained = directory.read(run)
    game, ema = trained.game, trained.state.ema
    latent = sampling.draw_latents(game, jax.random.key(SEED), COUNT)
    made = sampling.pictures(game, ema, latent, sampling.labels(COUNT, trained.classes))
    np.savez_compressed(run / f"{mark:g}.npz", made)
    images.save(run / f"{mark:g}.png", images.grid(made[:SHEET], 8))
    (run / "seconds").write_text(f"{total:.1f}")
    with (run / "marks").open("a") as marks:
        marks.write(f"{mark:g} {int(trained.state.step)} {total:.1f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("what", nargs="*", default=FAMILIES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--marks", type=float, nargs="+", default=[2, 5, 10], help="minutes of processor time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beside", metavar="SET", help="real pictures of the table, if not those that were learned")
    parser.add_argument("--no-judge", action="store_true", help="leave out the table")
    options = parser.parse_args()
    runs = train_all(options.what, options.set, options.out, options.marks, options.seed)
    if not options.no_judge:
        real: Any = origins.load(options.beside or str(options.set))
        wanted = [*(f"frechet in vgg16:{layer}" for layer in LAYERS), f"coverage in vgg16:{LAYERS[-1]}"]
        plot(options.out / "curves.png", judge(real, runs), wanted)


def train_all(
    what: Iterable[str],
    data: Path,
    out: Path,
    marks: Iterable[float],
    seed: int,
    train: Callable[[cfg.Config, Path, float], None] = train,
    made: str = "npz",
) -> list[Path]:
    """Trains all in turn, each up to every mark in processes of their own, but for what has been done.

    Args:
        what: as `parse` takes it.
        data: what is learned.
        out: where runs are made.
        marks: minutes of processor time.
        seed: of the runs.
        train: up to one mark.
        made: the suffix of what that makes at last.

    Returns:
        The runs.
    """
    out.mkdir(parents=True, exist_ok=True)
    runs = []
    for name, config in map(parse, what):
        run = out / name
        runs.append(run)
        changes: dict[str, Any] = {"data": str(data.absolute()), "size": None, "seed": seed}
        changes |= {"steps": EVERY, "sample_every": EVERY, "checkpoint_every": EVERY}
        config = dataclasses.replace(config, **changes)
        for mark in sorted(marks):
            if not (run / f"{mark:g}.{made}").is_file():
                process = multiprocessing.get_context("spawn").Process(target=train, args=(config, run, mark))
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{run}: failed")
                print(f"{name}: {(run / 'marks').read_text().splitlines()[-1]}", flush=True)
    return runs


def judge(real: origins.Origin, runs: list[Path]) -> dict[Path, dict[float, dict[str, float]]]:
    """Measures of all marks of all runs, kept beside the samples; prints a row of a table of each."""
    add, found = agreement.measurer(real), {}
    print(f"| run | minutes | steps | sliced Wasserstein | {' | '.join(LAYERS)} |\n|---|---|---|---|---|---|")
    for run in runs:
        for line in (run / "marks").read_text().splitlines():
            mark, steps, _ = line.split()
            path = run / f"{mark}.json"
            mine: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
            add(np.load(path.with_suffix(".npz"))["arr_0"], mine)
            path.write_text(json.dumps(mine, indent=1))
            text = f"| {run.name} | {mark} | {int(steps):,} | {mine['sliced_wasserstein']:.0f} |"
            for layer in LAYERS:
                shares = " ".join(f"{mine[f'{one} in vgg16:{layer}']:.2f}" for one in SHARES)
                text += f" {mine[f'frechet in vgg16:{layer}']:.0f}, {shares} |"
            print(text, flush=True)
            found.setdefault(run, {})[float(mark)] = mine
    return found


def plot(path: Path, found: dict[Path, dict[float, dict[str, float]]], wanted: Sequence[str]) -> None:
    """Writes curves of measures over minutes."""
    figure = Figure(figsize=(4 * len(wanted), 4), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(wanted)), wanted, strict=True):
        for run, marks in found.items():
            axes.plot([*marks], [mine[one] for mine in marks.values()], marker=".", label=run.name)
        axes.set(title=one, xlabel="minutes of processor time", xscale="log")
        if one.startswith("frechet"):
            axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(ScalarFormatter())
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].legend()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
