"""`jaxgan evaluate` and `jaxgan modes`: how good the samples of a run are."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.cli.options import MOST, Positional, check_range, check_seed
from jaxgan.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure samples against the data: Frechet distance in VGG features, and the real pictures nearest to them."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run; its data must be where they were."""
    count: int = 5000
    """Samples, and as many real pictures (half of the data at the most). The distance depends on their number."""
    seed: int = 1
    """Of the latents."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""

    def __call__(self) -> None:
        from jaxgan.evaluate.report import judge
        from jaxgan.run.directory import read

        check_range("count", self.count, 2, 10 * MOST)
        check_seed(self.seed)
        trained = read(self.run, self.best)
        found = judge(self.run, trained, self.count, self.seed)
        print(f"step {int(trained.state.step)}, {found.count} samples, as many real pictures")
        floor = f"of one half of the data to the other {found.floor:.2f}"
        print(f"Frechet distance (VGG16's relu5_3): {found.distance:.2f}; {floor}")
        if found.nearest is not None:
            from jaxgan.support import images

            path = self.run / "neighbours.png"
            images.save(path, found.nearest.sheet)
            print(f"{found.nearest} ({path})")


@dataclasses.dataclass(frozen=True)
class Modes:
    """Count the modes that a run on ring, grid or stacked_mnist reaches: PacGAN's and VEEGAN's protocol."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""
    count: int | None = None
    """Samples to judge; 2,500 points or 26,000 stacked digits if not given. The KL depends on their number."""
    seed: int = 1
    """Of the latents."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""

    def __call__(self) -> None:
        from jaxgan.evaluate import modes
        from jaxgan.run.directory import read

        check_seed(self.seed)
        trained = read(self.run, self.best)
        judge = trained.experiment.judge
        if judge is None:
            raise UserError(f"{self.run}: modes can be counted of ring, grid and stacked_mnist, not of its data")
        count = judge.samples if self.count is None else self.count
        check_range("count", count, 1, 100 * MOST)
        found = judge.judge(trained.game, trained.state.ema, count, self.seed)
        print(f"step {int(trained.state.step)}, {count} samples: {found.modes} of {found.of} modes")
        print(f"high quality: {found.high_quality:.1%}")
        exact = modes.floor(judge.ideal(), count)
        print(f"reverse KL: {found.kl:.4f} (an exact sampler, at as many samples: {exact:.4f})")
