"""Progressive growing to 1024 px, as published (arXiv 1710.10196, CelebA-HQ).

jaxgan train progressive_1024 --data FOLDER

For accelerators; several share a batch. --dry-run shows shapes, parameters, FLOPs and memory.
"""

from typing import Any

from jaxgan.config import Config, ProgressiveDiscriminator, ProgressiveGenerator

BOTH: Any = {
    "learning_rate": 1e-3,
    "beta1": 0.0,
    "beta2": 0.99,
}

config = Config(
    data="",
    size=1024,
    vary_real=("flip",),
    generator=ProgressiveGenerator(**BOTH),
    discriminator=ProgressiveDiscriminator(**BOTH),
    latent_size=512,
    loss="wasserstein",
    gradient_penalty=10.0,
    batch_size=16,
    grow=(50_000, 125_000, 200_000, 275_000, 350_000, 425_000, 500_000, 575_000),
    fade_steps=37_500,
    ema_decay=0.999,
    steps=750_000,
    sample_every=1000,
    checkpoint_every=5000,
)
