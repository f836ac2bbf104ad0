"""Conditional DCGAN on MNIST: ask for a digit.

jaxgan train mnist_conditional
jaxgan sample runs/mnist_conditional --label 7
"""

from jaxgan.config import Config

config = Config(conditional=True)
