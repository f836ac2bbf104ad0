"""How long a run has trained, in times.jsonl: apart from its metrics, which are the same whenever it is run."""

import json
import time
from pathlib import Path

import numpy as np

from jaxgan.run import metrics
from jaxgan.support.files import write_atomically

_FILE = "times.jsonl"


class Clock:
    """Counts the seconds that a run's steps took, over all its sessions.

    Steps that were lost, and done again, count once. Compiling, looks and measurements count, too, and pauses between
    sessions do not.
    """

    def __init__(self, run: Path, step: int, share: float = 1.0) -> None:
        """Begins where a run stands.

        Args:
            run: its directory.
            step: the steps done.
            share: of the time that is this run's, where several train together.
        """
        self._path, self._share = run / _FILE, share
        kept = [line for line in _lines(self._path) if line[0] <= step]
        if not kept:  # A run from before there was a clock begins at a later step than 0, and says nothing.
            kept = [(step, 0.0)]
        write_atomically(self._path, "".join(map(_text, kept)))
        self._last, self._before = kept[-1]
        self._since = time.perf_counter()

    def note(self, step: int) -> None:
        """Writes down how long it took to get to a step."""
        if step > self._last:
            self._last = step
            with self._path.open("a") as file:
                file.write(_text((step, self._before + self._share * (time.perf_counter() - self._since))))


def read(run: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and the seconds it took to get there, [N] each; None where that is not known from the beginning on."""
    found = _lines(run / _FILE)
    if not found or found[0][0] != 0:
        return None
    steps, seconds = zip(*found, strict=True)
    return np.array(steps), np.array(seconds)


def _lines(path: Path) -> list[tuple[int, float]]:
    """What is in the file; lines that a kill, or an editor, spoiled are left out."""
    lines = [(line["step"], line.get("seconds")) for line in metrics.lines(path)]
    return [(step, float(seconds)) for step, seconds in lines if isinstance(seconds, int | float)]


def _text(line: tuple[int, float]) -> str:
    return json.dumps({"step": line[0], "seconds": round(line[1], 3)}) + "\n"
