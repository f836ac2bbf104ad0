"""DCGAN on MNIST: convolutional, handwritten digits, 28 x 28.

jaxgan train mnist_dcgan
"""

from jaxgan.config import Config

config = Config()
