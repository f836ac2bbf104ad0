"""StyleGAN2 at 256 px, as published (arXiv 1912.04958, config F).

jaxgan train stylegan2_256 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.
"""

from typing import Any

from jaxgan.config import Config, StyleGAN2Discriminator, StyleGAN2Generator

BOTH: Any = {
    "learning_rate": 0.0025,
    "beta1": 0.0,
    "beta2": 0.99,
}

config = Config(
    data="",
    size=256,
    vary_real=("flip",),
    generator=StyleGAN2Generator(**BOTH, width=64),
    discriminator=StyleGAN2Discriminator(**BOTH, width=64, minibatch_stddev=8),
    latent_size=512,
    batch_size=64,
    r1=1.0,
    penalty_every=16,
    path_length=2.0,
    ema_decay=0.9978,
    precision="bfloat16",
    steps=390_000,
    sample_every=1000,
    checkpoint_every=5000,
)
