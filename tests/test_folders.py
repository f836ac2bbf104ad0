"""Folders of pictures as people have them, and the sets made of them."""

import contextlib
import io
import json
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxgan import cli
from jaxgan.data import folder as folders
from jaxgan.data import making, records
from jaxgan.data.folder import Settings, Skipped, convert
from jaxgan.support.errors import UserError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(width=40, height=20, left=RED, right=BLUE):
    """Left half one colour, right half another."""
    image = Image.new("RGB", (width, height), left)
    image.paste(right, (width // 2, 0, width, height))
    return image


def make_good(folder):
    """A picture of each kind, with the colour (and alpha over white) that it must come out as."""
    exif = Image.Exif()
    exif[0x0112] = 3  # Turned by 180 degrees.
    halved = Image.new("RGBA", (16, 16), (255, 0, 0, 128))
    palette = Image.new("RGB", (16, 16), (10, 200, 30)).quantize(4)
    clear = Image.new("P", (16, 16), 1)
    clear.putpalette([0, 0, 0, 9, 9, 9])
    animation = [Image.new("RGB", (16, 16), colour) for colour in ((0, 128, 0), RED)]
    deep = Image.fromarray(np.full((16, 16), 65535 // 4, np.uint16))
    saved = {
        "rgb.png": (Image.new("RGB", (16, 16), (1, 2, 3)), {}, (1, 2, 3)),
        "upper.PNG": (Image.new("RGB", (300, 300), (7, 8, 9)), {}, (7, 8, 9)),
        "palette.png": (palette, {}, (10, 200, 30)),
        "clear.png": (clear, {"transparency": 1}, (255, 255, 255)),
        "alpha.png": (halved, {}, (255, 127, 127)),
        "grey.png": (Image.new("L", (16, 16), 77), {}, (77, 77, 77)),
        "grey_alpha.png": (Image.new("LA", (16, 16), (0, 128)), {}, (127, 127, 127)),
        "one_bit.png": (Image.new("1", (16, 16), 1), {}, (255, 255, 255)),
        "sixteen.png": (deep, {}, (64, 64, 64)),
        "cmyk.jpg": (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), {"quality": 95}, (254, 0, 0)),
        "turned.jpg": (halves(), {"exif": exif, "quality": 95}, None),
        "grey.jpg": (Image.new("L", (16, 16), 200), {}, (200, 200, 200)),
        "picture.webp": (Image.new("RGB", (16, 16), (50, 100, 150)), {"lossless": True}, (50, 100, 150)),
        "animation.gif": (animation[0], {"save_all": True, "append_images": animation[1:]}, (0, 128, 0)),
        "picture.bmp": (Image.new("RGB", (16, 16), (5, 6, 7)), {}, (5, 6, 7)),
        "picture.tif": (Image.new("RGB", (16, 16), (9, 6, 7)), {}, (9, 6, 7)),
        "one_pixel.png": (Image.new("RGB", (1, 1), (90, 80, 70)), {}, (90, 80, 70)),
        "huge.jpg": (Image.new("RGB", (4000, 3000), (128, 128, 128)), {}, (128, 128, 128)),
        "deep/er/nested.png": (Image.new("RGB", (16, 16), (3, 2, 1)), {}, (3, 2, 1)),
        "no_ending": (Image.new("RGB", (16, 16), (4, 2, 1)), {"format": "PNG"}, (4, 2, 1)),
    }
    for name, (image, options, _) in saved.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name, **options)
    return {name: colour for name, (_, _, colour) in saved.items()}


def test_pictures_of_every_kind_come_out_in_their_colours(tmp_path):
    for name, colour in make_good(tmp_path).items():
        pixels = convert(tmp_path, name, Settings(size=8))
        assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8), name
        if colour is not None:
            np.testing.assert_allclose(pixels.reshape(-1, 3), np.tile(colour, (64, 1)), atol=2, err_msg=name)
    turned = convert(tmp_path, "turned.jpg", Settings(size=8, fit="squash"))
    assert turned[4, 0, 2] > 250, "EXIF turns it: blue is on the left"
    assert turned[4, 7, 0] > 250


def test_what_to_do_with_a_picture_that_is_not_square(tmp_path):
    halves().save(tmp_path / "wide.png")
    red, blue, white = np.array(RED), np.array(BLUE), np.array([255, 255, 255])
    cropped = convert(tmp_path, "wide.png", Settings(size=20))
    np.testing.assert_array_equal(cropped[10, [0, 9, 10, 19]], [red, red, blue, blue])
    padded = convert(tmp_path, "wide.png", Settings(size=40, fit="pad"))
    np.testing.assert_array_equal(padded[[0, 9, 20, 30, 39], 5], [white, white, red, white, white])
    squashed = convert(tmp_path, "wide.png", Settings(size=20, fit="squash"))
    np.testing.assert_array_equal(squashed[10, [0, 19]], [red, blue])
    shares = set()
    for index in range(20):
        shutil.copy(tmp_path / "wide.png", tmp_path / f"{index}.png")
        random = convert(tmp_path, f"{index}.png", Settings(size=20, fit="random"))
        np.testing.assert_array_equal(random, convert(tmp_path, f"{index}.png", Settings(size=20, fit="random")))
        shares.add(int((random[0] == red).all(axis=-1).sum()))
    assert len(shares) > 8, "squares lie in different places"


def test_channels_and_background(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (8, 16), RED).save(tmp_path / "tall.png")
    assert convert(tmp_path, "clear.png", Settings(size=4, background="#102030"))[0, 0].tolist() == [16, 32, 48]
    assert convert(tmp_path, "clear.png", Settings(size=4, channels="rgba"))[0, 0, 3] == 0
    assert convert(tmp_path, "tall.png", Settings(size=4, channels="rgba"))[0, 0].tolist() == [255, 0, 0, 255]
    padded = convert(tmp_path, "tall.png", Settings(size=16, channels="rgba", fit="pad"))
    assert padded[8, [0, 8], 3].tolist() == [0, 255]
    grey = convert(tmp_path, "tall.png", Settings(size=4, channels="grey"))
    assert (grey.shape, grey[0, 0, 0]) == ((4, 4, 1), 76)


def test_filters_use_the_sizes_in_the_files(tmp_path):
    halves(4000, 500).save(tmp_path / "panorama.jpg")
    with pytest.raises(Skipped, match=r"8.0 times as long as wide, more than max_aspect 2"):
        convert(tmp_path, "panorama.jpg", Settings(size=8, max_aspect=2))
    with pytest.raises(Skipped, match="shorter side has 500 pixels, fewer than min_side 501"):
        convert(tmp_path, "panorama.jpg", Settings(size=8, min_side=501))
    convert(tmp_path, "panorama.jpg", Settings(size=8, min_side=500, max_aspect=8))


def bad_files(folder):
    """Fifteen kinds of files that cannot be used: name -> part of the reason."""

    def encoded(image_format, **options):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
            buffer, image_format, **options
        )
        return buffer.getvalue()

    png, jpeg, tiff = encoded("PNG"), encoded("JPEG"), encoded("TIFF")
    broken_crc = bytearray(png)
    broken_crc[60:70] = bytes(10)
    size = struct.pack(">II", 40_000, 40_000)
    files = {
        "empty.png": (b"", "is empty"),
        "cut.png": (png[: len(png) // 2], "cut short"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "cut short"),
        "cut.tif": (tiff[:200], "cut short|known format"),
        "cut.gif": (encoded("GIF")[:100], "cut short|known format"),
        "cut.webp": (encoded("WEBP")[:100], "cut short|known format"),
        "cut.bmp": (encoded("BMP")[:100], "cut short"),
        "text.png": (b"not a picture", "known format"),
        "page.html": (b"<html>404</html>", "known format"),
        "header.png": (png[:8], "cut short|known format"),
        "damaged.png": (bytes(broken_crc), "cut short|known format"),
        "bomb.png": (png[:16] + size + png[24:], "pixels|cut short|known format"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "known format"),
        "photo.heic": (b"\0\0\0\x18ftypheic", "plugin|known format|cut short"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    return {name: reason for name, (_, reason) in files.items()} | {"nowhere.png": "leads nowhere"}


def test_a_messy_folder_trains_on_the_good_and_lists_the_bad(tmp_path, monkeypatch, capsys):
    """200 files, 40 of them bad in 15 ways."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    kinds = bad_files(folder)
    assert len(kinds) == 15
    names = [name for name in kinds if name != "nowhere.png"]
    for index in range(25):
        shutil.copy(folder / names[index % len(names)], folder / f"again_{index:02}_{names[index % len(names)]}")
    random = np.random.default_rng(0)
    for index in range(160):
        pixels = random.integers(0, 256, (random.integers(8, 40), random.integers(8, 40), 3), np.uint8)
        (folder / f"holiday {index % 5}").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"holiday {index % 5}" / f"{index}.{'png' if index % 2 else 'jpg'}")
    assert len(folders.listing(folder).files) == 200
    options = [
        "--size",
        "8",
        "--batch-size",
        "8",
        "--steps",
        "2",
        "--generator.width",
        "2",
        "--discriminator.width",
        "2",
    ]
    cli.main(["train", "own_images", "--data", str(folder), "--out", str(tmp_path / "run"), *options])
    shown = capsys.readouterr().out
    assert "160 pictures, 40 files skipped, which " in shown
    assert "Done, 2 steps" in shown
    listed = next((tmp_path / "cache").glob("jaxgan/sets/*/skipped.txt")).read_text().splitlines()
    assert len(listed) == 40
    reasons = dict(line.split(": ", 1) for line in listed)
    for name, reason in kinds.items():
        assert any(part in reasons[name] for part in reason.split("|")), (name, reasons[name])


@pytest.fixture
def photos(tmp_path):
    """600 small pictures of two classes, three parts; a file that cannot be used; two that are the same."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for index in range(600):
        path = folder / ("cats" if index % 3 else "dogs") / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).save(path)
    shutil.copy(folder / "cats" / "001.png", folder / "cats" / "zzz.png")
    (folder / "cats" / "broken.png").write_bytes(b"?")
    return folder


SIX = Settings(size=6)


def contents(path):
    """Everything in a set's directory; nothing is left of how it was made."""
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name not in ("sheet.png", ".lock")}


def test_a_set_holds_the_pictures_with_what_there_is_to_know(photos, tmp_path):
    seen = []
    manifest = making.make(photos, tmp_path / "set", Settings(size=6, labels=True), lambda *told: seen.append(told))
    assert (manifest.count, manifest.skipped, manifest.duplicates) == (601, 1, 1)
    assert seen[-1] == (602, 602, 1)
    assert manifest.classes == ("cats", "dogs")
    pictures = records.PictureSet(tmp_path / "set", conditional=True)
    files = pictures.files()
    chosen = np.array([600, 0, 250, 249])
    found = pictures.read(chosen)
    for place, index in enumerate(chosen):
        np.testing.assert_array_equal(found["image"][place], np.asarray(Image.open(photos / files[index])))
        assert manifest.classes[found["label"][place]] == files[index].split("/")[0]
    everything = pictures.read(np.arange(601))["image"]
    np.testing.assert_allclose(manifest.mean, everything.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(manifest.std, everything.std(axis=(0, 1, 2)))
    assert (tmp_path / "set" / "duplicates.txt").read_text() == "cats/001.png = cats/zzz.png\n"
    assert (tmp_path / "set" / "skipped.txt").read_text() == "cats/broken.png: not a picture in a known format\n"


def test_a_set_depends_neither_on_workers_nor_on_interruptions(photos, tmp_path, monkeypatch):
    making.make(photos, tmp_path / "two", SIX, processes=2)
    original = making.convert_part
    calls = []

    def interrupted(*arguments):
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(making, "convert_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        making.make(photos, tmp_path / "one", SIX, processes=1)
    assert not records.is_set(tmp_path / "one")
    (first,) = (tmp_path / "one" / ".making").glob("pictures-*-00000.arrayrecord")
    written = first.stat().st_mtime_ns
    making.make(photos, tmp_path / "one", SIX, processes=1)
    assert (tmp_path / "one" / first.name).stat().st_mtime_ns == written, "the first part was kept"
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def killed_making(folder, out, number):
    """Makes a set and sends a signal when its first part is there; the exit code, and what was said."""
    command = [sys.executable, "-m", "jaxgan", "data", "make", str(folder), "--size", "8", "--out", str(out)]
    with heard(signal.SIGINT):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not list((out / ".making").glob("part-*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    shown, _ = process.communicate(timeout=60)
    return process.returncode, shown


@contextlib.contextmanager
def heard(number):
    """Processes started here hear a signal, also where this one was started to ignore it, as a shell's jobs are."""
    before = signal.signal(number, signal.default_int_handler)
    yield
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_making_goes_on(number, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(1000):
        Image.fromarray(random.integers(0, 256, (200, 200, 3), np.uint8)).save(
            folder / f"{index:04}.png", compress_level=1
        )
    out, code, shown = tmp_path / "set", 0, ""
    for _ in range(9):  # On a machine with much else to do it may end before the signal comes.
        if code == 0 or records.is_set(out):
            shutil.rmtree(out, ignore_errors=True)
            code, shown = killed_making(folder, out, number)
    assert code == (130 if number == signal.SIGINT else -number), shown
    assert "Traceback" not in shown
    making.make(folder, out, Settings(size=8), processes=1)
    making.make(folder, tmp_path / "whole", Settings(size=8), processes=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_set_is_brought_up_to_date_and_kept_from_mistakes(photos, tmp_path):
    out = tmp_path / "set"
    before = making.make(photos, out, SIX)
    assert making.make(photos, out, SIX) == before
    (photos / "cats" / "zzz.png").unlink()
    assert making.make(photos, out, SIX).count == before.count - 1
    with pytest.raises(UserError, match=r"set: was made with another size \(6, now 7\), fit \(crop, now pad\)"):
        making.make(photos, out, Settings(size=7, fit="pad"))
    with pytest.raises(UserError, match=r"set: was made from .*photos; choose another --out"):
        making.make(photos / "cats", out, SIX)
    with pytest.raises(UserError, match=r"dogs: exists, and is no set of pictures"):
        making.make(photos / "cats", photos / "dogs", SIX)
    with pytest.raises(UserError, match=r"set: lies in the folder of pictures itself"):
        making.make(photos, photos / "set", SIX)
    assert (photos / "dogs" / "000.png").is_file()


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="gone: no such folder"):
        making.make(tmp_path / "gone", tmp_path / "set", SIX)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no files in it"):
        making.make(tmp_path / "empty", tmp_path / "set", SIX)
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"none of its 1 files can be used; notes.txt: not a picture in a known format"):
        making.make(tmp_path / "empty", tmp_path / "set", SIX)
    with pytest.raises(UserError, match="no files in sub-folders, one a class, of it"):
        making.make(tmp_path / "empty", tmp_path / "set", Settings(labels=True))
    for settings, message in (
        (Settings(size=-1), "size: .*greater than 0"),
        (Settings(background="colourless"), "background: 'colourless' is no colour"),
        (Settings(max_aspect=0.5), "max_aspect: .*greater than or equal to 1"),
    ):
        with pytest.raises(UserError, match=message):
            making.make(tmp_path / "empty", tmp_path / "set", settings)


def test_damaged_sets_are_named(photos, tmp_path):
    out = tmp_path / "set"
    making.make(photos, out, SIX)
    whole = contents(out)

    def read_all():
        pictures = records.PictureSet(out)
        return pictures.read(np.arange(len(pictures)))

    def broken(name, data, message):
        (out / name).write_bytes(data) if data is not None else (out / name).unlink()
        with pytest.raises(UserError, match=message):
            read_all()
        (out / name).write_bytes(whole[name])

    part = next(name for name in whole if name.endswith("-00001.arrayrecord"))
    mend = f"mend it with: jaxgan data make {photos} --out {out} --size 6"
    broken(part, None, f"set: {part} is missing; {mend}")
    broken(part, whole[part][:-100], f"set: (cannot be read|has .* records).*; {mend}")
    broken("manifest.json", whole["manifest.json"][:-20], "manifest.json: is damaged .*; the same `jaxgan data make`")
    manifest = json.loads(whole["manifest.json"])
    broken("manifest.json", json.dumps(manifest | {"count": 7}).encode(), "manifest.json: is damaged .its numbers")
    broken("manifest.json", json.dumps(manifest | {"shape": [7, 6, 3]}).encode(), "record has not the length")
    with pytest.raises(UserError, match="set: has no labels; make it with --labels"):
        records.PictureSet(out, conditional=True)
    with pytest.raises(UserError, match="no set of pictures"):
        records.PictureSet(photos)
    assert len(records.PictureSet(out)) == 601


def test_data_make_and_show(photos, tmp_path, capsys):
    out = tmp_path / "set"
    cli.main(["data", "make", str(photos), "--size", "6", "--labels", "--out", str(out)])
    assert "601 pictures, 1 files skipped" in capsys.readouterr().out
    cli.main(["data", "show", str(out)])
    shown = capsys.readouterr().out
    assert "601 pictures of 6 x 6, 3 channels" in shown
    assert "  cats: 401" in shown
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 100
    cli.main(["data"])
    assert "data make" in capsys.readouterr().out
    for arguments, message in (
        (["data", "mak"], "no such command"),
        (["data", "show", str(photos)], "no set of pictures"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert end.value.code == 2
        assert message in capsys.readouterr().err
