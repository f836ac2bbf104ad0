"""Conditional DCGAN on MNIST: ask for a digit."""

from jaxgan.config import Config

config = Config(conditional=True)
