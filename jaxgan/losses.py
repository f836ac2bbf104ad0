"""Adversarial losses: pure functions of logits.

A loss is a pair of functions of the discriminator's logits on real and on fake examples, each of any shape. Both
return a scalar to be minimised, the mean over all logits. The generator's function is given the real logits too
because relativistic losses compare the two; a loss that ignores them costs nothing, the compiler drops the branch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

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


def r1(gradient: Any) -> jax.Array:
    """R1 penalty, `1/2 E |grad_x D(x)|^2` at real examples; the discriminator's loss adds it times gamma.

    It keeps the discriminator from growing ever steeper around the data, and so the game near its equilibrium: no class
    is pushed out because the discriminator has become sure of it.

    Args:
        gradient: the gradient of the sum of the logits for the real examples, a pytree of arrays [N, ...].

    Returns:
        Scalar.

    References:
        Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, arXiv 1801.04406,
        equation 9.
    """
    return sum((jnp.sum(leaf**2) / (2 * leaf.shape[0]) for leaf in jax.tree.leaves(gradient)), jnp.zeros(()))


non_saturating = Loss(_discriminator_cross_entropy, _generator_non_saturating)
"""Binary cross-entropy with real = 1 and fake = 0; the generator's target for its fakes is 1.

The discriminator minimises `-log D(x) - log(1 - D(G(z)))`, the generator `-log D(G(z))`, with `D = sigmoid(logit)`.
At equilibrium D = 1/2 everywhere: the losses are 2 log 2 = 1.386 and log 2 = 0.693.

References:
    Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, equation 1 and the end of section 3.
"""
