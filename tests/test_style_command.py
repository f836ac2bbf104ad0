import dataclasses
import json
import os
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms
from safetensors.numpy import save_file

from jaxgan import cli
from jaxgan.cli.style import DEMO, Style, _plot
from jaxgan.style import colour, losses, pictures, recipe, transfer, weights

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
    with Image.open(out) as image:
        assert image.size == (64, 48)
        assert pictures.to_srgb(image)[0] is image  # In sRGB already.
        assert image.info["icc_profile"] == pictures.srgb_profile()
        settings = json.loads(image.info["jaxgan"])
        first = np.asarray(image)
    assert settings["pictures"] == ["content.png", "style.jpg"]
    assert (settings["steps"], settings["size"], settings["style_weight"]) == (6, 64, 8.0)
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


@pytest.fixture
def contents(files):
    """A folder of pictures of three sizes and one that is broken."""
    folder = files / "contents"
    folder.mkdir()
    Image.fromarray(photograph((48, 64), 2)).save(folder / "a.jpg")
    Image.fromarray(photograph((47, 64), 3)).save(folder / "b.gif")
    Image.fromarray(photograph((45, 64), 4)).save(folder / "c.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("left alone")
    return folder


def test_a_folder_gives_a_folder_of_pictures_of_their_own_size(files, contents, capsys):
    arguments = [contents, files / "style.jpg", *QUICK, "--steps", "2", "--size", "original", "--out", files / "made"]
    before = transfer.iterate._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    style(*arguments, "--sheet", files / "sheet.png")
    programs = transfer.iterate._cache_size() - before  # pyright: ignore[reportAttributeAccessIssue]
    assert programs <= 1  # 45, 47 and 48 rows are worked on as 48.
    said = capsys.readouterr().out
    assert "broken.png: not a picture in a known format" in said
    assert f"3 pictures in {files / 'made'}" in said
    sizes = {path.name: pictures.read(path).pixels.shape[1::-1] for path in (files / "made").iterdir()}
    assert sizes == {"a.jpg": (64, 48), "b.png": (64, 47), "c.png": (64, 45)}
    with Image.open(files / "sheet.png") as sheet:
        assert sheet.size == (2 * 256, 5 * 256)
        assert np.asarray(sheet)[256 + 128, 256 + 128].min() < 250
        assert np.asarray(sheet)[3 * 256 + 128, 256 + 128].min() == 255  # The broken one's place.
    first = (files / "made" / "a.jpg").stat().st_mtime_ns
    (files / "made" / "c.png").unlink()
    style(*arguments)
    assert "3 pictures in" in (said := capsys.readouterr().out)
    assert "2 were there before" in said
    assert (files / "made" / "a.jpg").stat().st_mtime_ns == first
    for path in contents.glob("[abc].*"):
        path.write_bytes(b"")
    assert "nothing could be made" in fails([*arguments, "--force", "--quiet"], capsys)


def test_a_folder_of_styles_and_where_results_cannot_go(files, contents, capsys):
    styles = files / "styles"
    styles.mkdir()
    for name in ("x.png", "y.jpg"):
        Image.fromarray(photograph((40, 40), 5)).save(styles / name)
    style(files / "content.png", styles, *QUICK, "--steps", "1", "--quiet", "--out", files / "made")
    assert sorted(path.name for path in (files / "made").iterdir()) == ["content.x.png", "content.y.png"]
    for arguments, message in [
        ([contents, styles, files / "style.jpg"], "a folder of styles stands alone"),
        ([contents, styles, "--out", contents], "holds the pictures themselves"),
        ([contents, styles, "--out", files / "all.png"], "a folder is needed, for every picture; --sheet"),
        ([files / "content.png", files / "style.jpg", "--sheet", files / "all.png"], "--sheet shows the pictures of"),
    ]:
        assert message in fails(arguments, capsys)


def stopped(arguments, capsys, monkeypatch, number, after):
    """Runs a command that gets a signal, once, after so many looks at the progress."""
    from jaxgan.style.progress import StyleProgress

    looks, move = [], StyleProgress.update

    def update(self, *rest):
        looks.append(1)
        if len(looks) == after:
            signal.raise_signal(number)
        move(self, *rest)

    monkeypatch.setattr(StyleProgress, "update", update)
    with pytest.raises(SystemExit) as end:
        style(*arguments)
    monkeypatch.setattr(StyleProgress, "update", move)
    error = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 75
    return error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_loses_nothing(files, capsys, monkeypatch, number):
    whole, out = files / "whole.png", files / "out.png"
    common = [files / "content.png", files / "style.jpg", *QUICK, "--steps", "40", "--quiet", "--trace"]
    style(*common, "--out", whole)
    error = stopped([*common, "--out", out], capsys, monkeypatch, number, 2)
    assert "stopped at iteration 20 of 40" in error
    assert "the same command goes on" in error
    with Image.open(files / "out.partial.png") as partial:
        assert partial.size == (64, 48)
    assert not out.exists()
    assert "out.state: is of another command" in fails([*common, "--out", out, "--style-weight", "3"], capsys)
    style(*common, "--out", out)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(whole)))
    assert out.with_suffix(".jsonl").read_text() == whole.with_suffix(".jsonl").read_text()
    assert sorted(path.name for path in files.glob("out.*")) == ["out.jsonl", "out.losses.png", "out.png"]
    (files / "out.state").write_bytes(b"PK cut short")
    assert "out.state: cannot be read" in fails([*common, "--out", files / "out.tiff"], capsys)


def test_a_folder_that_was_stopped_goes_on_and_keeps_what_it_had_finished(files, contents, capsys, monkeypatch):
    made = files / "made"
    arguments = [contents, files / "style.jpg", *QUICK, "--steps", "20", "--force", "--out", made]
    stopped(arguments, capsys, monkeypatch, signal.SIGTERM, 3)  # Within the second picture.
    assert sorted(path.name for path in made.iterdir()) == ["a.jpg", "b.partial.png", "b.state"]
    first = (made / "a.jpg").stat().st_mtime_ns
    style(*arguments)
    assert "going on from" in capsys.readouterr().err
    assert sorted(path.name for path in made.iterdir()) == ["a.jpg", "b.png", "c.png"]
    assert (made / "a.jpg").stat().st_mtime_ns == first


def test_bad_input_is_one_clear_line(files, capsys):
    content, paint, out = files / "content.png", files / "style.jpg", files / "out.png"
    (files / "text.png").write_text("no picture")
    whole = paint.read_bytes()
    (files / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(files / "dot.png")
    Image.new("RGB", (20_000, 40)).save(files / "line.png")
    Image.new("L", (64, 64)).save(files / "mask.png")
    Image.new("L", (64, 48)).save(files / "black.png")
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
        ([content, paint, "--mask", files / "black.png"], "black.png: the mask is black everywhere"),
        ([content, paint, "--mask", paint, paint], "--mask: 1 masks are needed, one a style, not 2"),
        ([content, paint, "--mask", paint, paint], "there are none for parts of a style"),
        ([content, paint, "--style-layers", "relu1_1=x"], "--style-layers relu1_1=x: must be LAYER or LAYER=WEIGHT"),
        ([content, paint, "--style-layers", "relu1_1=-1"], "with a weight of 0 or more"),
        ([content, paint, "--style-layers", "relu1_1=0"], "at least one layer with a weight above 0"),
        ([content, paint, "--content-layers", "relu1_1", "relu1_1=2"], "--content-layers: relu1_1 is given twice"),
        (
            [content, paint, "--style-weight", "0", "--content-weight", "0", "--tv-weight", "0"],
            "--style-weight, --content-weight and --tv-weight are all 0",
        ),
        ([content, paint, "--style-scale", "0.02"], "too narrow, at least 32 x 32 are needed; take a larger --style"),
        ([content, paint, "--init", "random"], "--init random: no such file, and none of content, noise, statistics"),
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
        (files, "is a folder, and so is none of the pictures; name a file"),
        (files / "out", "unknown ending (none)"),
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
        return pictures.read(tmp_path / name).over_white()

    np.testing.assert_allclose(read(image), wanted)
    part = pictures.read(tmp_path / "a.png", crop=(0.2, 0.0, 1.0, 0.9)).pixels
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
    grey = np.arange(1600, dtype=np.uint8).reshape(40, 40)
    Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=bytes(profile))
    picture = pictures.read(tmp_path / "a.png")
    np.testing.assert_allclose(picture.pixels[..., 0], grey / 255, atol=1e-6)
    assert picture.note == "its colour profile is damaged and left out"


def test_the_demonstration_is_small_and_its_pictures_are_there():
    demo = Style(demo=True).checked()
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


def test_the_command_line_and_the_options_have_the_same_defaults():
    shape = (320, 512, 3)
    said = Style(pictures=DEMO).options(shape)
    default = dataclasses.replace(transfer.Options(), stages=recipe.stages(shape), optimizer=said.optimizer)
    assert said == default
    assert default.style_loss is losses.WASSERSTEIN
    assert default.style_layers == tuple(zip(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), (16, 8, 4, 2, 1), strict=True
    ))  # fmt: skip
    assert default.padding == "replicate"
    weighted = Style(pictures=DEMO, style_layers=("relu1_1=3", "relu2_1"), content_layers=("relu4_2=2", "relu3_1=0"))
    assert weighted.options(shape).style_layers == (("relu1_1", 3.0), ("relu2_1", 1.0))
    assert weighted.options(shape).content_layers == (("relu4_2", 2.0),)


def test_huge_weights_are_those_of_a_usual_sum():
    usual = Style(style_weight=8e29, content_weight=1e29, tv_weight=1e30).options((64, 64, 3))
    np.testing.assert_allclose(
        [usual.content_weight, usual.style_weight, usual.tv_weight], np.array([1, 8, 10]), rtol=1e-12
    )
    assert np.isfinite(Style(style_weight=1e308, content_weight=1e308).options((64, 64, 3)).style_weight)


def test_no_complaint_of_the_compiler_is_shown(files, capsys, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    fails([files / "absent.png", files / "style.jpg"], capsys)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"  # Not its boxes about slow machines.


def test_losses_that_are_nothing_are_plotted_without_complaint(tmp_path):
    options = Style(pictures=DEMO, style_weight=0, tv_weight=0).options((320, 320, 3))
    for value in (0.0, 0.5):  # Only the content is wanted, and the start is it; or not.
        lines = [
            {"step": step, "total": value, "content": value, "style": 1.0, "tv": 1.0, "coarse": 0.0}
            for step in range(3)
        ]
        _plot(tmp_path / "losses.png", lines, options)  # Warnings are errors.
        assert (tmp_path / "losses.png").exists()


def test_bands_are_chosen_where_memory_is_short(monkeypatch, capsys):
    from jaxgan.style import cost, vgg
    from jaxgan.support.console import open_console

    network, command, shape = vgg.Network(vgg.VGG(), {}), Style(pictures=DEMO), (2048, 2048, 3)
    options = command.options(shape)
    layers = [name for name, _ in (*options.content_layers, *options.style_layers)]
    # The process's highest, measured: GiB of transfers of several sizes, in bands of so many rows.
    for size, rows, taken in ((512, 0, 1.94), (1024, 0, 4.80), (1024, 512, 3.93), (1024, 256, 3.03), (512, 64, 2.17)):
        said = cost.memory(network.module, (size, size), layers, rows) / 2**30
        assert 0.97 * taken < said < 1.25 * taken
    console = open_console(stderr=True)

    def fitted(free, command=command):
        monkeypatch.setattr(cost, "available", lambda: free)
        found, chosen = command.fitted(network, options, shape, console)
        return chosen.band_rows, found.module.remat, capsys.readouterr().err

    needed = cost.memory(network.module, shape, layers)
    assert fitted(2 * needed)[:2] == (0, False)
    rows, remat, said = fitted(needed)
    assert (rows, remat) == (256, True)
    assert "2048 x 2048 pixels: about" in said
    assert "GiB of memory, in bands of 256 rows" in said
    tight = cost.memory(network.module, shape, layers, 64) / cost.SHARE
    assert fitted(tight + 1)[0] == 64
    rows, _, said = fitted(2**28)
    assert rows == 32
    assert "it may not fit: take a smaller --size" in said
    # A small picture's memory is the compiler's, which bands do not lessen.
    assert command.fitted(network, options, (256, 256, 3), console)[1].band_rows == 0
    assert "it may not fit" in capsys.readouterr().err
    assert fitted(2 * needed, dataclasses.replace(command, save_memory=True))[:2] == (256, True)


def test_what_compiling_took_is_given_back(monkeypatch):
    from jaxgan.style import cost

    trimmed, listeners = [], []
    library = types.SimpleNamespace(malloc_trim=trimmed.append)
    monkeypatch.setattr(cost.ctypes, "CDLL", lambda name: library)
    register = jax.monitoring.register_event_duration_secs_listener
    monkeypatch.setattr(jax.monitoring, "register_event_duration_secs_listener", listeners.append)
    cost.release_after_compiling.__wrapped__()
    (listen,) = listeners
    happened = []

    def note(event, duration_secs, **_):
        happened.append(event)

    register(note)
    jax.jit(lambda x: x * 3.25 + 1)(jnp.ones(7))
    jax.monitoring.unregister_event_duration_listener(note)
    for event in happened:  # As they are called today; as if each had taken long.
        listen(event, 2.0, fun_name="f")
    assert trimmed == [0] * happened.count("/jax/core/compile/backend_compile_duration") != []
    listen("/jax/core/compile/backend_compile_duration", 0.5)
    assert len(trimmed) == happened.count("/jax/core/compile/backend_compile_duration")


def test_a_huge_weight_changes_the_picture(files):
    out = files / "out.png"
    arguments = [files / "content.png", files / "style.jpg", *QUICK, "--steps", "2", "--style-weight", "1e24"]
    style(*arguments, "--out", out)
    changed = np.abs(np.asarray(Image.open(out), float) - photograph()).mean()
    assert changed > 1


def test_weights_of_the_package_keep_their_network_options():
    module = weights.load().using(pooling="average", padding="reflect").module
    assert (module.pooling, module.preprocessing) == ("average", "torchvision")
