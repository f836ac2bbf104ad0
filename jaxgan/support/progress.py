"""Progress of a long command: a live bar in a terminal, now and then a plain line elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextlib.contextmanager
def compiling(console: Console, form: str) -> Iterator[Callable[[float], None]]:
    """Says that the training step is being compiled, and how long that will take once it is told."""
    what = "the fast form of the training step" if form == "fast" else "the training step"
    with console.status(f"preparing {what}") as status:

        def foretell(seconds: float) -> None:
            text = f"compiling {what} (about {max(1, round(seconds))} s, once)"
            status.update(text)
            if not console.is_terminal and seconds > 1:
                console.print(text)

        yield foretell


class TrainingProgress:
    """Shows steps, speed, remaining time and the two losses. Use as a context manager."""

    def __init__(self, console: Console, step: int, steps: int, batch_size: int) -> None:
        self._console, self._steps, self._batch_size = console, steps, batch_size
        self._start = (step, time.perf_counter())
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=steps, completed=step, text="")

    def update(self, step: int, metrics: dict[str, float], state: str) -> None:
        """Moves on to `step`, whose metrics are shown, and the state of the game in words."""
        self._bar.update(self._task, completed=step, text=self._text(step, metrics, state))

    def milestone(self, step: int, metrics: dict[str, float], state: str) -> None:
        """Leaves a line behind where there is no bar (a log file, say)."""
        if not self._console.is_terminal:
            self._console.print(f"step {step}/{self._steps}  {self._text(step, metrics, state)}", soft_wrap=True)

    def _text(self, step: int, metrics: dict[str, float], state: str) -> str:
        first, since = self._start
        rate = (step - first) / max(time.perf_counter() - since, 1e-9)
        return (
            f"{rate:.1f} steps/s  {rate * self._batch_size:.0f} images/s  "
            f"D loss {metrics['discriminator/loss']:.3f}  G loss {metrics['generator/loss']:.3f}  {state}"
        )

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
