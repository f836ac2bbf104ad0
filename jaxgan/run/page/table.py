"""What all who look at the page share, and nobody changes: the generator that is played with, and the runs to watch."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.cli.latent import Mix
from jaxgan.cli.sample import Sample
from jaxgan.latent import directions, mix, sampling
from jaxgan.run import directory, handle, metrics
from jaxgan.support.errors import UserError

COUNT = 8
"""Directions that have sliders, at the most."""
_PLOTS = threading.Lock()  # Matplotlib is not for several threads at once.


class Table:
    """A run's generator, compiled, and the runs of a folder.

    Attributes:
        run: as the user named it.
        folder: where the runs to watch are; None: only `run`.
        trained: the run; None where there is no generator to play with.
        why: of each tab that has nothing to show, why.
        found: the strongest directions, [count, size].
    """

    def __init__(self, run: Path, folder: Path | None = None) -> None:
        """Reads the run and compiles what sliders move; a run that makes no pictures is no error here."""
        self.run, self.folder = run, folder
        self.trained: directory.Trained | None = None
        self.why: dict[str, str] = {}
        self.found = np.zeros((0, 0), np.float32)
        self._units: dict[int | None, float | jax.Array] = {}  # Of each class, once asked for.
        since = time.perf_counter()
        try:
            self.trained = directory.read_pictures(run)
        except UserError as error:
            self.why = dict.fromkeys(("generate", "directions", "mix", "project"), str(error))
        else:
            self._try("generate", self._compile_samples)
            self._try("directions", self._find_directions)
            self._try("mix", lambda: Mix(run, rows=3, columns=4).drawn(self.trained))
        self._try("train", self._check_runs)
        self.seconds = time.perf_counter() - since

    def _try(self, tab: str, first: Callable[[], Any]) -> None:
        """Has a tab do once what it will do, and remembers why it cannot."""
        try:
            first()
        except UserError as error:
            self.why[tab] = str(error)

    def _compile_samples(self) -> None:
        assert self.trained is not None
        for truncation in (None, 0.7):
            Sample(self.run, seeds="0", truncation=truncation).drawn(self.trained)

    def _find_directions(self) -> None:
        assert self.trained is not None
        matrix = directions.weights(self.trained.game, self.trained.state.ema["params"])
        self.found, _ = directions.directions(matrix, min(COUNT, len(matrix)))
        for truncation in (None, 0.7):
            self.render(self.moved(self.point(0, truncation, None), [1.0], None), None)

    def _check_runs(self) -> None:
        if not self.runs():
            raise UserError(f"{self.folder or self.run}: no runs here yet; `jaxgan train mnist_dcgan` makes one")

    # The generator.

    def point(self, seed: int, truncation: float | None, label: int | None) -> jax.Array:
        """What directions move, of a seed as of `sample --seeds`: its styles [L, W], or its latent [size]."""
        assert self.trained is not None
        game = self.trained.game
        psi, bound = mix.truncations(game, truncation)
        latent = sampling.latents_of(game, [seed], bound)
        if mix.has_styles(game):
            return mix.styles(game, self.trained.state.ema, latent, self._label(label), psi)[0]
        return latent[0]

    def moved(self, point: jax.Array, amounts: list[float], label: int | None) -> jax.Array:
        """A point moved along the directions, by so many standard deviations each."""
        return directions.moved(point, self.found, amounts, self._deviation(label))

    def render(self, point: jax.Array, label: int | None) -> np.ndarray:
        """The picture of a point, uint8 [H, W, C]."""
        assert self.trained is not None
        game = self.trained.game
        labels = None if point.ndim == 2 else self._label(label)
        game = mix.of_styles(game) if point.ndim == 2 else game
        return self.trained.put_right(sampling.pictures(game, self.trained.state.ema, point[None], labels))[0]

    def _deviation(self, label: int | None) -> float | jax.Array:
        assert self.trained is not None
        if label not in self._units:
            game, variables = self.trained.game, self.trained.state.ema
            self._units[label] = directions.deviation(game, variables, jax.random.key(0), self._label(label))
        return self._units[label]

    def _label(self, label: int | None) -> jax.Array | None:
        assert self.trained is not None
        return jnp.full(1, label or 0, jnp.int32) if self.trained.classes else None

    # Runs to watch.

    def runs(self) -> dict[str, Path]:
        """The runs by their names: of the folder, also those of sweeps in it; or the one alone."""
        if self.folder is None:
            return {self.run.name: self.run} if directory.is_run(self.run) else {}
        found = sorted(self.folder.glob("*/config.json")) + sorted(self.folder.glob("*/*/config.json"))
        return {str(path.parent.relative_to(self.folder)): path.parent for path in found}

    def listed(self) -> dict[str, Any]:
        """The names of the runs, and of the one to look at first: that which is played with, or which changed last."""
        runs = self.runs()
        changed = {name: _changed(path / "metrics.jsonl") for name, path in runs.items()}
        played = [name for name, path in runs.items() if path.absolute() == self.run.absolute()]
        first = played[0] if played else max(changed, key=lambda name: changed[name], default=None)
        return {"runs": list(runs), "first": first}

    def watched(self, name: str, have: Any) -> tuple[dict[str, Any], bytes]:
        """How a run stands, and the picture of its losses; only that nothing has changed, where `have` says so."""
        path = self._chosen(name)
        lines = path / "metrics.jsonl"
        steps = [int(file.stem) for file in _sheets(path)]
        state = [_changed(lines), len(steps)]
        age = max(0.0, time.time() - state[0])
        if state == have:
            return {"state": state, "age": age}, b""
        run = handle.Run(path)
        last = metrics.last(lines, "discriminator/loss")
        picture = b""
        with _PLOTS, contextlib.suppress(UserError):  # There are no losses yet.
            figure = run.losses()
            figure.set_size_inches(7, 6)
            picture = figure._repr_png_()
        about = {"steps": steps, "step": last["step"] if last else 0, "of": run.config.steps, "words": run.diagnosis}
        return {"state": state, "age": age, **about}, picture

    def sheet(self, name: str, step: int) -> bytes:
        """The sheet of samples, or of points the plot, of a step."""
        for file in _sheets(self._chosen(name)):
            if int(file.stem) == step:
                return file.read_bytes()
        raise UserError(f"{name}: has no samples of step {step}")

    def _chosen(self, name: str) -> Path:
        runs = self.runs()
        if name not in runs:
            raise UserError(f"{name}: no such run here")
        return runs[name]


def _changed(path: Path) -> float:
    """When a file was last written to; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _sheets(run: Path) -> list[Path]:
    found = [path for path in (run / "samples").glob("*.png") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem))
