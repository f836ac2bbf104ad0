"""`jaxgan evaluate` and `jaxgan modes`: how good the samples of a run are."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxgan import config as cfg
from jaxgan.cli.options import MOST, Positional, check_range, check_seed, check_truncation
from jaxgan.support.errors import UserError

if TYPE_CHECKING:
    from jaxgan.data import Source
    from jaxgan.evaluate.features import Features
    from jaxgan.evaluate.origins import Origin, Reference
    from jaxgan.evaluate.report import Judgement


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure samples against real pictures: Frechet and kernel distances, precision, recall, copies, and more."""

    a: Annotated[Positional[str], tyro.conf.arg(metavar="A")]
    """What to measure: a run (its samples), a folder of pictures of one size, a set, an .npy or .npz file
    (arr_0), or tfds:NAME."""
    b: Annotated[Positional[str | None], tyro.conf.arg(metavar="B")] = None
    """What to compare with: as A, or statistics (.npz of mu and sigma). If not given, the data that the run A had."""
    features: str | None = None
    """What distances are taken in: vgg16:LAYER (relu3_3 if not given), lite0, inception, dinov2 (or dinov2:patches)."""
    weights: str | None = None
    """File or URL of the features' weights; vgg16 needs none."""
    measures: tuple[str, ...] = ()
    """Only these: frechet, frechet_infinity, kernel, precision, recall, density, coverage, inception_score,
    path_length_z, path_length_w, lpips_diversity, sliced_wasserstein, memorisation, overfitting. If not given, all that
    are possible but path lengths, which take pictures of their own."""
    count: int | None = None
    """Samples, and as many real pictures (half of them at the most); 5000 if not given. Measures depend on it. By a
    protocol samples alone, 50,000 if not given."""
    seed: int = 1
    """Of the latents, and of which pictures are taken."""
    protocol: Literal["fid50k_full", "adm"] | None = None
    """Compare as papers do, in inception's features: with all real pictures (fid50k_full), or with a reference batch as
    ADM's evaluator (adm)."""
    resize: Literal["clean", "legacy_tensorflow", "legacy_pytorch"] | None = None
    """How pictures are brought to a network's size: with antialiasing (clean, if not given), or as older code does
    (legacy_tensorflow by a protocol)."""
    per_class: bool = False
    """Measure each class by itself, too; a folder's classes are as `data make --labels` has them."""
    held_out: str | None = None
    """Real pictures that training did not see, as B: for memorisation and overfitting; B are those that it did see."""
    variants: str | None = None
    """A regular expression of the part of a file's name that tells variants of one picture apart; real pictures are
    split in halves with all variants of one in the same half."""
    trained_with: tuple[Literal["vgg16", "lite0", "inception", "dinov2"], ...] = ()
    """Networks whose features training used (a projected discriminator, say): measures that this games are marked."""
    truncation: float | None = None
    """Of a run: as for `jaxgan sample`."""
    best: bool = False
    """Of a run: from the best checkpoint (trained with --best) rather than from the newest."""
    json: bool = False
    """Print one JSON object instead of a table."""

    def __call__(self) -> None:
        check_range("count", 2 if self.count is None else self.count, 2, 100 * MOST)
        check_seed(self.seed)
        check_truncation(self.truncation)
        name = self.features or ("inception" if self.protocol else cfg.FEATURES)
        if self.protocol and name != "inception":
            raise UserError(f"--protocol {self.protocol} is in inception's features; leave out --features {name}")

        from jaxgan.evaluate import features, origins, report
        from jaxgan.support.console import open_console
        from jaxgan.support.progress import Bar

        options = report.Options(
            self.count,
            self.seed,
            self.protocol,
            self.resize,
            self.measures or None,
            self.per_class,
            self.variants,
            self.trained_with,
        )
        # What is said on the way, such as that a set is made of the run's folder, is no part of the JSON.
        with contextlib.redirect_stdout(sys.stderr if self.json else sys.stdout):
            a = origins.load(self.a, self.per_class, self.seed, self.truncation, self.best)
            if isinstance(a, origins.Reference):
                raise UserError(f"{self.a}: has statistics alone; they can be compared with, as B")
            source = None
            if self.b is not None:
                b = origins.load(self.b, self.per_class, self.seed, self.truncation, self.best)
            elif a.trained is None:
                raise UserError(f"{self.a}: is no run; say what to compare with: jaxgan evaluate {self.a} B")
            else:
                source = origins.data(Path(self.a), a.trained)
                b = origins.of_source(f"the data of {self.a}", source)
            if isinstance(b, origins.Origin) and b.count is None:
                b = dataclasses.replace(b, count=2 * (self.count or report.COUNT))
            held_out = None if self.held_out is None else origins.load(self.held_out, self.per_class, self.seed)
            if isinstance(held_out, origins.Reference) or (held_out is not None and held_out.count is None):
                raise UserError(f"--held-out {self.held_out}: must be real pictures")
        console = open_console(stderr=True)
        chosen = features.load(name, self.weights, console)
        with Bar(console, report.total(a, b, options), text="") as bar:
            found = report.judge(a, b, chosen, options, held_out, bar.move)
        for line in [json.dumps(found.to_json(), indent=2)] if self.json else _lines(found, a, b, chosen):
            print(line)
        if source is not None and a.trained is not None:
            near = _save_neighbours(Path(self.a), a, source)
            if near and not self.json:
                print(near)


def _lines(found: "Judgement", a: "Origin", b: "Origin | Reference", features: "Features") -> Iterator[str]:
    """What was found, for people."""
    from jaxgan.evaluate import report

    step = f"samples of step {int(a.trained.state.step):,}" if a.trained is not None else "pictures"
    other = "their statistics" if found.count[1] is None else f"{found.count[1]:,} pictures"
    yield f"{a.name}, {found.count[0]:,} {step}, beside {b.name}, {other}"
    for origin in (a, b):
        if left := getattr(origin, "left_out", 0):
            yield f"{origin.name}: {left:,} files are no pictures"
    resized = f", pictures resized: {found.resize}" if found.resize else ""
    weights = f", weights sha256 {found.weights_sha256}" if found.weights_sha256 else ""
    yield f"features: {found.features}{weights}{resized}{f'; {features.note}' if features.note else ''}"
    yield f"{'':20} {'value':>11} {'spread':>11} {'floor':>11}"
    for label, measures in ((None, found.measures), *found.classes.items()):
        if label is not None:
            yield f"class {label}"
        for name, value in measures.items():
            if value is None:
                continue
            better = "smaller is better" if name in report.SMALLER else "larger is better"
            better = "" if name in ("memorisation", "overfitting") else better
            biased = "; BIASED: training used features like these" if value.biased else ""
            numbers = " ".join(f"{'' if number is None else f'{number:.5g}':>11}" for number in value[:3])
            yield f"{name:20} {numbers}  {better}{biased}".rstrip()


def _save_neighbours(run: Path, samples: "Origin", source: "Source") -> str:
    """Looks for copies: the real pictures nearest to some samples, on a sheet; what is to be said of them."""
    import numpy as np

    from jaxgan.evaluate import neighbours
    from jaxgan.run.directory import output
    from jaxgan.support import images

    some = np.concatenate(list(samples.blocks(np.arange(neighbours.SAMPLES))))
    nearest = neighbours.nearest(some, source.blocks())
    if nearest is None:
        return ""
    path = output(run, "neighbours.png")
    images.save(path, nearest.sheet)
    return f"{nearest} ({path})"


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
