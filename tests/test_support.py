"""What every part uses: files, the console, progress, the cache."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from jaxgan.run import directory
from jaxgan.support import cache, files
from jaxgan.support.console import open_console
from jaxgan.support.errors import UserError
from jaxgan.support.progress import Bar
from jaxgan.support.stopping import catch_stop


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "folder" / ("n" * 250 + ".txt")  # Its name has no room for an ending.
    files.write_atomically(path, "ä")
    files.write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == [path.name]
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="x: cannot be written: no room is left; make some"):
        files.write_atomically(tmp_path / "x", "text")
    assert os.listdir(tmp_path) == []


def test_what_a_kill_left_half_written_goes_when_its_folder_is_held_again(tmp_path):
    (tmp_path / "samples").mkdir()
    ours = [tmp_path / "samples" / "0000010.png", tmp_path / "mine.partial.json"]
    for path in ours:
        path.touch()
    script = "import os, sys; from pathlib import Path; from jaxgan.support import files\nfor path in sys.argv[1:]:\n"
    script += "    partial = files.replacing(Path(path)).__enter__(); partial.touch()\nos._exit(9)"
    killed = [tmp_path / "config.json", tmp_path / "samples" / "0000020.png"]
    subprocess.run([sys.executable, "-c", script, *map(str, killed)], check=False)
    left = list(tmp_path.rglob(".*.partial.*"))
    assert len(left) == 2
    with directory.lock(tmp_path):  # Another command may be writing them.
        assert all(path.is_file() for path in left)
    for path in left:
        os.utime(path, (0, time.time() - 61))
    with directory.lock(tmp_path):
        assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([tmp_path / ".lock", *ours])


def test_files_and_folders_that_cannot_be_used_are_one_line(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(UserError, match="binary: cannot be read: it is not UTF-8"):
        files.read_text(tmp_path / "binary")
    with pytest.raises(UserError, match="is a folder"):
        files.write_atomically(tmp_path, "text")
    with pytest.raises(UserError, match="cannot be written"):
        files.write_atomically(tmp_path / "binary" / "x", "text")
    with pytest.raises(UserError, match="File name too long"):
        files.write_atomically(tmp_path / ("x" * 300), "text")
    assert not files.is_file(tmp_path / ("x" * 300))
    assert not files.is_dir(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", ["runs/x[/y]", "exp[lr=1]", "runs/:smile:", "a [bold]b"])
def test_names_are_shown_as_they_are(name, capsys):
    open_console().print(f"resuming {name} from step 3", soft_wrap=True)
    assert capsys.readouterr().out == f"resuming {name} from step 3\n"
    shown = Console(force_terminal=True, width=100, markup=False)
    with shown.capture() as capture, Bar(shown, 3, text=name):
        pass
    assert name in capture.get()


def test_without_a_terminal_there_are_lines_only(capsys):
    with Bar(open_console(), 10) as bar:
        bar.move(3, "text")
        bar.line("step 3")
    assert capsys.readouterr().out == "step 3\n"


def test_the_cache_is_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "jaxgan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "jaxgan"


def test_programs_that_were_not_used_for_longest_go_first(monkeypatch, tmp_path):
    for age in range(8):
        (tmp_path / str(age)).write_bytes(bytes(100))
        os.utime(tmp_path / str(age), (1000 - age, 500))
    cache.trim(tmp_path, 800)
    assert len(os.listdir(tmp_path)) == 8
    cache.trim(tmp_path, 799)
    assert sorted(os.listdir(tmp_path)) == [str(age) for age in range(6)]


def test_the_users_own_cache_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setattr(cache, "trim", None)
    cache.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == ""


def test_training_may_run_in_any_thread():
    """In a notebook's, say; signals are the main one's."""
    before, caught = signal.getsignal(signal.SIGINT), []

    def run():
        with catch_stop() as stop:
            caught.append((list(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert caught == [([], before)]
