"""What a run leaves behind while it trains: lines of metrics, pictures, a diagnosis."""

import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from rich.console import Console

from jaxgan import train_step
from jaxgan.data import Source
from jaxgan.evaluate import diversity, modes, neighbours
from jaxgan.latent import sampling
from jaxgan.run import checkpoint, clock, diagnosis, history, metrics, plots
from jaxgan.run.experiment import Experiment
from jaxgan.step.keys import stream
from jaxgan.support import images
from jaxgan.support.errors import UserError

if TYPE_CHECKING:
    from jaxgan.evaluate.report import Watch

_COMPARED = 256  # Samples, and real examples, whose variety is compared at every look.
_SEED = 1  # Of the samples that are measured, and of which real pictures they are measured against.
_FRAMES = 60  # Of samples.gif, at the most.


@dataclasses.dataclass(frozen=True)
class Look:
    """A look at samples while a run trains.

    Attributes:
        run: the run's directory.
        step: the steps done.
        metrics: what was measured of the samples, and the last line of losses, by names.
        sheet: samples of latents that stay the same, uint8 [height, width, C]; of points a plot.
        diagnosis: how the game stands, in words.
    """

    run: Path
    step: int
    metrics: dict[str, float]
    sheet: np.ndarray
    diagnosis: str


class Recorder:
    """Records one run, in one process. Use as a context manager.

    Attributes:
        history: of all metrics so far, those of before a resume included.
        diagnosis: what was found at the last look.
        kept: of the state that is kept as the best one, its step and its score.
        improved: whether the last look, or measurement, was better than that.
        nearest: at the end, the real pictures nearest to samples.
        seconds: that the last measurement against the data took; None before the first.
    """

    def __init__(
        self,
        run: Path,
        plan: Experiment,
        source: Source,
        step: int,
        mark: dict[str, Any] | None = None,
        watch: "Watch | None" = None,
        share: float = 1.0,
    ) -> None:
        """Opens a run's files where they stand.

        Args:
            run: its directory.
            plan: what it is made of.
            source: its data.
            step: the steps done.
            mark: what `mark` gave then; None where the checkpoint has none, or there is no checkpoint.
            watch: measures samples against the data, where the plan says so.
            share: of the time that is this run's, where several train together.
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
        self._taken: dict[str, float] = dict((mark or {}).get("taken", {}))
        self.diagnosis = diagnosis.diagnose(self.history, plan.loss)
        self._mark: dict[str, Any] | None = None  # That of before a look which is made only at the end of a run.
        self._source = source.replace(part=0, parts=1)  # All processes' examples, whichever this one is fed with.
        self._reference: np.ndarray | None = None
        self._last: dict[str, float] = {}
        self._sheet: np.ndarray | None = None  # Of the look under way.
        self.nearest: neighbours.Nearest | None = None
        self._watch = watch
        self._clock = None if step >= plan.steps else clock.Clock(run, step, share)
        self.seconds: float | None = None

    def write(self, step: int, collected: dict[str, np.ndarray]) -> None:
        """Writes the lines that are due among consecutive steps.

        Of a penalty that is applied at every Nth step only, a line has the last that was.

        Args:
            step: the step before the first of them.
            collected: metrics, arrays [steps].
        """
        count = len(next(iter(collected.values())))
        game = self._plan.stage_after(step).game
        lazy = {"discriminator/penalty": game.penalty_every, "generator/penalty": game.path_every}
        lazy = {name: every for name, every in lazy.items() if name in collected}
        for index in range(count):
            now = step + index + 1
            self._taken |= {name: float(collected[name][index]) for name, n in lazy.items() if (now - 1) % n == 0}
            if now % self._plan.log_every == 0:
                line = {name: float(values[index]) for name, values in collected.items() if name not in lazy}
                line |= {name: self._taken[name] for name in lazy if name in self._taken}
                self._writer.write(now, line)
                self.history.add({"step": now, **line})
                self._last = line

    def look(self, game: train_step.Game, step: int, ema: Any, discriminator: Any) -> Look | None:
        """Draws and judges samples (a sheet, a line, a diagnosis) and measures them against the data, as is due.

        What is done only because the step is the run's last is nothing that a longer run does.

        Args:
            game: the rules.
            step: the steps done.
            ema: variables of the averaged generator.
            discriminator: variables of the discriminator.

        Returns:
            What was seen; None where samples were only measured.
        """
        self.improved = False
        both = (self._judge, self._plan.sample_every), (self._measure, self._plan.evaluate_every)
        due = [function for function, every in both if every and step % every == 0]
        extra = [function for function, every in both if every and step % every and step == self._plan.steps]
        line, self._sheet = {}, None
        for function in due:
            line |= function(game, step, ema, discriminator)
        if extra:
            self._mark = self.mark()
        for function in extra:
            line |= function(game, step, ema, discriminator)
        if self._sheet is None:
            return None
        return Look(self._run, step, self._last | line, self._sheet, str(self.diagnosis))

    def _judge(self, game: train_step.Game, step: int, ema: Any, discriminator: Any) -> dict[str, Any]:
        plan = self._plan
        if self._reference is None:
            self._reference = _examples(self._source, _COMPARED)
        key = stream(jax.random.key(plan.seed), "look")
        latent = train_step.latents(game, key, modes.POINT_SAMPLES if self._points else len(self._reference))
        samples = sampling.outputs(game, ema, latent, sampling.labels(len(latent), self._source.classes))
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
            sheet = sampling.fixed_sheet(game, plan.shown(ema), self._source.classes, jax.random.key(plan.seed))
        self.history.add({"step": step, **line})
        self.diagnosis = diagnosis.diagnose(self.history, plan.loss)
        self.history.judge(step, self.diagnosis.state)
        self._writer.write(step, line | {"diagnosis": self.diagnosis.state})
        images.save(self._run / "samples" / f"{step:06}.png", sheet)
        self._writer.write_image(step, "samples", sheet)
        self._writer.flush()
        self._compare(step, line)
        self._sheet = sheet
        return line

    def _measure(self, game: train_step.Game, step: int, ema: Any, discriminator: Any) -> dict[str, Any]:
        from jaxgan.evaluate import origins  # As in `watch`.

        del discriminator
        assert self._watch is not None
        since = time.perf_counter()
        source = self._source
        made = self._plan.shown(ema)
        samples = origins.generated("samples", game, made, self._plan.pictured, source.classes, _SEED)
        line = {f"{history.MEASURES}{name}": value for name, value in self._watch.measure(samples).items()}
        self.seconds = time.perf_counter() - since
        self.history.add({"step": step, **line})
        self._writer.write(step, line)
        self._writer.flush()
        self._compare(step, line)
        return line

    def _compare(self, step: int, line: dict[str, Any]) -> None:
        """Compares a look, or a measurement, with the best one that is kept."""
        best = self._plan.best
        score = line.get(best)
        if score is not None and history.better(best, score, self.kept and self.kept[1]):
            self.improved, self.kept = True, (step, score)

    def tick(self, step: int) -> None:
        """Writes down how long it took to get to a step."""
        if self._clock:
            self._clock.note(step)

    @property
    def since(self) -> int:
        """How many looks, or measurements, came since the best one by the experiment's `best`."""
        return self.history.best.get(self._plan.best, {"since": 0})["since"]

    def mark(self) -> dict[str, Any]:
        """Where a run that goes on from here finds its lines: to be kept with a checkpoint.

        All lines up to now are handed to the system before. A look that a longer run would not make is left out.

        Returns:
            "offset", bytes of metrics.jsonl, "history" of the lines up to there, as JSON can hold it, and "taken", the
            last penalties.
        """
        offset = self._writer.flush()
        return self._mark or {"offset": offset, "history": self.history.to_json(), "taken": dict(self._taken)}

    def best_record(self) -> dict[str, Any] | None:
        """What is to be kept with the best state: by what it is the best, and its score."""
        return {"best": self._plan.best, "score": self.kept[1]} if self.kept else None

    def finish(self) -> None:
        """Draws what shows the whole run: losses.png, measures.png and samples.gif."""
        self._writer.flush()
        plots.plot_losses(self._run, self.history)
        plots.plot_measures(self._run, self.history)
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


def watch(plan: Experiment, source: Source, console: Console | None = None) -> "Watch | None":
    """What measures the samples of runs on some data while they train; None where the plan says nothing of it.

    Raises:
        UserError: there are no such features, their weights cannot be read, or there are too few pictures.
    """
    if not plan.evaluate_every:
        return None
    from jaxgan.evaluate import features, origins, report  # They import much that runs do without.

    try:
        chosen = features.load(plan.evaluate_features, plan.evaluate_weights, console)
    except UserError as error:  # It names the options of `jaxgan evaluate`.
        raise UserError(str(error).replace("--", "--evaluate-")) from None
    real = origins.of_source("the data", source.replace(part=0, parts=1))
    return report.Watch(real, chosen, report.Options(plan.evaluate_count, _SEED))


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
