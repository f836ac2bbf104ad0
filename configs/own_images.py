"""Your own pictures: a DCGAN at 64 px with augmentation, for a few hundred to a few thousand of them.

jaxgan train own_images --data FOLDER

With 3,786 emoji, after 20 minutes of processor time (5,334 steps): heads with eyes and mouths, figures, clean colours,
not looked at for copies. Frechet distance of 1,000 samples 132 in VGG16's relu3_3 and 77 in relu5_3, coverage .09 and
.14 (one half of the data beside the other: 23 and 20, .53 and .57). With batch normalisation in the discriminator, no
R1, transposed convolutions and Adam's betas .5 and .999, which this config had before: 276 and 94, .01 and .08 (6,823
steps). One seed; benchmarks/families.py, benchmarks/agreement.py.

FOLDER is searched for pictures of any kind, sub-folders too. They are converted once; what cannot be used is listed.
"""

from typing import Any

from jaxgan.config import Config, DCGANDiscriminator, DCGANGenerator

BETAS: Any = {"beta1": 0.0, "beta2": 0.99}

config = Config(
    data="",
    size=64,
    vary_real=("flip",),
    generator=DCGANGenerator(width=32, upsampling="nearest", **BETAS),
    discriminator=DCGANDiscriminator(width=32, norm="none", **BETAS),
    r1=1.0,
    penalty_every=4,
    augment=("colour", "translation", "cutout"),
    batch_size=32,
    steps=20_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
