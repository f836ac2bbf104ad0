"""DCGAN on MNIST: convolutional, handwritten digits, 28 x 28."""

from jaxgan.config import Config

config = Config()
