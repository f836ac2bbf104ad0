"""Data: sources of batches, addressed by step."""

from jaxgan.data.mnist import load_mnist
from jaxgan.data.source import ArraySource, Source

__all__ = ["ArraySource", "Source", "load_mnist"]
