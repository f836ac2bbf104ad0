"""`jaxgan train CONFIG --dry-run`: what a training would be, here or on accelerators that are not here."""

import functools
import math
import os
from pathlib import Path
from typing import Literal

from jaxgan import config as cfg
from jaxgan.cli.show import size


def show(config: cfg.Config) -> None:
    """Shows a config, shapes, parameters, and what a step takes on one device."""
    import jax

    from jaxgan import train_step
    from jaxgan.models import conv
    from jaxgan.run import build, networks, parallel, start

    source = build.source(config) if config.data else build.stand_in(config)
    plan = build.experiment(config, source.shape, source.classes)
    placement = parallel.place(devices=jax.devices()[:1])
    state = plan.abstract_state(plan.stages[-1], placement)
    if plan.start:
        found = start.read(Path(plan.start))
        print(start.said(found, networks.transplant(found, state)[1]))
    batch = jax.eval_shape(source.batch, source.resident, source[0])
    print(cfg.to_json(config), end="")
    for name, leaf in batch.items():
        print(f"batch {name}: {leaf.dtype} {list(leaf.shape)}")
    for name, player in (("generator", state.generator), ("discriminator", state.discriminator)):
        print(f"{name}: {size(player.params):,} parameters")
        for path, leaf in jax.tree_util.tree_leaves_with_path(player.params):
            print(f"  {jax.tree_util.keystr(path, simple=True, separator='/'):32} {list(leaf.shape)}")
    # Convolutions as accelerators run them: by the textbook's arithmetic.
    step = jax.jit(conv.compiled(train_step.train_step, platform="tpu"), static_argnums=0, donate_argnums=1)
    compiled = step.lower(plan.stages[-1].game, state, batch, jax.random.key(0)).compile()
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    print(f"a step: {cost.get('flops', 0) / 1e9:.2f} GFLOP")
    if memory is not None:
        kept, extra = memory.argument_size_in_bytes / 2**20, memory.temp_size_in_bytes / 2**20
        print(f"memory: {kept:.0f} MiB of state and batch, {extra:.0f} MiB more during a step")
    if jax.default_backend() == "cpu":
        print("Training on CPU takes fewer FLOPs and more memory, by Winograd's algorithm.")
        if plan.change is not None and math.isfinite(plan.change):
            print(f"Convolutions are quick to compile up to step {plan.change}, then compiled again to be fast to run.")


def compile_for(
    config: cfg.Config, name: str, kind: Literal["jit", "shard_map", "pmap"], model: int, quiet: bool
) -> None:
    """Shows what the compiler of accelerators that are not here says of a training.

    Args:
        config: the experiment.
        name: of the accelerators, see `targets.parse`.
        kind: how the step is put on them.
        model: devices over which large parameters are split.
        quiet: show no progress.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's own warnings; before JAX is imported.
    from jaxgan.run import targets
    from jaxgan.support.console import open_console
    from jaxgan.support.progress import waiting

    console = open_console(quiet, stderr=True)
    for report in targets.reports(config, targets.parse(name), kind, model, functools.partial(waiting, console)):
        print(targets.text(report), flush=True)
