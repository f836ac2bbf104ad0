"""How long a newcomer waits: whole `jaxgan train` commands, stopped after the first step, with and without a cache.

    launch/local.sh python benchmarks/start_time.py --pictures FOLDER

For each config made for 2 cores, seconds of the whole command (importing, converting the pictures, compiling, what
comes at the end):

    shipped   an empty cache of programs and of pictures, the steps as planned, SIGTERM before the first is done
    one step  an empty cache, `--steps 1`: also looks at samples and draws what shows the whole run
    warm      the same again in another directory, with the cache that the one before has left

In place of one step, growing configs take one at each of their sizes.
`--code DIR` times another checkout with this one's environment, for figures before and after a change in one sitting.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGS = ("mnist_fc", "mnist_dcgan", "mnist_conditional", "stacked_mnist", "ring", "grid", "own_images")
FAMILIES = ("biggan", "progressive", "msg", "stylegan2", "r3gan")
SIZED = [f"{name}_{size}" for size in (32, 64) for name in FAMILIES if (name, size) != ("biggan", 64)] + ["gat_64"]


def command(name: str, pictures: Path, run: Path, *flags: str) -> list[str]:
    data = ["--data", str(pictures)] if name == "own_images" or name in SIZED else []
    return [sys.executable, "-m", "jaxgan", "train", name, *data, "--out", str(run), *flags]


def seconds(arguments: list[str], environment: dict[str, str], stop_in: Path | None = None) -> float:
    """Seconds that a command takes; with `stop_in`, SIGTERM as soon as a run there has begun."""
    since = time.perf_counter()
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/"
    )
    while stop_in and process.poll() is None:
        if (stop_in / "config.json").exists():
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.05)
    output, _ = process.communicate()
    took = time.perf_counter() - since
    if process.returncode not in (0, 75):
        raise SystemExit(f"{' '.join(arguments)}\n{output}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=[*CONFIGS, *SIZED])
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--code", type=Path, default=Path(__file__).parents[1])
    options = parser.parse_args()
    pictures = options.pictures.absolute()
    growing = {
        f"progressive_{size}": ["--grow", *map(str, range(1, sizes)), "--fade-steps", "1", "--steps", str(sizes)]
        for size, sizes in ((32, 4), (64, 5))
    }
    print(f"{'seconds':20} {'shipped':>8} {'one step':>8} {'warm':>8}")
    for name in options.configs:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            environment = os.environ | {
                "PYTHONPATH": str(options.code.absolute()),
                "XDG_CACHE_HOME": str(place / "cache"),
            }
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # Users have what Python compiles kept.
            once = growing.get(name, ["--steps", "1"])
            shipped = seconds(command(name, pictures, place / "a"), environment, stop_in=place / "a")
            shutil.rmtree(place / "cache")
            cold = seconds(command(name, pictures, place / "b", *once), environment)
            warm = seconds(command(name, pictures, place / "c", *once), environment)
        print(f"{name:20} {shipped:8.1f} {cold:8.1f} {warm:8.1f}", flush=True)


if __name__ == "__main__":
    main()
