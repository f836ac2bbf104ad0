"""A run in a notebook or a script: trained by one call, and looked at through what that returns."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import own
from jaxgan.data.arrays import Items, check_images, check_labels
from jaxgan.latent import mix, sampling
from jaxgan.run import build, checkpoint, diagnosis, directory, history, networks, plots, training
from jaxgan.run.recording import Look
from jaxgan.support import cache, files, images
from jaxgan.support.errors import UserError

if TYPE_CHECKING:
    from jaxgan.run.page.server import Page

__all__ = ["Look", "Run", "train"]

_UNTIL_SAVED = "jaxgan-run-"


def train(
    config: str | Path | cfg.Config = "mnist_dcgan",
    source: Any = None,
    *,
    labels: Any = None,
    out: str | Path | None = None,
    on_look: Callable[[Look], None] | None = None,
    quiet: bool = False,
    **changes: Any,
) -> "Run":
    """Trains a GAN from where its run stands to the end: `jaxgan.train`, the command `jaxgan train` as a function.

    `jaxgan.train("mnist_dcgan", steps=500).sample(16)` in a cell shows samples. Interrupting (the kernel, or Ctrl-C)
    stops after the dispatch under way, and what was reached is kept: `run.train()` goes on.

    Args:
        config: a config's name (`jaxgan configs` lists them), a Python file that makes one, the directory of a run, or
            a `Config`.
        source: the data, if not those of the config: pictures uint8 [M, H, W, C] or [M, H, W]; a folder, a set, an .npz
            file or tfds:NAME; a `Source`; or anything with a length and items, pictures or (picture, label).
        labels: integers [M] of pictures in an array; makes the networks conditional.
        out: directory of the run; if None a temporary one, which goes with the handle or this process (`Run.save` keeps
            it).
        on_look: called at every look at samples, the config's `sample_every`, with a `Look`.
        quiet: print nothing.
        **changes: fields of the config: `steps=500`, or `**{"generator.width": 32}`.

    Returns:
        A handle of the run.

    Raises:
        UserError: a field or the data are not as they must be, or `out` holds a run of another config.
        NonFiniteError: a metric became NaN or infinite; the last good checkpoint stays.
    """
    where = None if out is None else files.expanded(out)
    if isinstance(config, cfg.Config):
        chosen = config
    elif directory.is_run(path := files.expanded(config)):
        chosen, where = directory.read_config(path), where or path
    else:
        chosen = cfg.load(str(config))[1]
    data, fields = _data(source, labels)
    chosen = cfg.placed(cfg.replaced(chosen, fields | changes))
    run = Run(where or Path(tempfile.mkdtemp(prefix=_UNTIL_SAVED)), data, temporary=where is None)
    run._train(chosen, on_look, quiet)
    return run


class Run:
    """A run on disk, whether it was trained here or not. In a notebook it shows its samples.

    `jaxgan.Run("emoji")` is the generator that ships; a file that `jaxgan export` wrote is read as well.

    Attributes:
        path: its directory; of a run without `out` a temporary one until `save`.
    """

    def __init__(self, path: str | Path, source: Any = None, *, temporary: bool = False) -> None:
        """Opens a run's directory.

        Args:
            path: the directory.
            source: data that were given as an array, or otherwise in memory: needed only to train on.
            temporary: whether the directory goes with this object.
        """
        self.path = files.expanded(path)
        self._source: Any = source
        self._trained: directory.Trained | None = None
        self._page: tuple[int, Page] | None = None  # And the step of the generator on it.
        self._temporary = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True) if temporary else None

    def train(
        self, steps: int | None = None, on_look: Callable[[Look], None] | None = None, quiet: bool = False
    ) -> "Run":
        """Goes on, to the config's steps or further, and returns itself.

        Args:
            steps: how many in all; as the config has it if None.
            on_look: as in `jaxgan.train`.
            quiet: print nothing.
        """
        config = self.config if steps is None else cfg.replaced(self.config, {"steps": steps})
        self._train(config, on_look, quiet)
        return self

    def sample(
        self, count: int = 16, *, seed: int = 0, label: int | None = None, truncation: float | None = None
    ) -> Image.Image:
        """A sheet of samples of the averaged generator.

        Args:
            count: how many.
            seed: of the latents.
            label: of one class; of a conditional generator all classes in turn if None.
            truncation: less variety, more typical pictures: psi of styles, or the bound of the latents.

        Raises:
            UserError: the run makes points, or has no such class, or a number is out of range.
        """
        if count < 1:
            raise UserError(f"count must be at least 1, not {count}")
        if truncation is not None and not 0 < truncation < float("inf"):
            raise UserError(f"truncation must be above 0, not {truncation}")
        trained = directory.read_pictures(self.path, label=label)
        game = trained.game
        psi, bound = mix.truncations(game, truncation)
        latent = sampling.draw_latents(game, jax.random.key(seed), count, bound)
        made = sampling.pictures(game, trained.state.ema, latent, sampling.labels(count, trained.classes, label), psi)
        return images.pillow(images.grid(trained.put_right(made), max(1, round(count**0.5))))

    def losses(self) -> plots.Drawn:
        """A figure of the losses, D(real) and D(fake), and where the game was out of balance.

        Raises:
            UserError: there is no line of losses yet.
        """
        found = self._history()
        if not found.lines:
            raise UserError(f"{self.path}: has no losses yet; they are logged every {self.config.log_every} steps")
        return plots.losses(found)

    def play(self) -> "Page":
        """A page to play on with the generator as it is now, which a cell shows; `jaxgan play` opens the same.

        It is served on this machine alone, until `close`, or the end of this process.

        Raises:
            UserError: `jaxgan[play]` is not installed.
        """
        try:
            from jaxgan.run.page import server, table
        except ImportError as error:
            raise UserError(f"play: {error.name} is missing: pip install 'jaxgan[play]'") from None
        if self._page and self._page[0] != self.step:
            self._page[1].close()
            self._page = None
        self._page = self._page or (self.step, server.Page(table.Table(self.path)))
        return self._page[1]

    @property
    def config(self) -> cfg.Config:
        """Its config."""
        return directory.read_config(self.path)

    @property
    def step(self) -> int:
        """The steps done and saved."""
        return int(self._read().state.step) if self._alone else max(checkpoint.steps(self.path), default=0)

    @property
    def state(self) -> train_step.TrainState:
        """Its state: parameters, optimisers, average."""
        return self._read().state

    @property
    def game(self) -> train_step.Game:
        """Its networks and rules, for `jaxgan.train_step`."""
        return self._read().game

    @property
    def diagnosis(self) -> str:
        """How the game stands, in words: healthy, or what is wrong and what may help."""
        return str(diagnosis.diagnose(self._history(), self.config.loss))

    def save(self, out: str | Path) -> "Run":
        """Keeps a run that is in a temporary directory (or copies another), and returns itself.

        Raises:
            UserError: there is something at `out` already, or it cannot be written.
        """
        out = files.expanded(out)
        if out.exists():
            raise UserError(f"{out}: exists; choose another directory, or delete it")
        with files.in_one_line(out, "written"):
            partial = out.with_name(out.name + ".partial")
            shutil.copytree(self.path, partial, dirs_exist_ok=True)
            os.replace(partial, out)
        if self._temporary:
            self._temporary()
        self.path, self._temporary = out, None
        return self

    def _train(self, config: cfg.Config, on_look: Callable[[Look], None] | None, quiet: bool) -> None:
        if self._alone:
            raise UserError(f"{self.path}: networks without a run; go on with jaxgan.train(CONFIG, start={self.path})")
        self._trained = None
        source = self._source
        if source is not None and not hasattr(source, "resident"):
            source = build.of_pictures(config, source, "source")
        with _programs():
            training.train(config, self.path, quiet, source=source, on_look=on_look, closing=not quiet)

    def _read(self) -> directory.Trained:
        if self._trained is None or not (self._alone or int(self._trained.state.step) == self.step):
            self._trained = directory.read(self.path)
        return self._trained

    @property
    def _alone(self) -> bool:
        """Whether it is networks without a run."""
        return networks.file_of(self.path) is not None

    def _history(self) -> history.History:
        return history.read(self.path / "metrics.jsonl", checkpoint.record(self.path))

    def __repr__(self) -> str:
        changed = cfg.differences(cfg.Config(), self.config)
        where = f"{self.path}{' (temporary; .save(DIR) keeps it)' if self._temporary else ''}"
        return "\n".join([f"run at step {self.step} of {self.config.steps}: {where}", *(f"  {one}" for one in changed)])

    def _repr_png_(self) -> bytes | None:
        if self._alone:
            return self.sample()._repr_png_()
        sheets = sorted(self.path.glob("samples/*.png"), key=lambda path: (len(path.stem), path.stem))
        return sheets[-1].read_bytes() if sheets else None


def _data(source: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
    """What a program gave, as pictures or as a `Source`, or None where it named them; and what a config says of it."""
    is_array = isinstance(source, np.ndarray | jax.Array)
    if labels is not None and not is_array:
        raise UserError("labels: are of pictures in an array; give those as source")
    if source is None:
        return None, {}
    if isinstance(source, str | Path):
        return None, {"data": str(source)}
    if hasattr(source, "resident"):
        return source, {"data": cfg.IN_MEMORY, "conditional": source.classes > 0}
    if is_array:
        array = check_images(np.ascontiguousarray(source), "source", "M, H, W")
        known = None if labels is None else check_labels(np.asarray(labels), len(array), "labels")
        sha = hashlib.sha256(array.tobytes() + (b"" if known is None else known.tobytes())).hexdigest()
        pictures: Any = own.Loaded(array, known, sha)
    elif hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        pictures = Items(source)
    else:
        kind = type(source).__name__
        raise UserError(f"source: must be pictures uint8 [M, H, W, C], a folder or a Source, not {kind}")
    own.check_square(pictures.shape, "source")
    return pictures, {"data": cfg.IN_MEMORY, "conditional": pictures.classes > 0}


@contextlib.contextmanager
def _programs() -> Iterator[None]:
    """Has JAX keep the programs that it compiles meanwhile, unless it is told where already."""
    if jax.config.values["jax_compilation_cache_dir"] is not None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        yield
        return
    if (programs := cache.programs()) is None:
        yield
        return
    least = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    jax.config.update("jax_compilation_cache_dir", str(programs))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", cache.LEAST_SECONDS)
    compilation_cache.reset_cache()  # JAX asks once whether it keeps programs, at its first one.
    try:
        yield
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
        compilation_cache.reset_cache()
