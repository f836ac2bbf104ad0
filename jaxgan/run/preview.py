"""Real pictures, and how the discriminator would see them, before anything is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as cfg
from jaxgan.run import build
from jaxgan.step import judging
from jaxgan.support import images
from jaxgan.support.errors import UserError


def sheet(config: cfg.Config, columns: int = 10, rows: int = 4) -> np.ndarray:
    """A sheet of real pictures and, below each, how the discriminator would see it: augmented, varied, noisy.

    Args:
        config: the experiment.
        columns: pictures side by side; a batch at the most.
        rows: times that each is seen, below it.

    Returns:
        uint8 [height, width, C].

    Raises:
        UserError: the data are points, or cannot be opened.
    """
    source = build.source(config)
    if len(source.shape) != 3:
        raise UserError(f"data: {source.identity} is points, which cannot be shown so")
    plan = build.experiment(config, source.shape, source.classes)
    game = dataclasses.replace(plan.stages[-1].game, pack=1)
    item = jax.tree.map(jnp.asarray, source[0])
    real = source.batch(source.resident, item)["image"][:columns]
    seen = [judging.preview(game, real, jax.random.key(plan.seed), row) for row in range(rows)]
    return images.sheet(images.to_uint8(np.concatenate([real, *seen])), len(real))
