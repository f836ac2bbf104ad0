"""Progressive growing to 32 px, small enough for 2 CPU cores: from 4 px on, size by size.

jaxgan train progressive_32 --data FOLDER

With 3,786 emoji, after six minutes of processor time (5,269 steps) still at 16 px: figures of good
colours and shapes; Frechet distance 455.6 in VGG16's features, of repeated pixels (docs/models.md).
Longer runs were not measured.

FOLDER is searched for pictures of any kind, sub-folders too; see docs/data.md.
"""

from typing import Any

from jaxgan.config import Config, ProgressiveDiscriminator, ProgressiveGenerator

BOTH: Any = {
    "learning_rate": 2e-3,
    "beta1": 0.0,
    "beta2": 0.99,
    "width": 16,
    "max_width": 128,
}

config = Config(
    data="",
    size=32,
    vary_real=("flip",),
    augment=("colour", "translation", "cutout"),
    batch_size=32,
    generator=ProgressiveGenerator(**BOTH),
    discriminator=ProgressiveDiscriminator(**BOTH),
    latent_size=128,
    r1=1.0,
    penalty_every=4,
    grow=(1000, 3000, 6000),
    fade_steps=1000,
    grow_batch_sizes=(64, 64, 32, 32),
    steps=20_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
