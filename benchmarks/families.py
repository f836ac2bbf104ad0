"""Which family of networks learns fastest on 2 cores: all on one folder of pictures, at equal time and at equal steps.

    launch/local.sh python benchmarks/families.py FOLDER --out DIRECTORY

Trains each config in a process of its own for the same processor time (compiling not counted, so that what else the
machine does counts little), with checkpoints, then measures Frechet distances (VGG16's relu5_3; `jaxgan evaluate`) at
the end and at the last step that all have reached. The same command again leaves out what is done; with more --minutes
it goes on. Samples of each at the end lie in DIRECTORY/NAME.png; look at them.
"""

import argparse
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import jax

from jaxgan import config as cfg
from jaxgan.evaluate import features, report
from jaxgan.latent import sampling
from jaxgan.run import checkpoint, directory, parallel, training
from jaxgan.support import images

FAMILIES = ("own_images", "biggan_32", "progressive_32", "msg_32", "stylegan2_32", "r3gan_32")
EVERY = 500  # Steps between checkpoints.


def spent(run: Path) -> float:
    """Processor seconds that a run has had."""
    noted = run.with_suffix(".seconds")
    return float(noted.read_text()) if noted.is_file() else 0


def train(name: str, folder: Path, run: Path, budget: float) -> None:
    """Trains in this process until a run has had a budget of processor seconds, without those of compiling."""
    began, busy, compile_steps = time.process_time() - spent(run), threading.Lock(), training.compile_steps

    def timed(*arguments: Any) -> Any:
        nonlocal began
        with busy:
            since = time.process_time()
            compiled = compile_steps(*arguments)
            began += time.process_time() - since
        return compiled

    def used() -> float:
        with busy:
            return time.process_time() - began

    def watch() -> None:
        while used() < budget:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    training.compile_steps = timed
    config = dataclasses.replace(cfg.load(name)[1], data=str(folder), size=32, steps=1_000_000, sample_every=1000)
    config = dataclasses.replace(config, checkpoint_every=EVERY, keep_every=EVERY)
    threading.Thread(target=watch, daemon=True).start()
    training.train(config, run, quiet=True)
    run.with_suffix(".seconds").write_text(f"{used():.0f}")


def at_step(run: Path, step: int) -> directory.Trained:
    """A run as it was at a step."""
    newest = directory.read(run)
    plan, place = newest.experiment, parallel.place(devices=jax.local_devices()[:1])
    state = checkpoint.restore_step(run, plan, plan.abstract_state(plan.stage_of(step), place), step)
    return directory.Trained(plan, state, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8, help="processor time of each")
    parser.add_argument("--only", nargs="*", default=FAMILIES, help="configs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for name in options.only:
        run = options.out / name
        if spent(run) < 60 * options.minutes:
            arguments = (name, options.folder.absolute(), run, 60 * options.minutes)
            process = multiprocessing.get_context("spawn").Process(target=train, args=arguments)
            process.start()
            process.join()
        seconds[name] = spent(run)
        print(f"{name}: {directory.read(run).state.step} steps in {seconds[name]:.0f} s", flush=True)
    steps = {name: checkpoint.steps(options.out / name) for name in options.only}
    common = min(found[-1] for found in steps.values()) // EVERY * EVERY
    vgg16, plan = features.vgg16(), report.Options(measures=("frechet",))
    print(f"Frechet distances in {vgg16.name}, smaller is better; {options.minutes:g} minutes of processor time each")
    print(f"{'config':16} {'steps':>6} {'steps/s':>8} {'at the end':>11} {'at step ' + str(common):>13}   floor")
    for name in options.only:
        trained = directory.read(options.out / name)
        step = int(trained.state.step)
        end, early = (
            report.judge_run(options.out / name, state, vgg16, plan).measures["frechet"]
            for state in (trained, at_step(options.out / name, common))
        )
        assert end is not None
        assert early is not None
        rate = step / seconds[name]
        print(f"{name:16} {step:6} {rate:8.2f} {end.value:11.1f} {early.value:13.1f}   {end.floor:.1f}", flush=True)
        sheet = sampling.fixed_sheet(trained.game, trained.state.ema, trained.classes, jax.random.key(0))
        images.save(options.out / f"{name}.png", sheet)


if __name__ == "__main__":
    main()
