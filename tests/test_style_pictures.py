"""Colours, depth and transparency of pictures, in and out."""

import importlib.util
import struct
import sys

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from jaxgan import cli
from jaxgan.style import flow, pictures
from jaxgan.support.errors import UserError

QUICK = ["--content-layers", "relu2_1", "--style-layers", "relu1_1", "relu2_1", "--size", "64", "--quiet"]
# Of the primaries, in columns, adapted to D50 (Lindbloom).
SRGB = [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
ADOBE = [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
PROPHOTO = [[0.7976749, 0.1351917, 0.0313534], [0.2880402, 0.7118741, 0.0000857], [0, 0, 0.8252100]]
P3 = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]

needs_deep = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("cv2", "tifffile"))), reason="needs jaxgan[deep]: OpenCV and tifffile"
)


def linear(encoded):
    """sRGB's curve."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4)


def icc(space, gamma, primaries=None):
    """An ICC profile, version 2: a space of three primaries, or grey, with a power as its curve."""

    def xyz(values):
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"wtpt": xyz([0.9642, 1, 0.8249])}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
        columns = np.transpose(primaries)
        tags |= {name + b"XYZ": xyz(column) for name, column in zip((b"r", b"g", b"b"), columns, strict=True)}
    place, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">2I", place + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", place + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz([0.9642, 1, 0.8249])[8:]
    return header.ljust(128, b"\0") + table + body


def colours(shape=(40, 50)):
    """sRGB colours that all the spaces hold."""
    return np.random.default_rng(0).uniform(0.25, 0.75, (*shape, 3))


def encoded(srgb, primaries, gamma):
    """The numbers of sRGB colours in another space."""
    return (linear(srgb) @ (np.linalg.inv(primaries) @ SRGB).T) ** (1 / gamma)


SPACES = {"adobe": (ADOBE, 2.19921875), "prophoto": (PROPHOTO, 1.8), "p3": (P3, 2.2)}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_is_converted_from_its_space_to_srgb(tmp_path, name, mode):
    primaries, gamma = SPACES[name]
    numbers = np.round(encoded(colours(), primaries, gamma) * 255).astype(np.uint8)
    image = Image.fromarray(numbers)
    if mode == "RGBA":
        image.putalpha(200)
    image.save(tmp_path / "a.png", icc_profile=icc(b"RGB ", gamma, primaries))
    found = pictures.read(tmp_path / "a.png")
    np.testing.assert_allclose(found.pixels, colours(), atol=3 / 255)
    assert np.abs(numbers / 255 - colours()).max() > 10 / 255  # It was not so before.
    assert (found.alpha is None) == (mode == "RGB")
    if found.alpha is not None:
        np.testing.assert_allclose(found.alpha, 200 / 255, atol=1e-6)


def test_srgb_stays_bit_for_bit_and_grey_profiles_are_for_grey(tmp_path):
    numbers = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    for profile in (pictures.srgb_profile(), b"damaged" * 40):
        Image.fromarray(numbers).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(pictures.read(tmp_path / "a.png").pixels, numbers.astype(np.float32) / 255)
    ramp = np.linspace(40, 220, 2000).reshape(40, 50)
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "g.png", icc_profile=icc(b"GRAY", 1.0))
    found = pictures.read(tmp_path / "g.png")
    assert found.grey
    np.testing.assert_allclose(linear(found.pixels[..., 0]), np.floor(ramp) / 255, atol=0.01)
    deep = (ramp * 257).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png", icc_profile=icc(b"GRAY", 1.0))
    found = pictures.read(tmp_path / "d.png")
    np.testing.assert_allclose(linear(found.pixels[..., 0]), ramp / 255, atol=0.01)
    assert found.note == "converted from its colour profile by way of 8 bits"


def test_what_is_written_is_in_srgb_and_jpeg_keeps_every_pixels_colour(tmp_path):
    picture = colours()
    for ending in pictures.SUFFIXES:
        path = tmp_path / f"a{ending}"
        pictures.write(path, picture)
        with Image.open(path) as image:
            assert image.info["icc_profile"] == pictures.srgb_profile()
            if image.format == "JPEG":
                assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
        first = path.read_bytes()
        pictures.write(path, picture)
        assert path.read_bytes() == first


@needs_deep
@pytest.mark.parametrize("ending", [".png", ".tiff"])
@pytest.mark.parametrize("transparent", [False, True])
def test_sixteen_bits_in_and_out(tmp_path, ending, transparent):
    picture, path = colours().astype(np.float32), tmp_path / f"a{ending}"
    alpha = np.linspace(0.1, 1, 2000).reshape(40, 50) if transparent else None
    pictures.check_depth(path, 16)
    pictures.write(path, picture, alpha, 16, {"steps": 7})
    found = pictures.read(path)
    np.testing.assert_allclose(found.pixels, picture, atol=1 / 65535)
    assert found.note == ""
    if alpha is not None:
        assert found.alpha is not None
        np.testing.assert_allclose(found.alpha, alpha, atol=1 / 65535)
    with Image.open(path) as image:
        assert image.info["icc_profile"] == pictures.srgb_profile()
        if ending == ".png":
            assert image.info["jaxgan"] == '{"steps": 7}'
            image.load()


@needs_deep
def test_other_deep_pictures(tmp_path):
    import cv2
    import tifffile

    picture = colours().astype(np.float32)
    path = tmp_path / "a.tiff"
    cv2.imwrite(str(path), picture[..., ::-1])
    np.testing.assert_allclose(pictures.read(path).pixels, picture, atol=1e-6)
    tifffile.imwrite(path, np.round(picture * 65535).astype(np.uint16), photometric="rgb", byteorder=">",
                     extratags=[(274, "H", 1, 6, False)])  # fmt: skip
    np.testing.assert_allclose(pictures.read(path).pixels, np.rot90(picture, -1), atol=1 / 65535)
    primaries, gamma = SPACES["prophoto"]
    deep = np.round(encoded(picture, primaries, gamma) * 65535).astype(np.uint16)
    tifffile.imwrite(path, deep, photometric="rgb", iccprofile=icc(b"RGB ", gamma, primaries))
    found = pictures.read(path)
    np.testing.assert_allclose(found.pixels, picture, atol=3 / 255)
    assert found.note == "converted from its colour profile by way of 8 bits"


@needs_deep
def test_what_needs_a_library_says_so(tmp_path, monkeypatch):
    import cv2
    import tifffile

    picture = colours().astype(np.float32)
    cv2.imwrite(str(tmp_path / "float.tiff"), picture[..., ::-1])
    pictures.write(tmp_path / "deep.png", picture, None, 16)
    del cv2, tifffile
    for name in ("cv2", "tifffile"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"float.tiff: a TIFF of floating-point colours: pip install 'jaxgan\[deep\]'"):
        pictures.read(tmp_path / "float.tiff")
    found = pictures.read(tmp_path / "deep.png")
    np.testing.assert_allclose(found.pixels, picture, atol=1.01 / 255)
    assert found.note == "16 bits, read as 8; pip install 'jaxgan[deep]' reads all of them"
    for name in ("a.png", "a.tiff"):
        with pytest.raises(UserError, match=rf"{name}: 16 bits need a library: pip install 'jaxgan\[deep\]'"):
            pictures.check_depth(tmp_path / name, 16)
    with pytest.raises(UserError, match=r"a film's optical flow needs OpenCV: pip install 'jaxgan\[video\]'"):
        flow.opencv()


def test_depth_and_transparency_that_a_format_has_not_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.jpg: --depth 16 needs .png or .tiff"):
        pictures.check_depth(tmp_path / "a.jpg", 16)
    with pytest.raises(UserError, match=r"a.jpg: c.png is partly transparent, which JPEG cannot keep"):
        pictures.check_alpha(tmp_path / "a.jpg", tmp_path / "c.png")


def test_orientations_are_those_of_pillow():
    from PIL import ImageOps

    numbers = np.arange(24, dtype=np.uint8).reshape(4, 6)
    for orientation in range(1, 9):
        image = Image.fromarray(numbers)
        image.getexif()[0x0112] = orientation
        np.testing.assert_array_equal(
            pictures._turned(numbers[..., None], orientation)[..., 0], np.asarray(ImageOps.exif_transpose(image))
        )


def test_resizing_does_not_bleed_what_is_not_seen(tmp_path):
    image = Image.new("RGBA", (80, 80), (0, 255, 0, 0))
    image.paste((200, 30, 30, 255), (0, 0, 40, 80))
    image.save(tmp_path / "a.png")
    found = pictures.read(tmp_path / "a.png", 50)
    assert found.alpha is not None
    seen = found.alpha > 0.05
    np.testing.assert_allclose(found.pixels[seen] * 255, [[200, 30, 30]] * int(seen.sum()), atol=5)
    np.testing.assert_allclose(found.over_white()[:, -10:], 1, atol=0.01)


@pytest.mark.parametrize("shape", ["white on clear", "black on clear", "white on black", "black on white and clear"])
def test_a_mask_may_lie_in_the_transparency(tmp_path, shape):
    wanted = np.zeros((40, 50), np.float32)
    wanted[:, :25] = 1
    alpha = Image.fromarray((wanted * 255).astype(np.uint8))
    image = Image.new("RGBA", (50, 40), "black" if shape.startswith("black") else "white")
    if shape.endswith("on clear"):
        image.putalpha(alpha)
    elif shape == "white on black":
        image = alpha.convert("RGBA")
    else:
        image = alpha.convert("RGBA")
        image.putalpha(Image.new("L", (50, 40), 255).crop((0, 0, 50, 40)))
        image.putpixel((49, 39), (0, 0, 0, 0))
    image.save(tmp_path / "m.png")
    np.testing.assert_allclose(pictures.read_mask(tmp_path / "m.png", (40, 50)), wanted, atol=0.01)


def test_a_mask_that_is_nowhere_is_refused(tmp_path):
    Image.new("L", (50, 40)).save(tmp_path / "black.png")
    Image.new("RGBA", (50, 40), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    for name in ("black.png", "clear.png"):
        with pytest.raises(UserError, match=f"{name}: the mask is black everywhere"):
            pictures.read_mask(tmp_path / name, (40, 50))


def test_grey_stays_grey_and_transparency_stays(tmp_path, capsys):
    random = np.random.default_rng(3)
    numbers = random.integers(0, 256, (48, 64), np.uint8)
    alpha = np.repeat(np.linspace(0, 255, 64)[None], 48, axis=0).astype(np.uint8)
    content = Image.fromarray(numbers)
    content.putalpha(Image.fromarray(alpha))
    content.save(tmp_path / "c.png")
    Image.fromarray(random.integers(0, 256, (40, 40), np.uint8)).convert("RGB").save(tmp_path / "s.jpg")
    arguments = ["style", str(tmp_path / "c.png"), str(tmp_path / "s.jpg"), *QUICK, "--steps", "2"]
    cli.main([*arguments, "--out", str(tmp_path / "o.png")])
    with Image.open(tmp_path / "o.png") as image:
        assert image.mode == "RGBA"
        made = np.asarray(image).astype(int)
    np.testing.assert_array_equal(made[..., 3], alpha)
    assert np.ptp(made[..., :3], axis=-1).max() == 0
    assert np.abs(made[..., 0] - numbers).max() > 5
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--out", str(tmp_path / "o.jpg")])
    assert "o.jpg: c.png is partly transparent, which JPEG cannot keep; write .png" in capsys.readouterr().err
