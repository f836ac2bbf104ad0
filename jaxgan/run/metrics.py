"""Metrics on disk: metrics.jsonl, one JSON object a line, and TensorBoard."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tensorboardX

from jaxgan.support.errors import NonFiniteError


class MetricsWriter:
    """Writes a run's metrics. Use as a context manager.

    Opening it at a step drops what a killed process wrote beyond that step, and a look at what was then the last step,
    so that a resumed run's lines are those of an unbroken one, neither lost nor doubled.

    Attributes:
        lines: all lines so far, in order.
    """

    def __init__(self, run: Path, step: int, look_every: int = 1) -> None:
        self._path = run / "metrics.jsonl"

        def stays(line: dict[str, Any]) -> bool:
            return line["step"] <= step and ("diagnosis" not in line or line["step"] % look_every == 0)

        self.lines = [line for line in read(self._path) if stays(line)]
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        partial.replace(self._path)
        self._file = self._path.open("a")
        self._board = tensorboardX.SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Adds a line of numbers, and perhaps words."""
        line = {"step": step, **metrics}
        self.lines.append(line)
        self._file.write(json.dumps(line) + "\n")
        for name, value in metrics.items():
            if isinstance(value, str):
                self._board.add_text(name, value, step)
            else:
                self._board.add_scalar(name, value, step)

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, C], to TensorBoard."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def flush(self) -> None:
        """Hands all lines to the system; done before a checkpoint, so that none of its steps' lines can be lost."""
        self._file.flush()
        self._board.flush()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, in order; none where there is no file. A last line cut short is left out."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def check_finite(first_step: int, metrics: dict[str, np.ndarray]) -> None:
    """Checks the metrics of consecutive steps.

    Args:
        first_step: the step that the first values belong to.
        metrics: arrays [steps], named "player/metric".

    Raises:
        NonFiniteError: names the first step with a NaN or an infinity, the player and the metric, and what to try.
    """
    bad = [(np.flatnonzero(~np.isfinite(values)), name) for name, values in metrics.items()]
    found = [(int(places[0]), name) for places, name in bad if places.size]
    if not found:
        return
    # The loss first where several metrics of a step are bad: the others follow from it.
    place, name = min(found, key=lambda item: (item[0], not item[1].endswith("/loss"), item[1]))
    player, metric = name.split("/")
    value = metrics[name][place]
    shown = "NaN" if math.isnan(value) else "infinite"
    raise NonFiniteError(
        f"step {first_step + place}: the {player}'s {metric.replace('_', ' ')} is {shown}. Try a smaller "
        f"--{player}.learning-rate, a larger --batch-size, or --precision float32."
    )
