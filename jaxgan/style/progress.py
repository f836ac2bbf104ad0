"""Progress of a style transfer: a live bar in a terminal, a line a scale elsewhere."""

import itertools
import time

from rich.console import Console

from jaxgan.support.progress import Bar


class StyleProgress(Bar):
    """Shows iterations, the losses and the time left. Use as a context manager."""

    def __init__(self, console: Console, stages: tuple[tuple[float, int], ...], done: int = 0) -> None:
        self._ends = list(itertools.accumulate(count for _, count in stages))
        super().__init__(console, self._ends[-1], done, "compiling (about half a minute a size)", left=False)
        self._said, self._pace = False, Pace(stages, done)

    def update(self, step: int, losses: dict[str, float], shape: tuple[int, ...]) -> None:
        """Moves on to `step`, whose losses and size of picture are shown."""
        left = self._pace.left(step)
        text = (
            f"{shape[1]} x {shape[0]}  content {losses['content']:.3f}  style {losses['style']:.4f}  "
            f"tv {losses['tv']:.4f}"
        )
        shown = "" if left is None else f"  {left:.0f} s left"
        self.move(step, text + shown)
        if left is not None and not self._said:
            # How long it will be is known as soon as anything runs.
            self._said = True
            self.line(f"about {max(1, round(left / 60))} min to go")
        if step in self._ends or (left is not None and step % 50 == 0):
            self.line(f"iteration {step}/{self._total}  {text}{shown}")


class Pace:
    """Foretells how long the rest of some work takes, by how long the last part of it took."""

    def __init__(self, stages: tuple[tuple[float, int], ...], done: int = 0) -> None:
        """Begins.

        Args:
            stages: (size, iterations) of each, as `recipe.stages` gives them; an iteration's time grows with the area.
            done: iterations before.
        """
        self._stages = stages
        self._ends = list(itertools.accumulate(count for _, count in stages))
        self._first, self._last = done, (done, time.perf_counter())

    def left(self, step: int) -> float | None:
        """Seconds from iteration `step`, which is just done, to the end; None where the last part was compiled, too."""
        done, since = self._last
        seconds = (time.perf_counter() - since) / max(1, step - done)
        self._last = (step, time.perf_counter())
        # The first iterations after a change of size take the time to compile, which says nothing of the rest.
        fresh = any(done == end for end in (self._first, *self._ends))
        return None if fresh else seconds * self._work_left(step)

    def _work_left(self, step: int) -> float:
        """Iterations left, in iterations of the present size: an iteration's time grows with the area."""
        present = next((f for (f, _), end in zip(self._stages, self._ends, strict=True) if step <= end), 1.0)
        return sum(
            (fraction / present) ** 2 * max(0, end - max(step, end - count))
            for (fraction, count), end in zip(self._stages, self._ends, strict=True)
        )
