"""The compiled program of a loop: several steps a dispatch, and how runs are put into it."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import train_step
from jaxgan.data import Source
from jaxgan.data.source import item_bytes
from jaxgan.models import conv
from jaxgan.run import growth, parallel
from jaxgan.run.experiment import Experiment, Stage

CAPACITY = 256  # Steps a dispatch at the most: room for the metrics, and for
CAPACITY_BYTES = 2**24  # what travels to the device.


class Program(Protocol):
    """How the members of a loop are put on devices.

    Attributes:
        platform: of the devices.
    """

    platform: str

    def sources(self, stage: Stage) -> list[Source]:
        """Each member's data in a stage."""
        ...

    def compiled(
        self, stage: Stage, form: conv.Form, state: Any, foretell: Callable[[float], None]
    ) -> Callable[[Any, Any, jax.Array], tuple[Any, train_step.Metrics]]:
        """(state, items, count) -> (state, metrics [members, room], of which `count` are filled); donates the state."""
        ...

    def put(self, items: list[Any]) -> Any:
        """Puts what each member's steps need, arrays [room, ...], on the devices."""
        ...

    def put_count(self, count: int) -> jax.Array:
        """Puts a number on the devices."""
        ...

    def member(self, state: Any, index: int) -> train_step.TrainState:
        """One member's state."""
        ...

    def shown(self, state: Any, index: int) -> tuple[Any, Any]:
        """What a look at one member needs, in this process: see `Trainee.keep`."""
        ...

    def grown(self, stage: Stage, state: Any) -> Any:
        """The state, taken to the next stage."""
        ...


class Alone:
    """The program of a run by itself, on the devices of a placement."""

    def __init__(self, experiment: Experiment, source: Source, placement: parallel.Placement) -> None:
        self.platform = placement.platform
        self._experiment, self._source, self._placement = experiment, source, placement
        self._key = parallel.key(placement, experiment.seed)

    def sources(self, stage: Stage) -> list[Source]:
        return [self._source.replace(batch_size=stage.batch_size)]

    def compiled(self, stage: Stage, form: conv.Form, state: Any, foretell: Callable[[float], None]) -> Any:
        place, source = self._placement, self.sources(stage)[0]
        steps = compile_steps(place, stage.game, source, state, self._key, form, foretell)
        resident = parallel.put_everywhere(place, source.resident)

        return lambda state, items, count: steps(state, resident, items, count, self._key)

    def put(self, items: list[Any]) -> Any:
        return parallel.put_items(self._placement, items[0])

    def put_count(self, count: int) -> jax.Array:
        return parallel.put_everywhere(self._placement, np.int32(count))

    def member(self, state: Any, index: int) -> train_step.TrainState:
        return state

    def shown(self, state: Any, index: int) -> tuple[Any, Any]:
        # The discriminator is looked at only where examples are points, in a plane that can be drawn.
        drawn = state.discriminator.variables if len(self._source.shape) == 1 else {}
        return parallel.local(self._placement, (state.ema, drawn))

    def grown(self, stage: Stage, state: Any) -> Any:
        new = self._experiment.initial_state(stage, self._placement)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, new)
        return jax.jit(growth.grow, out_shardings=shardings)(state, new)


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
