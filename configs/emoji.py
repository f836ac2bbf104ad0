"""The StyleGAN2 at 64 px that ships: `jaxgan sample emoji`; trained on emoji on one core of a CPU.

jaxgan sample emoji
jaxgan train emoji --data FOLDER
jaxgan train emoji --data FOLDER --from emoji --generator.learning-rate 1e-3

The networks are those of `stylegan2_64`; R1 is a tenth as strong, as fits pictures of 64 px. The file in the package
holds the averaged generator and the discriminator, float16. It was made of the graphics of Twemoji (CC BY 4.0) at 64
px, but for food, plants and animals (benchmarks/held_out.txt), by

    python benchmarks/held_out.py FOLDER --out SPLIT
    jaxgan data make SPLIT/train --size 64 --out SET
    jaxgan train emoji --data SET --out RUN
    python benchmarks/ship.py RUN

with the versions of requirements.lock, JAX 0.10.2 on one core of an x86-64 CPU with AVX-512. `jaxgan show emoji` tells
the step at which it stands. After 200 steps the digest of the whole state was
96bbf0542800bb8653a4bbc0defe6f1c974254d76e3cf160e4c6f1c3f1a4d4f3.
"""

from typing import Any

from jaxgan.config import Config, StyleGAN2Discriminator, StyleGAN2Generator

BOTH: Any = {
    "learning_rate": 2e-3,
    "beta1": 0.0,
    "beta2": 0.99,
    "width": 16,
    "max_width": 128,
}

config = Config(
    data="",
    size=64,
    vary_real=("flip",),
    augment=("colour", "translation", "cutout"),
    batch_size=32,
    generator=StyleGAN2Generator(**BOTH, style_size=128, mapping_layers=4),
    discriminator=StyleGAN2Discriminator(**BOTH),
    latent_size=128,
    r1=0.1,
    penalty_every=16,
    path_length=2.0,
    steps=80_000,
    ema_decay=0.999,
    sample_every=1000,
    checkpoint_every=1000,
)
