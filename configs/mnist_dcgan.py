"""DCGAN on MNIST: convolutional, handwritten digits, 28 x 28.

jaxgan train mnist_dcgan

Ten minutes on 2 CPU cores (28 steps a second). 90.8 % of 2,000 samples are digits to a classifier (confidence above
0.9; 97.9 % of real ones are), each class between 8.8 % and 12.5 % (benchmarks/mnist_judge.py). Without the R1
penalty ones become 28 % and sixes 2 % of the samples by step 16,000, because the discriminator wins.
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
