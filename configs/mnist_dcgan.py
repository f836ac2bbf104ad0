"""DCGAN on MNIST: convolutional, handwritten digits, 28 x 28.

jaxgan train mnist_dcgan
"""

from jaxgan.config import Config, DCGANDiscriminator, DCGANGenerator

config = Config(
    generator=DCGANGenerator(width=32, learning_rate=1e-3),
    discriminator=DCGANDiscriminator(width=32, learning_rate=1e-3, features=128, norm="none"),
    latent_size=64,
    batch_size=64,
    r1=2.0,
    steps=16_000,
    sample_every=500,
    checkpoint_every=1000,
)
