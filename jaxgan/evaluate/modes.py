"""Mode coverage: how many of the modes of the data a generator reaches, and how evenly.

The protocol of PacGAN (Lin et al., arXiv 1712.04086, sections 4.1 and 4.2) and VEEGAN (arXiv 1705.07761): of points, a
sample within 3 sigma of its nearest mode is of high quality and counts for that mode, others for none; of stacked
digits, a classifier says which of the 1000 modes a sample is of. As in PacGAN's code the KL divergence is from equal
modes, though MNIST's digits are not quite equally frequent.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxgan.data import load_mnist
from jaxgan.data.mixture import Mixture
from jaxgan.evaluate import classifier
from jaxgan.latent import sampling
from jaxgan.train_step import Game, latents

POINT_SAMPLES, STACKED_SAMPLES = 2500, 26_000
"""Samples of a judgement: PacGAN's of points, VEEGAN's of stacked digits."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Mode coverage of some samples.

    Attributes:
        modes: modes with at least one sample.
        of: modes there are.
        high_quality: share of samples of high quality, 0 to 1. Of stacked digits: those in all three of which the
            classifier is surer than 0.9.
        kl: reverse KL divergence in nats, of the samples' histogram over modes from equal shares; where no sample is
            near a mode, log(of), as if all were in one.
        count: number of samples.
    """

    modes: int
    of: int
    high_quality: float
    kl: float
    count: int


def judge_points(samples: np.ndarray, mixture: Mixture) -> Coverage:
    """Mode coverage of points.

    Args:
        samples: [N, 2].
        mixture: the data.
    """
    distance = np.linalg.norm(samples[:, None].astype(np.float64) - np.array(mixture.centres), axis=-1)
    near = distance.min(axis=1) < 3 * mixture.sigma
    histogram = np.bincount(distance.argmin(axis=1)[near], minlength=len(mixture.centres))
    return _coverage(histogram, float(near.mean()), len(samples))


def judge_stacked(pictures: np.ndarray) -> Coverage:
    """Mode coverage of stacked digits.

    Args:
        pictures: uint8 [N, 28, 28, 3].
    """
    digits = np.moveaxis(pictures, -1, 1).reshape(-1, 28, 28, 1)
    shares = classifier.probabilities(digits).reshape(len(pictures), 3, 10)
    sure = (shares.max(axis=-1) > 0.9).all(axis=1)
    mode = shares.argmax(axis=-1) @ np.array([100, 10, 1])
    return _coverage(np.bincount(mode, minlength=1000), float(sure.mean()), len(pictures))


def stacked_modes() -> np.ndarray:
    """Probability of each mode of stacked MNIST [1000]: of three digits that are drawn one by one."""
    digit = np.bincount(load_mnist()[1]) / len(load_mnist()[1])
    return np.einsum("i,j,k->ijk", digit, digit, digit).reshape(-1)


def floor(modes: np.ndarray, count: int, repeats: int = 20, seed: int = 0) -> float:
    """Mean reverse KL of an exact sampler: what is left of it because samples are few, and the data's modes unequal.

    Args:
        modes: probability of each mode in the data.
        count: samples.
        repeats: draws to average.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    return float(np.mean([_divergence(random.multinomial(count, modes)) for _ in range(repeats)]))


def metrics(coverage: Coverage) -> dict[str, float]:
    """A coverage as metrics of a run."""
    return {
        "modes/share": coverage.modes / coverage.of,
        "modes/high_quality": coverage.high_quality,
        "modes/kl": coverage.kl,
    }


@dataclasses.dataclass(frozen=True)
class Points:
    """Counts the modes of generators of points.

    Attributes:
        mixture: the data.
    """

    mixture: Mixture
    samples = POINT_SAMPLES

    def judge(self, game: Game, variables: Any, count: int = POINT_SAMPLES, seed: int = 1) -> Coverage:
        """Mode coverage of a generator.

        Args:
            game: the run's.
            variables: the generator's, as a rule the averaged ones.
            count: samples to draw.
            seed: of the latents.
        """
        latent = latents(game, jax.random.key(seed), count)
        return judge_points(sampling.outputs(game, variables, latent), self.mixture)

    def ideal(self) -> np.ndarray:
        """Probability of each mode of the data."""
        return np.full(len(self.mixture.centres), 1 / len(self.mixture.centres))


@dataclasses.dataclass(frozen=True)
class Stacked:
    """Counts the modes of generators of stacked digits."""

    samples = STACKED_SAMPLES

    def judge(self, game: Game, variables: Any, count: int = STACKED_SAMPLES, seed: int = 1) -> Coverage:
        """Mode coverage of a generator; see `Points.judge`."""
        latent = latents(game, jax.random.key(seed), count)
        return judge_stacked(sampling.pictures(game, variables, latent))

    def ideal(self) -> np.ndarray:
        """Probability of each mode of the data."""
        return stacked_modes()


Judge = Points | Stacked
"""What counts the modes that a generator reaches."""


def _coverage(histogram: np.ndarray, high_quality: float, count: int) -> Coverage:
    return Coverage(int((histogram > 0).sum()), len(histogram), high_quality, _divergence(histogram), count)


def _divergence(histogram: np.ndarray) -> float:
    if not histogram.any():
        return float(np.log(len(histogram)))
    share = histogram[histogram > 0] / histogram.sum()
    return float(np.sum(share * np.log(share * len(histogram))))
