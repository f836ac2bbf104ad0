"""Fully connected GAN on MNIST: the first GAN, and the simplest.

jaxgan train mnist_fc

8,000 steps take about 4 minutes on 2 CPU cores. Of 2,000 samples an independent classifier is sure of 84 %, and every
digit is there, though unevenly (3.5 % zeros, 17 % ones): strokes are grainier than mnist_dcgan's, for an image is 784
unrelated numbers to this network. Measured by benchmarks/mnist_judge.py.
"""

from jaxgan.config import Config, MLPDiscriminator, MLPGenerator

config = Config(
    generator=MLPGenerator(),
    discriminator=MLPDiscriminator(),
    steps=8000,
    sample_every=500,
    checkpoint_every=1000,
)
