"""Progressive growing and pyramids: what a stage sees, how a state grows, and that a run does so exactly."""

import dataclasses
import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.models import layers, msg, progressive
from jaxgan.run import build, directory, growth, networks, programs, training
from jaxgan.support.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_draws")

TINY: Any = {"width": 4, "max_width": 8, "learning_rate": 2e-3, "beta1": 0.0, "beta2": 0.99}
GROWING = cfg.Config(
    data="pictures.npz",
    generator=cfg.ProgressiveGenerator(**TINY),
    discriminator=cfg.ProgressiveDiscriminator(**TINY, minibatch_stddev=2),
    latent_size=5,
    batch_size=4,
    r1=1.0,
    grow=(2, 6),
    fade_steps=3,
    grow_batch_sizes=(8, 6, 4),
    grow_rates=(1.0, 0.5, 0.25),
    steps=9,
    log_every=1,
    sample_every=4,
    checkpoint_every=3,
)
SHAPE = (16, 16, 3)


def test_a_stage_sees_real_pictures_at_its_size(key):
    image = jax.random.normal(key, (2, *SHAPE))
    np.testing.assert_allclose(progressive.shrunk(16, image, jnp.ones(())), image, atol=1e-6)
    eighth = np.asarray(image).reshape(2, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(progressive.shrunk(8, image, jnp.ones(())), eighth, atol=1e-6)
    fourth = eighth.reshape(2, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    repeated = fourth.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(progressive.shrunk(8, image, jnp.zeros(())), repeated, atol=1e-6)
    half = progressive.shrunk(8, image, jnp.float32(0.5))
    np.testing.assert_allclose(half, (repeated + eighth) / 2, atol=1e-6)
    np.testing.assert_allclose(progressive.shrunk(4, image, jnp.ones(())), fourth, atol=1e-6)


def test_a_pyramid_holds_the_means_of_its_finest_pictures(key):
    image = jax.random.normal(key, (2, 28, 28, 1))
    pyramid = msg.pyramid(image)
    assert [level.shape[1] for level in pyramid] == [7, 14, 28]
    np.testing.assert_array_equal(pyramid[2], image)
    expected = np.asarray(image).reshape(2, 7, 4, 7, 4, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(pyramid[0], expected, atol=1e-6)


def stage_and_state(stage):
    plan = build.experiment(GROWING, SHAPE, 0)
    game: Any = plan.stages[stage].game
    return game, jax.jit(lambda: plan.init(plan.stages[stage], 0))()


@pytest.mark.parametrize("stage", [0, 1])
def test_growing_does_not_change_the_function(stage, key):
    (before, old), (after, new) = stage_and_state(stage), stage_and_state(stage + 1)
    # Not at the beginning, where biases are zero and much would pass unseen.
    scrambled = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(key, leaf.shape), old.generator.params)
    old = dataclasses.replace(
        old,
        step=jnp.int32(7),
        augment=jnp.float32(0.3),
        generator=dataclasses.replace(old.generator, params=scrambled, loss=jnp.float32(2)),
        ema={**old.ema, "params": scrambled},
    )
    grown = growth.grow(old, new)
    assert (int(grown.step), float(grown.augment), float(grown.generator.loss)) == (7, np.float32(0.3), 2)
    latent = jax.random.normal(key, (4, 5))
    small, _ = before.generator.apply(old.generator.variables, latent, mutable=["fade"])
    large, _ = after.generator.apply(grown.generator.variables, latent, mutable=["fade"])
    assert large.shape[1] == 2 * small.shape[1]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(large, layers.upsample(small))
    close(train_step.generate(after, grown.ema, latent), train_step.generate(before, old.ema, latent))
    image = jax.random.normal(key, (4, *SHAPE))
    logits = [
        game.discriminator.apply(state.discriminator.variables, game.view(image, jnp.float32(alpha)), mutable=["fade"])
        for game, state, alpha in ((before, old, 1), (after, grown, 0))
    ]
    close(logits[0][0], logits[1][0])
    # What is new is not there yet, but learns: gradients reach it as soon as alpha is above 0.
    side = 4 * 2 ** (stage + 1)
    assert f"block{side}" in grown.generator.params
    assert f"block{side}" not in old.generator.params
    np.testing.assert_array_equal(jnp.zeros(()), grown.generator.stats["fade"]["alpha"])
    # Optimisers begin anew.
    moments = [jnp.abs(leaf).max() for leaf in jax.tree.leaves(grown.generator.optimizer)]
    assert max(map(float, moments)) == 0


def test_new_layers_fade_in_step_by_step(key):
    game, state = stage_and_state(1)
    state = growth.grow(stage_and_state(0)[1], state)
    step = jax.jit(train_step.train_step, static_argnums=0)
    batch = {"image": jax.random.normal(key, (6, *SHAPE))}
    seen = []
    for _ in range(4):
        state, _ = step(game, state, batch, key)
        alphas = {
            float(stats["fade"]["alpha"]) for stats in (state.generator.stats, state.discriminator.stats, state.ema)
        }
        assert len(alphas) == 1
        seen.append(alphas.pop())
    np.testing.assert_allclose(seen, [1 / 3, 2 / 3, 1, 1], rtol=1e-6)


def test_a_schedule_says_what_each_stage_is():
    plan = build.experiment(GROWING, SHAPE, 0)
    assert [plan.stages.index(plan.stage_after(step)) for step in (0, 1, 2, 5, 6, 8)] == [0, 0, 1, 1, 2, 2]
    assert [plan.stages.index(plan.stage_of(step)) for step in (0, 2, 3, 6, 7)] == [0, 0, 1, 1, 2]
    assert [plan.form("gpu", step)[1] for step in (0, 2, 6)] == [2, 6, 9]
    shortened = build.experiment(dataclasses.replace(GROWING, steps=4), SHAPE, 0)
    assert [shortened.form("gpu", step)[1] for step in (0, 2, 3)] == [2, 4, 4]
    assert [stage.batch_size for stage in plan.stages] == [8, 6, 4]
    stages = cfg.stages(GROWING)
    assert [stage.batch_size for stage in stages] == [8, 6, 4]
    assert [stage.generator.learning_rate for stage in stages] == [2e-3, 1e-3, 5e-4]
    assert [stage.fade_steps for stage in stages] == [0, 3, 3]


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growing")
    random = np.random.default_rng(0)
    np.savez(folder / "pictures.npz", images=random.integers(0, 256, (30, *SHAPE), np.uint8))
    config = dataclasses.replace(GROWING, data=str(folder / "pictures.npz"))
    training.train(config, folder / "unbroken", quiet=True)
    return config, folder / "unbroken"


def outcome(run):
    return networks.digest(directory.read(run).state), (run / "metrics.jsonl").read_text()


def test_a_run_grows(growing):
    config, run = growing
    trained = directory.read(run)
    assert int(trained.state.step) == 9
    latent = train_step.latents(trained.game, jax.random.key(0), 2)
    assert train_step.generate(trained.game, trained.state.ema, latent).shape == (2, *SHAPE)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "generator/loss" in line] == list(range(1, 10))
    assert [path.stem for path in sorted((run / "samples").iterdir())] == ["000004", "000008", "000009"]
    assert directory.read_config(run) == config


@pytest.mark.parametrize("stops", [(1,), (2,), (4,), (6, 7)])
def test_stopped_anywhere_it_goes_on_exactly(stops, growing, tmp_path):
    """Before a growth, right at one (the state grows when it goes on), and in the middle of a fade-in."""
    config, unbroken = growing
    for stop in stops:
        training.train(dataclasses.replace(config, steps=stop), tmp_path / "run", quiet=True)
        latest = directory.read(tmp_path / "run")
        assert int(latest.state.step) == stop
    training.train(config, tmp_path / "run", quiet=True)
    digest, lines = outcome(tmp_path / "run")
    assert digest == outcome(unbroken)[0]
    looks = [json.loads(line) for line in lines.splitlines()]
    steps = [line for line in looks if "generator/loss" in line]
    expected = [json.loads(line) for line in outcome(unbroken)[1].splitlines()]
    assert steps == [line for line in expected if "generator/loss" in line]


def test_every_stage_is_compiled_once(growing, tmp_path, monkeypatch):
    config, _ = growing
    compiled = []
    original = programs.compile_steps
    monkeypatch.setattr(programs, "compile_steps", lambda *args: compiled.append(1) or original(*args))
    training.train(dataclasses.replace(config, sample_every=1, checkpoint_every=1), tmp_path / "run", quiet=True)
    assert len(compiled) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"grow": (6, 2)}, "grow, fade_steps: steps must rise"),
        ({"grow": (2, 4)}, "grow, fade_steps: steps must rise"),
        ({"grow_batch_sizes": (8, 4)}, "need one for each of 3 sizes"),
        ({"discriminator": cfg.MSGDiscriminator()}, "go with their own kind only, not progressive with msg"),
        ({"generator": cfg.StyleGAN2Generator(), "discriminator": cfg.StyleGAN2Discriminator()}, "grow: only progress"),
        ({"path_length": 2.0}, "path_length: needs a generator with styles"),
        ({"generator": cfg.ProgressiveGenerator(decay_steps=5)}, "decay_steps: does not go with grow"),
        ({"generator": cfg.ProgressiveGenerator(final_beta2=0.9)}, "final_beta2: needs decay_steps"),
    ],
)
def test_schedules_that_cannot_be_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        cfg.validate(dataclasses.replace(GROWING, **fields), "here")


def test_too_many_doublings_are_refused():
    with pytest.raises(UserError, match="grow: 8 px are 1 doublings of the smallest size, not 2"):
        build.game(GROWING, (8, 8, 3), 0)


@pytest.mark.parametrize(
    ("module", "image", "count"),
    [
        (progressive.Generator(1024, 3), None, 23_071_606),
        (progressive.Discriminator(1024), (1024, 1024, 3), 23_077_265),
        (msg.Generator(1024, 3), None, 23_079_115),
        (msg.Discriminator(), "pyramid", 23_208_630),
    ],
)
def test_parameters_are_as_many_as_published(module, image, count, key):
    """The paper's table 2 has 23.1 million each.

    The authors' code has 23,079,115 in the generator, with the layers that make pictures of all sizes: as MSG-GAN's. A
    stage of ours has those of its own and the size before.
    """
    inputs = jnp.zeros((4, 512)) if image is None else jnp.zeros((4, 1024, 1024, 3))

    def init():
        return module.init(key, msg.pyramid(inputs) if image == "pyramid" else inputs)

    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(init)["params"])) == count


@pytest.mark.parametrize("combine", ["simple", "lin_cat", "cat_lin"])
def test_every_size_of_a_pyramid_is_judged(combine, key):
    latent = jax.random.normal(key, (4, 5))
    generator: Any = msg.Generator(16, 3, width=4, max_width=8)
    discriminator: Any = msg.Discriminator(4, 8, combine)
    variables = generator.init(key, latent)
    pyramid = generator.apply(variables, latent)
    assert [level.shape for level in pyramid] == [(4, 4, 4, 3), (4, 8, 8, 3), (4, 16, 16, 3)]
    np.testing.assert_array_equal(generator.apply(variables, latent, train=False), pyramid[-1])
    judge = discriminator.init(key, pyramid)
    slopes = jax.grad(lambda pyramid: discriminator.apply(judge, pyramid).sum())(pyramid)
    assert all(float(jnp.abs(slope).max()) > 0 for slope in slopes)
    inputs = {"simple": 8 + 3, "lin_cat": 8 + 4, "cat_lin": 8}[combine]
    assert judge["params"]["block8"]["Conv_0"]["kernel"].shape[2] == inputs
