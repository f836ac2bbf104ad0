"""What the papers' authors do: where penalties look, drift, averages, labels; and that old runs stay as they were."""

import dataclasses
import os
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import record_augmented
import record_run
from test_train_step import IMAGES, LINEAR, RATE_D, moved_by

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.run import build, directory
from jaxgan.step import judging, schedules
from jaxgan.support.errors import UserError

RECORDED = np.load(record_augmented.DATA)


def test_a_config_from_before_trains_as_it_did():
    """Bit by bit on a machine like the one it was recorded on; elsewhere up to rounding."""
    text = str(RECORDED["config"])
    assert "penalty_at" not in text
    config = cfg.from_json(text, "config.json")
    assert (config.penalty_at, record_augmented.CONFIG.penalty_at) == ("shown", "picture")
    alike = str(RECORDED["machine"]) == record_run.machine(os.environ["XLA_FLAGS"])
    found = record_augmented.trained(config)
    assert set(found) == set(RECORDED.files) - {"machine", "config"}
    for name, array in found.items():
        if alike:
            np.testing.assert_array_equal(array, RECORDED[name], err_msg=name)
        np.testing.assert_allclose(array, RECORDED[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_run_from_before_goes_on_with_the_config_of_today(tmp_path):
    today, run = record_augmented.CONFIG, tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(str(RECORDED["config"]))
    begun = directory.as_begun(run, today)
    assert begun == dataclasses.replace(today, penalty_at="shown")
    directory.check_config(run, begun)
    directory.write_config(run, begun)  # As it does when it goes on; and then again.
    assert directory.as_begun(run, today) == begun
    assert directory.as_begun(tmp_path / "none", today) == today


def tripled(keys, image, probability):
    return image * (1 + 2 * probability)


@pytest.mark.parametrize("name", ["r1", "r2"])
@pytest.mark.parametrize(("at", "slope"), [("picture", 3), ("shown", 1)])
def test_the_penalty_looks_at_the_picture_or_at_what_is_shown(name, at, slope, key):
    """Shown are pictures times 3: the discriminator's slope v is 3 v at the picture, and the penalty's gradient 9 v."""
    plain = dataclasses.replace(LINEAR, augment=(tripled,), penalty_at=at)
    game = dataclasses.replace(plain, **{name: 0.7})
    state = train_step.init(game, IMAGES, key)
    with_penalty, _ = train_step.train_step(game, state, IMAGES, key)
    without, _ = train_step.train_step(plain, state, IMAGES, key)
    moved = with_penalty.discriminator.params["v"] - without.discriminator.params["v"]
    expected = -RATE_D * 0.7 * slope**2 * state.discriminator.params["v"]
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at", ["picture", "shown"])
def test_packs_keep_their_slope(at, key):
    """Of a linear discriminator of packs the penalty is |v|^2 / 2, wherever it is taken."""

    class Judge(nn.Module):
        @nn.compact
        def __call__(self, image):
            return image @ self.param("v", nn.initializers.normal(1.0), (image.shape[-1],))

    plain = dataclasses.replace(LINEAR, discriminator=Judge(), pack=2, penalty_at=at)
    state = train_step.init(plain, IMAGES, key)
    after, without = (
        train_step.discriminator_step(game, state, IMAGES, key)[0].discriminator.params["v"]
        for game in (dataclasses.replace(plain, r1=1.0), plain)
    )
    np.testing.assert_allclose(after - without, -RATE_D * state.discriminator.params["v"], rtol=1e-3, atol=1e-5)


def test_drift_pulls_real_logits_to_zero(key):
    """The gradient of 0.7 E (x v)^2."""
    moved, v = moved_by(key, drift=0.7)
    x = np.asarray(IMAGES["image"], np.float64)
    np.testing.assert_allclose(moved, 0.7 * 2 * x.T @ (x @ v) / len(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "step", "decay"),
    [
        ({"ema_decay": 0.99}, 0, 1 / 10),
        ({"ema_decay": 0.99}, 5000, 0.99),
        ({"ema_decay": 0.99, "ema_start": 3}, 2, 0),
        ({"ema_decay": 0.99, "ema_start": 3}, 3, 0.99),
        # StyleGAN2's config F: half a batch of 32 is forgotten in 10,000 examples; as ADA ramps it, at first in fewer.
        ({"ema_half_life": 10_000.0}, 0, 0.5 ** (32 / 10_000)),
        ({"ema_half_life": 10_000.0, "ema_ramp": 0.05}, 100, 0.5 ** (32 / 160)),
        ({"ema_half_life": 10_000.0, "ema_ramp": 0.05}, 10**6, 0.5 ** (32 / 10_000)),
        # R3GAN's rises from 0.
        ({"ema_half_life": 10_000.0, "ema_rise_steps": 100}, 0, 0),
        ({"ema_half_life": 10_000.0, "ema_rise_steps": 100}, 50, 0.5 ** (32 / 5_000)),
        ({"ema_half_life": 10_000.0, "ema_rise_steps": 100}, 200, 0.5 ** (32 / 10_000)),
    ],
)
def test_the_average_begins_as_it_is_told(fields, step, decay):
    game = dataclasses.replace(LINEAR, **fields)
    np.testing.assert_allclose(schedules.averaging(game, jnp.int32(step), 32), decay, rtol=1e-5)


def test_the_average_is_the_generator_until_its_start(key):
    game = dataclasses.replace(LINEAR, ema_start=2)
    state = train_step.init(game, IMAGES, key)
    for same in (True, True, False):
        state, _ = train_step.train_step(game, state, IMAGES, key)
        assert np.array_equal(state.ema["params"]["w"], state.generator.params["w"]) == same


def test_the_probability_of_augmentation_rises(key):
    game = dataclasses.replace(LINEAR, augment=(tripled,), augment_probability=0.4, augment_rise_steps=10)
    state = train_step.init(game, IMAGES, key)
    batch = {**IMAGES, "index": jnp.arange(6)}
    for step, probability in ((0, 0), (5, 0.2), (10, 0.4), (50, 0.4)):
        now = dataclasses.replace(state, step=jnp.int32(step))
        shown = judging.shown(game, now, IMAGES["image"], batch, key)
        np.testing.assert_allclose(shown, IMAGES["image"] * (1 + 2 * probability), rtol=1e-5)


class Told(nn.Module):
    """A generator or discriminator that only knows labels."""

    features: int

    @nn.compact
    def __call__(self, x, label):
        told = nn.Embed(5, self.features, name="label")(label)
        return told if x.shape[-1] == 2 else jnp.sum(x * told, axis=-1)


def test_labels_of_fakes_are_drawn_uniformly(key):
    """Real examples are all of class 4; fakes, and what is said of them, of all."""
    game = dataclasses.replace(LINEAR, generator=Told(3), discriminator=Told(3), fake_classes=5)
    batch = {"image": jnp.ones((50, 3)), "label": jnp.full(50, 4)}
    state = train_step.init(game, batch, key)
    after, _ = train_step.train_step(game, state, batch, key)

    def moved(name, after=after):
        players = (getattr(which, name).params["label"]["embedding"] for which in (after, state))
        return np.abs(np.subtract(*players)).max(axis=1) > 0

    assert moved("generator").all()
    assert moved("discriminator").all()
    other, _ = train_step.train_step(dataclasses.replace(game, fake_classes=0), state, batch, key)
    assert moved("generator", other).tolist() == [False] * 4 + [True]
    assert moved("discriminator", other).tolist() == [False] * 4 + [True]
    index = jnp.arange(5000)
    drawn = judging.of_fakes(game, {**batch, "index": index}, key)["label"]
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 5000, 0.2, atol=0.02)
    half = judging.of_fakes(game, {**batch, "index": index[7:9]}, key)["label"]
    np.testing.assert_array_equal(half, drawn[7:9])


def test_epsilon_is_adams():
    """With gradients far below epsilon a step is the rate times gradient over epsilon."""
    params, gradients = jnp.zeros(2), jnp.float32([1e-9, -1e-9])
    with jax.numpy_dtype_promotion("standard"):
        optimizer: Any = build._adam(cfg.DCGANGenerator(learning_rate=1.0, epsilon=1e-6))
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        np.testing.assert_allclose(updates, [-1e-3, 1e-3], rtol=2e-3)
        ours, theirs = build._adam(cfg.DCGANGenerator()), optax.adam(2e-4, 0.5, 0.999)
        updates, expected = (one.update(gradients, one.init(params), params)[0] for one in (ours, theirs))
        np.testing.assert_array_equal(updates, expected)


def test_each_size_may_have_its_own_fade():
    pair = {"generator": cfg.ProgressiveGenerator(), "discriminator": cfg.ProgressiveDiscriminator()}
    config = cfg.Config(data="x", size=16, **pair, grow=(4, 10), fade_steps=5)
    assert [stage.fade_steps for stage in cfg.stages(config)] == [0, 5, 5]
    config = dataclasses.replace(config, grow_fade_steps=(6, 9))
    assert [stage.fade_steps for stage in cfg.stages(cfg.validate(config, "here"))] == [0, 6, 9]
    for wrong, message in (((7, 9), "grow, fade_steps: steps must rise"), ((6,), "needs one for each of 2 sizes")):
        with pytest.raises(UserError, match=message):
            cfg.validate(dataclasses.replace(config, grow_fade_steps=wrong), "here")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fake_labels": "uniform"}, "fake_labels: uniform ones need --conditional"),
        ({"ema_ramp": 0.05}, "need ema_half_life"),
        ({"ema_rise_steps": 5}, "need ema_half_life"),
        ({"augment": ("flip",), "augment_rise_steps": 5, "ada_target": 0.6}, "augment_rise_steps: does not go with"),
    ],
)
def test_fields_that_need_others_say_so(fields, words):
    with pytest.raises(UserError, match=words):
        cfg.validate(dataclasses.replace(cfg.Config(), **fields), "command line")
