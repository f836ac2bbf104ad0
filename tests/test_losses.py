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


def entropy(probability, target):
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability)).mean()


def softplus(x):
    return np.log1p(np.exp(np.asarray(x, np.float64)))


R, F = np.asarray(REAL, np.float64), np.asarray(FAKE, np.float64)
BY_HAND = {
    "minimax": (losses.minimax, entropy(sigmoid(R), 1) + entropy(sigmoid(F), 0), np.log(1 - sigmoid(F)).mean()),
    "least_squares": (losses.least_squares, ((R - 1) ** 2).mean() / 2 + (F**2).mean() / 2, ((F - 1) ** 2).mean() / 2),
    "wasserstein": (losses.wasserstein, F.mean() - R.mean(), -F.mean()),
    "hinge": (losses.hinge, np.maximum(0, 1 - R).mean() + np.maximum(0, 1 + F).mean(), -F.mean()),
    "relativistic_paired": (losses.relativistic_paired, softplus(F - R).mean(), softplus(R - F).mean()),
    "relativistic_average": (
        losses.relativistic_average,
        softplus(F.mean() - R).mean() + softplus(F - R.mean()).mean(),
        softplus(R.mean() - F).mean() + softplus(R - F.mean()).mean(),
    ),
    "one-sided": (
        losses.cross_entropy(real_target=0.9),
        entropy(sigmoid(R), 0.9) + entropy(sigmoid(F), 0),
        entropy(sigmoid(F), 1),
    ),
    "two-sided": (
        losses.cross_entropy(real_target=0.9, fake_target=0.2),
        entropy(sigmoid(R), 0.9) + entropy(sigmoid(F), 0.2),
        entropy(sigmoid(F), 1),
    ),
    "least squares, smoothed": (
        losses.squares(0.9, 0.1),
        ((R - 0.9) ** 2).mean() / 2 + ((F - 0.1) ** 2).mean() / 2,
        ((F - 1) ** 2).mean() / 2,
    ),
}
EVERY = {"non_saturating": losses.non_saturating} | {name: entry[0] for name, entry in BY_HAND.items()}


@pytest.mark.parametrize("name", BY_HAND)
def test_values_by_hand(name):
    loss, discriminator, generator = BY_HAND[name]
    np.testing.assert_allclose(loss.discriminator(REAL, FAKE), discriminator, rtol=1e-6)
    np.testing.assert_allclose(loss.generator(REAL, FAKE), generator, rtol=1e-6)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_gradients_equal_numerical_ones(name, player):
    # Away from the corners of the hinge.
    check_grads(getattr(EVERY[name], player), (REAL, FAKE + 0.1), order=2, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_certain_logits_give_finite_losses_and_gradients(name, player):
    loss = getattr(EVERY[name], player)
    for logit in (-1e4, 1e4):
        value, gradient = jax.value_and_grad(loss, argnums=1)(jnp.array([-logit]), jnp.array([logit]))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", EVERY)
def test_each_player_pulls_its_own_way(name):
    """The discriminator wants real logits above fake ones; the generator wants its own fakes' higher."""
    loss, zero = EVERY[name], jnp.zeros(3)
    real, fake = jax.grad(loss.discriminator, argnums=(0, 1))(zero + 0.45, zero + 0.55)
    assert (real < 0).all()
    assert (fake > 0).all()
    assert (jax.grad(loss.generator, argnums=1)(zero, zero) < 0).all()


def test_the_saturating_gradient_vanishes_where_the_other_does_not():
    sure = jnp.array([-20.0])
    assert abs(jax.grad(losses.minimax.generator, argnums=1)(sure, sure)[0]) < 1e-8
    assert abs(jax.grad(losses.non_saturating.generator, argnums=1)(sure, sure)[0]) > 0.99


def test_factories_give_the_same_loss_for_the_same_setting():
    assert losses.cross_entropy() is losses.non_saturating
    assert losses.average(None) is losses.average(None)
    assert losses.cross_entropy(0.9) is losses.cross_entropy(0.9)


def test_one_centred_by_hand():
    gradient = jnp.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])  # Slopes 5, 1 and 0.
    np.testing.assert_allclose(losses.one_centred(gradient), (16 + 0 + 1) / 3, rtol=1e-5)
    # Of a pyramid, the slope is that of all its parts together.
    np.testing.assert_allclose(losses.one_centred({"a": gradient[:1, :1], "b": gradient[:1, 1:]}), 16, rtol=1e-5)
    assert np.isfinite(jax.grad(losses.one_centred)(gradient)).all()


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
