"""What people take away: pictures by seed, sheets, walks through given places, networks as files."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from failing import fails
from PIL import Image

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.cli import options
from jaxgan.latent import mix, sampling, saved
from jaxgan.run import build, directory, training
from jaxgan.support import images
from jaxgan.support.errors import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    config = cfg.Config(
        generator=cfg.MLPGenerator(widths=(8,)),
        discriminator=cfg.MLPDiscriminator(widths=(8,)),
        conditional=True,
        latent_size=4,
        batch_size=4,
        steps=2,
    )
    training.train(config, path, quiet=True)
    return path


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_a_picture_depends_on_its_seed_alone_and_is_named_by_it(run, tmp_path):
    cli.main(["sample", str(run), "--seeds", "0-19", "--out", str(tmp_path / "all")])
    cli.main(["sample", str(run), "--seeds", "17,3", "--out", str(tmp_path / "some")])
    cli.main(["sample", str(run), "--seed", "3", "--count", "1", "--label", "3", "--out", str(tmp_path / "one")])
    everything, some = files(tmp_path / "all"), files(tmp_path / "some")
    assert sorted(everything) == sorted(f"{seed % 10}/seed{seed:05}.png" for seed in range(20))
    assert list(some) == ["3/seed00003.png", "7/seed00017.png"]
    assert all(everything[name] == data for name, data in some.items())
    assert len(set(everything.values())) == 20
    # It is the first picture of --seed, whatever the program of another size rounds.
    with Image.open(tmp_path / "one" / "00000.png") as one, Image.open(tmp_path / "some" / "3/seed00003.png") as two:
        np.testing.assert_allclose(np.asarray(one, int), np.asarray(two, int), atol=1)


def test_pictures_of_all_classes_are_in_a_folder_a_class(run, tmp_path):
    cli.main(["sample", str(run), "--count", "21", "--out", str(tmp_path / "all")])
    names = list(files(tmp_path / "all"))
    assert len(names) == 21
    assert names[:3] == ["0/00000.png", "0/00010.png", "0/00020.png"]


def test_pictures_of_others_are_not_written_over(run, tmp_path, capsys):
    mine = tmp_path / "mine" / "0" / "00000.png"
    mine.parent.mkdir(parents=True)
    Image.new("L", (4, 4)).save(mine)
    before = mine.read_bytes()
    error = fails(["sample", run, "--count", "2", "--out", tmp_path / "mine"], capsys)
    assert "00000.png: is there already, and nothing that jaxgan made; choose another --out" in error
    assert mine.read_bytes() == before
    assert list(files(tmp_path / "mine")) == ["0/00000.png"]
    mine.unlink()
    for _ in range(2):  # Its own are.
        cli.main(["sample", str(run), "--count", "2", "--out", str(tmp_path / "mine")])
    assert list(files(tmp_path / "mine")) == ["0/00000.png", "1/00001.png"]


def test_seeds_are_read():
    assert options.seeds("0-3") == [0, 1, 2, 3]
    assert options.seeds("7, 3,3-5") == [7, 3, 4, 5]
    for text, message in [
        ("", "must be seeds and ranges"),
        ("1-", "must be seeds and ranges"),
        ("-1", "must be seeds and ranges"),
        ("5-2", "5-2 runs backwards"),
        ("0-100000", "must be at most 100000, not 100001"),
        ("4294967296", "must be at most 4294967295"),
    ]:
        with pytest.raises(UserError, match=message):
            options.seeds(text)


@pytest.mark.parametrize(
    ("count", "height", "width", "columns"),
    [
        (64, 28, 28, None),
        (64, 1024, 1024, None),
        (3000, 64, 64, None),
        (1, 4, 4, None),
        (2000, 28, 28, 2),
        (7, 96, 64, 7),
    ],
)
def test_a_sheet_fits_a_screen_and_has_every_picture(count, height, width, columns):
    value = np.linspace(50, 255, count).astype(np.uint8)
    pictures = np.broadcast_to(value[:, None, None, None], (count, height, width, 1))
    sheet = images.sheet(pictures, columns)
    assert sheet.shape[0] <= 1080
    assert sheet.shape[1] <= 1920
    assert set(np.unique(value)) <= set(np.unique(sheet))
    if (count, height) == (64, 28):
        np.testing.assert_array_equal(sheet, images.grid(pictures, 8))
    if count == 3000:  # Most of the screen is filled.
        assert (sheet > 0).sum() > 0.7 * 1920 * 1080


def test_a_walk_visits_the_seeds_that_are_named(run, tmp_path):
    arguments = ["--through", "5", "3", "--frames", "2", "--label", "1", "--out"]
    cli.main(["interpolate", str(run), *arguments, str(tmp_path / "strip.png")])
    trained = directory.read(run)
    ends = sampling.latents_of(trained.game, [5, 3])
    halves = [sampling.slerp(ends[0], ends[1], jnp.float32(0.5)), sampling.slerp(ends[1], ends[0], jnp.float32(0.5))]
    latent = jnp.stack([ends[0], halves[0], ends[1], halves[1]])
    made = sampling.pictures(trained.game, trained.state.ema, latent, np.ones(4, np.int32))
    np.testing.assert_allclose(images.load(tmp_path / "strip.png").astype(int), images.sheet(made, 2), atol=1)


def test_a_walk_is_of_the_class_that_a_latent_was_found_for(run, tmp_path, capsys):
    trained = directory.read(run)
    mine = np.asarray(sampling.latents_of(trained.game, [5])[0])
    (tmp_path / "me.npz").write_bytes(saved.encode(mine, 7))
    (tmp_path / "other.npz").write_bytes(saved.encode(mine, 10))

    def walk(*arguments):
        cli.main(["interpolate", str(run), "--through", *arguments, "--frames", "1", "--out", str(tmp_path / "a.png")])
        return images.load(tmp_path / "a.png")

    seventh, other = walk("5", "3", "--label", "7"), walk("5", "3")
    assert (seventh != other).any()
    np.testing.assert_array_equal(walk(str(tmp_path / "me.npz"), "3"), seventh)
    np.testing.assert_array_equal(walk(str(tmp_path / "me.npz"), "3", "--label", "0"), other)
    message = "other.npz: of the class 10, where"
    assert message in fails(["interpolate", run, "--through", tmp_path / "other.npz", "3"], capsys)


@pytest.fixture
def styled(monkeypatch):
    config = cfg.Config(
        generator=cfg.StyleGAN2Generator(width=2, max_width=2, style_size=6, mapping_layers=1), latent_size=5
    )
    plan = build.experiment(config, (8, 8, 3), 0)
    state = jax.jit(lambda: plan.init(plan.stages[0], 0))()
    trained = directory.Trained(plan, state, [])
    monkeypatch.setattr(directory, "read_pictures", lambda *arguments: trained)
    return trained


def test_a_walk_through_projected_styles_is_straight(styled, tmp_path, capsys):
    game, variables = styled.game, styled.state.ema
    mine = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    np.savez(tmp_path / "me.npz", styles=mine)
    arguments = ["interpolate", "x", "--through", str(tmp_path / "me.npz"), "7", "--frames", "4", "--out"]
    cli.main([*arguments, str(tmp_path / "strip.png")])
    seventh = mix.styles(game, variables, sampling.latents_of(game, [7]))[0]
    way = [mine + share * (seventh - mine) for share in (0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25)]
    made = sampling.pictures(mix.of_styles(game), variables, jnp.stack(way))
    np.testing.assert_allclose(images.load(tmp_path / "strip.png").astype(int), images.sheet(made, 4), atol=1)
    np.savez(tmp_path / "short.npz", styles=mine[:3])
    (tmp_path / "text.npz").write_text("nothing")
    for name, message in [
        ("short.npz", "short.npz: styles of the shape (3, 6), where x takes (4, 6)"),
        ("text.npz", "text.npz: holds no latent or styles"),
        ("none.npz", "none.npz: no such file; --through takes seeds and .npz files"),
    ]:
        assert message in fails(["interpolate", "x", "--through", tmp_path / name, "7"], capsys)


_ALONE = """
import sys
sys.modules["jaxgan"] = None  # An import of it fails.
import jax, numpy, jax.export, safetensors.numpy
generator = jax.export.deserialize(open(sys.argv[1] + "/generator.stablehlo", "rb").read())
latent, label = numpy.load(sys.argv[1] + "/latent.npy"), numpy.arange(3, dtype=numpy.int32)
numpy.save(sys.argv[1] + "/made.npy", generator.call(latent, label))
print(sorted(safetensors.numpy.load_file(sys.argv[1] + "/networks.safetensors"))[0])
"""


def test_an_exported_generator_needs_no_jaxgan(run, tmp_path, capsys):
    out = tmp_path / "out"
    cli.main(["export", str(run), "--out", str(out)])
    said = capsys.readouterr().out
    assert "latents float32 [N, 4] and labels int32 [N], 0 to 9, to pictures" in said
    latent = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.save(out / "latent.npy", latent)
    done = subprocess.run([sys.executable, "-c", _ALONE, out], check=True, capture_output=True, text=True)
    assert done.stdout == "discriminator/params/Dense_0/bias\n"
    trained = directory.read(run)
    wanted = sampling.outputs(trained.game, trained.state.ema, jnp.asarray(latent), np.arange(3, dtype=np.int32))
    np.testing.assert_allclose(np.load(out / "made.npy"), wanted, atol=1e-5)
    arrays = safetensors.numpy.load_file(out / "networks.safetensors")
    np.testing.assert_array_equal(arrays["ema/params/Dense_0/kernel"], trained.state.ema["params"]["Dense_0"]["kernel"])
    with safetensors.safe_open(out / "networks.safetensors", "numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["config"])["latent_size"] == 4
    assert json.loads(metadata["jaxgan"])["step"] == 2


def test_mistakes_are_one_line(run, tmp_path, capsys):
    for arguments, message in [
        (["sample", run, "--seeds", "x"], "--seeds: must be seeds and ranges of them"),
        (["interpolate", run, "--through", "3", "-4"], "-4"),
        (["interpolate", run, "--through", "3"], "--through: a walk leads through two places or more"),
        (["interpolate", run, "--count", "1"], "--count: a walk leads through two places or more"),
        (["export", run, "--truncation", "0.5"], "--truncation: "),
        (["export", tmp_path / "none"], "none: not a run"),
        (["export", run, "--out", "/dev/null/x"], "/dev/null/x"),
    ]:
        assert message in fails(arguments, capsys)
