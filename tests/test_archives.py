"""What people bring: archives that are read in place, labels in files, numbers of every range, shapes of every kind."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from failing import fails
from PIL import Image

from jaxgan import cli
from jaxgan.data import archives, labels, making, own, records
from jaxgan.data import folder as folders
from jaxgan.data.folder import Settings, Skipped, convert
from jaxgan.support.console import open_console
from jaxgan.support.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def png(value, width=6, height=6):
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


FILES = {
    f"{name}/{index}.png": png(10 * index + (100 if name == "dog" else 0))
    for name in ("cat", "dog")
    for index in range(3)
}


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path, files, mode):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def skipped(out):
    return dict(line.split(": ", 1) for line in (out / "skipped.txt").read_text().splitlines())


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_set_of_an_archive_is_that_of_the_folder_and_nothing_is_unpacked(kind, tmp_path):
    folder = write_folder(tmp_path / "folder", FILES)
    path = tmp_path / f"pictures.{kind}"
    if kind == "zip":
        write_zip(path, dict(reversed(FILES.items())), compression=zipfile.ZIP_DEFLATED)
    else:
        write_tar(path, FILES, f"w:{kind.partition('.')[2]}")
    settings = Settings(size=6, labels=True)
    ours = making.make(path, tmp_path / "set", settings)
    theirs = making.make(folder, tmp_path / "other", settings)
    assert (ours.sha256, ours.classes, ours.count) == (theirs.sha256, ("cat", "dog"), 6)
    assert {file.name for file in tmp_path.iterdir()} <= {"folder", path.name, "set", "other", "cache"}
    # It is up to date until the archive changes.
    assert making.make(path, tmp_path / "set", settings) == ours
    write_zip(path, FILES | {"cat/9.png": png(9)}) if kind == "zip" else write_tar(path, {"cat/9.png": png(9)}, "w")
    assert making.make(path, tmp_path / "set", settings).sha256 != ours.sha256


def test_an_archive_is_data_to_train_on(tmp_path):
    path = write_zip(tmp_path / "pictures.zip", FILES)
    pictures = own.open_pictures(str(path), 6, conditional=True)
    assert (len(pictures), pictures.classes, pictures.shape) == (6, 2, (6, 6, 3))
    assert pictures.read(np.array([4]))["image"][0, 0, 0, 0] == 110


def test_odd_members_are_left_out_with_a_reason(tmp_path):
    good = png(7)
    path = write_zip(
        tmp_path / "odd.zip", {"good.png": good, "broken.png": good, "locked.png": good, "cut.png": good[:45]}
    )
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        places = {member.filename: member.header_offset for member in archive.infolist()}
    data[places["broken.png"] + 30 + len("broken.png") + 40] ^= 255  # Its checksum is no longer right.
    data[data.rindex(b"locked.png") - 46 + 8] |= 1  # The flag of encryption, in the directory at the end.
    path.write_bytes(data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside.png", good)
        archive.writestr("/absolute.png", good)
        archive.writestr("C:/drive.png", good)
        archive.writestr("__MACOSX/good.png", good)
        archive.writestr(".hidden/good.png", good)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "good.png")
    manifest = making.make(path, tmp_path / "set", Settings(size=6))
    assert records.PictureSet(tmp_path / "set").files() == ["good.png"]
    assert manifest.left_out == 2
    reasons = skipped(tmp_path / "set")
    assert "Bad CRC-32" in reasons.pop("broken.png")
    assert "cut short" in reasons.pop("cut.png")
    outside = "its name leads outside of the archive"
    assert reasons == {
        "locked.png": "is encrypted",
        "../outside.png": outside,
        "/absolute.png": outside,
        "C:/drive.png": outside,
        "link.png": "is a link",
    }


def test_links_and_devices_in_a_tar_are_left_out(tmp_path):
    path = write_tar(tmp_path / "odd.tar", {"./good.png": png(7), "../outside.png": png(8)}, "w")
    with tarfile.open(path, "a") as archive:
        for name, kind in (("link.png", tarfile.SYMTYPE), ("device.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert making.make(path, tmp_path / "set", Settings(size=6)).count == 1
    reasons = skipped(tmp_path / "set")
    assert reasons.keys() == {"../outside.png", "link.png", "device.png"}
    assert reasons["link.png"] == "is a link, or no file"


def test_bombs_and_damaged_archives_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archives, "_AT_LEAST", 10**6)
    zeros = {"zeros.png": bytes(10**7)}
    bomb = write_zip(tmp_path / "bomb.zip", zeros, compression=zipfile.ZIP_DEFLATED)
    tar = write_tar(tmp_path / "bomb.tar.gz", zeros, "w:gz")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(write_tar(tmp_path / "whole.tar.gz", FILES, "w:gz").read_bytes()[:200])
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "cut.zip").write_bytes(write_zip(tmp_path / "whole.zip", FILES).read_bytes()[:-30])
    for path, message in [
        (bomb, "bomb.zip: would unpack to 10,000,000 bytes, over 200 times its size"),
        (tar, "bomb.tar.gz: would unpack to 10,0"),
        (cut, "cut.tar.gz: cannot be read as an archive"),
        (tmp_path / "text.zip", "text.zip: cannot be read as an archive"),
        (tmp_path / "cut.zip", "cut.zip: cannot be read as an archive"),
        (tmp_path / "none.zip", "none.zip: no such folder or archive"),
    ]:
        assert message in fails(["data", "make", path, "--out", tmp_path / "set", "--quiet"], capsys)
    monkeypatch.setattr(archives, "_MOST", 10**6)
    monkeypatch.setattr(archives, "_BOMB", 10**6)
    assert "no files in it; zeros.png: would take 10,000,000 bytes" in fails(
        ["data", "make", bomb, "--out", tmp_path / "set", "--quiet"], capsys
    )


def made(folder, tmp_path, **settings):
    """The classes of a set of a folder, and of each of its files."""
    manifest = making.make(folder, tmp_path / "set", Settings(size=6, **settings))
    pictures = records.PictureSet(tmp_path / "set", conditional=bool(manifest.classes))
    numbers = [] if pictures.labels is None else pictures.labels.tolist()
    return manifest, {file: manifest.classes[n] for file, n in zip(pictures.files(), numbers, strict=bool(numbers))}


def test_labels_of_dataset_json(tmp_path):
    pairs = [["cat/0.png", 10], ["cat/1.png", 9], ["dog/0.png", 10], ["gone.png", 3]]
    files = FILES | {"dataset.json": json.dumps({"labels": pairs}).encode()}
    manifest, found = made(write_folder(tmp_path / "f", files), tmp_path, labels=True)
    assert manifest.classes == ("9", "10")  # By their value.
    assert found == {"cat/0.png": "10", "cat/1.png": "9", "dog/0.png": "10"}
    assert skipped(tmp_path / "set") == dict.fromkeys(
        ["cat/2.png", "dog/1.png", "dog/2.png"], "has no label in dataset.json"
    )
    assert labels._named([0, 0, 1]) == "2"
    assert labels._named([0.5, 1]) == "0.5 1"
    # Without labels the sub-folders are the classes.
    (tmp_path / "f" / "dataset.json").write_text('{"labels": null}')
    assert made(tmp_path / "f", tmp_path, labels=True)[0].classes == ("cat", "dog")


def test_several_labels_at_once_of_labels_csv(tmp_path):
    text = "\ufefffile,kind,colour\ncat/0.png,cat,red\ncat/1.png,cat,blue\n./dog/0.png,dog,red\ndog/1.png,dog,\n"
    archive = write_zip(tmp_path / "a.zip", FILES | {"labels.csv": text.encode()})
    both = {"cat/0.png": "cat red", "cat/1.png": "cat blue", "dog/0.png": "dog red"}
    assert made(archive, tmp_path, labels=True)[1] == both
    old = write_zip(tmp_path / "old.zip", FILES | {"labels.csv": text.replace("\n", "\r").encode()})
    assert made(old, tmp_path / "old", labels=True)[1] == both
    one = made(archive, tmp_path / "one", labels=True, columns=("kind",))[1]
    assert one == {"cat/0.png": "cat", "cat/1.png": "cat", "dog/0.png": "dog", "dog/1.png": "dog"}


def test_one_class_of_a_labelled_folder_is_a_set_of_its_own(tmp_path):
    folder = write_folder(tmp_path / "f", FILES)
    manifest, _ = made(folder, tmp_path, only=("dog",))
    assert (manifest.count, manifest.classes, manifest.skipped) == (3, (), 0)
    assert made(folder, tmp_path / "both", only=("dog", "cat"), labels=True)[0].classes == ("cat", "dog")


def test_a_limit_takes_files_from_everywhere(tmp_path):
    folder = write_folder(tmp_path / "f", {f"{index}.png": png(index) for index in range(9)})
    making.make(folder, tmp_path / "set", Settings(size=6, limit=4))
    assert records.PictureSet(tmp_path / "set").files() == ["0.png", "2.png", "4.png", "6.png"]


def test_a_wrapper_of_all_classes_is_noticed_and_said(tmp_path, capsys):
    folder = write_folder(tmp_path / "f", {f"all/of/{name}": data for name, data in FILES.items()})
    manifest, found = made(folder, tmp_path, labels=True)
    assert (manifest.classes, manifest.wrapper) == (("cat", "dog"), "all/of")
    assert found["all/of/dog/0.png"] == "dog"
    cli.main(["data", "make", str(folder), "--size", "6", "--labels", "--out", str(tmp_path / "set")])
    assert "note: the classes are the sub-folders of all/of" in capsys.readouterr().out
    own.make_shown(
        folder / "all/of", tmp_path / "one", Settings(size=6, labels=True, only=("cat",)), open_console(False)
    )
    assert "note: all pictures are of one class, cat" in capsys.readouterr().out
    # A sub-folder of pictures alone is a class.
    assert labels.read(folder, ["cat/0.png", "readme.txt"], (), None).of == {"cat/0.png": "cat"}


def test_mistakes_about_labels_are_one_line(tmp_path, capsys):
    folder = write_folder(tmp_path / "f", FILES)
    make = ["data", "make", folder, "--out", tmp_path / "set", "--quiet"]
    assert "only: " in (error := fails([*make, "--only", "horse"], capsys))
    assert "has no class 'horse'; it has cat, dog" in error
    assert f"columns: {folder} has no labels.csv" in fails([*make, "--labels", "--columns", "kind"], capsys)
    for name, text, message in [
        ("labels.csv", "", "labels.csv: needs a first line that names its columns"),
        ("labels.csv", "file,kind\nx.png,1,2\n", "labels.csv: line 2 has 3 values, where the first line has 2"),
        ("labels.csv", "file,a\ncat/0.png,1\n", "columns: "),
        ("labels.csv", f"file,kind\nx.png,{'1' * 200_000}\n", "labels.csv: cannot be read as CSV: field larger than"),
        ("labels.csv", "file,kind\nx.png,1\n", "no files with a label in labels.csv in it; cat/0.png: has no label"),
        ("dataset.json", "{}", "dataset.json: is not {"),
        ("dataset.json", '{"labels": [["a.png", true]]}', "True is no label"),
    ]:
        (folder / name).write_text(text)
        assert message in fails([*make, "--labels", "--columns", "kind"], capsys)
    pairs = json.dumps({"labels": [["cat/0.png", 1]]})
    for name, text, message in [
        ("dataset.json", pairs, "columns: are of labels.csv, and the labels are those of"),
        ("dataset.json", '{"labels": [["a.png", 1], ["a.png", 0]]}', "dataset.json: a.png has two labels, 1 and 0"),
        ("labels.csv", "cat/0.png,cat\n", "labels.csv: needs a first line that names its columns"),
        ("labels.csv", "file;kind\na.png;1\n", "such as file,label; its values must be separated by commas"),
        ("labels.csv", "file,kind\na.png,1\n./a.png,2\n", "labels.csv: a.png has two labels, 1 and 2"),
    ]:
        (folder / "dataset.json").unlink(missing_ok=True)
        (folder / name).write_text(text)
        assert message in fails([*make, "--labels", *(["--columns", "kind"] if text == pairs else [])], capsys)


def test_numbers_of_every_range(tmp_path):
    def saved(name, array):
        np.save(tmp_path / name, array)
        return name

    ramp = np.arange(16).reshape(4, 4)
    twelve = (ramp * 273).astype(np.uint16)
    Image.fromarray(twelve).save(tmp_path / "deep.png")
    Image.fromarray(ramp.astype(np.float32) - 8).save(tmp_path / "float.tif")

    def values(name, **settings):
        return convert(tmp_path, name, Settings(size=4, channels="grey", **settings))[..., 0]

    np.testing.assert_array_equal(values("deep.png", range="0:4095"), 17 * ramp)
    assert values("deep.png").max() == 16
    np.testing.assert_array_equal(values("float.tif", range="-8:7"), 17 * ramp)
    for white, most in [(1, 1.003), (255, 255.9), (65535, 65600)]:  # What resampling adds is cut.
        values_of = np.minimum(ramp / 15 * white, white).astype(np.float32)
        values_of[-1, -1], values_of[0, 0] = most, -white / 300
        Image.fromarray(values_of).save(tmp_path / "over.tif")
        np.testing.assert_array_equal(values("over.tif"), 17 * ramp)
    np.testing.assert_array_equal(values(saved("a.npy", ramp / 15)), 17 * ramp)
    np.testing.assert_array_equal(values(saved("b.npy", (ramp * 17).astype(np.uint8))), 17 * ramp)
    np.testing.assert_array_equal(values(saved("c.npy", ramp - 8), range="-8:7"), 17 * ramp)
    np.testing.assert_array_equal(values(saved("d.npy", 1e6 * ramp), range="0:7.5e6"), np.minimum(34 * ramp, 255))
    colours = np.stack([ramp, 15 - ramp, ramp], axis=-1) / 15
    whole = convert(tmp_path, saved("e.npy", colours), Settings(size=4))
    np.testing.assert_array_equal(whole[..., 1], 17 * (15 - ramp))
    holed = (ramp / 15).astype(np.float32)
    holed[1, 1], holed[2, 2] = np.nan, np.inf
    Image.fromarray(holed).save(tmp_path / "nan.tif")
    for name, message in [
        (saved("nan.npy", holed), "2 of its 16 values are NaN or infinite"),
        ("nan.tif", "2 of its 16 values are NaN or infinite"),
        (saved("wide.npy", ramp - 8), "its values go from -8 to 7; say which are black and white: --range LOW:HIGH"),
        (saved("shape.npy", np.zeros((2, 4, 4, 3))), "is no picture, numbers"),
        (saved("words.npy", np.array([["a"]])), "is no picture, numbers"),
    ]:
        with pytest.raises(Skipped, match=message):
            values(name)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:60])
    with pytest.raises(Skipped, match="cannot be read as an array"):
        values("cut.npy")


def test_twelve_bits_in_sixteen_are_noticed(tmp_path, capsys):
    (tmp_path / "f").mkdir()
    Image.fromarray(np.full((6, 6), 4000, np.uint16)).save(tmp_path / "f" / "deep.png")
    make = ["data", "make", str(tmp_path / "f"), "--size", "6", "--out"]
    cli.main([*make, str(tmp_path / "set")])
    said = " ".join(capsys.readouterr().out.split())
    assert "no 16-bit picture has a value above 4,000: of 12 bits, perhaps" in said
    assert "--range 0:4095 makes the largest white" in said
    cli.main([*make, str(tmp_path / "other"), "--range", "0:4095"])
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize(("size", "side"), [(64, 64), ("96x64", 80), ("64x96", 80), ("640x360", 512), ("8x8", 8)])
def test_a_shape_is_kept_as_a_square_of_about_as_many_pixels(size, side):
    assert Settings(size=size).side == side


def test_wide_pictures_are_squashed_after_they_are_cut(tmp_path):
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 20:80] = 255  # What is left of it at 3:2.
    picture[:, 20:50, 1:] = 0
    Image.fromarray(picture).save(tmp_path / "wide.png")
    pixels = convert(tmp_path, "wide.png", Settings(size="96x64"))
    assert pixels.shape == (80, 80, 3)
    assert pixels[..., 0].min() > 200
    assert pixels[:, :36, 1].max() < 50
    assert pixels[:, 44:, 1].min() > 200
    for size in ("96x", "0x4", "x", "96x64x2"):
        with pytest.raises(UserError, match="is no side and no WIDTHxHEIGHT"):
            folders.check_settings(Settings(size=size))
    for span in ("1", "2:1", "a:b", "0:nan", "0:inf"):
        with pytest.raises(UserError, match=r"range: .* is not LOW:HIGH"):
            folders.check_settings(Settings(range=span))


def test_pictures_of_a_wide_set_are_put_right_on_sampling(tmp_path, monkeypatch, capsys):
    folder = write_folder(tmp_path / "f", {f"{index}.png": png(index, 12, 8) for index in range(4)})
    making.make(folder, tmp_path / "set", Settings(size="12x8"))
    small = ["--generator.widths=4", "--discriminator.widths=4", "--batch-size=4", "--steps=1", "--quiet"]
    run = tmp_path / "run"
    cli.main(["train", "mnist_fc", f"--data={tmp_path / 'set'}", *small, f"--out={run}"])
    facts = json.loads((run / "data.json").read_text())
    assert (facts["shape"], facts["shown"]) == ([10, 10, 3], [12, 8])
    cli.main(["train", str(run), "--steps=2", "--quiet"])
    cli.main(["sample", str(run), "--count=3", f"--out={tmp_path / 'out'}"])
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as picture:
            assert picture.size == (12, 8)


def test_a_preview_shows_what_the_discriminator_sees(tmp_path, capsys):
    from jaxgan.support import images

    folder = write_folder(tmp_path / "f", {f"{index}.png": png(40 * index + 20, 8, 8) for index in range(4)})
    preview = ["data", "preview", "own_images", f"--data={folder}", "--size=8", "--batch-size=4", "--columns=4"]
    cli.main([*preview, "--rows=2", "--augment", "cutout", f"--out={tmp_path / 'a.png'}"])
    assert "augmentation cutout with a probability of 1" in capsys.readouterr().out
    cli.main([*preview, "--rows=2", "--augment", f"--out={tmp_path / 'b.png'}"])
    cut, plain = images.load(tmp_path / "a.png"), images.load(tmp_path / "b.png")
    row = cut.shape[0] // 3
    np.testing.assert_array_equal(cut[:row], plain[:row])
    colours = {20, 60, 100, 140}
    assert set(np.unique(plain)) == {0} | colours
    assert set(np.unique(cut[row + row // 8 :])) == {0, 128} | colours  # 128 is the grey of what is cut out.
    assert not np.array_equal(cut[row : 2 * row], cut[2 * row : 3 * row])
    assert "data: ring is points" in fails(["data", "preview", "ring"], capsys)


def test_an_array_of_pictures_is_data(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    np.save(tmp_path / "all.npy", pictures)
    opened = own.open_pictures(str(tmp_path / "all.npy"))
    np.testing.assert_array_equal(opened.read(np.arange(5))["image"], pictures)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "all.npy").read_bytes()[:200])
    with pytest.raises(UserError, match=r"cut.npy: cannot be read as .npy"):
        own.open_pictures(str(tmp_path / "cut.npy"))
