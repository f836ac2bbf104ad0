"""MSG-GAN at 32 px, small enough for 2 CPU cores: the discriminator sees every size of a picture.

jaxgan train msg_32 --data FOLDER

With 3,786 emoji, after six minutes of processor time (1,809 steps): blobs of the right colours and outlines;
Frechet distance 213.9 in VGG16's features (docs/models.md). Longer runs were not measured.

FOLDER is searched for pictures of any kind, sub-folders too; see docs/data.md.
"""

from typing import Any

from jaxgan.config import Config, MSGDiscriminator, MSGGenerator

BOTH: Any = {
    "learning_rate": 2e-3,
    "beta1": 0.0,
    "beta2": 0.99,
    "width": 16,
    "max_width": 128,
}

config = Config(
    data="",
    size=32,
    vary_real=("flip",),
    augment=("colour", "translation", "cutout"),
    batch_size=32,
    generator=MSGGenerator(**BOTH),
    discriminator=MSGDiscriminator(**BOTH),
    latent_size=128,
    r1=1.0,
    penalty_every=4,
    steps=20_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
