"""Projection, directions and mixed styles, on generators so small that what they should give is known."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import small_network
from failing import fails
from PIL import Image, ImageSequence

from jaxgan import cli, train_step
from jaxgan import config as cfg
from jaxgan.evaluate import lpips
from jaxgan.latent import directions, mix, project, sampling
from jaxgan.models import layers, mlp, stylegan2
from jaxgan.run import directory, training
from jaxgan.step.keys import stream
from jaxgan.support.errors import UserError

SIDE, LAYERS, STYLE = 8, 4, 16  # Of the small StyleGAN2.


def game_of(generator, latent_size):
    return train_step.Game(generator, mlp.Discriminator(), optax.adam(1e-3), optax.adam(1e-3), latent_size)


def initial(game, *labels):
    return jax.jit(game.generator.init)(jax.random.key(1), jnp.zeros((1, game.latent_size)), *labels)


def small_metric():
    random = np.random.default_rng(3)
    widths = {"relu1_2": 8, "relu2_1": 8, "relu3_1": 16}
    heads = {name: jnp.asarray(random.uniform(0, 1, width), jnp.float32) for name, width in widths.items()}
    return lpips.Metric(small_network(), heads)


@pytest.fixture(scope="module")
def metric():
    return small_metric()


@pytest.fixture(scope="module")
def plain():
    """A game of latents of 4 numbers, and its generator's variables."""
    game = game_of(mlp.Generator((32, 32, 1), (32,)), 4)
    return game, initial(game)


@pytest.fixture(scope="module")
def styled():
    """A game of styles, and its generator's variables."""
    game = game_of(stylegan2.Generator(SIDE, 3, 4, 8, STYLE, mapping_layers=2), 8)
    return game, initial(game)


class Normalised(nn.Module):
    """Its batch normalisation sees latents, and twice the class."""

    @nn.compact
    def __call__(self, latent, label, train=True):
        self.variable("batch_stats", "right", jnp.ones, (2,))  # As spectral normalisation's vectors.
        told = jnp.concatenate([latent, 2.0 * label[:, None].astype(jnp.float32)], axis=-1)
        return nn.BatchNorm(use_running_average=not train, momentum=layers.MOMENTUM)(told)


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_standing_statistics_are_the_moments_of_fresh_batches(truncation):
    game = game_of(Normalised(), 3)
    variables = initial(game, jnp.zeros(1, jnp.int32))
    found = sampling.standing(game, variables, jax.random.key(0), 40, 5, truncation)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    np.testing.assert_array_equal(found["batch_stats"]["right"], 1)
    moments = found["batch_stats"]["BatchNorm_0"]
    spread = 1 if truncation is None else 0.2845**2  # Of a normal number between -0.5 and 0.5.
    np.testing.assert_allclose(moments["mean"], [0, 0, 0, 4], atol=0.15)  # Twice labels 0 to 4, with variance 4 * 2.
    np.testing.assert_allclose(moments["var"], [*[0.99 * spread] * 3, 0.99 * 8], rtol=0.05)
    # The mean over batches, not that of a running average.
    one, two = (sampling.standing(game, variables, jax.random.key(0), count, 5) for count in (1, 2))
    second = sampling._moments(
        game,
        {**variables, "batch_stats": jax.tree.map(jnp.zeros_like, variables["batch_stats"])},
        sampling.draw_latents(game, stream(jax.random.fold_in(jax.random.key(0), 1), "latent"), 100),
        jax.random.randint(stream(jax.random.fold_in(jax.random.key(0), 1), "label"), (100,), 0, 5),
        jax.random.key(0),
    )["BatchNorm_0"]["mean"]
    mean = one["batch_stats"]["BatchNorm_0"]["mean"] / 2 + 10 * second / 2
    np.testing.assert_allclose(two["batch_stats"]["BatchNorm_0"]["mean"], mean, rtol=1e-4, atol=1e-5)


class Affine(nn.Module):
    """Styles [x + 1, 2 y], the picture their sum over layers."""

    def mapping(self, latent, label=None, train=True):
        return jnp.broadcast_to((latent * jnp.array([1.0, 2.0]) + jnp.array([1.0, 0.0]))[:, None], (len(latent), 3, 2))

    def synthesis(self, styles, train=True):
        return jnp.broadcast_to(jnp.sum(styles, axis=1)[:, None, :, None], (len(styles), 2, 2, 1))


# Directions.


def test_directions_by_hand():
    # A = diag(1, 3, -2), turned: A^T A has eigenvalues 9, 4 and 1, whatever follows.
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0][:3]
    found, values = directions.directions(np.diag([1.0, 3.0, -2.0]) @ turn, 2)
    np.testing.assert_allclose(values, [9, 4], rtol=1e-5)
    np.testing.assert_allclose(found, [[0, 1, 0], [0, 0, 1]], atol=1e-6)


def test_a_linear_generator_changes_most_along_its_first_direction():
    game = game_of(nn.Dense(20), 6)
    variables = initial(game)
    found, values = directions.directions(directions.weights(game, variables["params"]), 6)
    np.testing.assert_allclose(found @ found.T, np.eye(6), atol=1e-5)
    moved = [jnp.sum(jnp.square(n @ variables["params"]["kernel"])) for n in found]
    np.testing.assert_allclose(moved, values, rtol=1e-5)
    others = np.random.default_rng(1).normal(size=(100, 6)).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert np.square(others @ np.asarray(variables["params"]["kernel"])).sum(axis=1).max() < values[0]


def test_weights_are_the_latents_own():
    game = game_of(mlp.Generator((8, 8, 1), (8, 16), classes=3), 4)
    params = initial(game, jnp.zeros(1, jnp.int32))["params"]
    np.testing.assert_array_equal(directions.weights(game, params), params["Dense_0"]["kernel"][:4])


def test_weights_of_styles_are_those_of_all_layers(styled):
    game, variables = styled
    params = variables["params"]["synthesizer"]
    wanted = np.concatenate([params[name]["affine"]["kernel"] for name in sorted(params) if name != "const"], axis=1)
    # Scales for the channels that 3 convolutions see, and 2 layers that make pictures.
    assert wanted.shape == (STYLE, 8 + 8 + 4 + 8 + 4)
    np.testing.assert_array_equal(directions.weights(game, variables["params"]), wanted)


def test_a_generator_without_such_a_layer_is_refused():
    with pytest.raises(UserError, match="the generator of mlp has no layer that the whole latent goes through first"):
        directions.weights(game_of(mlp.Generator((2,)), 3), {"Dense_0": {"kernel": jnp.zeros((2, 9))}})


def test_sliders():
    found = np.array([[1, 0], [0, -1]], np.float32)
    points = directions.sliders(jnp.array([5.0, 7.0]), found, 3, 2.0)
    np.testing.assert_allclose(points, [[3, 7], [5, 7], [7, 7], [5, 9], [5, 7], [5, 5]])
    layered = directions.sliders(jnp.array([[5.0, 7.0], [1.0, 0.0]]), found, 2, jnp.float32(0.5))
    np.testing.assert_allclose(layered[1], [[5.5, 7], [1.5, 0]])
    np.testing.assert_allclose(layered[2], [[5, 7.5], [1, 0.5]])


# Styles.


def test_statistics_of_styles():
    game = game_of(Affine(), 2)
    mean, spread = mix.statistics(game, {}, jax.random.key(0))
    np.testing.assert_allclose(mean, [1, 0], atol=0.06)
    np.testing.assert_allclose(spread, 5**0.5, rtol=0.02)


def test_crossed_styles_by_hand():
    coarse, fine = jnp.arange(6.0).reshape(3, 2), -jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(mix.cross(coarse, fine, 1), [[0, 1], [-2, -3], [-4, -5]])
    np.testing.assert_array_equal(mix.cross(coarse, fine, 0), fine)
    np.testing.assert_array_equal(mix.cross(coarse, fine, 3), coarse)


def test_mixed_cells_and_edges(styled):
    game, variables = styled
    latent = train_step.latents(game, jax.random.key(2), 5)
    samples = sampling.pictures(game, variables, latent)
    styles = mix.styles(game, variables, latent)
    assert styles.shape == (5, LAYERS, STYLE)
    top, side = samples[:3], samples[3:]
    sheets = {crossover: mix.grid(game, variables, styles[:3], styles[3:], crossover) for crossover in (0, 2, LAYERS)}
    for sheet in sheets.values():
        assert (sheet.shape, sheet.dtype) == ((3, 4, SIDE, SIDE, 3), np.uint8)
        np.testing.assert_array_equal(sheet[0, 1:], top)
        np.testing.assert_array_equal(sheet[1:, 0], side)
        assert not sheet[0, 0].any()
    for row, column in np.ndindex(2, 3):
        np.testing.assert_array_equal(sheets[0][1 + row, 1 + column], side[row])
        np.testing.assert_array_equal(sheets[LAYERS][1 + row, 1 + column], top[column])
    mixed = mix.cross(styles[2], styles[3], 2)
    shown = game.generator.apply(variables, mixed[None], train=False, method="synthesis")
    np.testing.assert_allclose(sheets[2][1, 3], (np.clip(shown[0], -1, 1) + 1) * 127.5, atol=0.51)
    assert np.abs(sheets[2][1, 3].astype(int) - top[2]).max() > 10
    assert np.abs(sheets[2][1, 3].astype(int) - side[0]).max() > 10


# Projection.


def test_a_generators_own_picture_is_recovered(plain, metric, key):
    game, variables = plain
    target = train_step.generate(game, variables, train_step.latents(game, jax.random.key(5), 1))[0]
    reports = []
    found = project.project(
        game, variables, metric, target, key, steps=150, every=60, on_pictures=lambda *report: reports.append(report)
    )
    first, last = found.history["loss"][0], found.history["loss"][-1]
    assert last < first / 50
    assert float(metric(found.picture[None], target[None])[0]) == pytest.approx(float(found.distance), rel=1e-5)
    assert jnp.mean(jnp.square(found.picture - target)) < 1e-3
    np.testing.assert_allclose(train_step.generate(game, variables, found.latent[None])[0], found.picture, atol=1e-5)
    assert found.pictures.shape == (4, 32, 32, 1)
    np.testing.assert_array_equal(found.pictures[-1], found.picture)
    assert [done for done, _, _ in reports] == [60, 120, 150]
    told = jnp.concatenate([losses["lpips"] for _, losses, _ in reports])
    np.testing.assert_array_equal(told, found.history["lpips"])


def test_the_same_key_finds_the_same_however_it_is_cut(plain, metric, key):
    game, variables = plain
    target = train_step.generate(game, variables, train_step.latents(game, jax.random.key(5), 1))[0]

    def search(key, **options):
        return project.project(game, variables, metric, target, key, steps=7, every=3, **options)

    once, again, other = search(key), search(key), search(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, once, again)
    goal, state, _ = project.begin(game, variables, metric, target[None], key)
    for done in (0, 2, 4, 6):
        state, _, _ = project.advance(game, goal, state, key, done, min(2, 7 - done), 7, plus=False, limit=3)
    np.testing.assert_array_equal(state.latent[0], once.latent)
    assert not np.array_equal(other.latent, once.latent)


def test_the_start_is_the_best_of_many_latents(plain, metric, key):
    game, variables = plain
    target = train_step.generate(game, variables, train_step.latents(game, jax.random.key(5), 1))
    _, state, picture = project.begin(game, variables, metric, target, key)
    others = train_step.generate(game, variables, train_step.latents(game, jax.random.key(6), 20))

    def loss(images):
        return metric(images, jnp.broadcast_to(target, images.shape)) + jnp.mean((images - target) ** 2, axis=(1, 2, 3))

    assert loss(picture[None])[0] < jnp.quantile(loss(others), 0.1)
    np.testing.assert_allclose(train_step.generate(game, variables, state.latent)[0], picture, atol=1e-6)


def test_steps_by_hand(plain, metric, key):
    game, variables = plain
    target = train_step.generate(game, variables, train_step.latents(game, jax.random.key(5), 1))
    goal, state, picture = project.begin(game, variables, metric, target, key)

    def after_one(done, steps):
        return project.advance(game, goal, state, key, done, 1, steps, plus=False, limit=1)

    # Adam's first step is of the rate's length: 0.1 at the full rate, a fifth of it in the first of five of warm-up.
    for done, wanted in [(0, 0.02), (50, 0.1), (75, 0.1), (90, 0.05 * (1 - np.cos(np.pi * 0.1 / 0.25)))]:
        length = np.abs(after_one(done, 100)[0].latent - state.latent)
        np.testing.assert_allclose(length, wanted, rtol=1e-3)
    distance, pixels = metric(picture[None], target)[0], jnp.mean(jnp.square(picture - target[0]))
    pull = 0.1 * (jnp.linalg.norm(state.latent) / 2 - 1) ** 2
    losses = {name: value[0] for name, value in after_one(0, 100)[1].items()}
    np.testing.assert_allclose(losses["lpips"], distance, rtol=1e-4)
    np.testing.assert_allclose(losses["pixels"], pixels, rtol=1e-4)
    np.testing.assert_allclose(losses["loss"], distance + pixels + pull, rtol=1e-4)


def test_styles_begin_with_their_mean_and_noise_that_ends(styled, metric, key):
    game, variables = styled
    target = jnp.zeros((1, SIDE, SIDE, 3))
    goal, state, picture = project.begin(game, variables, metric, target, key)
    mean, spread = mix.statistics(game, variables, key)
    np.testing.assert_array_equal(state.latent, jnp.broadcast_to(mean, (1, LAYERS, STYLE)))
    assert float(spread) == pytest.approx(float(goal.spread))
    inner, pixels = mix.of_styles(game), float(jnp.mean(jnp.square(picture)))

    def after_one(done):
        return project.advance(inner, goal, state, key, done, 1, 100, plus=False, limit=1)[1]["pixels"][0]

    assert after_one(75) == pytest.approx(pixels, rel=1e-4)
    assert after_one(0) != pytest.approx(pixels, rel=1e-2)


def test_styles_of_all_layers_stay_one_unless_told_otherwise(styled, metric, key):
    game, variables = styled
    latent = train_step.latents(game, jax.random.key(5), 2)
    # No style of one latent makes it.
    coarse, fine = mix.styles(game, variables, latent)
    mixed = mix.cross(coarse, fine, 2)
    target = train_step.generate(mix.of_styles(game), variables, mixed[None])[0]
    found = {}
    for plus in (False, True):
        found[plus] = project.project(game, variables, metric, target, key, steps=150, plus=plus)
        assert found[plus].latent.shape == (LAYERS, STYLE)
        assert found[plus].history["loss"][-1] < found[plus].history["loss"][0] / 3
    np.testing.assert_array_equal(found[False].latent, jnp.broadcast_to(found[False].latent[0], (LAYERS, STYLE)))
    assert np.ptp(np.asarray(found[True].latent), axis=0).max() > 0.1
    assert found[True].distance < 0.7 * found[False].distance


# Commands.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A conditional run on MNIST."""
    path = tmp_path_factory.mktemp("runs") / "run"
    config = cfg.Config(
        generator=cfg.MLPGenerator(widths=(16,)),
        discriminator=cfg.MLPDiscriminator(widths=(16,)),
        conditional=True,
        latent_size=8,
        batch_size=4,
        steps=2,
    )
    training.train(config, path, quiet=True)
    return path


@pytest.fixture
def styled_run(styled, monkeypatch, tmp_path):
    """A directory that reads as a run of styles."""
    game, variables = styled
    state: Any = SimpleNamespace(ema=variables, step=jnp.int32(7))
    trained: Any = SimpleNamespace(
        game=game, state=state, shape=(SIDE, SIDE, 3), classes=0, shown=None, put_right=lambda pictures: pictures
    )
    monkeypatch.setattr(directory, "read", lambda run, best=False: trained)
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lpips, "load", small_metric)


def call(*arguments):
    cli.main([str(argument) for argument in arguments])


def opened(path: Path):
    with Image.open(path) as image:
        return image.copy()


def test_project_command(run, quick, tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(tmp_path / "a.jpg")
    out = tmp_path / "made" / "way.gif"
    call("project", run, tmp_path / "a.jpg", "--steps", 12, "--label", 7, "--out", out)
    shown = capsys.readouterr()
    assert "after 12 iterations" in shown.out
    assert "iteration 12/12  LPIPS" in shown.err
    with Image.open(out) as way:
        assert sum(1 for _ in ImageSequence.Iterator(way)) > 5  # Equal frames in a row are one.
    sheet = opened(out.with_suffix(".png"))
    assert (sheet.mode, sheet.width) == ("L", 62 * 8)
    with np.load(out.with_suffix(".npz")) as arrays:
        assert (arrays["latent"].shape, int(arrays["label"])) == ((8,), 7)
        trained = directory.read(run)
        latent, label = jnp.asarray(arrays["latent"])[None], jnp.full(1, 7)
    picture = sampling.pictures(trained.game, trained.state.ema, latent, label)[0, ..., 0]
    # The sheet: a gap of 2, the target, a gap, the picture found; enlarged eight times.
    np.testing.assert_allclose(np.asarray(sheet)[::8, ::8][2:30, 32:60], picture, atol=1)


def test_project_command_with_styles(styled_run, quick, capsys):
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(styled_run / "a.png")
    call("project", styled_run, styled_run / "a.png", "--steps", 3, "--plus", "--quiet")
    assert capsys.readouterr().err == ""
    with np.load(styled_run / "projection.npz") as arrays:
        assert arrays["styles"].shape == (LAYERS, STYLE)
        assert list(arrays) == ["styles"]


def test_directions_command(run, tmp_path):
    call("directions", run, "--count", 3, "--steps", 5, "--label", 4, "--out", tmp_path / "a.png")
    sheet = np.asarray(opened(tmp_path / "a.png"))[::3, ::3]
    trained = directory.read(run)
    latent = sampling.draw_latents(trained.game, jax.random.key(0), 1)
    middle = sampling.pictures(trained.game, trained.state.ema, latent, jnp.full(1, 4))[0, ..., 0]
    for row in range(3):
        rows = sheet[2 + 30 * row : 30 + 30 * row]
        np.testing.assert_allclose(rows[:, 62:90], middle, atol=1)
        assert not np.array_equal(rows[:, 2:30], middle)


def test_directions_command_with_styles(styled_run, styled):
    call("directions", styled_run, "--count", 2, "--steps", 3, "--strength", 2)
    scale = round(512 / (SIDE * 3 + 8))
    sheet = np.asarray(opened(styled_run / "directions.png"))[::scale, ::scale]
    game, variables = styled
    styles = mix.styles(game, variables, sampling.draw_latents(game, jax.random.key(0), 1))[0]
    found, _ = directions.directions(directions.weights(game, variables["params"]), 2)
    # Two standard deviations of a component of the styles.
    latent = train_step.latents(game, jax.random.key(9), 10_000)
    deviation = jnp.sqrt(jnp.mean(jnp.var(mix.styles(game, variables, latent)[:, 0], axis=0)))
    wanted = sampling.pictures(mix.of_styles(game), variables, styles + 2 * deviation * found[1:2, None])[0]
    np.testing.assert_allclose(sheet[4 + SIDE : 4 + 2 * SIDE, 6 + 2 * SIDE : 6 + 3 * SIDE], wanted, atol=3)


def test_mix_command(styled_run, capsys):
    call("mix", styled_run, "--rows", 2, "--columns", 3)
    assert f"1 of {LAYERS} layers from the top, step 7" in capsys.readouterr().out
    plain = np.asarray(opened(styled_run / "mix.png"))
    scale = round(512 / (4 * SIDE + 10))
    assert plain.shape == ((SIDE * 3 + 8) * scale, (SIDE * 4 + 10) * scale, 3)
    call("mix", styled_run, "--rows", 2, "--columns", 3, "--truncation", 0, "--out", styled_run / "b.png")
    mean = np.asarray(opened(styled_run / "b.png"))[::scale, ::scale]
    first, second = (mean[4 + SIDE : 4 + 2 * SIDE, 2 + i * (SIDE + 2) :][:, :SIDE] for i in (0, 1))
    np.testing.assert_array_equal(first, second)  # All are the mean's picture.
    call("mix", styled_run, "--rows", 2, "--columns", 3, "--truncation", 1, "--out", styled_run / "c.png")
    np.testing.assert_allclose(np.asarray(opened(styled_run / "c.png")).astype(int), plain, atol=1)


def test_mistakes_are_one_line(run, quick, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("no picture")
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    picture = tmp_path / "a.png"
    for arguments, message in [
        (["mix", run], f"{run}: has no styles to mix; train a stylegan2 or gat config"),
        (["mix", run, "--rows", 0], "--rows must be at least 1, not 0"),
        (["mix", run, "--truncation", -1], "--truncation must be 0 or more, not -1.0"),
        (["project", run, picture, "--plus"], f"--plus: {run} has no styles"),
        (["project", run, tmp_path / "none.png"], f"{tmp_path}/none.png: no such file"),
        (["project", run, tmp_path], f"{tmp_path}: is a folder, not a picture"),
        (["project", run, tmp_path / "a.txt"], f"{tmp_path}/a.txt: not a picture in a known format"),
        (["project", run, picture, "--steps", 0], "--steps must be at least 1, not 0"),
        (["project", run, picture, "--label", 10], f"--label 10: {run} has classes 0 to 9"),
        (["project", run, picture, "--out", "a.png"], "a.png: unknown ending .png; one of .gif"),
        (["project", tmp_path, picture], f"{tmp_path}: not a run"),
        (["directions", run, "--count", 9], "--count must be at most 8, the length of the latent, not 9"),
        (["directions", run, "--steps", 1], "--steps must be at least 2, not 1"),
        (["directions", run, "--strength", 0], "--strength must be above 0, not 0.0"),
        (["directions", run, "--best"], "has no best checkpoint"),
    ]:
        assert message in fails(arguments, capsys)


def test_mistakes_about_styles(styled_run, capsys):
    wanted = f"--crossover must be 0 to {LAYERS}, the layers of {styled_run}, not 9"
    assert wanted in fails(["mix", styled_run, "--crossover", 9], capsys)
    assert f"--label 3: {styled_run} is not cond" in fails(["directions", styled_run, "--label", 3], capsys)


def test_a_run_of_points_is_refused(tmp_path, monkeypatch, capsys):
    trained = SimpleNamespace(shape=(2,))
    monkeypatch.setattr(directory, "read", lambda *_: trained)
    for command in (["mix"], ["directions"]):
        assert "makes points, not pictures" in fails([*command, tmp_path], capsys)
