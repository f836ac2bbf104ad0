"""Conditional DCGAN on MNIST: ask for a digit.

jaxgan train mnist_conditional
jaxgan sample runs/mnist_conditional --label 7

The settings of mnist_dcgan, for fewer steps; the result has not been measured yet.
"""

from jaxgan.config import Config, DCGANDiscriminator, DCGANGenerator

config = Config(
    generator=DCGANGenerator(width=32, learning_rate=1e-3),
    discriminator=DCGANDiscriminator(width=32, learning_rate=1e-3, features=128, norm="none"),
    conditional=True,
    r1=2.0,
    latent_size=64,
    batch_size=64,
    steps=6000,
    sample_every=500,
    checkpoint_every=1000,
)
