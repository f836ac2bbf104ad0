"""`jaxgan evaluate`: pictures of any origin, measured against others."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.cli import evaluate as command
from jaxgan.data import making
from jaxgan.data.folder import Settings
from jaxgan.evaluate import batches, features, logits, lpips, measures, origins, perceptual, report, sliced
from jaxgan.run import build, directory, training
from jaxgan.step import judging
from jaxgan.support.errors import UserError

COUNT, SIDE = 90, 16


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Real pictures of three classes, and noisier ones, as folders, a set and arrays."""
    base = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    labels = np.arange(COUNT) % 3
    for name, noise in (("real", 20), ("made", 60)):
        colour = random.integers(60, 200, (COUNT, 1, 1, 3)) + 20 * labels[:, None, None, None]
        image = np.clip(colour + random.normal(0, noise, (COUNT, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        order = np.argsort(labels, kind="stable")  # As a folder lists them.
        for index, (picture, label) in enumerate(zip(image, labels, strict=True)):
            path = base / name / str(label) / f"{index // 6:03}-{index % 6}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        (base / name / "readme.txt").write_text("no picture")
        np.savez(base / f"{name}.npz", arr_0=image[order], arr_1=labels[order])
    making.make(base / "real", base / "set", Settings(size=SIDE, labels=True), processes=1)
    return base


@pytest.fixture(scope="module")
def run(base):
    """A run, a few steps old."""
    config = cfg.Config(
        generator=cfg.MLPGenerator(widths=(8,)),
        discriminator=cfg.MLPDiscriminator(widths=(8,)),
        latent_size=4,
        batch_size=16,
        steps=3,
        log_every=1,
        sample_every=3,
        checkpoint_every=3,
        data=str(base / "real.npz"),
    )
    training.train(config, base / "run", quiet=True)
    return base / "run"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(sliced, "_ALL", 4000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxgan" / "features"


FEW = ("frechet", "precision", "coverage")


def own(**fields):
    """Features of one's own: colours, a little of what is where."""

    def apply(params, x):
        return jnp.concatenate([x.mean(axis=(1, 2)), x[:, 3, 4], x[:, 9, ::5].std(axis=1)], axis=-1)

    return features.Features("own", apply, **fields)


def judge(a, b, labelled=False, known=None, held_out=None, **options) -> Any:
    first, second = (origins.load(str(name), labelled) for name in (a, b))
    held: Any = None if held_out is None else origins.load(str(held_out), labelled)
    assert isinstance(first, origins.Origin)
    return report.judge(first, second, known or own(), report.Options(**options), held)


def origin_of(path) -> origins.Origin:
    found = origins.load(str(path))
    assert isinstance(found, origins.Origin)
    return found


def test_a_run_as_json_and_as_a_table(run, cache, capsys, monkeypatch):
    read = origins.data

    def data(*arguments):
        print("a set is made")
        return read(*arguments)

    monkeypatch.setattr(origins, "data", data)
    arguments = ["evaluate", str(run), "--count", "40", "--features", "vgg16:relu2_2"]
    cli.main([*arguments, "--json"])
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert "a set is made" in shown.err
    assert found["features"] == "vgg16:relu2_2"
    assert len(found["weights_sha256"]) == 64
    assert (found["count"], found["seed"], found["protocol"], found["resize"]) == ([40, 40], 1, None, None)
    taken = {name for name, value in found["measures"].items() if value is not None}
    none = {"inception_score", "path_length_z", "path_length_w", "memorisation", "overfitting"}
    assert taken == set(report.NAMES) - none
    for name in taken:
        value = found["measures"][name]
        assert value["spread"] >= 0
        assert value["floor"] is not None
        assert value["biased"] is False
    assert found["measures"]["frechet"]["value"] > 2 * found["measures"]["frechet"]["floor"]
    kept = list(cache.iterdir())
    assert len(kept) == 2  # Of the two halves of the data; those of samples are not kept.
    cli.main([*arguments, "--measures", "frechet", "recall"])
    shown = capsys.readouterr().out
    assert list(cache.iterdir()) == kept
    assert f"{run}, 40 samples of step 3, beside the data of {run}, 40 pictures" in shown
    assert "features: vgg16:relu2_2, weights sha256 d680137d" in shown
    assert f"{found['measures']['frechet']['value']:.5g}" in shown
    assert "times as far from real pictures" in shown
    with Image.open(run / "neighbours.png") as sheet:
        assert sheet.height > sheet.width


def test_the_same_pictures_however_kept(base):
    some: Any = {"count": 40, "measures": (*FEW, "sliced_wasserstein")}
    expected = judge(base / "made", base / "real", **some)
    for a, b in (("made.npz", "real.npz"), ("made", "set"), ("made.npz", "set")):
        found = judge(base / a, base / b, **some)
        assert found.measures == expected.measures
    other = judge(base / "made", base / "real", **some, seed=2)
    assert other.measures != expected.measures
    assert expected.measures["frechet"].value > 2 * expected.measures["frechet"].floor
    same = judge(base / "real", base / "real", **some)
    assert same.measures["frechet"].value < expected.measures["frechet"].value / 2


def test_arrays_stay_on_disk_unless_packed(base, tmp_path):
    with np.load(base / "real.npz") as held:
        np.savez_compressed(tmp_path / "packed.npz", **held)
        np.savez(tmp_path / "fortran.npz", image=np.asfortranarray(held["arr_0"]))
        np.save(tmp_path / "alone.npy", held["arr_0"])
        pictures = held["arr_0"]
    assert isinstance(origins._array(base / "real.npz", "arr_0"), np.memmap)
    assert not isinstance(origins._array(tmp_path / "packed.npz", "arr_0"), np.memmap)
    numbers = np.array([0, 3, 89])
    for path in (base / "real.npz", *(tmp_path / name for name in ("packed.npz", "fortran.npz", "alone.npy"))):
        np.testing.assert_array_equal(np.concatenate(list(origin_of(path).blocks(numbers))), pictures[numbers])


def test_statistics_in_place_of_pictures(base, tmp_path, small, monkeypatch):
    real = judge(base / "made", base / "real", protocol="fid50k_full", measures=(*FEW, "frechet_infinity"))
    assert real.count == (COUNT, COUNT)
    assert real.measures["frechet"].floor is None
    looker = report._Looker(own(), report.Options(), frozenset(), lambda *_: None)
    known = looker.features(origin_of(base / "real"), np.arange(COUNT))
    np.savez(tmp_path / "known.npz", mu=known.mean(axis=0), sigma=np.cov(known, rowvar=False))
    monkeypatch.setattr(lpips, "load", lambda: small_metric(small))
    found = judge(base / "made", tmp_path / "known.npz")
    assert found.count == (COUNT, None)
    np.testing.assert_allclose(found.measures["frechet"].value, real.measures["frechet"].value, rtol=1e-5)
    taken = {name for name, value in found.measures.items() if value is not None}
    assert taken == {"frechet", "frechet_infinity", "lpips_diversity"}
    with np.load(base / "real.npz") as held:
        np.savez(tmp_path / "both.npz", mu=known.mean(axis=0), sigma=4 * np.cov(known, rowvar=False), **held)
    both = judge(base / "made", tmp_path / "both.npz", protocol="adm", measures=FEW)
    assert both.measures["precision"] == real.measures["precision"]
    assert both.measures["frechet"].value > 1.5 * real.measures["frechet"].value


def test_the_inception_score_and_its_parts(base, monkeypatch):
    known = own(classifier=np.eye(9, 4, dtype=np.float32) * 5)
    found = judge(base / "made", base / "real", known=known, measures=("inception_score",), count=40)
    assert found.measures["inception_score"].value > 1
    assert found.measures["inception_score"].floor > 1
    monkeypatch.setattr(report, "_SPLIT", 45)
    seen = {}
    monkeypatch.setattr(measures, "inception_score", lambda x, splits: seen.setdefault(splits, measures.Value(1, 0)))
    judge(base / "made", base / "real", known=known, measures=("inception_score",), protocol="adm")
    assert list(seen) == [2]


def test_each_class_by_itself(base, tmp_path):
    found = judge(base / "made", base / "real.npz", labelled=True, per_class=True, measures=FEW, protocol="fid50k_full")
    assert list(found.classes) == [0, 1, 2]
    with np.load(base / "made.npz") as made, np.load(base / "real.npz") as real:
        for name, held in (("a", made), ("b", real)):
            np.savez(tmp_path / f"{name}.npz", image=held["arr_0"][held["arr_1"] == 1])
    alone = judge(tmp_path / "a.npz", tmp_path / "b.npz", measures=FEW, protocol="fid50k_full")
    for name in FEW:
        assert found.classes[1][name].value == pytest.approx(alone.measures[name].value)
    assert found.classes[1]["recall"] is None
    assert list(found.to_json()["classes"]) == ["0", "1", "2"]
    with pytest.raises(UserError, match=r"made: --per-class needs classes"):
        judge(base / "made", base / "real", per_class=True, measures=FEW)


def test_classes_of_a_folder_are_numbered_as_those_of_a_set_made_of_it(tmp_path):
    for place, name in enumerate(("10", "2", "1")):
        (tmp_path / "f" / "all" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), place, np.uint8)).save(tmp_path / "f" / "all" / name / "0.png")
    (tmp_path / "f" / "other.png").write_bytes((tmp_path / "f" / "all" / "2" / "0.png").read_bytes())
    making.make(tmp_path / "f", tmp_path / "set", Settings(size=8, labels=True))
    for kind in ("f", "set"):
        origin = origins.load(str(tmp_path / kind), True)
        assert isinstance(origin, origins.Origin)
        numbers = np.arange(3)
        assert origin.labels is not None
        pictures = np.concatenate(list(origin.blocks(numbers)))
        assert dict(zip(origin.labels(numbers).tolist(), pictures[:, 0, 0, 0].tolist(), strict=True)) == {
            0: 2,
            1: 1,
            2: 0,
        }


def test_a_picture_with_holes_is_one_line(tmp_path):
    values = np.zeros((8, 8), np.float32)
    values[1, 1] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: 1 of its 64 values are NaN or infinite"):
        origins.load(str(tmp_path))


def test_variants_are_in_the_same_half(base):
    origin = origin_of(base / "real")
    apart = origins.halves(origin, COUNT, 0)
    assert [len(half) for half in apart] == [45, 45]
    assert len(np.unique(np.concatenate(apart))) == COUNT
    stems = [{origin.files[number].split("-")[0].split("/")[-1] for number in half} for half in apart]
    assert stems[0] & stems[1]
    together = origins.halves(origin, COUNT, 0, lambda name: name.split("-")[0])
    stems = [{origin.files[number].split("-")[0].split("/")[-1] for number in half} for half in together]
    assert not stems[0] & stems[1]
    assert len(together[0]) == len(together[1]) >= 42
    judge(base / "made", base / "real", variants=r"-\d", measures=FEW)
    with pytest.raises(UserError, match="--variants needs names of files"):
        judge(base / "made", base / "real.npz", variants=r"-\d", measures=FEW)
    with pytest.raises(UserError, match=r"--variants \[: no regular expression"):
        judge(base / "made", base / "real", variants="[", measures=FEW)


def test_measures_that_training_games_are_marked(base, small, monkeypatch):
    monkeypatch.setattr(lpips, "load", lambda: small_metric(small))
    assert features.biased("vgg16", ("lite0",))
    assert features.biased("dinov2", ("dinov2",))
    assert not features.biased("dinov2", ("inception", "vgg16"))
    assert not features.biased("", ("vgg16",))
    chosen = ("frechet", "lpips_diversity", "sliced_wasserstein")
    found = judge(base / "made", base / "real", trained_with=("lite0",), measures=chosen, count=20).measures
    assert [found[name].biased for name in chosen] == [False, True, False]
    lines = command._lines(
        report.Judgement("x", None, (2, 2), 1, None, None, {"frechet": report.Measured(1, 2, 3, True)}),
        origin_of(base / "made"),
        origin_of(base / "real"),
        own(),
    )
    assert (
        "frechet                        1           2           3  smaller is better; BIASED: training"
        in list(lines)[-1]
    )


def test_copies_are_told_from_samples(base, run, tmp_path):
    with np.load(base / "real.npz") as held:
        pictures = held["arr_0"]
    np.savez(tmp_path / "half.npz", image=pictures[::2])
    np.savez(tmp_path / "rest.npz", image=pictures[1::2])
    copied, fresh = (
        judge(tmp_path / a, tmp_path / "half.npz", held_out=tmp_path / "rest.npz", measures=("memorisation",), count=20)
        for a in ("half.npz", "rest.npz")
    )
    assert copied.measures["memorisation"].value == 1
    assert abs(fresh.measures["memorisation"].value - 0.5) < 0.1
    found = judge(run, base / "real.npz", held_out=tmp_path / "rest.npz", measures=("overfitting",), count=20)
    assert np.isfinite(found.measures["overfitting"][:2]).all()


def test_logits_are_the_discriminators(base, run):
    trained = directory.read(run)
    origin = origin_of(base / "real.npz")
    found = logits.of(trained, origin, np.arange(COUNT))
    assert len(found) == COUNT // batches.size() * batches.size()
    picture = np.concatenate(list(origin.blocks(np.array([5]))))
    player = trained.state.discriminator
    wanted, _ = judging.apply(
        trained.game.discriminator, player.params, player.stats, picture / np.float32(127.5) - 1, key=jax.random.key(0)
    )
    np.testing.assert_allclose(found[5], wanted[0], rtol=1e-4, atol=1e-5)
    assert len(logits.of(trained, origin, np.arange(5))) == batches.size()


def small_metric(small):
    return lpips.Metric(small, {"relu1_2": jnp.ones(8), "relu3_1": jnp.ones(16)})


def test_paths_of_a_generator(small, monkeypatch):
    """Of short paths LPIPS grows by the square of the way; where the latent changes nothing, it is 0."""
    metric = small_metric(small)
    config = cfg.Config(
        data="mnist",
        generator=cfg.StyleGAN2Generator(width=4, max_width=8, style_size=8, mapping_layers=1),
        discriminator=cfg.StyleGAN2Discriminator(width=4, max_width=8),
        latent_size=8,
        batch_size=4,
    )

    def lengths(game, variables, space):
        return np.concatenate(list(perceptual.path_length(game, variables, metric, jax.random.key(1), 40, space)))

    for space, generator in (("z", cfg.MLPGenerator(widths=(8,))), ("w", config.generator)):
        game = build.game(dataclasses.replace(config, generator=generator), (16, 16, 3), 0)
        variables = game.generator.init(jax.random.key(0), jnp.zeros((1, 8)))
        found = lengths(game, variables, space)
        assert found.shape == (40,)
        assert (found > 0).all()
        flat = jax.tree.map(jnp.zeros_like, variables)
        assert np.abs(lengths(game, flat, space)).max() < 1e-5 * found.mean()
        jax.clear_caches()
        with monkeypatch.context() as patched:
            patched.setattr(perceptual, "EPSILON", perceptual.EPSILON * 10)
            ratio = np.median(lengths(game, variables, space) / found)
            assert abs(ratio - 1) < 0.05
        jax.clear_caches()


def test_the_value_of_paths_leaves_the_extremes_out():
    lengths = np.arange(200, dtype=np.float32)
    lengths[-1] = 1e6
    found = perceptual.path_value(lengths)
    assert found.value == pytest.approx(np.arange(1, 199).mean())


def test_the_pyramid_is_that_of_the_paper():
    """Beside SciPy: filtered as in a mirror, every second pixel; zeros between pixels, filtered, four times as much."""
    ndimage: Any = pytest.importorskip("scipy.ndimage")
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256
    x = np.random.default_rng(0).normal(size=(2, 64, 36, 3))
    assert sliced.levels(64, 36) == 2
    down = ndimage.convolve(x, kernel, mode="mirror")[:, ::2, ::2]
    up = np.zeros_like(x)
    up[:, ::2, ::2] = down
    wanted = [x - ndimage.convolve(up, 4 * kernel, mode="mirror"), down]
    for found, theirs in zip(sliced.pyramid(jnp.asarray(x, jnp.float32)), wanted, strict=True):
        np.testing.assert_allclose(found, theirs, atol=1e-5)


def test_the_sliced_wasserstein_distance(monkeypatch):
    """Patches that differ in one direction by a shift of all, and by noise; whatever batches they come in."""
    random = np.random.default_rng(0)
    levels = [random.normal(size=(40, side, side, 3)).astype(np.float32) for side in (32, 16)]

    def collected(parts, seed=0):
        collector = sliced.Collector(40, seed)
        for part in parts:
            collector.add([level[part] for level in levels])
        return collector.patches()

    whole, parts = collected([slice(0, 40)]), collected([slice(0, 7), slice(7, 40)])
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [patches.shape for patches in whole] == [(40 * 100, 147)] * 2
    assert sliced.distance(whole, whole).value == 0
    near = sliced.distance(whole, collected([slice(0, 40)], seed=1)).value
    # A channel twice as wide as another is brought to the same deviation; patches of one colour are not.
    wide = [patches * np.repeat([1, 2, 3], 49).astype(np.float32) for patches in whole]
    assert sliced.distance(whole, wide).value < 1e-3
    flat = [np.repeat(patches[:, ::49], 49, axis=1) for patches in whole]
    assert sliced.distance(whole, flat).value > 5 * near
    monkeypatch.setattr(sliced, "_ALL", 400)
    assert len(collected([slice(0, 40)])[0]) == 400
    # By hand: along one direction of one number, the mean difference of sorted numbers.
    rows = np.arange(147)[:, None] % 3 * np.ones((1, 147)), np.arange(147)[:, None] % 2 * np.ones((1, 147))
    a, b = (((r - r.mean()) / r.std())[:, 0] for r in rows)
    directions = np.random.default_rng(3).normal(size=(147, 128))
    slope = np.abs((directions / np.linalg.norm(directions, axis=0)).sum(axis=0)).mean()
    monkeypatch.setattr(sliced, "_REPEATS", 1)
    found = sliced.distance([rows[0].astype(np.float32)], [rows[1].astype(np.float32)], seed=3)
    np.testing.assert_allclose(found.value, 1000 * slope * np.abs(np.sort(a) - np.sort(b)).mean(), rtol=1e-4)


def test_pictures_come_in_batches_of_one_size():
    blocks = [np.full((count, 1), index) for index, count in enumerate((5, batches.size(), 1, 2 * batches.size()))]
    found = list(batches.rebatched(blocks))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(blocks))
    assert {len(block) for block in found[:-1]} == {batches.size()}


def test_eight_devices_measure_as_one(base, run):
    """A process of its own, because the number of devices is fixed when JAX starts."""
    code = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_evaluate
found = test_evaluate.judge({str(run)!r}, {str(base / "real")!r}, count=40, measures=("frechet", "precision"))
import jax
print(json.dumps([jax.device_count(), found.to_json()["measures"]]))
"""
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    devices, found = json.loads(process.stdout)
    assert devices == 8
    alone = judge(run, base / "real", count=40, measures=("frechet", "precision")).to_json()["measures"]
    assert found["frechet"] == pytest.approx(alone["frechet"], rel=1e-3)
    assert found["precision"] == alone["precision"]


def refused(arguments, match, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", *map(str, arguments)])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1
    assert match in said


def test_mistakes_are_one_line(base, run, tmp_path, capsys):
    made, real = base / "made", base / "real"
    refused([made], "is no run; say what to compare with: jaxgan evaluate", capsys)
    refused([tmp_path / "absent", real], "absent: no such run, folder, set, .npy or .npz file, or tfds:NAME", capsys)
    refused([made, real, "--features", "vgg"], "--features vgg: unknown; one of vgg16, lite0", capsys)
    refused([made, real, "--features", "vgg16:relu9"], "relu9: no such layer", capsys)
    refused(
        [made, real, "--features", "dinov2"], "--features dinov2: needs --weights FILE or URL: dinov2_vits14", capsys
    )
    refused([made, real, "--protocol", "adm"], "--features inception: needs --weights", capsys)
    refused([made, real, "--protocol", "adm", "--features", "vgg16"], "leave out --features vgg16", capsys)
    refused([made, real, "--measures", "fid"], "--measures fid: unknown; some of frechet", capsys)
    refused([made, real, "--measures", "path_length_z"], "--measures path_length_z: it needs a run", capsys)
    refused([run, "--measures", "path_length_w"], "it needs a run whose generator has styles", capsys)
    refused([made, real, "--measures", "memorisation"], "it needs --held-out", capsys)
    refused([made, real, "--count", "1"], "--count must be at least 2", capsys)
    refused([made, real, "--truncation", "0"], "--truncation must be above 0", capsys)
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    refused([made, tmp_path / "bad.npz"], "bad.npz: cannot be read as .npz", capsys)
    (tmp_path / "bad.npy").write_bytes(b"PK nothing")
    refused([made, tmp_path / "bad.npy"], "bad.npy: cannot be read as .npy", capsys)
    refused([made, tmp_path / "gone.npy"], "gone.npy: no such file", capsys)
    np.savez(tmp_path / "none.npz", foo=np.zeros(3))
    refused(
        [made, tmp_path / "none.npz"], "none.npz: has neither pictures (arr_0) nor statistics (mu and sigma)", capsys
    )
    np.savez(tmp_path / "flat.npz", mu=np.zeros(3), sigma=np.zeros(3))
    refused([made, tmp_path / "flat.npz"], "mu must be [F] and sigma [F, F], not [3] and [3]", capsys)
    np.savez(tmp_path / "known.npz", mu=np.zeros(3), sigma=np.eye(3))
    refused([tmp_path / "known.npz", real], "has statistics alone; they can be compared with, as B", capsys)
    refused([made, tmp_path / "known.npz"], "known.npz: statistics of 3 features, and vgg16:relu3_3 has 256", capsys)
    refused([made, tmp_path / "known.npz", "--measures", "recall"], "needs pictures, not only their statistics", capsys)
    np.savez(tmp_path / "few.npz", image=np.zeros((3, SIDE, SIDE, 3), np.uint8))
    refused([made, tmp_path / "few.npz"], "few.npz: 3 pictures; 4 are needed", capsys)
    np.savez(tmp_path / "large.npz", image=np.zeros((9, 20, 18, 3), np.uint8))
    refused([made, tmp_path / "large.npz"], "pictures are 16 x 16, those of", capsys)
    (tmp_path / "mixed").mkdir()
    for side in (16, 16, 16, 17):
        Image.new("RGB", (side, 16)).save(tmp_path / "mixed" / f"{len(list((tmp_path / 'mixed').iterdir()))}.png")
    refused([made, tmp_path / "mixed"], "3.png: is 17 x 16, and 0.png is 16 x 16; one size is needed", capsys)
    (tmp_path / "empty").mkdir()
    refused([made, tmp_path / "empty"], "empty: has no pictures", capsys)


def test_weights_that_are_not_the_networks(base, tmp_path, capsys):
    save_file({"stem/kernel": np.zeros((3, 3, 3, 1), np.float32)}, tmp_path / "lite0.safetensors")
    arguments = [base / "made", base / "real", "--weights", tmp_path / "lite0.safetensors", "--features"]
    refused(
        [*arguments, "lite0"], "lite0.safetensors: not EfficientNet-lite0's trunk: b0/depth/bias: expected [32]", capsys
    )
    refused([*arguments, "inception"], "not FID's Inception-v3 of 2015: fc.weight: expected [1008, 2048]", capsys)
    refused([*arguments, "inception:logits"], "inception has one output", capsys)
    refused([*arguments, "lite0:block3"], "no such output; one of block2, block4", capsys)
    (tmp_path / "text.pth").write_text("no weights")
    arguments = [base / "made", base / "real", "--features", "dinov2", "--weights", tmp_path / "text.pth"]
    refused(arguments, "text.pth: not a file of weights; readable are .pth and .safetensors", capsys)
    (tmp_path / "x-12345678.pth").write_bytes(b"PK")
    refused([*arguments[:-1], tmp_path / "x-12345678.pth"], "sha256 expected 12345678, found", capsys)


def test_data_that_are_not_the_runs(run, base, tmp_path):
    trained = directory.read(run)
    with np.load(base / "real.npz") as held:
        np.savez(tmp_path / "real.npz", image=held["arr_0"][::-1])
    config = dataclasses.replace(trained.config, data=str(tmp_path / "real.npz"))
    other = dataclasses.replace(trained, experiment=dataclasses.replace(trained.experiment, config=config))
    with pytest.raises(UserError, match=r"run: was trained on other data: identity \(.*; bring those back"):
        origins.data(run, other)
