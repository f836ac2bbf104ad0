"""The StyleGAN2 at 64 px that ships: `jaxgan sample emoji`; trained on emoji for hours on one CPU core.

jaxgan sample emoji
jaxgan train emoji --data FOLDER
jaxgan train emoji --data FOLDER --from emoji --learning-rate 1e-3

The networks are those of `stylegan2_64`; R1 is weaker, as fits pictures of 64 px, so that shapes are sharper.
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
