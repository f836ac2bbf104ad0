"""Records what training did before R1 and R2 were taken at pictures rather than at what is shown (commit 03f5966).

    python tests/record_augmented.py     in that checkout, writes tests/data/augmented.npz

In it are the text of a config.json of those days, every array of the state after 3 steps of its game by path, and of
what machine and which JAX they are. Compiled as all tests are.
"""

import functools
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import conftest  # noqa: F401  It says how XLA compiles.
import jax
import jax.numpy as jnp
import numpy as np
import record_run

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.run import build

DATA = Path(__file__).parent / "data" / "augmented.npz"
CONFIG = cfg.Config(
    generator=cfg.MLPGenerator(widths=(8,)),
    discriminator=cfg.MLPDiscriminator(widths=(8,)),
    augment=("colour", "translation", "cutout"),
    conditional=True,
    latent_size=8,
    batch_size=4,
    loss="relativistic_paired",
    r1=1.0,
    r2=2.0,
)


def trained(config: cfg.Config) -> dict[str, np.ndarray]:
    """The state after 3 steps on a batch of noise, by path."""
    key = jax.random.key(0)
    batch = {"image": jax.random.uniform(key, (4, 8, 8, 3), minval=-1), "label": jnp.arange(4)}
    game = build.game(config, (8, 8, 3), 4)
    state, step = train_step.init(game, batch, key), jax.jit(functools.partial(train_step.train_step, game))
    for _ in range(3):
        state, _ = step(state, batch, key)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


if __name__ == "__main__":
    about: dict[str, Any] = {
        "machine": np.array(record_run.machine(os.environ["XLA_FLAGS"])),
        "config": np.array(cfg.to_json(CONFIG)),
    }
    about |= trained(CONFIG)
    np.savez_compressed(DATA, **about)
