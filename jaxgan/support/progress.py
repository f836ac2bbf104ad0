"""Progress of a long command: a live bar in a terminal, now and then a plain line elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextlib.contextmanager
def compiling(console: Console, form: str) -> Iterator[Callable[[float], None]]:
    """Says that the training step is being compiled, and how long that will take once it is told."""
    what = "the fast form of the training step" if form == "fast" else "the training step"
    # In a notebook Rich would show it by a widget, which stays there, also where nothing is to be shown.
    live = console.status(f"preparing {what}") if console.is_terminal else contextlib.nullcontext()
    with live as status:

        def foretell(seconds: float) -> None:
            text = f"compiling {what} (about {max(1, round(seconds))} s, once)"
            if status is not None:
                status.update(text)
            elif seconds > 1:
                console.print(text)

        yield foretell


@contextlib.contextmanager
def waiting(console: Console, text: str) -> Iterator[None]:
    """Says what is being done; in a terminal also for how long already."""
    if not console.is_terminal:
        console.print(text, soft_wrap=True)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task(text, total=None)
        yield


class Bar:
    """A live bar with a text, and what time it took, in a terminal; in a notebook a line that changes; else `line`.

    Use as a context manager.
    """

    def __init__(self, console: Console, total: int | None, done: int = 0, text: str = "", left: bool = True) -> None:
        self._console, self._total = console, total
        columns = [BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}", markup=False)]
        columns += [TimeElapsedColumn(), *([TextColumn("left"), TimeRemainingColumn()] if left else [])]
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total, completed=done, text=text)
        self._cell = _Cell() if console.is_jupyter and not console.quiet else None

    def move(self, done: int, text: str, total: int | None = None) -> None:
        """Moves on, to what is done of the total."""
        self._bar.update(self._task, completed=done, total=total, text=text)
        if self._cell:
            self._total = total or self._total
            share = f"{done / self._total:4.0%} " if self._total else ""
            self._cell.show(f"{share} {done}/{self._total or '?'}  {text}", last=done == self._total)

    def line(self, text: str) -> None:
        """Leaves a line behind where there is no bar (a log file, say)."""
        if not (self._console.is_terminal or self._cell):
            self._console.print(text, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class _Cell:
    """A line below a notebook's cell that is written anew, a few times a second."""

    def __init__(self) -> None:
        from IPython import display  # pyright: ignore[reportMissingImports]  (A kernel has it.)

        self._display, self._handle, self._since = display, None, 0.0

    def show(self, text: str, last: bool) -> None:
        """Shows a text, unless one was shown just before; the last one in any case."""
        now = time.monotonic()
        if now - self._since < 0.3 and not last:
            return
        self._since = now
        shown = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display.display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


class TrainingProgress(Bar):
    """Shows steps, speed, remaining time and the two losses. Use as a context manager."""

    def __init__(self, console: Console, step: int, steps: int, batch_size: int) -> None:
        super().__init__(console, steps, step)
        self._batch_size = batch_size
        self._start = (step, time.perf_counter())

    def update(self, step: int, metrics: dict[str, float], state: str) -> None:
        """Moves on to `step`, whose metrics are shown, and the state of the game in words."""
        self.move(step, self._text(step, metrics, state))

    def milestone(self, step: int, metrics: dict[str, float], state: str) -> None:
        """Leaves a line behind where there is no bar."""
        self.line(f"step {step}/{self._total}  {self._text(step, metrics, state)}")

    def _text(self, step: int, metrics: dict[str, float], state: str) -> str:
        first, since = self._start
        rate = (step - first) / max(time.perf_counter() - since, 1e-9)
        return (
            f"{rate:.1f} steps/s  {rate * self._batch_size:.0f} images/s  "
            f"D loss {metrics['discriminator/loss']:.3f}  G loss {metrics['generator/loss']:.3f}  {state}"
        )
