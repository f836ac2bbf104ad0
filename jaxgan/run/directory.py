"""A run's directory: its config, its lock, its files.

config.json         the resolved config, enough to rebuild it
data.json           what the data were: their shape, classes and hash
checkpoints/        states, a folder each named by its step
metrics.jsonl       a line of metrics every few steps
tensorboard/        the same for TensorBoard
samples/            pictures of the same latents over time, named by step; samples.gif when it has ended
neighbours.png      when it has ended, samples beside the real pictures nearest to them
losses.png          both losses and the discriminator's opinions, spans that are not healthy shaded
best/               the best checkpoint, where the config says by what
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import Source
from jaxgan.run import build, checkpoint, growth, parallel
from jaxgan.support.errors import UserError


def is_run(path: Path) -> bool:
    """Whether a directory holds a run."""
    return (path / "config.json").is_file()


def read_config(run: Path) -> cfg.Config:
    """The config of a run.

    Raises:
        UserError: there is no run, or its config.json is damaged.
    """
    path = run / "config.json"
    if not path.is_file():
        raise UserError(f"{run}: not a run (it has no config.json)")
    return cfg.from_json(path.read_text(), str(path))


def as_begun(run: Path, config: cfg.Config) -> cfg.Config:
    """The config, with the form of convolutions that a run from before there was a choice of it goes on in."""
    if is_run(run) and read_config(run).quick_steps is None:
        return dataclasses.replace(config, quick_steps=None)
    return config


def check_config(run: Path, config: cfg.Config) -> None:
    """Refuses a directory that holds a run of another config.

    Raises:
        UserError: names the fields that differ.
    """
    if is_run(run) and (changed := cfg.differences(read_config(run), config)):
        raise UserError(f"{run}: made by another config: {', '.join(changed)}; choose another --out, or delete it")


def write_config(run: Path, config: cfg.Config) -> None:
    """Writes a run's config.json, whole or not at all."""
    write_atomically(run / "config.json", cfg.to_json(config))


def check_data(run: Path, source: Source) -> None:
    """Refuses to go on with other data; what they are is kept in data.json.

    Raises:
        UserError: the data are not those that the run began with.
    """
    if changed := changed_data(run, source):
        raise UserError(
            f"{run}: began with other data: {', '.join(changed)}; bring those back, choose another --out, or delete it"
        )
    if parallel.is_first():
        write_atomically(run / "data.json", json.dumps(_facts(source), indent=2) + "\n")


def changed_data(run: Path, source: Source) -> list[str]:
    """In what the data are not those that a run began with, as (before, now); nothing where that is not known."""
    path = run / "data.json"
    found = _facts(source)
    before = _read_data(path) if path.is_file() else found
    if before["identity"] is None:  # Of a generator that was trained elsewhere, on what is not known.
        before = before | {"identity": source.identity}
    return [f"{name} ({before[name]}, now {value})" for name, value in found.items() if before[name] != value]


def _facts(source: Source) -> dict[str, Any]:
    return {"shape": list(source.shape), "classes": source.classes, "identity": source.identity}


def _read_data(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
        return {name: found[name] for name in ("shape", "classes", "identity")}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: is missing or damaged; `jaxgan train {path.parent}` writes it anew if it is deleted"
        ) from None


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader, or a kill, never meets half of it."""
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


@contextlib.contextmanager
def lock(run: Path) -> Iterator[None]:
    """Makes a run's directory and holds it for this process; the system lets go of it however the process ends.

    Raises:
        UserError: another process trains in it, or it cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(run / ".lock", blocking=False)
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"{run}: another process is training in it; wait for it, or choose another --out") from None
    except OSError as error:
        raise UserError(f"{run}: cannot be written: {error.strerror}") from error
    with lock:
        yield


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run as it is read back.

    Attributes:
        config: its config.
        game: its game.
        state: its newest readable state.
        shape: shape of one image, of the full size.
        classes: number of labels; 0 if not conditional.
        unreadable: newer checkpoints that are damaged.
    """

    config: cfg.Config
    game: train_step.Game
    state: train_step.TrainState
    shape: tuple[int, ...]
    classes: int
    unreadable: list[Path]


def read(run: Path, best: bool = False) -> Trained:
    """Reads a run's newest checkpoint, or its best one, while it trains or after.

    Raises:
        UserError: no run, or no checkpoint that can be read.
    """
    config = read_config(run)
    data = _read_data(run / "data.json")
    shape, classes = tuple(data["shape"]), data["classes"]
    placement = parallel.place(devices=jax.local_devices()[:1])

    def game(step: int) -> train_step.Game:
        return build.game(config, shape, classes, stage=growth.stage_of(config, step))

    restored = checkpoint.restore(
        run, config, lambda step: abstract_state(config, game(step), shape, classes, placement), best
    )
    if restored is None and best:
        raise UserError(f"{run}: has no best checkpoint; train with --best")
    if restored is None:
        raise UserError(f"{run}: has no checkpoint yet; let it train for {config.checkpoint_every} steps")
    return Trained(config, game(int(restored.state.step)), restored.state, shape, classes, restored.unreadable)


def read_pictures(run: Path, best: bool = False, label: int | None = None) -> Trained:
    """As `read`, for a command that draws pictures, perhaps of one class.

    Raises:
        UserError: as `read`, or the run makes points, or has no such class.
    """
    trained = read(run, best)
    if len(trained.shape) == 1:
        raise UserError(f"{run}: makes points, not pictures; look at {run}/samples.gif, or `jaxgan modes {run}`")
    if label is not None and not trained.classes:
        raise UserError(f"--label {label}: {run} is not conditional; train with --conditional")
    if label is not None and not 0 <= label < trained.classes:
        raise UserError(f"--label {label}: {run} has classes 0 to {trained.classes - 1}")
    return trained


def digest(tree: Any) -> str:
    """SHA-256 of a pytree of arrays: of every leaf's path, dtype, shape and bytes."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def initial_state(
    config: cfg.Config, game: train_step.Game, source: Source, placement: parallel.Placement
) -> train_step.TrainState:
    """A run's state before the first step, made where it belongs."""
    abstract = abstract_state(config, game, source.shape, source.classes, placement)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    make = functools.partial(init, config, game, source.shape, source.classes, config.seed)
    return jax.jit(make, out_shardings=shardings)()


def abstract_state(
    config: cfg.Config, game: train_step.Game, shape: tuple[int, ...], classes: int, placement: parallel.Placement
) -> train_step.TrainState:
    """Shapes, dtypes and placement of a run's state, without computing it."""
    state = jax.eval_shape(functools.partial(init, config, game, shape, classes, config.seed))
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        parallel.shard_state(placement, state),
    )


def init(
    config: cfg.Config, game: train_step.Game, shape: tuple[int, ...], classes: int, seed: int | jax.Array
) -> train_step.TrainState:
    """The state before the first step, as a traceable function of the seed.

    Args:
        config: the experiment.
        game: its game.
        shape: shape of one example.
        classes: number of labels; 0 if there are none.
        seed: of the parameters.
    """
    count = config.batch_size * config.discriminator_updates
    batch = {"image": jnp.zeros((count, *shape), jnp.float32)}
    if classes:
        batch["label"] = jnp.zeros(count, jnp.int32)
    return train_step.init(game, batch, jax.random.key(seed))
