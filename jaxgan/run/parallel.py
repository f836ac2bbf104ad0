"""Puts training on devices: one or many, of one process or many, by `jit`, `shard_map` or `pmap`.

The step itself knows nothing of this. Arrays are global: every process names the same ones and holds its part. State,
resident data and metrics are the same on every device (large parameters may be split, see `Placement.mesh`), the
batch is split into equal blocks. So each placement computes what one device would, up to rounding.
"""

import contextlib
import dataclasses
import functools
import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgan.models import conv
from jaxgan.support.errors import UserError

Kind = Literal["jit", "shard_map", "pmap"]
DATA, MODEL = "data", "model"
_COMPILING = 7.0  # Times as long as to trace and lower a program; 5 to 10 for shipped configs on a quiet CPU.
SPLIT_FROM = 2**16
"""Kernels of at least so many numbers are split along the mesh's model axis; smaller ones cost more to gather."""

Loop = Callable[[Any, Any, Any, jax.Array, jax.Array], tuple[Any, Any]]
"""(state, resident, items [steps, N, ...], count, key) -> (state, metrics); see `programs.run_steps`."""


def connect(coordinator: str | None, processes: int | None, process: int | None, timeout: int) -> None:
    """Joins the other processes of this training; before anything else of JAX is used.

    What is None comes from the environment (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID), and what is
    missing there from the platform: Cloud TPU, Slurm and Open MPI tell.

    Args:
        coordinator: HOST:PORT of process 0.
        processes: how many there are.
        process: which of them this is.
        timeout: seconds after which a silent process counts as dead, and the others end.

    Raises:
        UserError: neither arguments nor environment nor platform tell who takes part, or not all came in time.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
        if processes is None and "JAX_NUM_PROCESSES" in os.environ:
            processes = int(os.environ["JAX_NUM_PROCESSES"])
        if process is None and "JAX_PROCESS_ID" in os.environ:
            process = int(os.environ["JAX_PROCESS_ID"])
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=5 * timeout,
            heartbeat_timeout_seconds=timeout,
            shutdown_timeout_seconds=timeout,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed: {str(error).splitlines()[0]} (coordinator {coordinator}, process {process} of {processes};"
            " give --coordinator HOST:PORT --processes N --process I where the platform does not tell)"
        ) from None


@dataclasses.dataclass(frozen=True)
class Placement:
    """Which devices, and how a program is put on them. Hashable.

    Attributes:
        kind: "jit": one program of global arrays, which the compiler splits. "shard_map" and "pmap": a program of one
            device's block, which names its reductions itself.
        mesh: devices [data, model]. The batch is split over both axes; with more than one device along "model", large
            parameters, their moments and averages are split over it ("jit" only) and gathered where they are needed.
    """

    kind: Kind
    mesh: Mesh

    @property
    def axis(self) -> str | None:
        """The mapped axis that the step has to name (see `train_step.Game.axis`)."""
        return None if self.kind == "jit" else DATA

    @property
    def platform(self) -> str:
        """What its programs are for: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform

    @property
    def everywhere(self) -> NamedSharding:
        """The same on every device."""
        return NamedSharding(self.mesh, P())

    @property
    def items(self) -> NamedSharding:
        """[steps, N, ...], split along N."""
        return NamedSharding(self.mesh, P(None, (DATA, MODEL)))

    @property
    def part(self) -> tuple[int, int]:
        """Which block of every batch this process feeds, and of how many."""
        return jax.process_index(), jax.process_count()


def place(kind: Kind = "jit", model: int = 1, devices: Sequence[Any] | None = None) -> Placement:
    """A placement on all devices of all processes, or on some.

    Args:
        kind: see `Placement`.
        model: devices along the model axis.
        devices: all if None.

    Raises:
        UserError: `model` does not divide the devices, or goes with another kind than "jit".
    """
    devices = jax.devices() if devices is None else devices
    # Each process's devices side by side, so that what it feeds is one block of the batch.
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    if model > 1 and kind != "jit":
        raise UserError(f"--shard-model {model}: only --parallel jit splits parameters, not {kind}")
    if model < 1 or len(ordered) % model:
        raise UserError(f"--shard-model {model}: does not divide {len(ordered)} devices")
    grid = np.array(ordered).reshape(-1, model)
    return Placement(kind, Mesh(grid, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2))


def check_batch(placement: Placement, batch_size: int, accumulate: int = 1, group: int = 1) -> None:
    """Refuses a batch that does not divide evenly.

    Args:
        placement: on which devices.
        batch_size: of an update.
        accumulate: parts into which it is dealt.
        group: examples that belong together: a part is of whole groups, and so is what a device has of it, except
            under "jit", where a group may lie across devices.

    Raises:
        UserError: names the nearest sizes that do.
    """
    devices = placement.mesh.size
    unit = accumulate * (math.lcm(devices, group) if placement.kind == "jit" else devices * group)
    if batch_size % unit:
        below = batch_size // unit * unit
        nearest = " or ".join(str(size) for size in (below, below + unit) if size)
        parts = f" x {accumulate} accumulated parts" if accumulate > 1 else ""
        groups = f" in groups of {group}" if unit > devices * accumulate else ""
        raise UserError(
            f"batch_size: {batch_size} does not divide evenly on {devices} devices{parts}{groups}; take {nearest}"
        )


def shard_state(placement: Placement, state: Any) -> Any:
    """Where each array of a state (or of its shapes) goes, a pytree of shardings.

    Kernels, embeddings and what optimisers and averages keep of them are split along "model", in their longest
    dimension that divides, where they have `SPLIT_FROM` numbers or more (FSDP, arXiv 2304.11277). All else is
    everywhere: by a bias that is split, features would come to be split as well.
    """
    model = placement.mesh.shape[MODEL]

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        possible = [at for at, size in enumerate(leaf.shape) if size % model == 0]
        named = getattr(path[-1], "key", "") if path else ""
        if model == 1 or named not in ("kernel", "embedding") or leaf.size < SPLIT_FROM or not possible:
            return placement.everywhere
        longest = max(possible, key=lambda at: leaf.shape[at])
        return NamedSharding(placement.mesh, P(*(MODEL if at == longest else None for at in range(leaf.ndim))))

    return jax.tree_util.tree_map_with_path(sharding, state)


def key(placement: Placement, seed: int) -> jax.Array:
    """The key of a run, on every device."""
    return jax.jit(functools.partial(jax.random.key, seed), out_shardings=placement.everywhere)()


def put_everywhere(placement: Placement, tree: Any) -> Any:
    """NumPy arrays, equal in every process, as global arrays that are the same on every device."""
    return _put(placement.everywhere, tree, lambda array: array.shape)


def put_items(placement: Placement, items: Any) -> Any:
    """This process's blocks [steps, N / processes, ...] as global arrays [steps, N, ...]."""
    return _put(placement.items, items, lambda array: None)


def _put(sharding: NamedSharding, tree: Any, shape: Callable[[np.ndarray], Any]) -> Any:
    with jax.transfer_guard_host_to_device("allow"):  # Among several processes JAX takes it for an unmeant one.
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(sharding, np.asarray(array), shape(array)), tree
        )


def compile_loop(
    placement: Placement,
    loop: Loop,
    state: Any,
    resident: Any,
    items: Any,
    key: jax.Array,
    form: conv.Form = "quick",
    foretell: Callable[[float], None] | None = None,
) -> Loop:
    """Compiles a loop of steps for a placement, ahead of time; the state is donated.

    Args:
        placement: where.
        loop: a pure function, see `Loop`; it names `placement.axis` where that is not None.
        state: as `shard_state` places it, or its shapes.
        resident: the source's arrays, everywhere.
        items: as `put_items` places them.
        key: the key of the run, everywhere.
        form: of the convolutions.
        foretell: told, when it is known, about how many seconds compiling will take where no cache has the program.
    """
    if placement.kind == "pmap":
        return _pmap(placement, conv.compiled(loop, form, placement.platform))
    return compile_ahead(*loop_program(placement, loop, state, resident, items, key, form), foretell)


def loop_program(
    placement: Placement, loop: Loop, state: Any, resident: Any, items: Any, key: Any, form: conv.Form = "quick"
) -> tuple[Any, tuple[Any, ...]]:
    """A loop of steps as a jitted function, and what to lower it for; by `jit` or `shard_map`, see `compile_loop`."""
    everywhere = placement.everywhere
    loop = conv.compiled(loop, form, placement.platform)
    if placement.kind == "jit":
        shardings = shard_state(placement, state)
        program = jax.jit(
            _meshed(placement.mesh, loop) if placement.mesh.shape[MODEL] > 1 else loop,
            in_shardings=(shardings, everywhere, placement.items, everywhere, everywhere),
            out_shardings=(shardings, everywhere),
            donate_argnums=0,
        )
    else:
        # Only "jit" has devices along the other axis.
        specs = (P(), P(), P(None, DATA), P(), P())
        mapped = jax.shard_map(loop, mesh=placement.mesh, in_specs=specs, out_specs=P())
        program = jax.jit(mapped, donate_argnums=0)
    return program, (state, resident, items, jax.ShapeDtypeStruct((), jnp.int32), key)


def _meshed(mesh: Mesh, loop: Loop) -> Loop:
    """The loop, in which layers find the mesh over which their parameters are split (`layers.kernel`)."""

    def meshed(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return loop(*arguments)

    return meshed


def compile_ahead(program: Any, arguments: tuple[Any, ...], foretell: Callable[[float], None] | None = None) -> Any:
    """Compiles a jitted function for arguments, or for their shapes.

    Args:
        program: what `jax.jit` returned.
        arguments: of it.
        foretell: told, when it is known, about how many seconds compiling will take where no cache has the program.
    """
    since = time.perf_counter()
    lowered = lower(program, arguments)
    if foretell is not None:
        foretell(_COMPILING * (time.perf_counter() - since))
    return lowered.compile()


def lower(program: Any, arguments: tuple[Any, ...]) -> Any:
    """Traces and lowers a jitted function for arguments, or for their shapes."""
    with _uncollected():
        return program.lower(*arguments)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Leaves garbage be: tracing makes millions of objects that stay, and to search them takes a third of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _pmap(placement: Placement, loop: Loop) -> Loop:
    """As a program of `jax.pmap`, which has the devices' blocks along a leading axis; compiled when first called."""
    mesh, local = placement.mesh, placement.mesh.local_mesh.size
    mapped = jax.pmap(
        loop,
        DATA,
        in_axes=(None, None, 1, None, None),
        out_axes=None,
        devices=list(mesh.devices.flat),
        donate_argnums=0,
    )

    def run(state: Any, resident: Any, items: Any, count: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        # Among several processes pmap wants each one's own arrays, and returns such.
        own = functools.partial(multihost_utils.global_array_to_host_local_array, global_mesh=mesh)
        with jax.transfer_guard("allow"):
            state, resident, count, key = own((state, resident, count, key), pspecs=P())
            blocks = jax.tree.map(
                lambda leaf: leaf.reshape(leaf.shape[0], local, -1, *leaf.shape[2:]),
                own(items, pspecs=placement.items.spec),
            )
            out = mapped(state, resident, blocks, count, key)
            return multihost_utils.host_local_array_to_global_array(out, mesh, P())

    return run


def local(placement: Placement, tree: Any) -> Any:
    """Whole copies on this process's first device, for what only one process does; every process must call it."""
    if placement.mesh.size > 1:
        tree = _copied(placement.everywhere)(tree)
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


@functools.cache
def _copied(sharding: NamedSharding) -> Callable[[Any], Any]:
    """A program that is compiled once, however often it is asked for."""
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def largest(values: np.ndarray) -> np.ndarray:
    """The largest of each of the processes' values, float32 [K], the same in every process."""
    if jax.process_count() == 1:
        return values
    return np.max(multihost_utils.process_allgather(values), axis=0)


def free_bytes() -> float:
    """Memory that is free on a device, the least among all processes; of a CPU's devices each has a share."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    else:
        free = psutil.virtual_memory().available / jax.local_device_count()
    return -float(largest(np.array([-free], np.float32))[0])


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """Ends this process, with one line, when what it does with others fails because one of them has died."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, TimeoutError) as error:
        if jax.process_count() == 1:
            raise
        print(
            f"jaxgan: process {jax.process_index()} of {jax.process_count()}: another process is gone, or failed "
            f"({str(error).splitlines()[0][:200]}). Start all of them again: they go on from the last checkpoint.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # Whatever would be tidied up on the way out waits for the other processes.


def is_first() -> bool:
    """Whether this is the process that writes metrics, pictures and progress."""
    return jax.process_index() == 0
