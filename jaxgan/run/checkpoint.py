"""Checkpoints with Orbax: asynchronous, atomic, a few kept; restored exactly, or not at all."""

import contextlib
import dataclasses
import json
import logging
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
from jaxgan.support.errors import UserError
from jaxgan.train_step import TrainState

absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax tells of every directory it makes.
logging.getLogger("jax._src.array").setLevel(logging.ERROR)


@dataclasses.dataclass(frozen=True)
class Restored:
    """What `restore` found.

    Attributes:
        state: the newest state that could be read.
        unreadable: newer checkpoints that could not, newest first.
        versions: the versions of the libraries that wrote it.
        record: what `Saver.save` was given with it; None of checkpoints from before.
    """

    state: TrainState
    unreadable: list[Path]
    versions: dict[str, str]
    record: dict[str, Any] | None = None


def folder(run: Path, best: bool = False) -> Path:
    """Where a run keeps its checkpoints, or its best one, a folder each named by its step."""
    return run.absolute() / ("best" if best else "checkpoints")


def steps(run: Path, best: bool = False) -> list[int]:
    """Steps of a run's finished checkpoints, in order; Orbax renames one into place when it is whole."""
    if not folder(run, best).is_dir():
        return []
    return sorted(int(path.name) for path in folder(run, best).iterdir() if path.name.isdecimal())


def restore(
    run: Path, config: cfg.Config, abstract: Callable[[int], TrainState], best: bool = False
) -> Restored | None:
    """Restores the newest readable checkpoint of a run, or the best one. Writes nothing.

    Args:
        run: the run's directory.
        config: the config that the run must have been made by.
        abstract: from a step to shapes, dtypes and shardings of its state.
        best: that of `open_best`.

    Returns:
        None where there is no checkpoint yet.

    Raises:
        UserError: a checkpoint was made by another config, or none can be read.
    """
    unreadable: list[Path] = []
    for step in reversed(steps(run, best)):
        path = folder(run, best) / str(step)
        loaded = _load(path, config, abstract(step))
        if loaded is None:
            unreadable.append(path)
        else:
            return Restored(loaded[0], unreadable, loaded[1]["versions"], loaded[1].get("record"))
    if unreadable:
        listed = ", ".join(str(path) for path in unreadable)
        raise UserError(f"{listed}: no checkpoint can be read (truncated?); delete {run} to start afresh")
    return None


def restore_step(run: Path, config: cfg.Config, abstract: TrainState, step: int) -> TrainState:
    """Restores the checkpoint of one step, for a run that goes on together with others.

    Raises:
        UserError: it was made by another config, or cannot be read.
    """
    path = folder(run) / str(step)
    loaded = _load(path, config, abstract)
    if loaded is None:
        raise UserError(f"{path}: cannot be read (truncated?); delete it, and the runs go on from an earlier one")
    return loaded[0]


def _load(path: Path, config: cfg.Config, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """A checkpoint's state and what it says of itself, or None where it cannot be read."""
    try:
        _read_through(path)
        saved: Any = ocp.metadata(str(path)).custom_metadata
        if not isinstance(saved, dict):
            raise ValueError("no metadata")
        _check_config(path, saved, config)
        return ocp.load(str(path), abstract), saved
    except UserError:
        raise
    except Exception:  # Whatever a truncated or missing file leads to, in any of the libraries below.
        return None


def record(run: Path, step: int | None = None, best: bool = False) -> dict[str, Any] | None:
    """What `Saver.save` was given with a checkpoint, without its state; None where there is nothing to be read.

    Args:
        run: the run's directory.
        step: of the checkpoint; the newest one's if None.
        best: that of `open_best`.
    """
    try:
        step = steps(run, best)[-1] if step is None else step
        saved: Any = ocp.metadata(str(folder(run, best) / str(step))).custom_metadata
        return saved.get("record")
    except Exception:  # As in `_load`.
        return None


@contextlib.contextmanager
def open_for_saving(run: Path, config: cfg.Config) -> Iterator["Saver"]:
    """Opens a run's checkpoints; on leaving waits for the last save to be on disk."""
    policies = ocp.training.preservation_policies
    keep: list[Any] = [policies.LatestN(config.keep_last)]
    if config.keep_every:
        keep.append(policies.EveryNSteps(config.keep_every))
    policy: Any = policies.AnyPreservationPolicy(keep)
    with _open(folder(run), policy) as opened, contextlib.closing(Saver(opened, config)) as saver:
        yield saver


@contextlib.contextmanager
def open_best(run: Path, config: cfg.Config) -> Iterator["Saver"]:
    """Opens the place of a run's best checkpoint, of which there is one."""
    policy = ocp.training.preservation_policies.LatestN(1)
    with _open(folder(run, best=True), policy) as opened, contextlib.closing(Saver(opened, config)) as saver:
        yield saver


def _open(path: Path, policy: Any) -> ocp.training.Checkpointer:
    return ocp.training.Checkpointer(str(path), preservation_policy=policy, cleanup_tmp_directories=True)


@dataclasses.dataclass
class Saver:
    """Saves states of one run, one at a time."""

    checkpointer: ocp.training.Checkpointer
    config: cfg.Config
    _saving: Any = None

    def save(self, state: TrainState, record: dict[str, Any] | None = None) -> None:
        """Starts to save a state under its step; nothing where that step is saved. Safe to donate `state` after.

        First it waits for the save before, and raises what that failed of: Orbax keeps a thread for each that nobody
        has waited for.

        Args:
            state: of the run.
            record: what is kept with it, as JSON can hold it.
        """
        self.close()
        step = int(state.step)
        if any(checkpoint.step == step for checkpoint in self.checkpointer.checkpoints):
            return
        # A copy, because on CPU Orbax's background writer reads the very buffers that the next step is given.
        copy = jax.tree.map(jnp.copy, state)
        about = {"config": json.loads(cfg.to_json(self.config)), "versions": versions(), "record": record}
        self._saving = self.checkpointer.save_async(step, copy, force=True, custom_metadata=about)

    def close(self) -> None:
        """Waits for what is being saved."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()


def versions() -> dict[str, str]:
    """Versions of the libraries that the numbers of a run depend on."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {"jaxgan": jaxgan.__version__} | {name: metadata.version(name) for name in libraries}


def _read_through(path: Path) -> None:
    """Reads all that a checkpoint holds and raises what a damaged file leads to.

    Orbax would raise it too, but goes on to print a page for every file from its background threads.
    """
    for store in path.glob("*/manifest.ocdbt"):
        opened = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{store.parent}/"}).result()
        for reading in [opened.read(name) for name in opened.list().result()]:
            reading.result()


def _check_config(path: Path, saved: dict[str, Any], config: cfg.Config) -> None:
    changed = cfg.differences(cfg.from_json(json.dumps(saved["config"]), str(path)), config)
    if changed:
        raise UserError(f"{path}: made by another config: {', '.join(changed)}")
