"""docs/research.md and examples/: what research code asks of the step, run as a reader would."""

import dataclasses
import re
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import train_step

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def page():
    """The names that the page's programs define, one after another."""
    names = {}
    for program in re.findall(r"```python\n(.*?)```", (ROOT / "docs/research.md").read_text(), re.DOTALL):
        exec(program, names)
    return names


@pytest.fixture(scope="module")
def batches():
    return [{"image": jax.random.normal(jax.random.key(number), (8, 2))} for number in range(3)]


@pytest.fixture(scope="module")
def state(page, batches):
    return jax.jit(train_step.init, static_argnums=0)(page["game"], batches[0], jax.random.key(0))


def test_networks_of_nnx_learn_draw_and_keep_statistics(page, batches, state, key):
    game = page["game"]
    step = jax.jit(train_step.train_step, static_argnums=0)
    new, _ = step(game, state, batches[0], key)
    for before, after in ((state.generator, new.generator), (state.discriminator, new.discriminator)):
        kernels = [player.params["hidden"]["kernel"] for player in (before, after)]
        assert not np.array_equal(*kernels)
    latent = train_step.latents(game, train_step.stream(jax.random.fold_in(key, 0), "latent"), 8)
    hidden = latent @ state.generator.params["hidden"]["kernel"]
    expected = 0.99 * 0 + 0.01 * hidden.mean(axis=0)
    np.testing.assert_allclose(new.generator.stats["batch_stats"]["norm"]["mean"], expected, atol=1e-6)
    # In evaluation an example is by itself.
    latent = train_step.latents(game, key, 8)
    made = train_step.generate(game, new.ema, latent)
    np.testing.assert_allclose(made[:3], train_step.generate(game, new.ema, latent[:3]), atol=1e-6)
    # Another key drops other units.
    other = [step(game, state, batches[0], jax.random.key(seed))[1]["discriminator/real"] for seed in (0, 0, 1)]
    assert other[0] == other[1] != other[2]


def test_several_half_steps(page, batches, state, key):
    after, metrics = jax.jit(page["several"])(state, batches, key)
    assert after.step == 1
    assert np.isfinite(metrics["generator/loss"])


def test_lookahead_goes_half_of_the_way(page, batches, state, key):
    def step(state, number):
        return train_step.train_step(page["game"], state, batches[0], key)

    numbers = jnp.arange(4)
    after, metrics = jax.jit(lambda state: page["lookahead"](step, state, numbers, every=2))(state)
    assert metrics["generator/loss"].shape == (2, 2)
    assert after.step == 4
    advance = jax.jit(step)
    for _ in range(2):
        fast = advance(advance(state, 0)[0], 0)[0]
        generator, discriminator = jax.tree.map(lambda a, b: (a + b) / 2, *map(page["parameters"], (state, fast)))
        state = dataclasses.replace(
            fast,
            generator=dataclasses.replace(fast.generator, params=generator),
            discriminator=dataclasses.replace(fast.discriminator, params=discriminator),
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), page["parameters"](after), page["parameters"](state)
    )


def example(name, **arguments):
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](**arguments)


# Measured before training: no sample of WGAN-GP at a mode, 0.4 % of the other's. A picture of background alone is 0.34
# from the right one.
def test_wgan_gp_in_sixty_lines():
    assert (ROOT / "examples/wgan_gp.py").read_text().count("\n") <= 63
    modes, share = example("wgan_gp", steps=200)
    assert modes >= 6
    assert share > 0.08


def test_a_prior_and_a_term_of_ones_own():
    modes, share = example("own_prior", steps=400)
    assert modes >= 6
    assert share > 0.04


def test_pix2pix():
    assert example("pix2pix", steps=100) < 0.28


def test_a_conditional_game_on_pictures_like_cifars():
    assert example("conditional", steps=100) > 0.5
