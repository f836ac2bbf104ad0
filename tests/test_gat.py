import dataclasses
import functools
import itertools
import math
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import record_gat as record
from failing import fails
from flax.traverse_util import flatten_dict

from jaxgan import cli, losses, train_step
from jaxgan import config as cfg
from jaxgan.models import gat
from jaxgan.run import build, directory
from jaxgan.step import augment
from jaxgan.support import torch_file


@pytest.fixture(scope="module")
def recorded():
    with np.load(record.DATA) as arrays:
        return dict(arrays)


def assert_close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-13), (jnp.float32, 1e-5)])
def test_the_networks_equal_the_authors(dtype, tolerance, recorded):
    """Logits, all four pictures, and the average styles after them."""
    with jax.enable_x64(dtype == jnp.float64):
        _, found = record.ours(record.TINY, dtype)
    for name, value in found.items():
        assert_close(value, recorded[name], tolerance)


def count(module, *inputs):
    shapes: Any = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("sizes", "generator", "discriminator"),
    [
        ({"width": 384, "depth": 12, "heads": 6, "patch": 2}, 29_361_344, 32_654_464),
        ({"width": 768, "depth": 12, "heads": 12, "patch": 4}, 116_791_808, 97_331_968),
        ({"width": 768, "depth": 12, "heads": 12, "patch": 2}, 116_754_752, 97_331_968),
        ({"width": 1152, "depth": 28, "heads": 16, "patch": 2}, 602_251_136, 459_547_456),
    ],
)
def test_the_networks_have_the_authors_sizes(sizes, generator, discriminator):
    """As counted in their code for latents of 32 x 32 x 4, less what is fixed or multiplied by 0 there."""
    label, pictures = jnp.zeros(1, jnp.int32), (jnp.zeros((1, 32, 32, 4)),) * 4
    tokens = (32 // sizes["patch"]) ** 2
    positions, embedding = tokens * sizes["width"], sizes["width"] * (sizes["patch"] ** 2 * 4 + 1)
    found = count(gat.Generator(32, 4, classes=1000, **sizes), jnp.zeros((1, 64)), label)
    assert found == generator - positions - embedding
    assert count(gat.Discriminator(classes=1000, **sizes), pictures, label) == discriminator - positions


def test_the_initial_parameters():
    generator, discriminator = record.networks(record.TINY | {"width": 64, "embedding": 64}, jnp.float32)
    latent, image, label = record.inputs(record.TINY)
    init: Any = jax.jit(lambda key: (generator.init(key, latent, label), discriminator.init(key, tuple(image), label)))
    first, second = (flatten_dict(variables["params"], sep="/") for variables in init(jax.random.key(0)))
    xavier = {"style": 0.1, "dense0": 100.0, "dense1": 100.0, "label0": 100.0, "label1": 100.0}
    for path, leaf in (first | second).items():
        *_, layer, end = ("", *path.split("/"))
        found = np.asarray(leaf)
        if end == "kernel":
            assert np.abs(found).max() == pytest.approx(
                xavier.get(layer, 1.0) * math.sqrt(6 / sum(found.shape[-2:])), rel=0.05
            ), path
            blocks = found.reshape(-1, *found.shape[-2:])
            assert all((a != b).any() for a, b in itertools.pairwise(blocks)), path
        elif end in ("embedding", "token"):
            assert found.std() == pytest.approx(0.02, rel=0.4), path
        else:
            start = 0.1 if end.endswith("_size") else 1.0 if end.endswith("scale") else 0.0
            np.testing.assert_array_equal(found, np.float32(start), path)


def test_parts_of_the_depth_add_up():
    """A picture that a quarter leaves as it was is the one before."""
    generator, _ = record.networks(record.TINY, jnp.float32)
    latent, _, label = record.inputs(record.TINY)
    params = record.weights("generator", generator, latent, label)
    picture = params["synthesizer"]["quarters"]["picture"]
    for leaf in picture.values():
        leaf[2] = 0
    average = {"average_style": jnp.zeros((3, 16))}
    variables: Any = {"params": params, "batch_stats": average}
    made, _ = jax.jit(lambda: generator.apply(variables, latent, label, mutable=["batch_stats"]))()
    np.testing.assert_array_equal(made[2], made[1])
    assert jnp.abs(made[3] - made[2]).max() > 0.1
    last = jax.jit(lambda: generator.apply(variables, latent, label, train=False))()
    np.testing.assert_allclose(last, made[3], atol=1e-5)


def test_without_classes_and_with_the_wrong_labels():
    sizes = record.TINY | {"classes": 0, "depth": 4}
    generator, discriminator = record.networks(sizes, jnp.float32)
    latent, image, label = record.inputs(sizes)

    def pair(key):
        made, variables = generator.init_with_output(key, latent)
        return variables, discriminator.init_with_output(key, made)[0]

    variables, logits = jax.eval_shape(pair, jax.random.key(0))
    assert logits.shape == (3,)
    assert variables["batch_stats"]["average_style"].shape == (16,)
    for module, x in ((generator, latent), (discriminator, tuple(image))):
        with pytest.raises(ValueError, match="0 classes was called with labels"):
            module.init(jax.random.key(0), x, label)
        with pytest.raises(ValueError, match="3 classes was called without labels"):
            module.clone(classes=3).init(jax.random.key(0), x)


def test_patches_must_divide():
    with pytest.raises(ValueError, match="patches of 3 do not divide 8"):
        gat.Discriminator(width=8, heads=2, patch=3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_a_step_equals_the_authors(recorded):
    """Losses, penalties and gradients in float64, by the same noise and augmentation; the rate of both players is 1."""
    with jax.enable_x64(True):
        generator, discriminator = record.networks(record.TINY, jnp.float64)
        latent, image, label = record.inputs(record.TINY)
        start = {
            "generator": record.weights("generator", generator, latent, label),
            "discriminator": record.weights("discriminator", discriminator, tuple(image), label),
        }
        game = train_step.Game(
            generator,
            discriminator,
            optax.sgd(1.0),
            optax.sgd(1.0),
            latent_size=record.LATENT,
            loss=losses.relativistic_paired,
            difference=record.SIGMA,
            guidance=record.LEVELS,
            augment=record.POLICIES,
        )
        start, batch = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64 if leaf.dtype == np.float32 else jnp.int32),
            (start, record.batch()),
        )

        # Slopes are differences over 0.01, which enlarge the rounding of functions that LLVM has not optimised.
        @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
        def step(params, batch, r1, r2):
            key = jax.random.key(0)
            weighted = dataclasses.replace(game, r1=r1, r2=r2)
            state = jax.eval_shape(lambda: train_step.init(game, batch, key))
            state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
            double = {
                name: jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, part)
                for name, part in (("generator", state.generator), ("discriminator", state.discriminator))
            }
            players = {name: dataclasses.replace(double[name], params=params[name]) for name in params}
            begun = dataclasses.replace(
                state, **players, ema=players["generator"].variables, augment=jnp.ones((), jnp.float32)
            )
            state, metrics = train_step.train_step(weighted, begun, batch, key)
            ended = {name: getattr(state, name).params for name in params}
            return jax.tree.map(jnp.subtract, params, ended), metrics

        gradients, metrics = step(start, batch, record.GAMMA, record.GAMMA)
        only_r1 = step(start, batch, 2.0, 0.0)[1]["discriminator/penalty"]
    loss, penalty = (float(metrics[f"discriminator/{name}"]) for name in ("loss", "penalty"))
    np.testing.assert_allclose(loss + penalty, recorded["disc_loss"], rtol=1e-8)
    np.testing.assert_allclose(metrics["generator/loss"], recorded["gen_loss"], rtol=1e-8)
    np.testing.assert_allclose(only_r1, recorded["r1_loss"], rtol=1e-8)
    r2 = 2 / record.GAMMA * penalty - recorded["r1_loss"]
    np.testing.assert_allclose(r2, recorded["r2_loss"], rtol=1e-8)
    for name, slopes in gradients.items():
        found = record.theirs(slopes, record.TINY, name)
        assert {key for key in recorded if key.startswith(name)} == {f"{name}/{key}" for key in found}
        for key, slope in found.items():
            expected = recorded[f"{name}/{key}"]  # 0 where what is added changes nothing.
            tolerance = 1e-8 * np.abs(expected).max() + 1e-14
            np.testing.assert_allclose(record.sample(slope), expected, rtol=0, atol=tolerance, err_msg=key)


def test_the_generator_makes_a_picture_for_each_share_of_noise():
    """Real ones are one, shown as often; a generator of fewer pictures is told of."""
    config = cfg.Config(
        generator=cfg.GATGenerator(width=16, depth=4, heads=2, patch=4),
        discriminator=cfg.GATDiscriminator(width=16, depth=4, heads=2, patch=4, embedding=8),
        guidance=record.LEVELS,
    )
    game = build.game(config, (8, 8, 3), 0)
    batch = {"image": jnp.zeros((2, 8, 8, 3))}
    jax.eval_shape(lambda: train_step.init(game, batch, jax.random.key(0)))
    fewer = dataclasses.replace(game, guidance=record.LEVELS[1:])
    with pytest.raises(ValueError, match="shapes must agree"):
        jax.eval_shape(lambda: train_step.init(fewer, batch, jax.random.key(0)))


class Noisy(nn.Module):
    """A linear judge of points with noise of its own."""

    @nn.compact
    def __call__(self, image):
        v = self.param("v", nn.initializers.normal(1.0), (image.shape[-1],))
        return image @ v + jax.random.normal(self.make_rng("default"), (len(image),))


class Shift(nn.Module):
    @nn.compact
    def __call__(self, latent, train=True):
        return latent + self.param("shift", nn.initializers.zeros, (latent.shape[-1],))


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_a_difference_is_of_the_pictures_alone(name):
    """Augmented by 3, a step of .01 e changes logits by .03 v e, whatever noise there is, of the network and shown."""

    def tripled(keys, image, probability):
        return jax.tree.map(lambda leaf: 3 * leaf, image)

    key, batch = jax.random.key(0), {"image": jnp.zeros((4096, 2))}
    weight: dict[str, Any] = {name: 2.0}
    found = []
    for at in ("picture", "shown"):
        game = train_step.Game(
            Shift(),
            Noisy(),
            optax.sgd(0.1),
            optax.sgd(0.1),
            latent_size=2,
            difference=0.01,
            augment=(tripled,),
            instance_noise=1.0,
            penalty_at=at,
            **weight,
        )
        state = train_step.init(game, batch, key)
        found.append(float(train_step.train_step(game, state, batch, key)[1]["discriminator/penalty"]))
        v = state.discriminator.params["v"]
        assert found[-1] == pytest.approx(float(9 * v @ v), rel=0.1)
    assert found[0] == found[1]


def test_guidance_is_of_these_shares_and_one_noise():
    """Each picture has noise of deviation t, and what a later picture's noise is of it, it has too."""
    zeros = tuple(jnp.zeros((4, 64, 64, 3)) for _ in record.LEVELS)
    show = jax.jit(lambda image: augment.guided(jax.random.key(1), jnp.arange(4), image, record.LEVELS))
    noise = np.stack(show(zeros)).reshape(4, -1)
    for place, t in enumerate(record.LEVELS):
        assert noise[place].std() == pytest.approx(t, rel=0.02)
        for later, less in list(enumerate(record.LEVELS))[place + 1 :]:
            # x (1 - t) + noise of the one is the other's, (1 - t) / (1 - less) as large, and fresh noise.
            shared = less**2 * (1 - t) / (1 - less)
            assert np.mean(noise[place] * noise[later]) == pytest.approx(shared, abs=0.02 * t * less)
    one = jnp.ones((4, 64, 64, 3))
    for t, shown, alone in zip(record.LEVELS, show(one), show(zeros), strict=True):
        np.testing.assert_allclose(shown - alone, 1 - t, atol=1e-6)
    np.testing.assert_array_equal(np.stack(show(one)), np.stack(show((one,) * 4)))


def test_attention_in_bfloat16_has_the_gradients_of_float32():
    """Also where, as in all tests, no dtype is promoted unasked."""
    q, k, v, weight = jax.random.normal(jax.random.key(0), (4, 2, 5, 2, 8))

    def gradients(dtype):
        def loss(*arrays):
            return jnp.sum(gat._attended(*(array.astype(dtype) for array in arrays)).astype(jnp.float32) * weight)

        return jnp.stack(jax.jit(jax.grad(loss, (0, 1, 2)))(q, k, v))

    np.testing.assert_allclose(gradients(jnp.bfloat16), gradients(jnp.float32), atol=0.02)


def test_bfloat16_measures_the_same_penalty():
    """What is divided by .01 is not what rounding leaves of it."""
    both: dict[str, Any] = {"width": 64, "depth": 12, "heads": 4}
    config = cfg.Config(
        generator=cfg.GATGenerator(**both),
        discriminator=cfg.GATDiscriminator(**both),
        difference=record.SIGMA,
        guidance=record.LEVELS,
        precision="bfloat16",
    )
    game = build.game(config, (8, 8, 3), 0)
    assert isinstance(game.generator, gat.Generator)
    assert game.generator.dtype == jnp.bfloat16
    image = tuple(record.random(f"near{level}", 64, 8, 8, 3) for level in range(4))
    step = [0.01 * record.random(f"step{level}", 64, 8, 8, 3) for level in range(4)]
    moved = tuple(a + b for a, b in zip(image, step, strict=True))

    @jax.jit
    def penalties():
        params: Any = game.discriminator.init(jax.random.key(0), image)
        networks: Any = gat.Discriminator(**both), game.discriminator
        changes = [network.apply(params, moved) - network.apply(params, image) for network in networks]
        return [losses.zero_centred(change / record.SIGMA) for change in changes]

    exact, found = map(float, penalties())
    assert exact > 0
    assert found == pytest.approx(exact, rel=0.1)


def test_what_is_computed_again_is_not_kept():
    """Nor is it where penalties are taken by differences."""

    def kept(rematerialise):
        sizes: Any = {"width": 32, "depth": 8, "heads": 2, "patch": 2, "rematerialise": rematerialise}
        config = cfg.Config(
            generator=cfg.GATGenerator(**sizes),
            discriminator=cfg.GATDiscriminator(**sizes),
            latent_size=8,
            loss="relativistic_paired",
            r1=0.1,
            r2=0.1,
            difference=0.01,
            guidance=(0.885, 0.76, 0.51, 0.01),
        )
        game, batch = build.game(config, (16, 16, 3), 0), {"image": jnp.zeros((8, 16, 16, 3))}
        state = jax.eval_shape(lambda: train_step.init(game, batch, jax.random.key(0)))
        step = jax.jit(train_step.discriminator_step, static_argnums=0)
        memory = step.lower(game, state, batch, jax.random.key(0)).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert kept(True) < kept(False) / 3


CHECKPOINT = record.DATA.with_suffix(".pt")


def test_a_checkpoint_of_the_authors_is_imported(recorded, tmp_path, capsys):
    """Written by their networks and PyTorch, beside optimisers and options: average, discriminator, average styles."""
    run = tmp_path / "run"
    cli.main(["import", str(CHECKPOINT), "--out", str(run)])
    assert "GAT, 8 x 8 x 3" in (said := capsys.readouterr().out)
    assert "Its discriminator is the file's" in said
    found = directory.read(run)
    latent, image, label = record.inputs(record.SAVED)
    generator, discriminator = (
        network.clone(dtype=jnp.float32)  # pyright: ignore[reportAttributeAccessIssue]
        for network in (found.game.generator, found.game.discriminator)
    )
    made = generator.apply(found.state.ema, latent, label, train=False)
    assert_close(made, recorded["saved/picture"], 1e-5)
    logits = discriminator.apply(found.state.discriminator.variables, tuple(image), label)
    assert_close(logits, recorded["saved/logits"], 1e-5)
    average = found.state.ema["batch_stats"]["average_style"]
    assert np.abs(average).max() > 0
    assert found.config.generator.learning_rate == pytest.approx(2e-4 * 768 / record.SAVED["width"])
    cli.main(["sample", str(run), "--count", "3", "--truncation", "0.7", "--out", str(tmp_path / "samples.png")])
    assert (tmp_path / "samples.png").exists()


def test_checkpoints_that_cannot_be_taken_are_one_line(tmp_path, capsys):
    arrays = torch_file.read(CHECKPOINT.read_bytes())
    names = {name: name.replace("generator.", "G.").replace("ema.", "G_ema.") for name in arrays}
    whole = {new: arrays[old] for old, new in names.items() if new.startswith(("G.", "G_ema."))}
    part = "G_ema.final_layers.0.linear"
    four = {f"{part}.weight": np.zeros((16, 16), np.float32), f"{part}.bias": np.zeros(16, np.float32)}
    every = {name.replace("layers.0", f"layers.{place}"): value for place in range(4) for name, value in four.items()}
    for changes, options, message in (
        ({}, ["--latents", CHECKPOINT], f"--latents {CHECKPOINT}: .* makes pictures"),
        (every, [], "makes latents of 4 channels; name their autoencoder: --latents"),
        (four, [], "not a GAT generator: .*"),
        ({"G_ema.w_avg": np.zeros((3, 8), np.float32)}, [], "not a GAT generator: .*"),
    ):
        np.savez(tmp_path / "file.npz", **(whole | changes))  # pyright: ignore[reportArgumentType]
        said = fails(["import", tmp_path / "file.npz", "--out", tmp_path / "none", *options], capsys)
        assert re.search(message, said), said
    lacking = {name: value for name, value in whole.items() if name != "G_ema.blocks.3.mlp.w3.bias"}
    np.savez(tmp_path / "file.npz", **lacking)  # pyright: ignore[reportArgumentType]
    message = "not a GAT generator: it has no blocks.3.mlp.w3.bias"
    assert message in fails(["import", tmp_path / "file.npz", "--out", tmp_path / "none"], capsys)
