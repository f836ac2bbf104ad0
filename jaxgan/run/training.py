"""The training loop: several steps a dispatch, logged, sampled, checkpointed, stopped cleanly, resumed exactly."""

import contextlib
import dataclasses
import functools
import math
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from rich.console import Console

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import Source, latents
from jaxgan.data.source import fetched
from jaxgan.run import build, checkpoint, directory, metrics, parallel, programs, recording, start
from jaxgan.run.experiment import Experiment, Stage
from jaxgan.run.recording import Look, Recorder
from jaxgan.support.console import open_console
from jaxgan.support.errors import NonFiniteError
from jaxgan.support.files import in_one_line
from jaxgan.support.progress import TrainingProgress, compiling
from jaxgan.support.stopping import catch_stop

if TYPE_CHECKING:
    from jaxgan.evaluate.report import Watch

FEW = 100  # Pictures: with fewer, one has to be warned.
DISPATCH_SECONDS = 0.5  # Aim for the length of a dispatch: short enough for a lively screen and a prompt stop.


def train(
    config: cfg.Config,
    run: Path,
    quiet: bool = False,
    placement: parallel.Placement | None = None,
    profile: tuple[int, int] | None = None,
    source: Source | None = None,
    on_look: Callable[[Look], None] | None = None,
    closing: bool = True,
) -> bool:
    """Trains a run from where it stands (its newest checkpoint, or the beginning) to the end.

    Ctrl-C and SIGTERM end it cleanly after the dispatch under way, with a checkpoint; while pictures are converted, at
    once. Of several processes any one may get the signal, and all stop at the same step.

    Args:
        config: the experiment.
        run: its directory, made if missing; of several processes all see the same one.
        quiet: show nothing but the closing line.
        placement: on which devices, and how; all of them by `jit` if None.
        profile: (first, last): write a profiler's trace of these steps to the run's directory.
        source: the data, where they are not what the config names.
        on_look: called at every look at samples, in the first process.
        closing: whether to show that line.

    Returns:
        Whether it is at its end; False where a signal stopped it before.

    Raises:
        UserError: the directory belongs to another config or another process, or cannot be written, or the batch does
            not divide evenly on the devices.
        NonFiniteError: a metric became NaN or infinite; the last good checkpoint stays.
    """
    placement = placement or parallel.place()
    first = parallel.is_first()
    console = open_console(quiet or not first)
    lock = directory.lock(run) if first else contextlib.nullcontext()
    with lock, catch_stop() as stop, parallel.lost_processes():
        experiment, source = prepared(run, config, placement, source)
        if 0 < source.count < FEW:
            console.print(
                f"note: only {source.count} pictures: the generator may learn them by heart; look at neighbours.png",
                soft_wrap=True,
            )
        program = programs.Alone(experiment, source, placement)
        restored = restore(run, experiment, placement, console)
        begins = bool(experiment.start) and restored is None
        if restored:
            state = restored.state
        elif begins:
            state, said = start.begin(run, experiment, placement)
            console.print(f"{run}: {said}", soft_wrap=True)
        else:
            state = experiment.initial_state(experiment.stages[0], placement)
        going = int(state.step) < experiment.steps
        watch = recording.watch(experiment, source, console) if first and going else None
        if first:
            directory.write_config(run, experiment.config)
        record = restored and restored.record
        with opened(run, experiment, source, int(state.step), record, watch=watch) as member:
            member.on_look = on_look
            if begins:  # From now on it needs only itself.
                member.saver.save(state)
            if int(state.step) >= experiment.steps and not member.early:
                console.print(f"{run} is at step {state.step}: finished. Raise --steps to go on.", soft_wrap=True)
            state = advance([member], program, state, console, stop, _raise, profile)
            if member.recorder:
                member.recorder.finish()
                _close(member, console, int(state.step), closing)
            early = member.early
        # What the first process does last may take longer than the others would wait for it at their exit.
        parallel.barrier("the record is written")
    return early or int(state.step) >= experiment.steps


def prepared(
    run: Path, config: cfg.Config, placement: parallel.Placement, source: Source | None = None
) -> tuple[Experiment, Source]:
    """A run's experiment and its data, after it has been checked that they are what it began with.

    Args:
        run: its directory.
        config: the config to go on with.
        placement: on which devices.
        source: the data, where they are open already.

    Raises:
        UserError: as `train`.
    """
    config = directory.as_begun(run, config)
    directory.check_config(run, config)
    source = source or build.source(config, placement.part)
    directory.check_data(run, source, build.shown(config))
    experiment = build.experiment(config, source.shape, source.classes, placement.axis)
    held = latents.of(source)
    experiment = build.decoding(experiment, held.autoencoder if held and parallel.is_first() else None)
    for stage in experiment.stages:
        game = stage.game
        parallel.check_batch(placement, stage.batch_size // game.discriminator_updates, game.accumulate, stage.group)
    return experiment, source


@dataclasses.dataclass
class Trainee:
    """A run in a loop: a training has one, a sweep several.

    Attributes:
        run: its directory.
        experiment: what it is made of.
        recorder: writes what it leaves behind; None in processes other than the first.
        saver: its checkpoints.
        best: its best checkpoint; None where it keeps none.
        together: names of all members of the program, where it is not alone in it.
        early: whether so many looks in a row were no better than the best that there is no use in going on.
        failed: why it cannot go on.
        on_look: told of every look.
    """

    run: Path
    experiment: Experiment
    recorder: Recorder | None
    saver: checkpoint.Saver
    best: checkpoint.Saver | None
    together: tuple[str, ...]
    early: bool = False
    failed: NonFiniteError | None = None
    on_look: Callable[[Look], None] | None = None

    @property
    def over(self) -> bool:
        """Whether it is left behind by those that go on."""
        return self.early or self.failed is not None

    def note(self, step: int, collected: dict[str, np.ndarray]) -> None:
        """Writes down the metrics [steps] of the steps after `step`, if all are finite."""
        try:
            metrics.check_finite(step + 1, collected, self.experiment.precision)
        except NonFiniteError as error:
            self.failed = error
            return
        if self.recorder:
            self.recorder.write(step, collected)

    def keep(self, step: int, state: Callable[[], train_step.TrainState], shown: Callable[[], Any], stop: bool) -> None:
        """Looks at samples and saves, where it is time for that, and at the end.

        Args:
            step: the steps done.
            state: gives its state.
            shown: gives what a look needs of it: variables of the averaged generator and of the discriminator.
            stop: whether this is where the loop stops.
        """
        plan = self.experiment
        if plan.is_looked_at(step):
            variables = shown()
            if self.recorder:
                look = self.recorder.look(plan.stage_of(step).game, step, *variables)
                if self.on_look and look:
                    self.on_look(look)
            if self.best:
                improved = self.recorder is not None and self.recorder.improved
                if parallel.largest(np.array([improved], np.float32))[0]:
                    self.best.save(state(), self.recorder and self.recorder.best_record())
            self.judge()
        saves = step % plan.checkpoint_every == 0 or step == plan.steps or stop or self.early
        if self.recorder and (saves or plan.is_looked_at(step)):
            self.recorder.tick(step)
        if saves:
            record = self.recorder and {**self.recorder.mark(), "together": list(self.together)}
            self.saver.save(state(), record)

    def judge(self) -> None:
        """Finds out, together with the other processes, whether it ends early."""
        if self.experiment.best and self.experiment.patience:
            since = self.recorder.since if self.recorder else 0
            late = np.array([since >= self.experiment.patience], np.float32)
            self.early = bool(parallel.largest(late)[0])


@contextlib.contextmanager
def opened(
    run: Path,
    experiment: Experiment,
    source: Source,
    step: int,
    record: dict[str, Any] | None,
    together: tuple[str, ...] = (),
    watch: "Watch | None" = None,
) -> Iterator[Trainee]:
    """Opens all that a run writes, at a step, with the record that its checkpoint holds.

    See `Trainee.together` and `recording.watch`.
    """
    with in_one_line(run, "written"), contextlib.ExitStack() as stack:
        recorder, share = None, 1 / max(1, len(together))
        if parallel.is_first():
            recorder = stack.enter_context(Recorder(run, experiment, source, step, record, watch, share))
        saver = stack.enter_context(checkpoint.open_for_saving(run, experiment))
        best = stack.enter_context(checkpoint.open_best(run, experiment)) if experiment.best else None
        member = Trainee(run, experiment, recorder, saver, best, together)
        member.judge()
        yield member


def advance(
    members: Sequence[Trainee],
    program: programs.Program,
    state: Any,
    console: Console,
    stop: list[int],
    failed: Callable[[Trainee], None],
    profile: tuple[int, int] | None = None,
) -> Any:
    """Trains members that share a program and a step, through all stages, until the end or until `stop` is filled.

    Args:
        members: the runs.
        program: on the devices.
        state: of all of them; donated.
        console: where to show progress.
        stop: signals caught in this process; any process's stop all.
        failed: told of each member whose metrics stopped being finite; unless it raises, the others go on.
        profile: (first, last): steps to write a profiler's trace of.

    Returns:
        The state reached, which is saved.
    """
    plan, step, stopped = members[0].experiment, int(state.step), False
    while step < plan.steps and not stopped and not all(member.over for member in members):
        stage = plan.stage_after(step)
        if stage is not plan.stage_of(step):
            state = program.grown(stage, state)
            side = stage.game.generator.side  # pyright: ignore[reportAttributeAccessIssue]
            console.print(f"step {step}: the pictures grow to {side} x {side}", soft_wrap=True)
        state, stopped = _stretch(members, program, stage, state, console, stop, failed, profile)
        step = int(state.step)
    return state


def _stretch(
    members: Sequence[Trainee],
    program: programs.Program,
    stage: Stage,
    state: Any,
    console: Console,
    stop: list[int],
    failed: Callable[[Trainee], None],
    profile: tuple[int, int] | None,
) -> tuple[Any, bool]:
    """As `advance`, as far as one compiled program goes; also returns whether to stop."""
    plan, step = members[0].experiment, int(state.step)
    form, until = plan.form(program.platform, step)
    sources = program.sources(stage)
    with compiling(console, form) as foretell:
        compiled = program.compiled(stage, form, state, foretell)
    fetching, room = [fetched(source, step, until) for source in sources], programs.capacity(sources[0])
    stopped, seconds_a_step = False, math.inf  # Not known yet: the first dispatch is one step.
    images = len(members) * stage.batch_size // stage.game.discriminator_updates

    def following(step: int) -> tuple[int, Any, jax.Array]:
        """How many steps to take from here in one dispatch, and what has to travel for them."""
        count = next_count(plan, step, seconds_a_step, room, (until, *(profile or ())))
        items = program.put([programs.stack_items(items, count, room) for items in fetching])
        return count, items, program.put_count(count)

    # Nothing travels unseen: what should is put there by name.
    with (
        TrainingProgress(console, step, plan.steps, images) as progress,
        jax.transfer_guard("disallow"),
        contextlib.ExitStack() as profiler,
    ):
        ready = following(step)
        while step < until and not stopped and not all(member.over for member in members):
            count, items, counted = ready
            if profile and step == profile[0]:
                profiler.enter_context(jax.profiler.trace(members[0].run / "profile"))
            since = time.perf_counter()
            state, collected = compiled(state, items, counted)
            if step + count < until:
                ready = following(step + count)  # Travels while the devices work.
            everyone = {name: values.reshape(len(members), -1) for name, values in jax.device_get(collected).items()}
            collected = {name: values[:, :count] for name, values in everyone.items()}
            # Processes must agree on how long the next dispatch is, and on whether there is one.
            mine = np.array([bool(stop), (time.perf_counter() - since) / count], np.float32)
            stopped, seconds_a_step = map(float, parallel.largest(mine))
            with jax.transfer_guard("allow"):
                _after(members, program, state, step, collected, bool(stopped), failed)
            step += count
            _show(members, progress, step, collected)
            if profile and step == profile[1]:
                profiler.close()
    return state, bool(stopped)


def _after(
    members: Sequence[Trainee],
    program: programs.Program,
    state: Any,
    step: int,
    collected: dict[str, np.ndarray],
    stop: bool,
    failed: Callable[[Trainee], None],
) -> None:
    """Does what is due after a dispatch, for each member that is not over.

    Args:
        members: the runs.
        program: theirs.
        state: after the dispatch.
        step: before it.
        collected: its metrics [members, steps].
        stop: whether the loop stops here.
        failed: see `advance`.
    """
    for index, member in enumerate(members):
        if member.over:
            continue
        own = {name: values[index] for name, values in collected.items()}
        with in_one_line(member.run, "written"):
            member.note(step, own)
            if member.failed:
                failed(member)
                continue
            of, shown = functools.partial(program.member, state, index), functools.partial(program.shown, state, index)
            member.keep(step + len(next(iter(own.values()))), of, shown, stop)


def _show(members: Sequence[Trainee], progress: TrainingProgress, step: int, collected: dict[str, np.ndarray]) -> None:
    """Moves progress on: one run's losses and diagnosis, or the medians of several and how many are healthy."""
    going = [index for index, member in enumerate(members) if not member.failed]
    if not going:
        return
    last = {name: float(np.median(values[going, -1])) for name, values in collected.items()}
    states = [recorder.diagnosis.state for index in going if (recorder := members[index].recorder)]
    words = (states or [""])[0] if len(members) == 1 else f"{states.count('healthy')} of {len(members)} healthy"
    measured = [recorder for index in going if (recorder := members[index].recorder) and recorder.seconds is not None]
    if measured:
        frechet = float(np.median([recorder.history.last["evaluate/frechet"] for recorder in measured]))
        words += f", frechet {frechet:.4g} (measured in {sum(recorder.seconds or 0 for recorder in measured):.1f} s)"
    progress.update(step, last, words)
    if members[0].experiment.is_looked_at(step):
        progress.milestone(step, last, words)


def _raise(member: Trainee) -> None:
    kept = checkpoint.steps(member.run)
    again = shlex.join(["jaxgan", "train", str(member.run), "--from", str(member.run), "--out", f"{member.run}_2"])
    where = "No checkpoint was made yet."
    if kept:
        where = f"The last good checkpoint is step {kept[-1]}; what you try begins there with: {again}"
    raise NonFiniteError(f"{member.run}: {member.failed} {where}") from None


def _close(member: Trainee, console: Console, step: int, closing: bool) -> None:
    """Says how a training ended, and in which state, and if `closing` where its files are."""
    run, plan, recorder = member.run, member.experiment, member.recorder
    assert recorder is not None
    console.print(f"{recorder.diagnosis}", soft_wrap=True)
    if recorder.nearest:
        console.print(f"{recorder.nearest} ({run}/neighbours.png).", soft_wrap=True)
    if recorder.kept:
        console.print(f"The best {plan.best} was at step {recorder.kept[0]}, kept in {run}/best.", soft_wrap=True)
    if not closing:
        return
    if member.early:
        print(f"Stopped early at step {step}: {plan.best} has not been better for {plan.patience} looks.")
    elif step >= plan.steps:
        names = ("samples/", "samples.gif", "losses.png", "metrics.jsonl", "checkpoints/")
        there = ", ".join(name for name in names if (run / name).exists())  # One look makes no samples.gif.
        print(f"Done, {step} steps: {run}/ has {there}.")
    else:
        again = shlex.join(["jaxgan", "train", str(run)])
        print(f"Stopped at step {step} of {plan.steps}, saved. Go on with: {again}")


def next_count(plan: Experiment, step: int, seconds_a_step: float, room: int, edges: Iterable[int] = ()) -> int:
    """How many steps to take in one dispatch: about half a second's, and up to the next thing to do after a step."""
    return min(
        max(1, int(DISPATCH_SECONDS / seconds_a_step)),
        room,
        *(
            interval - step % interval
            for interval in (plan.sample_every, plan.evaluate_every, plan.checkpoint_every)
            if interval
        ),
        *(edge - step for edge in (plan.steps, *edges) if edge > step),
    )


def restore(
    run: Path, experiment: Experiment, placement: parallel.Placement, console: Console
) -> checkpoint.Restored | None:
    """Where a run goes on: its newest checkpoint that is whole. Damaged ones are set aside, and said.

    Args:
        run: its directory.
        experiment: what it is made of.
        placement: on which devices.
        console: where to say so.

    Returns:
        None where it has not begun.

    Raises:
        UserError: as `checkpoint.restore`.
    """

    def abstract(step: int) -> train_step.TrainState:
        return experiment.abstract_state(experiment.stage_of(step), placement)

    restored = checkpoint.restore(run, experiment, abstract)
    parallel.barrier("every process has read the checkpoints")
    if restored is None:
        return None
    if parallel.is_first():
        for damaged in restored.damaged:
            aside = checkpoint.set_aside(damaged)
            console.print(f"{damaged}; set aside as {aside.name}", soft_wrap=True)
    parallel.barrier("what cannot be read is out of the way")
    console.print(f"resuming {run} from step {int(restored.state.step)}", soft_wrap=True)
    old, now = restored.versions, checkpoint.versions()
    changed = [f"{name} {old.get(name)}, now {now[name]}" for name in now if old.get(name) != now[name]]
    if changed:
        console.print(f"note: made with {'; '.join(changed)}: the last digits may differ", soft_wrap=True)
    return restored
