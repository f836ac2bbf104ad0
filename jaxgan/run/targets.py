"""What an accelerator's own compiler makes of a training, on a machine that has none.

libtpu and JAX's CUDA plugin compile for devices that are only described. So the program that `training` would run is
compiled for them here, and what they say of it is put into a `Report`. Nothing runs: times are lower bounds and a
compiler's own estimates, not measurements.

References:
    Peaks: Cloud TPU documentation, pages "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e": bfloat16 FLOP/s, capacity and
    bandwidth of HBM, and half of the "bidirectional" bandwidth between chips. NVIDIA's data sheets of A100 80GB SXM,
    H100 SXM and H200 SXM: dense bfloat16, and half of NVLink's bandwidth, which counts both ways. TPU clocks: what the
    peak gives for the multipliers of a chip: v4 and v5p 8 units of 128 x 128, v5e 4, v6e as many as 4 of 256 x 256 (its
    compiler's estimates of large products take more than the 2 of its page).
    Descriptions of GPUs: what their drivers report (CUDA's device properties).
"""

import contextlib
import dataclasses
import functools
import importlib.util
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import jax

from jaxgan import config as cfg
from jaxgan.data import Source
from jaxgan.run import build, hlo, parallel, programs
from jaxgan.run.experiment import Experiment
from jaxgan.support import plugins
from jaxgan.support.errors import JaxganError, UserError

_POOL = 0.75  # Share of a GPU's memory that JAX takes, unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.


@dataclasses.dataclass(frozen=True)
class Chip:
    """A kind of accelerator.

    Attributes:
        label: its name.
        flops: bfloat16 FLOP/s, at the most.
        memory: bytes of HBM.
        bandwidth: bytes/s of HBM.
        link: bytes/s out of a chip to its neighbours.
        axes: of the grid of chips: 2 or 3 for TPUs, 1 for GPUs.
        clock: cycles/s of a TPU, for its compiler's estimates.
        properties: of a GPU, by the names that its compiler has for them, where they are not those of all.
    """

    label: str
    flops: float
    memory: float
    bandwidth: float
    link: float
    axes: Literal[1, 2, 3]
    clock: float = math.nan
    properties: tuple[tuple[str, float], ...] = ()

    @property
    def is_tpu(self) -> bool:
        """Whether it is a TPU; otherwise it is an NVIDIA GPU."""
        return self.axes > 1

    @property
    def description(self) -> str:
        """Of a GPU, as its compiler reads it (a GpuTargetConfigProto)."""
        own = dict(self.properties)
        capability = int(own.pop("compute_capability"))
        device = {**_GPU, **own, "memory_bandwidth": int(self.bandwidth), "device_memory_size": int(self.memory)}
        extension = "ACCELERATED_FEATURES" if capability >= 9 else "NONE"
        device["cuda_compute_capability"] = f"{{ major: {capability} feature_extension: {extension} }}"
        fields = "\n".join(f"  {name}: {value}" for name, value in device.items())
        library = "dnn_version_info { major: 9 minor: 10 }"
        return (
            f'gpu_device_info {{\n{fields}\n}}\nplatform_name: "CUDA"\n{library}\n'
            f'device_description_str: "{self.label}"\n'
        )


_GPU = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "threads_per_core_limit": 2048,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 2**16 - 1,
    "block_dim_limit_z": 2**16 - 1,
    "shared_memory_per_block": 48 * 1024,
    "registers_per_core_limit": 2**16,
    "registers_per_block_limit": 2**16,
}
_AMPERE = (
    ("core_count", 108),
    ("fpus_per_core", 64),
    ("clock_rate_ghz", 1.41),
    ("l2_cache_size", 40 * 2**20),
    ("shared_memory_per_core", 164 * 1024),
    ("shared_memory_per_block_optin", 163 * 1024),
    ("compute_capability", 8),
)
_HOPPER = (
    ("core_count", 132),
    ("fpus_per_core", 128),
    ("clock_rate_ghz", 1.98),
    ("l2_cache_size", 50 * 2**20),
    ("shared_memory_per_core", 228 * 1024),
    ("shared_memory_per_block_optin", 227 * 1024),
    ("compute_capability", 9),
)
CHIPS = {
    "v4": Chip("TPU v4", 275e12, 32 * 2**30, 1228e9, 150e9, 3, 1.05e9),
    "v5e": Chip("TPU v5e", 197e12, 16 * 2**30, 819e9, 200e9, 2, 1.5e9),
    "v5p": Chip("TPU v5p", 459e12, 95 * 2**30, 2765e9, 600e9, 3, 1.75e9),
    "v6e": Chip("TPU v6e", 918e12, 32 * 2**30, 1638e9, 400e9, 2, 1.75e9),
    "a100": Chip("A100 80GB SXM", 312e12, 85_100_068_864, 2039e9, 300e9, 1, properties=_AMPERE),
    "h100": Chip("H100 SXM", 989e12, 84_942_979_072, 3352e9, 450e9, 1, properties=_HOPPER),
    "h200": Chip("H200 SXM", 989e12, 151_397_597_184, 4800e9, 450e9, 1, properties=_HOPPER),
}
"""By the names that a target begins with."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Accelerators to compile for.

    Attributes:
        name: as it was given, such as "v5e:4x4".
        chip: their kind.
        shape: of the grid of chips; (count,) for the GPUs of a machine.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return math.prod(self.shape)


def parse(name: str) -> Target:
    """Reads the name of a target.

    Raises:
        UserError: says what there is.
    """
    kind, _, shape = name.partition(":")
    chip = CHIPS.get(kind)
    if chip and re.fullmatch(rf"[1-9]\d*(x[1-9]\d*){{{chip.axes - 1}}}", shape):
        target = Target(name, chip, tuple(map(int, shape.split("x"))))
        if chip.is_tpu or target.count <= 8:
            return target
    raise UserError(
        f"--target {name}: not known; take v5e:4x4 or v6e:4x4 (TPU chips along two axes), v4:4x4x4 or v5p:4x4x4 (along "
        "three), or h100:8, h200:8 or a100:8 (GPUs of one machine, up to 8)"
    )


def devices(target: Target) -> list[Any]:
    """The devices of a target, to compile for. This process's own are its CPU's from then on; call it before others.

    Raises:
        UserError: the compiler is not installed, or knows no such shape.
    """
    modules, package = (plugins.TPU, "libtpu") if target.chip.is_tpu else (plugins.CUDA, "jax-cuda12-plugin")
    plugins.let_in(modules)
    if not any(map(_is_there, modules[:2])):
        raise UserError(
            f"--target {target.name}: the compiler for it is in the package {package}, which is not installed here: "
            "pip install 'jaxgan[targets]'"
        )
    # Imported late: of a module that is not a part of JAX's stable interface.
    from jax.experimental import topologies

    # The host stays a CPU. Several processes may compile at once; and libtpu asks no server what machine this is.
    os.environ.update(
        TPU_SKIP_MDS_QUERY="1",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",
        TPU_ACCELERATOR_TYPE="v5litepod-4",
        TPU_WORKER_HOSTNAMES="localhost",
        TPU_LOG_DIR="disabled",
    )
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # Without a device, what it keeps cannot be read again.
    try:
        with _hushed():
            if not target.chip.is_tpu:
                grid = f"1x1x{target.count}"
                described: dict[str, Any] = {"topology": grid, "target_config": target.chip.description}
                return list(topologies.get_topology_desc(grid, "cuda", **described).devices)
            # A host has four chips or more; one chip is one of them.
            shape = target.shape if target.count > 1 else (2, 2, 1)[: target.chip.axes]
            whole = f"{target.name.partition(':')[0]}:{'x'.join(map(str, shape))}"
            # The two cores of a v4 chip are one device to JAX.
            cores = {"chip_config_name": "megacore"} if target.chip is CHIPS["v4"] else {}
            return list(topologies.get_topology_desc(whole, "tpu", **cores).devices)[: target.count]
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"--target {target.name}: its compiler says: {str(error).splitlines()[0]}") from None


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # Nor is its package.
        return False


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Leaves out what libraries write to stderr about the hardware that is not here."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a compiler says of a training step on a target; bytes and FLOPs are a device's unless it says otherwise.

    Attributes:
        target: the accelerators.
        kind: how the step is put on them.
        stage: which stage of a training that grows, in words; empty for one that does not.
        examples: of a batch on a device.
        state: bytes of the state.
        data: bytes of what of the data is on the device, for all steps of a dispatch.
        batch: bytes of these that a step reads.
        temporaries: bytes of what a step makes on its way, as they are placed at once.
        peak: bytes of all that there is at once.
        room: bytes that the compiler has for it.
        whole: FLOPs of a step on one device that has the whole batch, by kind of operation, of the program as lowered.
        cost: of the compiled program; None where it does not fit.
        seconds: of processor time, for tracing and for compiling.
    """

    target: Target
    kind: str
    stage: str
    examples: float
    state: float
    data: float
    batch: float
    temporaries: float
    peak: float
    room: float
    whole: dict[str, float]
    cost: hlo.Cost | None
    seconds: tuple[float, float]

    @property
    def fits(self) -> bool:
        """Whether memory is enough for it."""
        return self.peak <= self.room

    @property
    def flops(self) -> dict[str, float]:
        """FLOPs by kind of operation; an equal share of the whole batch's where it does not fit."""
        if self.cost is None:
            return {kind: flops / self.target.count for kind, flops in self.whole.items()}
        return {kind: self.cost["flops", kind] for kind in self.whole}

    @property
    def repeated(self) -> dict[str, float]:
        """By kind of operation, how often it is computed by all devices together; 1 where each has its share."""
        return {kind: self.target.count * self.flops[kind] / flops for kind, flops in self.whole.items()}

    @property
    def traffic(self) -> float:
        """Bytes through HBM: state and temporaries written once and read once, and the batch read."""
        return 2 * self.state + 2 * self.temporaries + self.batch

    @property
    def collectives(self) -> dict[str, tuple[float, float]]:
        """Of each kind, how many there are and how many bytes they have."""
        cost = self.cost or hlo.Cost()
        kinds = [kind for kind in hlo.COLLECTIVES if cost["calls", kind]]
        return {kind: (cost["calls", kind], cost["bytes", kind]) for kind in kinds}

    @property
    def least(self) -> dict[str, float]:
        """The least seconds that a step takes, by each of its parts alone, as far as they are known."""
        chip, count = self.target.chip, self.target.count
        least = {"flops": sum(self.flops.values()) / chip.flops}
        if self.cost is None:
            return least
        # In a ring each device sends all but its own share; a reduction goes round twice.
        sent = sum(2 * size if kind == "all-reduce" else size for kind, (_, size) in self.collectives.items())
        return {
            **least,
            "traffic": self.traffic / chip.bandwidth,
            "collectives": sent * (count - 1) / count / chip.link,
        }

    @property
    def estimate(self) -> float | None:
        """The compiler's own estimate, seconds, without collectives; None where it gives none."""
        cycles = self.cost["cycles", "tpu"] if self.cost and self.target.chip.is_tpu else 0
        return cycles / self.target.chip.clock if cycles else None


def reports(
    config: cfg.Config,
    target: Target,
    kind: parallel.Kind = "jit",
    model: int = 1,
    waiting: Callable[[str], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Iterator[Report]:
    """Compiles an experiment for a target: its stage, or where pictures grow, the first, the middle and the last one.

    Args:
        config: the experiment. Data that do not ship are stood in for: only their shapes matter.
        target: the accelerators.
        kind: how the step is put on them: "jit" or "shard_map".
        model: see `parallel.place`.
        waiting: entered, with words for it, around what takes long.

    Raises:
        UserError: as `parse` and `devices`, or the batch does not divide evenly.
    """
    if kind == "pmap":
        raise UserError(f"--target {target.name}: compiles for --parallel jit or shard_map, not {kind}")
    placement = parallel.place(kind, model, devices(target))
    source = build.stand_in(config)
    plan, whole = (build.experiment(config, source.shape, source.classes, axis) for axis in (placement.axis, None))
    sizes = [stage.batch_size // stage.game.discriminator_updates for stage in plan.stages]
    for size, stage in zip(sizes, plan.stages, strict=True):
        parallel.check_batch(placement, size, stage.game.accumulate, stage.group)
    last = len(plan.stages) - 1
    for at in sorted({0, last // 2, last}):
        name = f"stage {at + 1} of {last + 1}, {plan.shape[0] // 2 ** (last - at)} px" if last else ""
        where = f"the training step for {target.name}{name and f', {name}'}"
        begin = time.process_time()
        with waiting(f"tracing {where}"):
            lowered, given = _lowered(plan, at, source, placement)
            together = lowered
            if kind != "jit":  # A mapped program is that of one device's part.
                together, _ = _lowered(whole, at, source, dataclasses.replace(placement, kind="jit"))
            flops = hlo.step_cost(hlo.read(together.as_text("hlo", debug_info=True)))
        traced = time.process_time()
        with waiting(f"compiling {where} (minutes, for large networks)"):
            found = _compiled(lowered, target.chip, given["state"] + given["data"])
        yield Report(
            target=target,
            kind=kind,
            stage=name,
            examples=sizes[at] / target.count,
            whole={kind: flops["flops", kind] for kind in hlo.KINDS if flops["flops", kind]},
            seconds=(traced - begin, time.process_time() - traced),
            **given,
            **found,
        )


def _lowered(plan: Experiment, at: int, source: Source, placement: parallel.Placement) -> tuple[Any, dict[str, float]]:
    """The loop of a stage, lowered, and bytes on a device of what it is given: see `Report`."""
    stage = plan.stages[at]
    source = source.replace(batch_size=stage.batch_size)
    processes = len({device.process_index for device in placement.mesh.devices.flat})
    room = programs.capacity(source.replace(parts=processes))

    def placed(tree: Any, sharding: Any, *lead: int) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct((*lead, *a.shape), a.dtype, sharding=sharding), tree)

    state = plan.abstract_state(stage, placement)
    resident = placed(source.resident, placement.everywhere)
    items = placed(source[0], placement.items, room)
    key = placed(jax.eval_shape(lambda: jax.random.key(0)), placement.everywhere)
    loop = functools.partial(programs.run_steps, stage.game, source)
    lowered = parallel.lower(*parallel.loop_program(placement, loop, state, resident, items, key))

    def size(tree: Any) -> float:
        leaves = jax.tree.leaves(tree)
        return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)

    data = size(resident) + size(items)
    return lowered, {"state": size(state), "data": data, "batch": size(items) / room}


def _compiled(lowered: Any, chip: Chip, given: float) -> dict[str, Any]:
    """What the compiler says of a program that is given so many bytes: see `Report`."""
    try:
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "output tile sizes" not in str(error):
                raise
            # Without a GPU to try them on, it finds no tiles for a product's own kernel; cuBLAS's remains.
            compiled = lowered.compile({"xla_gpu_enable_triton_gemm": False})
    except jax.errors.JaxRuntimeError as error:
        peak, room = _refused(str(error))
        return {"temporaries": max(0.0, peak - given), "peak": peak, "room": room, "cost": None}
    memory = compiled.memory_analysis()
    return {
        "temporaries": memory.temp_size_in_bytes,
        "peak": memory.peak_memory_in_bytes,
        "room": chip.memory,
        "cost": hlo.step_cost(hlo.read(compiled.as_text())),
    }


def _refused(message: str) -> tuple[float, float]:
    """Reads how much memory a TPU's compiler has found too much, and how much there is, bytes.

    It speaks of temporaries, but what the program is given is in that number, too.

    Raises:
        JaxganError: the message is about something else.
    """
    found = re.search(r"temporaries \(([\d.]+)([KMG])\) exceeds available HBM \(([\d.]+)([KMG])\)", message)
    if not found:
        raise JaxganError(f"--target: the compiler failed: {message.splitlines()[0]}")
    unit = {"K": 2**10, "M": 2**20, "G": 2**30}
    return float(found[1]) * unit[found[2]], float(found[3]) * unit[found[4]]


def text(report: Report) -> str:
    """A report in a few lines; figures are of a step and a device."""
    target, chip = report.target, report.target.chip
    least = {part: f"at least {_time(seconds)}" for part, seconds in report.least.items()}
    stage = f", {report.stage}" if report.stage else ""
    flops = " and ".join(f"{_giga(size)}FLOP of {_PLURAL[kind]}" for kind, size in report.flops.items())
    lines = {
        "assumed": f"{chip.flops / 1e12:g} TFLOP/s in bfloat16, {chip.memory / 2**30:.1f} GiB of HBM at "
        f"{chip.bandwidth / 1e9:,.0f} GB/s, {chip.link / 1e9:g} GB/s to neighbours",
        "memory": _fit(report),
        "arithmetic": f"{flops}: {least['flops']}",
    }
    if report.cost is not None:
        calls = [f"{calls:g} {kind} of {_giga(size)}B" for kind, (calls, size) in report.collectives.items()]
        often = " and ".join(f"{times:.2f} of its {_PLURAL[kind]}" for kind, times in report.repeated.items())
        own = f"{_time(report.estimate)}, collectives left out" if report.estimate else "gives none"
        lines |= {
            "traffic": f"{_giga(report.traffic)}B, state and temporaries once out and once in: {least['traffic']}",
            "estimate": f"the compiler's own: {own}",
            "collectives": f"{', '.join(calls)} in all: {least['collectives']}" if calls else "none",
            "repeated": f"of the whole batch's step, all devices together compute {often}",
        }
    traced, compiled = report.seconds
    lines["compiled"] = f"in {traced + compiled:.0f} s of processor time, {traced:.0f} s of it for tracing"
    head = f"{target.name}, {report.kind}{stage}: {target.count} x {chip.label}, {report.examples:g} examples each"
    return "\n".join([head, *(f"  {name:12} {line}" for name, line in lines.items())])


_PLURAL = {"convolution": "convolutions", "dot": "matrix products"}


def _fit(report: Report) -> str:
    """Whether memory is enough, and for what it is used."""
    parts = f"{_size(report.state)} of state, {_size(report.data)} of data, {_size(report.temporaries)} of temporaries"
    least = "" if report.target.chip.is_tpu else " or more"  # Its libraries' workspaces are chosen on the device.
    needs = f"{_size(report.peak)}{least} of {_size(report.room)} at the peak ({parts})"
    if not report.fits:
        return f"does not fit, by {_size(report.peak - report.room)}: {needs}"
    tight = not report.target.chip.is_tpu and report.peak > _POOL * report.room
    return f"fits: {needs}{'; set XLA_PYTHON_CLIENT_MEM_FRACTION=.95, JAX takes .75 by itself' if tight else ''}"


def _size(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _giga(count: float) -> str:
    """Three digits or more of so many billions."""
    count /= 1e9
    return f"{count:,.0f} G" if count >= 100 else f"{count:.3g} G"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.3g} ms"
