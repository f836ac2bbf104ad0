"""BigGAN at 128 px, as published (arXiv 1809.11096, ImageNet).

jaxgan train biggan_128 --data FOLDER

FOLDER has a folder of pictures for each class. For accelerators: --accumulate deals a batch into parts that fit into
memory, and with several devices it is split over them. --dry-run shows shapes, parameters, FLOPs and memory.
"""

from jaxgan.config import BigGANDiscriminator, BigGANGenerator, Config

config = Config(
    data="",
    size=128,
    conditional=True,
    generator=BigGANGenerator(width=96, attention=64, learning_rate=1e-4, beta1=0.0),
    discriminator=BigGANDiscriminator(width=96, attention=64, learning_rate=4e-4, beta1=0.0),
    latent_size=120,
    batch_size=2048,
    discriminator_updates=2,
    loss="hinge",
    ema_decay=0.9999,
    steps=150_000,
    sample_every=1000,
    checkpoint_every=5000,
)
"""With 8 parts (--accumulate 8) or 8 devices a part has the authors' 256 pictures."""
