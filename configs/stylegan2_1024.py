"""StyleGAN2 at 1024 px, as published (arXiv 1912.04958, config F).

jaxgan train stylegan2_1024 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.
"""

from typing import Any

from jaxgan.config import Config, StyleGAN2Discriminator, StyleGAN2Generator

BOTH: Any = {
    "learning_rate": 0.002,
    "beta1": 0.0,
    "beta2": 0.99,
}

config = Config(
    data="",
    size=1024,
    vary_real=("flip",),
    generator=StyleGAN2Generator(**BOTH, width=32),
    discriminator=StyleGAN2Discriminator(**BOTH, width=32, minibatch_stddev=4),
    latent_size=512,
    batch_size=32,
    r1=10.0,
    penalty_every=16,
    path_length=2.0,
    ema_decay=0.9978,
    precision="bfloat16",
    steps=780_000,
    sample_every=1000,
    checkpoint_every=5000,
)
