"""What it costs to be placed, to be looked at, and to be many.

launch/local.sh python benchmarks/scale.py --overhead    (pmap and shard_map beside jit, the loop beside its steps)
launch/local.sh python benchmarks/scale.py --model       (predicted scaling on pods: the table of docs/scale.md)
launch/local.sh python benchmarks/scale.py --weak        (simulated processes: shows that it works, not its speed)
"""

import contextlib
import dataclasses
import io
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if "--model" in sys.argv:
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"  # To see what the compiler makes of several devices.

import jax
import numpy as np
import step_time

from jaxgan import config as cfg
from jaxgan.data import ArraySource
from jaxgan.run import build, parallel, training

ROUNDS, STEPS = 5, 250


def placed(config: cfg.Config, source: Any, placement: parallel.Placement) -> Any:
    """A function that runs STEPS steps and waits for them."""
    plan = build.experiment(config, source.shape, source.classes, placement.axis)
    game = plan.stages[0].game
    state = [plan.initial_state(plan.stages[0], placement)]
    key = parallel.key(placement, 0)
    compiled = training.compile_steps(placement, game, source, state[0], key)
    resident = parallel.put_everywhere(placement, source.resident)
    items = parallel.put_items(placement, training.gather_items(source, 0, STEPS))
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


@dataclasses.dataclass(frozen=True)
class Machine:
    """An accelerator: peak bf16 FLOP/s, bytes/s out of a chip to its neighbours, seconds a hop, torus dimensions."""

    flops: float
    bandwidth: float
    hop: float
    torus: int


# Peaks and bandwidths: Cloud TPU's pages on v4, v5e and v5p (half of "bidirectional inter-chip bandwidth"), NVIDIA's
# H100 SXM data sheet (dense bf16; half of NVLink's 900 GB/s). A hop of 1 us: jax-ml's "How to scale your model"; 10 us
# for a small NCCL all-reduce among 8 GPUs is our assumption.
MACHINES = {
    "v4": Machine(275e12, 150e9, 1e-6, 3),
    "v5e": Machine(197e12, 200e9, 1e-6, 2),
    "v5p": Machine(459e12, 600e9, 1e-6, 3),
    "H100": Machine(989e12, 450e9, 5e-6, 0),
}
SIZES = {"v4": (8, 32, 128, 256), "v5e": (8, 32, 128, 256), "v5p": (8, 32, 128, 256), "H100": (8,)}
UTILISATION = 0.3  # Assumed share of the peak that convolutions of this size reach.


def all_reduce(machine: Machine, chips: int, count: int, size: float) -> float:
    """Seconds of `count` all-reduces of `size` bytes together.

    2 (N - 1) / N of the bytes leave every chip; each all-reduce goes there and back over half of every ring.
    """
    side = chips ** (1 / machine.torus) if machine.torus else 2
    hops = 2 * max(machine.torus, 1) * side / 2
    return 2 * (chips - 1) / chips * size / machine.bandwidth + count * hops * machine.hop


def all_reduces(config: cfg.Config, shape: tuple[int, int, int], kind: parallel.Kind) -> tuple[int, float]:
    """All-reduces of a step as compiled for 8 devices: how many, and their bytes together."""
    source = ArraySource(np.zeros((config.batch_size, *shape), np.uint8), None, config.batch_size, 0)
    placement = parallel.place(kind)
    plan = build.experiment(config, shape, 0, placement.axis)
    game, state = plan.stages[0].game, plan.abstract_state(plan.stages[0], placement)
    # The step stands in the loop's body, once.
    compiled: Any = training.compile_steps(placement, game, source, state, parallel.key(placement, 0))
    count, size = 0, 0
    for line in (compiled.as_text() or "").splitlines():
        found = re.search(r"= (\(?.*?\)?) all-reduce(?:-start)?\(", line)
        if found:
            count += 1
            for numbers in re.findall(r"f32\[([\d,]*)\]", found[1]):
                size += 4 * math.prod(int(number) for number in numbers.split(",") if number)
        assert not re.search(r" (all-gather|all-to-all)(-start)?\(", line), line
    return count, size


def stylegan2(size: int) -> tuple[float, float]:
    """Parameters of both networks, and FLOPs of a step an example: arXiv 1912.04958, config F, unregularised."""
    channels = {2**k: min(512, 2**15 // 2**k) for k in range(2, 11)}
    generator, judge = 8 * 512**2 + 16 * 512 + 9 * 512**2, 9 * 513 * 512 + 512 * 16 * 512
    parameters, layers_g, layers_d = generator + judge, 9 * 512**2 * 16, 9 * 513 * 512 * 16
    for side in (2**k for k in range(3, size.bit_length())):
        wide, narrow = channels[side // 2], channels[side]
        up, same, down, skip = 9 * wide * narrow, 9 * narrow**2, 9 * narrow * wide, narrow * wide
        parameters += up + same + 512 * (wide + 2 * narrow) + same + down + skip  # With the styles' affine maps.
        layers_g += (up * (side // 2) ** 2) + same * side**2 + 3 * narrow * side**2
        layers_d += same * side**2 + (down + skip) * (side // 2) ** 2
    # Generator: forward, gradients of inputs and of kernels. Discriminator: the same for real and fake examples, and
    # forward and gradients of inputs for the generator.
    return parameters, 2 * (3 * layers_g + 8 * layers_d)


def model() -> None:
    config, shape = cfg.Config(batch_size=64), (64, 64, 3)
    by_compiler = all_reduces(config, shape, "jit")
    print(f"jit's compiler, for CPUs: {by_compiler[0]} all-reduces of {by_compiler[1] / 1e6:.1f} MB a step")
    parameters, flops = stylegan2(256)
    dcgan_flops = step_time.textbook_gflop(config, shape) * 1e9 / config.batch_size
    pairs = {
        "DCGAN 64 x 64": (*all_reduces(config, shape, "shard_map"), dcgan_flops, 64),
        "StyleGAN2 256 x 256": (2, 4 * parameters, flops, 8),
    }
    for name, (count, size, flops, examples) in pairs.items():
        print(f"{name}: {count} all-reduces of {size / 1e6:.1f} MB a step, {flops / 1e9:.2f} GFLOP an example,")
        print(f"  {examples} examples a chip; efficiency on so many chips:")
        print(f"  {'':6}" + "".join(f"{chips:>8}" for chips in SIZES["v4"]))
        for kind, machine in MACHINES.items():
            row, compute = "", examples * flops / (machine.flops * UTILISATION)
            for chips in SIZES[kind]:
                row += f"{compute / (compute + all_reduce(machine, chips, count, size)):8.0%}"
            print(f"  {kind:6}{row}   compute {compute * 1e3:.2f} ms a step")


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
    for name, function in {"--overhead": overhead, "--model": model, "--weak": weak}.items():
        if name in sys.argv:
            function()
            break
    else:
        print(__doc__)
