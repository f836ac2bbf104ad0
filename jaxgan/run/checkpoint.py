"""Checkpoints with Orbax: asynchronous, atomic, a few kept; restored exactly, or not at all."""

import contextlib
import dataclasses
import itertools
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import absl.logging
import jax
import jax.numpy as jnp
import tensorstore
from orbax.checkpoint import v1 as ocp

import jaxgan
from jaxgan import config as cfg
from jaxgan.run.experiment import Experiment
from jaxgan.support.errors import UserError
from jaxgan.support.files import refusal
from jaxgan.train_step import TrainState

absl.logging.set_verbosity(absl.logging.FATAL)  # What Orbax logs as errors, it raises, too.
logging.getLogger("jax._src.array").setLevel(logging.ERROR)


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A checkpoint that is not whole: a file of it is missing, cut short or corrupt."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} cannot be read ({self.reason})"


@dataclasses.dataclass(frozen=True)
class Restored:
    """Where a run stands.

    Attributes:
        state: the newest state that could be read.
        damaged: newer checkpoints that are not whole, newest first.
        versions: the versions of the libraries that wrote it.
        record: what `Saver.save` was given with it; None if nothing.
    """

    state: TrainState
    damaged: list[Damaged]
    versions: dict[str, str]
    record: dict[str, Any] | None


def folder(run: Path, best: bool = False) -> Path:
    """Where a run keeps its checkpoints, or its best one, a folder each named by its step."""
    return run.absolute() / ("best" if best else "checkpoints")


def steps(run: Path, best: bool = False) -> list[int]:
    """Steps of a run's finished checkpoints, in order; Orbax renames one into place when it is whole.

    Raises:
        UserError: they cannot be listed.
    """
    try:
        return sorted(int(name) for name in os.listdir(folder(run, best)) if name.isdecimal())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{folder(run, best)}: cannot be read: {error.strerror}") from error


def restore(
    run: Path,
    plan: Experiment,
    abstract: Callable[[int], TrainState],
    best: bool = False,
    *,
    _attempts: int = 5,
) -> Restored | None:
    """Restores the newest checkpoint of a run that is whole, or the best one. Writes nothing.

    Only a checkpoint that is damaged is passed over. One that cannot be read for want of memory or permission may be
    as good as ever, and one of another structure is so to another version: these are errors.

    Args:
        run: the run's directory.
        plan: the run's; the checkpoint must have been made by its config.
        abstract: from a step to shapes, dtypes and shardings of its state.
        best: that of `open_best`.

    Returns:
        None where there is no checkpoint yet.

    Raises:
        UserError: a checkpoint was made by another config or has another structure, cannot be read now, or none is
            whole.
    """
    listed, damaged = steps(run, best), []
    for step in reversed(listed):
        path = folder(run, best) / str(step)
        try:
            state, about = _load(path, plan, abstract(step))
            return Restored(state, damaged, about["versions"], about.get("record"))
        except _DamageError as error:
            if _attempts and steps(run, best) != listed:  # The run trains, and has deleted it for a newer one.
                return restore(run, plan, abstract, best, _attempts=_attempts - 1)
            damaged.append(Damaged(path, str(error)))
    if damaged:
        raise UserError(f"no checkpoint can be read: {', '.join(map(str, damaged))}; begin anew with another --out")
    return None


def set_aside(damaged: Damaged) -> Path:
    """Renames a damaged checkpoint, so that its step can be saved again; returns its new path."""
    first = damaged.path.with_name(f"{damaged.path.name}.unreadable")
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    aside = next(path for path in itertools.chain([first], others) if not path.exists())
    return damaged.path.rename(aside)


def record(run: Path, best: bool = False) -> dict[str, Any] | None:
    """What was given to `Saver.save` with the newest checkpoint; None if nothing was, or there is none to be read.

    It reads a small file, and none of the state.
    """
    for step in reversed(steps(run, best)):
        with contextlib.suppress(_DamageError, OSError):
            return _about(folder(run, best) / str(step)).get("record")
    return None


class _DamageError(Exception):
    """The files of a checkpoint are missing, cut short or corrupt."""


_DAMAGE = {"NOT_FOUND": "a file is missing", "OUT_OF_RANGE": "a file is cut short"}
_DAMAGE |= dict.fromkeys(["DATA_LOSS", "FAILED_PRECONDITION", ""], "a file is corrupt")
"""What the codes that TensorStore's errors begin with, or none, say of a checkpoint; other codes say nothing of it."""


def _load(path: Path, plan: Experiment, abstract: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """A checkpoint's state and what is said about it."""
    try:
        about = _about(path)
        _check_config(path, about, plan)
        arrays = _read(path, abstract, about["versions"].get("jaxgan"))
        places = jax.tree.map(lambda leaf: leaf.sharding, abstract)
        put = jax.tree.map(
            lambda array, at: jax.make_array_from_callback(array.shape, at, array.__getitem__), arrays, places
        )
        return put, about
    except (FileNotFoundError, NotADirectoryError):
        raise _DamageError("a file is missing") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read now: {error.strerror}") from error
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise UserError(f"{path}: there is not enough memory to read it") from error
        raise


def _about(path: Path) -> dict[str, Any]:
    """What `Saver.save` says about a checkpoint: the config, the versions, the record."""
    try:
        about = json.loads((path / "_CHECKPOINT_METADATA").read_text())["custom_metadata"]
        if not (isinstance(about["config"], dict) and isinstance(about["versions"], dict)):
            raise ValueError
        return about
    except (FileNotFoundError, NotADirectoryError):
        raise _DamageError("a file is missing") from None
    except (ValueError, TypeError, KeyError):
        raise _DamageError("_CHECKPOINT_METADATA is corrupt") from None


def _read(path: Path, abstract: TrainState, version: str | None) -> Any:
    """Reads each array once, all of them at a time: a pytree of NumPy arrays like `abstract`.

    Orbax keeps them by name as Zarr in an OCDBT database. It would read them, too, but of a damaged file it prints a
    page for each array from its threads, and its errors do not tell damage from want of memory.

    Raises:
        UserError: the arrays are not those of `abstract`, or cannot be read now.
    """
    database = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/state/"}}
    leaves, structure = jax.tree_util.tree_flatten_with_path(abstract)
    needed = {
        jax.tree_util.keystr(key, simple=True, separator="."): f"{leaf.dtype} {list(leaf.shape)}"
        for key, leaf in leaves
    }
    try:
        keys = [key.decode() for key in tensorstore.KvStore.open(database).result().list().result()]
        if not keys:
            raise _DamageError("a file is missing")
        names = [key.removesuffix("/zarr.json") for key in keys if key.endswith("/zarr.json")]
        opening = [tensorstore.open({"driver": "zarr3", "kvstore": database | {"path": name}}) for name in names]
        stored: Any = {name: opened.result() for name, opened in zip(names, opening, strict=True)}
        found = {name: f"{array.dtype.name} {list(array.shape)}" for name, array in stored.items()}
        if found != needed:
            by = f"jaxgan {version}, which is {jaxgan.__version__} now"
            raise UserError(f"{path}: its state is of another structure, made by {by}: {_contrast(found, needed)}")
        reading = [stored[name].read() for name in needed]
        return jax.tree.unflatten(structure, [array.result() for array in reading])
    except ValueError as error:
        code, text = _code(error)
        if code in _DAMAGE:
            raise _DamageError(_DAMAGE[code]) from None
        raise UserError(f"{path}: cannot be read now: {text}") from error


def _code(error: Exception) -> tuple[str, str]:
    """The code that an error of TensorStore begins with, "" if with none, and what the system said, or the start."""
    code, text = re.match(r"(?:([A-Z_]+): )?(.*)", str(error)).groups()  # pyright: ignore[reportOptionalMemberAccess]
    system = re.search(r"os_error_code='(\d+)'", text)
    return code or "", os.strerror(int(system[1])) if system else text[:200]


def _contrast(found: dict[str, str], needed: dict[str, str], most: int = 4) -> str:
    """The first few differences between two tables of arrays, in words."""
    names = [name for name in needed | found if found.get(name) != needed.get(name)]
    lines = [f"{name} ({found.get(name, 'missing')}, now {needed.get(name, 'unknown')})" for name in names[:most]]
    return ", ".join(lines) + (f", and {len(names) - most} more" if len(names) > most else "")


@contextlib.contextmanager
def open_for_saving(run: Path, plan: Experiment) -> Iterator["Saver"]:
    """Opens a run's checkpoints; on leaving waits for the last save to be on disk.

    Raises:
        UserError: they cannot be written.
    """
    policies = ocp.training.preservation_policies
    keep: list[Any] = [policies.LatestN(plan.keep_last)]
    if plan.keep_every:
        keep.append(policies.EveryNSteps(plan.keep_every))
    with _open(run, plan, policies.AnyPreservationPolicy(keep)) as saver:
        yield saver


@contextlib.contextmanager
def open_best(run: Path, plan: Experiment) -> Iterator["Saver"]:
    """Opens the place of a run's best checkpoint, of which there is one: the one that was saved last."""
    with _open(run, plan, ocp.training.preservation_policies.LatestN(1), best=True) as saver:
        yield saver


@contextlib.contextmanager
def _open(run: Path, plan: Experiment, policy: Any, best: bool = False) -> Iterator["Saver"]:
    path = folder(run, best)
    with _quiet_threads():
        with _in_one_line(path):
            opened = ocp.training.Checkpointer(str(path), preservation_policy=policy, cleanup_tmp_directories=True)
        saver = Saver(opened, path, plan.config, best)
        try:
            yield saver
        except BaseException:
            # What closing fails of now, follows. Orbax raises one error object again and again: nested contexts would
            # make it the cause of itself, over which contextlib's ExitStack loops for ever.
            for close in (saver.close, opened.close):
                with contextlib.suppress(Exception):
                    close()
            raise
        with _in_one_line(path):
            saver.close()
            opened.close()


@dataclasses.dataclass
class Saver:
    """Saves states of one run, one at a time.

    Attributes:
        checkpointer: Orbax's.
        path: where it saves.
        config: the run's.
        best: whether any state replaces the one there, rather than only a later one.
    """

    checkpointer: ocp.training.Checkpointer
    path: Path
    config: cfg.Config
    best: bool = False
    _saving: Any = None

    def save(self, state: TrainState, record: dict[str, Any] | None = None) -> None:
        """Starts to save a state under its step; nothing where that step is saved. Safe to donate `state` after.

        First it waits for the save before, and raises what that failed of: Orbax keeps a thread for each that nobody
        has waited for.

        Args:
            state: the state.
            record: what `Restored.record` is to be, as JSON has it.

        Raises:
            UserError: it cannot be written; or a later step has been saved, which is not to be lost to an earlier one.
        """
        self.close()
        step, newest = int(state.step), self.checkpointer.latest
        if newest is not None and not self.best and step <= newest.step:
            if step == newest.step:
                return
            raise UserError(f"{self.path}: holds step {newest.step}, which {step} would replace; choose another --out")
        # A copy, because on CPU Orbax's background writer reads the very buffers that the next step is given.
        copy = jax.tree.map(jnp.copy, state)
        about = {"config": json.loads(cfg.to_json(self.config)), "versions": versions(), "record": record}
        with _in_one_line(self.path):
            self._saving = self.checkpointer.save_async(
                step, copy, force=True, overwrite=self.best, custom_metadata=about
            )

    def close(self) -> None:
        """Waits for what is being saved."""
        saving, self._saving = self._saving, None
        if saving is not None:
            with _in_one_line(self.path):
                saving.result()


@contextlib.contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Makes what saving fails of one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        code, text = _code(error)
        if not isinstance(error, OSError) and not code:  # Not of TensorStore.
            raise
        said = refusal(error if isinstance(error, OSError) or code == "RESOURCE_EXHAUSTED" else ValueError(text))
        what = f"cannot be written: {said}. The same command goes on from the newest checkpoint"
        raise UserError(f"{path}: {what}") from error


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """Keeps TensorStore's threads from printing a page for every array that they could not write."""
    before = sys.unraisablehook

    def show(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = show
    warnings.filterwarnings("ignore", "coroutine 'async_serialize", RuntimeWarning)
    yield
    sys.unraisablehook = before  # Not after an error: the threads may still print when all else is over.


def versions() -> dict[str, str]:
    """Versions of the libraries that the numbers of a run depend on."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {"jaxgan": jaxgan.__version__} | {name: metadata.version(name) for name in libraries}


def _check_config(path: Path, saved: dict[str, Any], plan: Experiment) -> None:
    changed = cfg.differences(cfg.from_json(json.dumps(saved["config"]), str(path)), plan.config)
    if changed:
        raise UserError(f"{path}: made by another config: {', '.join(changed)}")
