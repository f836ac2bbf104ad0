"""Plots of a run."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxgan.run.history import MEASURES, History, smaller_is_better
from jaxgan.support.files import replacing


class Drawn(Figure):
    """A figure that a notebook shows, whether pyplot is there or not."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def plot_losses(run: Path, history: History) -> Path | None:
    """Draws a run's losses.png, and returns its path; None where there are no metrics yet."""
    if not history.lines:
        return None
    path = run / "losses.png"
    with replacing(path) as partial:
        losses(history).savefig(partial, dpi=120)
    return path


def losses(history: History) -> Drawn:
    """Draws losses and penalties, D(real) and D(fake), raw and smoothed; of a long run as bands.

    Args:
        history: of a run's lines, one at least.
    """
    figure = Drawn(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw(above, history, {"discriminator/loss": "discriminator", "generator/loss": "generator"})
    for player, colour in (("discriminator", "tab:blue"), ("generator", "tab:orange")):
        if series := history.curves.get(f"{player}/penalty"):
            values = series.column(f"{player}/penalty", "mean")
            above.plot(series.steps, values, color=colour, linestyle=":", label=f"penalty on the {player}")
    above.legend(loc="upper right")
    above.set_ylabel("loss")
    above.set_title("The losses of the two players: healthy ones oscillate, they do not fall to zero", fontsize=10)
    _draw(below, history, {"discriminator/real": "D(real)", "discriminator/fake": "D(fake)"})
    below.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
    below.set_ylim(0, 1)
    below.set_ylabel("probability of being real")
    below.set_xlabel("step")
    _shade(above, history.states())
    return figure


def plot_measures(run: Path, history: History) -> Path | None:
    """Draws a run's measures.png: each measure against the data over steps, its best marked.

    Returns:
        The picture's path, or None where nothing was measured.
    """
    names = [name for name in history.curves if name.startswith(MEASURES)]
    if not names:
        return None
    columns = min(3, len(names))
    figure = Figure(figsize=(4 * columns, 3 * -(-len(names) // columns)), layout="constrained")
    for place, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // columns), columns, place + 1)
        series, short = history.curves[name], name.removeprefix(MEASURES).replace("_", " ")
        axes.plot(series.steps, series.column(name, "mean"), color="tab:blue", marker=".")
        better = "smaller" if smaller_is_better(name) else "larger"
        if best := history.best.get(name):
            axes.plot(best["step"], best["score"], "o", color="tab:orange", label=f"best {best['score']:.4g}")
            axes.legend(loc="upper right")
        axes.set_title(f"{short} ({better} is better)", fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    path = run / "measures.png"
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120)
    return path


def points(
    step: int, samples: np.ndarray, centres: Sequence[tuple[float, float]], logits: np.ndarray, reach: float
) -> np.ndarray:
    """Draws samples in the plane, the modes of the data, and how real the discriminator takes each place to be.

    Args:
        step: for the title.
        samples: [N, 2].
        centres: of the modes.
        logits: the discriminator's [side, side], from the bottom up,
        reach: as far from the origin.

    Returns:
        uint8 [480, 480, 3].
    """
    figure = Figure(figsize=(4.8, 4.8), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.07, 0.05, 0.91, 0.89))  # To find these margins would take longer than all else.
    low, middle, high = np.quantile(logits, [0.02, 0.5, 0.98])
    axes.imshow(
        np.clip(logits, low, high),
        extent=(-reach, reach, -reach, reach),
        origin="lower",
        cmap="RdYlGn",
        alpha=0.6,
        vmin=middle - (high - low + 1e-6) / 2,
        vmax=middle + (high - low + 1e-6) / 2,
    )
    axes.scatter(*np.transpose(centres), s=70, facecolors="none", edgecolors="black", linewidths=0.8)
    axes.scatter(*samples.T, s=2, color="tab:blue", linewidths=0)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_title(f"step {step}: samples, modes (circles), D (green: real)", fontsize=9)
    axes.tick_params(labelsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


_COLOURS = {
    "discriminator has won": "tab:blue",
    "generator has won": "tab:orange",
    "mode collapse": "tab:purple",
    "divergence": "tab:red",
}


def _shade(axes, looks: list[tuple[int, str]]) -> None:
    """Shades the spans in which the diagnosis was other than healthy, each from the look before."""
    before, named = 0, set()
    for step, state in looks:
        if state in _COLOURS:
            label = None if state in named else state
            axes.axvspan(before, step, color=_COLOURS[state], alpha=0.15, linewidth=0, label=label)
            named.add(state)
        before = step
    if named:
        axes.legend(loc="upper right")


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average over `window` values, over fewer at the ends; the same length."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _draw(axes, history: History, names: dict[str, str]) -> None:
    series = history.losses
    window = max(1, len(series.steps) // 40)
    for (name, label), colour in zip(names.items(), ("tab:blue", "tab:orange"), strict=True):
        low, mean, high = (series.column(name, kind) for kind in ("low", "mean", "high"))
        if series.stride == 1:
            axes.plot(series.steps, mean, color=colour, alpha=0.25, linewidth=0.8)
        else:
            axes.fill_between(series.steps, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(series.steps, smooth(mean, window), color=colour, label=label)
    axes.legend(loc="upper right")
    axes.grid(alpha=0.3)
