"""The training loop: several steps a dispatch, logged, sampled, checkpointed, stopped cleanly, resumed exactly."""

import contextlib
import dataclasses
import functools
import itertools
import math
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import Source
from jaxgan.data.source import fetched, item_bytes
from jaxgan.models import conv
from jaxgan.run import build, checkpoint, directory, growth, metrics, parallel
from jaxgan.run.recording import Recorder
from jaxgan.support.errors import NonFiniteError
from jaxgan.support.progress import TrainingProgress, compiling

CAPACITY = 256  # Steps a dispatch at the most: room for the metrics, and for
CAPACITY_BYTES = 2**24  # what travels to the device.
FEW = 100  # Pictures: with fewer, one has to be warned.
DISPATCH_SECONDS = 0.5  # Aim for the length of a dispatch: short enough for a lively screen and a prompt stop.


@dataclasses.dataclass(frozen=True)
class _Job:
    """What stays the same while a stage of a run trains."""

    config: cfg.Config
    run: Path
    placement: parallel.Placement
    game: train_step.Game
    source: Source
    key: jax.Array
    profile: tuple[int, int] | None
    console: Console


def train(
    config: cfg.Config,
    run: Path,
    quiet: bool = False,
    placement: parallel.Placement | None = None,
    profile: tuple[int, int] | None = None,
) -> bool:
    """Trains a run from where it stands (its newest checkpoint, or the beginning) to `config.steps`.

    Ctrl-C and SIGTERM end it cleanly after the dispatch under way, with a checkpoint. Of several processes any one may
    get the signal, and all stop at the same step.

    Args:
        config: the experiment.
        run: its directory, made if missing; of several processes all see the same one.
        quiet: show nothing but the closing line.
        placement: on which devices, and how; all of them by `jit` if None.
        profile: (first, last): write a profiler's trace of these steps to the run's directory.

    Returns:
        Whether it is at `config.steps`; False where a signal stopped it before.

    Raises:
        UserError: the directory belongs to another config or another process, or cannot be written, or the batch does
            not divide evenly on the devices.
        NonFiniteError: a metric became NaN or infinite; the last good checkpoint stays.
    """
    placement = placement or parallel.place()
    stages = [growth.at(config, stage) for stage in range(len(config.grow) + 1)]
    for stage in stages:
        parallel.check_batch(placement, stage.batch_size, stage.accumulate)
    first = parallel.is_first()
    console = Console(quiet=quiet or not first, highlight=False)
    lock = directory.lock(run) if first else contextlib.nullcontext()
    with lock, catch_stop() as stop, parallel.lost_processes():
        config = directory.as_begun(run, config)
        directory.check_config(run, config)
        source = build.source(config, placement.part)
        directory.check_data(run, source)
        if 0 < source.count < FEW:
            console.print(
                f"note: only {source.count} pictures: the generator may learn them by heart; look at neighbours.png",
                soft_wrap=True,
            )

        @functools.cache
        def job(stage: int) -> _Job:
            game = build.game(config, source.shape, source.classes, placement.axis, stage)
            data = source.replace(batch_size=stages[stage].batch_size * config.discriminator_updates)
            key = parallel.key(placement, config.seed)
            return _Job(stages[stage], run, placement, game, data, key, profile, console)

        restored = _restore(config, job)
        if restored:
            state, mark = restored.state, restored.record
        else:
            state, mark = directory.initial_state(config, job(0).game, source, placement), None
        if first:
            directory.write_config(run, config)
        step = int(state.step)
        with Recorder(run, config, source, step, mark) if first else contextlib.nullcontext() as recorder:
            early = _early(config, recorder)
            if not early and step < config.steps:
                keeping = checkpoint.open_best(run, config) if config.best else contextlib.nullcontext()
                with checkpoint.open_for_saving(run, config) as saver, keeping as best:
                    stopped = False
                    while step < config.steps and not stopped:
                        here = job(growth.stage(config, step))
                        if growth.stage(config, step) > growth.stage_of(config, step):
                            state = _grown(here, state)
                        form, until = form_of(config, placement.platform, step)
                        state, stopped = _loop(here, form, until, state, saver, best, recorder, stop)
                        step = int(state.step)
                early = _early(config, recorder)
            elif not early:
                console.print(f"{run} is at step {step}: finished. Raise --steps to go on.", soft_wrap=True)
            if recorder:
                recorder.finish()
                _close(config, run, console, recorder, step, early)
    return early or step >= config.steps


def _grown(job: _Job, state: train_step.TrainState) -> train_step.TrainState:
    """The state, taken to a stage of progressive growing."""
    new = directory.initial_state(job.config, job.game, job.source, job.placement)
    side = job.game.generator.side  # pyright: ignore[reportAttributeAccessIssue]
    job.console.print(f"step {int(state.step)}: the pictures grow to {side} x {side}", soft_wrap=True)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, new)
    return jax.jit(growth.grow, out_shardings=shardings)(state, new)


def _early(config: cfg.Config, recorder: Recorder | None) -> bool:
    """Whether so many looks in a row were no better than the best that there is no use in going on."""
    since = recorder.since if recorder and config.best else 0
    return bool(config.patience) and bool(parallel.largest(np.array([since >= config.patience], np.float32))[0])


def _close(config: cfg.Config, run: Path, console: Console, recorder: Recorder, step: int, early: bool) -> None:
    """Says how a training ended, and in which state."""
    console.print(f"{recorder.diagnosis}", soft_wrap=True)
    if recorder.nearest:
        console.print(f"{recorder.nearest} ({run}/neighbours.png).", soft_wrap=True)
    if recorder.kept:
        console.print(f"The best {config.best} was at step {recorder.kept[0]}, kept in {run}/best.", soft_wrap=True)
    if early:
        print(f"Stopped early at step {step}: {config.best} has not been better for {config.patience} looks.")
    elif step >= config.steps:
        print(f"Done, {step} steps: {run}/ has samples/, samples.gif, losses.png, metrics.jsonl, checkpoints/.")
    else:
        again = shlex.join(["jaxgan", "train", str(run)])
        print(f"Stopped at step {step} of {config.steps}, saved. Go on with: {again}")


def run_steps(
    game: train_step.Game, source: Source, state: train_step.TrainState, resident: Any, items: Any, count: Any, key: Any
) -> tuple[train_step.TrainState, train_step.Metrics]:
    """Runs `count` steps, in one program however many they are.

    The number is an argument, not a shape: one compiled program serves every interval, so that how a run is cut into
    dispatches (or stopped and resumed) cannot change a bit of it.

    Args:
        game: static.
        source: static; its arrays come as `resident`.
        state: the state before.
        resident: the source's arrays.
        items: what the source sends for each step, arrays [capacity, N, ...] of which `count` are used.
        count: int32 scalar.
        key: PRNG key of the run.

    Returns:
        The state after, and the metrics of each step, arrays [capacity] of which `count` are filled.
    """
    # jit for its cache: the step is traced once, though it is asked for its metrics' names, too.
    train = jax.jit(functools.partial(train_step.train_step, game), inline=True)

    def step(index: jax.Array, carry: Any) -> Any:
        state, collected = carry
        batch = source.batch(resident, jax.tree.map(lambda array: array[index], items))
        state, new = train(state, batch, key)
        return state, jax.tree.map(lambda array, value: array.at[index].set(value), collected, new)

    room = jax.tree.leaves(items)[0].shape[0]
    item = jax.tree.map(lambda array: array[0], items)
    names = jax.eval_shape(lambda: train(state, source.batch(resident, item), key)[1])
    collected = jax.tree.map(lambda leaf: jnp.zeros(room, leaf.dtype), names)
    return jax.lax.fori_loop(0, count, step, (state, collected))


def capacity(source: Source) -> int:
    """How many steps a dispatch has room for."""
    return max(1, min(CAPACITY, CAPACITY_BYTES // item_bytes(source)))


def next_count(config: cfg.Config, step: int, seconds_a_step: float, room: int, edges: Iterable[int] = ()) -> int:
    """How many steps to take in one dispatch: about half a second's, and up to the next thing to do after a step."""
    return min(
        max(1, int(DISPATCH_SECONDS / seconds_a_step)),
        room,
        *(interval - step % interval for interval in (config.sample_every, config.checkpoint_every)),
        *(edge - step for edge in (config.steps, *edges) if edge > step),
    )


def gather_items(source: Source, step: int, count: int) -> Any:
    """What travels for `count` steps from `step` on, padded to as many as a dispatch has room for."""
    return stack_items(map(source.__getitem__, range(step, step + count)), count, capacity(source))


def stack_items(items: Iterator[Any], count: int, room: int) -> Any:
    """The next `count` items, padded to `room`."""

    def pad(*arrays: np.ndarray) -> np.ndarray:
        padded = np.zeros((room, *arrays[0].shape), arrays[0].dtype)
        for place, array in enumerate(arrays):
            padded[place] = array
        return padded

    return jax.tree.map(pad, *itertools.islice(items, count))


def change_of(config: cfg.Config, platform: str) -> float:
    """The step at which convolutions change over from the quick form to the fast one; infinite where they do not.

    A function of the config and the platform alone, so that a run which is stopped or extended has the forms of one
    that is not. Where pictures grow, only the last size runs for long enough to change over.
    """
    same = config.precision != "float32" or config.generator.kind == config.discriminator.kind == "mlp"
    if platform != "cpu" or same or config.quick_steps is None:
        return math.inf
    return (config.grow[-1] if config.grow else 0) + config.quick_steps


def form_of(config: cfg.Config, platform: str, step: int) -> tuple[conv.Form, int]:
    """The form of convolutions in the steps after `step`, and until which step."""
    end, change = growth.end(config, growth.stage(config, step)), change_of(config, platform)
    if config.quick_steps is None and platform == "cpu":
        return "everywhere", end
    return ("fast", end) if step >= change else ("quick", int(min(end, change)))


def compile_steps(
    placement: parallel.Placement,
    game: train_step.Game,
    source: Source,
    state: train_step.TrainState,
    key: jax.Array,
    form: conv.Form = "quick",
    foretell: Callable[[float], None] | None = None,
) -> parallel.Loop:
    """Compiles `run_steps` once for a placement: `compiled(state, resident, items, count, key)`."""
    items = parallel.put_items(placement, gather_items(source, 0, 1))
    loop = functools.partial(run_steps, game, source)
    return parallel.compile_loop(placement, loop, state, source.resident, items, key, form, foretell)


def _loop(
    job: _Job,
    form: conv.Form,
    until: int,
    state: train_step.TrainState,
    saver: checkpoint.Saver,
    best: checkpoint.Saver | None,
    recorder: Recorder | None,
    stop: list[int],
) -> tuple[train_step.TrainState, bool]:
    """Runs steps of a stage, in one form of convolutions, up to `until` or until `stop` is filled in any process.

    Returns:
        The state reached, which is saved where it is the run's last; and whether to stop.
    """
    config, source, place = job.config, job.source, job.placement
    step = int(state.step)
    with compiling(job.console, form) as foretell:
        compiled = compile_steps(place, job.game, source, state, job.key, form, foretell)
    resident = parallel.put_everywhere(place, source.resident)
    fetching, room = fetched(source, step, until), capacity(source)
    stopped, seconds_a_step = False, math.inf  # Not known yet: the first dispatch is one step.

    def plan(step: int) -> tuple[int, Any, jax.Array]:
        """How many steps to take from here in one dispatch, and what has to travel for them."""
        count = next_count(config, step, seconds_a_step, room, (until, *(job.profile or ())))
        items = parallel.put_items(place, stack_items(fetching, count, room))
        return count, items, parallel.put_everywhere(place, np.int32(count))

    # Nothing travels unseen: what should is put there by name.
    with (
        TrainingProgress(job.console, step, config.steps, config.batch_size) as progress,
        jax.transfer_guard("disallow"),
        contextlib.ExitStack() as profiler,
    ):
        following = plan(step)
        while step < until and not stopped:
            count, items, counted = following
            if job.profile and step == job.profile[0]:
                profiler.enter_context(jax.profiler.trace(job.run / "profile"))
            since = time.perf_counter()
            state, collected = compiled(state, resident, items, counted, job.key)
            if step + count < until:
                following = plan(step + count)  # Travels while the devices work.
            collected = {name: values[:count] for name, values in jax.device_get(collected).items()}
            # Processes must agree on how long the next dispatch is, and on whether there is one.
            mine = np.array([bool(stop), (time.perf_counter() - since) / count], np.float32)
            stopped, seconds_a_step = map(float, parallel.largest(mine))
            try:
                metrics.check_finite(step + 1, collected, config.precision)
            except NonFiniteError as error:
                kept = checkpoint.steps(job.run)
                where = f"The last good checkpoint is step {kept[-1]}." if kept else "No checkpoint was made yet."
                raise NonFiniteError(f"{job.run}: {error} {where}") from None
            if recorder:
                recorder.write(step, collected)
            step += count
            last = {name: float(values[-1]) for name, values in collected.items()}
            progress.update(step, last, recorder.diagnosis.state if recorder else "")
            with jax.transfer_guard("allow"):
                if step % config.sample_every == 0 or step == config.steps:
                    drawn = state.discriminator.variables if len(source.shape) == 1 else {}  # Only of points.
                    variables = parallel.local(place, (state.ema, drawn))
                    if recorder:
                        recorder.look(job.game, step, *variables)
                        progress.milestone(step, last, recorder.diagnosis.state)
                    if best:
                        improved = recorder is not None and recorder.improved
                        if parallel.largest(np.array([improved], np.float32))[0]:
                            best.save(state, recorder.best_record() if recorder else None)
                        stopped = stopped or _early(config, recorder)
                if step % config.checkpoint_every == 0 or step == config.steps or stopped:
                    saver.save(state, recorder.mark() if recorder else None)
            if job.profile and step == job.profile[1]:
                profiler.close()
    return state, bool(stopped)


def _restore(config: cfg.Config, job_of: Callable[[int], _Job]) -> checkpoint.Restored | None:
    job = job_of(0)

    def abstract(step: int) -> train_step.TrainState:
        job = job_of(growth.stage_of(config, step))
        return directory.abstract_state(config, job.game, job.source.shape, job.source.classes, job.placement)

    restored = checkpoint.restore(job.run, config, abstract)
    parallel.barrier("every process has read the checkpoints")
    if restored is None:
        return None
    if parallel.is_first():
        for path in restored.unreadable:
            aside = path.rename(path.with_name(f"{path.name}.unreadable"))
            job.console.print(f"{path} cannot be read (truncated?); set aside as {aside.name}", soft_wrap=True)
    parallel.barrier("what cannot be read is out of the way")
    job.console.print(f"resuming {job.run} from step {int(restored.state.step)}", soft_wrap=True)
    old, now = restored.versions, checkpoint.versions()
    changed = [f"{name} {old.get(name)}, now {now[name]}" for name in now if old.get(name) != now[name]]
    if changed:
        job.console.print(f"note: made with {'; '.join(changed)}: the last digits may differ", soft_wrap=True)
    return restored


@contextlib.contextmanager
def catch_stop() -> Iterator[list[int]]:
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
