"""What a run remembers of its lines of metrics, however many there were: all that diagnosis, best and plots need."""

import base64
import dataclasses
import math
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.run import metrics

ROOM = 512
"""Buckets of a thinned series, and lines that count as recent, at the most."""
FIRST = 20
"""Lines that say what the discriminator's loss was at first."""
LOOKS = 5
"""Last looks that are kept whole: before there are so many, nothing is said of a game."""
PLOTTED = ("discriminator/loss", "generator/loss", "discriminator/real", "discriminator/fake")
LOOKED = (
    "modes/share",
    "modes/high_quality",
    "modes/kl",
    "diversity/coverage",
    "diversity/features",
    "diversity/pixels",
)
PENALTIES = ("discriminator/penalty", "generator/penalty")
MEASURES = "evaluate/"
"""How names of measures against the data begin."""
_RECENT = ("discriminator/loss", "discriminator/separation", "generator/gradient_norm")
_READ = {*PLOTTED, *LOOKED, *PENALTIES, *_RECENT}
_BEST = {"diversity/coverage": 1, "modes/high_quality": 1, "modes/kl": -1}  # What a config can choose by; its sign.
_BEST |= {"evaluate/frechet": -1, "evaluate/sliced_wasserstein": -1}

_JOIN = {
    "first": lambda old, new, share: old,
    "mean": lambda old, new, share: old + (new - old) * np.float32(share),
    "low": lambda old, new, share: np.minimum(old, new),
    "high": lambda old, new, share: np.maximum(old, new),
}


class Thinned:
    """A series of rows of numbers, in at most `ROOM` buckets of `stride` rows each.

    A bucket is a row as long as there is room. Then neighbours are joined in pairs, again and again: it depends on the
    rows alone, not on when they came.

    Attributes:
        names: of the numbers of a row.
        steps: of each bucket the step of its first row.
        stride: rows a bucket; the last one may have fewer.
    """

    def __init__(self, names: Sequence[str], kinds: Sequence[str] = ("first",)) -> None:
        """Begins without a row.

        Args:
            names: of the numbers of a row.
            kinds: what is kept of the rows of a bucket: the "first", their "mean", the "low"est, the "high"est.
        """
        self.names = tuple(names)
        self.steps: list[int] = []
        self.stride = 1
        self._filled = 0  # Rows in the last bucket.
        self._kept = {kind: np.zeros((ROOM, len(names)), np.float32) for kind in kinds}

    def __len__(self) -> int:
        """How many rows came."""
        return max(0, len(self.steps) - 1) * self.stride + self._filled

    @np.errstate(all="ignore")
    def add(self, step: int, row: Sequence[float]) -> None:
        """Adds a row, kept as float32."""
        new = np.array(row, np.float64).astype(np.float32)
        if self.steps and self._filled < self.stride:
            self._filled += 1
            for kind, kept in self._kept.items():
                last = kept[len(self.steps) - 1]
                last[:] = _JOIN[kind](last, new, 1 / self._filled)
            return
        if len(self.steps) == ROOM:
            self.steps, self.stride = self.steps[::2], 2 * self.stride
            for kind, kept in self._kept.items():
                kept[: ROOM // 2] = _JOIN[kind](kept[::2].copy(), kept[1::2], 0.5)
        for kept in self._kept.values():
            kept[len(self.steps)] = new
        self.steps.append(step)
        self._filled = 1

    def column(self, name: str, kind: str = "first") -> np.ndarray:
        """Of each bucket one number, float32 [buckets]."""
        return self._kept[kind][: len(self.steps), self.names.index(name)]

    def to_json(self) -> dict[str, Any]:
        """All of it, in what JSON can hold."""
        kept = {kind: _pack(kept[: len(self.steps)]) for kind, kept in self._kept.items()}
        return {"steps": list(self.steps), "stride": self.stride, "filled": self._filled, **kept}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Takes over what `to_json` gave."""
        self.steps, self.stride, self._filled = list(saved["steps"]), saved["stride"], saved["filled"]
        for kind, kept in self._kept.items():
            kept[: len(self.steps)] = _unpack(saved[kind], np.float32, len(self.names))


@dataclasses.dataclass
class History:
    """A summary of a run's lines, some 100 kB at the most, and 8 kB for each curve.

    Adding the lines of a run in pieces, with `to_json` and `from_json` in between, gives the same bit for bit.

    Attributes:
        lines: lines of training steps so far.
        looks: looks at samples so far.
        first: the discriminator's first losses, at most `FIRST`.
        tail: the last `LOOKS` looks: their step, and those of `LOOKED` that they have.
        peaks: the largest of each of `LOOKED` in looks before those.
        last: the newest value of each of `PLOTTED`, `LOOKED` and `curves`, and the newest diagnosis.
        best: for what a run may be told to keep the best by: step, score, and how many looks, or
            measurements, came since.
        losses: of all lines of training steps, `PLOTTED`: mean, low and high.
        gradient: of the same lines the generator's gradient norm: the first of a bucket.
        looked: of all looks, `LOOKED`: the first of a bucket.
        curves: of each of `PENALTIES`, and of each measure against the data, all lines that have it: the mean.
    """

    lines: int = 0
    looks: int = 0
    first: list[float] = dataclasses.field(default_factory=list)
    tail: list[dict[str, float]] = dataclasses.field(default_factory=list)
    peaks: dict[str, float] = dataclasses.field(default_factory=dict)
    last: dict[str, Any] = dataclasses.field(default_factory=dict)
    best: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    losses: Thinned = dataclasses.field(default_factory=lambda: Thinned(PLOTTED, ("mean", "low", "high")))
    gradient: Thinned = dataclasses.field(default_factory=lambda: Thinned(["generator/gradient_norm"]))
    looked: Thinned = dataclasses.field(default_factory=lambda: Thinned(LOOKED))
    curves: dict[str, Thinned] = dataclasses.field(default_factory=dict)
    _recent: deque[tuple[float, ...]] = dataclasses.field(default_factory=lambda: deque(maxlen=ROOM))
    _states: Thinned = dataclasses.field(default_factory=lambda: Thinned(["state"]))  # Places in `_words`.
    _words: list[str] = dataclasses.field(default_factory=list)

    def add(self, line: Mapping[str, Any]) -> None:
        """Adds a line: its "step", and metrics of a training step or of a look, perhaps with its "diagnosis"."""
        step = line["step"]
        known = [name for name in line if name in _READ or name.startswith(MEASURES)]
        numbers = {name: float(line[name]) for name in known if isinstance(line[name], int | float)}
        if "discriminator/loss" in numbers:
            self._add_losses(step, numbers)
        if "diversity/pixels" in numbers:
            self._add_look(step, numbers)
        curves = {name: value for name, value in numbers.items() if name in PENALTIES or name.startswith(MEASURES)}
        for name, value in curves.items():
            self.curves.setdefault(name, Thinned([name], ["mean"])).add(step, [value])
        self.last |= curves
        self._rank(step, {name: value for name, value in curves.items() if name in _BEST})
        if "diagnosis" in line:
            self.judge(step, str(line["diagnosis"]))

    def judge(self, step: int, state: str) -> None:
        """Adds the diagnosis at a look."""
        if state not in self._words:
            self._words.append(state)
        self._states.add(step, [self._words.index(state)])
        self.last["diagnosis"] = state

    def _add_losses(self, step: int, numbers: dict[str, float]) -> None:
        self.lines += 1
        if len(self.first) < FIRST:
            self.first.append(numbers["discriminator/loss"])
        self._recent.append((step, *(numbers.get(name, math.nan) for name in _RECENT)))
        self.losses.add(step, [numbers.get(name, math.nan) for name in PLOTTED])
        self.gradient.add(step, [numbers.get("generator/gradient_norm", math.nan)])
        self.last.update((name, numbers[name]) for name in PLOTTED if name in numbers)

    def _add_look(self, step: int, numbers: dict[str, float]) -> None:
        self.looks += 1
        found = {name: numbers[name] for name in LOOKED if name in numbers}
        self.tail.append({"step": step, **found})
        if len(self.tail) > LOOKS:
            oldest = self.tail.pop(0)
            for name in LOOKED:
                self.peaks[name] = max(self.peaks.get(name, -math.inf), oldest.get(name, -math.inf))
        self.looked.add(step, [numbers.get(name, math.nan) for name in LOOKED])
        self.last.update(found)
        self._rank(step, {name: value for name, value in found.items() if name in _BEST})

    def _rank(self, step: int, scores: Mapping[str, float]) -> None:
        for name, score in scores.items():
            best = self.best.get(name)
            if better(name, score, best["score"] if best else None):
                self.best[name] = {"step": step, "score": score, "since": 0}
            elif best:
                best["since"] += 1

    def recent(self) -> dict[str, np.ndarray]:
        """What the game is like now: of the lines since the third last look, and at most the last `ROOM`, the columns.

        Where there are none since, the last 20 lines.
        """
        rows = np.array(self._recent, np.float64).reshape(-1, 1 + len(_RECENT))
        since = rows[rows[:, 0] > self.tail[-3]["step"]] if len(self.tail) >= 3 else rows
        return dict(zip(_RECENT, (since if len(since) else rows[-20:])[:, 1:].T, strict=True))

    def series(self, name: str) -> Thinned:
        """The thinned series that one of `PLOTTED` or `LOOKED`, or a curve, is in."""
        if name in PLOTTED:
            return self.losses
        return self.looked if name in LOOKED else self.curves.get(name, Thinned([name], ["mean"]))

    def states(self) -> list[tuple[int, str]]:
        """Of the looks, thinned, the step and the diagnosis."""
        codes = self._states.column("state").astype(int)
        return [(step, self._words[code]) for step, code in zip(self._states.steps, codes, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """All of it, in what JSON can hold; a copy."""
        plain = {name: _copied(getattr(self, name)) for name in _PLAIN}
        thinned = {name: getattr(self, name).to_json() for name in _THINNED}
        curves = {name: series.to_json() for name, series in self.curves.items()}
        return plain | thinned | {"curves": curves, "_recent": _pack(np.array(self._recent, np.float64))}

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> "History":
        """The history that `to_json` gave this of."""
        history = History(**{name: _copied(saved[name]) for name in _PLAIN})
        for name in _THINNED:
            getattr(history, name).restore(saved[name])
        for name, series in saved.get("curves", {}).items():  # There were none in older versions.
            history.curves[name] = Thinned([name], ["mean"])
            history.curves[name].restore(series)
        history._recent.extend(map(tuple, _unpack(saved["_recent"], np.float64, 1 + len(_RECENT)).tolist()))
        return history


_THINNED = ("losses", "gradient", "looked", "_states")
_PLAIN = ("lines", "looks", "first", "tail", "peaks", "last", "best", "_words")


def read(path: Path, mark: Mapping[str, Any] | None = None) -> History:
    """The history of a metrics.jsonl, read once from end to end, or from a mark on.

    Args:
        path: of the file; if missing, no line follows.
        mark: a recorder's: an "offset" in the file, and the "history" of what is before it.
    """
    history = History.from_json(mark["history"]) if mark else History()
    for line in metrics.lines(path, mark["offset"] if mark else 0):
        history.add(line)
    return history


def better(name: str, score: float, than: float | None) -> bool:
    """Whether a score by a metric that a config can choose the best by is better; NaN and infinity never are."""
    return math.isfinite(score) and (than is None or _BEST[name] * score > _BEST[name] * than)


def smaller_is_better(name: str) -> bool:
    """Whether a config that chooses the best by a metric chooses the smallest."""
    return _BEST.get(name, 1) < 0


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _pack(array: np.ndarray) -> str:
    """An array's numbers as base64: short, and exact."""
    return base64.b64encode(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _unpack(text: str, dtype: Any, width: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.dtype(dtype).newbyteorder("<")).reshape(-1, width)
