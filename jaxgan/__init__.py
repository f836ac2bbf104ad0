"""jaxgan: generative adversarial networks as pure functions in JAX and Flax.

Importing this package loads nothing heavy; import the part you need::

    from jaxgan import train_step   # Game, init, train_step: the pure functions
    from jaxgan import losses       # adversarial losses
    from jaxgan.models import dcgan # Flax modules
"""

__version__ = "0.1.0"
