"""Data: sources of batches, addressed by step."""

from jaxgan.data.mnist import load_mnist
from jaxgan.data.source import ArraySource, Source, StreamSource, VariedSource
from jaxgan.data.stacked import StackedMNIST

__all__ = ["ArraySource", "Source", "StackedMNIST", "StreamSource", "VariedSource", "load_mnist"]
