"""What state the game is in, in words, from the metrics of a run."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

State = Literal["starting", "healthy", "discriminator has won", "generator has won", "mode collapse", "divergence"]

EQUILIBRIUM = {
    "non_saturating": 1.386,
    "minimax": 1.386,
    "least_squares": 0.25,
    "hinge": 2.0,
    "relativistic_paired": 0.693,
    "relativistic_average": 1.386,
}
"""The discriminator's loss where it cannot tell real from fake; Wasserstein's has no such scale."""
LOOKS = 5
"""Evaluations before anything is said: untrained generators make pictures that are all alike."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """A state of the game.

    Attributes:
        state: in two or three words.
        evidence: the figures that say so.
        suggestion: one thing to try; empty where nothing is wrong.
    """

    state: State
    evidence: str
    suggestion: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.evidence}." + (f" {self.suggestion}" if self.suggestion else "")


def diagnose(lines: Sequence[dict[str, float]], loss: str = "non_saturating") -> Diagnosis:
    """Says which state a game is in now.

    Args:
        lines: the metrics so far, in order: those of `train_step`, and now and then those of an evaluation
            (`diversity/pixels` and so on, perhaps `modes/share`).
        loss: name of the loss, as in a config.

    Returns:
        The first that applies of: divergence, a player that has won, mode collapse, health.
    """
    looks = [line for line in lines if "diversity/pixels" in line]
    steps = [line for line in lines if "discriminator/loss" in line]
    if len(looks) < LOOKS or len(steps) < 4 * LOOKS:
        return Diagnosis("starting", f"{len(looks)} of the {LOOKS} looks it takes to judge")
    since = looks[-3]["step"]
    recent = [line for line in steps if line["step"] > since] or steps[-20:]
    return (
        _divergence(steps, recent)
        or _discriminator_won(steps, recent, loss)
        or _generator_won(recent)
        or _collapse(looks)
        or _healthy(recent, looks)
    )


def _divergence(steps: Sequence[dict[str, float]], recent: Sequence[dict[str, float]]) -> Diagnosis | None:
    # The discriminator's loss alone: the generator's may be large because the discriminator has won.
    losses = np.abs(_column(steps, "discriminator/loss"))
    now, first = float(np.median(losses[-len(recent) :])), float(np.median(losses[:20]))
    if now < 30 * max(first, 0.5):
        return None
    return Diagnosis(
        "divergence",
        f"the size of the discriminator's loss is {now:.3g}, and was {first:.3g} at first",
        "Lower both learning rates, or add --r1; the Wasserstein loss needs --gradient-penalty, "
        "--discriminator.clip-weights or --discriminator.norm spectral.",
    )


def _collapse(looks: Sequence[dict[str, float]]) -> Diagnosis | None:
    remedy = "Try --loss relativistic_paired with --r1 and --r2, --pack 2, or lower learning rates."
    for space in ("pixels", "features"):
        values = _column(looks, f"diversity/{space}")
        # Of several looks: young games now and then put all samples in one place, and recover.
        now, best = float(np.median(values[-LOOKS:])), float(values.max())
        if now < 0.45:
            fallen = f", and was {best:.0%}" if best > 1.5 * now else ""
            return Diagnosis(
                "mode collapse",
                f"two samples differ by {now:.0%} of what two real examples do, in {space}{fallen}",
                remedy,
            )
    if "modes/share" in looks[-1] and len(looks) >= 2 * LOOKS:
        values = _column(looks, "modes/share")
        now = float(np.median(values[-LOOKS:]))
        quality = float(looks[-1]["modes/high_quality"])  # Scattered samples are not a collapse.
        if now < 0.8 and quality > 0.3 and values[-LOOKS:].max() <= values[:-LOOKS].max():
            return Diagnosis("mode collapse", f"{now:.0%} of the modes have a sample, and no more come", remedy)
    return None


def _discriminator_won(
    steps: Sequence[dict[str, float]], recent: Sequence[dict[str, float]], loss: str
) -> Diagnosis | None:
    separation = float(np.median(_column(recent, "discriminator/separation")))
    if separation < 0.99:
        return None
    remedy = (
        "Lower --discriminator.learning-rate, add --r1 or --instance-noise 0.1, or --skip-discriminator-below with half"
        " of what its loss was at first."
    )
    value = float(np.median(_column(recent, "discriminator/loss")))
    gradient = _column(steps, "generator/gradient_norm")
    now, usual = float(np.median(_column(recent, "generator/gradient_norm"))), float(np.quantile(gradient, 0.9))
    if now < 0.01 * usual:
        return Diagnosis(
            "discriminator has won",
            f"it tells {separation:.1%} of pairs apart, and the generator's gradient has vanished "
            f"({now:.2g}, and was {usual:.2g})",
            remedy,
        )
    if loss in EQUILIBRIUM and value < 0.02 * EQUILIBRIUM[loss]:
        return Diagnosis(
            "discriminator has won",
            f"it tells {separation:.1%} of pairs apart, its loss is {value:.2g} (equal players: {EQUILIBRIUM[loss]})",
            remedy,
        )
    return None


def _generator_won(recent: Sequence[dict[str, float]]) -> Diagnosis | None:
    separation = float(np.median(_column(recent, "discriminator/separation")))
    if separation > 0.2:
        return None
    return Diagnosis(
        "generator has won",
        f"the discriminator takes the fake for the real example in {1 - separation:.0%} of pairs",
        "Raise --discriminator.learning-rate or its width, or --discriminator-updates 2.",
    )


def _healthy(recent: Sequence[dict[str, float]], looks: Sequence[dict[str, float]]) -> Diagnosis:
    low, high = np.quantile(_column(recent, "discriminator/loss"), [0.1, 0.9])
    separation = float(np.median(_column(recent, "discriminator/separation")))
    return Diagnosis(
        "healthy",
        f"the discriminator tells {separation:.0%} of pairs apart, its loss keeps between {low:.2f} and {high:.2f}, "
        f"samples vary {looks[-1]['diversity/features']:.0%} as much as the data",
    )


def _column(lines: Sequence[dict[str, float]], name: str) -> np.ndarray:
    return np.array([line[name] for line in lines], np.float64)
