"""StyleGAN2 against an independent PyTorch implementation (record_stylegan2.py) and against its own definition."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jaxgan import losses, train_step
from jaxgan.models import equalised, stylegan2
from jaxgan.run import published
from jaxgan.step import judging, keys, paths
from jaxgan.support.errors import UserError
from jaxgan.train_step import Game

RECORDED = np.load(Path(__file__).with_name("data") / "stylegan2.npz")


def recorded(prefix):
    return {name.removeprefix(prefix): RECORDED[name] for name in RECORDED.files if name.startswith(prefix)}


def channels_last(image):
    return jnp.asarray(image.transpose(0, 2, 3, 1))


def close(ours, theirs, tolerance=1e-4):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(np.abs(theirs).max()))


@pytest.fixture(scope="module")
def converted():
    return published.convert(recorded("G/"))


def silent(variables):
    return {**variables, "noise": jax.tree.map(jnp.zeros_like, variables["noise"])}


def test_mapping_and_synthesis_equal_pytorchs(converted):
    generator, latent_size, variables = converted
    synthesis = jax.jit(functools.partial(generator.apply, train=False, method="synthesis"))
    assert (generator.size, generator.channels, generator.style_size, latent_size) == (16, 3, 24, 16)
    z = jnp.asarray(RECORDED["z"])
    styles = generator.apply(variables, z, train=False, method="mapping")
    close(styles, RECORDED["ws"])
    close(synthesis(variables, styles), RECORDED["image/const"].transpose(0, 2, 3, 1))
    close(synthesis(silent(variables), styles), RECORDED["image/none"].transpose(0, 2, 3, 1))
    drawn = stylegan2.truncate(styles, variables["batch_stats"]["average_style"], 0.5)
    close(synthesis(variables, drawn), RECORDED["image/truncated"].transpose(0, 2, 3, 1))
    mixed = synthesis(variables, jnp.asarray(RECORDED["mixed/ws"]))  # Each layer with a style of its own.
    close(mixed, RECORDED["mixed/image"].transpose(0, 2, 3, 1))


def test_path_lengths_and_their_gradient_equal_pytorchs(converted):
    generator, _, variables = converted
    stats = {name: value for name, value in variables.items() if name != "params"}
    z, y = jnp.asarray(RECORDED["z"]), channels_last(RECORDED["path/y"])

    class Quiet:
        """The generator as in evaluation, with its fixed noise."""

        @staticmethod
        def apply(variables, *inputs, rngs, mutable, method):
            del rngs, mutable
            return generator.apply(variables, *inputs, train=False, method=method), {}

    quiet: Any = Quiet

    def penalty(params):
        found = paths.lengths(quiet, params, stats, z, (), y, jax.random.key(0))
        return jnp.mean((found - RECORDED["path/aim"]) ** 2), found

    gradient, found = jax.jit(jax.grad(penalty, has_aux=True))(variables["params"])
    close(found, RECORDED["path/lengths"])
    kernel = gradient["synthesizer"]["conv8_0"]["kernel"]
    close(kernel, RECORDED["path/synthesis.b8.conv0.weight"].transpose(2, 3, 1, 0), 1e-3)
    close(gradient["mapper"]["dense1"]["kernel"], RECORDED["path/mapping.fc1.weight"].T, 1e-3)


def discriminator():
    """The recorded discriminator, its parameters by our names."""
    return published.convert_discriminator(recorded("D/"))


def test_the_discriminator_its_slope_and_r1_equal_pytorchs():
    module: Any
    module, params = discriminator()
    image = channels_last(RECORDED["judged/image"])

    def penalty(params):
        logits, pullback = jax.vjp(lambda image: module.apply({"params": params}, image), image)
        (slope,) = pullback(jnp.ones_like(logits))
        return losses.zero_centred(slope), (logits, slope)

    gradient, (logits, slope) = jax.jit(jax.grad(penalty, has_aux=True))(params)
    close(logits, RECORDED["judged/logits"])
    close(slope, RECORDED["judged/slope"].transpose(0, 2, 3, 1))
    theirs = RECORDED["r1/b8.conv1.weight"].transpose(2, 3, 1, 0)
    ours = gradient["conv8_1"]["kernel"]
    scale = float(jnp.vdot(ours, theirs) / jnp.vdot(ours, ours))  # The recording may leave out the half or the mean.
    assert any(math.isclose(scale, factor, rel_tol=1e-3) for factor in (1, 2))
    close(scale * ours, theirs, 1e-3)


def test_a_conditional_discriminator_maps_labels():
    """As many parameters as the authors' at 256 px with 10 classes, and what they make of a label by hand."""
    module = stylegan2.Discriminator(64, classes=10)
    inputs = jnp.zeros((4, 256, 256, 3)), jnp.zeros(4, jnp.int32)
    params = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 26_370_112

    class Classify(nn.Module):
        @nn.compact
        def __call__(self, features, label):
            return equalised.classify(features, label, 3, mapping_layers=2)

    features, label = jax.random.normal(jax.random.key(1), (4, 6)), jnp.array([0, 2, 1, 2])
    logits, variables = Classify().init_with_output(jax.random.key(0), features, label)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    x = params["embed"]["kernel"][label] / np.sqrt(3) + params["embed"]["bias"]
    x = x / np.sqrt((x**2).mean(axis=1, keepdims=True))
    for name in ("dense0", "dense1"):
        x = x @ params[name]["kernel"] * 0.01 / np.sqrt(6) + 0.01 * params[name]["bias"]
        x = np.sqrt(2) * np.where(x > 0, x, 0.2 * x)
    projected = np.asarray(features) @ params["logit"]["kernel"] / np.sqrt(6) + params["logit"]["bias"]
    np.testing.assert_allclose(logits, (projected * x).sum(axis=1) / np.sqrt(6), rtol=1e-4)


def test_what_convolutions_make_is_clamped(monkeypatch):
    """All of them, and nothing else: layers of features, skips, and what becomes pictures; after the activation."""
    seen, clamped = [], equalised.clamped
    np.testing.assert_array_equal(clamped(jnp.float32([-9, -1, 3, 9]), 2.0), [-2, -1, 2, 2])
    monkeypatch.setattr(equalised, "clamped", lambda x, limit: seen.append((x.shape, limit)) or clamped(x, limit))

    def made(module, *inputs):
        seen.clear()
        jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return sorted(seen)

    sides = (4, 4, 8, 8, 8, 16, 16, 16)  # Two convolutions (the first size has one) and a picture each.
    widths = (8, 3, 8, 8, 3, 4, 4, 3)
    found = made(stylegan2.Generator(16, 3, 4, 8, clamp=2.0), jnp.zeros((4, 5)))
    assert found == sorted(((4, side, side, width), 2.0) for side, width in zip(sides, widths, strict=True))
    sides, widths = (16, 16, 8, 8, 8, 4, 4, 4), (4, 4, 8, 8, 8, 8, 8, 8)  # Of each block two and a skip.
    found = made(stylegan2.Discriminator(4, 8, clamp=2.0), jnp.zeros((4, 16, 16, 3)))
    assert found == sorted(((4, side, side, width), 2.0) for side, width in zip(sides, widths, strict=True))


@pytest.mark.parametrize("up", [False, True])
def test_modulation_is_a_kernel_an_example(up, key):
    """Scaling inputs and outputs against the definition: each example's own kernel, modulated and demodulated."""
    keys = jax.random.split(key, 3)
    x, kernel = jax.random.normal(keys[0], (3, 5, 5, 4)), jax.random.normal(keys[1], (3, 3, 4, 6))
    scale = 1 + jax.random.normal(keys[2], (3, 4))
    ours = stylegan2.modulated(x, kernel, scale, up)
    for example in range(3):
        own = kernel * scale[example][:, None]
        own = own / jnp.sqrt(jnp.sum(own**2, axis=(0, 1, 2)) + 1e-8)
        if up:
            # Zeros between the pixels, the convolution (turned, as a transposed one is), and the filter, by XLA's own.
            taps = jnp.outer(jnp.array([1.0, 3, 3, 1]), jnp.array([1.0, 3, 3, 1])) / 64
            filters = 4 * jnp.broadcast_to(taps[..., None, None], (4, 4, 1, 6))
            order = ("NHWC", "HWIO", "NHWC")
            y = lax.conv_general_dilated(
                x[example][None], own[::-1, ::-1], (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=order
            )
            y = lax.conv_general_dilated(
                y, filters, (1, 1), [(1, 1)] * 2, dimension_numbers=order, feature_group_count=6
            )
        else:
            y = lax.conv_general_dilated(
                x[example][None], own, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        close(ours[example], y[0])


@pytest.mark.parametrize(
    ("size", "width", "generator", "discriminator"),
    [(1024, 32, 30_370_060, 29_012_513), (256, 64, 24_767_458, 24_001_089)],
)
def test_parameters_are_as_many_as_published(size, width, generator, discriminator, key):
    """Config F's at 1024 px as the authors' code prints them, and at 256 px by the same rule."""
    pair = stylegan2.Generator(size, 3, width), stylegan2.Discriminator(width)
    inputs = jnp.zeros((4, 512)), jnp.zeros((4, size, size, 3))
    trees = [jax.eval_shape(net.init, key, x)["params"] for net, x in zip(pair, inputs, strict=True)]
    counts = [sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for tree in trees]
    assert counts == [generator, discriminator]


SMALL: Any = stylegan2.Generator(8, 3, width=4, max_width=8, style_size=6, mapping_layers=2)


def test_training_mixes_styles_and_draws_noise_for_each_example(key):
    latent = jax.random.normal(key, (64, 5))
    variables = jax.jit(SMALL.init)(key, latent)

    def mapping(share):
        module = dataclasses.replace(SMALL, style_mixing=share)
        return module.apply(variables, latent, method="mapping", rngs=key, mutable=["batch_stats"])

    alike, stats = mapping(0.0)
    np.testing.assert_array_equal(alike, np.broadcast_to(alike[:, :1], alike.shape))
    average = 0.005 * alike[:, 0].mean(axis=0)
    np.testing.assert_allclose(stats["batch_stats"]["average_style"], average, rtol=1e-4, atol=1e-7)
    mixed, _ = mapping(0.9)
    own = np.all(np.asarray(mixed == alike), axis=-1)
    np.testing.assert_array_equal(own[:, 0], True)  # The coarsest style is always its own;
    np.testing.assert_array_equal(own, np.logical_and.accumulate(own, axis=1))  # once another's, always another's.
    assert 0.75 < np.mean(~own[:, -1]) < 1
    strong = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.ones(()) if "noise_strength" in jax.tree_util.keystr(path) else leaf, variables
    )
    same = jnp.broadcast_to(alike[:1], alike.shape)
    synthesis = functools.partial(SMALL.apply, method="synthesis")
    pictures, _ = jax.jit(functools.partial(synthesis, mutable=["noise"]))(strong, same, rngs=key)
    assert jnp.std(pictures, axis=0).mean() > 0.01
    fixed = jax.jit(functools.partial(synthesis, train=False))(strong, same)
    np.testing.assert_allclose(fixed, np.broadcast_to(fixed[:1], fixed.shape), rtol=1e-4, atol=1e-5)


def game(**fields):
    networks = SMALL, stylegan2.Discriminator(4, 8)
    return Game(*networks, optax.sgd(0.1), optax.sgd(0.1), latent_size=5, **fields)


def test_the_path_length_penalty_is_applied_seldom_and_as_strongly(key):
    """The step with the penalty differs from that without by its gradient, times its interval; others do not."""
    batch = {"image": jax.random.uniform(key, (8, 8, 8, 3), minval=-1)}
    plain, penalised = game(), game(path_length=2.0, path_every=3)
    state = jax.jit(train_step.init, static_argnums=0)(penalised, batch, key)
    state = dataclasses.replace(state, path_length=jnp.float32(0.3))
    without, _ = jax.jit(train_step.train_step, static_argnums=0)(plain, state, batch, key)
    after, metrics = jax.jit(train_step.train_step, static_argnums=0)(penalised, state, batch, key)
    step_key = jax.random.fold_in(key, 0)
    prepared = {**batch, "index": jnp.arange(8, dtype=jnp.int32)}
    stats = state.generator.stats
    (gradient, (length, penalty)), _ = jax.jit(paths.gradients, static_argnums=0)(
        penalised, state, step_key, prepared, stats, step_key
    )

    def moved_by_it(before, plain, penalised, gradient):
        digits = 2e-6 * float(jnp.abs(before).max()) + 2e-6  # What is left of float32 in a difference of parameters.
        np.testing.assert_allclose(plain - penalised, 0.1 * gradient, rtol=1e-3, atol=digits)

    players = (state.generator.params, without.generator.params, after.generator.params)
    jax.tree.map(moved_by_it, *players, gradient)
    np.testing.assert_allclose(metrics["generator/path_length"], 0.99 * 0.3 + 0.01 * length, rtol=1e-5)
    np.testing.assert_allclose(after.path_length, metrics["generator/path_length"])
    np.testing.assert_allclose(metrics["generator/penalty"], penalty, rtol=1e-5)
    # Against a calculation of its own: the penalty's value by finite Jacobians of the pictures.
    index = prepared["index"][::2]
    latent = keys.normal(train_step.stream(step_key, "path latent"), index, (5,))
    y = keys.normal(train_step.stream(step_key, "path direction"), index, (8, 8, 3)) / 8
    key_of = train_step.stream(step_key, "path")
    params = state.generator.params
    styles, _ = judging.apply(SMALL, params, stats, latent, key=key_of, method="mapping")

    def pictures(styles):
        return judging.apply(SMALL, params, stats, styles, key=key_of, method="synthesis")[0]

    jacobian = jax.jit(jax.jacrev(pictures))(styles)  # [N, H, W, C, N, L, W]
    slope = jnp.einsum("nhwc,nhwcmls->mls", y, jacobian)
    by_hand = jnp.sqrt(jnp.sum(slope**2, axis=-1).mean(axis=-1))
    np.testing.assert_allclose(length, by_hand.mean(), rtol=1e-4)
    np.testing.assert_allclose(penalty, 2 * jnp.mean((by_hand - 0.3) ** 2), rtol=1e-3)
    later = dataclasses.replace(state, step=jnp.int32(1))
    a, _ = jax.jit(train_step.train_step, static_argnums=0)(plain, later, batch, key)
    b, metrics = jax.jit(train_step.train_step, static_argnums=0)(penalised, later, batch, key)
    close_trees = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)  # Two programs round apart.
    jax.tree.map(close_trees, a.generator.params, b.generator.params)
    np.testing.assert_allclose(metrics["generator/path_length"], 0.3)
    assert metrics["generator/penalty"] == 0


def test_an_odd_number_of_examples_has_no_path_length(key):
    batch = {"image": jnp.zeros((3, 8, 8, 3))}
    odd = dataclasses.replace(game(path_length=1.0), discriminator=stylegan2.Discriminator(4, 8, minibatch_stddev=0))
    state = jax.eval_shape(functools.partial(train_step.init, odd), batch, key)
    with pytest.raises(ValueError, match="even number of examples on every device, not 3"):
        jax.eval_shape(functools.partial(train_step.train_step, odd), state, batch, key)


def test_half_precision_stays_finite(key):
    """Latents, pictures and styles far larger than any in training, through both networks and their gradients."""
    generator = dataclasses.replace(SMALL, dtype=jnp.bfloat16)
    judge: Any = stylegan2.Discriminator(4, 8, dtype=jnp.bfloat16)
    latent = 1e4 * jax.random.normal(key, (4, 5))
    variables = jax.jit(generator.init)(key, latent)
    variables = {**variables, "params": jax.tree.map(lambda leaf: 100 * leaf, variables["params"])}
    image = jax.jit(functools.partial(generator.apply, train=False))(variables, latent)
    params = jax.jit(judge.init)(key, image)
    logits, slope = jax.jit(jax.value_and_grad(lambda image: judge.apply(params, image).sum()))(image)
    assert image.dtype == jnp.float32
    assert all(jnp.isfinite(value).all() for value in (image, logits, slope))


def test_published_weights_are_read_from_files(tmp_path, converted):
    import safetensors.numpy

    arrays: dict[str, Any] = {name: np.ascontiguousarray(value) for name, value in recorded("G/").items()}
    safetensors.numpy.save_file(arrays, tmp_path / "G.safetensors")
    np.savez(tmp_path / "G.npz", **arrays)
    for name in ("G.safetensors", "G.npz"):
        found = published.read(tmp_path / name)
        generator, size, variables = found.generator, found.latent_size, found.ema
        assert (generator, size, found.discriminator) == (*converted[:2], None)
        jax.tree.map(np.testing.assert_array_equal, variables, converted[2])
    # The variables are all that the module wants, and nothing else.
    wanted = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, size)))
    assert jax.tree.map(jnp.shape, wanted) == jax.tree.map(jnp.shape, variables)


def test_files_that_are_none_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"missing.npz: no such file"):
        published.read(tmp_path / "missing.npz")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(UserError, match=r"cut.safetensors: cannot be read"):
        published.read(tmp_path / "cut.safetensors")
    arrays = recorded("G/")
    cut = {**arrays, "synthesis.b8.conv0.weight": arrays["synthesis.b8.conv0.weight"][:, :1]}
    np.savez(tmp_path / "cut.npz", **cut)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"cut.npz: .*conv8_0/kernel has the shape \(3, 3, 1, 32\), not"):
        published.read(tmp_path / "cut.npz")
    del arrays["synthesis.b8.conv0.affine.weight"]
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(UserError, match=r"other.npz: .* it has no synthesis.b8.conv0.affine.weight"):
        published.read(tmp_path / "other.npz")
