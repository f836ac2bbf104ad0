"""Plots of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxgan.run import metrics


def plot_losses(run: Path) -> Path | None:
    """Draws a run's losses.png from its metrics.jsonl: both losses, and D(real) and D(fake), raw and smoothed.

    Returns:
        The picture's path, or None where there are no metrics yet.
    """
    everything = metrics.read(run / "metrics.jsonl")
    lines = [line for line in everything if "discriminator/loss" in line]
    if not lines:
        return None
    step = np.array([line["step"] for line in lines])
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw(above, step, lines, {"discriminator/loss": "discriminator", "generator/loss": "generator"})
    above.set_ylabel("loss")
    above.set_title("The losses of the two players: healthy ones oscillate, they do not fall to zero", fontsize=10)
    _draw(below, step, lines, {"discriminator/real": "D(real)", "discriminator/fake": "D(fake)"})
    below.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
    below.set_ylim(0, 1)
    below.set_ylabel("probability of being real")
    below.set_xlabel("step")
    _shade(above, [line for line in everything if "diagnosis" in line])
    path = run / "losses.png"
    figure.savefig(path, dpi=120)
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
    figure = Figure(figsize=(4.8, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
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


def _shade(axes, looks: list[dict[str, Any]]) -> None:
    """Shades the spans in which the diagnosis was other than healthy, each from the look before."""
    before, named = 0, set()
    for line in looks:
        state = line["diagnosis"]
        if state in _COLOURS:
            label = None if state in named else state
            axes.axvspan(before, line["step"], color=_COLOURS[state], alpha=0.15, linewidth=0, label=label)
            named.add(state)
        before = line["step"]
    if named:
        axes.legend(loc="upper right")


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average over `window` values, over fewer at the ends; the same length."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _draw(axes, step: np.ndarray, lines: list[dict[str, Any]], names: dict[str, str]) -> None:
    window = min(len(step), max(1, len(step) // 40))
    for (name, label), colour in zip(names.items(), ("tab:blue", "tab:orange"), strict=True):
        values = np.array([line[name] for line in lines])
        axes.plot(step, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(step, smooth(values, window), color=colour, label=label)
    axes.legend(loc="upper right")
    axes.grid(alpha=0.3)
