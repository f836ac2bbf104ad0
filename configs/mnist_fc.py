"""Fully connected GAN on MNIST: the first GAN, and the quickest to train.

jaxgan train mnist_fc
"""

from jaxgan.config import Config, MLPDiscriminator, MLPGenerator

config = Config(generator=MLPGenerator(), discriminator=MLPDiscriminator())
