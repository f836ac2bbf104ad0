"""What a long run costs beside a short one: opening it, a look, and an end.

    launch/local.sh python benchmarks/long_run.py

Each size has a process of its own and as many made-up lines of training steps, with a look every thousandth part of
them. Milliseconds (medians) and memory:

    open    the files are opened at the mark of a checkpoint: the metrics are cut there, the history is taken over
    look    a look's bookkeeping: its line, its diagnosis, and the mark for a checkpoint
    stop    all lines are handed to the system, losses.png is drawn
    RSS     the most that the process had while it did these, and how much more than before

Then the ratios of the longest to the shortest. `read` is what a run costs once whose checkpoint has no mark.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.run import diagnosis, history, metrics, plots
from jaxgan.run.history import History

PARTS = [f"{player}/{name}" for player in ("discriminator", "generator") for name in ("loss", "gradient_norm")]
PARTS += [f"discriminator/{name}" for name in ("real", "fake", "separation", "accuracy_real", "accuracy_fake")]


def made_up(count: int, path: Path) -> dict[str, Any]:
    """Writes a metrics.jsonl, and returns the mark at its end."""
    random = np.random.default_rng(0)
    found, every = History(), max(1, count // 1000)
    with path.open("w", buffering=2**20) as file:
        for step in range(1, count + 1):
            lines = [{"step": step, **dict(zip(PARTS, random.random(len(PARTS), np.float32).tolist(), strict=True))}]
            if step % every == 0:
                lines.append(look(step, random))
            for line in lines:
                found.add(line)
                file.write(json.dumps(line) + "\n")
    return {"offset": path.stat().st_size, "history": json.loads(json.dumps(found.to_json()))}


def look(step: int, random: np.random.Generator) -> dict[str, Any]:
    names = ("diversity/pixels", "diversity/features", "diversity/coverage")
    return {"step": step, **dict(zip(names, random.random(3).tolist(), strict=True)), "diagnosis": "healthy"}


def milliseconds(work: Callable[[], Any], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        since = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - since))
    return statistics.median(taken)


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(run: Path, count: int, mark: dict[str, Any]) -> dict[str, float]:
    """What is done when a run goes on, in this process."""
    random = np.random.default_rng(1)
    plots.plot_losses(run, History.from_json(mark["history"]))  # Its libraries are loaded.
    before, path = peak(), run / "metrics.jsonl"

    def opened() -> None:
        with metrics.MetricsWriter(run, mark["offset"], count):
            diagnosis.diagnose(history.read(path, mark))

    figures = {"open": milliseconds(opened, 51)}
    with metrics.MetricsWriter(run, mark["offset"], count) as writer:
        own = history.read(path, mark)

        def looked() -> None:
            line = look(count, random)
            own.add(line)
            diagnosis.diagnose(own)
            writer.write(count, line)
            json.dumps({"offset": writer.flush(), "history": own.to_json()})

        def stopped() -> None:
            writer.flush()
            plots.plot_losses(run, own)

        figures |= {"look": milliseconds(looked, 51), "stop": milliseconds(stopped)}
    return figures | {"RSS": peak(), "RSS more": peak() - before}


def child(run: Path, count: int, mark: dict[str, Any], answers: Any) -> None:
    answers.put(measure(run, count, mark))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[1000, 1_000_000])
    counts = parser.parse_args().counts
    found = []
    context = multiprocessing.get_context("spawn")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            mark = made_up(count, Path(folder) / "metrics.jsonl")
            answers = context.Queue()
            process = context.Process(target=child, args=(Path(folder), count, mark, answers))
            process.start()
            figures = answers.get()
            process.join()
            read = milliseconds(lambda folder=folder: history.read(Path(folder) / "metrics.jsonl"), 1)
        found.append(figures)
        shown = ", ".join(f"{name} {value:.1f}" for name, value in figures.items())
        kilobytes = len(json.dumps(mark)) / 1000
        print(f"{count:9,} lines: {shown}; mark {kilobytes:.0f} kB; read {read / 1e3:.1f} s", flush=True)
    ratios = {name: found[-1][name] / found[0][name] for name in ("open", "look", "stop", "RSS")}
    print("ratios: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    print(f"memory: {found[-1]['RSS'] - found[0]['RSS']:+.1f} MB")


if __name__ == "__main__":
    main()
