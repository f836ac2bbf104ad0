"""Sources of one's own pictures: the same batches however kept, resumed exactly; whether samples are copies."""

import dataclasses
import functools
import io
import shutil
import types
import warnings
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import config as cfg
from jaxgan.data import ArraySource, StreamSource, VariedSource, arrays, making, own
from jaxgan.data import tfds as sets
from jaxgan.data.folder import Settings
from jaxgan.data.source import fetched
from jaxgan.evaluate import neighbours
from jaxgan.run import build, directory, networks, training
from jaxgan.support import images
from jaxgan.support.errors import UserError

COUNT = 130


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """The same pictures, with labels, in every form they can be given: name -> fields of a config."""
    base = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    labels = np.arange(COUNT) % 3
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = base / "folder" / str(label) / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    making.make(base / "folder", base / "set", Settings(size=8, labels=True), processes=1)
    np.savez(base / "pictures.npz", image=images, label=labels)
    build_tfds(base / "tfds", images, labels)
    return {
        "folder": {"data": str(base / "folder"), "size": 8},
        "set": {"data": str(base / "set")},
        "npz": {"data": str(base / "pictures.npz")},
        "tfds": {"data": "tfds:tiny_pictures", "data_dir": str(base / "tfds"), "split": "train[:90%]"},
    }


def build_tfds(directory, images, labels):
    """Prepares a data set of TFDS, as its own command does (which needs TensorFlow only to encode pictures)."""
    with warnings.catch_warnings(action="ignore"):
        builder = tiny_pictures()(data_dir=str(directory), file_format="array_record")
        builder.examples = list(zip(images, labels, strict=True))
        builder.download_and_prepare()


@functools.cache  # TFDS lets a name be defined once.
def tiny_pictures():
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        examples: Any = ()

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(8, 8, 3)),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index, (image, label) in enumerate(self.examples):
                encoded = io.BytesIO()
                Image.fromarray(image).save(encoded, "PNG")
                encoded.seek(0)
                yield index, {"image": encoded, "label": label}

    return TinyPictures


def config_of(fields, **more):
    return cfg.Config(
        generator=cfg.MLPGenerator(widths=(8,)),
        discriminator=cfg.MLPDiscriminator(widths=(8,)),
        latent_size=4,
        batch_size=16,
        steps=12,
        log_every=1,
        sample_every=6,
        checkpoint_every=6,
        **fields,
        **more,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


KINDS = ("folder", "set", "npz", "tfds")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_the_same_streamed_or_resident_stopped_or_not(kind, kinds, tmp_path):
    """Stopped at step 5 or 7 of 12, in the middle of an epoch of 7.3 or 8.1 steps."""
    outcomes = []
    for stream in (True, False):
        config = config_of(kinds[kind], conditional=True, vary_real=("flip", "colour"), stream=stream)
        for steps in ((12,), (5, 12)) if stream else ((7, 12),):
            run = tmp_path / f"{stream} {steps}"
            for end in steps:
                training.train(dataclasses.replace(config, steps=end), run, quiet=True)
            lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if "discriminator/loss" in line]
            outcomes.append((networks.digest(directory.read(run).state), lines))
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert len(outcomes[0][1]) == 12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
def test_any_number_of_processes_feeds_the_same_batches(kind, stream, kinds):
    config = config_of(kinds[kind], conditional=True, vary_real=("flip", "crop"), stream=stream)
    if kind == "folder":
        config = dataclasses.replace(config, size=7)
    whole = build.source(config)
    for step in (0, 7, 8, 30):
        expected = whole.batch(whole.resident, whole[step])
        assert expected["image"].shape == (16, 7, 7, 3)
        for parts in (2, 4):
            blocks = [build.source(config, (part, parts)) for part in range(parts)]
            found = [block.batch(block.resident, block[step]) for block in blocks]
            for name, value in expected.items():
                np.testing.assert_array_equal(np.concatenate([block[name] for block in found]), value)


def test_an_epoch_has_every_picture_once(kinds):
    source = build.source(config_of(kinds["set"], conditional=True, stream=True))
    assert isinstance(source, StreamSource)
    seen = np.concatenate([source[step]["image"] for step in range(9)])[:COUNT]
    everything = source.pictures.read(np.arange(COUNT))["image"]
    assert sorted(map(bytes, seen)) == sorted(map(bytes, everything))
    assert next(iter(source.replace(seed=1).blocks())).shape == (COUNT, 8, 8, 3)


def test_items_are_fetched_in_order_and_travel_as_bytes(kinds):
    source = build.source(config_of(kinds["set"], stream=True))
    for step, item in zip(range(3, 40), fetched(source, 3, 40), strict=True):
        assert item["image"].dtype == np.uint8
        np.testing.assert_array_equal(item["image"], source[step]["image"])


def test_varied_pictures_are_what_they_are_said_to_be():
    ramp = np.arange(10 * 10, dtype=np.uint8).reshape(1, 10, 10, 1).repeat(64, axis=0)
    plain = ArraySource(ramp, None, 64, 0)
    varied = VariedSource(plain, ("flip", "crop"), 8)
    item = varied[0]
    image = images.to_uint8(np.asarray(jax.jit(varied.batch)(varied.resident, item)["image"]))
    whole = ramp[0]
    possible = {}
    for flipped, base in enumerate((whole, whole[:, ::-1])):
        for y in range(3):
            for x in range(3):
                possible[base[y : y + 8, x : x + 8].tobytes()] = (flipped, y, x)
    drawn = {possible[picture.tobytes()] for picture in image}
    assert len(drawn) > 12
    assert {flipped for flipped, _, _ in drawn} == {0, 1}
    assert not np.array_equal(image, images.to_uint8(np.asarray(varied.batch(varied.resident, varied[1])["image"])))
    coloured = VariedSource(plain, ("colour",), 10).batch(plain.resident, VariedSource(plain, ("colour",), 10)[0])
    change = np.abs(np.asarray(coloured["image"]) - (whole / 127.5 - 1)).max(axis=(1, 2, 3))
    assert 0 < np.median(change) < 0.3
    assert next(varied.blocks()).shape == (64, 8, 8, 1)


def test_a_run_refuses_other_data(kinds, tmp_path):
    run = tmp_path / "run"
    config = config_of(kinds["npz"])
    training.train(dataclasses.replace(config, steps=6), run, quiet=True)
    images = np.zeros((COUNT, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "moved.npz", image=images)
    with pytest.raises(UserError, match=r"run: began with other data: identity \("):
        training.train(dataclasses.replace(config, data=str(tmp_path / "moved.npz")), run, quiet=True)
    # The same pictures elsewhere are the same data, and samples need none.
    moved = tmp_path / "elsewhere.npz"
    shutil.copy(kinds["npz"]["data"], moved)
    training.train(dataclasses.replace(config, data=str(moved)), run, quiet=True)
    moved.unlink()
    assert int(directory.read(run).state.step) == 12
    (run / "data.json").write_text("{")
    with pytest.raises(UserError, match=r"data.json: is missing or damaged"):
        directory.read(run)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": "gone.npz"}, "gone.npz: no such file"),
        ({"data": "tfds:no_such_set"}, "tfds:no_such_set: TFDS knows no such data set"),
        (
            {"data": "tfds:cifar10", "data_dir": "/nowhere"},
            "tfds:cifar10: is not prepared in .*tfds build cifar10 --file",
        ),
        ({"kind": "tfds", "split": "test"}, "tfds:tiny_pictures: Unknown split 'test'"),
        ({"kind": "set", "size": 16}, "its pictures are 8 x 8, and size is 16"),
        ({"kind": "npz", "batch_size": 200}, "has 130 pictures, fewer than a batch of 200; take a --batch-size of 130"),
    ],
)
def test_data_that_cannot_be_used_are_named(fields, message, kinds):
    base = kinds[fields.pop("kind")] if "kind" in fields else {}
    config = dataclasses.replace(config_of({}), **(base | fields))
    with pytest.raises(UserError, match=message):
        build.source(config)


def npz(path, **named):
    np.savez(path, **named)
    return path


def test_arrays_that_cannot_be_used_are_named(tmp_path):
    images = np.zeros((5, 8, 8, 3), np.uint8)
    floats = images.astype(np.float32)
    ragged = np.empty(2, object)
    ragged[:] = [images[0], images[0, :4]]
    path = tmp_path / "a.npz"
    wanted = r"a.npz: must be uint8 \[M, H, W, C\] or \[M, H, W\], not"
    for named, message in (
        ({"pixels": images}, r"a.npz: has no array named image \(it has pixels"),
        ({"image": floats}, wanted + r" float32 \(5, 8, 8, 3\), of 0 to 0; .*: \(images \* 255.0\)"),
        ({"image": floats - 1}, wanted + r" float32 .*, of -1 to -1; .*: \(\(images \+ 1\) \* 127.5\)"),
        ({"image": floats + 255}, wanted + r" float32 .*, of 255 to 255; .*: images.round\(\).astype\(np.uint8\)"),
        ({"image": images.astype(np.int64) + 256}, wanted + " int64 .*, of 256 to 256; bring them to 0 to 255 first"),
        ({"image": floats * np.nan}, wanted + " float32 .*, of nan to nan; bring them"),
        ({"image": images[..., 0] > 1}, wanted + r" bool \(5, 8, 8\), of 0 to 0; .*: \(images \* 255.0\)"),
        ({"image": images[:0]}, wanted + r" uint8 \(0, 8, 8, 3\), which has no pictures"),
        ({"image": images[:, :0]}, "which has no pictures"),
        ({"image": images[0, 0]}, wanted + r" uint8 \(8, 3\)"),
        (
            {"image": images.transpose(0, 3, 1, 2)},
            r"not uint8 \(5, 3, 8, 8\); move the channels last: images.transpose\(0, 2, 3, 1\)",
        ),
        ({"image": np.zeros((5, 8, 8, 5), np.uint8)}, r"\(5, 8, 8, 5\): pictures have 1, 3 or 4 channels"),
        ({"image": np.array(["a", "b"])}, wanted + r" <U1 \(2,\)"),
        ({"image": ragged}, "a.npz: image: holds Python objects, perhaps pictures of several shapes"),
        ({"image": images}, "has no array named label"),
        ({"image": images, "label": np.array([0, 1, -1, 0, 1])}, "label -1 of picture 2 is out of range"),
        ({"image": images, "label": np.array([0, 1, 999, 0, 1])}, "label 999 of picture 2 is out of range"),
        ({"image": images, "label": np.zeros(4, int)}, r"label must have the shape \(5,\)"),
        ({"image": images, "label": np.zeros(5)}, "label must be integers, not float64"),
        ({"image": images, "label": np.array(list("abcde"))}, "label must be integers, not <U1"),
        ({"image": images, "label": np.array([None] * 5)}, "a.npz: label: holds Python objects"),
    ):
        with pytest.raises(UserError, match=message) as error:
            arrays.load_npz(npz(path, **named), conditional=True)
        assert "\n" not in str(error.value)
    for content in (b"neither zip nor array", path.read_bytes()[:-30], b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a.npz: cannot be read as .npz: [^\n]*$") as error:
            arrays.load_npz(path, conditional=True)
        assert "pickle" not in str(error.value)
    np.savez(path, image=images)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a.npz: cannot be read as .npz"):
        arrays.load_npz(path, conditional=False)
    np.savez(path, x_train=images[..., 0], y_train=np.arange(5, dtype=np.uint8) % 2)
    found, labels, _ = arrays.load_npz(path, conditional=True)
    assert found.shape == (5, 8, 8, 1)
    assert labels is not None
    assert labels.dtype == np.int32


def test_anything_with_a_length_and_items_is_a_data_set():
    items = [(np.full((4, 4, 3), index, np.uint8), index % 2) for index in range(20)]
    source = StreamSource(arrays.Items(items, classes=2), 8, 0)
    batch = source.batch((), source[3])
    expected = ArraySource(np.stack([image for image, _ in items]), np.array([label for _, label in items]), 8, 0)
    np.testing.assert_array_equal(batch["image"], expected.batch(expected.resident, expected[3])["image"])
    np.testing.assert_array_equal(batch["label"], expected.batch(expected.resident, expected[3])["label"])
    dictionaries = [{"image": image, "label": label} for image, label in items]
    np.testing.assert_array_equal(StreamSource(arrays.Items(dictionaries, 2), 8, 0)[3]["image"], source[3]["image"])
    odd = [*items, (np.zeros((5, 4, 3), np.uint8), 0)]
    with pytest.raises(UserError, match=r"item 20: a picture of shape \(5, 4, 3\), where item 0 has \(4, 4, 3\)"):
        arrays.Items(odd).read(np.arange(21))
    with pytest.raises(UserError, match="item 1: label 1 is out of range, 0 to 0"):
        arrays.Items(items, classes=1).read(np.arange(4))
    with pytest.raises(UserError, match="item 0: must be uint8"):
        arrays.Items([np.zeros((4, 4))])
    with pytest.raises(
        UserError, match=r"item 0: must be uint8 .*; move the channels last: images.transpose\(1, 2, 0\)"
    ):
        arrays.Items([np.zeros((3, 8, 8), np.uint8)])
    with pytest.raises(UserError, match="item 0: is no picture"):
        arrays.Items([{"image": [[1, 2], [3]]}])
    with pytest.raises(UserError, match="item 0: label 'cat' must be an integer, 0 to 1"):
        arrays.Items([(items[0][0], "cat")], classes=2).read(np.array([0]))
    with pytest.raises(UserError, match="no items"):
        arrays.Items([])


def mocked(monkeypatch, items, shape=(None, None, 3), classes=2):
    image = type("Image", (), {"shape": shape})()
    label = type("ClassLabel", (), {"num_classes": classes})()
    info = types.SimpleNamespace(features={"id": object(), "picture": image, "label": label}, full_name="mock/1.0.0")

    class Source(list):
        def __getitems__(self, indices):
            return [self[index] for index in indices]

    monkeypatch.setattr(sets, "_open", lambda *_: (types.SimpleNamespace(info=info), Source(items)))


def test_pictures_of_different_shapes_in_tfds_are_brought_to_one(monkeypatch):
    items = [{"picture": np.full((6 + index, 9, 3), index, np.uint8), "label": index % 2} for index in range(4)]
    mocked(monkeypatch, items)
    found = sets.TfdsPictures("mock", size=5, conditional=True).read(np.array([2, 0]))
    assert found["image"].shape == (2, 5, 5, 3)
    assert (found["image"][0] == 2).all()
    assert found["label"].tolist() == [0, 0]
    with pytest.raises(UserError, match="different shapes, or not square; give --size"):
        sets.TfdsPictures("mock")
    mocked(monkeypatch, [items[0] | {"label": -1}])
    with pytest.raises(UserError, match="tfds:mock: label -1 of example 0 is out of range, 0 to 1"):
        sets.TfdsPictures("mock", size=5, conditional=True).read(np.array([0]))


def test_few_pictures_are_warned_of(tmp_path, capsys):
    path = npz(tmp_path / "few.npz", image=np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8))
    training.train(dataclasses.replace(config_of({"data": str(path)}), steps=1), tmp_path / "run")
    assert "only 40 pictures: the generator may learn them by heart" in capsys.readouterr().out


def test_copies_are_found():
    random = np.random.default_rng(0)
    real = random.integers(0, 256, (500, 16, 16, 3), np.uint8)
    blocks = [real[:300], real[300:]]
    copies = np.concatenate([real[[450, 7]], random.integers(0, 256, (2, 16, 16, 3), np.uint8)])
    found = neighbours.nearest(copies, blocks)
    assert found is not None
    assert found.copied == 2
    np.testing.assert_allclose(found.distance[:2], 0, atol=1e-3)
    exact = np.sqrt((((copies[2] / 255.0) - real / 255.0) ** 2).mean(axis=(1, 2, 3))).min()
    np.testing.assert_allclose(found.distance[2], exact, rtol=1e-3)
    others = np.sqrt(((real[:64, None] / 255.0 - real / 255.0) ** 2).mean(axis=(2, 3, 4)))
    others[np.arange(64), np.arange(64)] = np.inf
    np.testing.assert_allclose(found.typical, np.median(others.min(axis=1)), rtol=1e-3)
    assert "2 of 4 are close to a copy" in str(found)
    assert neighbours.nearest(copies, []) is None


def test_a_set_in_the_cache_is_made_once(kinds, tmp_path, capsys):
    first = own.open_pictures(kinds["folder"]["data"], 8)
    made = list((tmp_path / "cache" / "jaxgan" / "sets").glob("*/manifest.json"))
    time = made[0].stat().st_mtime_ns
    assert own.open_pictures(kinds["folder"]["data"], 8).identity == first.identity
    assert made[0].stat().st_mtime_ns == time
    assert "130 pictures, 0 files skipped" in capsys.readouterr().out
