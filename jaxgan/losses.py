"""Adversarial losses: pure functions of logits.

A loss is a pair of functions of the discriminator's logits on real and on fake examples, each of any shape. Both
return a scalar to be minimised, the mean over all logits. The generator's function is given the real logits too
because relativistic losses compare the two; a loss that ignores them costs nothing, the compiler drops the branch.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Loss(NamedTuple):
    """The two players' losses.

    Attributes:
        discriminator: `(real_logits, fake_logits) -> scalar`.
        generator: `(real_logits, fake_logits) -> scalar`.
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array, jax.Array], jax.Array]


def _discriminator_cross_entropy(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    # softplus(-l) = -log sigmoid(l), softplus(l) = -log(1 - sigmoid(l)), without overflow or log(0).
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def _generator_non_saturating(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    del real_logits
    return jnp.mean(jax.nn.softplus(-fake_logits))


non_saturating = Loss(_discriminator_cross_entropy, _generator_non_saturating)
"""Binary cross-entropy with real = 1 and fake = 0; the generator's target for its fakes is 1.

The discriminator minimises `-log D(x) - log(1 - D(G(z)))`, the generator `-log D(G(z))`, with `D = sigmoid(logit)`.
At equilibrium D = 1/2 everywhere: the losses are 2 log 2 = 1.386 and log 2 = 0.693.

References:
    Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, equation 1 and the end of section 3.
"""
