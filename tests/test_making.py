"""Making sets where people and machines interfere: foreign files, kills, signals, full disks, odd pictures."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.data import folder as folders
from jaxgan.data import making, own, pictures, records, workers
from jaxgan.data.folder import Settings
from jaxgan.run import build, directory, training
from jaxgan.support.errors import JaxganError, StoppedError, UserError

SIX = Settings(size=6)
several_cores = pytest.mark.skipif(os.cpu_count() == 1, reason="one core converts by itself")


def fill(folder, count, seed=0, side=6):
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{index:04}.png")
    return folder


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != ".lock"}


@pytest.fixture
def photos(tmp_path):
    return fill(tmp_path / "photos", 20)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def interrupt(monkeypatch, where, after=0):
    """Has a function raise KeyboardInterrupt at a call."""
    calls, original = [], getattr(making, where)

    def interrupted(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) > after:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    monkeypatch.setattr(making, where, interrupted)


@pytest.mark.parametrize(
    "plan",
    ['{"my": "own file"}', "[1]", "no JSON", '{"version": 1, "source": "/x", "settings": 5, "listing": ""}'],
)
def test_a_directory_of_the_users_is_refused_and_stays(plan, photos, tmp_path):
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True)
    for name, text in (("plan.json", plan), ("thesis.tex", "long"), ("sub/data.csv", "1,2"), ("manifest.json", "{}")):
        (mine / name).write_text(text)
    with pytest.raises(UserError, match="mine: exists, and is no set of pictures; choose another --out"):
        making.make(photos, mine, SIX)
    assert sorted(path.name for path in mine.rglob("*")) == [
        "data.csv",
        "manifest.json",
        "plan.json",
        "sub",
        "thesis.tex",
    ]
    with pytest.raises(UserError, match=r"thesis.tex: cannot be a set's directory: Not a directory"):
        making.make(photos, mine / "thesis.tex", SIX)


def test_foreign_files_in_a_set_stay(photos, tmp_path):
    out = tmp_path / "set"
    making.make(photos, out, SIX)
    (out / "notes.txt").write_text("mine")
    (out / "more").mkdir()
    (photos / "0003.png").unlink()
    assert making.make(photos, out, SIX).count == 19
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "more").is_dir()
    assert len(list(out.glob("*.arrayrecord"))) == 1, "nothing is left of the set before"


@pytest.mark.parametrize("where", ["convert_part", "_finish", "_put_in_place", "_tidy"])
def test_an_interrupted_update_leaves_the_old_set_or_the_new(where, photos, tmp_path, monkeypatch):
    out = tmp_path / "set"
    old = making.make(photos, out, SIX)
    pixels = records.PictureSet(out).read(np.arange(20))["image"]
    fill(photos, 21, seed=1)
    with monkeypatch.context() as patch:
        interrupt(patch, where)
        with pytest.raises(KeyboardInterrupt):
            making.make(photos, out, SIX)
    standing = records.PictureSet(out)
    standing.verify()
    if where != "_tidy":
        assert standing.manifest == old
        np.testing.assert_array_equal(standing.read(np.arange(20))["image"], pixels)
    making.make(photos, out, SIX)
    making.make(photos, tmp_path / "fresh", SIX)
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_making_killed_between_two_moves_goes_on(photos, tmp_path, monkeypatch):
    shutil.copytree(photos, photos / "class")
    settings = Settings(size=6, labels=True)
    making.make(photos, tmp_path / "fresh", settings)
    moves, original = [], os.replace

    def replace(source, target):
        if making.records.MAKING in str(source) and making.records.MAKING not in str(target):
            moves.append(target)
            if len(moves) in (1, 3, 6, 10):
                raise KeyboardInterrupt
        original(source, target)

    monkeypatch.setattr(making.os, "replace", replace)
    while not records.is_set(tmp_path / "set"):
        with contextlib.suppress(KeyboardInterrupt):
            making.make(photos, tmp_path / "set", settings)
    assert len(moves) > 6
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")


def test_another_folders_interrupted_making_is_refused(photos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, "convert_part")
        with pytest.raises(KeyboardInterrupt):
            making.make(photos, tmp_path / "set", SIX)
    with pytest.raises(UserError, match=r"set: was made from .*photos; choose another"):
        making.make(fill(tmp_path / "other", 2), tmp_path / "set", SIX)
    with pytest.raises(UserError, match=r"set: was made with another size \(6, now 7\)"):
        making.make(photos, tmp_path / "set", Settings(size=7))


def as_before(out, name="pictures"):
    """Turns a set into one of the time when all its files were called the same."""
    manifest = json.loads((out / "manifest.json").read_text())
    new = manifest.pop("name")
    del manifest["left_out"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    for path in list(out.glob("*.arrayrecord")):
        path.rename(out / path.name.replace(new, name))
    (out / f"{new}-labels.npy").rename(out / "labels.npy")
    (out / ".lock").unlink()


def test_sets_made_before_open_and_are_updated(photos, tmp_path):
    shutil.copytree(photos, photos / "class")
    settings = Settings(size=6, labels=True)
    out = tmp_path / "set"
    manifest = making.make(photos, out, settings)
    as_before(out)
    known = records.PictureSet(out, conditional=True)
    known.verify()
    assert (known.identity, len(known)) == (manifest.sha256, 20)
    time = (out / "pictures-00000.arrayrecord").stat().st_mtime_ns
    making.make(photos, out, settings, verify=True)
    assert (out / "pictures-00000.arrayrecord").stat().st_mtime_ns == time, "up to date"
    (photos / "class" / "0003.png").unlink()
    making.make(photos, out, settings)
    making.make(photos, tmp_path / "fresh", settings)
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_making_begun_before_sets_were_made_beside_is_made_anew(photos, tmp_path, monkeypatch):
    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        interrupt(patch, "_finish")
        with pytest.raises(KeyboardInterrupt):
            making.make(photos, out, SIX)
    for path in list((out / ".making").iterdir()):
        path.rename(out / ("pictures-00000.arrayrecord" if path.suffix == ".arrayrecord" else path.name))
    (out / ".making").rmdir()
    (out / "notes.txt").write_text("mine")
    making.make(photos, out, SIX)
    making.make(photos, tmp_path / "fresh", SIX)
    assert contents(out) == contents(tmp_path / "fresh") | {"notes.txt": b"mine"}


@pytest.mark.parametrize("what", ["manifest", "no manifest", "cut", "missing", "bits"])
def test_the_same_command_mends_a_damaged_set(what, photos, tmp_path, capsys):
    out = tmp_path / "set"
    command = ["data", "make", str(photos), "--size", "6", "--out", str(out)]
    cli.main(command)
    whole = contents(out)
    (part,) = out.glob("*.arrayrecord")
    data = bytearray(part.read_bytes())
    if what == "bits":
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif what == "cut":
        part.write_bytes(data[: len(data) // 2])
    elif what == "missing":
        part.unlink()
    elif what == "manifest":
        (out / "manifest.json").write_text("{")
    else:
        (out / "manifest.json").unlink()
    with pytest.raises(UserError, match="jaxgan data make") as error:
        records.PictureSet(out).verify()
    assert "\n" not in str(error.value)
    cli.main(command)
    assert contents(out) == whole


SCRIPT = """
import sys
from jaxgan.data import own
print("imported", flush=True)
pictures = own.open_pictures(sys.argv[1], 6)
print(len(pictures))
"""


def test_a_plain_script_opens_a_folder(tmp_path):
    """Without `if __name__ == "__main__"`; three parts, so that several processes convert."""
    folder = fill(tmp_path / "photos", 600)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("imported") == 1
    assert done.stdout.endswith("600\n")


def test_threads_open_a_folder(tmp_path, capsys):
    """At once: one converts, the others wait for it."""
    folder = fill(tmp_path / "photos", 300)
    counts = []
    threads = [threading.Thread(target=lambda: counts.append(len(own.open_pictures(str(folder), 6)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert counts == [300] * 3


@several_cores
def test_a_signal_stops_a_training_that_converts(tmp_path):
    """At once, with the code of a stopped training; its processes end with it, and the same command goes on."""
    folder = fill(tmp_path / "photos", 1, side=1000)
    for index in range(1, 1000):
        os.link(folder / "0000.png", folder / f"{index:04}.png")
    command = [sys.executable, "-m", "jaxgan", "train", "own_images", "--data", str(folder), "--out", tmp_path / "run"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cache/jaxgan/sets/*/.making/*.partial")) and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    since = time.monotonic()
    shown, _ = process.communicate(timeout=60)
    assert time.monotonic() - since < 5
    assert process.returncode == 75, shown
    assert "jaxgan: stopped while pictures were converted; the same command goes on" in shown
    assert "Traceback" not in shown
    assert workers
    assert not any(worker.is_running() for worker in workers)


@several_cores
@pytest.mark.parametrize("delay", [0.05, 0.2])
def test_ctrl_c_while_processes_start_is_their_parents(delay, tmp_path):
    """All processes of a terminal's group get it."""
    folder = fill(tmp_path / "photos", 1000)
    command = [sys.executable, "-m", "jaxgan", "data", "make", folder, "--size", "6", "--out", tmp_path / "set"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, text=True, process_group=0, **pipes)
    while not (children := psutil.Process(process.pid).children()) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    assert children
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_handlers_come_back(number, photos, tmp_path, monkeypatch):
    caught = []
    before = signal.signal(number, lambda *_: caught.append(1))
    handler = signal.getsignal(number)
    try:
        monkeypatch.setattr(making, "_finish", lambda *_: os.kill(os.getpid(), number))
        with pytest.raises(StoppedError):
            making.make(photos, tmp_path / "set", SIX)
        assert signal.getsignal(number) is handler
        assert not caught
    finally:
        signal.signal(number, before)


def test_jaxgans_own_directories_and_hidden_ones_are_left_out(photos, tmp_path, capsys):
    for name, marks in (
        ("runs/a", ("config.json", ".lock", "samples/000100.png")),
        ("runs/b", ("config.json", "checkpoints/1/x", "losses.png")),
        ("runs/c", ("table.md", "sweep.png", "seed=0/samples/1.png")),
        ("set", ("manifest.json", "files.txt", "sheet.png")),
        (".thumbnails", ("1.png",)),
    ):
        for mark in marks:
            (photos / name / mark).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / "0000.png", photos / name / mark)
    (photos / "mine").mkdir()
    (photos / "mine" / "config.json").write_text("{}")
    found = folders.listing(photos)
    assert len(found.files) == 21
    assert found.left_out == 5
    with pytest.raises(
        UserError, match="a: is a run, a sweep or a set of jaxgan, where a folder of pictures is needed"
    ):
        folders.listing(photos / "runs" / "a")
    own.open_pictures(str(photos), 6)
    shown = capsys.readouterr().out
    assert "20 pictures, 1 files skipped" in shown, "config.json is no picture"
    assert "5 directories are left out, being hidden or of runs, sweeps or sets" in shown


def test_a_run_under_its_own_data_goes_on(photos, tmp_path):
    run = photos / "runs" / "own"
    config = cfg.Config(
        generator=cfg.MLPGenerator(widths=(4,)),
        discriminator=cfg.MLPDiscriminator(widths=(4,)),
        data=str(photos),
        size=6,
        batch_size=4,
        steps=1,
    )
    assert training.train(config, run, quiet=True)
    assert list(run.glob("samples/*.png"))
    assert not directory.changed_data(run, build.source(config))


def test_odd_files_and_folders_are_skipped_with_a_reason(photos, tmp_path, monkeypatch):
    """Whatever is raised of one of them, with warnings as errors or not."""
    (photos / "locked").mkdir()
    (photos / "loop").symlink_to(photos)
    (photos / "itself").symlink_to(photos / "itself")
    os.mkfifo(photos / "pipe.png")
    name = os.fsdecode(b"caf\xe9.png")
    (photos / name).write_bytes(b"?")
    originals = os.scandir, pictures.open_picture

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return originals[0](path)

    def open_picture(path, least=None, content=None):
        match path.stem:
            case "0001":
                raise ZeroDivisionError("float division by zero")
            case "0002":
                warnings.warn("odd", stacklevel=1)
            case "0003":
                raise MemoryError
            case "0004":
                raise OSError(errno.EIO, "Input/output error")
            case "0005":
                raise Image.DecompressionBombError("a bomb")
        return originals[1](path, least)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    monkeypatch.setattr(pictures, "open_picture", open_picture)
    manifest = making.make(photos, tmp_path / "set", SIX)
    listed = (tmp_path / "set" / "skipped.txt").read_text(encoding="utf-8").splitlines()
    reasons = dict(line.split(": ", 1) for line in listed)
    assert reasons == {
        "0001.png": "cannot be converted: float division by zero",
        "0003.png": "is too large for the memory that there is",
        "0004.png": "cannot be converted: [Errno 5] Input/output error",
        "0005.png": "cannot be converted: a bomb",
        "caf\\xe9.png": "not a picture in a known format",
        "itself": "is no file (a link that leads nowhere, or to a folder?)",
        "locked": "cannot be read: Permission denied",
        "loop": "is no file (a link that leads nowhere, or to a folder?)",
        "pipe.png": "is no file (a link that leads nowhere, or to a folder?)",
    }
    assert (manifest.count, manifest.skipped) == (16, 9)


def test_a_folder_whose_name_is_not_utf8(tmp_path, capsys):
    folder = fill(tmp_path / os.fsdecode(b"caf\xe9 [/b]"), 3)
    out = tmp_path / "set"
    for _ in range(2):
        cli.main(["data", "make", str(folder), "--size", "6", "--fit", "random", "--out", str(out)])
        own.open_pictures(str(folder), 6)
        assert "caf\\xe9 [/b]: 3 pictures" in capsys.readouterr().out
    assert records.PictureSet(out).manifest.source.endswith("caf\\xe9 [/b]")
    with pytest.raises(UserError, match="is not a name in UTF-8; choose another --out"):
        making.make(folder, tmp_path / os.fsdecode(b"s\xe9t"), SIX)


def test_files_that_change_meanwhile_are_looked_at_again(photos, tmp_path, monkeypatch):
    """As are those of a disk that was away for a while."""
    original = making.convert_part

    def convert(folder, *rest):
        (photos / "0001.png").rename(tmp_path / "away.png")
        return original(folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(making, "convert_part", convert)
        assert making.make(photos, tmp_path / "set", SIX).count == 19
    (tmp_path / "away.png").rename(photos / "0001.png")
    assert making.make(photos, tmp_path / "set", SIX).count == 20

    def gone(folder, *rest):
        folder.rename(tmp_path / "gone")
        return original(folder, *rest)

    (photos / "0002.png").unlink()
    monkeypatch.setattr(making, "convert_part", gone)
    with pytest.raises(JaxganError, match="photos: has gone while it was converted"):
        making.make(photos, tmp_path / "set", SIX)
    assert records.PictureSet(tmp_path / "set").manifest.count == 20


@pytest.fixture
def little_room(tmp_path):
    """A disk of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    try:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a disk cannot be mounted here")
    except FileNotFoundError:
        pytest.skip("a disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("command", ["make", "train"])
def test_a_full_disk_is_said_and_the_same_command_goes_on(command, tmp_path, little_room, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(little_room))
    folder = fill(tmp_path / "photos", 600)
    filling = little_room / "film.mkv"
    filling.write_bytes(bytes(100_000))
    if command == "make":
        arguments = ["data", "make", str(folder), "--size", "10", "--out", str(little_room / "set")]
    else:
        arguments = ["train", "own_images", "--data", str(folder), "--size", "8", "--out", str(tmp_path / "run")]
        filling.write_bytes(bytes(120_000))
        monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "0")
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 1
    shown = capsys.readouterr().err
    assert "cannot be written: no room is left; make some. The same command goes on" in shown
    assert len(shown.splitlines()) == 1
    filling.unlink()
    subprocess.run(["mount", "-o", "remount,size=2m", str(little_room)], check=True)
    if command == "make":
        cli.main(arguments)
    else:
        own.open_pictures(str(folder), 8)
    assert "600 pictures" in capsys.readouterr().out


def test_a_process_that_dies_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_PROGRAM", "import os; path = {path!r}; os.abort()")
    with pytest.raises(JaxganError, match=r"photos: a process that converts pictures has died .*the same command"):
        making.make(fill(tmp_path / "photos", 300), tmp_path / "set", SIX, processes=2)
    monkeypatch.undo()
    assert making.make(tmp_path / "photos", tmp_path / "set", SIX).count == 300


def test_a_process_whose_parent_was_killed_ends_without_a_word(tmp_path):
    """Also where its answer cannot be given before it sees that no more jobs will come."""
    job = {"folder": str(tmp_path), "path": str(tmp_path / "part"), "report": str(tmp_path / "part.json")}
    program = workers._PROGRAM.format(path=sys.path)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(json.dumps(job | {"files": [], "settings": vars(SIX)}) + "\n")
        process.stdin.flush()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_settings_are_told_to_the_mending_command(photos, tmp_path):
    settings = Settings(size=6, fit="pad", labels=False, min_side=2)
    making.make(photos, tmp_path / "a set", settings)
    (part,) = (tmp_path / "a set").glob("*.arrayrecord")
    part.unlink()
    with pytest.raises(UserError, match=r"--out '.*a set' --size 6 --fit pad --min-side 2$") as error:
        records.PictureSet(tmp_path / "a set")
    assert "jaxgan data make" in str(error.value)
