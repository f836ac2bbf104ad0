"""Sweeps: one experiment with many seeds and values, trained together in one compiled program.

Members that differ in seed and in `TRACED` fields run in one program: side by side (`vmap`) where both networks are
fully connected, one after another inside it (`lax.map`) where they are convolutional, for several kernels at once make
grouped convolutions, which are slow. Several devices share the members. What shapes a program (a width, a loss) is a
group of its own. Every member has the directory of an ordinary run, in which it can be sampled, shown, and trained on.
"""

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from rich.console import Console

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import Source
from jaxgan.data.source import fetched
from jaxgan.models import conv
from jaxgan.run import build, checkpoint, directory, metrics, parallel, summary, training
from jaxgan.run.recording import Recorder
from jaxgan.support.errors import NonFiniteError, UserError
from jaxgan.support.progress import TrainingProgress

TRACED = {
    *(f"{player}.{name}" for player in ("generator", "discriminator") for name in ("learning_rate", "beta1", "beta2")),
    *("r1", "r2", "gradient_penalty", "dragan", "consistency", "instance_noise", "noisy_labels", "ema_decay"),
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


def members(config: cfg.Config, seeds: int, vary: Mapping[str, Sequence[Any]], out: Path) -> list[Member]:
    """All members: every combination of values, each with every seed from `config.seed` on.

    Raises:
        UserError: a field or a value is not one of a config's.
    """
    found = []
    for combination in itertools.product(*vary.values()):
        varied = config
        for name, value in zip(vary, combination, strict=True):
            varied = cfg.replaced(varied, name, value)
        values = ",".join(f"{name}={value}" for name, value in zip(vary, combination, strict=True))
        for seed in range(config.seed, config.seed + seeds):
            name = f"{values},seed={seed}" if values else f"seed={seed}"
            found.append(Member(values, dataclasses.replace(varied, seed=seed), out / name.replace("/", "_")))
    return found


def sweep(config: cfg.Config, seeds: int, vary: Mapping[str, Sequence[Any]], out: Path, quiet: bool = False) -> bool:
    """Trains all members of a sweep, from where they stand, and writes a table and a plot of them.

    Args:
        config: what the members have in common.
        seeds: how many, from `config.seed` on.
        vary: for each varied field ("generator.learning_rate") its values.
        out: the sweep's directory.
        quiet: show nothing but the table.

    Returns:
        Whether all are at the end; False where a signal stopped them before.

    Raises:
        UserError: as `members`, the runs grow, or a directory belongs to another config or another process.
    """
    everyone = [
        dataclasses.replace(member, config=directory.as_begun(member.run, member.config))
        for member in members(config, seeds, vary, out)
    ]
    if any(member.config.grow for member in everyone):
        raise UserError("grow: a sweep trains runs of one size together; train those that grow one by one")
    groups: dict[str, list[Member]] = {}
    for member in everyone:
        groups.setdefault(signature(member.config), []).append(member)
    console = Console(quiet=quiet, highlight=False)
    console.print(f"{len(everyone)} runs in {len(groups)} program{'s'[: len(groups) > 1]}: {out}", soft_wrap=True)
    finished = True
    with directory.lock(out), training.catch_stop() as stop:
        for group in groups.values():
            finished = not stop and _train_group(group, console, stop) and finished
    print(summary.write(out, [(member.values, member.run) for member in everyone]), end="")
    print(f"{out}/ has table.md, sweep.png, and the directory of each run.")
    return finished


def signature(config: cfg.Config) -> str:
    """What two members must share to run in one program: all but the seed and the size of weights that are used."""
    for name in TRACED:
        config = cfg.replaced_unchecked(config, name, bool(cfg.value(config, name)))
    return cfg.to_json(dataclasses.replace(config, seed=0))


def _train_group(group: list[Member], console: Console, stop: list[int]) -> bool:
    """Trains members that share a program; returns whether they reached the end."""
    since = time.perf_counter()
    config = group[0].config
    for member in group:
        directory.check_config(member.run, member.config)
        member.run.mkdir(parents=True, exist_ok=True)
        directory.write_config(member.run, member.config)
    source = build.source(config)
    for member in group:
        directory.check_data(member.run, source)
    program = Program(group, source)
    step, state = _start(group, source, program)
    if step >= config.steps:
        console.print(f"{group[0].values or 'all seeds'}: at step {step}: finished.", soft_wrap=True)
        return True
    failed: set[int] = set()
    # Points, bars and checkpoints as in a single run; a member that fails is left behind, and harms no other.
    with contextlib.ExitStack() as stack:
        recorders = [
            stack.enter_context(Recorder(member.run, member.config, own, step, checkpoint.record(member.run, step)))
            for member, own in zip(group, program.sources, strict=True)
        ]
        savers = [stack.enter_context(checkpoint.open_for_saving(member.run, member.config)) for member in group]
        progress = stack.enter_context(TrainingProgress(console, step, config.steps, config.batch_size * len(group)))
        seconds_a_step = math.inf
        while step < config.steps and not stop:
            form, until = training.form_of(config, program.platform, step)
            count = training.next_count(config, step, seconds_a_step, program.room, (until,))
            began = time.perf_counter()
            state, collected = program.run(state, step, count, form)
            collected = {name: np.asarray(values)[:, :count] for name, values in collected.items()}
            seconds_a_step = (time.perf_counter() - began) / count
            for index, member in enumerate(group):
                own = {name: values[index] for name, values in collected.items()}
                if index in failed:
                    continue
                try:
                    metrics.check_finite(step + 1, own, config.precision)
                except NonFiniteError as error:
                    failed.add(index)
                    (member.run / "failed").write_text(f"{error}\n")
                    console.print(f"{member.run}: {error} The others go on.", soft_wrap=True)
                    continue
                recorders[index].write(step, own)
            step += count
            looks = step % config.sample_every == 0 or step == config.steps
            saves = step % config.checkpoint_every == 0 or step == config.steps or bool(stop)
            for index in set(range(len(group))) - failed if looks or saves else ():
                own = program.member(state, index)
                if looks:
                    recorders[index].look(program.game, step, own.ema, own.discriminator.variables)
                if saves:
                    savers[index].save(own, recorders[index].mark())
            last = {name: float(np.nanmedian(values[:, -1])) for name, values in collected.items()}
            states = [recorder.diagnosis.state for index, recorder in enumerate(recorders) if index not in failed]
            words = f"{states.count('healthy')} of {len(group)} healthy"
            progress.update(step, last, words)
            if looks:
                progress.milestone(step, last, words)
        for index in set(range(len(group))) - failed:
            recorders[index].finish()
    seconds, name = time.perf_counter() - since, group[0].values or "seeds"
    each = f"{seconds / len(group):.0f} s a run"
    console.print(f"{name}: {len(group)} runs to step {step} in {seconds:.0f} s, {each}", soft_wrap=True)
    return step >= config.steps


def _start(group: list[Member], source: Source, program: "Program") -> tuple[int, Any]:
    """The members' state at the newest step of which all have a checkpoint, or at the beginning."""
    common = set.intersection(*(set(checkpoint.steps(member.run)) for member in group))
    if not common:
        return 0, program.initial()
    step = max(common)
    place = parallel.place(devices=jax.devices()[:1])
    abstract = directory.abstract_state(group[0].config, program.game, source.shape, source.classes, place)
    states = [checkpoint.restore_step(member.run, member.config, abstract, step) for member in group]
    return step, program.gathered(states)


class Program:
    """The compiled loop of a group of members.

    Attributes:
        game: the first member's game, for what does not depend on the values that differ.
        sources: each member's data.
        room: steps a dispatch has room for.
        platform: that of the devices.
    """

    def __init__(self, group: Sequence[Member], source: Source) -> None:
        config = group[0].config
        self._config, self._source = config, source
        self.sources = [source.replace(seed=member.config.seed) for member in group]
        self.room = training.capacity(source)
        self._seeds = jnp.array([member.config.seed for member in group], jnp.uint32)
        differing = [name for name in sorted(TRACED) if len({cfg.value(member.config, name) for member in group}) > 1]
        self._values = {
            name: jnp.array([cfg.value(member.config, name) for member in group], jnp.float32) for name in differing
        }
        self.game = build.game(config, source.shape, source.classes)
        self._side_by_side = config.generator.kind == config.discriminator.kind == "mlp"
        devices = jax.devices()[: math.gcd(len(group), len(jax.devices()))]
        self._mesh = Mesh(np.array(devices), ("member",))
        self.platform = devices[0].platform
        self._loops: dict[conv.Form, Any] = {}
        self._resident = jax.device_put(source.resident)

    def initial(self) -> train_step.TrainState:
        """The members' states before the first step, stacked; they share the step."""
        shape, classes = self._source.shape, self._source.classes
        start = jax.vmap(
            lambda seed: directory.init(self._config, self.game, shape, classes, seed), out_axes=self._axes()
        )
        return jax.jit(start)(self._seeds)

    def run(self, state: Any, step: int, count: int, form: conv.Form) -> tuple[Any, train_step.Metrics]:
        """Runs `count` steps from `step` on; metrics are arrays [members, room] of which `count` are filled."""
        if form not in self._loops:
            steps = conv.compiled(self._spread(self._steps), form, self.platform)
            self._loops[form] = jax.jit(steps, donate_argnums=0)
        each = [training.stack_items(fetched(own, step, step + count), count, self.room) for own in self.sources]
        items = jax.tree.map(lambda *arrays: np.stack(arrays), *each)
        return self._loops[form](state, self._values, self._seeds, items, self._resident, jnp.int32(count))

    def member(self, state: Any, index: int) -> train_step.TrainState:
        """One member's state."""
        own = jax.tree.map(lambda leaf: leaf[index], dataclasses.replace(state, step=None))
        return dataclasses.replace(own, step=state.step)

    def gathered(self, states: Sequence[train_step.TrainState]) -> train_step.TrainState:
        """The members' states, stacked: the opposite of `member`."""
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return dataclasses.replace(stacked, step=states[0].step)

    def _steps(self, state: Any, values: Any, seeds: Any, items: Any, resident: Any, count: Any) -> Any:
        def alone(state: Any, values: Any, seed: Any, items: Any) -> Any:
            config = self._config
            for name, value in values.items():
                config = cfg.replaced_unchecked(config, name, value)
            game = build.game(config, self._source.shape, self._source.classes)
            return training.run_steps(game, self._source, state, resident, items, count, jax.random.key(seed))

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

    def _axes(self) -> Any:
        # The step is the same for all, and stays a scalar, so that a branch on it stays a branch.
        return self._alike(None, 0)

    @staticmethod
    def _alike(step: Any, rest: Any) -> Any:
        """A state that holds one thing for the step, and another for each of the other fields."""
        fields: Any = {field.name: rest for field in dataclasses.fields(train_step.TrainState)}
        return train_step.TrainState(**fields | {"step": step})
