"""The training loop: several steps a dispatch, logged, sampled, checkpointed, stopped cleanly, resumed exactly."""

import contextlib
import functools
import math
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxgan import build, checkpoint, sampling, train_step
from jaxgan import config as cfg
from jaxgan import run as runs
from jaxgan.data import Source
from jaxgan.errors import NonFiniteError, UserError
from jaxgan.monitor import images, metrics, plots
from jaxgan.monitor.progress import TrainingProgress

CAPACITY = 256  # Steps a dispatch at the most: room for what travels to the device and for the metrics.
DISPATCH_SECONDS = 0.5  # Aim for the length of a dispatch: short enough for a lively screen and a prompt stop.


def train(config: cfg.Config, run: Path, quiet: bool = False) -> None:
    """Trains a run from where it stands (its newest checkpoint, or the beginning) to `config.steps`.

    Ctrl-C and SIGTERM end it cleanly after the dispatch under way, with a checkpoint.

    Args:
        config: the experiment.
        run: its directory, made if missing.
        quiet: show nothing but the closing line.

    Raises:
        UserError: the directory belongs to another config or another process, or cannot be written.
        NonFiniteError: a metric became NaN or infinite; the last good checkpoint stays.
    """
    console = Console(quiet=quiet, highlight=False)
    with runs.lock(run), _catch_stop() as stop:
        if runs.is_run(run):
            changed = cfg.differences(runs.read_config(run), config)
            if changed:
                raise UserError(
                    f"{run}: made by another config: {', '.join(changed)}; choose another --out, or delete it"
                )
        source = build.source(config)
        game = build.game(config, source.shape, source.classes)
        key = jax.random.key(config.seed)
        state = _restore(config, run, game, source, console)
        if state is None:
            state = start(game, source, key)
        runs.write_config(run, config)
        step = int(state.step)
        if step < config.steps:
            with (
                checkpoint.open_for_saving(run, config) as saver,
                metrics.MetricsWriter(run, step) as writer,
            ):
                step = _loop(config, run, game, source, key, state, saver, writer, stop, console)
        else:
            console.print(f"{run} is at step {step}: finished. Raise --steps to go on.", soft_wrap=True)
        plots.plot_losses(run)
    again = shlex.join(["jaxgan", "train", str(run)])
    if step < config.steps:
        print(f"Stopped at step {step} of {config.steps}, saved. Go on with: {again}")
    else:
        print(f"Done, {step} steps: {run}/ has samples/, losses.png, metrics.jsonl, checkpoints/.")


def start(game: train_step.Game, source: Source, key: jax.Array) -> train_step.TrainState:
    """The state before the first step, made on the device in one program."""

    @jax.jit
    def init(resident: Any, item: Any) -> train_step.TrainState:
        return train_step.init(game, source.batch(resident, item), key)

    return init(source.resident, source[0])


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def run_steps(
    game: train_step.Game,
    source: Source,
    state: train_step.TrainState,
    resident: Any,
    items: Any,
    count: jax.Array,
    key: jax.Array,
) -> tuple[train_step.TrainState, train_step.Metrics]:
    """Runs `count` steps in one dispatch.

    The number is an argument, not a shape: one compiled program serves every interval, so that how a run is cut into
    dispatches (or stopped and resumed) cannot change a bit of it.

    Args:
        game: static.
        source: static; its arrays come as `resident`.
        state: donated.
        resident: the source's arrays.
        items: what the source sends for each step, arrays [CAPACITY, ...] of which `count` are used.
        count: int32 scalar.
        key: PRNG key of the run.

    Returns:
        The state after, and the metrics of each step, arrays [CAPACITY] of which `count` are filled.
    """

    def step(index: jax.Array, carry: Any) -> Any:
        state, collected = carry
        batch = source.batch(resident, jax.tree.map(lambda array: array[index], items))
        state, new = train_step.train_step(game, state, batch, key)
        return state, jax.tree.map(lambda array, value: array.at[index].set(value), collected, new)

    room = jax.tree.leaves(items)[0].shape[0]
    item = jax.tree.map(lambda array: array[0], items)
    names = jax.eval_shape(lambda: train_step.train_step(game, state, source.batch(resident, item), key)[1])
    collected = jax.tree.map(lambda _: jnp.zeros(room), names)
    return jax.lax.fori_loop(0, count, step, (state, collected))


def gather_items(source: Source, step: int, count: int) -> Any:
    """What travels for `count` steps from `step` on, padded to CAPACITY steps."""
    items = [source[step + index] for index in range(count)]
    return jax.tree.map(
        lambda *arrays: np.concatenate(
            [np.stack(arrays), np.zeros((CAPACITY - count, *arrays[0].shape), arrays[0].dtype)]
        ),
        *items,
    )


def compile_steps(game: train_step.Game, source: Source, state: train_step.TrainState, key: jax.Array) -> Any:
    """Compiles `run_steps` once, ahead of time: `compiled(state, resident, items, count, key)`."""
    items = gather_items(source, 0, 1)
    return run_steps.lower(game, source, state, source.resident, items, jnp.int32(1), key).compile()


def _loop(
    config: cfg.Config,
    run: Path,
    game: train_step.Game,
    source: Source,
    key: jax.Array,
    state: train_step.TrainState,
    saver: checkpoint.Saver,
    writer: metrics.MetricsWriter,
    stop: list[int],
    console: Console,
) -> int:
    """Runs to `config.steps` or until `stop` is filled; returns the step reached, which is saved."""
    step = int(state.step)
    with console.status("compiling the training step"):
        compiled = compile_steps(game, source, state, key)
    resident = jax.device_put(source.resident)
    seconds_a_step = math.inf  # Not known yet: the first dispatch is one step.
    with TrainingProgress(console, step, config.steps, config.batch_size) as progress:
        while step < config.steps and not stop:
            count = min(
                max(1, int(DISPATCH_SECONDS / seconds_a_step)),
                CAPACITY,
                *(interval - step % interval for interval in (config.sample_every, config.checkpoint_every)),
                config.steps - step,
            )
            since = time.perf_counter()
            state, collected = compiled(state, resident, gather_items(source, step, count), jnp.int32(count), key)
            collected = {name: values[:count] for name, values in jax.device_get(collected).items()}
            seconds_a_step = (time.perf_counter() - since) / count
            try:
                metrics.check_finite(step + 1, collected)
            except NonFiniteError as error:
                kept = checkpoint.steps(run)
                where = f"The last good checkpoint is step {kept[-1]}." if kept else "No checkpoint was made yet."
                raise NonFiniteError(f"{run}: {error} {where}") from None
            for index in range(count):
                if (step + index + 1) % config.log_every == 0:
                    line = {name: float(values[index]) for name, values in collected.items()}
                    writer.write(step + index + 1, line)
            step += count
            last = {name: float(values[-1]) for name, values in collected.items()}
            progress.update(step, last)
            if step % config.sample_every == 0 or step == config.steps:
                sheet = sampling.fixed_sheet(game, state, source.classes, key)
                images.save(run / "samples" / f"{step:06}.png", sheet)
                writer.write_image(step, "samples", sheet)
                progress.milestone(step, last)
            if step % config.checkpoint_every == 0:
                writer.flush()
                saver.save(state)
        writer.flush()
        saver.save(state)
    return step


def _restore(
    config: cfg.Config, run: Path, game: train_step.Game, source: Source, console: Console
) -> train_step.TrainState | None:
    restored = checkpoint.restore(run, config, runs.abstract_state(config, game, source))
    if restored is None:
        return None
    step = int(restored.state.step)
    for path in restored.unreadable:
        aside = path.rename(path.with_name(f"{path.name}.unreadable"))
        console.print(f"{path} cannot be read (truncated?); set aside as {aside.name}", soft_wrap=True)
    console.print(f"resuming {run} from step {step}", soft_wrap=True)
    old, now = restored.versions, checkpoint.versions()
    changed = [f"{name} {old.get(name)}, now {now[name]}" for name in now if old.get(name) != now[name]]
    if changed:
        console.print(f"note: made with {'; '.join(changed)}: the last digits may differ", soft_wrap=True)
    return restored.state


@contextlib.contextmanager
def _catch_stop() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list instead of letting them interrupt; a second SIGINT interrupts."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
