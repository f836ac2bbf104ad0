"""GAT at 64 px, small enough for 2 CPU cores: transformers on patches of 8 x 8 pixels (arXiv 2509.24935).

jaxgan train gat_64 --data FOLDER

FOLDER is searched for pictures of any kind, sub-folders too; see docs/data.md.

Beside gat_256: pixels for latents, narrow and shallow, penalties at every fourth step, and nothing is computed again to
save memory.
"""

from typing import Any

from jaxgan.config import Config, GATDiscriminator, GATGenerator

WIDTH = 64
BOTH: Any = {
    "learning_rate": 2e-4 * 768 / WIDTH,
    "beta1": 0.0,
    "beta2": 0.99,
    "clip_gradient": 1.0,
    "width": WIDTH,
    "depth": 4,
    "heads": 2,
    "patch": 8,
    "rematerialise": False,
}

config = Config(
    data="",
    size=64,
    vary_real=("flip",),
    augment=("colours", "translation", "cutout", "mirror"),
    batch_size=32,
    generator=GATGenerator(**BOTH),
    discriminator=GATDiscriminator(**BOTH),
    latent_size=64,
    loss="relativistic_paired",
    r1=0.1,
    r2=0.1,
    difference=0.01,
    penalty_every=4,
    guidance=(0.885, 0.76, 0.51, 0.01),
    steps=20_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
