"""A run's samples, measured against its data."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from jaxgan.data import Source
from jaxgan.evaluate import frechet, neighbours
from jaxgan.latent import sampling
from jaxgan.run import build
from jaxgan.run.directory import Trained, changed_data
from jaxgan.support import images
from jaxgan.support.errors import UserError
from jaxgan.train_step import latents


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        count: samples, and real pictures.
        distance: Frechet distance of samples to one half of the data.
        floor: that of the other half, at as many pictures.
        nearest: the real pictures nearest to some samples.
    """

    count: int
    distance: float
    floor: float
    nearest: neighbours.Nearest | None


def judge(run: Path, trained: Trained, count: int, seed: int) -> Judgement:
    """Measures a run.

    Args:
        run: its directory.
        trained: what it has come to.
        count: samples, and real pictures; half of the data at the most.
        seed: of the latents, and of which real pictures are taken.

    Raises:
        UserError: the data are not pictures, cannot be found, are not those of the run, or are too few.
    """
    source = build.source(trained.config)
    if not source.count or len(trained.shape) != 3:
        raise UserError(f"{run}: its data are no pictures to compare with; see `jaxgan modes`")
    if changed := changed_data(run, source):
        raise UserError(f"{run}: was trained on other data: {', '.join(changed)}; bring those back")
    if source.count < 4:
        raise UserError(f"{run}: its data are {source.count} pictures; 4 are needed, for the variance of both halves")
    count = min(count, source.count // 2)
    chosen = np.random.default_rng(seed).permutation(source.count)[: 2 * count]
    real = _features(source, np.sort(chosen))[np.argsort(np.argsort(chosen))]  # Read once, then as they were chosen.
    one, other = real[:count], real[count:]
    latent = latents(jax.random.key(seed), count, trained.game.latent_size)
    label = np.arange(count, dtype=np.int32) % trained.classes if trained.classes else None
    samples = sampling.outputs(trained.game, trained.state.ema, latent, label)
    made = frechet.features([images.to_uint8(samples)])
    near = neighbours.judge(samples, source.blocks())
    return Judgement(count, frechet.distance(made, one), frechet.distance(other, one), near)


def _features(source: Source, chosen: np.ndarray) -> np.ndarray:
    """Features of the examples with these numbers, which are in order."""

    def blocks() -> Iterator[np.ndarray]:
        begin = 0
        for block in source.blocks():
            here = chosen[np.searchsorted(chosen, begin) : np.searchsorted(chosen, begin + len(block))]
            if len(here):
                yield block[here - begin]
            begin += len(block)

    return frechet.features(blocks())
