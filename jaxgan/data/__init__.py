"""Data: sources of batches, addressed by step."""

from jaxgan.data.mnist import load_mnist
from jaxgan.data.source import ArraySource, Source
from jaxgan.data.stacked import StackedMNIST

__all__ = ["ArraySource", "Source", "StackedMNIST", "load_mnist"]
