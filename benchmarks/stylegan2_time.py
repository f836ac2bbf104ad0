"""Time of a training step of StyleGAN2 at 64x64, ours in the loop that users run, and PyTorch's, side by side.

    launch/local.sh python benchmarks/stylegan2_time.py [--device cuda]

PyTorch is in the extra `bench`; --device is its device, ours is JAX's default one.

Prints ms a step of configs/stylegan2_64.py, without augmentation, in jaxgan and in PyTorch (`torch_stylegan2`; eager,
and compiled where that works), with the ratio of ours to the faster of these; our compile time, and the FLOPs of the
compiled step. They take turns, several rounds of 16 steps, in which every lazy penalty has its turns; the fastest
round counts. Then ms of a modulated 3x3 convolution with its gradients inside a loop, in two forms: inputs and outputs
scaled around one convolution, as jaxgan has it, and a kernel an example as a grouped convolution.
"""

import argparse
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import convolution
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from step_time import ROUNDS

from jaxgan import config as cfg
from jaxgan.data import ArraySource
from jaxgan.models import conv, stylegan2
from jaxgan.run import build, parallel, programs

SHAPE = (64, 64, 3)
MODULATED = (16, 32, 32, 128)
Run = Callable[[], None]


def jax_run(config: cfg.Config, steps: int) -> tuple[float, float, Run]:
    """Returns seconds to compile, FLOPs of a step in which all penalties are due, and what runs steps in the loop."""
    images = np.random.default_rng(0).integers(0, 256, (1000, *SHAPE), np.uint8)
    source = ArraySource(images, None, config.batch_size, 0)
    plan = build.experiment(config, SHAPE, 0)
    game = plan.stages[0].game
    key = jax.random.key(0)
    placement = parallel.place()
    carried = [plan.initial_state(plan.stages[0], placement)]
    since = time.perf_counter()
    compiled: Any = programs.compile_steps(placement, game, source, carried[0], key, "fast")
    seconds = time.perf_counter() - since
    # Of a loop the compiler counts one turn, of a branch the dearer way.
    flops = compiled.cost_analysis()["flops"]
    resident = parallel.put_everywhere(placement, source.resident)
    items = parallel.put_items(placement, programs.gather_items(source, 0, steps))

    def run() -> None:
        carried[0], metrics = compiled(carried[0], resident, items, jnp.int32(steps), key)
        jax.block_until_ready(metrics)

    return seconds, flops, run


def torch_runs(config: cfg.Config, steps: int, device: str) -> dict[str, Run]:
    """The same in PyTorch, eager and compiled."""
    import torch
    import torch_device
    import torch_stylegan2

    torch_device.use(device)

    def make(compiled: bool) -> Run:
        torch.manual_seed(0)
        real = torch.rand(config.batch_size, SHAPE[2], *SHAPE[:2]) * 2 - 1
        real = real.contiguous(memory_format=torch.channels_last)
        step = torch_stylegan2.make_step(config, *torch_stylegan2.pair(config, SHAPE), compiled=compiled)

        def run() -> None:
            for _ in range(steps):
                step(real)
            torch_device.wait()

        return run

    return {"PyTorch eager": make(False), "PyTorch compiled": make(True)}


def fastest(runs: dict[str, Run]) -> dict[str, float]:
    """Seconds of each run's fastest round, after one that warms up; what fails in that is left out."""
    best = {}
    for label, run in list(runs.items()):
        try:
            run()  # PyTorch's compiler compiles here.
            best[label] = math.inf
        except Exception as error:
            print(f"  {label}: not available here ({type(error).__name__})")
    for _ in range(ROUNDS):
        for label in best:
            since = time.perf_counter()
            runs[label]()
            best[label] = min(best[label], time.perf_counter() - since)
    return best


def grouped(x: jax.Array, kernel: jax.Array, style: jax.Array) -> jax.Array:
    """The same by a kernel an example, the examples side by side as groups of channels."""
    count, height, width, channels = x.shape
    kernels = kernel[:, :, :, None] * style.T[:, :, None]  # [3, 3, C, N, D]
    kernels *= lax.rsqrt(jnp.sum(kernels**2, axis=(0, 1, 2)) + 1e-8)
    x = x.transpose(1, 2, 0, 3).reshape(1, height, width, count * channels)
    y = lax.conv_general_dilated(
        x,
        kernels.reshape(3, 3, channels, -1),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=count,
    )
    return y.reshape(height, width, count, -1).transpose(2, 0, 1, 3)


def modulated_seconds(form: Callable[..., jax.Array], repeats: int) -> float:
    """Seconds of a modulated convolution and its gradients for input, kernel and styles, inside a loop."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (MODULATED, (3, 3, MODULATED[3], MODULATED[3]), (MODULATED[0], MODULATED[3]))
    start = tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False))
    cotangent = jax.random.normal(keys[3], MODULATED)

    def step(carry: tuple) -> tuple:
        y, pullback = jax.vjp(form, *carry)
        # Everything depends on the turn before, and is used.
        gradients = pullback(cotangent + 1e-9 * y)
        return jax.tree.map(lambda value, slope: value + 1e-9 * slope, carry, gradients)

    return convolution.seconds(step, start, looped=True, repeats=repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="PyTorch's")
    device = parser.parse_args().device
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    config = dataclasses.replace(cfg.load("stylegan2_64")[1], augment=())
    steps = math.lcm(config.penalty_every, config.path_every)
    seconds, flops, loop = jax_run(config, steps)
    runs = {"jaxgan": loop}
    try:
        runs |= torch_runs(config, steps, device)
    except ImportError:
        print("PyTorch is not installed (the extra `bench`): no comparison")
    print(f"configs/stylegan2_64.py, batch {config.batch_size}: ours compiled in {seconds:.1f} s")
    print(f"  {flops / 1e9:.2f} GFLOP in a compiled step with all penalties")
    best = fastest(runs)
    for label, total in best.items():
        print(f"  {label:16} {total / steps * 1e3:8.1f} ms a step")
    theirs = [total for label, total in best.items() if label != "jaxgan"]
    if theirs and "jaxgan" in best:
        print(f"  ratio, jaxgan in the loop / PyTorch's best: {best['jaxgan'] / min(theirs):.2f}")
    print(f"\nmodulated 3x3 convolution {list(MODULATED)} -> {MODULATED[3]} and its gradients, in a loop:")
    for label, form, repeats in (("scaled", conv.compiled(stylegan2.modulated), 10), ("grouped", grouped, 1)):
        print(f"  {label:16} {modulated_seconds(form, repeats) * 1e3:8.1f} ms", flush=True)


if __name__ == "__main__":
    main()
