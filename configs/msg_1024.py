"""MSG-GAN at 1024 px, as published (arXiv 1903.06048, on progressive growing's networks).

jaxgan train msg_1024 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.
"""

from typing import Any

from jaxgan.config import Config, MSGDiscriminator, MSGGenerator

BOTH: Any = {
    "learning_rate": 3e-3,
    "beta1": 0.0,
    "beta2": 0.99,
}

config = Config(
    data="",
    size=1024,
    vary_real=("flip",),
    generator=MSGGenerator(**BOTH),
    discriminator=MSGDiscriminator(**BOTH),
    latent_size=512,
    loss="wasserstein",
    gradient_penalty=10.0,
    batch_size=16,
    ema_decay=0.999,
    steps=500_000,
    sample_every=1000,
    checkpoint_every=5000,
)
