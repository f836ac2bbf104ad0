import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from jaxgan.latent import sampling
from jaxgan.run import metrics, plots
from jaxgan.support import images
from jaxgan.support.errors import NonFiniteError, UserError


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
    with pytest.raises(UserError, match=r"a.png: cannot be written"):
        images.save(tmp_path / "file" / "a.png", np.zeros((2, 2, 1), np.uint8))


def test_metrics_are_rewound_when_a_run_goes_on(tmp_path):
    with metrics.MetricsWriter(tmp_path, 0) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"generator/loss": step / 3})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "gener')  # Killed in the middle of a line.
    with metrics.MetricsWriter(tmp_path, 2) as writer:
        writer.write(3, {"generator/loss": 0.1})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "generator/loss": 1 / 3},
        {"step": 2, "generator/loss": 2 / 3},
        {"step": 3, "generator/loss": 0.1},
    ]


def test_non_finite_metrics_name_step_player_and_metric():
    fine = np.ones(5)
    bad = np.array([1, 1, 1, np.nan, np.nan])
    metrics.check_finite(11, {"generator/loss": fine})
    with pytest.raises(NonFiniteError, match=r"step 14: the generator's loss is NaN.*--generator.learning-rate"):
        metrics.check_finite(11, {"discriminator/loss": fine, "generator/gradient_norm": bad, "generator/loss": bad})
    with pytest.raises(NonFiniteError, match="step 1: the discriminator's gradient norm is infinite"):
        metrics.check_finite(1, {"discriminator/gradient_norm": np.array([np.inf])})


def test_losses_are_plotted(tmp_path):
    assert plots.plot_losses(tmp_path) is None
    names = [f"discriminator/{name}" for name in ("loss", "real", "fake")] + ["generator/loss"]
    with metrics.MetricsWriter(tmp_path, 0) as writer:
        for step in range(1, 100):
            writer.write(step, dict.fromkeys(names, 1 / step))
    path = plots.plot_losses(tmp_path)
    assert path is not None
    with Image.open(path) as picture:
        assert picture.width > 800


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
    latent = sampling.draw_latents(key, 500, 8, truncation=0.5)
    assert jnp.abs(latent).max() <= 0.5
    np.testing.assert_array_equal(sampling.draw_latents(key, 2, 8, 0.5), latent[:2])
    assert jnp.abs(sampling.draw_latents(key, 500, 8)).max() > 2
