"""Several runs beside one another: a table, and a picture of their samples and curves."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from jaxgan import config as cfg
from jaxgan.evaluate import modes
from jaxgan.latent import sampling
from jaxgan.run import checkpoint, clock, directory, history, plots, summary
from jaxgan.run.history import MEASURES, History
from jaxgan.support import images

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
"""Of runs, in order: Okabe and Ito's, which people who are blind to red or green tell apart, too."""
_STYLES = ("-", "--", ":", "-.")  # One round of colours each.
_SIDE = 6  # Pictures in a row, and a column, of a sheet.
_POINTS = 2000


@dataclasses.dataclass(frozen=True)
class Run:
    """A run to be compared.

    Attributes:
        name: what it is called in table and picture.
        trained: its newest state, or its best one.
        history: of its lines.
        times: steps and seconds (see `clock.read`); None where they are not known.
        newest: the steps done, which `history` is of.
    """

    name: str
    trained: directory.Trained
    history: History
    times: tuple[np.ndarray, np.ndarray] | None
    newest: int

    @property
    def step(self) -> int:
        """The step whose samples are looked at."""
        return int(self.trained.state.step)

    def pictures(self, steps: Any) -> np.ndarray:
        """How many real pictures training was shown by these steps."""
        return np.array([self.trained.experiment.pictures(int(step)) for step in np.atleast_1d(steps)])

    def seconds(self, steps: Any) -> np.ndarray:
        """How long it took to get to these steps; NaN where that is not known."""
        steps = np.atleast_1d(steps)
        return np.full(len(steps), np.nan) if self.times is None else np.interp(steps, *self.times)


def read(paths: Sequence[Path], best: bool = False) -> list[Run]:
    """Reads runs, while they train or after.

    Args:
        paths: their directories.
        best: from their best checkpoints.

    Raises:
        UserError: as `directory.read`.
    """
    names = [path.absolute().name for path in paths]
    names = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    return [
        Run(
            name,
            trained,
            history.read(path / "metrics.jsonl", checkpoint.record(path)),
            clock.read(path),
            max(checkpoint.steps(path), default=int(trained.state.step)),
        )
        for name, path in zip(names, paths, strict=True)
        for trained in [directory.read(path, best)]
    ]


def table(runs: Sequence[Run]) -> str:
    """A column a run, in Markdown: how far it is, measures now and at their best, and where the configs differ."""
    rows = [["", *(run.name for run in runs)]]

    def add(name: str, cell: Callable[[Run], str]) -> None:
        rows.append([name, *map(cell, runs)])

    add("step", lambda run: f"{run.newest:,} of {run.trained.experiment.steps:,}")
    add("time", lambda run: _time(run.seconds(run.newest)[0]))
    add("pictures seen", lambda run: f"{run.pictures(run.newest)[0]:,}")
    add("state", lambda run: run.history.last.get("diagnosis", "-"))
    for name in _known(runs):
        add(_label(name), lambda run, name=name: _number(run.history.last.get(name)))
        if any(name in run.history.best for run in runs):
            add(f"{_label(name)}, best", lambda run, name=name: _best(run, name))
    for name, values in cfg.differing([run.trained.config for run in runs]).items():
        rows.append([name, *("-" if value is None else str(value) for value in values)])
    return summary.markdown(rows)


def draw(runs: Sequence[Run], seed: int = 0) -> Figure:
    """Samples of the same latents side by side, and under them curves over steps, time and pictures seen.

    Args:
        runs: at least one.
        seed: of the latents.
    """
    names = ["discriminator/loss", "generator/loss", *_judged(runs)]
    axes_of = {"step": lambda run, steps: np.asarray(steps, float)}
    unit, seconds = _unit(max([0, *(times[-1] for _, times in (run.times for run in runs if run.times))]))
    if seconds:
        axes_of[f"time ({unit})"] = lambda run, steps: run.seconds(steps) / seconds
    axes_of["pictures seen"] = lambda run, steps: run.pictures(steps)
    width = max(4 * len(axes_of), 2.8 * len(runs))
    heights = min(4.0, width / len(runs)) + 0.35, 2.1 * len(names) + 0.3
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = parts
    for axes, run, colour in zip(above.subplots(1, len(runs), squeeze=False)[0], runs, _colours(runs), strict=True):
        _draw_samples(axes, run, seed)
        axes.set_title(f"{run.name}\nstep {run.step:,}", fontsize=10, color=colour[0], fontweight="bold")
    grid = below.subplots(len(names), len(axes_of), squeeze=False, sharex="col", sharey="row")
    for row, name in zip(grid, names, strict=True):
        for axes, along in zip(row, axes_of.values(), strict=True):
            for run, (colour, style) in zip(runs, _colours(runs), strict=True):
                _draw_curve(axes, run, name, along, colour, style)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(_label(name))
        if limits := _limits(runs, name):
            row[0].set_ylim(*limits)
    for axes, name in zip(grid[-1], axes_of, strict=True):
        axes.set_xlabel(name)
        axes.set_xlim(left=0)
        if not name.startswith("time"):
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if seconds and (unknown := [run.name for run in runs if run.times is None]):
        text = f"not known of {', '.join(unknown)}"
        grid[0][1].text(0.98, 0.95, text, transform=grid[0][1].transAxes, ha="right", va="top", fontsize=8, color="0.4")
    handles, labels = grid[0][0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside upper center", ncols=min(4, len(runs)), frameon=False)
    return figure


def _known(runs: Sequence[Run]) -> list[str]:
    """The metrics that are shown of any of these runs: those against the data, then a sweep's."""
    found = {name: None for run in runs for name in run.history.curves if name.startswith(MEASURES)}
    return [*found, *(n for n in summary.SHOWN if n not in found and any(n in run.history.last for run in runs))]


def _judged(runs: Sequence[Run]) -> list[str]:
    """What samples are judged by in curves: measures against the data where there are some."""
    names = [name for name in summary.SHOWN if not name.endswith("/loss")]
    names = [name for name in names if any(len(run.history.series(name)) for run in runs)]
    names = [name for name in names if any(np.isfinite(_series(run, name)[1]).any() for run in runs)]
    return [name for name in names if name.startswith(MEASURES)] or names


def _series(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    series = run.history.series(name)
    return np.array(series.steps), series.column(name, "first" if name in history.LOOKED else "mean")


def _draw_curve(
    axes: Any, run: Run, name: str, along: Callable[[Run, np.ndarray], np.ndarray], colour: str, style: str
) -> None:
    steps, values = _series(run, name)
    if not len(steps):
        axes.plot([], [], color=colour, linestyle=style, label=run.name)  # It has its place in the legend.
        return
    x, losses = along(run, steps), name in history.PLOTTED
    if losses:
        axes.plot(x, values, color=colour, alpha=0.2, linewidth=0.7)
        values = plots.smooth(values, max(1, len(values) // 40))
    marker = "" if losses or len(steps) > 40 else "."
    axes.plot(x, values, color=colour, linestyle=style, marker=marker, linewidth=1.4, label=run.name)


def _limits(runs: Sequence[Run], name: str) -> tuple[float, float] | None:
    """From where to where losses are drawn: what is rare and far away would flatten the rest."""
    if name not in history.PLOTTED:
        return None
    values = np.concatenate([_series(run, name)[1] for run in runs])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [0.01, 0.99])
    room = 0.05 * (high - low) or 0.1
    return float(low - room), float(high + room)


def _draw_samples(axes: Any, run: Run, seed: int) -> None:
    trained = run.trained
    points = len(trained.shape) == 1
    count = _POINTS if points else _SIDE**2
    latent = sampling.draw_latents(trained.game, jax.random.key(seed), count)
    label = sampling.labels(count, trained.classes)
    if points:
        samples = sampling.outputs(trained.game, trained.state.ema, latent, label)
        judge = trained.experiment.judge
        assert isinstance(judge, modes.Points)
        centres = np.array(judge.mixture.centres)
        axes.scatter(*centres.T, s=70, facecolors="none", edgecolors="black", linewidths=0.8)
        axes.scatter(*samples.T, s=2, color="0.4", linewidths=0)
        reach = 1.25 * float(np.max(centres))
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        return
    sheet = images.grid(sampling.pictures(trained.game, trained.state.ema, latent, label), _SIDE)
    axes.imshow(sheet[..., 0] if sheet.shape[-1] == 1 else sheet, cmap="gray", interpolation="antialiased")
    axes.axis("off")


def _colours(runs: Sequence[Run]) -> list[tuple[str, str]]:
    count = len(COLOURS)
    return [(COLOURS[place % count], _STYLES[place // count % len(_STYLES)]) for place in range(len(runs))]


def _label(name: str) -> str:
    known = summary.SHOWN.get(name, name.removeprefix(MEASURES).replace("_", " "))
    return f"{known} at looks" if name.startswith("diversity/") else known


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"


def _best(run: Run, name: str) -> str:
    best = run.history.best.get(name)
    return f"{best['score']:.4g} at step {best['step']:,}" if best else "-"


def _unit(seconds: float) -> tuple[str, float]:
    """In what a time is told: its name, and the seconds it has."""
    if not seconds:
        return "", 0
    return ("hours", 3600) if seconds >= 7200 else ("minutes", 60) if seconds >= 120 else ("seconds", 1)


def _time(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "-"
    hours, rest = divmod(round(float(seconds)), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s" if minutes else f"{left} s"
