"""Which family of networks learns fastest on 2 cores: all on one folder of pictures, at equal time and at equal steps.

    launch/local.sh python benchmarks/families.py FOLDER --out DIRECTORY

Trains each config in a process of its own for the same processor time (compiling not counted, so that what else the
machine does counts little), with checkpoints, then measures Frechet distances (VGG16's relu5_3; `jaxgan evaluate`) at the
end and at the last step that all have reached. The same command again goes on where it stopped. Samples of each at
the end lie in DIRECTORY/NAME.png; look at them.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax

from jaxgan import build, checkpoint, growth, parallel, sampling
from jaxgan import run as runs
from jaxgan.evaluate import frechet
from jaxgan.evaluate.run import judge
from jaxgan.monitor import images

FAMILIES = ("own_images", "biggan_32", "progressive_32", "msg_32", "stylegan2_32", "r3gan_32")
EVERY = 500  # Steps between checkpoints.


def processor_seconds(process: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def train(name: str, folder: Path, run: Path, budget: float) -> float:
    """Trains until the budget of processor seconds is used up; returns what was used."""
    note = run.with_suffix(".seconds")
    if note.is_file():
        return float(note.read_text())
    command = [sys.executable, "-m", "jaxgan", "train", name, f"--data={folder}", "--size=32", f"--out={run}"]
    command += ["--steps=1000000", f"--checkpoint-every={EVERY}", f"--keep-every={EVERY}", "--sample-every=1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    lines, began, at_last = run / "metrics.jsonl", 0.0, 0.0
    while process.poll() is None:
        time.sleep(0.5)
        used = processor_seconds(process.pid)
        if not began and lines.is_file() and lines.stat().st_size:
            began = used
        at_last = used - began if began else 0.0
        if at_last >= budget:
            process.send_signal(signal.SIGTERM)
            process.wait()
    if at_last < budget:
        raise SystemExit(f"{name}: ended by itself after {at_last:.0f} s; see {run}")
    note.write_text(f"{at_last:.0f}")
    return at_last


def at_step(run: Path, step: int) -> runs.Trained:
    """A run as it was at a step."""
    newest = runs.read(run)
    game = build.game(newest.config, newest.shape, newest.classes, stage=growth.stage_of(newest.config, step))
    place = parallel.place(devices=jax.local_devices()[:1])
    abstract = runs.abstract_state(newest.config, game, newest.shape, newest.classes, place)
    state = checkpoint.restore_step(run, newest.config, abstract, step)
    return runs.Trained(newest.config, game, state, newest.shape, newest.classes, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12, help="processor time of each, minutes")
    parser.add_argument("--only", nargs="*", default=FAMILIES, help="configs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for name in options.only:
        seconds[name] = train(name, options.folder, options.out / name, 60 * options.minutes)
        print(f"{name}: {runs.read(options.out / name).state.step} steps", flush=True)
    steps = {name: checkpoint.steps(options.out / name) for name in options.only}
    common = min(found[-1] for found in steps.values()) // EVERY * EVERY
    print(
        f"Frechet distances in {frechet._LAYER}, smaller is better; {options.minutes:g} minutes of processor time each"
    )
    print(f"{'config':16} {'steps':>6} {'steps/s':>8} {'at the end':>11} {'at step ' + str(common):>13}   floor")
    for name in options.only:
        trained = runs.read(options.out / name)
        step = int(trained.state.step)
        end, early = judge(trained, 5000, 1), judge(at_step(options.out / name, common), 5000, 1)
        rate = step / seconds[name]
        print(
            f"{name:16} {step:6} {rate:8.2f} {end.distance:11.1f} {early.distance:13.1f}   {end.floor:.1f}", flush=True
        )
        sheet = sampling.fixed_sheet(trained.game, trained.state.ema, trained.classes, jax.random.key(0))
        images.save(options.out / f"{name}.png", sheet)


if __name__ == "__main__":
    main()
