"""What a run leaves behind while it trains: lines of metrics, pictures, a diagnosis."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import train_step
from jaxgan.data import Source
from jaxgan.evaluate import diversity, modes, neighbours
from jaxgan.latent import sampling
from jaxgan.run import checkpoint, diagnosis, history, metrics, plots
from jaxgan.run.experiment import Experiment
from jaxgan.step.keys import stream
from jaxgan.support import images

_COMPARED = 256  # Samples, and real examples, whose variety is compared at every look.
_FRAMES = 60  # Of samples.gif, at the most.


class Recorder:
    """Records one run, in one process. Use as a context manager.

    Attributes:
        history: of all metrics so far, those of before a resume included.
        diagnosis: what was found at the last look.
        kept: of the state that is kept as the best one, its step and its score.
        improved: whether the last look was better than that.
        nearest: at the end, the real pictures nearest to samples.
    """

    def __init__(
        self, run: Path, plan: Experiment, source: Source, step: int, mark: dict[str, Any] | None = None
    ) -> None:
        """Opens a run's files where they stand.

        Args:
            run: its directory.
            plan: what it is made of.
            source: its data.
            step: the steps done.
            mark: what `mark` gave then; None where the checkpoint has none, or there is no checkpoint.
        """
        self._run, self._plan = run, plan
        path = run / "metrics.jsonl"
        self.kept = _kept(run, plan.best)
        if step >= plan.steps:
            offset = None  # It stays as it is.
        elif mark:
            offset = mark["offset"]
        else:
            offset = metrics.offset_after(path, step, plan.sample_every)
        self._writer = metrics.MetricsWriter(run, offset, step)
        self.history = history.read(path, mark)
        self.improved = False
        self.diagnosis = diagnosis.diagnose(self.history, plan.loss)
        self._mark: dict[str, Any] | None = None  # That of before a look which is made only at the end of a run.
        self._source = source.replace(part=0, parts=1)  # All processes' examples, whichever this one is fed with.
        self._reference: np.ndarray | None = None
        self.nearest: neighbours.Nearest | None = None

    def write(self, step: int, collected: dict[str, np.ndarray]) -> None:
        """Writes the lines that are due among consecutive steps.

        Args:
            step: the step before the first of them.
            collected: metrics, arrays [steps].
        """
        count = len(next(iter(collected.values())))
        for index in range(count):
            now = step + index + 1
            if now % self._plan.log_every == 0:
                line = {name: float(values[index]) for name, values in collected.items()}
                self._writer.write(now, line)
                self.history.add({"step": now, **line})

    def look(self, game: train_step.Game, step: int, ema: Any, discriminator: Any) -> None:
        """Draws and judges samples: a sheet, a line of measures, a diagnosis.

        A look that is made only because the step is the run's last is none of those of a longer run.

        Args:
            game: the rules.
            step: the steps done.
            ema: variables of the averaged generator.
            discriminator: variables of the discriminator.
        """
        plan = self._plan
        if step % plan.sample_every:
            self._mark = self.mark()
        if self._reference is None:
            self._reference = _examples(self._source, _COMPARED)
        key = stream(jax.random.key(plan.seed), "look")
        latent = train_step.latents(game, key, modes.POINT_SAMPLES if self._points else len(self._reference))
        label = None
        if self._source.classes:
            label = np.arange(len(latent), dtype=np.int32) % self._source.classes
        samples = sampling.outputs(game, ema, latent, label)
        compared = jax.device_get(diversity.compare(self._reference, samples[: len(self._reference)]))
        line: dict[str, Any] = {f"diversity/{name}": float(value) for name, value in compared.items()}
        if step == plan.steps and not self._points and (near := neighbours.judge(samples, self._source.blocks())):
            self.nearest = near
            images.save(self._run / "neighbours.png", near.sheet)
        if isinstance(plan.judge, modes.Stacked) and step == plan.steps:
            line |= modes.metrics(plan.judge.judge(game, ema))
        if isinstance(plan.judge, modes.Points):
            mix = plan.judge.mixture
            reach = 1.25 * float(np.max(mix.centres))
            line |= modes.metrics(modes.judge_points(samples, mix))
            sheet = plots.points(step, samples, mix.centres, sampling.landscape(game, discriminator, reach), reach)
        else:
            sheet = sampling.fixed_sheet(game, ema, self._source.classes, jax.random.key(plan.seed))
        self.history.add({"step": step, **line})
        self.diagnosis = diagnosis.diagnose(self.history, plan.loss)
        self.history.judge(step, self.diagnosis.state)
        self._writer.write(step, line | {"diagnosis": self.diagnosis.state})
        images.save(self._run / "samples" / f"{step:06}.png", sheet)
        self._writer.write_image(step, "samples", sheet)
        self._writer.flush()
        self._compare(step, line.get(plan.best))

    def _compare(self, step: int, score: float | None) -> None:
        """Compares a look with the best one that is kept."""
        best = self._plan.best
        self.improved = score is not None and history.better(best, score, self.kept and self.kept[1])
        if self.improved:
            self.kept = (step, score)

    @property
    def since(self) -> int:
        """How many looks came since the best one by the experiment's `best`."""
        return self.history.best.get(self._plan.best, {"since": 0})["since"]

    def mark(self) -> dict[str, Any]:
        """Where a run that goes on from here finds its lines: to be kept with a checkpoint.

        All lines up to now are handed to the system before. A look that a longer run would not make is left out.

        Returns:
            "offset", bytes of metrics.jsonl, and "history" of the lines up to there, as JSON can hold it.
        """
        offset = self._writer.flush()
        return self._mark or {"offset": offset, "history": self.history.to_json()}

    def best_record(self) -> dict[str, Any] | None:
        """What is to be kept with the best state: by what it is the best, and its score."""
        return {"best": self._plan.best, "score": self.kept[1]} if self.kept else None

    def finish(self) -> None:
        """Draws what shows the whole run: losses.png and samples.gif."""
        self._writer.flush()
        plots.plot_losses(self._run, self.history)
        sheets = [path for path in (self._run / "samples").glob("*.png") if path.stem.isdecimal()]
        sheets = sorted(sheets, key=lambda path: int(path.stem))[:: math.ceil(len(sheets) / _FRAMES) or 1]
        frames = [frame for path in sheets if (frame := _frame(path)) is not None]
        if len(frames) > 1:
            images.save_animation(self._run / "samples.gif", frames, 8)

    @property
    def _points(self) -> bool:
        return isinstance(self._plan.judge, modes.Points)

    def __enter__(self) -> "Recorder":
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)


def _kept(run: Path, best: str) -> tuple[int, float] | None:
    """Step and score of the state that is kept as the best; None where there is none, or its score is not known."""
    steps = checkpoint.steps(run, best=True) if best else []
    if not steps:
        return None
    record = checkpoint.record(run, best=True) or {}
    if record.get("best") == best:
        return steps[-1], record["score"]
    # It was chosen by another metric, or before there were records: what the look then found is in its line.
    looks = [line for line in metrics.lines(run / "metrics.jsonl") if line["step"] == steps[-1] and best in line]
    return (steps[-1], looks[0][best]) if looks else None


def _frame(path: Path) -> np.ndarray | None:
    """A sheet of samples, uint8 [H, W, C]; None if it is damaged, or no picture as a sheet is."""
    try:
        frame = images.load(path)
    except (OSError, SyntaxError, ValueError):  # What Pillow raises for files that are not what they seem.
        return None
    return frame if frame.dtype == np.uint8 and frame.shape[-1] in (1, 3, 4) else None


def _examples(source: Source, count: int) -> np.ndarray:
    """The first real examples of a run [count, ...]."""
    found: list[np.ndarray] = []
    while sum(map(len, found)) < count:
        found.append(np.asarray(source.batch(source.resident, source[len(found)])["image"]))
    return np.concatenate(found)[:count]
