"""GAT-XL/2 at 256 px, on latents of 32 x 32, as published for ImageNet: for accelerators (arXiv 2509.24935).

jaxgan data make FOLDER --labels --size 256 --latents vae.safetensors --out SET
jaxgan train gat_256 --data SET
jaxgan train gat_256 --dry-run                                        without data or autoencoder

The autoencoder is Stable Diffusion's (AutoencoderKL of diffusers, sd-vae-ft-ema or -mse), which you bring. B/2, the one
that the authors' script trains, is --generator.width 768 --generator.depth 12 --generator.heads 12, the discriminator's
likewise, and both learning rates 2e-4.

What is as the authors have it: batch of 512, 60 epochs of 1,281,167 pictures, AdamW without decay (betas 0 and .99),
rates of 2e-4 times 768 / width, gradients clipped at 1, R1 and R2 of .1 by differences of .01 at every step,
relativistic pairs, noise of .885, .76, .51 and .01 on the four pictures, average of .999 without ramp, bfloat16. What
is not: the alignment of the discriminator's tokens with DINOv2's (their --proj-coeff 1) is left out, since it needs
pictures beside latents and weights of DINOv2; their translation moves latents by 0 or -1 and by nothing else, an
oversight, where ours moves by up to an eighth either way; what is computed of differences is float32. They sample
with --truncation-psi .3, which is .7 here (0 is no truncation there, 1 here), and the autoencoder `ema`; which of
these belongs to the published 2.18 is not said.
"""

from typing import Any

from jaxgan.config import Config, GATDiscriminator, GATGenerator

WIDTH = 1152
BOTH: Any = {
    "learning_rate": 2e-4 * 768 / WIDTH,
    "beta1": 0.0,
    "beta2": 0.99,
    "clip_gradient": 1.0,
    "width": WIDTH,
    "depth": 28,
    "heads": 16,
    "patch": 2,
}

config = Config(
    data="",
    latents=True,
    size=32,
    conditional=True,
    augment=("colours", "translation", "cutout", "mirror"),
    batch_size=512,
    generator=GATGenerator(**BOTH),
    discriminator=GATDiscriminator(**BOTH),
    latent_size=64,
    loss="relativistic_paired",
    r1=0.1,
    r2=0.1,
    difference=0.01,
    guidance=(0.885, 0.76, 0.51, 0.01),
    ema_decay=0.999,
    ema_start=1,
    precision="bfloat16",
    steps=150_000,
    sample_every=2500,
    checkpoint_every=2500,
)
