"""Your own pictures: a DCGAN at 64 px with augmentation, for a few hundred to a few thousand of them.

jaxgan train own_images --data FOLDER

With 3,786 emoji, after 40 minutes of processor time (22,111 steps): heads with hair, eyes and mouths, hands, figures,
clean colours; about half are shapes without a name. Frechet distance of 1,000 samples 99 in VGG16's relu3_3 and 66 in
relu5_3, coverage .11 and .19 (one half of the data beside the other: 23 and 20, .53 and .57). In its first form, with
batches of 32, batch normalisation in the discriminator, no R1, transposed convolutions and Adam's betas .5 and .999:
211 and 107, .02 and .09. Seed 0; two more in docs/models.md (benchmarks/families.py).

FOLDER is searched for pictures of any kind, sub-folders too. They are converted once; what cannot be used is listed.
"""

from typing import Any

from jaxgan.config import Config, DCGANDiscriminator, DCGANGenerator

BOTH: Any = {"width": 20, "learning_rate": 4e-4, "beta1": 0.0, "beta2": 0.99}

config = Config(
    data="",
    size=64,
    vary_real=("flip",),
    generator=DCGANGenerator(**BOTH, upsampling="nearest"),
    discriminator=DCGANDiscriminator(**BOTH, norm="none", minibatch_stddev=4),
    r1=1.0,
    penalty_every=4,
    augment=("colour", "translation", "cutout"),
    batch_size=16,
    steps=40_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
