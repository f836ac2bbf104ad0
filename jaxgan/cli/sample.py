"""`jaxgan sample` and `jaxgan interpolate`: pictures of a trained generator."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxgan.cli.options import MOST, Positional, check_range, check_seed
from jaxgan.support.errors import UserError

if TYPE_CHECKING:
    from jaxgan.run.directory import Trained


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draw pictures from a trained run's averaged generator."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""
    count: int = 64
    """How many pictures."""
    seed: int = 0
    """Of the latents: the same seed gives the same pictures."""
    label: int | None = None
    """Only this class (conditional runs); otherwise all classes in turn."""
    truncation: float | None = None
    """Less variety, more typical pictures: redraw latent components beyond +- this (try 1); of runs with styles, draw
    styles towards their average by this factor (try 0.7)."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .png or .jpg file for one sheet, or a folder for a file a picture; RUN/samples.png if not given."""

    def __call__(self) -> None:
        from jaxgan.latent import sampling
        from jaxgan.support import images

        trained, latent, label, psi = _latents(self.run, self.count, self.seed, self.label, self.truncation, self.best)
        pictures = sampling.pictures(trained.game, trained.state.ema, latent, label, psi)
        out = self.out or self.run / "samples.png"
        if out.suffix:
            images.check_suffix(out, images.PICTURES)
            classes = trained.classes if label is not None and self.label is None else 0
            images.save(out, images.grid(pictures, _columns(self.count, classes)))
        else:
            for index, picture in enumerate(pictures):
                images.save(out / f"{index:05}.png", picture)
        print(f"{self.count} samples of step {int(trained.state.step)}: {out}")


@dataclasses.dataclass(frozen=True)
class Interpolate:
    """Walk on great circles through random latents, and back to the first: an animation, or a strip."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""
    count: int = 8
    """Latents to visit."""
    frames: int = 16
    """Pictures from each to the next."""
    seed: int = 0
    """Of the latents."""
    label: int | None = None
    """Only this class (conditional runs); otherwise class 0."""
    truncation: float | None = None
    """Redraw latent components beyond +- this; of runs with styles, draw these towards their average by this factor."""
    out: Path | None = None
    """A .gif, .webp or .mp4 animation, or a .png or .jpg strip (a row a latent); RUN/interpolation.gif if not given."""

    def __call__(self) -> None:
        import jax.numpy as jnp

        from jaxgan.latent import sampling
        from jaxgan.support import images

        check_range("frames", self.frames, 1)
        check_range("count", self.count, 1, max(1, MOST // self.frames))
        out = self.out or self.run / "interpolation.gif"
        images.check_suffix(out, images.ANIMATIONS + images.PICTURES)
        trained, latent, _, psi = _latents(self.run, self.count, self.seed, self.label, self.truncation)
        latent = sampling.walk(latent, self.frames)
        label = jnp.full(len(latent), self.label or 0) if trained.classes else None
        pictures = sampling.pictures(trained.game, trained.state.ema, latent, label, psi)
        if out.suffix in images.ANIMATIONS:
            images.save_animation(out, [images.grid(p[None], 1, gap=0, least_width=256) for p in pictures])
        else:
            images.save(out, images.grid(pictures, self.frames))
        print(f"{len(pictures)} pictures of step {int(trained.state.step)}: {out}")


def _columns(count: int, classes: int) -> int:
    """Columns of a sheet: one a class, where these leave it about square; otherwise as many as rows."""
    return classes if 0 < classes**2 <= 4 * count else max(1, round(count**0.5))


def _latents(
    run: Path, count: int, seed: int, label: int | None, truncation: float | None, best: bool = False
) -> "tuple[Trained, Any, Any, float | None]":
    """Reads a run and draws latents for it; labels for a conditional one, and for one with styles their truncation."""
    check_range("count", count, 1)
    check_seed(seed)
    if truncation is not None and not 0 < truncation < float("inf"):
        raise UserError(f"--truncation must be above 0, not {truncation}")
    import jax
    import jax.numpy as jnp

    from jaxgan.latent import mix, sampling
    from jaxgan.run.directory import read_pictures

    trained = read_pictures(run, best, label)
    psi = truncation if mix.has_styles(trained.game) else None
    bound = None if mix.has_styles(trained.game) else truncation
    latent = sampling.draw_latents(jax.random.key(seed), count, trained.game.latent_size, bound)
    if not trained.classes:
        return trained, latent, None, psi
    return trained, latent, jnp.arange(count) % trained.classes if label is None else jnp.full(count, label), psi
