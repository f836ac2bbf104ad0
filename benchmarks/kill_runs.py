"""Kills trainings with SIGKILL at random moments, starts them again, and compares the end with an unbroken one.

    python benchmarks/kill_runs.py [--kills 20] [--seed 0] [--only run sweep growing]

A run, a sweep and a growing run, each small: state, averages, optimisers and metrics.jsonl must be those of the run
that nobody killed, bit for bit. Prints a line each, and fails if anything was lost.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxgan.run import checkpoint, directory, networks

COMMON = ["--log-every=1", "--sample-every=40", "--checkpoint-every=10", "--quiet"]
SMALL = ["--generator.widths=16", "--discriminator.widths=16", "--batch-size=16", "--steps=400"]
NARROW = ["--generator.width=2", "--generator.max-width=4", "--discriminator.width=2", "--discriminator.max-width=4"]
GROWING = [*NARROW, "--grow", "100", "200", "--fade-steps=50", "--grow-batch-sizes", "4", "4", "4", "--grow-rates"]
GROWING += ["1", "1", "1", "--batch-size=4", "--steps=300", "--size=16", "--discriminator.minibatch-stddev=2"]


def commands(pictures: Path) -> dict[str, list[str]]:
    """By name, what follows `jaxgan`, without --out."""
    return {
        "run": ["train", "ring", *SMALL, *COMMON],
        "sweep": ["sweep", "ring", "--seeds=2", *SMALL, *COMMON],
        "growing": ["train", "progressive_32", f"--data={pictures}", *GROWING, *COMMON],
    }


def start(command: list[str], out: Path) -> subprocess.Popen:
    """Starts a command of jaxgan in a process group of its own."""
    whole = [sys.executable, "-m", "jaxgan", *command, f"--out={out}"]
    return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def finish(process: subprocess.Popen) -> None:
    """Waits for the end of a command, which must be a good one."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args}: exit code {process.returncode}: {said}")


def runs(out: Path) -> list[Path]:
    """The run in a directory, or those of a sweep."""
    return sorted(path.parent for path in (*out.glob("config.json"), *out.glob("*/config.json")))


def outcome(out: Path) -> list[tuple[str, str]]:
    """Digest of the state, and the metrics, of every run in a directory."""
    return [(networks.digest(directory.read(run).state), (run / "metrics.jsonl").read_text()) for run in runs(out)]


def steps(out: Path) -> int:
    """The newest step that any run in a directory has saved."""
    return max((step for run in runs(out) for step in checkpoint.steps(run)), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=["run", "sweep", "growing"])
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures.npz"
        np.savez(pictures, images=np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), np.uint8))
        for name in options.only:
            command = commands(pictures)[name]
            finish(start(command, Path(folder) / name / "whole"))
            out, reached = Path(folder) / name / "killed", [0]
            for _ in range(options.kills):
                process = start(command, out)
                if draw.random() < 0.25:
                    time.sleep(draw.uniform(0, 5))  # While it starts.
                else:
                    while process.poll() is None and steps(out) <= reached[-1]:
                        time.sleep(0.005)
                    time.sleep(draw.uniform(0, 0.1))  # While it trains, and saves.
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                reached.append(steps(out))
            finish(start(command, out))
            same = outcome(out) == outcome(Path(folder) / name / "whole")
            print(f"{name}: killed at {reached}; ends {'bit-identical' if same else 'DIFFERENT'}", flush=True)
            if not same:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
