"""What it costs to be placed, to be looked at, and to be many; accelerators.py asks their compilers.

launch/local.sh python benchmarks/scale.py --overhead    (pmap and shard_map beside jit, the loop beside its steps)
launch/local.sh python benchmarks/scale.py --weak        (simulated processes: shows that it works, not its speed)
"""

import contextlib
import dataclasses
import io
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import config as cfg
from jaxgan.run import build, parallel, programs, training

ROUNDS, STEPS = 5, 250


def placed(config: cfg.Config, source: Any, placement: parallel.Placement) -> Any:
    """A function that runs STEPS steps and waits for them."""
    plan = build.experiment(config, source.shape, source.classes, placement.axis)
    game = plan.stages[0].game
    state = [plan.initial_state(plan.stages[0], placement)]
    key = parallel.key(placement, 0)
    compiled = programs.compile_steps(placement, game, source, state[0], key)
    resident = parallel.put_everywhere(placement, source.resident)
    items = parallel.put_items(placement, programs.gather_items(source, 0, STEPS))
    count = parallel.put_everywhere(placement, np.int32(STEPS))

    def run() -> None:
        state[0], metrics = compiled(state[0], resident, items, count, key)
        jax.block_until_ready(metrics)

    return run


class Stopwatch(training.TrainingProgress):
    """Progress that tells how long the loop took."""

    seconds = math.nan

    def __enter__(self) -> "Stopwatch":
        self.since = time.perf_counter()
        super().__enter__()
        return self

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        Stopwatch.seconds = time.perf_counter() - self.since


def overhead() -> None:
    config = dataclasses.replace(cfg.load("mnist_dcgan")[1], steps=STEPS * 4)
    source = build.source(config)
    runners = {kind: placed(config, source, parallel.place(kind)) for kind in ("jit", "pmap", "shard_map")}
    for run in runners.values():  # Compiles and warms up.
        run()

    def time_of(run: Callable[[], None]) -> float:
        since = time.perf_counter()
        run()
        return (time.perf_counter() - since) / STEPS

    print("mnist_dcgan on one device, ms a step; they take turns, and the median round counts:")
    found: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            found[name].append(time_of(run))
    base = statistics.median(found["jit"])
    for name, seconds in found.items():
        print(f"  {name:10} {statistics.median(seconds) * 1e3:6.2f}, {statistics.median(seconds) / base:.3f} of jit")

    training.TrainingProgress = Stopwatch
    bare, whole = [], []
    for _ in range(ROUNDS):
        bare += [time_of(runners["jit"]) for _ in range(2)]
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            training.train(config, Path(folder) / "run", quiet=True)
        whole.append(Stopwatch.seconds / config.steps)
        bare += [time_of(runners["jit"]) for _ in range(2)]
    ratio = statistics.median(whole) / statistics.median(bare)
    print(f"the loop with metrics, samples and checkpoints, {config.steps} steps: {statistics.median(whole) * 1e3:.2f}")
    print(f"its steps alone: {statistics.median(bare) * 1e3:.2f}, ratio {ratio:.3f}")


def weak() -> None:
    script = Path(__file__).parents[1] / "launch" / "multiprocess.sh"
    print("simulated processes of one device each on this machine, 64 examples a process, mnist_dcgan without R1:")
    base = math.nan
    for processes in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            flags = [f"--batch-size={64 * processes}", "--r1=0", "--log-every=1", f"--out={folder}/run"]
            seconds: list[float] = []
            more = 400 // processes
            for steps in (2, 40, 40 + more):  # The first compiles; the difference of the others leaves out the start.
                since = time.perf_counter()
                command = [script, str(processes), "1", "mnist_dcgan", *flags, f"--steps={steps}"]
                subprocess.run(command, check=True, capture_output=True)
                seconds.append(time.perf_counter() - since)
        pace = (seconds[2] - seconds[1]) / more
        base = pace if processes == 1 else base
        print(f"  {processes} processes: {pace * 1e3:.0f} ms a step, {pace / base:.2f} of one's")


if __name__ == "__main__":
    for name, function in {"--overhead": overhead, "--weak": weak}.items():
        if name in sys.argv:
            function()
            break
    else:
        print(__doc__)
