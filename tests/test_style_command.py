import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms
from safetensors.numpy import save_file

from jaxgan import cli
from jaxgan.cli.style import Style
from jaxgan.style import colour, pictures, weights

# Three convolutions: compiled in a few seconds.
QUICK = ["--content-layers", "relu2_1", "--style-layers", "relu1_1", "relu2_1", "--size", "64", "--scales", "1"]


def photograph(shape=(48, 64), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@pytest.fixture
def files(tmp_path):
    """A content with a colour profile and a style."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(photograph()).save(tmp_path / "content.png", icc_profile=profile)
    Image.fromarray(photograph((40, 40), 1)).save(tmp_path / "style.jpg")
    return tmp_path


def style(*arguments):
    cli.main(["style", *map(str, arguments)])


def fails(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        style(*arguments)
    error = capsys.readouterr().err
    assert (end.value.code, error.count("\n")) == (2, 1), error
    return error


def test_a_picture_with_its_settings_profile_trace_and_steps_on_the_way(files, capsys):
    out = files / "made" / "out.png"
    arguments = [
        files / "content.png",
        files / "style.jpg",
        "--out",
        out,
        "--steps",
        "6",
        "--save-every",
        "2",
        "--trace",
    ]
    style(*arguments, *QUICK)
    shown = capsys.readouterr()
    assert f"{out} in" in shown.out
    assert "iteration 6/6  64 x 48  content" in shown.err
    with Image.open(out) as image, Image.open(files / "content.png") as content:
        assert image.size == (64, 48)
        assert image.info["icc_profile"] == content.info["icc_profile"]
        settings = json.loads(image.info["jaxgan"])
        first = np.asarray(image)
    assert settings["pictures"] == ["content.png", "style.jpg"]
    assert (settings["steps"], settings["size"], settings["style_weight"]) == (6, 64, 20.0)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "out.00002.png", "out.00004.png", "out.jsonl", "out.losses.png", "out.png",
    ]  # fmt: skip
    lines = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(6))
    assert lines[5]["total"] < lines[1]["total"]
    assert "exists; give --force" in fails(arguments, capsys)
    style(*arguments, *QUICK, "--force", "--quiet")
    assert "iteration" not in capsys.readouterr().err
    np.testing.assert_array_equal(first, np.asarray(Image.open(out)))


def test_masks_colours_formats_and_sheets(files):
    left = Image.new("L", (64, 48))
    left.paste(255, (0, 0, 32, 48))
    left.save(files / "left.png")
    left.point(lambda value: 255 - value).save(files / "right.png")
    common = [files / "content.png", files / "style.jpg", files / "content.png", *QUICK, "--steps", "2", "--quiet"]
    style(*common, "--mask", files / "left.png", files / "right.png", "--out", files / "a.jpg")
    style(
        *common,
        "--blend",
        "1",
        "3",
        "--preserve-color",
        "match",
        "--style-crop",
        "0",
        "0",
        "0.8",
        "1",
        "--out",
        files / "b.webp",
    )
    style(
        *common[:2],
        *common[3:],
        "--preserve-color",
        "luminance",
        "--init",
        files / "style.jpg",
        "--out",
        files / "c.tiff",
    )
    for name in ("a.jpg", "b.webp", "c.tiff"):
        with Image.open(files / name) as image:
            assert image.size == (64, 48)
            assert "icc_profile" in image.info
    for folder in ("contents", "styles"):
        (files / folder).mkdir()
        for index in range(2):
            Image.fromarray(photograph((50, 40), index)).save(files / folder / f"{index}.png")
    style(files / "contents", files / "styles", *QUICK, "--steps", "2", "--quiet", "--out", files / "sheet.png")
    with Image.open(files / "sheet.png") as sheet:
        assert sheet.size == (192, 192)


def test_bad_input_is_one_clear_line(files, capsys):
    content, paint, out = files / "content.png", files / "style.jpg", files / "out.png"
    (files / "text.png").write_text("no picture")
    whole = paint.read_bytes()
    (files / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(files / "dot.png")
    Image.new("RGB", (20_000, 40)).save(files / "line.png")
    Image.new("L", (64, 64)).save(files / "mask.png")
    save_file({"conv1_1.kernel": np.zeros((3, 3, 3, 64))}, files / "other.safetensors")
    (files / "file").write_text("")
    (files / "empty").mkdir()
    for arguments, message in [
        ([], "style: name a content and a style"),
        ([content], "style: name a content and a style"),
        ([files / "absent.png", paint], "absent.png: no such file"),
        ([content, files / "text.png"], "text.png: not a picture in a known format"),
        ([content, files / "cut.jpg"], "cut.jpg: cannot be read as a picture"),
        ([files / "dot.png", paint], "dot.png: 1 x 1 pixels: at least 32 x 32 are needed"),
        ([files / "line.png", paint], "line.png: 20000 x 40 pixels, 512 x 1 at size 512: too narrow"),
        ([content, paint, "--content-layers", "relu7_1"], "relu7_1: no such layer in the network"),
        (
            [content, paint, "--weights", files / "other.safetensors"],
            "other.safetensors: not the trunk of VGG16 or VGG19",
        ),
        ([content, paint, "--weights", files / "absent.pth"], "absent.pth: cannot be read"),
        ([content, paint, "--mask", files / "mask.png"], "mask.png: the mask is 64 x 64, of another shape"),
        ([content, paint, "--mask", paint, paint], "--mask: 1 masks are needed, one a style, not 2"),
        ([content, paint, "--blend", "1", "2"], "--blend: 1 weights are needed"),
        ([content, paint, "--size", "8"], "--size must be at least 64, not 8"),
        ([content, paint, "--steps", "0"], "--steps must be at least 1, not 0"),
        ([content, paint, "--style-weight", "-1"], "--style-weight must be 0 or more"),
        ([content, paint, "--learning-rate", "nan"], "--learning-rate must be above 0, not nan"),
        (
            [content, paint, "--style-crop", "0", "0", "1.5", "1"],
            "--style-crop: left < right and top < bottom, all in 0..1",
        ),
        ([content, paint, "--optimizer", "adamw"], "--optimizer"),
        ([content, paint, "--init", files / "nothing.png"], "nothing.png: no such file"),
        ([content, paint, "--demo"], "--demo brings its own pictures"),
        ([content, files / "empty"], "empty: no pictures in this folder"),
    ]:
        assert message in fails([*arguments, "--out", out], capsys)
    for place, message in [
        (files / "out.bmp2", "unknown ending .bmp2; one of .png"),
        (files, "unknown ending (none)"),
        (files / "file" / "out.png", "file: is a file where a folder is needed"),
        ("/proc/none/out.png", "/proc/none: cannot be written"),
    ]:
        assert message in fails([content, paint, "--out", place], capsys)
    assert not out.exists()


def test_every_kind_of_picture_is_read(tmp_path):
    rgb = photograph((40, 50))
    wanted = rgb.astype(np.float32) / 255
    image = Image.fromarray(rgb)

    def read(image, name="a.png", **keywords):
        image.save(tmp_path / name, **keywords)
        return pictures.read(tmp_path / name)[0]

    np.testing.assert_allclose(read(image), wanted)
    part, _ = pictures.read(tmp_path / "a.png", crop=(0.2, 0.0, 1.0, 0.9))
    np.testing.assert_allclose(part, wanted[:36, 10:])
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter to the right
    np.testing.assert_allclose(read(image, exif=turned), np.rot90(wanted, -1))
    grey = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 32
    deep = read(Image.fromarray(grey))
    np.testing.assert_allclose(deep, np.repeat(grey[..., None] / 65535, 3, axis=-1), atol=1e-5)
    np.testing.assert_allclose(read(image.convert("L"))[..., 0], np.asarray(image.convert("L")) / 255, atol=1e-6)
    clear = image.copy()
    clear.putalpha(0)
    np.testing.assert_array_equal(read(clear), 1)
    half = Image.new("LA", (50, 40), (0, 128))
    np.testing.assert_allclose(read(half), 1 - 128 / 255, atol=0.01)
    palette = image.quantize(8)
    np.testing.assert_allclose(read(palette), np.asarray(palette.convert("RGB")) / 255, atol=1e-6)
    palette.info["transparency"] = 0
    assert (read(palette, transparency=0)[np.asarray(palette) == 0] == 1).all()
    cmyk = read(Image.new("CMYK", (50, 40), (255, 0, 0, 0)), "a.tiff")
    np.testing.assert_allclose(cmyk[0, 0], [0, 1, 1], atol=0.01)


def test_a_profile_that_is_not_for_rgb_is_dropped(tmp_path):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"GRAY"
    Image.new("L", (40, 40)).save(tmp_path / "a.png", icc_profile=bytes(profile))
    assert pictures.read(tmp_path / "a.png")[1] is None


def test_the_demonstration_is_small_and_its_pictures_are_there():
    demo = Style(demo=True)._checked()
    assert demo.size == 256
    assert all(path.is_file() and path.stat().st_size < 200_000 for path in demo.pictures)


def test_matched_colours_have_the_contents_mean_and_covariance():
    random = np.random.default_rng(0)
    mixing, other = (np.eye(3) + random.uniform(-0.4, 0.4, (2, 3, 3))) * [[[0.08]], [[0.05]]]
    style = (0.5 + random.normal(size=(60, 60, 3)) @ mixing).astype(np.float32)
    content = (0.4 + random.normal(size=(50, 70, 3)) @ other).astype(np.float32)
    matched = np.asarray(colour.match_colours(jnp.asarray(style), jnp.asarray(content))).reshape(-1, 3)
    np.testing.assert_allclose(matched.mean(axis=0), content.reshape(-1, 3).mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(np.cov(matched.T), np.cov(content.reshape(-1, 3).T), atol=3e-4)


def test_kept_colours_have_the_results_brightness():
    image, content = np.random.default_rng(0).uniform(0.3, 0.7, (2, 20, 20, 3)).astype(np.float32)
    kept = np.asarray(colour.keep_colours(image, content))
    luma = np.array([0.299, 0.587, 0.114])
    inside = ((kept > 0) & (kept < 1)).all(axis=-1)
    assert inside.mean() > 0.9
    np.testing.assert_allclose((kept @ luma)[inside], (image @ luma)[inside], atol=1e-5)
    difference = kept - content
    np.testing.assert_allclose(difference[inside], np.repeat(difference[inside][:, :1], 3, axis=1), atol=1e-6)


def test_weights_of_the_package_keep_their_network_options():
    module = weights.load().using(pooling="average", padding="reflect").module
    assert (module.pooling, module.preprocessing) == ("average", "torchvision")
