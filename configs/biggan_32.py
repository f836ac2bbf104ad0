"""BigGAN's residual pair at 32 px, small enough for 2 CPU cores: spectral normalisation and attention.

jaxgan train biggan_32 --data FOLDER

With a folder of pictures for each class, --conditional lets one ask for a class.

FOLDER is searched for pictures of any kind, sub-folders too; see docs/data.md.
"""

from jaxgan.config import BigGANDiscriminator, BigGANGenerator, Config

config = Config(
    data="",
    size=32,
    vary_real=("flip",),
    augment=("colour", "translation", "cutout"),
    batch_size=32,
    generator=BigGANGenerator(width=8, attention=16, learning_rate=1e-4, beta1=0.0),
    discriminator=BigGANDiscriminator(width=8, attention=16, learning_rate=4e-4, beta1=0.0),
    latent_size=96,
    loss="hinge",
    steps=20_000,
    ema_decay=0.999,
    sample_every=500,
    checkpoint_every=1000,
)
