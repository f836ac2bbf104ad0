"""A disk that fills in the middle of a command: one line; after room is made it ends as one that was not broken."""

import subprocess
import sys

import pytest
from test_training import SMALL_FLAGS

from jaxgan.run import directory, networks

COMMANDS = {
    "train": ["train", "mnist_fc", *SMALL_FLAGS, "--steps=200", "--checkpoint-every=10", "--keep-last=100"],
    "sweep": [
        "sweep",
        "mnist_fc",
        *SMALL_FLAGS,
        "--steps=100",
        "--checkpoint-every=10",
        "--keep-last=100",
        "--seeds=2",
    ],
}


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting is refused: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def run(command, out):
    whole = [sys.executable, "-m", "jaxgan", *command, f"--out={out}"]
    return subprocess.run(whole, capture_output=True, text=True, timeout=300)


def outcome(out):
    runs = sorted(path.parent for path in out.rglob("config.json"))
    return [(networks.digest(directory.read(run).state), (run / "metrics.jsonl").read_text()) for run in runs]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_training_on_a_full_disk_stops_with_a_line_and_goes_on(name, small_disk, tmp_path):
    out = small_disk / "out"
    full = run(COMMANDS[name], out)
    assert full.returncode not in (0, 75), full.stdout
    assert full.stderr.count("\n") == 1, full.stderr
    assert full.stderr.startswith(f"jaxgan: {out}")
    assert "make room" in full.stderr or "No space left" in full.stderr
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    again = run(COMMANDS[name], out)
    assert again.returncode == 0, again.stderr
    run(COMMANDS[name], tmp_path / "whole")
    assert outcome(out) == outcome(tmp_path / "whole")
