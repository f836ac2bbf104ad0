"""The game: order, sharing and purity of the updates, on networks small enough to follow by hand."""

import dataclasses
import functools
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import losses, train_step
from jaxgan.models import dcgan, mlp
from jaxgan.step import augment
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


class Pictures(nn.Module):
    @nn.compact
    def __call__(self, latent):
        return nn.Dense(48)(latent).reshape(-1, 4, 4, 3)


class JudgeOfPictures(nn.Module):
    @nn.compact
    def __call__(self, image):
        return nn.Dense(1)(image.reshape(len(image), -1))


def step_function(game):
    return jax.jit(functools.partial(train_step.train_step, game))


def assert_trees_close(a, b, rtol=1e-5, atol=1e-7):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), a, b)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(w, v, latent, real):
    """One step of the linear game with SGD in NumPy float64: D's update, then G's against the new D."""

    fake = latent @ w
    count = len(real)
    v = v - RATE_D * (-(1 - sigmoid(real @ v)) @ real / count + sigmoid(fake @ v) @ fake / count)
    w = w - RATE_G * latent.T @ np.outer(-(1 - sigmoid(fake @ v)), v) / count
    return w, v


def test_a_step_is_the_hand_calculation(key):
    state = train_step.init(LINEAR, IMAGES, key)
    latent = train_step.latents(LINEAR, train_step.stream(jax.random.fold_in(key, 0), "latent"), 6)
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
    np.testing.assert_allclose(penalised["discriminator/penalty"], gamma * (v @ v) / 2, rtol=1e-5)
    assert_trees_close(penalised["discriminator/loss"], plain["discriminator/loss"])
    assert_trees_close(
        with_penalty.discriminator.loss, penalised["discriminator/loss"] + penalised["discriminator/penalty"]
    )
    assert "discriminator/penalty" not in plain


def moved_by(key, steps=1, **fields):
    """How much further a penalty takes the linear discriminator, whose slope is its parameter v; and v."""
    game = dataclasses.replace(LINEAR, **fields)
    state = plain = train_step.init(game, IMAGES, key)
    v = state.discriminator.params["v"]
    for _ in range(steps):
        v = state.discriminator.params["v"]
        plain, _ = train_step.train_step(LINEAR, state, IMAGES, key)
        state, _ = train_step.train_step(game, state, IMAGES, key)
    return (state.discriminator.params["v"] - plain.discriminator.params["v"]) / -RATE_D, v


def test_r2_is_r1_at_the_fakes(key):
    moved, v = moved_by(key, r2=0.7)
    np.testing.assert_allclose(moved, 0.7 * v, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("steps", "share"), [(1, 1.0), (2, 0.55), (3, 0.1), (4, 0.1)])
def test_penalties_fall_to_their_final_share(steps, share, key):
    moved, v = moved_by(key, steps, r1=0.7, penalty_decay_steps=2, penalty_final=0.1)
    np.testing.assert_allclose(moved, share * 0.7 * v, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_slopes_are_drawn_towards_one(name, key):
    moved, v = moved_by(key, 1, **{name: 0.7})
    slope = jnp.linalg.norm(v)
    np.testing.assert_allclose(moved, 0.7 * 2 * (slope - 1) * v / slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_penalties_with_slope_one_look_where_they_should(name, key):
    """A discriminator whose slope is 1 around the data and elsewhere 3 is punished by the one and not by the other."""

    class Kinked(nn.Module):
        @nn.compact
        def __call__(self, image):
            v = self.param("v", nn.initializers.ones, ())
            return v * jnp.where(image[:, 0] < 5, image[:, 0], 3 * image[:, 0] - 10)

    class Far(nn.Module):
        @nn.compact
        def __call__(self, latent):
            return 100 + latent[:, :1] * self.param("w", nn.initializers.ones, ())

    game = dataclasses.replace(LINEAR, generator=Far(), discriminator=Kinked())
    batch = {"image": 0.1 * jax.random.normal(key, (6, 1))}
    state = train_step.init(game, batch, key)
    _, metrics = train_step.train_step(dataclasses.replace(game, **{name: 1.0}), state, batch, key)
    # Nearly all of the way from real to fake is steep: (3 - 1)^2.
    assert float(metrics["discriminator/penalty"]) == pytest.approx(
        {"gradient_penalty": 4, "dragan": 0}[name], abs=1e-2
    )


def test_lazy_penalties_come_every_few_steps_and_so_much_stronger(key):
    moved, v = moved_by(key, r1=0.7, penalty_every=3)
    np.testing.assert_allclose(moved, 3 * 0.7 * v, rtol=1e-4, atol=1e-5)
    for steps, factor in ((2, 0), (3, 0), (4, 3)):
        moved, v = moved_by(key, steps, r1=0.7, penalty_every=3)
        np.testing.assert_allclose(moved, factor * 0.7 * v, rtol=1e-3, atol=1e-5)


def test_a_lazy_penalty_is_told_as_it_counts_on_average_and_the_loss_without_it(key):
    game = dataclasses.replace(LINEAR, r1=0.7, penalty_every=3)
    state = train_step.init(game, IMAGES, key)
    for due in (True, False, False, True):
        v = state.discriminator.params["v"]
        plain = train_step.train_step(LINEAR, state, IMAGES, key)[1]["discriminator/loss"]
        before, (state, metrics) = state, train_step.train_step(game, state, IMAGES, key)
        np.testing.assert_allclose(metrics["discriminator/penalty"], due * 0.7 * (v @ v) / 2, rtol=1e-5)
        assert_trees_close(metrics["discriminator/loss"], plain)
        if jnp.isfinite(before.discriminator.loss):  # What is minimised has it three times as strong.
            minimised = (state.discriminator.loss - 0.9 * before.discriminator.loss) / 0.1
            np.testing.assert_allclose(minimised, plain + 3 * metrics["discriminator/penalty"], rtol=1e-4)


def test_noisy_labels_exchange_real_and_fake(key):
    state = train_step.init(LINEAR, IMAGES, key)
    plain, before = train_step.discriminator_step(LINEAR, state, IMAGES, key)
    all_wrong = dataclasses.replace(LINEAR, noisy_labels=1.0)
    wrong, after = train_step.discriminator_step(all_wrong, state, IMAGES, key)
    v = state.discriminator.params["v"]
    latent = train_step.latents(LINEAR, train_step.stream(jax.random.fold_in(key, 0), "latent"), 6)
    real, fake = IMAGES["image"] @ v, latent @ state.generator.params["w"] @ v
    np.testing.assert_allclose(after["discriminator/loss"], losses.non_saturating.discriminator(fake, real), rtol=1e-5)
    assert not np.allclose(plain.discriminator.params["v"], wrong.discriminator.params["v"])
    assert before["discriminator/real"] == after["discriminator/real"]  # The metrics tell the truth.


def test_a_player_is_skipped_while_its_smoothed_loss_is_low(key):
    game = dataclasses.replace(LINEAR, skip_discriminator_below=1e3, skip_generator_below=-1.0)
    step = step_function(game)
    state = train_step.init(game, IMAGES, key)
    assert np.isinf(state.discriminator.loss)
    first, metrics = step(state, IMAGES, key)  # Nothing is known of its loss yet, so it learns.
    assert metrics["discriminator/skipped"] == 0
    assert_trees_close(first, train_step.train_step(LINEAR, state, IMAGES, key)[0], rtol=1e-5)
    np.testing.assert_allclose(first.discriminator.loss, metrics["discriminator/loss"], rtol=1e-6)
    second, metrics = step(first, IMAGES, key)
    assert_trees_equal(second.discriminator.params, first.discriminator.params)
    assert metrics["discriminator/skipped"] == 0.5
    assert metrics["discriminator/update_ratio"] == 0
    assert metrics["generator/skipped"] == 0
    assert not np.array_equal(second.generator.params["w"], first.generator.params["w"])
    expected = 0.9 * first.discriminator.loss + 0.1 * metrics["discriminator/loss"]
    np.testing.assert_allclose(second.discriminator.loss, expected, rtol=1e-6)


def test_the_generator_is_skipped_likewise(key):
    game = dataclasses.replace(LINEAR, skip_generator_below=1e3)
    state = train_step.init(game, IMAGES, key)
    first, _ = train_step.train_step(game, state, IMAGES, key)
    second, metrics = train_step.train_step(game, first, IMAGES, key)
    assert_trees_equal(second.generator.params, first.generator.params)
    assert not np.array_equal(second.discriminator.params["v"], first.discriminator.params["v"])
    assert (second.step, metrics["generator/skipped"]) == (2, 0.5)


def test_skipping_saves_the_work(key):
    """It is a branch, and one of the two has nothing but the logits of both kinds of pictures."""
    game = dataclasses.replace(LINEAR, skip_discriminator_below=0.1)
    state = train_step.init(game, IMAGES, key)
    traced = jax.make_jaxpr(functools.partial(train_step.train_step, game))(state, IMAGES, key)
    branches = [str(branch) for found in _conds(traced.jaxpr) for branch in found.params["branches"]]
    products = sorted(branch.count("dot_general") for branch in branches)
    assert len(products) == 2
    assert products[0] == 2 < products[1]


def _conds(jaxpr):
    """All branchings in a program, those in its functions too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "cond":
            yield equation
        else:
            for value in jax.tree.leaves([*equation.params.values()], is_leaf=lambda leaf: hasattr(leaf, "eqns")):
                if hasattr(value := getattr(value, "jaxpr", value), "eqns"):
                    yield from _conds(value)


def test_rules_that_make_no_sense_are_refused():
    for name, value in {"penalty_at": "pictures", "pack": 0, "discriminator_updates": 0, "penalty_every": 0}.items():
        with pytest.raises(ValueError, match=f"{name}: must be"):
            dataclasses.replace(LINEAR, **{name: value})


def test_dragan_of_a_constant_batch_is_finite(key):
    """Of equal numbers the mean of squares, rounded, may be less than the square of the mean."""
    images = {"image": jnp.full((6, 3), 0.1, jnp.float32)}
    game = dataclasses.replace(LINEAR, dragan=1.0)
    _, metrics = train_step.train_step(game, train_step.init(game, images, key), images, key)
    assert np.isfinite(metrics["discriminator/penalty"])


def test_packing_shows_neighbours_together(key):
    seen = []

    class Judge(nn.Module):
        @nn.compact
        def __call__(self, image):
            seen.append(image)
            return image @ self.param("v", nn.initializers.normal(1.0), (image.shape[-1],))

    game = dataclasses.replace(LINEAR, discriminator=Judge(), pack=2, r1=1.0)
    state = train_step.init(game, IMAGES, key)
    assert state.discriminator.params["v"].shape == (6,)
    seen.clear()
    after, metrics = train_step.train_step(game, state, IMAGES, key)
    shown = IMAGES["image"].reshape(3, 6)
    assert {image.shape for image in seen} == {(3, 6)}
    v = state.discriminator.params["v"]
    np.testing.assert_allclose(metrics["discriminator/penalty"], v @ v / 2, rtol=1e-5)  # A pack's slope.
    np.testing.assert_allclose(metrics["discriminator/real"], jax.nn.sigmoid(shown @ v).mean(), rtol=1e-5)
    assert after.step == 1


def test_instance_noise_fades(key):
    noisy = dataclasses.replace(LINEAR, instance_noise=0.5, instance_noise_steps=10)
    state = train_step.init(noisy, IMAGES, key)

    def metrics(game, step):
        return train_step.train_step(game, dataclasses.replace(state, step=jnp.int32(step)), IMAGES, key)[1]

    for step in (10, 50):
        assert_trees_close(metrics(noisy, step), metrics(LINEAR, step))
    gaps = [
        abs(float(metrics(noisy, step)["discriminator/loss"] - metrics(LINEAR, step)["discriminator/loss"]))
        for step in (0, 9)
    ]
    assert gaps[0] > 0.01
    assert gaps[1] < gaps[0]


def test_augmentation_is_of_all_that_the_discriminator_sees_and_has_gradients(key):
    def tripled(keys, image, probability):
        return image * (1 + 2 * probability)

    game = dataclasses.replace(LINEAR, augment=(tripled,))
    state = train_step.init(game, IMAGES, key)
    after, _ = train_step.train_step(game, state, IMAGES, key)
    # The linear game with v tripled, whose gradients for v and w are tripled too.
    latent = train_step.latents(LINEAR, train_step.stream(jax.random.fold_in(key, 0), "latent"), 6)
    w, v, z, x = (
        np.asarray(a, np.float64)
        for a in (state.generator.params["w"], state.discriminator.params["v"], latent, IMAGES["image"])
    )

    v = v - RATE_D * 3 * (-(1 - sigmoid(3 * x @ v)) @ x / 6 + sigmoid(3 * z @ w @ v) @ (z @ w) / 6)
    w = w - RATE_G * 3 * z.T @ np.outer(-(1 - sigmoid(3 * z @ w @ v)), v) / 6
    np.testing.assert_allclose(after.discriminator.params["v"], v, rtol=1e-5)
    np.testing.assert_allclose(after.generator.params["w"], w, rtol=1e-5)


def test_adaptive_augmentation_follows_the_discriminators_certainty(key):
    def nothing(keys, image, probability):
        return image

    game = dataclasses.replace(LINEAR, augment=(nothing,), augment_probability=0.5, ada_target=0.6, ada_images=60)
    state = train_step.init(game, IMAGES, key)
    after, metrics = train_step.train_step(game, state, IMAGES, key)
    sign = 2 * float(metrics["discriminator/accuracy_real"]) - 1
    assert float(after.augment) == pytest.approx(0.5 + 0.1 * np.sign(sign - 0.6))
    assert metrics["discriminator/augment"] == after.augment


@pytest.mark.parametrize(
    ("loss", "pairs"),
    [
        (losses.non_saturating, False),
        (losses.hinge, False),
        (losses.wasserstein, True),
        (losses.relativistic_paired, True),
        (losses.relativistic_average, True),
    ],
)
def test_adaptive_augmentation_goes_by_pairs_where_logits_have_no_zero(loss, pairs, key):
    class Shifted(nn.Module):
        """Takes every example for real by the sign; which of two is real it knows."""

        @nn.compact
        def __call__(self, image):
            return 100 + image @ self.param("v", nn.initializers.zeros, (3,)) - jnp.sum(jnp.abs(image), axis=1)

    def nothing(keys, image, probability):
        return image

    adaptive = {"augment": (nothing,), "augment_probability": 0.5, "ada_target": 0.6, "ada_images": 60}
    game = dataclasses.replace(LINEAR, discriminator=Shifted(), loss=loss, **adaptive)
    far = {"image": 20 * IMAGES["image"]}  # Of these it takes the fakes, which are nearer to 0, for real.
    state = train_step.init(game, far, key)
    after, metrics = train_step.train_step(game, state, far, key)
    assert metrics["discriminator/accuracy_real"] == 1
    assert metrics["discriminator/separation"] < 0.5
    assert float(after.augment) == pytest.approx(0.4 if pairs else 0.6)


def test_consistency_pulls_at_a_discriminator_that_minds_shifts(key):
    class Corner(nn.Module):
        @nn.compact
        def __call__(self, image):
            return self.param("v", nn.initializers.ones, ()) * image[:, 0, 0, 0]

    game = dataclasses.replace(DCGAN, discriminator=Corner(), discriminator_optimizer=optax.sgd(1.0), consistency=5.0)
    plain = dataclasses.replace(game, consistency=0.0)
    batch = {"image": jax.random.uniform(key, (6, 8, 8, 1))}
    state = train_step.init(game, batch, key)
    after, metrics = train_step.discriminator_step(game, state, batch, key)
    other, without = train_step.discriminator_step(plain, state, batch, key)
    # The loss is 5 v^2 E (shift)^2, so its gradient at v = 1 is twice its value.
    extra = metrics["discriminator/penalty"]
    assert_trees_close(metrics["discriminator/loss"], without["discriminator/loss"])
    assert extra > 0.1
    np.testing.assert_allclose(other.discriminator.params["v"] - after.discriminator.params["v"], 2 * extra, rtol=1e-4)


def test_metrics_are_those_before_the_update(key):
    state = train_step.init(LINEAR, IMAGES, key)
    latent = train_step.latents(LINEAR, train_step.stream(jax.random.fold_in(key, 0), "latent"), 6)
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


def test_half_steps_draw_anew_and_adapt_augmentation(key):
    """A step of two updates is two half steps on its hands, numbers 1 and 0, and the generator's; ADA included."""
    game = dataclasses.replace(
        LINEAR, discriminator_updates=2, augment=(augment.flip,), augment_probability=0.5, ada_target=0.2, ada_images=60
    )
    batch = {"image": jax.random.normal(key, (6, 4, 4, 3))}
    # Linear in the mean over a picture, so that pictures can be flipped.
    game = dataclasses.replace(game, generator=Pictures(), discriminator=JudgeOfPictures())
    state = train_step.init(game, batch, key)
    whole, _ = train_step.train_step(game, state, batch, key)
    hands = [{"image": batch["image"][hand::2]} for hand in range(2)]
    half, _ = train_step.discriminator_step(game, state, hands[0], key, 1)
    half, _ = train_step.discriminator_step(game, half, hands[1], key, jnp.int32(0))
    halves, _ = train_step.generator_step(game, half, hands[1], key)
    assert_trees_close(whole, halves)
    assert half.augment != state.augment
    losses = [
        train_step.discriminator_step(LINEAR, train_step.init(LINEAR, IMAGES, key), IMAGES, key, number)[1]
        for number in (0, 0, 1, 2)
    ]
    assert [len({float(found["discriminator/fake"]) for found in losses[:count]}) for count in (2, 3, 4)] == [1, 2, 3]


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
        np.asarray(train_step.latents(twice, train_step.stream(k, "latent"), 3), np.float64)
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


class Counting(nn.Module):
    """A linear generator that counts its calls and keeps a key, among its statistics."""

    @nn.compact
    def __call__(self, latent):
        calls = self.variable("batch_stats", "calls", jnp.zeros, (), jnp.int32)
        self.variable("batch_stats", "key", jax.random.key, 3)
        if not self.is_initializing():
            calls.value += 1
        return latent @ self.param("w", nn.initializers.normal(1.0), (2, 3))


@pytest.mark.parametrize("axis", [None, "data"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_statistics_that_are_no_numbers_are_left_alone(axis, accumulate, key):
    game = dataclasses.replace(LINEAR, generator=Counting(), axis=axis, accumulate=accumulate)
    state = train_step.init(game, IMAGES, key)
    step = functools.partial(train_step.train_step, game)
    if axis:
        mesh = jax.make_mesh((1,), (axis,), axis_types=(jax.sharding.AxisType.Auto,))
        split = jax.sharding.PartitionSpec
        step = jax.shard_map(step, mesh=mesh, in_specs=(split(), split(axis), split()), out_specs=split())
    for _ in range(3):
        state, _ = jax.jit(step)(state, IMAGES, key)
    for stats in (state.generator.stats["batch_stats"], state.ema["batch_stats"]):
        assert stats["calls"].dtype == jnp.int32
        assert int(stats["calls"]) == 3 * accumulate
        assert stats["key"] == jax.random.key(3)


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
    short, long = train_step.latents(DCGAN, key, 3), train_step.latents(DCGAN, key, 2000)
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


def uniform(key, size):
    return jax.random.uniform(key, (size,), jnp.float32, -1, 1)


def test_a_prior_of_ones_own(key):
    game = dataclasses.replace(LINEAR, prior=uniform)
    state = train_step.init(game, IMAGES, key)
    latent = train_step.latents(game, train_step.stream(jax.random.fold_in(key, 0), "latent"), 6)
    assert jnp.abs(latent).max() < 1
    np.testing.assert_array_equal(
        latent, train_step.latents(game, train_step.stream(jax.random.fold_in(key, 0), "latent"), 9)[:6]
    )
    new, _ = train_step.train_step(game, state, IMAGES, key)
    arrays = (state.generator.params["w"], state.discriminator.params["v"], latent, IMAGES["image"])
    w, v = by_hand(*(np.asarray(a, np.float64) for a in arrays))
    np.testing.assert_allclose(new.generator.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(new.discriminator.params["v"], v, rtol=1e-5)


def test_a_prior_of_ones_own_is_also_that_of_path_lengths(key):
    class Styled(nn.Module):
        def setup(self):
            self.dense = nn.Dense(48)

        def mapping(self, latent):
            return latent[:, None]

        def synthesis(self, styles):
            # |J| is that of the root times the latent's length: all lengths are one if all latents are.
            return jnp.square(self.dense(styles[:, 0])).reshape(-1, 4, 4, 3)

        def __call__(self, latent):
            return self.synthesis(self.mapping(latent))

    def still(key, size):
        return jnp.zeros(size)

    game = Game(Styled(), JudgeOfPictures(), optax.sgd(0.1), optax.sgd(0.1), 2, path_length=1.0, path_every=1)
    batch = {"image": jnp.zeros((4, 4, 4, 3))}
    lengths = []
    for prior in (still, uniform):
        state = train_step.init(dataclasses.replace(game, prior=prior), batch, key)
        lengths.append(
            float(train_step.train_step(dataclasses.replace(game, prior=prior), state, batch, key)[0].path_length)
        )
    # The slope of a square is 0 at the untrained network's output for a latent of zeros, which is 0.
    assert lengths[0] == pytest.approx(0, abs=1e-6)
    assert lengths[1] > 1e-4


def test_a_term_of_ones_own_is_minimised_by_the_generator(key):
    def term(fake, batch):
        return 3 * jnp.mean(jnp.sum((fake - batch["image"]) ** 2, axis=1))

    game = dataclasses.replace(LINEAR, generator_term=term)
    state = train_step.init(game, IMAGES, key)
    plain, without = train_step.train_step(LINEAR, state, IMAGES, key)
    new, metrics = train_step.train_step(game, state, IMAGES, key)
    latent = train_step.latents(game, train_step.stream(jax.random.fold_in(key, 0), "latent"), 6)
    difference = latent @ state.generator.params["w"] - IMAGES["image"]
    moved = new.generator.params["w"] - plain.generator.params["w"]
    np.testing.assert_allclose(moved, -RATE_G * 6 * latent.T @ difference / 6, rtol=1e-4, atol=1e-6)
    value = 3 * float(jnp.sum(difference**2)) / 6
    assert float(metrics["generator/term"]) == pytest.approx(value, rel=1e-5)
    assert float(metrics["generator/loss"]) == pytest.approx(float(without["generator/loss"]) + value, rel=1e-5)
    assert_trees_equal(new.discriminator, plain.discriminator)


@pytest.mark.parametrize("shape", [(6, 2), (6, 3, 1)])
def test_fakes_that_are_not_shaped_like_the_data_are_refused(shape, key):
    batch = {"image": jnp.zeros(shape)}
    message = re.escape(f"the generator makes images [6, 3], and real ones are {list(shape)}: their shapes must agree")
    with pytest.raises(ValueError, match=f"^{message}$"):
        train_step.init(LINEAR, batch, key)
    # Networks that reduce over a mapped axis cannot be tried before it is there: the first step tells.
    game = dataclasses.replace(LINEAR, axis="data")
    state = train_step.init(game, IMAGES, key)
    step = jax.vmap(lambda batch: train_step.train_step(game, state, batch, key), axis_name="data")
    with pytest.raises(ValueError, match=f"^{message}"):  # JAX adds a note on its traceback.
        step({"image": batch["image"][None]})


def test_optimisers_are_given_the_loss(key):
    """Optax's reduce_on_plateau and polyak_sgd ask for `value`."""

    def update(updates, state, params=None, **extra):
        return jax.tree.map(lambda gradient: -extra["value"] * gradient, updates), state

    def nothing(params):
        return optax.EmptyState()

    by_loss = optax.GradientTransformationExtraArgs(nothing, update)
    one = optax.sgd(1.0)
    state = train_step.init(LINEAR, IMAGES, key)
    plain, metrics = train_step.discriminator_step(
        dataclasses.replace(LINEAR, discriminator_optimizer=one), state, IMAGES, key
    )
    game = dataclasses.replace(LINEAR, discriminator_optimizer=by_loss)
    new, _ = train_step.discriminator_step(game, state, IMAGES, key)
    v = state.discriminator.params["v"]
    expected = float(metrics["discriminator/loss"]) * (plain.discriminator.params["v"] - v)
    np.testing.assert_allclose(new.discriminator.params["v"] - v, expected, rtol=1e-5)
    # The whole of what is minimised, penalties included.
    fields: dict[str, Any] = {"r1": 1.0, "drift": 0.5}
    plain, metrics = train_step.discriminator_step(
        dataclasses.replace(LINEAR, discriminator_optimizer=one, **fields), state, IMAGES, key
    )
    new, _ = train_step.discriminator_step(dataclasses.replace(game, **fields), state, IMAGES, key)
    value = float(metrics["discriminator/loss"]) + float(metrics["discriminator/penalty"])
    assert float(metrics["discriminator/penalty"]) > 0.01
    expected = value * (plain.discriminator.params["v"] - v)
    np.testing.assert_allclose(new.discriminator.params["v"] - v, expected, rtol=1e-5)
    sgd = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))
    game = dataclasses.replace(LINEAR, generator_optimizer=sgd, discriminator_optimizer=sgd)
    state = train_step.init(game, IMAGES, key)
    assert train_step.train_step(game, state, IMAGES, key)[0].step == 1


def test_logits_of_bfloat16_can_be_skipped(key):
    class Half(nn.Module):
        @nn.compact
        def __call__(self, image):
            return nn.Dense(1, dtype=jnp.bfloat16)(image)

    game = dataclasses.replace(LINEAR, discriminator=Half(), skip_discriminator_below=100.0, skip_generator_below=100.0)
    state = train_step.init(game, IMAGES, key)
    state, _ = train_step.train_step(game, state, IMAGES, key)
    state, metrics = train_step.train_step(game, state, IMAGES, key)
    assert metrics["discriminator/skipped"] == metrics["generator/skipped"] == 0.5


def test_a_state_can_be_donated(key):
    step = jax.jit(train_step.train_step, static_argnums=0, donate_argnums=1)
    state, _ = step(LINEAR, train_step.init(LINEAR, IMAGES, key), IMAGES, key)
    assert step(LINEAR, state, IMAGES, key)[0].step == 2
