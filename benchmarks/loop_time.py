"""What a training costs beside its bare steps: logging, looks, checkpoints, progress, all at their shipped intervals.

    python benchmarks/loop_time.py [--config mnist_dcgan] [--steps 400] [--rounds 5]

The same compiled program, in the fast form, in turns: STEPS steps as `jaxgan train` does them, and STEPS bare steps in
dispatches of the same length. Compiling is not counted. Prints the median ratio and its range.
"""

import argparse
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from jaxgan import config as cfg
from jaxgan.models import conv
from jaxgan.run import build, parallel, programs, training
from jaxgan.run.experiment import Stage
from jaxgan.support.console import open_console


class Once(programs.Alone):
    """A program that is compiled once, and notes the lengths of its dispatches."""

    program: Any = None
    dispatches: ClassVar[list[int]] = []

    def compiled(self, stage: Stage, form: conv.Form, state: Any, foretell: Callable[[float], None]) -> Any:
        self.program = self.program or super().compiled(stage, form, state, foretell)
        return self.program

    def put_count(self, count: int) -> jax.Array:
        self.dispatches.append(count)
        return super().put_count(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnist_dcgan")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    config = dataclasses.replace(cfg.load(options.config)[1], quick_steps=0)
    source, place = build.source(config), parallel.place()
    plan = build.experiment(config, source.shape, source.classes, place.axis)
    stage, console = plan.stages[-1], open_console(quiet=True)
    program = Once(plan, source, place)
    state = plan.initial_state(stage, place)
    compiled = program.compiled(stage, "fast", state, lambda seconds: None)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        member = stack.enter_context(training.opened(Path(folder), plan, source, 0, None))
        ratios, looped, bare = [], [], []
        for turn in range(options.rounds + 1):  # The first warms up.
            begin = turn * options.steps
            member.experiment = dataclasses.replace(plan, steps=begin + options.steps)
            program.dispatches.clear()
            since = time.perf_counter()
            state = training.advance([member], program, state, console, [], lambda failed: None)
            looped.append(time.perf_counter() - since)
            other = jax.tree.map(jax.numpy.copy, state)
            items = [program.put([programs.gather_items(source, begin, count)]) for count in program.dispatches]
            counts = [parallel.put_everywhere(place, np.int32(count)) for count in program.dispatches]
            since = time.perf_counter()
            for own, count in zip(items, counts, strict=True):
                other, _ = compiled(other, own, count)
            jax.block_until_ready(other)
            bare.append(time.perf_counter() - since)
            ratios.append(looped[-1] / bare[-1])
    each = 1000 * np.median(bare[1:]) / options.steps
    found = np.array(ratios[1:])
    print(f"{options.config}: {each:.1f} ms a bare step; the loop {np.median(found):.3f} times as long", end=" ")
    print(f"({found.min():.3f} to {found.max():.3f}, {options.rounds} rounds of {options.steps} steps)")


if __name__ == "__main__":
    main()
