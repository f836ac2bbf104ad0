"""Progress of a style transfer: a live bar in a terminal, a line a scale elsewhere."""

import itertools
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class StyleProgress:
    """Shows iterations, the losses and the time left. Use as a context manager."""

    def __init__(self, console: Console, stages: tuple[tuple[float, int], ...]) -> None:
        self._console, self._stages = console, stages
        self._steps = sum(count for _, count in stages)
        self._ends = list(itertools.accumulate(count for _, count in stages))
        self._last = (0, time.perf_counter())
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("style", total=self._steps, text="compiling (about half a minute a size)")

    def update(self, step: int, losses: dict[str, float], shape: tuple[int, ...]) -> None:
        """Moves on to `step`, whose losses and size of picture are shown."""
        done, since = self._last
        seconds = (time.perf_counter() - since) / (step - done)
        self._last = (step, time.perf_counter())
        left = seconds * self._work_left(step)
        text = (
            f"{shape[1]} x {shape[0]}  content {losses['content']:.3f}  style {losses['style']:.4f}  "
            f"tv {losses['tv']:.4f}"
        )
        # The first iterations after a change of size take the time to compile, which says nothing of the rest.
        fresh = any(done == end for end in (0, *self._ends))
        shown = "" if fresh else f"  {left:.0f} s left"
        self._bar.update(self._task, completed=step, text=text + shown)
        if not self._console.is_terminal and (step in self._ends or (not fresh and step % 50 == 0)):
            self._console.print(f"iteration {step}/{self._steps}  {text}{shown}", soft_wrap=True)

    def _work_left(self, step: int) -> float:
        """Iterations left, in iterations of the present size: an iteration's time grows with the area."""
        present = next((f for (f, _), end in zip(self._stages, self._ends, strict=True) if step <= end), 1.0)
        return sum(
            (fraction / present) ** 2 * max(0, end - max(step, end - count))
            for (fraction, count), end in zip(self._stages, self._ends, strict=True)
        )

    def __enter__(self) -> "StyleProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
