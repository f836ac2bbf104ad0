import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import losses

REAL = jnp.array([2.0, -1.0, 0.5])
FAKE = jnp.array([-3.0, 0.25, 1.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def test_non_saturating_is_binary_cross_entropy_with_real_1_and_fake_0():
    expected = -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean()
    np.testing.assert_allclose(losses.non_saturating.discriminator(REAL, FAKE), expected, rtol=1e-6)


def test_non_saturating_generator_has_target_1_and_ignores_reals():
    expected = -np.log(sigmoid(FAKE)).mean()
    np.testing.assert_allclose(losses.non_saturating.generator(REAL, FAKE), expected, rtol=1e-6)
    assert losses.non_saturating.generator(REAL + 1, FAKE) == losses.non_saturating.generator(REAL, FAKE)


def test_equilibrium():
    zero = jnp.zeros(4)
    np.testing.assert_allclose(losses.non_saturating.discriminator(zero, zero), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(losses.non_saturating.generator(zero, zero), np.log(2), rtol=1e-6)


@pytest.mark.parametrize("player", losses.Loss._fields)
def test_gradients_equal_numerical_ones(player):
    check_grads(getattr(losses.non_saturating, player), (REAL, FAKE), order=2, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("player", losses.Loss._fields)
def test_certain_logits_give_finite_losses_and_gradients(player):
    loss = getattr(losses.non_saturating, player)
    for logit in (-1e4, 1e4):
        value, gradient = jax.value_and_grad(loss, argnums=1)(jnp.array([-logit]), jnp.array([logit]))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_r1_by_hand():
    # D(x) = v x: the gradient is v at every example, so the penalty is |v|^2 / 2 whatever the number of examples.
    v = jnp.array([3.0, 4.0])
    gradient = jax.grad(lambda x: jnp.sum(x @ v))(jnp.ones((5, 2)))
    np.testing.assert_allclose(losses.zero_centred(gradient), 12.5, rtol=1e-6)
    # A pyramid: the gradients of its parts add up.
    np.testing.assert_allclose(losses.zero_centred({"small": gradient, "large": gradient}), 25, rtol=1e-6)


def test_r1_has_numerical_gradients():
    x = jax.random.normal(jax.random.key(0), (4, 3))

    def penalty(v):
        return losses.zero_centred(jax.grad(lambda x: jnp.sum(jnp.tanh(x @ v)))(x))

    check_grads(penalty, (jnp.array([0.3, -0.5, 0.8]),), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)
