"""`jaxgan sample` and `jaxgan interpolate`: pictures of a trained generator."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

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
    """Less variety, more typical pictures: redraw latent components beyond +- this (try 1); of stylegan2 runs, draw
    styles towards their average by this factor (try 0.7)."""
    truncation_cutoff: int | None = None
    """Of stylegan2 runs: only so many of the styles, from the coarsest on."""
    noise: Literal["same", "own", "none"] = "same"
    """Of stylegan2 runs: the same noise in all pictures, each picture's own, or none."""
    standing: int = 0
    """Of runs with batch normalisation (biggan, dcgan): take its moments of so many fresh batches (16 in BigGAN's code)
    rather than its running averages; 0 for these."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .png or .jpg file for one sheet, or a folder for a file a picture; RUN/samples.png if not given."""

    def __call__(self) -> None:
        import jax
        import jax.numpy as jnp

        from jaxgan.latent import mix, sampling
        from jaxgan.step.keys import stream
        from jaxgan.support import images

        trained, latent, label, psi = _latents(self.run, self.count, self.seed, self.label, self.truncation, self.best)
        variables, noise = trained.state.ema, None
        if self.standing:
            variables = self._standing(trained, variables)
        if mix.has_styles(trained.game):
            psi = self._by_layer(psi, cast(Any, trained.game.generator).layers)
            if self.noise == "none":
                variables = {**variables, "noise": jax.tree.map(jnp.zeros_like, variables["noise"])}
            elif self.noise == "own":
                noise = stream(jax.random.key(self.seed), "noise")
        elif self.noise != "same" or self.truncation_cutoff is not None:
            raise UserError(f"--noise, --truncation-cutoff: {self.run} has no styles; they are for stylegan2 runs")
        pictures = sampling.pictures(trained.game, variables, latent, label, psi, noise)
        out = self.out or self.run / "samples.png"
        if out.suffix:
            images.check_suffix(out, images.PICTURES)
            classes = trained.classes if label is not None and self.label is None else 0
            images.save(out, images.grid(pictures, _columns(self.count, classes)))
        else:
            for index, picture in enumerate(pictures):
                images.save(out / f"{index:05}.png", picture)
        print(f"{self.count} samples of step {int(trained.state.step)}: {out}")

    def _by_layer(self, psi: Any, layers: int) -> Any:
        """The truncation of each style, where a cutoff is given."""
        if self.truncation_cutoff is None:
            return psi
        check_range("truncation-cutoff", self.truncation_cutoff, 0, layers)
        if psi is None:
            raise UserError("--truncation-cutoff: says up to which style to truncate; give --truncation with it")
        import numpy as np

        return np.where(np.arange(layers) < self.truncation_cutoff, psi, 1).astype(np.float32)

    def _standing(self, trained: "Trained", variables: Any) -> Any:
        """The generator's variables with standing statistics."""
        import jax

        from jaxgan.latent import sampling
        from jaxgan.step.keys import stream

        check_range("standing", self.standing, 1)
        key = stream(jax.random.key(self.seed), "standing")
        try:
            return sampling.standing(trained.game, variables, key, self.standing, trained.classes, self.truncation)
        except ValueError as error:
            raise UserError(f"--standing: {self.run}: {error}") from None


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
    """Redraw latent components beyond +- this; of stylegan2 runs, draw styles towards their average by this factor."""
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
