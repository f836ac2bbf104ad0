"""Adversarial losses and gradient penalties: pure functions.

A loss is a pair of functions of the discriminator's logits on real and on fake examples, two arrays of one shape. Both
return a scalar to be minimised, a mean over all logits. The generator's function is given the real logits too because
relativistic losses compare the two; a loss that ignores them costs nothing, the compiler drops the branch.

A penalty is a function of the gradient of the logits for what the discriminator was shown; where that is, the penalty's
paper says: at real examples (R1), at fakes (R2), between them (WGAN-GP), around the real ones (DRAGAN).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Loss(NamedTuple):
    """The two players' losses.

    Attributes:
        discriminator: `(real_logits, fake_logits) -> scalar`.
        generator: `(real_logits, fake_logits) -> scalar`.
        pairs: whether logits say something beside others only: the same number added to all of them changes nothing.
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array, jax.Array], jax.Array]
    pairs: bool = False


@functools.lru_cache  # One object for one setting: a game that holds it hashes and compares as it should.
def cross_entropy(real_target: float = 1.0, fake_target: float = 0.0, saturating: bool = False) -> Loss:
    """Binary cross-entropy with `D = sigmoid(logit)`.

    The discriminator minimises `-t log D(x) - (1 - t) log(1 - D(x))` with the target t of real examples, and the same
    of fakes. The generator minimises `-log D(G(z))`, or, saturating, `log(1 - D(G(z)))`, whose gradient vanishes where
    the discriminator is sure.

    Args:
        real_target: 0.9, say, is one-sided label smoothing: the discriminator is kept from becoming too sure.
        fake_target: above 0 as well: two-sided smoothing.
        saturating: the minimax game of the paper's equation 1, rather than what its section 3 advises.

    References:
        Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, equation 1 and the end of section 3.
        Salimans et al., Improved Techniques for Training GANs, arXiv 1606.03498, section 3.4 (smoothing).
    """

    def towards(logits: jax.Array, target: float) -> jax.Array:
        # softplus(-l) = -log sigmoid(l), softplus(l) = -log(1 - sigmoid(l)), without overflow or log(0).
        if target in (0.0, 1.0):
            return jnp.mean(jax.nn.softplus(-logits if target else logits))
        return jnp.mean(target * jax.nn.softplus(-logits) + (1 - target) * jax.nn.softplus(logits))

    def discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        return towards(real_logits, real_target) + towards(fake_logits, fake_target)

    def generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        del real_logits
        return -towards(fake_logits, 0.0) if saturating else towards(fake_logits, 1.0)

    return Loss(discriminator, generator)


@functools.lru_cache
def squares(real_target: float = 1.0, fake_target: float = 0.0) -> Loss:
    """Least squares: `1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2`, and `1/2 E (D(G(z)) - 1)^2` for the generator.

    `D` is the logit itself. A fake far on the right side of the border is pulled back towards the data, where
    cross-entropy is content.

    Args:
        real_target: b.
        fake_target: a.

    References:
        Mao et al., Least Squares Generative Adversarial Networks, arXiv 1611.04076, equations 2 and 9.
    """

    def discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        return (jnp.mean((real_logits - real_target) ** 2) + jnp.mean((fake_logits - fake_target) ** 2)) / 2

    def generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        del real_logits
        return jnp.mean((fake_logits - 1) ** 2) / 2

    return Loss(discriminator, generator)


def _wasserstein_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    return jnp.mean(fake_logits) - jnp.mean(real_logits)


def _minus_fake(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    del real_logits
    return -jnp.mean(fake_logits)


def _hinge_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    return jnp.mean(jax.nn.relu(1 - real_logits)) + jnp.mean(jax.nn.relu(1 + fake_logits))


def _paired_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    return jnp.mean(jax.nn.softplus(fake_logits - real_logits))


def _paired_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    return jnp.mean(jax.nn.softplus(real_logits - fake_logits))


@functools.lru_cache
def average(axis: str | None = None) -> Loss:
    """Relativistic average loss: each logit is judged against the mean logit of the other kind.

    `E softplus(-(D(x) - E D(G(z)))) + E softplus(D(G(z)) - E D(x))` for the discriminator, and for the generator the
    same with real and fake exchanged.

    Args:
        axis: the mapped axis over which a batch is split (see `train_step.Game.axis`); the means are the whole batch's.

    References:
        Jolicoeur-Martineau, The relativistic discriminator, arXiv 1807.00734, equations 5 and 6.
    """

    def mean(logits: jax.Array) -> jax.Array:
        mean = jnp.mean(logits)
        return mean if axis is None else jax.lax.pmean(mean, axis)

    def discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        above, below = real_logits - mean(fake_logits), fake_logits - mean(real_logits)
        return jnp.mean(jax.nn.softplus(-above)) + jnp.mean(jax.nn.softplus(below))

    def generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        return discriminator(fake_logits, real_logits)

    return Loss(discriminator, generator, pairs=True)


non_saturating = cross_entropy()
"""Binary cross-entropy with real = 1 and fake = 0; the generator's target for its fakes is 1.

At equilibrium D = 1/2 everywhere: the losses are 2 log 2 = 1.386 and log 2 = 0.693.
"""

minimax = cross_entropy(saturating=True)
"""The same for the discriminator; the generator maximises the discriminator's loss (arXiv 1406.2661, equation 1)."""

least_squares = squares()
"""LSGAN with targets 0 and 1 (arXiv 1611.04076, equation 9). At equilibrium: 1/4 and 1/8."""

wasserstein = Loss(_wasserstein_discriminator, _minus_fake, pairs=True)
"""`E D(G(z)) - E D(x)` and `-E D(G(z))`: minus the Wasserstein distance, for a discriminator that is kept 1-Lipschitz
by a gradient penalty, clipped weights or spectral normalisation.

References:
    Arjovsky, Chintala and Bottou, Wasserstein GAN, arXiv 1701.07875, equation 3 and algorithm 1.
"""

hinge = Loss(_hinge_discriminator, _minus_fake)
"""`E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))` and `-E D(G(z))`. At equilibrium D = 0: 2 and 0.

References:
    Lim and Ye, Geometric GAN, arXiv 1705.02894; Miyato et al., arXiv 1802.05957, equations 16 and 17.
"""

relativistic_paired = Loss(_paired_discriminator, _paired_generator, pairs=True)
"""`E softplus(D(G(z)) - D(x))` and `E softplus(D(x) - D(G(z)))` over pairs of a real and a fake example: what counts
is how real a fake is beside a real one, so no mode can be left out for good. With R1 and R2, R3GAN's loss. At
equilibrium both are log 2 = 0.693.

References:
    Jolicoeur-Martineau, arXiv 1807.00734, equation 3; Huang et al., The GAN is dead; long live the GAN!, arXiv
    2501.05441, equation 2.
"""

relativistic_average = average()
"""`average` for a batch that is not split over a mapped axis."""


def zero_centred(gradient: Any) -> jax.Array:
    """`1/2 E |grad D|^2`, the measure of R1 (at real examples) and of R2 (at fakes); the loss adds it times gamma.

    It keeps the discriminator from growing ever steeper around the data, and so the game near its equilibrium: no class
    is pushed out because the discriminator has become sure of it.

    Args:
        gradient: the gradient of the sum of the logits for the examples, a pytree of arrays [N, ...].

    Returns:
        Scalar.

    References:
        Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, arXiv 1801.04406,
        equation 9.
    """
    return jnp.mean(_squared_norms(gradient)) / 2


def one_centred(gradient: Any) -> jax.Array:
    """`E (|grad D| - 1)^2`, the measure of WGAN-GP (between real and fake) and of DRAGAN (around real examples).

    Args:
        gradient: the gradient of the sum of the logits for the examples, a pytree of arrays [N, ...].

    Returns:
        Scalar.

    References:
        Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, equation 3.
        Kodali et al., On Convergence and Stability of GANs, arXiv 1705.07215, section 2.4.
    """
    # The small number keeps the root's own gradient finite where the gradient is zero.
    return jnp.mean((jnp.sqrt(_squared_norms(gradient) + 1e-12) - 1) ** 2)


def _squared_norms(gradient: Any) -> jax.Array:
    """|grad|^2 of every example [N], over all arrays of the pytree."""
    return sum(jnp.sum(leaf.reshape(len(leaf), -1) ** 2, axis=1) for leaf in jax.tree.leaves(gradient))  # pyright: ignore[reportReturnType]
