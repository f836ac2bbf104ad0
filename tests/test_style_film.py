"""Films: their times, their sound, and what keeps them steady."""

import itertools
import signal
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from jaxgan import cli
from jaxgan.style import film, pictures
from jaxgan.support.errors import UserError

QUICK = ["--content-layers", "relu2_1", "--style-layers", "relu1_1", "relu2_1", "--quiet"]


def drawing(count=4, size=(48, 64)):
    """A bright square that moves over a smooth ground, uint8 [N, H, W, 3]."""
    y, x = np.mgrid[: size[0], : size[1]]
    ground = 90 + 60 * np.sin(x / 5) * np.cos(y / 7)
    frames = np.repeat(ground[None, :, :, None], count, axis=0).repeat(3, axis=-1)
    for index in range(count):
        frames[index, 10:30, 8 + 3 * index : 28 + 3 * index] = [230, 200, 90]
    return frames.astype(np.uint8)


def made_of(ends, size=(48, 64), **changes):
    return film.Film(changes.pop("path", None), size, tuple(map(Fraction, ends)), **changes)


def test_rates_and_ends_are_exact():
    assert film.exact_rate(29.97) == Fraction(30000, 1001)
    assert film.exact_rate(23.98) == Fraction(24000, 1001)
    assert film.exact_rate(25.0) == 25
    assert film.exact_rate(12.5) == Fraction(25, 2)
    ends = [Fraction(n, 30) for n in range(1, 31)]
    lengths = film.milliseconds(ends, 10)
    assert sum(lengths) == 1000
    assert {*lengths} == {30, 40}
    assert film.milliseconds([Fraction(1, 1000)], 10) == [10]


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_an_animation_keeps_its_times_and_size(tmp_path, ending):
    frames, ends = drawing(), [Fraction(4, 100), Fraction(10, 100), Fraction(40, 100), Fraction(42, 100)]
    path = tmp_path / f"a{ending}"
    film.write(path, frames, made_of(ends))
    assert film.is_film(path)
    found = film.open_film(path)
    assert (found.size, found.ends) == ((48, 64), tuple(ends))
    read = np.stack([*film.frames(found)])
    assert np.abs(read.astype(float) - frames).mean() < 12  # A GIF's palette, WebP's compression.
    Image.fromarray(frames[0]).save(tmp_path / "still.gif")
    assert not film.is_film(tmp_path / "still.gif")
    assert pictures.read(path).note == "the first of its pictures"


@pytest.mark.parametrize(("size", "rate"), [((48, 64), 25), ((47, 63), Fraction(30000, 1001))])
def test_an_mp4_keeps_its_rate_size_and_sound(tmp_path, size, rate):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs jaxgan[video]")
    tone = tmp_path / "tone.m4a"
    command = [ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=440:d=1", "-c:a", "aac", str(tone)]
    subprocess.run(command, check=True)
    frames, path = drawing(6, size), tmp_path / "a.mp4"
    film.write(path, frames, made_of([Fraction(n) / rate for n in range(1, 7)], size, path=tone, sound="aac"))
    found = film.open_film(path)
    assert (found.size, found.sound, len(found.ends)) == (size, "aac", 6)
    assert found.ends[0] == 1 / Fraction(rate)
    read = np.stack([*film.frames(found)])
    assert np.abs(read.astype(float) - frames).mean() < 6
    # Frames of different lengths last for as many as they need.
    film.write(path, frames[:2], made_of([Fraction(4, 100), Fraction(12, 100)], size))
    assert film.open_film(path).ends == (Fraction(4, 100), Fraction(8, 100), Fraction(12, 100))
    # No rate has both, so that each is as near as may be at one that plays: 2 of 60, 2 of 60 and 30 of 60.
    film.write(path, frames[:3], made_of([Fraction(33, 1000), Fraction(67, 1000), Fraction(567, 1000)], size))
    assert film.open_film(path).ends == tuple(Fraction(n, 60) for n in range(1, 35))
    assert np.abs(np.stack([*film.frames(film.open_film(path))])[[0, 2, 4]].astype(float) - frames[:3]).mean() < 6


def test_what_is_no_film_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    for name in ("a.mp4", "b.gif"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as a film") as error:
            list(film.frames(film.open_film(tmp_path / name)))
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"c.mp4: no such file"):
        film.open_film(tmp_path / "c.mp4")


@pytest.fixture
def flow():
    pytest.importorskip("cv2", reason="needs jaxgan[video]")
    from jaxgan.style import flow

    return flow


def test_flow_of_a_known_motion(flow):
    """A ground that moves by (2, 1), and comes into view at two edges."""
    y, x = np.mgrid[:72, :96].astype(np.float32)
    large = 128 + 50 * np.sin(x / 4 + y / 9) + 40 * np.cos(y / 5 - x / 11)
    picture = np.repeat(large[..., None], 3, axis=-1).astype(np.uint8)
    before, now = picture[4:68, 4:92], picture[3:67, 2:90]
    there, back = flow.between(now, before), flow.between(before, now)
    np.testing.assert_allclose(np.median(there, axis=(0, 1)), [-2, -1], atol=0.1)
    moved = flow.moved(before.astype(np.float32), there)
    trusted = flow.trust(there, back) > 0
    assert trusted[8:-8, 8:-8].mean() > 0.8
    assert np.abs(moved - now)[trusted].mean() < 2
    exact = np.broadcast_to(np.array([-2, -1], np.float32), there.shape)
    np.testing.assert_array_equal(flow.moved(before.astype(np.float32), exact)[2:, 3:], now[2:, 3:])


def test_trust_ends_where_flows_disagree_or_leave_the_picture(flow):
    there, back = np.zeros((40, 50, 2), np.float32), np.zeros((40, 50, 2), np.float32)
    there[..., 0], back[..., 0] = -3, 3
    trust = flow.trust(there, back)
    np.testing.assert_array_equal(trust, np.where(np.arange(50) >= 3, 1, 0) * np.ones((40, 1)))
    back[10:20, 10:30] = 0  # The way back does not lead here.
    trust = flow.trust(there, back)
    assert trust[12:18, 15:30].max() == 0
    assert trust[25:, 5:].min() == 1


def test_a_film_is_made_steady_and_goes_on_where_it_was_stopped(flow, tmp_path, capsys, monkeypatch):
    from jaxgan.style.progress import StyleProgress

    frames = drawing(3)
    content, paint = tmp_path / "c.gif", tmp_path / "s.png"
    ends = [Fraction(n, 10) for n in range(1, 4)]
    film.write(content, frames, made_of(ends))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)).save(paint)
    arguments = ["style", str(content), str(paint), "--steps", "20", "--init", "noise", *QUICK]
    cli.main([*arguments, "--out", str(tmp_path / "whole.webp")])
    assert "3 frames in" in capsys.readouterr().out
    whole = film.open_film(tmp_path / "whole.webp")
    assert (whole.size, whole.ends) == ((48, 64), tuple(ends))
    shown = np.stack([*film.frames(whole)]).astype(float)
    still = np.abs(np.diff(shown[:, 34:], axis=0)).mean()  # Below the square nothing moves.
    assert still < 0.5 * np.abs(shown[0, 34:] - frames[0, 34:]).mean()
    looks, move = [], StyleProgress.update

    def update(self, *rest):
        looks.append(1)
        if len(looks) == 3:
            signal.raise_signal(signal.SIGTERM)
        move(self, *rest)

    monkeypatch.setattr(StyleProgress, "update", update)
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--out", str(tmp_path / "again.webp")])
    assert end.value.code == 75
    names = sorted(path.name for path in (tmp_path / "again.frames").iterdir())
    assert names == ["00000.png", "00001.partial.png", "00001.state", "origin"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--out", str(tmp_path / "again.webp"), "--style-weight", "3"])
    assert "again.frames: is of another command" in capsys.readouterr().err
    cli.main([*arguments, "--out", str(tmp_path / "again.webp")])
    again = film.frames(film.open_film(tmp_path / "again.webp"))
    for one, other in itertools.zip_longest(again, shown):
        np.testing.assert_array_equal(one, other)
    assert not (tmp_path / "again.frames").exists()
