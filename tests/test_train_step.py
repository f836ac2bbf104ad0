"""The game: order, sharing and purity of the updates, on networks small enough to follow by hand."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import losses, train_step
from jaxgan.models import dcgan, mlp
from jaxgan.train_step import Game


class LinearGenerator(nn.Module):
    @nn.compact
    def __call__(self, latent):
        return latent @ self.param("w", nn.initializers.normal(1.0), (2, 3))


class LinearDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, image):
        return image @ self.param("v", nn.initializers.normal(1.0), (3,))


RATE_G, RATE_D = 0.1, 0.2
LINEAR = Game(LinearGenerator(), LinearDiscriminator(), optax.sgd(RATE_G), optax.sgd(RATE_D), latent_size=2)
IMAGES = {"image": jax.random.normal(jax.random.key(7), (6, 3))}
DCGAN = Game(
    dcgan.Generator(8, 1, width=4),
    dcgan.Discriminator(width=4),
    optax.adam(1e-3),
    optax.adam(1e-3),
    latent_size=5,
)
PICTURES = {"image": jax.random.uniform(jax.random.key(8), (6, 8, 8, 1), minval=-1)}


def step_function(game):
    return jax.jit(functools.partial(train_step.train_step, game))


def assert_trees_close(a, b, rtol=1e-5, atol=1e-7):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), a, b)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def by_hand(w, v, latent, real):
    """One step of the linear game with SGD in NumPy float64: D's update, then G's against the new D."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    fake = latent @ w
    count = len(real)
    v = v - RATE_D * (-(1 - sigmoid(real @ v)) @ real / count + sigmoid(fake @ v) @ fake / count)
    w = w - RATE_G * latent.T @ np.outer(-(1 - sigmoid(fake @ v)), v) / count
    return w, v


def test_a_step_is_the_hand_calculation(key):
    state = train_step.init(LINEAR, IMAGES, key)
    latent = train_step.latents(train_step.stream(jax.random.fold_in(key, 0), "latent"), 6, 2)
    arrays = (state.generator.params["w"], state.discriminator.params["v"], latent, IMAGES["image"])
    w, v = by_hand(*(np.asarray(a, np.float64) for a in arrays))
    new, _ = train_step.train_step(LINEAR, state, IMAGES, key)
    np.testing.assert_allclose(new.discriminator.params["v"], v, rtol=1e-5)
    np.testing.assert_allclose(new.generator.params["w"], w, rtol=1e-5)
    # Against the old discriminator the generator would have gone elsewhere: the order is tested.
    old_v = np.asarray(state.discriminator.params["v"], np.float64)
    fake = np.asarray(latent @ arrays[0], np.float64)
    wrong = arrays[0] - RATE_G * np.asarray(latent).T @ np.outer(-1 / (1 + np.exp(fake @ old_v)), old_v) / 6
    assert not np.allclose(new.generator.params["w"], wrong, rtol=1e-5)


def test_r1_pulls_at_the_discriminators_slope(key):
    gamma = 0.7
    game = dataclasses.replace(LINEAR, r1=gamma)
    state = train_step.init(game, IMAGES, key)
    v = state.discriminator.params["v"]
    with_penalty, penalised = train_step.train_step(game, state, IMAGES, key)
    without, plain = train_step.train_step(LINEAR, state, IMAGES, key)
    # Of a linear discriminator the penalty is gamma |v|^2 / 2, its gradient gamma v.
    moved = with_penalty.discriminator.params["v"] - without.discriminator.params["v"]
    np.testing.assert_allclose(moved, -RATE_D * gamma * v, rtol=1e-4, atol=1e-6)
    difference = penalised["discriminator/loss"] - plain["discriminator/loss"]
    np.testing.assert_allclose(difference, gamma * (v @ v) / 2, rtol=1e-4)


def test_metrics_are_those_before_the_update(key):
    state = train_step.init(LINEAR, IMAGES, key)
    latent = train_step.latents(train_step.stream(jax.random.fold_in(key, 0), "latent"), 6, 2)
    v = state.discriminator.params["v"]
    real, fake = IMAGES["image"] @ v, latent @ state.generator.params["w"] @ v
    new, metrics = train_step.train_step(LINEAR, state, IMAGES, key)
    assert_trees_close(metrics["discriminator/loss"], losses.non_saturating.discriminator(real, fake))
    assert_trees_close(metrics["discriminator/real"], jax.nn.sigmoid(real).mean())
    assert_trees_close(metrics["discriminator/fake"], jax.nn.sigmoid(fake).mean())
    assert metrics["discriminator/accuracy_real"] == pytest.approx(float((real > 0).mean()))
    assert metrics["discriminator/accuracy_fake"] == pytest.approx(float((fake < 0).mean()))
    moved = jnp.linalg.norm(new.discriminator.params["v"] - v)
    assert_trees_close(metrics["discriminator/update_ratio"], moved / jnp.linalg.norm(v))
    assert_trees_close(metrics["discriminator/gradient_norm"], moved / RATE_D)
    moved = jnp.linalg.norm(new.generator.params["w"] - state.generator.params["w"])
    assert_trees_close(metrics["generator/gradient_norm"], moved / RATE_G, rtol=1e-4)
    judged = latent @ state.generator.params["w"] @ new.discriminator.params["v"]
    assert_trees_close(metrics["generator/loss"], losses.non_saturating.generator(real, judged))


@pytest.mark.parametrize(("game", "batch"), [(LINEAR, IMAGES), (DCGAN, PICTURES)], ids=["linear", "dcgan"])
def test_a_step_is_the_two_half_steps(game, batch, key):
    state = train_step.init(game, batch, key)
    whole, metrics = train_step.train_step(game, state, batch, key)
    half, first = train_step.discriminator_step(game, state, batch, key)
    halves, second = train_step.generator_step(game, half, batch, key)
    assert_trees_close(whole, halves)
    assert_trees_close(metrics, {**first, **second})
    assert (whole.step, half.step) == (1, 0)


def test_each_player_is_frozen_while_the_other_learns(key):
    state = train_step.init(DCGAN, PICTURES, key)
    after, _ = train_step.discriminator_step(DCGAN, state, PICTURES, key)
    assert_trees_equal((after.generator, after.ema), (state.generator, state.ema))
    after, _ = train_step.generator_step(DCGAN, state, PICTURES, key)
    assert_trees_equal(after.discriminator, state.discriminator)  # Its batch statistics too.


def test_the_generators_forward_pass_is_computed_once(key):
    game = Game(
        mlp.Generator((512,), widths=(512, 512)),
        mlp.Discriminator(widths=(8,)),
        optax.sgd(0.1),
        optax.sgd(0.1),
        latent_size=512,
    )
    batch = {"image": jnp.zeros((64, 512))}
    state = jax.eval_shape(functools.partial(train_step.init, game), batch, key)

    def flops(function):
        compiled = jax.jit(functools.partial(function, game)).lower(state, batch, key).compile()
        return (compiled.cost_analysis() or {})["flops"]

    forward = 2 * 64 * 3 * 512 * 512
    once = flops(train_step.train_step)
    separately = flops(train_step.discriminator_step) + flops(train_step.generator_step)
    # Forward and weight gradients of three layers, input gradients of two: 8/3 of a forward pass in all.
    assert once == pytest.approx(8 / 3 * forward, rel=0.1)
    assert separately - once == pytest.approx(forward, rel=0.1)


def test_several_discriminator_updates(key):
    twice = Game(
        LinearGenerator(), LinearDiscriminator(), optax.sgd(RATE_G), optax.sgd(RATE_D), 2, discriminator_updates=2
    )
    state = train_step.init(twice, IMAGES, key)
    new, _ = train_step.train_step(twice, state, IMAGES, key)
    # The second (last) hand is the generator's: the same as a first update by hand, then a plain step.
    step_key = jax.random.fold_in(key, 0)
    v = np.asarray(state.discriminator.params["v"], np.float64)
    w = np.asarray(state.generator.params["w"], np.float64)
    real = np.asarray(IMAGES["image"], np.float64)
    draws = [
        np.asarray(train_step.latents(train_step.stream(k, "latent"), 3, 2), np.float64)
        for k in (jax.random.fold_in(step_key, 1), step_key)
    ]
    _, v = by_hand(w, v, draws[0], real[0::2])
    w, v = by_hand(w, v, draws[1], real[1::2])
    np.testing.assert_allclose(new.discriminator.params["v"], v, rtol=1e-5)
    np.testing.assert_allclose(new.generator.params["w"], w, rtol=1e-5)
    assert new.step == 1


def test_a_batch_that_cannot_be_dealt_is_refused(key):
    game = Game(LinearGenerator(), LinearDiscriminator(), optax.sgd(0.1), optax.sgd(0.1), 2, discriminator_updates=4)
    state = train_step.init(game, IMAGES, key)
    with pytest.raises(ValueError, match="batch of 6 cannot be dealt into 4 equal parts"):
        train_step.train_step(game, state, IMAGES, key)


def test_moving_average(key):
    state = train_step.init(DCGAN, PICTURES, key)
    assert_trees_equal(state.ema["params"], state.generator.params)
    step = step_function(DCGAN)
    expected = {"params": state.generator.params, **state.generator.stats}
    for index in range(3):
        state, _ = step(state, PICTURES, key)
        decay = min(0.999, (1 + index) / (10 + index))
        new = {"params": state.generator.params, **state.generator.stats}
        expected = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, expected, new)
    assert_trees_close(state.ema, expected, rtol=1e-4, atol=1e-6)


def test_scan_equals_a_loop(key):
    state = train_step.init(DCGAN, PICTURES, key)
    step = step_function(DCGAN)
    looped = state
    for _ in range(4):
        looped, _ = step(looped, PICTURES, key)
    scanned, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: step(s, PICTURES, key), s, length=4))(state)
    assert_trees_close(scanned, looped, rtol=1e-3, atol=1e-5)


def test_vmap_over_seeds_equals_each_alone():
    keys = jax.random.split(jax.random.key(1), 3)

    def train(key):
        state = train_step.init(LINEAR, IMAGES, key)
        return train_step.train_step(LINEAR, state, IMAGES, key)[0]

    together = jax.vmap(train)(keys)
    for index in range(3):
        assert_trees_close(jax.tree.map(lambda leaf, i=index: leaf[i], together), train(keys[index]))


def test_steps_draw_different_latents(key):
    step = step_function(LINEAR)
    state = train_step.init(LINEAR, IMAGES, key)
    later = dataclasses.replace(state, step=jnp.int32(1))
    assert step(state, IMAGES, key)[1]["generator/loss"] != step(later, IMAGES, key)[1]["generator/loss"]


def test_latents_are_drawn_an_example_at_a_time(key):
    short, long = train_step.latents(key, 3, 4), train_step.latents(key, 2000, 4)
    np.testing.assert_array_equal(short, long[:3])
    assert abs(float(long.mean())) < 0.05
    assert float(long.std()) == pytest.approx(1, abs=0.05)


def test_conditional_game(key):
    game = Game(
        mlp.Generator((4,), widths=(8,), classes=3),
        mlp.Discriminator(widths=(8,), classes=3),
        optax.adam(1e-2),
        optax.adam(1e-2),
        latent_size=2,
    )
    batch = {"image": jnp.zeros((6, 4)), "label": jnp.arange(6) % 3}
    state = train_step.init(game, batch, key)
    new, _ = train_step.train_step(game, state, batch, key)
    moved = new.generator.params["label"]["embedding"] - state.generator.params["label"]["embedding"]
    assert (jnp.abs(moved).max(axis=1) > 0).all()  # Every class's fakes were made and judged.
    latent = jnp.ones((3, 2))
    pictures = train_step.generate(game, new.ema, latent, jnp.arange(3))
    assert not np.allclose(pictures[0], pictures[1])


def test_an_image_may_be_a_pytree(key):
    class Pyramid(nn.Module):
        @nn.compact
        def __call__(self, latent):
            return {"small": nn.Dense(2)(latent), "large": nn.Dense(4)(latent)}

    class Judge(nn.Module):
        @nn.compact
        def __call__(self, image):
            return nn.Dense(1)(jnp.concatenate([image["small"], image["large"]], axis=-1))

    game = Game(Pyramid(), Judge(), optax.sgd(0.1), optax.sgd(0.1), latent_size=2)
    batch = {"image": {"small": jnp.ones((5, 2)), "large": jnp.ones((5, 4))}}
    state = train_step.init(game, batch, key)
    new, metrics = train_step.train_step(game, state, batch, key)
    assert new.step == 1
    assert np.isfinite(metrics["generator/loss"])
    for name, layer in new.generator.params.items():
        assert not np.array_equal(layer["kernel"], state.generator.params[name]["kernel"])


def test_the_game_is_static_and_traced_once(key):
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def step(game, state):
        traces.append(game)
        return train_step.train_step(game, state, IMAGES, key)[0]

    state = train_step.init(LINEAR, IMAGES, key)
    for _ in range(3):
        state = step(LINEAR, state)
    assert len(traces) == 1
