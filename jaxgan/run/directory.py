"""A run's directory: its config, its lock, its files.

config.json         the resolved config, enough to rebuild it
data.json           what the data were: their shape, classes and hash; width and height, where they are no squares
origin.json         of a run that began with others' networks: whose, at which step, and their hash
checkpoints/        states, a folder each named by its step
metrics.jsonl       a line of metrics every few steps
times.jsonl         how many seconds it took to get to which step
tensorboard/        the same for TensorBoard
samples/            pictures of the same latents over time, named by step; samples.gif when it has ended
neighbours.png      when it has ended, samples beside the real pictures nearest to them
measures.png        measures against the data, where the config says how often
losses.png          both losses and the discriminator's opinions, spans that are not healthy shaded
best/               the best checkpoint, where the config says by what
"""

import contextlib
import dataclasses
import glob
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import Source, latents
from jaxgan.run import build, checkpoint, networks, parallel
from jaxgan.run.experiment import Experiment
from jaxgan.support import images
from jaxgan.support.errors import UserError
from jaxgan.support.files import clear_partial, in_one_line, is_file, read_text, write_atomically


def is_run(path: Path) -> bool:
    """Whether a directory holds a run."""
    return is_file(path / "config.json")


def is_trained(path: Path) -> bool:
    """Whether `read` finds something: a run, a file of networks, or networks that ship."""
    return is_run(path) or networks.file_of(path) is not None


def output(run: Path, name: str) -> Path:
    """Where a file that is made of a run goes, if nobody says: into a directory, beside a file."""
    return run / name if networks.file_of(run) is None else run.with_name(f"{run.stem}-{name}")


def read_config(run: Path) -> cfg.Config:
    """The config of a run, or of a file of its networks.

    Raises:
        UserError: there is no run, or its config.json is damaged.
    """
    if file := networks.file_of(run):
        return _read_file(file)[1].config
    path = run / "config.json"
    if not is_file(path):
        raise UserError(f"{run}: not a run (it has no config.json)")
    return cfg.from_json(read_text(path), str(path))


def as_begun(run: Path, config: cfg.Config) -> cfg.Config:
    """The config, doing what a run does that began before there was a choice of it (`config.BEFORE`)."""
    return cfg.following(config, read_config(run)) if is_run(run) else config


def check_config(run: Path, config: cfg.Config) -> None:
    """Refuses a directory that holds a run of another config, or the pictures.

    Raises:
        UserError: names the fields that differ, or the folder.
    """
    if config.data and Path(config.data).absolute() == run.absolute():
        raise UserError(f"{run}: holds the pictures to learn from; choose another --out")
    if is_run(run) and (changed := cfg.differences(read_config(run), config)):
        raise UserError(f"{run}: made by another config: {', '.join(changed)}; choose another --out, or delete it")


def write_config(run: Path, config: cfg.Config) -> None:
    """Writes a run's config.json, whole or not at all."""
    write_atomically(run / "config.json", cfg.to_json(config))


def check_data(run: Path, source: Source, shown: tuple[int, int] | None = None) -> None:
    """Refuses to go on with other data; what they are is kept in data.json.

    Raises:
        UserError: the data are not those that the run began with.
    """
    if changed := changed_data(run, source):
        raise UserError(
            f"{run}: began with other data: {', '.join(changed)}; bring those back, choose another --out, or delete it"
        )
    if parallel.is_first():
        facts = _facts(source) | ({"shown": list(shown)} if shown else {})
        write_atomically(run / "data.json", json.dumps(facts, indent=2) + "\n")


def changed_data(run: Path, source: Source) -> list[str]:
    """In what the data are not those that a run began with, as (before, now); nothing where that is not known."""
    path = run / "data.json"
    found = _facts(source)
    before = _read_data(path) if is_file(path) else found
    if before["identity"] is None:  # Of a generator that was trained elsewhere, on what is not known.
        before = before | {"identity": source.identity}
    compared = [name for name in found if name != "autoencoder"]  # Which that is, the identity says.
    return [f"{name} ({before[name]}, now {found[name]})" for name in compared if before[name] != found[name]]


def _facts(source: Source) -> dict[str, Any]:
    found = {"shape": list(source.shape), "classes": source.classes, "identity": source.identity}
    held = latents.of(source)
    return found | ({"autoencoder": dataclasses.asdict(held.autoencoder)} if held else {})


def _read_data(path: Path) -> dict[str, Any]:
    try:
        if not is_file(path):
            raise ValueError
        found = json.loads(read_text(path))
        shape, classes, identity = (found[name] for name in ("shape", "classes", "identity"))
        if not (isinstance(shape, list) and all(type(number) is int for number in [*shape, classes])):
            raise ValueError
        shown = tuple(map(int, found["shown"])) if "shown" in found else None
        if shown and (len(shown) != 2 or min(shown) < 1):
            raise ValueError
        encoder = latents.Autoencoder(**found["autoencoder"]) if "autoencoder" in found else None
        return {"shape": shape, "classes": classes, "identity": identity, "shown": shown, "autoencoder": encoder}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: is missing or damaged; `jaxgan train {path.parent}` writes it anew if it is deleted"
        ) from None


@contextlib.contextmanager
def lock(run: Path) -> Iterator[None]:
    """Makes a run's directory and holds it for this process; the system lets go of it however the process ends.

    Raises:
        UserError: another process trains in it, or it cannot be made.
    """
    if glob.has_magic(str(run.absolute())):  # Orbax would look for other paths, and lose the checkpoints.
        raise UserError(f"{run}: a path with *, ? or [ cannot hold checkpoints; choose another --out")
    with in_one_line(run, "written"):
        run.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(run / ".lock", blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"{run}: another process is training in it; wait for it, or choose another --out") from None
    with lock:
        for folder in (run, run / "samples"):
            clear_partial(folder)
        try:
            yield
        except BaseException:
            if not is_run(run):  # A folder of something else, perhaps.
                (run / ".lock").unlink(missing_ok=True)
            raise


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run as it is read back.

    Attributes:
        experiment: what it is made of.
        state: its newest readable state.
        damaged: newer checkpoints that are not whole.
        shown: width and height that its pictures should have, where they are squares and should not be.
        autoencoder: of which its examples are latents; None where they are not.
    """

    experiment: Experiment
    state: train_step.TrainState
    damaged: list[checkpoint.Damaged]
    shown: tuple[int, int] | None = None
    autoencoder: latents.Autoencoder | None = None

    def put_right(self, pictures: np.ndarray) -> np.ndarray:
        """Its pictures uint8 [N, H, W, C], of the shape that they should have."""
        if self.shown is None or not len(pictures):
            return pictures
        return np.stack([images.resized(picture, self.shown) for picture in pictures])

    @property
    def config(self) -> cfg.Config:
        """Its config."""
        return self.experiment.config

    @property
    def about(self) -> networks.About:
        """What its networks are of."""
        return networks.About(self.config, self.experiment.shape, self.classes, self.shown, self.autoencoder)

    @property
    def game(self) -> train_step.Game:
        """The game that the state is of."""
        return self.experiment.stage_of(int(self.state.step)).game

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one picture, or point, of the full size."""
        return self.experiment.pictured

    @property
    def classes(self) -> int:
        """Number of labels; 0 if not conditional."""
        return self.experiment.classes


def read(run: Path, best: bool = False) -> Trained:
    """Reads a run's newest checkpoint, or its best one, while it trains or after.

    Args:
        run: its directory, a file that `jaxgan export` made of it, or the name of networks that ship ("emoji").
        best: whether its best checkpoint is wanted.

    Raises:
        UserError: no run, or as `checkpoint.restore`.
    """
    placement = parallel.place(devices=jax.local_devices()[:1])
    if file := networks.file_of(run):
        if best:
            raise UserError(f"--best: {run} holds one state alone; leave it out")
        found, about = _read_file(file)
        experiment = build.experiment(about.config, about.shape, about.classes)
        experiment = build.decoding(experiment, about.autoencoder)
        stage = experiment.stage_of(found.step or 0)
        state = networks.fill(found, experiment.abstract_state(stage, placement))
        return Trained(experiment, _shown(experiment, state), [], about.shown, about.autoencoder)
    config = read_config(run)
    data = _read_data(run / "data.json")
    experiment = build.decoding(build.experiment(config, tuple(data["shape"]), data["classes"]), data["autoencoder"])
    restored = checkpoint.restore(
        run, experiment, lambda step: experiment.abstract_state(experiment.stage_of(step), placement), best
    )
    if restored is None and best:
        raise UserError(f"{run}: has no best checkpoint; train with --best")
    if restored is None:
        raise UserError(f"{run}: has no checkpoint yet; let it train for {experiment.checkpoint_every} steps")
    state = _shown(experiment, restored.state)
    return Trained(experiment, state, restored.damaged, data["shown"], data["autoencoder"])


def _shown(experiment: Experiment, state: train_step.TrainState) -> train_step.TrainState:
    """The state, its average able to make pictures where it is of latents."""
    return dataclasses.replace(state, ema=experiment.shown(state.ema))


def _read_file(file: Path) -> tuple[networks.Networks, networks.About]:
    found = networks.load(file) if is_file(file) else None
    if found is None or found.about is None:
        raise UserError(f"{file}: not a run's networks, as `jaxgan export` writes them; `jaxgan import` reads others")
    return found, found.about


def read_pictures(run: Path, best: bool = False, label: int | None = None) -> Trained:
    """As `read`, for a command that draws pictures, perhaps of one class.

    Raises:
        UserError: as `read`, or the run makes points, or has no such class.
    """
    trained = read(run, best)
    check_pictures(run, trained, label)
    return trained


def check_pictures(run: Path, trained: Trained, label: int | None = None) -> None:
    """Raises UserError where a run that was read makes points, or has no such class."""
    if len(trained.shape) == 1:
        raise UserError(f"{run}: makes points, not pictures; look at {run}/samples.gif, or `jaxgan modes {run}`")
    if label is not None and not trained.classes:
        raise UserError(f"--label {label}: {run} is not conditional; train with --conditional")
    if label is not None and not 0 <= label < trained.classes:
        raise UserError(f"--label {label}: {run} has classes 0 to {trained.classes - 1}")
