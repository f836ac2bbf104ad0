"""Kills the making of a set, and the update of one, at random moments: is anything lost, does it end as it should?

    launch/local.sh python benchmarks/kill_making.py [--kills 20] [--pictures 600] [--seed 0]

Each time `jaxgan data make` gets SIGKILL at a moment drawn up to a little more than a whole making takes, always on the
same directory. In between the set that was there must be whole, or the new one. In the end it must be the same, byte
for byte, as one made without a kill, and a file of the user's in its directory must be there still.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.data import records


def fill(folder: Path, count: int, random: np.random.Generator) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        pixels = random.integers(0, 256, (120, 120, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:05}.png", compress_level=1)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name != ".lock"}


def make(folder: Path, out: Path, seconds: float | None = None) -> bool:
    """Whether it came to its end, before it was killed."""
    command = [sys.executable, "-m", "jaxgan", "data", "make", folder, "--size=32", f"--out={out}", "--quiet"]
    process = subprocess.Popen(command)
    try:
        assert process.wait(seconds) == 0
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def standing(out: Path) -> str | None:
    """The hash of the set that stands there, after reading all of it."""
    if not records.is_set(out):
        return None
    pictures = records.PictureSet(out)
    pictures.verify()
    return pictures.identity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as base:
        folder, out = Path(base) / "photos", Path(base) / "set"
        before = None
        for name in ("making", "update"):
            fill(folder, options.pictures + 100 * (name == "update"), random)
            since = time.perf_counter()
            make(folder, Path(base) / f"whole {name}")
            whole = time.perf_counter() - since
            expected = standing(Path(base) / f"whole {name}")
            killed = ended = 0
            for _ in range(options.kills):
                done = make(folder, out, float(random.uniform(0, 1.1 * whole)))
                killed, ended = killed + (not done), ended + done
                assert standing(out) in (before, expected), "the set that stands is neither the old nor the new one"
                if done:  # Begin anew: as if the folder had changed back, and again.
                    remade(out, folder, before is None)
            make(folder, out)
            found = contents(out)
            notes = found.pop("notes.txt", b"mine")
            same = found == contents(Path(base) / f"whole {name}")
            print(f"{name}: {whole:.1f} s; {killed} killed, {ended} came to their end; ends the same: {same}")
            assert same
            assert notes == b"mine"
            (out / "notes.txt").write_text("mine")
            before = expected


def remade(out: Path, folder: Path, new: bool) -> None:
    """Makes that there is work to do again: removes the manifest, or ages the set."""
    if new:
        (out / "manifest.json").unlink()
    else:
        manifest = (out / "manifest.json").read_text()
        listing = records.read_manifest(out).listing
        (out / "manifest.json").write_text(manifest.replace(listing, "of another day"))


if __name__ == "__main__":
    main()
