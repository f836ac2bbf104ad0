"""Sweeps: one experiment with many seeds and values, trained together in one compiled program.

Members that differ in seed and in `TRACED` fields run in one program: side by side (`vmap`) where both networks are
fully connected, one after another inside it (`lax.map`) where they are convolutional, for several kernels at once make
grouped convolutions, which are slow. Several devices share the members. What shapes a program (a width, a loss) is a
group of its own. Every member has the directory of an ordinary run, in which it can be sampled, shown, and trained on.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import Source
from jaxgan.models import conv
from jaxgan.run import build, checkpoint, directory, parallel, programs, recording, summary, training
from jaxgan.run.experiment import Experiment, Stage
from jaxgan.support.console import open_console
from jaxgan.support.errors import NonFiniteError, UserError
from jaxgan.support.files import is_file, read_text, write_atomically
from jaxgan.support.stopping import catch_stop

if TYPE_CHECKING:
    from jaxgan.evaluate.report import Watch

TRACED = {
    *(f"{player}.{name}" for player in ("generator", "discriminator") for name in ("learning_rate", "beta1", "beta2")),
    *("r1", "r2", "gradient_penalty", "dragan", "drift", "consistency", "instance_noise", "noisy_labels", "ema_decay"),
    "path_length",
}
"""Fields that may differ within one program."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        values: what distinguishes it from others of its seed, as "generator.learning_rate=0.0001".
        config: its config.
        run: its directory.
    """

    values: str
    config: cfg.Config
    run: Path


Standing = tuple[Member, Experiment, checkpoint.Restored | None]
"""A member, what it is made of, and the checkpoint that it stands at."""


def members(config: cfg.Config, seeds: int, vary: Mapping[str, Sequence[Any]], out: Path) -> list[Member]:
    """All members: every combination of values, each with every seed from `config.seed` on.

    Raises:
        UserError: a field or a value is not one of a config's, or two members would be the same.
    """
    if "seed" in vary:
        raise UserError(
            "--vary seed: every combination has seeds of its own; say how many with --seeds, from --seed on"
        )
    found: list[Member] = []
    for combination in itertools.product(*vary.values()):
        changes = dict(zip(vary, combination, strict=True))
        varied = cfg.replaced(config, changes)
        values = ",".join(f"{name}={value}" for name, value in changes.items())
        for seed in range(config.seed, config.seed + seeds):
            name = f"{values},seed={seed}" if values else f"seed={seed}"
            found.append(Member(values, dataclasses.replace(varied, seed=seed), out / name.replace("/", "_")))
    known: dict[str | Path, Member] = {}
    for member in found:
        for what in (member.run, cfg.to_json(member.config)):
            if what in known:
                names = f"{known[what].run.name} and {member.run.name}"
                raise UserError(f"--vary: {names} are the same run; leave one out")
            known[what] = member
    return found


def sweep(config: cfg.Config, seeds: int, vary: Mapping[str, Sequence[Any]], out: Path, quiet: bool = False) -> bool:
    """Trains all members of a sweep, each from where it stands, and writes a table and a plot of them.

    A member that failed before is left as it is.

    Args:
        config: what the members have in common.
        seeds: how many, from `config.seed` on.
        vary: for each varied field ("generator.learning_rate") its values.
        out: the sweep's directory.
        quiet: show nothing but the table.

    Returns:
        Whether all that did not fail are at their end; False where a signal stopped them before.

    Raises:
        UserError: as `members`, the runs grow, or a directory belongs to another config or another process.
        NonFiniteError: all failed.
    """
    everyone = [
        dataclasses.replace(member, config=directory.as_begun(member.run, member.config))
        for member in members(config, seeds, vary, out)
    ]
    if any(member.config.grow for member in everyone):
        raise UserError("grow: a sweep trains runs of one size together; train those that grow one by one")
    if any(member.config.start for member in everyone):
        raise UserError("--from: a sweep begins with new networks; train runs that begin with others' one by one")
    groups: dict[str, list[Member]] = {}
    for member in everyone:
        groups.setdefault(signature(member.config), []).append(member)
    console = open_console(quiet)
    console.print(f"{len(everyone)} runs in {len(groups)} program{'s'[: len(groups) > 1]}: {out}", soft_wrap=True)
    with contextlib.ExitStack() as stack:
        for path in (out, *(member.run for member in everyone)):
            stack.enter_context(directory.lock(path))
        stop, finished = stack.enter_context(catch_stop()), True
        for group in groups.values():
            finished = finished and _train_group(group, console, stop)
    print(summary.write(out, [(member.values, member.run) for member in everyone]), end="")
    print(f"{out}/ has table.md, sweep.png, and the directory of each run.")
    if all(_failed(member.run) for member in everyone):
        raise NonFiniteError(f"{out}: all runs failed; {everyone[0].run}: {_failed(everyone[0].run)}")
    return finished


def signature(config: cfg.Config) -> str:
    """What two members must share to run in one program: all but the seed and the size of weights that are used."""
    for name in TRACED:
        config = cfg.replaced_unchecked(config, name, bool(cfg.value(config, name)))
    return cfg.to_json(dataclasses.replace(config, seed=0))


def _failed(run: Path) -> str:
    """Why a member failed; nothing where it did not."""
    path = run / "failed"
    return read_text(path).strip() if is_file(path) else ""


def _abreast(runs: list[Path]) -> None:
    """Takes members back by one save where a kill came before others, trained together with them, had saved, too.

    A program of fewer members rounds differently: bit for bit they go on together only.
    """
    kept = {run: checkpoint.steps(run) for run in runs if not _failed(run)}
    for run, steps in kept.items():
        with_it = (checkpoint.record(run) or {}).get("together", [])
        before = steps[-2] if len(steps) > 1 else 0
        others = [kept[other] for name in with_it if (other := run.with_name(name)) in kept]
        if steps and any((other or [0])[-1] == before for other in others):
            shutil.rmtree(checkpoint.folder(run) / str(steps[-1]))


def _train_group(group: list[Member], console: Console, stop: list[int]) -> bool:
    """Trains members that could share a program; those at one step do. Returns whether they reached the end."""
    source = build.source(group[0].config)
    place = parallel.place(devices=jax.devices()[:1])
    together: dict[int, list[Standing]] = {}
    watch = None  # One for all: they are measured against the same pictures.
    _abreast([member.run for member in group])
    for member in group:
        experiment, _ = training.prepared(member.run, member.config, place, source)
        watch = watch or recording.watch(experiment, source, console)
        directory.write_config(member.run, member.config)
        if why := _failed(member.run):
            console.print(
                f"{member.run}: failed before ({why}) Delete {member.run}/failed to try again.", soft_wrap=True
            )
            continue
        restored = training.restore(member.run, experiment, place, console)
        step = int(restored.state.step) if restored else 0
        if step >= experiment.steps:
            console.print(f"{member.run}: at step {step}: finished.", soft_wrap=True)
            continue
        together.setdefault(step, []).append((member, experiment, restored))
    return all(not stop and _train(standing, source, console, stop, watch) for standing in together.values())


def _train(
    standing: list[Standing],
    source: Source,
    console: Console,
    stop: list[int],
    watch: "Watch | None",
) -> bool:
    """Trains members that share a program and a step; returns whether they reached the end."""
    since = time.perf_counter()
    members, experiments, restored = zip(*standing, strict=True)
    program = Program(experiments, source)
    states = [found.state for found in restored if found]
    state = program.gathered(states) if states else program.initial()
    own = program.sources(experiments[0].stages[0])
    step = int(state.step)

    def fails(trainee: training.Trainee) -> None:
        write_atomically(trainee.run / "failed", f"{trainee.failed}\n")
        console.print(f"{trainee.run}: {trainee.failed} The others go on.", soft_wrap=True)

    together = tuple(member.run.name for member in members)
    with contextlib.ExitStack() as stack:
        trainees = [
            stack.enter_context(
                training.opened(member.run, experiment, own, step, found and found.record, together, watch)
            )
            for member, experiment, own, found in zip(members, experiments, own, restored, strict=True)
        ]
        state = training.advance(trainees, program, state, console, stop, fails)
        for trainee in trainees:
            if trainee.recorder and not trainee.failed:
                trainee.recorder.finish()
    seconds, name = time.perf_counter() - since, members[0].values or "seeds"
    each = f"{seconds / len(members):.0f} s a run"
    console.print(f"{name}: {len(members)} runs to step {int(state.step)} in {seconds:.0f} s, {each}", soft_wrap=True)
    return int(state.step) >= experiments[0].steps or all(trainee.over for trainee in trainees)


class Program:
    """The compiled loop of several members: a `programs.Program`.

    Attributes:
        platform: that of the devices.
    """

    def __init__(self, experiments: Sequence[Experiment], source: Source) -> None:
        plan = experiments[0]
        self._plan, self._sources = plan, [source.replace(seed=each.seed) for each in experiments]
        configs = [each.config for each in experiments]
        self._side_by_side = configs[0].generator.kind == configs[0].discriminator.kind == "mlp"
        devices = jax.devices()[: math.gcd(len(configs), len(jax.devices()))]
        self._mesh = Mesh(np.array(devices), ("member",))
        self._everywhere, self._each = (NamedSharding(self._mesh, spec) for spec in (P(), P("member")))
        self.platform = devices[0].platform
        differing = [name for name in sorted(TRACED) if len({cfg.value(config, name) for config in configs}) > 1]
        values = {name: np.array([cfg.value(config, name) for config in configs], np.float32) for name in differing}
        seeds = np.array([each.seed for each in experiments], np.uint32)
        self._values, self._seeds = jax.device_put((values, seeds), self._each)
        self._resident = jax.device_put(source.resident, self._everywhere)

    def sources(self, stage: Stage) -> list[Source]:
        return [source.replace(batch_size=stage.batch_size) for source in self._sources]

    def initial(self) -> train_step.TrainState:
        """The members' states before the first step, stacked; they share the step."""
        start = jax.vmap(functools.partial(self._plan.init, self._plan.stages[0]), out_axes=self._axes())
        return jax.jit(start, out_shardings=self._shardings())(self._seeds)

    def gathered(self, states: Sequence[train_step.TrainState]) -> train_step.TrainState:
        """The members' states, stacked: the opposite of `member`."""
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(states))
        stacked = dataclasses.replace(stacked, step=np.asarray(states[0].step))
        return jax.jit(lambda state: state, out_shardings=self._shardings())(stacked)

    def compiled(self, stage: Stage, form: conv.Form, state: Any, foretell: Callable[[float], None]) -> Any:
        program = jax.jit(
            conv.compiled(self._spread(functools.partial(self._steps, self.sources(stage)[0])), form, self.platform),
            donate_argnums=0,
            in_shardings=(self._shardings(), self._each, self._each, self._each, self._everywhere, self._everywhere),
            out_shardings=(self._shardings(), self._each),
        )
        items = self.put([programs.gather_items(source, 0, 1) for source in self.sources(stage)])
        arguments = (state, self._values, self._seeds, items, self._resident, self.put_count(1))
        steps = parallel.compile_ahead(program, arguments, foretell)
        return lambda state, items, count: steps(state, self._values, self._seeds, items, self._resident, count)

    def put(self, items: list[Any]) -> Any:
        return jax.device_put(jax.tree.map(lambda *arrays: np.stack(arrays), *items), self._each)

    def put_count(self, count: int) -> jax.Array:
        return jax.device_put(np.int32(count), self._everywhere)

    def shown(self, state: Any, index: int) -> tuple[Any, Any]:
        own = self.member(state, index)
        return own.ema, own.discriminator.variables

    def grown(self, stage: Stage, state: Any) -> Any:
        raise NotImplementedError("a sweep's members do not grow")

    def member(self, state: Any, index: int) -> train_step.TrainState:
        """One member's state."""
        own = jax.tree.map(lambda leaf: leaf[index], dataclasses.replace(state, step=None))
        return dataclasses.replace(own, step=state.step)

    def _steps(self, source: Source, state: Any, values: Any, seeds: Any, items: Any, resident: Any, count: Any) -> Any:
        def alone(state: Any, values: Any, seed: Any, items: Any) -> Any:
            game = self._plan.varied(values)
            return programs.run_steps(game, source, state, resident, items, count, jax.random.key(seed))

        if self._side_by_side:
            axes = self._axes()
            return jax.vmap(alone, (axes, 0, 0, 0), (axes, 0))(state, values, seeds, items)

        def one(member: Any) -> Any:
            own, values, seed, items = member
            after, collected = alone(dataclasses.replace(own, step=state.step), values, seed, items)
            return dataclasses.replace(after, step=None), after.step, collected

        after, step, collected = jax.lax.map(one, (dataclasses.replace(state, step=None), values, seeds, items))
        return dataclasses.replace(after, step=step[0]), collected

    def _spread(self, steps: Any) -> Any:
        """Gives each device its share of the members."""
        if self._mesh.size == 1:
            return steps
        state = self._alike(P(), P("member"))
        return jax.shard_map(
            steps,
            mesh=self._mesh,
            in_specs=(state, P("member"), P("member"), P("member"), P(), P()),
            out_specs=(state, P("member")),
            check_vma=False,
        )

    def _shardings(self) -> Any:
        return self._alike(self._everywhere, self._each)

    def _axes(self) -> Any:
        # The step is the same for all, and stays a scalar, so that a branch on it stays a branch.
        return self._alike(None, 0)

    @staticmethod
    def _alike(step: Any, rest: Any) -> Any:
        """A state that holds one thing for the step, and another for each of the other fields."""
        fields: Any = {field.name: rest for field in dataclasses.fields(train_step.TrainState)}
        return train_step.TrainState(**fields | {"step": step})
