"""`jaxgan compare`: several runs beside one another."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.cli.options import Positional, check_seed
from jaxgan.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Compare:
    """Put runs side by side: a table of measures, time and settings, and a picture of samples and curves.

    jaxgan compare runs/a runs/b

    The table says what differs between the configs. Curves are over steps, time and pictures seen. Runs that still
    train can be compared, too. Measures against the data are there where a run was trained with --evaluate-every.
    """

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Directories of runs, two or more."""
    seed: int = 0
    """Of the latents: all runs draw the same ones."""
    best: bool = False
    """Samples of the best checkpoints (trained with --best) rather than of the newest."""
    out: Path = Path("comparison.png")
    """The picture, .png or .jpg."""

    def __call__(self) -> None:
        check_seed(self.seed)
        if len(self.runs) < 2:
            raise UserError("compare: name two runs or more: jaxgan compare RUN RUN")
        from jaxgan.run import comparison
        from jaxgan.support import images
        from jaxgan.support.files import replacing

        images.check_suffix(self.out, images.PICTURES)
        runs = comparison.read(self.runs, self.best)
        print(comparison.table(runs), end="")
        figure = comparison.draw(runs, self.seed)
        with replacing(self.out) as partial:
            figure.savefig(partial, dpi=110)
        print(f"samples and curves: {self.out}")
