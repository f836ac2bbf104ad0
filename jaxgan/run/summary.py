"""The outcome of a sweep: a table and a plot of medians with their spread."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxgan.run import checkpoint, history
from jaxgan.run.history import History, Thinned
from jaxgan.support.files import replacing, write_atomically

SHOWN = {
    "evaluate/frechet": "Frechet",
    "evaluate/sliced_wasserstein": "sliced Wasserstein",
    "modes/share": "modes",
    "modes/high_quality": "high quality",
    "modes/kl": "reverse KL",
    "diversity/coverage": "coverage",
    "diversity/features": "variety",
    "discriminator/loss": "D loss",
    "generator/loss": "G loss",
}


def write(out: Path, runs: Sequence[tuple[str, Path]]) -> str:
    """Writes table.md and sweep.png of a sweep from its runs' metrics.

    Args:
        out: the sweep's directory.
        runs: of each member its values, in words, and its directory.

    Returns:
        The table, in Markdown: for every combination of values the median over its seeds, and the range.
    """
    found: dict[str, list[History]] = {}
    failed: Counter[str] = Counter()
    for values, run in runs:
        found.setdefault(values, []).append(history.read(run / "metrics.jsonl", checkpoint.record(run)))
        failed[values] += (run / "failed").exists()
    shown = [name for name in SHOWN if any(name in group[0].last for group in found.values())]
    rows = [["values", "runs", *(SHOWN[name] for name in shown), "state"]]
    for values, group in found.items():
        cells = [_cell([own.last.get(name) for own in group]) for name in shown]
        states = Counter(own.last.get("diagnosis", "unknown") for own in group)
        if failed[values]:
            states["failed"] = failed[values]
        rows.append([values or "-", str(len(group)), *cells, ", ".join(f"{n} {state}" for state, n in states.items())])
    table = markdown(rows)
    write_atomically(out / "table.md", table)
    _plot(out / "sweep.png", found, shown)
    return table


def _cell(values: list[Any]) -> str:
    numbers = np.array([value for value in values if value is not None], np.float64)
    if not len(numbers):
        return "-"
    return f"{np.median(numbers):.3g} ({numbers.min():.3g} to {numbers.max():.3g})"


def markdown(rows: list[list[str]]) -> str:
    """A table in Markdown; its first row is the head."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts) + "\n"


def _plot(path: Path, found: dict[str, list[History]], shown: list[str]) -> None:
    if not shown:
        return
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.5 * columns, 3 * rows), layout="constrained")
    for place, name in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for values, group in found.items():
            steps, low, middle, high = _spread([own.series(name) for own in group], name)
            axes.plot(steps, middle, label=values or "median of all seeds")
            axes.fill_between(steps, low, high, alpha=0.2, linewidth=0)
        axes.set_title(SHOWN[name], fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110)


def _spread(group: Sequence[Thinned], name: str) -> np.ndarray:
    """Steps, and the smallest, the middle and the largest value there of runs of one kind: [4, steps].

    The steps are those of the longest run: one that ended before was thinned less, and has them, too.
    """
    kind = "first" if name in history.LOOKED else "mean"
    own = [dict(zip(series.steps, series.column(name, kind).tolist(), strict=True)) for series in group]
    by_step = {step: [values[step] for values in own if step in values] for step in max(group, key=len).steps}
    known = {step: found for step, values in by_step.items() if (found := [x for x in values if not np.isnan(x)])}
    return np.array([[step, *np.quantile(found, [0, 0.5, 1])] for step, found in known.items()]).reshape(-1, 4).T
