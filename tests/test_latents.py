"""Latents in place of pictures: made once, drawn anew at every use, decoded where something is shown."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_autoencoder as record
from failing import fails
from PIL import Image
from safetensors.numpy import save_file

from jaxgan import cli
from jaxgan.data import latents, records, source
from jaxgan.models import autoencoder
from jaxgan.run import directory, networks
from jaxgan.support.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_draws")

TINY = ["--generator.width", "16", "--generator.depth", "4", "--generator.heads", "2", "--precision", "float32"]
TINY += ["--discriminator.width", "16", "--discriminator.depth", "4", "--discriminator.heads", "2"]
TINY += [
    "--discriminator.embedding",
    "8",
    "--latent-size",
    "8",
    "--batch-size",
    "4",
    "--size",
    "8",
    "--quiet",
    "--r1",
    "0",
    "--r2",
    "0",
    "--difference",
    "0",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    with np.load(record.DATA) as arrays:
        lines = [line.split() for line in arrays["shapes"]]
    path = tmp_path_factory.mktemp("autoencoder") / "small.safetensors"
    save_file(record.weights({name: tuple(map(int, shape)) for name, *shape in lines}), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir()
        for index in range(6):
            picture = random.integers(256, size=(40, 40, 3), dtype=np.uint8)
            Image.fromarray(picture).save(path / name / f"{index}.png")
    return path


def make(folder, file, out, *more):
    cli.main(["data", "make", str(folder), "--size", "32", "--latents", str(file), "--out", str(out), "--quiet", *more])
    return latents.LatentSet(out)


@pytest.fixture(scope="module")
def made(folder, file, tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "latents"
    make(folder, file, out, "--labels", "--keep-pictures")
    return out


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    cli.main(["train", "gat_256", "--data", str(made), "--out", str(out), "--steps", "2", "--sample-every", "2", *TINY])
    return out


def test_a_set_has_the_encoders_means_and_deviations(made, file):
    held = latents.LatentSet(made, conditional=True)
    pictures = records.PictureSet(made / "pictures")
    assert (len(held), held.shape, held.classes) == (12, (8, 8, 8), 2)
    encoder, _, params = latents.load(file)
    image = jnp.asarray(pictures.read(np.arange(12))["image"], jnp.float32) / 127.5 - 1
    mean, deviation = autoencoder.moments(jax.jit(encoder.apply)({"params": params["encoder"]}, image))
    found = held.read(np.arange(12))
    expected = np.concatenate([mean, deviation], -1)
    np.testing.assert_allclose(found["image"], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_array_equal(found["label"], [0] * 6 + [1] * 6)


def test_every_use_draws_a_latent_anew():
    moments = np.zeros((2, 1, 1, 4), np.float16)
    moments[1] = [3, -2, 0.5, 0.25]  # Means, then deviations.
    drawn = latents.LatentSource(source.ArraySource(moments, None, 2, seed=0))
    assert drawn.shape == (1, 1, 2)
    batches = [np.asarray(drawn.batch(drawn.resident, drawn[step])["image"]) for step in range(400)]
    again = np.asarray(drawn.batch(drawn.resident, drawn[7])["image"])
    np.testing.assert_array_equal(again, batches[7])
    values = np.stack(batches).reshape(-1, 2) / autoencoder.SCALE
    assert (values[(values == 0).all(1)]).shape == (400, 2)  # Those without a deviation stay.
    varied = values[(values != 0).any(1)]
    np.testing.assert_allclose(varied.mean(0), [3, -2], atol=0.08)
    np.testing.assert_allclose(varied.std(0), [0.5, 0.25], rtol=0.12)


def test_blocks_of_processes_make_the_batch():
    moments = np.random.default_rng(0).normal(size=(8, 2, 2, 4)).astype(np.float16)
    whole = latents.LatentSource(source.ArraySource(moments, None, 4, seed=1))
    parts = [whole.replace(part=part, parts=2) for part in range(2)]
    expected = whole.batch(whole.resident, whole[3])["image"]
    found = [part.batch(part.resident, part[3])["image"] for part in parts]
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_an_interrupted_making_goes_on(folder, file, made, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "_PART", 4)
    out, load = tmp_path / "set", latents.np.save
    monkeypatch.setattr(
        latents.np, "save", lambda *given: 1 / 0 if (out / "latents-00001.npy").exists() else load(*given)
    )
    with pytest.raises(ZeroDivisionError):
        make(folder, file, out)
    assert not latents.is_set(out)
    first = (out / "latents-00000.npy").stat().st_mtime_ns
    monkeypatch.setattr(latents.np, "save", load)
    found = make(folder, file, out).read(np.arange(12))["image"]
    assert (out / "latents-00000.npy").stat().st_mtime_ns == first
    np.testing.assert_array_equal(found, latents.LatentSet(made).read(np.arange(12))["image"])
    # The pictures were not to be kept, and are not asked for again.
    assert not list((out / "pictures").glob("*.arrayrecord"))
    np.testing.assert_array_equal(make(folder, file, out).read(np.arange(12))["image"], found)


def test_a_run_shows_pictures(run, made, file):
    trained = directory.read(run)
    assert (trained.shape, trained.experiment.shape) == ((32, 32, 3), (8, 8, 4))
    assert json.loads((run / "data.json").read_text())["autoencoder"]["path"] == str(file)
    with Image.open(run / "samples" / "000002.png") as sheet:
        assert min(sheet.size) > 2 * 32
    cli.main(["sample", str(run), "--count", "4", "--truncation", "0.7", "--out", str(run / "some.png")])
    with Image.open(run / "some.png") as sheet:
        assert sheet.size[0] >= 2 * 32
    cli.main(["mix", str(run), "--rows", "1", "--columns", "1"])
    cli.main(["export", str(run)])
    exported = directory.read(run / "export" / "networks.safetensors")
    assert exported.shape == (32, 32, 3)
    assert networks.digest(exported.state.ema) == networks.digest(trained.state.ema)
    cli.main(["evaluate", str(run), str(made / "pictures"), "--measures", "sliced_wasserstein", "--count", "8"])


def test_sampling_says_in_a_line_that_the_autoencoder_is_not_there(run, file, made, tmp_path, capsys):
    moved = Path(shutil.copytree(run, tmp_path / "run"))
    facts = json.loads((moved / "data.json").read_text())
    facts["autoencoder"]["path"] = str(tmp_path / "gone.safetensors")
    (moved / "data.json").write_text(json.dumps(facts))
    assert "gone.safetensors: the autoencoder is not there" in fails(["sample", moved], capsys)
    shutil.copy(file, tmp_path / "gone.safetensors")
    with (tmp_path / "gone.safetensors").open("ab") as changed:
        changed.write(b" ")
    assert "is another autoencoder than that of the latents" in fails(["sample", moved], capsys)


def test_mistakes_are_one_line(folder, file, made, tmp_path, capsys):
    data = ["data", "make", folder, "--quiet", "--out", tmp_path / "out"]
    assert "is no multiple of 4" in fails([*data, "--size", "30", "--latents", file], capsys)
    assert "no such file" in fails([*data, "--latents", tmp_path / "none"], capsys)
    assert "squares in rgb" in fails([*data, "--latents", file, "--channels", "grey"], capsys)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("")
    assert "is no set of latents" in fails([*data, "--latents", file], capsys)
    train = ["--out", tmp_path / "run", "--steps", "1"]
    assert "has latents; --latents says so" in fails(
        ["train", "own_images", "--data", made, "--size", "8", *train], capsys
    )
    pictures = ["train", "gat_256", "--data", made / "pictures", *train, *TINY]
    assert "see `jaxgan data make --latents`" in fails([*pictures, "--size", "32"], capsys)


def test_damage_is_named(made, tmp_path):
    broken = Path(shutil.copytree(made, tmp_path / "broken"))
    (broken / "latents-00000.npy").write_bytes((broken / "latents-00000.npy").read_bytes()[:-10])
    with pytest.raises(UserError, match=r"broken: cannot be read"):
        latents.LatentSet(broken)
    (broken / "latents-00000.npy").unlink()
    with pytest.raises(UserError, match=r"broken: cannot be read"):
        latents.LatentSet(broken)
    (broken / "latents.json").write_text("{}")
    with pytest.raises(UserError, match=r"broken: cannot be read"):
        latents.LatentSet(broken)
