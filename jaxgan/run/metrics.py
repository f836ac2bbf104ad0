"""Metrics on disk: metrics.jsonl, one JSON object a line, only ever appended to; and TensorBoard."""

import contextlib
import errno
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.record_writer import RecordWriter

from jaxgan.support.errors import NonFiniteError

_EVENT: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
_SESSION: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
_SUMMARY: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]
_BLOCK = 2**16  # Bytes read at a time, from the end on.


class MetricsWriter:
    """Writes a run's metrics, in the calling thread. Use as a context manager.

    What cannot be written (a full disk, a quota, a directory that was deleted) is an OSError, at the latest in `flush`.
    """

    def __init__(self, run: Path, offset: int | None, step: int) -> None:
        """Opens a run's files; no line is read.

        Args:
            run: its directory.
            offset: bytes of metrics.jsonl that stay, up to the end of a whole line; None for all.
            step: after which lines will come; TensorBoard forgets what it has beyond.
        """
        self._path = run / "metrics.jsonl"
        with self._named():
            self._file = self._path.open("ab")
            self._file.truncate(_whole(self._path, offset))
            self._file.seek(0, os.SEEK_END)
            self._board = _Board(run / "tensorboard", step)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Adds a line of numbers, and perhaps words."""
        with self._named():
            self._file.write(json.dumps({"step": step, **metrics}).encode() + b"\n")
            self._board.write(step, metrics)

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, C], to TensorBoard."""
        with self._named():
            self._board.write_image(step, name, image)

    def flush(self) -> int:
        """Hands all lines to the system; done before a checkpoint, so that none of its steps' lines can be lost.

        Returns:
            The bytes of metrics.jsonl.
        """
        with self._named():
            if not self._path.exists():  # A file that was deleted takes any number of lines.
                raise FileNotFoundError(errno.ENOENT, "deleted while it was written", str(self._path))
            self._file.flush()
            self._board.flush()
            return self._file.tell()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Tells an error of the system where it happened."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self._path.parent)
            raise

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Both are closed, whichever fails; and what ended the run is said, rather than what came of it.
        with contextlib.suppress(OSError) if error else self._named(), contextlib.ExitStack() as stack:
            stack.callback(self._board.close)
            stack.callback(self._file.close)


class _Board:
    """TensorBoard's events; tensorboardX's own writer puts them in a queue, and hangs when the thread behind fails."""

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Its name is all that TensorBoard orders files by.
        self._file = RecordWriter(str(folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"))
        self._add(file_version="brain.Event:2")
        self._add(step=step + 1, session_log=_SESSION(status=_SESSION.START))

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        numbers = {name: value for name, value in metrics.items() if not isinstance(value, str)}
        values = [_SUMMARY.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._add(step=step, summary=_SUMMARY(value=values))
        for name in metrics.keys() - numbers.keys():
            self._add(step=step, summary=summary.text(name, metrics[name]))

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        self._add(step=step, summary=summary.image(name, image, dataformats="HWC"))

    def _add(self, **fields: Any) -> None:
        self._file.write(_EVENT(wall_time=time.time(), **fields).SerializeToString())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def lines(path: Path, offset: int = 0) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl in order, from an offset in bytes on; none where there is no file.

    Damaged lines are left out.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        yield from filter(None, map(_parsed, file))


def read(path: Path) -> list[dict[str, Any]]:
    """All `lines`, which may be many."""
    return list(lines(path))


def last(path: Path, name: str) -> dict[str, Any] | None:
    """The last line that has a metric, looked for from the end of a metrics.jsonl on."""
    return next((line for line in _backwards(path) if name in line), None)


def offset_after(path: Path, step: int, sample_every: int) -> int:
    """Where the lines of a step end, for a run that goes on from a checkpoint which does not say so.

    Args:
        path: of a metrics.jsonl.
        step: the step.
        sample_every: steps between looks: a look right at `step` that is not due then was one at the end of the run.

    Returns:
        Bytes up to the first line beyond, and without such a look; 0 where there is no file.
    """
    if not path.is_file():
        return 0
    begin = end = 0
    line: dict[str, Any] = {}
    with path.open("rb") as file:
        for raw in file:
            found = _parsed(raw)
            if (found and found["step"] > step) or not raw.endswith(b"\n"):
                break
            begin, line = (end, found) if found else (begin, line)
            end += len(raw)
    extra = "diagnosis" in line and line["step"] == step and step % sample_every
    return begin if extra else end


def check_finite(first_step: int, metrics: dict[str, np.ndarray], precision: str = "float32") -> None:
    """Checks the metrics of consecutive steps.

    Args:
        first_step: the step that the first values belong to.
        metrics: arrays [steps], named "player/metric".
        precision: what the networks compute in, as in a config.

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
    tries = [f"a smaller --{player}.learning-rate", "a larger --batch-size"]
    tries += ["--precision float32"] if precision != "float32" else []
    raise NonFiniteError(
        f"step {first_step + place}: the {player}'s {metric.replace('_', ' ')} is {shown}. Try "
        f"{' or '.join(tries)}, with another --out: a run keeps its settings."
    )


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and type(line.get("step")) is int else None


def _backwards(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file from the last to the first."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        end, rest = file.seek(0, os.SEEK_END), b""
        while end:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            rest, *whole = (file.read(end - begin) + rest).split(b"\n")
            yield from filter(None, map(_parsed, reversed(whole)))
            end = begin
        yield from filter(None, [_parsed(rest)])


def _whole(path: Path, offset: int | None) -> int:
    """Where the last whole line before an offset ends, and at most before the end of the file."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = size if offset is None else min(offset, size)
        while end:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            place = file.read(end - begin).rfind(b"\n")
            if place >= 0:
                return begin + place + 1
            end = begin
    return 0
