"""jaxgan: generative adversarial networks as pure functions in JAX and Flax.

Importing this package loads nothing heavy; import the part you need::

    from jaxgan import train_step   # Game, init, train_step: the pure functions
    from jaxgan import losses       # adversarial losses
    from jaxgan.models import dcgan # Flax modules

or train in one call: `jaxgan.train("mnist_dcgan", steps=500).sample(16)`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxgan.run.handle import Run, train

__all__ = ["Run", "train"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports what trains when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from jaxgan.run import handle

    return getattr(handle, name)
