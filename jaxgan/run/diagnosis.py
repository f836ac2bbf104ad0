"""What state the game is in, in words, from the metrics of a run."""

import dataclasses
from typing import Literal

import numpy as np

from jaxgan.run.history import LOOKS, History

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


def diagnose(history: History, loss: str = "non_saturating") -> Diagnosis:
    """Says which state a game is in now.

    Args:
        history: of the metrics so far: those of `train_step`, and now and then those of an evaluation
            (`diversity/pixels` and so on, perhaps `modes/share`).
        loss: name of the loss, as in a config.

    Returns:
        The first that applies of: divergence, a player that has won, mode collapse, health. Nothing is said before
        there are `LOOKS` evaluations: untrained generators make pictures that are all alike.
    """
    if history.looks < LOOKS or history.lines < 4 * LOOKS:
        return Diagnosis("starting", f"{history.looks} of the {LOOKS} looks it takes to judge")
    return (
        _divergence(history, loss)
        or _discriminator_won(history, loss)
        or _generator_won(history)
        or _collapse(history)
        or _healthy(history)
    )


def _divergence(history: History, loss: str) -> Diagnosis | None:
    # The discriminator's loss alone: the generator's may be large because the discriminator has won.
    losses = history.recent()["discriminator/loss"], history.first
    now, first = (float(np.median(np.abs(some))) for some in losses)
    # A critic whose slope is bounded by 1 tells pictures apart by no more than their distance, and a game may have
    # diverged before its first lines.
    if now < min(30 * max(first, 0.5), 1000):
        return None
    return Diagnosis(
        "divergence",
        f"the size of the discriminator's loss is {now:.3g}, and was {first:.3g} at first",
        "The Wasserstein loss needs --gradient-penalty or --discriminator.clip-weights."
        if loss == "wasserstein"
        else "Lower both learning rates, or add --r1.",
    )


def _collapse(history: History) -> Diagnosis | None:
    remedy = "Try --loss relativistic_paired with --r1 and --r2, --pack 2, or lower learning rates."
    for space in ("pixels", "features"):
        # Of several looks: young games now and then put all samples in one place, and recover.
        now, best = _now_and_best(history, f"diversity/{space}")
        if now < 0.45:
            fallen = f", and was {best:.0%}" if best > 1.5 * now else ""
            return Diagnosis(
                "mode collapse",
                f"two samples differ by {now:.0%} of what two real examples do, in {space}{fallen}",
                remedy,
            )
    if all("modes/share" in look for look in history.tail) and history.looks >= 2 * LOOKS:
        now, best = _now_and_best(history, "modes/share")
        quality = history.tail[-1]["modes/high_quality"]  # Scattered samples are not a collapse.
        if now < 0.8 and quality > 0.3 and best <= history.peaks["modes/share"]:
            return Diagnosis("mode collapse", f"{now:.0%} of the modes have a sample, and no more come", remedy)
    return None


def _now_and_best(history: History, name: str) -> tuple[float, float]:
    """The median of the last looks, and the largest of all."""
    values = [look[name] for look in history.tail]
    return float(np.median(values)), max(*values, history.peaks.get(name, -np.inf))


def _discriminator_won(history: History, loss: str) -> Diagnosis | None:
    value, separation, gradient = (float(np.median(column)) for column in history.recent().values())
    if separation < 0.99:
        return None
    remedy = (
        "Lower --discriminator.learning-rate, add --r1 or --instance-noise 0.1, or --skip-discriminator-below with half"
        " of what its loss was at first."
    )
    usual = float(np.quantile(history.gradient.column("generator/gradient_norm"), 0.9))
    if gradient < 0.01 * usual:
        return Diagnosis(
            "discriminator has won",
            f"it tells {separation:.1%} of pairs apart, and the generator's gradient has vanished "
            f"({gradient:.2g}, and was {usual:.2g})",
            remedy,
        )
    if loss in EQUILIBRIUM and value < 0.02 * EQUILIBRIUM[loss]:
        return Diagnosis(
            "discriminator has won",
            f"it tells {separation:.1%} of pairs apart, its loss is {value:.2g} (equal players: {EQUILIBRIUM[loss]})",
            remedy,
        )
    return None


def _generator_won(history: History) -> Diagnosis | None:
    separation = float(np.median(history.recent()["discriminator/separation"]))
    if separation > 0.2:
        return None
    return Diagnosis(
        "generator has won",
        f"the discriminator takes the fake for the real example in {1 - separation:.0%} of pairs",
        "Raise --discriminator.learning-rate or its width, or --discriminator-updates 2.",
    )


def _healthy(history: History) -> Diagnosis:
    recent = history.recent()
    low, high = np.quantile(recent["discriminator/loss"], [0.1, 0.9])
    separation = float(np.median(recent["discriminator/separation"]))
    return Diagnosis(
        "healthy",
        f"the discriminator tells {separation:.0%} of pairs apart, its loss keeps between {low:.2f} and {high:.2f}, "
        f"samples vary {history.tail[-1]['diversity/features']:.0%} as much as the data",
    )
