import dataclasses
import json
import re
import shutil
import struct
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.latent import sampling
from jaxgan.models import mlp
from jaxgan.run import metrics, plots
from jaxgan.run.history import History
from jaxgan.support import images
from jaxgan.support.errors import NonFiniteError, UserError
from jaxgan.train_step import Game


def test_pixels_are_rounded_and_clipped():
    values = np.array([-2, -1, -0.999, 0, 1, 3], np.float32)
    assert images.to_uint8(values).tolist() == [0, 0, 0, 128, 255, 255]


@given(count=st.integers(1, 9), columns=st.integers(1, 5), scale=st.integers(1, 3))
def test_a_grid_holds_every_picture_in_reading_order(count, columns, scale):
    pictures = np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 1), np.uint8)
    width = columns * 6 + 2
    sheet = images.grid(pictures, columns, least_width=scale * width)
    assert sheet.shape == (scale * (-(-count // columns) * 5 + 2), scale * width, 1)
    for index in range(count):
        row, column = divmod(index, columns)
        y, x = scale * (2 + 5 * row), scale * (2 + 6 * column)
        assert (sheet[y : y + 3 * scale, x : x + 4 * scale] == index + 1).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_saved_pictures_are_read_back(channels, tmp_path):
    picture = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, channels)
    images.save(tmp_path / "new" / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")).reshape(picture.shape), picture)


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # Counting frames starts ffmpeg.
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_animations_have_all_frames(suffix, tmp_path):
    frames = [np.full((64, 64, 1), 50 * index, np.uint8) for index in range(5)]
    path = tmp_path / f"a{suffix}"
    images.save_animation(path, frames)
    if suffix == ".mp4":
        import imageio_ffmpeg

        assert imageio_ffmpeg.count_frames_and_secs(path)[0] == 5
    else:
        with Image.open(path) as animation:
            assert sum(1 for _ in ImageSequence.Iterator(animation)) == 5


def test_an_unwritable_picture_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: cannot be written: File exists"):
        images.save(tmp_path / "file" / "a.png", np.zeros((2, 2, 1), np.uint8))


def test_an_unknown_kind_of_picture_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"a\.foo: cannot be written: unknown file extension"):
        images.save(tmp_path / "a.foo", np.zeros((2, 2, 1), np.uint8))
    assert not list(tmp_path.iterdir())


def texts(run):
    return (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)


def write_lines(run, steps, offset=None):
    with metrics.MetricsWriter(run, offset, steps[0] - 1) as writer:
        return [writer.write(step, {"generator/loss": step / 3}) or writer.flush() for step in steps]


def test_metrics_are_cut_where_the_mark_is(tmp_path):
    offsets = write_lines(tmp_path, [1, 2, 3])
    assert offsets[-1] == (tmp_path / "metrics.jsonl").stat().st_size
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "gener')  # Killed in the middle of a line.
    write_lines(tmp_path, [7], offsets[1])  # By no rule of steps.
    assert metrics.read(tmp_path / "metrics.jsonl") == [{"step": n, "generator/loss": n / 3} for n in (1, 2, 7)]


@pytest.mark.parametrize(("offset", "kept"), [(None, 3), (10**6, 3), ("inside", 2), (0, 0)])
def test_only_whole_lines_stay(offset, kept, tmp_path):
    offsets = write_lines(tmp_path, [1, 2, 3])
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"x" * 200_000)  # Longer than what is read at a time.
    before = texts(tmp_path)
    with metrics.MetricsWriter(tmp_path, offsets[2] - 5 if offset == "inside" else offset, 3):
        pass
    assert texts(tmp_path) == before[:kept]


def test_opening_reads_no_line(tmp_path, monkeypatch):
    offsets = write_lines(tmp_path, [1, 2, 3])
    monkeypatch.setattr(metrics, "_parsed", None)
    write_lines(tmp_path, [3], offsets[1])
    assert len(texts(tmp_path)) == 3


def test_damaged_lines_take_none_with_them(tmp_path):
    path = tmp_path / "metrics.jsonl"
    bad = [
        b"5",
        b"null",
        b'{"a": 1}',
        b'{"step": "1"}',
        b'{"step": true}',
        b'{"step": 2, "x',
        b"\xff\xfe",
        b"",
        b"[" * 9999,
    ]
    good = [json.dumps({"step": step, "diagnosis": "healthy"}).encode() for step in range(1, len(bad) + 1)]
    path.write_bytes(b"".join(b"%s\n%s\n" % pair for pair in zip(bad, good, strict=True)))
    assert [line["step"] for line in metrics.read(path)] == list(range(1, len(bad) + 1))
    assert metrics.last(path, "diagnosis") == {"step": len(bad), "diagnosis": "healthy"}
    assert metrics.last(path, "discriminator/loss") is None
    assert metrics.last(tmp_path / "none", "diagnosis") is None
    # Where a checkpoint says no offset, all up to the first line beyond its step stays, good or not.
    before = texts(tmp_path)
    offset = metrics.offset_after(path, 4, sample_every=1)
    assert offset == len(b"".join(before[:9]))
    write_lines(tmp_path, [5], offset)
    assert texts(tmp_path)[:9] == before[:9]
    assert len(texts(tmp_path)) == 10


def test_the_last_lines_are_looked_for_from_the_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    look = {"step": 2, "diagnosis": "healthy"}
    lines = [{"step": 1}, look, *({"step": step, "discriminator/loss": "é" * (step % 50)} for step in range(3, 9000))]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    assert path.stat().st_size > 5 * 2**16
    assert metrics.last(path, "discriminator/loss") == lines[-1]
    assert metrics.last(path, "diagnosis") == look
    assert list(metrics._backwards(path)) == lines[::-1]


def test_a_look_that_only_an_end_was_reason_for_goes_in_runs_from_before(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 4, "diagnosis": "x"}, {"step": 5}, {"step": 5, "diagnosis": "x"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sizes = [len(json.dumps(line)) + 1 for line in lines]
    assert metrics.offset_after(path, 5, sample_every=2) == sum(sizes[:2])
    assert metrics.offset_after(path, 5, sample_every=5) == sum(sizes)
    assert metrics.offset_after(path, 4, sample_every=4) == sizes[0]
    assert metrics.offset_after(path, 3, sample_every=1) == 0
    assert metrics.offset_after(tmp_path / "none", 3, sample_every=1) == 0


def events(run):
    """What TensorBoard would find: (step, tag, number or words) in order, checksums checked."""
    found = []
    for path in sorted((run / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            assert struct.unpack("<I", data[8:12])[0] == record_writer.masked_crc32c(data[:8])
            body, data = data[12 : 12 + size], data[12 + size :]
            assert struct.unpack("<I", data[:4])[0] == record_writer.masked_crc32c(body)
            event, data = event_pb2.Event.FromString(body), data[4:]  # pyright: ignore[reportAttributeAccessIssue]
            found += [("version", event.file_version)] if event.file_version else []
            found += [("from", event.step)] if event.session_log.status else []
            for value in event.summary.value:
                words = value.tensor.string_val[0].decode() if value.tensor.string_val else None
                found.append((event.step, value.tag, words or value.image.width or value.simple_value))
    return found


def test_tensorboard_has_the_same(tmp_path):
    with metrics.MetricsWriter(tmp_path, None, 0) as writer:
        writer.write(1, {"generator/loss": 0.5, "discriminator/loss": 2.0})
        writer.write(2, {"diversity/pixels": 0.25, "diagnosis": "healthy"})
        writer.write_image(2, "samples", np.zeros((4, 6, 1), np.uint8))
    with metrics.MetricsWriter(tmp_path, None, 2) as writer:
        writer.write(3, {"generator/loss": 1.5})
    assert events(tmp_path) == [
        ("version", "brain.Event:2"),
        ("from", 1),
        (1, "generator/loss", 0.5),
        (1, "discriminator/loss", 2),
        (2, "diversity/pixels", 0.25),
        (2, "diagnosis/text_summary", "healthy"),
        (2, "samples", 6),
        ("version", "brain.Event:2"),
        ("from", 3),
        (3, "generator/loss", 1.5),
    ]


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_full_disk_is_an_error_at_once_and_all_is_closed(name, tmp_path):
    threads = threading.active_count()
    writer: Any = metrics.MetricsWriter(tmp_path, None, 0)
    full: Any = open("/dev/full", "wb")  # noqa: SIM115
    if name == "tensorboard":
        whole, writer._board._file._writer = writer._board._file._writer, full
    else:
        whole, writer._file = writer._file, full
    whole.close()

    def fill():
        with writer:
            for step in range(10_000):
                writer.write(step, {"generator/loss": 0.5})
            pytest.fail("the disk is full")

    with pytest.raises(OSError, match="No space left on device") as error:
        fill()
    assert error.value.filename == str(tmp_path)
    assert full.closed
    assert writer._file.closed
    assert writer._board._file._writer.closed
    assert threading.active_count() == threads


def test_closing_on_a_full_disk_fails_but_hides_no_other_error(tmp_path):
    def end(error=None):
        writer = metrics.MetricsWriter(tmp_path, None, 0)
        writer._file.close()
        writer._file = open("/dev/full", "wb")  # noqa: SIM115
        with writer:
            writer.write(1, {"generator/loss": 0.5})
            if error:
                raise error
        return writer

    with pytest.raises(OSError, match="No space left on device"):
        end()
    with pytest.raises(NonFiniteError, match="NaN"):
        end(NonFiniteError("NaN"))


def test_a_deleted_directory_is_an_error(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with metrics.MetricsWriter(run, None, 0) as writer:
        writer.write(1, {"generator/loss": 0.5})
        writer.flush()
        shutil.rmtree(run)
        with pytest.raises(FileNotFoundError, match=r"run/metrics.jsonl"):
            writer.flush()


def test_non_finite_metrics_name_step_player_and_metric():
    fine = np.ones(5)
    bad = np.array([1, 1, 1, np.nan, np.nan])
    metrics.check_finite(11, {"generator/loss": fine})
    with pytest.raises(NonFiniteError, match=r"step 14: the generator's loss is NaN.*--generator.learning-rate"):
        metrics.check_finite(11, {"discriminator/loss": fine, "generator/gradient_norm": bad, "generator/loss": bad})
    with pytest.raises(NonFiniteError, match="step 1: the discriminator's gradient norm is infinite"):
        metrics.check_finite(1, {"discriminator/gradient_norm": np.array([np.inf])})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_advice_can_be_followed(precision):
    """A run's settings are fixed: another directory; and float32 is no news to a run in float32."""
    with pytest.raises(NonFiniteError) as error:
        metrics.check_finite(1, {"discriminator/loss": np.array([np.nan])}, precision)
    assert "with another --out" in str(error.value)
    assert ("--precision float32" in str(error.value)) == (precision == "bfloat16")
    for option in re.findall(r"--([a-z.-]+)", str(error.value)):
        if option != "out":
            cfg.value(cfg.Config(), option.replace("-", "_"))


def history_of(count, states=()):
    found = History()
    names = [f"discriminator/{name}" for name in ("loss", "real", "fake")] + ["generator/loss"]
    for step in range(1, count + 1):
        found.add({"step": step, **dict.fromkeys(names, 1 / step)})
    for step, state in states:
        found.judge(step, state)
    return found


@pytest.mark.parametrize(("count", "bands"), [(99, 0), (512, 0), (513, 4), (3000, 4)])
def test_losses_are_plotted(count, bands, tmp_path, monkeypatch):
    assert plots.plot_losses(tmp_path, History()) is None
    drawn = []
    original = plots.Figure.savefig
    monkeypatch.setattr(
        plots.Figure, "savefig", lambda self, *args, **more: drawn.append(self) or original(self, *args, **more)
    )
    path = plots.plot_losses(tmp_path, history_of(count, [(40, "healthy"), (80, "divergence")]))
    assert path is not None
    with Image.open(path) as picture:
        assert picture.width > 800
    above, below = drawn[0].axes
    assert len(above.collections) + len(below.collections) == bands
    if not bands:  # The lines themselves.
        np.testing.assert_allclose(above.lines[0].get_xydata().T, [range(1, count + 1), 1 / np.arange(1, count + 1)])
    assert [patch.get_label() for patch in above.patches] == ["divergence"]
    assert above.patches[0].get_x() == 40
    assert above.patches[0].get_width() == 40


def test_smoothing_keeps_constants_and_length():
    np.testing.assert_allclose(plots.smooth(np.full(10, 3.0), 4), 3)
    np.testing.assert_allclose(plots.smooth(np.arange(5.0), 3), [0.5, 1, 2, 3, 3.5])


def test_a_walk_visits_its_latents_on_great_circles(key):
    latent = jax.random.normal(key, (3, 50))
    walk = sampling.walk(latent, 4)
    assert walk.shape == (12, 50)
    np.testing.assert_allclose(walk[::4], latent, rtol=1e-4, atol=1e-5)
    a, b = jnp.eye(2)
    np.testing.assert_allclose(sampling.slerp(a, b, jnp.float32(1 / 3)), [3**0.5 / 2, 0.5], rtol=1e-5)
    np.testing.assert_allclose(sampling.slerp(a, a, jnp.float32(0.3)), a, rtol=1e-5)  # No angle to divide by.


def test_truncated_latents(key):
    game = Game(mlp.Generator((2,)), mlp.Discriminator(), optax.sgd(1.0), optax.sgd(1.0), latent_size=8)
    latent = sampling.draw_latents(game, key, 500, truncation=0.5)
    assert jnp.abs(latent).max() <= 0.5
    np.testing.assert_array_equal(sampling.draw_latents(game, key, 2, 0.5), latent[:2])
    assert jnp.abs(sampling.draw_latents(game, key, 500)).max() > 2
    uniform = dataclasses.replace(game, prior=lambda key, size: jax.random.uniform(key, (size,)))
    np.testing.assert_array_equal(sampling.draw_latents(uniform, key, 9), train_step.latents(uniform, key, 9))
    with pytest.raises(ValueError, match="only standard normal latents are truncated"):
        sampling.draw_latents(uniform, key, 9, 0.5)
