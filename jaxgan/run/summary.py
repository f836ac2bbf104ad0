"""The outcome of a sweep: a table and a plot of medians with their spread."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxgan.run import metrics

SHOWN = {
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
    lines: dict[str, list[list[dict[str, Any]]]] = {}
    failed: Counter[str] = Counter()
    for values, run in runs:
        lines.setdefault(values, []).append(metrics.read(run / "metrics.jsonl"))
        failed[values] += (run / "failed").exists()
    shown = [name for name in SHOWN if any(name in line for group in lines.values() for line in group[0])]
    rows = [["values", "runs", *(SHOWN[name] for name in shown), "state"]]
    for values, group in lines.items():
        cells = [_cell([_last(own, name) for own in group]) for name in shown]
        states = Counter(_last(own, "diagnosis") or "unknown" for own in group)
        if failed[values]:
            states["failed"] = failed[values]
        rows.append([values or "-", str(len(group)), *cells, ", ".join(f"{n} {state}" for state, n in states.items())])
    table = _markdown(rows)
    (out / "table.md").write_text(table)
    _plot(out / "sweep.png", lines, shown)
    return table


def _last(lines: list[dict[str, Any]], name: str) -> Any:
    return next((line[name] for line in reversed(lines) if name in line), None)


def _cell(values: list[Any]) -> str:
    numbers = np.array([value for value in values if value is not None], np.float64)
    if not len(numbers):
        return "-"
    return f"{np.median(numbers):.3g} ({numbers.min():.3g} to {numbers.max():.3g})"


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts) + "\n"


def _plot(path: Path, lines: dict[str, list[list[dict[str, Any]]]], shown: list[str]) -> None:
    if not shown:
        return
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.5 * columns, 3 * rows), layout="constrained")
    for place, name in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for values, group in lines.items():
            steps = sorted({line["step"] for own in group for line in own if name in line})
            by_step = [
                [line[name] for own in group for line in own if line["step"] == step and name in line]
                for step in _thinned(steps)
            ]
            low, middle, high = np.array([np.quantile(found, [0, 0.5, 1]) for found in by_step]).T
            axes.plot(_thinned(steps), middle, label=values or "median of all seeds")
            axes.fill_between(_thinned(steps), low, high, alpha=0.2, linewidth=0)
        axes.set_title(SHOWN[name], fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _thinned(steps: list[int]) -> list[int]:
    return steps[:: max(1, len(steps) // 200)]
