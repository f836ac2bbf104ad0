import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from failing import fails
from PIL import Image, ImageSequence

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.cli import sample
from jaxgan.data import own
from jaxgan.run import training

LONG = "x" * 300


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    config = cfg.Config(
        generator=cfg.DCGANGenerator(width=2),
        discriminator=cfg.DCGANDiscriminator(width=2),
        conditional=True,
        batch_size=4,
        steps=2,
    )
    training.train(config, path, quiet=True)
    return path


def test_help_names_every_command_and_how_to_begin(capsys):
    cli.main([])
    overview = capsys.readouterr().out
    for name in ("train", "sample", "interpolate", "show", "configs", "jaxgan train mnist_dcgan"):
        assert name in overview


@pytest.mark.parametrize("command", ["train", "sweep", "sample", "interpolate", "modes", "show", "configs"])
def test_help_of_each_command(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: jaxgan {command}" in capsys.readouterr().out


def test_help_of_a_config_shows_its_own_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "mnist_fc", "--help"])
    shown = capsys.readouterr().out
    assert "--generator.widths" in shown
    assert "--generator.upsampling" not in shown


def test_configs_are_listed(capsys):
    cli.main(["configs"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("mnist_fc", "mnist_dcgan", "mnist_conditional"))


def test_dry_run_shows_config_shapes_and_cost(capsys, tmp_path):
    cli.main(["train", "mnist_fc", "--generator.widths", "32", "64", "--dry-run", f"--out={tmp_path / 'run'}"])
    shown = capsys.readouterr().out
    config, end = json.JSONDecoder().raw_decode(shown)
    assert config["generator"]["widths"] == [32, 64]
    rest = shown[end:]
    assert "batch image: float32 [128, 28, 28, 1]" in rest
    parameters = 100 * 32 + 32 + 32 * 64 + 64 + 64 * 784 + 784
    assert f"generator: {parameters:,} parameters" in rest
    assert "GFLOP" in rest
    assert "MiB" in rest
    assert not (tmp_path / "run").exists()


def test_show(run, capsys):
    cli.main(["show", str(run)])
    shown = capsys.readouterr().out
    assert "step 2 of 2" in shown
    assert shown.count("sha256") == 3


def test_samples_as_a_sheet(run, capsys, tmp_path):
    cli.main(["sample", str(run), "--count", "20", "--out", str(tmp_path / "a.png")])
    cli.main(["sample", str(run), "--count", "20", "--out", str(tmp_path / "b.png")])
    cli.main(["sample", str(run), "--count", "20", "--seed", "1", "--out", str(tmp_path / "c.png")])
    a, b, c = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_samples_as_a_folder_of_one_class(run, tmp_path):
    out = tmp_path / "pictures"
    cli.main(["sample", str(run), "--count", "103", "--label", "7", "--truncation", "0.5", "--out", str(out)])
    files = sorted(out.iterdir())
    assert len(files) == 103
    with Image.open(files[0]) as picture:
        assert (picture.size, picture.mode) == ((28, 28), "L")


@pytest.mark.parametrize("name", ["walk.gif", "walk.mp4", "strip.png"])
def test_interpolation(run, name, tmp_path):
    cli.main(["interpolate", str(run), "--count", "3", "--frames", "4", "--out", str(tmp_path / name)])
    if name == "walk.gif":
        with Image.open(tmp_path / name) as animation:
            assert sum(1 for _ in ImageSequence.Iterator(animation)) == 12
    else:
        assert (tmp_path / name).stat().st_size > 1000


def test_mistakes_are_one_line_that_says_what_to_do(run, tmp_path, capsys):
    for arguments, message in [
        (["trian", "mnist_fc"], "trian: no such command; did you mean train?"),
        (["train"], "train: name a config or a run first"),
        (["train", "--steps", "3"], "train: name a config or a run first"),
        (["train", "mnist_dgan"], "did you mean mnist_dcgan?"),
        (["train", tmp_path], f"{tmp_path}: not a run"),
        (["train", "mnist_dcgan", "--generator.widht", "3"], "--generator.width"),
        (["train", "mnist_dcgan", "--generator.width", "wide"], "jaxgan: --generator.width: takes INT, not wide (see"),
        (["sample", "emoji", "--truncation", "x"], "jaxgan: --truncation: takes FLOAT, not x (see"),
        (["train", "mnist_dcgan", "--generator.width", "0"], "command line: generator.width: input should be greater"),
        (["train", "mnist_dcgan", "--precision", "float8"], "--precision"),
        (["train", "mnist_dcgan", "--out", "/dev/null/run"], "/dev/null/run: cannot be written"),
        (["train", run, "--batch-size", "8"], "made by another config: batch_size (4, now 8)"),
        (["sample", tmp_path / "none"], "none: not a run"),
        (["sample", run, "--label", "10"], "--label 10: "),
        (["sample", run, "--count", "0"], "--count must be at least 1, not 0"),
        (["sample", run, "--truncation", "0"], "--truncation must be above 0"),
        (["sample", run, "--out", tmp_path / "a.tiff"], "a.tiff: unknown ending .tiff; one of .png"),
        (["interpolate", run, "--out", tmp_path / "a.mov"], "a.mov: unknown ending .mov; one of .gif"),
        (["interpolate", run, "--frames", "0"], "--frames must be at least 1, not 0"),
        (["sample", run, "--truncation", "nan"], "--truncation must be above 0, not nan"),
        (["sample", run, "--truncation", "inf"], "--truncation must be above 0, not inf"),
        (["sample", run, "--count", 10**12], "--count must be at most 100000, not 1000000000000"),
        (["sample", run, "--seed", 2**32], "--seed must be at most 4294967295, not 4294967296"),
        (["sample", run, "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["interpolate", run, "--frames", 10**10], "--frames must be at most 100000"),
        (["interpolate", run, "--frames", "1000", "--count", "1000"], "--count must be at most 100, not 1000"),
        (["mix", run, "--rows", "1000"], "--rows must be at most 100, not 1000"),
        (["train", "mnist_fc", "--seed", 2**32], "command line: seed: input should be less than 4294967296"),
        (["sweep", "ring", "--seed", 2**32 - 2, "--seeds", "3"], "--seeds must be at most 2, not 3"),
        (["train", "mnist_fc", "--data", "~nouser/x"], "~nouser/x: there is no such user's home directory"),
        (["train", LONG], f"{LONG}: no such config or run"),
        (["sample", LONG], f"{LONG}: not a run"),
        (["train", "ring", "--out", tmp_path / LONG], f"{LONG}: cannot be written: File name too long"),
        (["train", "ring", "--out", tmp_path / "x[1]"], "x[1]: a path with *, ? or [ cannot hold checkpoints"),
        (["sample", run, "--count", "1", "--out", tmp_path / f"{LONG}.png"], "cannot be written: File name too long"),
        (["sample", run, "--count", "1", "--out", run / "config.json" / "x.png"], "cannot be written: File exists"),
        (["train", "own_images", "--data", tmp_path / LONG], "File name too long"),
        (["train", "own_images", "--data", tmp_path, "--out", tmp_path], f"{tmp_path}: holds the pictures to learn"),
        (["data", "make", tmp_path / LONG, "--size", "32"], "File name too long"),
        (["data", "show", tmp_path / LONG], "File name too long"),
        (["style", tmp_path / LONG, tmp_path / LONG], f"{LONG}: "),
        (["import", tmp_path / LONG], f"{LONG}: "),
        (["show"], "RUN"),
    ]:
        assert message in fails(arguments, capsys)
    assert not (tmp_path / ".lock").exists()


def test_an_unknown_option_is_named_once(capsys):
    assert fails(["train", "mnist_fc", "--foo", "3"], capsys).count("Unrecognized options") == 1


def test_a_sheet_of_few_or_many_classes_is_about_square_and_has_one_in_a_column():
    assert [sample._columns(64, classes) for classes in (2, 3, 4, 10)] == [8, 9, 8, 10]
    assert sample._columns(64, 200) is None
    assert sample._columns(200, 200) is None
    assert sample._columns(4000, 100) == 100
    assert sample._columns(1, 0) is None


@pytest.mark.parametrize("size", [1, 3, 31])
def test_sizes_that_no_network_has_are_refused_before_anything_is_converted(size, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(own, "open_pictures", None)
    arguments = ["train", "own_images", "--data", tmp_path, "--size", size, "--out", tmp_path / "run"]
    assert f"size: no image size {size} " in fails(arguments, capsys)


def test_attention_needs_a_feature_map_of_its_side(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(own, "open_pictures", None)
    arguments = ["train", "biggan_32", "--data", tmp_path, "--size", "96", "--out", tmp_path / "run"]
    assert "generator.attention: no feature map of side 16" in fails(arguments, capsys)


def test_files_that_cannot_be_read_are_one_line(run, tmp_path, capsys):
    for content, message in ((b"\xff\xfe", "is not UTF-8"), (b"{", "not a config"), (b"[]", "not a config")):
        (tmp_path / "config.json").write_bytes(content)
        assert message in fails(["sample", tmp_path], capsys)
    shutil.copy(run / "config.json", tmp_path)
    for content in (b"\xff", b"{", b"[]", b'{"shape": "abc", "classes": 0, "identity": ""}'):
        (tmp_path / "data.json").write_bytes(content)
        assert "data.json: " in fails(["sample", tmp_path], capsys)


def test_a_label_for_an_unconditional_run_is_refused(tmp_path, capsys):
    small = ["--generator.widths=4", "--discriminator.widths=4", "--steps=1", "--quiet"]
    cli.main(["train", "mnist_fc", *small, f"--out={tmp_path / 'run'}"])
    assert "is not conditional" in fails(["sample", tmp_path / "run", "--label", "3"], capsys)


def test_a_damaged_config_names_file_and_field(run, tmp_path, capsys):
    text = (run / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"batch_size": 4', '"batch_size": "x"'))
    assert f"{tmp_path}/config.json: batch_size: " in fails(["show", tmp_path], capsys)


def test_the_module_is_the_command():
    process = subprocess.run([sys.executable, "-m", "jaxgan", "configs"], capture_output=True, text=True, check=True)
    assert "mnist_dcgan" in process.stdout


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("jaxgan", ["jax", "flax", "numpy"]),
        ("jaxgan.train_step", ["tensorflow_datasets", "matplotlib", "tyro", "grain", "orbax", "jaxgan.cli"]),
        ("jaxgan.cli", ["jax"]),
    ],
)
def test_importing_loads_no_more_than_needed(module, absent):
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_modes_of_a_run_are_counted(tmp_path, capsys):
    flags = ["--steps=20", "--generator.widths=8", "--discriminator.widths=8", "--quiet", "--sample-every=10"]
    cli.main(["train", "ring", *flags, f"--out={tmp_path / 'ring'}"])
    capsys.readouterr()
    cli.main(["modes", str(tmp_path / "ring")])
    shown = capsys.readouterr().out
    assert "step 20, 2500 samples: " in shown
    assert "of 8 modes" in shown
    assert "(an exact sampler, at as many samples: 0.001" in shown
    assert "makes points, not pictures" in fails(["sample", tmp_path / "ring"], capsys)
    assert "--count must be at least 1" in fails(["modes", tmp_path / "ring", "--count", "-3"], capsys)


def test_modes_need_data_that_has_known_ones(run, capsys):
    assert "modes can be counted of ring, grid and stacked_mnist, not of its data" in fails(["modes", run], capsys)
