"""R3GAN at 256 px, as published but for its augmentation (arXiv 2501.05441, FFHQ).

jaxgan train r3gan_256 --data FOLDER

For accelerators; several share a batch. By their compilers (docs/scale.md) it takes 61 GiB of each of 8 H100; 16 chips
of a TPU v5e need --accumulate 2, with 8.5 GiB each. --dry-run shows shapes, parameters, FLOPs and memory.
"""

from typing import Any

from jaxgan.config import Config, R3GANDiscriminator, R3GANGenerator

FALL = 78_125  # Steps in which everything falls: 20 million pictures.
BOTH: Any = {
    "learning_rate": 2e-4,
    "final_learning_rate": 5e-5,
    "decay_steps": FALL,
    "beta1": 0.0,
    "beta2": 0.9,
    "final_beta2": 0.99,
}

config = Config(
    data="",
    size=256,
    vary_real=("flip",),
    generator=R3GANGenerator(**BOTH),
    discriminator=R3GANDiscriminator(**BOTH),
    latent_size=64,
    batch_size=256,
    loss="relativistic_paired",
    r1=150.0,
    r2=150.0,
    penalty_decay_steps=FALL,
    penalty_final=0.1,
    augment=("colour", "translation", "cutout"),
    augment_probability=0.3,
    ema_decay=0.9996,
    precision="bfloat16",
    steps=100_000,
    sample_every=1000,
    checkpoint_every=5000,
)
