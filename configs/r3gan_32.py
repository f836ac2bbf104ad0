"""R3GAN at 32 px, small enough for 2 CPU cores: residual networks without normalisation.

jaxgan train r3gan_32 --data FOLDER

With 3,786 emoji, after six minutes of processor time (1,530 steps): blobs of the right colours and outlines;
Frechet distance 210.2 in VGG16's features (docs/models.md). Longer runs were not measured.

FOLDER is searched for pictures of any kind, sub-folders too; see docs/data.md.
"""

from typing import Any

from jaxgan.config import Config, R3GANDiscriminator, R3GANGenerator

BOTH: Any = {
    "learning_rate": 5e-4,
    "final_learning_rate": 1e-4,
    "decay_steps": 20_000,
    "beta1": 0.0,
    "beta2": 0.9,
    "final_beta2": 0.99,
    "width": 16,
    "max_width": 128,
    "blocks": 1,
    "group_width": 0,
    "expansion": 1,
}

config = Config(
    data="",
    size=32,
    vary_real=("flip",),
    augment=("colour", "translation", "cutout"),
    batch_size=32,
    generator=R3GANGenerator(**BOTH),
    discriminator=R3GANDiscriminator(**BOTH),
    latent_size=64,
    loss="relativistic_paired",
    r1=1.0,
    r2=1.0,
    penalty_decay_steps=20_000,
    steps=20_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
