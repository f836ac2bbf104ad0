"""A disk that fills in the middle of a command: one line; after room is made it ends as one that was not broken."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_style_command import QUICK
from test_training import SMALL_FLAGS

from jaxgan import cli
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
# Commands that write what they make at their end, or a file after another: RUN and PICTURES exist, OUT does not fit.
MAKERS = {
    "sample": ["sample", "RUN", "--count=400", "--out=OUT/sheet.png"],
    "sample --seeds": ["sample", "RUN", "--seeds=0-19", "--out=OUT/seeds"],
    "interpolate": ["interpolate", "RUN", "--out=OUT/walk.gif"],
    "mix": ["mix", "emoji", "--rows=1", "--columns=2", "--out=OUT/mix.png"],
    "export": ["export", "RUN", "--out=OUT/export"],
    "compare": ["compare", "RUN", "RUN", "--out=OUT/comparison.png"],
    "data make": ["data", "make", "PICTURES", "--size=32", "--out=OUT/set"],
    "data preview": [
        "data",
        "preview",
        "own_images",
        "--data=PICTURES",
        "--size=32",
        "--batch-size=8",
        "--out=OUT/preview.png",
    ],
    "style": ["style", "PICTURES/0.png", "PICTURES/1.png", *QUICK, "--steps=1", "--quiet", "--out=OUT/styled.png"],
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
    assert "no room is left; make some" in full.stderr
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    again = run(COMMANDS[name], out)
    assert again.returncode == 0, again.stderr
    run(COMMANDS[name], tmp_path / "whole")
    assert outcome(out) == outcome(tmp_path / "whole")


def test_an_import_on_a_full_disk_is_a_line_and_made_after_room_is(small_disk, tmp_path):
    command = ["import", str(Path(__file__).parent / "data" / "gat.pt")]
    subprocess.run(["mount", "-o", "remount,size=8k", small_disk], check=True)
    full = run(command, small_disk / "out")
    assert full.returncode not in (0, 75), full.stdout
    assert full.stderr.count("\n") == 1, full.stderr
    assert "no room is left; make some" in full.stderr
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    for out in (small_disk / "out", tmp_path / "whole"):
        again = run(command, out)
        assert again.returncode == 0, again.stderr
    made = [networks.digest(directory.read(out).state) for out in (small_disk / "out", tmp_path / "whole")]
    assert made[0] == made[1]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A small run and a folder of pictures."""
    folder = tmp_path_factory.mktemp("places")
    cli.main(["train", "mnist_fc", *SMALL_FLAGS, "--steps=1", "--quiet", f"--out={folder / 'run'}"])
    (folder / "pictures").mkdir()
    random = np.random.default_rng(0)
    for number in range(16):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / "pictures" / f"{number}.png")
    return {"RUN": str(folder / "run"), "PICTURES": str(folder / "pictures")}


def files(folder):
    """Sizes by names: some files have the time or their place in them."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", MAKERS)
def test_what_does_not_fit_a_disk_is_said_in_a_line_and_made_after_room_is(name, places, small_disk, tmp_path, capsys):
    def command(out):
        words = MAKERS[name]
        for key, place in (places | {"OUT": str(out)}).items():
            words = [word.replace(key, place) for word in words]
        return words

    subprocess.run(["mount", "-o", "remount,size=8k", small_disk], check=True)
    with pytest.raises(SystemExit) as end:
        cli.main(command(small_disk))
    said = capsys.readouterr().err
    assert end.value.code not in (0, 75)
    assert said.count("\n") == 1, said
    assert said.startswith(f"jaxgan: {small_disk}")
    assert "no room is left; make some" in said
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    cli.main(command(small_disk))
    cli.main(command(tmp_path / "whole"))
    assert files(small_disk) == files(tmp_path / "whole")
