"""Your own pictures: a DCGAN at 64 px with augmentation, for a few hundred to a few thousand of them.

jaxgan train own_images --data FOLDER

With 3,786 emoji, after 12,271 steps (half an hour on 2 CPU cores that tests used too): faces, couples, figures, flags,
all with ragged edges; Frechet distance 74.7 in VGG16's features (the data's own halves 5.4); no copies.

FOLDER is searched for pictures of any kind, sub-folders too. They are converted once; what cannot be used is listed.
"""

from jaxgan.config import Config, DCGANDiscriminator, DCGANGenerator

config = Config(
    data="",
    size=64,
    vary_real=("flip",),
    generator=DCGANGenerator(width=32),
    discriminator=DCGANDiscriminator(width=32),
    augment=("colour", "translation", "cutout"),
    batch_size=32,
    steps=20_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
