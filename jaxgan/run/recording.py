"""What a run leaves behind while it trains: lines of metrics, pictures, a diagnosis."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import Source, mixture
from jaxgan.evaluate import diversity, modes, neighbours
from jaxgan.latent import sampling
from jaxgan.run import diagnosis, metrics, plots
from jaxgan.step.keys import stream
from jaxgan.support import images

_COMPARED = 256  # Samples, and real examples, whose variety is compared at every look.
_FRAMES = 60  # Of samples.gif, at the most.


class Recorder:
    """Records one run, in one process. Use as a context manager.

    Attributes:
        lines: all metrics so far, those of before a resume included.
        diagnosis: what was found at the last look.
        nearest: at the end, the real pictures nearest to samples.
    """

    @property
    def lines(self) -> list[dict[str, Any]]:
        return self._writer.lines

    def __init__(self, run: Path, config: cfg.Config, source: Source, step: int) -> None:
        self._run, self._config = run, config
        finished = step >= config.steps
        self._writer = metrics.MetricsWriter(run, step, 1 if finished else config.sample_every)
        self.diagnosis = diagnosis.diagnose(self.lines, config.loss)
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
            if now % self._config.log_every == 0:
                self._writer.write(now, {name: float(values[index]) for name, values in collected.items()})

    def look(self, game: train_step.Game, step: int, ema: Any, discriminator: Any) -> None:
        """Draws and judges samples: a sheet, a line of measures, a diagnosis.

        Args:
            game: the rules.
            step: the steps done.
            ema: variables of the averaged generator.
            discriminator: variables of the discriminator.
        """
        config = self._config
        if self._reference is None:
            self._reference = _examples(self._source, _COMPARED)
        key = stream(jax.random.key(config.seed), "look")
        latent = train_step.latents(
            key, modes.POINT_SAMPLES if self._points else len(self._reference), game.latent_size
        )
        label = None
        if self._source.classes:
            label = np.arange(len(latent), dtype=np.int32) % self._source.classes
        samples = sampling.outputs(game, ema, latent, label)
        compared = jax.device_get(diversity.compare(self._reference, samples[: len(self._reference)]))
        line: dict[str, Any] = {f"diversity/{name}": float(value) for name, value in compared.items()}
        if step == config.steps and not self._points and (near := neighbours.judge(samples, self._source.blocks())):
            self.nearest = near
            images.save(self._run / "neighbours.png", near.sheet)
        if config.data == "stacked_mnist" and step == config.steps:
            line |= modes.metrics(modes.judge_run(config, game, ema, modes.STACKED_SAMPLES))
        if self._points:
            mix = mixture.MIXTURES[config.data]
            reach = 1.25 * float(np.max(mix.centres))
            line |= modes.metrics(modes.judge_points(samples, mix))
            sheet = plots.points(step, samples, mix.centres, sampling.landscape(game, discriminator, reach), reach)
        else:
            sheet = sampling.fixed_sheet(game, ema, self._source.classes, jax.random.key(config.seed))
        self.diagnosis = diagnosis.diagnose([*self.lines, {"step": step, **line}], config.loss)
        self._writer.write(step, line | {"diagnosis": self.diagnosis.state})
        images.save(self._run / "samples" / f"{step:06}.png", sheet)
        self._writer.write_image(step, "samples", sheet)

    def best(self) -> tuple[int, int]:
        """Of the looks so far, the step of the best one by `config.best`, and how many came since."""
        scores = [(line[self._config.best], line["step"]) for line in self.lines if self._config.best in line]
        if not scores:
            return 0, 0
        sign = -1 if self._config.best == "modes/kl" else 1
        place = max(range(len(scores)), key=lambda index: (sign * scores[index][0], -index))
        return int(scores[place][1]), len(scores) - 1 - place

    def flush(self) -> None:
        """Hands all lines to the system."""
        self._writer.flush()

    def finish(self) -> None:
        """Draws what shows the whole run: losses.png and samples.gif."""
        self.flush()
        plots.plot_losses(self._run)
        sheets = sorted((self._run / "samples").glob("*.png"))
        chosen = sheets[:: math.ceil(len(sheets) / _FRAMES) or 1]
        if len(chosen) > 1:
            images.save_animation(self._run / "samples.gif", [images.load(path) for path in chosen], 8)

    @property
    def _points(self) -> bool:
        return self._config.data in mixture.MIXTURES

    def __enter__(self) -> "Recorder":
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)


def _examples(source: Source, count: int) -> np.ndarray:
    """The first real examples of a run [count, ...]."""
    found: list[np.ndarray] = []
    while sum(map(len, found)) < count:
        found.append(np.asarray(source.batch(source.resident, source[len(found)])["image"]))
    return np.concatenate(found)[:count]
