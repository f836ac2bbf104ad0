"""Fully connected GAN on MNIST: the first GAN, and the simplest.

jaxgan train mnist_fc

The result has not been measured yet.
"""

from jaxgan.config import Config, MLPDiscriminator, MLPGenerator

config = Config(
    generator=MLPGenerator(),
    discriminator=MLPDiscriminator(),
    steps=8000,
    sample_every=500,
    checkpoint_every=1000,
)
