"""`jaxgan sample` and `jaxgan interpolate`: pictures of a trained generator."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

from jaxgan.cli.options import MOST, Positional, check_range, check_seed, check_truncation, seeds
from jaxgan.support.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from jaxgan.latent.saved import Latent
    from jaxgan.run.directory import Trained

_TOGETHER = 16  # Pictures of seeds, a call of the generator.


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draw pictures from a trained run's averaged generator: a sheet, or a file a picture.

    jaxgan sample runs/x --count 100                         a sheet, RUN/samples.png, that fits a screen

    jaxgan sample runs/x --seeds 0-99 --out pictures         pictures/seed00000.png and so on

    jaxgan sample runs/x --seeds 7,12,40-45 --out best.png   those that you liked
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run, a file that `jaxgan export` made of it, or emoji: the generator that ships."""
    count: int = 64
    """How many pictures."""
    seed: int = 0
    """Of the latents: the same seed gives the same pictures."""
    seeds: Annotated[str | None, tyro.conf.arg(metavar="A-B,C,...")] = None
    """In place of --count and --seed: a picture for each of these seeds, 0-99 or 3,7,10-12. It depends on its seed
    alone (and on --label and --truncation), not on which others are asked for."""
    label: int | None = None
    """Only this class (conditional runs); otherwise all classes in turn, of --seeds the seed's remainder."""
    truncation: float | None = None
    """Less variety, more typical pictures: redraw latent components beyond +- this (try 1); of runs with styles, draw
    styles towards their average by this factor (try 0.7)."""
    truncation_cutoff: int | None = None
    """Of runs with styles: only so many of these, from the coarsest on."""
    noise: Literal["same", "own", "none"] = "same"
    """Of stylegan2 runs: the same noise in all pictures, each picture's own, or none."""
    standing: int = 0
    """Of runs with batch normalisation (biggan, dcgan): take its moments of so many fresh batches (16 in BigGAN's code)
    rather than its running averages; 0 for these."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .png or .jpg file for one sheet, or a folder for a file a picture, of several classes in a folder a class;
    RUN/samples.png if not given. In a folder only pictures that jaxgan made are written over."""

    def __call__(self) -> None:
        from jaxgan.run.directory import output
        from jaxgan.support import images

        out = self.out or output(self.run, "samples.png")
        if out.suffix:
            images.check_suffix(out, images.PICTURES)
        trained, pictures, label = self.drawn()
        chosen = None if self.seeds is None else seeds(self.seeds)
        several = trained.classes if label is not None and self.label is None else 0
        if out.suffix:
            images.save(out, images.sheet(pictures, _columns(len(pictures), 0 if chosen else several)))
        else:
            paths = []
            for index in range(len(pictures)):
                name = f"{index:05}.png" if chosen is None else f"seed{chosen[index]:05}.png"
                folder = out / str(label[index]) if several and label is not None else out
                paths.append(folder / name)
            images.check_ours(paths)
            for path, picture in zip(paths, pictures, strict=True):
                images.save(path, picture)
        print(f"{len(pictures)} samples of step {int(trained.state.step)}: {out}")

    def drawn(self, trained: "Trained | None" = None) -> "tuple[Trained, np.ndarray, np.ndarray | None]":
        """The run, which is read unless it is given, the pictures uint8 [N, H, W, C] and their labels, if any."""
        import jax
        import jax.numpy as jnp

        from jaxgan.latent import mix, sampling
        from jaxgan.step.keys import stream

        chosen = None if self.seeds is None else seeds(self.seeds)
        draw = _Draw(self.run, self.seed, self.label, self.truncation, self.best, trained)
        trained, latent, label, psi = draw.read(self.count) if chosen is None else draw.of(chosen)
        variables, noise = trained.state.ema, None
        if self.standing:
            variables = self._standing(trained, variables)
        if mix.has_styles(trained.game):
            psi = self._by_layer(psi, cast(Any, trained.game.generator).layers)
            if self.noise != "same" and "noise" not in variables:
                raise UserError(f"--noise: {self.run} draws none; it is for stylegan2 runs")
            if self.noise == "none":
                variables = {**variables, "noise": jax.tree.map(jnp.zeros_like, variables["noise"])}
            elif self.noise == "own":
                if chosen:
                    raise UserError(
                        "--noise own: pictures of --seeds depend on their seeds alone; leave out one of them"
                    )
                noise = stream(jax.random.key(self.seed), "noise")
        elif self.noise != "same" or self.truncation_cutoff is not None:
            raise UserError(f"--noise, --truncation-cutoff: {self.run} has no styles; they are for runs with these")
        batch = None if chosen is None else _TOGETHER
        pictures = sampling.pictures(trained.game, variables, latent, label, psi, noise, batch)
        return trained, trained.put_right(pictures), label

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
    """Walk through latents, and back to the first: an animation, or a strip. Great circles between latents.

    jaxgan interpolate runs/x                                  through eight random latents

    jaxgan interpolate runs/x --through 7 12 40                through the pictures of `sample --seeds 7,12,40`

    jaxgan interpolate runs/x --through me.npz 7 you.npz       through what `jaxgan project` found, too
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run, a file that `jaxgan export` made of it, or emoji: the generator that ships."""
    count: int = 8
    """Latents to visit."""
    frames: int = 16
    """Pictures from each to the next."""
    seed: int = 0
    """Of the latents."""
    through: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SEED|FILE ...")] = ()
    """In place of --count and --seed: the places to visit, seeds as of `sample --seeds`, and .npz files that `jaxgan
    project` wrote. With styles among them (stylegan2, gat) the walk is through styles, on straight lines."""
    label: int | None = None
    """Only this class (conditional runs); otherwise class 0."""
    truncation: float | None = None
    """Redraw latent components beyond +- this; of runs with styles, draw these towards their average by this factor."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .gif, .webp or .mp4 animation, or a .png or .jpg strip (a row a latent); RUN/interpolation.gif if not given."""

    def __call__(self) -> None:
        from jaxgan.run.directory import output
        from jaxgan.support import images

        out = self.out or output(self.run, "interpolation.gif")
        images.check_suffix(out, images.ANIMATIONS + images.PICTURES)
        trained, pictures = self.drawn()
        if out.suffix in images.ANIMATIONS:
            save_walk(out, pictures)
        else:
            images.save(out, images.sheet(pictures, self.frames))
        print(f"{len(pictures)} pictures of step {int(trained.state.step)}: {out}")

    def drawn(
        self,
        trained: "Trained | None" = None,
        known: "Mapping[str, Latent] | None" = None,
        on_batch: "Callable[[int, int], None] | None" = None,
    ) -> "tuple[Trained, np.ndarray]":
        """The run and the pictures on the way.

        Args:
            trained: the run; it is read unless it is given.
            known: latents and their classes by the names that `through` gives them, which need not be read from files.
            on_batch: told now and then how many of how many pictures are made; what it raises ends the walk.

        Returns:
            The run and uint8 [N, H, W, C].
        """
        import jax.numpy as jnp

        from jaxgan.latent import sampling

        check_range("frames", self.frames, 1)
        check_range("count", self.count, 1, max(1, MOST // self.frames))
        check_range("through", max(1, len(self.through)), 1, max(1, MOST // self.frames))
        if self.frames > 1 and (len(self.through) or self.count) == 1:
            raise UserError(f"--{'through' if self.through else 'count'}: a walk leads through two places or more")
        draw = _Draw(self.run, self.seed, self.label, self.truncation, self.best, trained)
        if self.through:
            trained, game, latent, psi, label = draw.places(self.through, known or {})
        else:
            trained, latent, _, psi = draw.read(self.count)
            game, label = trained.game, self.label
        latent = sampling.walk(latent, self.frames)
        labels = jnp.full(len(latent), label or 0) if trained.classes and latent.ndim == 2 else None
        made = sampling.pictures(game, trained.state.ema, latent, labels, psi, on_batch=on_batch)
        return trained, trained.put_right(made)


def save_walk(out: Path, pictures: "np.ndarray") -> None:
    """Writes pictures [N, H, W, C] as an animation, enlarged where they are tiny."""
    from jaxgan.support import images

    images.save_animation(out, [images.grid(picture[None], 1, gap=0, least_width=256) for picture in pictures])


def _columns(count: int, classes: int) -> int | None:
    """Columns of a sheet, each of one class, where that leaves it about square; otherwise whatever fits."""
    return classes * max(1, round(count**0.5 / classes)) if 0 < classes**2 <= 4 * count else None


@dataclasses.dataclass(frozen=True)
class _Draw:
    """How latents are drawn for a run: what the options of a command say."""

    run: Path
    seed: int
    label: int | None
    truncation: float | None
    best: bool
    trained: "Trained | None" = None

    def read(self, count: int) -> "tuple[Trained, Any, Any, float | None]":
        """Reads the run and draws so many latents for it; labels for a conditional one, and psi for one with styles."""
        check_range("count", count, 1)
        check_seed(self.seed)
        import jax

        from jaxgan.latent import sampling

        trained, bound, psi = self._opened()
        latent = sampling.draw_latents(trained.game, jax.random.key(self.seed), count, bound)
        return trained, latent, self._labels(trained, range(count)), psi

    def of(self, chosen: list[int]) -> "tuple[Trained, Any, Any, float | None]":
        """As `read`, a latent for each seed."""
        from jaxgan.latent import sampling

        trained, bound, psi = self._opened()
        latent = sampling.latents_of(trained.game, chosen, bound)
        return trained, latent, self._labels(trained, chosen), psi

    def places(
        self, named: tuple[str, ...], known: "Mapping[str, Latent]"
    ) -> "tuple[Trained, Any, Any, float | None, int | None]":
        """The run, a game, what it takes at each place that is named by a seed or a file (latents, or styles), and psi.

        And the class: that of the first file that names one, if it is not chosen.
        """
        import jax.numpy as jnp

        from jaxgan.latent import mix, sampling, saved

        trained, bound, psi = self._opened()
        game, variables = trained.game, trained.state.ema
        drawn = {name: sampling.latents_of(game, seeds(name), bound)[0] for name in named if name.isdecimal()}
        found, chosen = {}, self.label
        for name in named:
            if name not in found | drawn:
                kept = known.get(name) or saved.load(Path(name), game, variables, trained.classes, str(self.run))
                found[name], label = kept
                chosen = label if chosen is None else chosen
        if not any(value.ndim == 2 for value in found.values()):
            return trained, game, jnp.stack([(found | drawn)[name] for name in named]), psi, chosen
        labels = jnp.full(1, chosen or 0) if trained.classes else None
        for name, latent in (found | drawn).items():
            if latent.ndim == 1:
                found[name] = mix.styles(game, variables, latent[None], labels, psi)[0]
        return trained, mix.of_styles(game), jnp.stack([found[name] for name in named]), None, chosen

    def _opened(self) -> "tuple[Trained, float | None, float | None]":
        """The run, and of --truncation the bound of latents, or psi where it has styles."""
        check_truncation(self.truncation)
        from jaxgan.latent import mix
        from jaxgan.run import directory

        trained = self.trained
        if trained is None:
            trained = directory.read_pictures(self.run, self.best, self.label)
        else:
            directory.check_pictures(self.run, trained, self.label)
        psi, bound = mix.truncations(trained.game, self.truncation)
        return trained, bound, psi

    def _labels(self, trained: "Trained", places: Iterable[int]) -> Any:
        import numpy as np

        if not trained.classes:
            return None
        fixed = self.label
        labels = [place % trained.classes if fixed is None else fixed for place in places]
        return np.array(labels, np.int32)
