"""Plots of a run."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxgan.monitor import metrics


def plot_losses(run: Path) -> Path | None:
    """Draws a run's losses.png from its metrics.jsonl: both losses, and D(real) and D(fake), raw and smoothed.

    Returns:
        The picture's path, or None where there are no metrics yet.
    """
    lines = metrics.read(run / "metrics.jsonl")
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
    path = run / "losses.png"
    figure.savefig(path, dpi=120)
    return path


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average over `window` values, over fewer at the ends; the same length."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _draw(axes, step: np.ndarray, lines: list[dict[str, float]], names: dict[str, str]) -> None:
    window = min(len(step), max(1, len(step) // 40))
    for (name, label), colour in zip(names.items(), ("tab:blue", "tab:orange"), strict=True):
        values = np.array([line[name] for line in lines])
        axes.plot(step, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(step, smooth(values, window), color=colour, label=label)
    axes.legend(loc="upper right")
    axes.grid(alpha=0.3)
