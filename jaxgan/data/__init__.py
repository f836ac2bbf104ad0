"""Data: sources of batches, addressed by step."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxgan.data.mnist import load_mnist
    from jaxgan.data.source import ArraySource, Source, StreamSource, VariedSource
    from jaxgan.data.stacked import StackedMNIST

__all__ = ["ArraySource", "Source", "StackedMNIST", "StreamSource", "VariedSource", "load_mnist"]

_MODULES = {"load_mnist": "mnist", "StackedMNIST": "stacked"}


def __getattr__(name: str) -> Any:
    """Imports what is asked for: the command line and the processes that convert pictures do without JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'source')}"), name)
