"""`jaxgan mix`, `jaxgan project` and `jaxgan directions`: playing with a trained generator."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxgan.cli.options import Positional, check_range, check_seed
from jaxgan.support.errors import NonFiniteError, UserError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from jaxgan.latent.project import Projection
    from jaxgan.run.directory import Trained

_FRAMES = 100  # Pictures, at the most, on the way of a projection.


@dataclasses.dataclass(frozen=True)
class Mix:
    """Mix styles (stylegan2, gat): coarse ones from the pictures along the top, the rest from those down the side."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run, a file that `jaxgan export` made of it, or emoji: the generator that ships."""
    rows: int = 4
    """Pictures down the side."""
    columns: int = 6
    """Pictures along the top."""
    crossover: int | None = None
    """Layers that count as coarse; a third of them if not given. Few: pose and shape; many: all but colours."""
    seed: int = 0
    """Of the latents."""
    label: int | None = None
    """The class (conditional runs); 0 if not given."""
    truncation: float | None = None
    """Draw styles towards the mean one: 1 leaves them, 0.7 gives more typical pictures."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .png or .jpg file; RUN/mix.png if not given."""

    def __call__(self) -> None:
        from jaxgan.run.directory import output
        from jaxgan.support import images

        out = self.out or output(self.run, "mix.png")
        images.check_suffix(out, images.PICTURES)
        trained, sheet, mixed = self.drawn()
        images.save(out, sheet)
        print(f"{mixed} layers from the top, step {int(trained.state.step)}: {out}")

    def drawn(self, trained: "Trained | None" = None) -> "tuple[Trained, np.ndarray, str]":
        """The run, which is read unless it is given, the sheet uint8 [H, W, C], and "2 of 6": how it is mixed."""
        check_range("rows", self.rows, 1, 100)
        check_range("columns", self.columns, 1, 100)
        check_seed(self.seed)
        if self.truncation is not None and not 0 <= self.truncation < float("inf"):
            raise UserError(f"--truncation must be 0 or more, not {self.truncation}")
        import jax

        from jaxgan.latent import mix, sampling
        from jaxgan.support import images

        trained, label = _read(self.run, self.best, self.label, trained)
        game, variables, key = trained.game, trained.state.ema, jax.random.key(self.seed)
        if not mix.has_styles(game):
            raise UserError(f"{self.run}: has no styles to mix; train a stylegan2 or gat config")
        latent = sampling.draw_latents(game, key, self.columns + self.rows)
        styles = mix.styles(game, variables, latent, _labels(label, len(latent)), self.truncation)
        layers = styles.shape[1]
        crossover = max(1, layers // 3) if self.crossover is None else self.crossover
        if not 0 <= crossover <= layers:
            raise UserError(f"--crossover must be 0 to {layers}, the layers of {self.run}, not {crossover}")
        cells = mix.grid(game, variables, styles[: self.columns], styles[self.columns :], crossover)
        sheet = images.grid(trained.put_right(cells.reshape(-1, *cells.shape[2:])), self.columns + 1)
        return trained, sheet, f"{crossover} of {layers}"


@dataclasses.dataclass(frozen=True)
class Project:
    """Find the latent whose picture is nearest to a given one; a video shows the way there.

    Beside the video lie OUT.png, the given picture and the one found, and OUT.npz, the latent.
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run, a file that `jaxgan export` made of it, or emoji: the generator that ships."""
    image: Annotated[Positional[Path], tyro.conf.arg(metavar="IMAGE")]
    """The picture, of any kind and size; its middle square is used."""
    steps: int = 500
    """Iterations."""
    plus: bool = False
    """Search a style for each layer rather than one for all (stylegan2, gat): nearer, but further from training."""
    seed: int = 0
    """Of the start and of the noise."""
    label: int | None = None
    """The class (conditional runs); 0 if not given."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .gif, .webp or .mp4 file; RUN/projection.gif if not given."""
    quiet: bool = False
    """Show nothing but the closing line."""

    def __call__(self) -> None:
        check_range("steps", self.steps, 1)
        import numpy as np

        from jaxgan.latent import saved
        from jaxgan.run.directory import output
        from jaxgan.support import files, images
        from jaxgan.support.console import open_console

        out = self.out or output(self.run, "projection.gif")
        images.check_suffix(out, images.ANIMATIONS)
        with self._progress(open_console(self.quiet, stderr=True)) as show:
            trained, label, target, found = self.found(show)

        def beside(picture: np.ndarray) -> np.ndarray:
            return images.grid(trained.put_right(np.stack([target, picture])), 2)

        frames = images.to_uint8(np.asarray(found.pictures))
        images.save(out.with_suffix(".png"), beside(frames[-1]))
        files.write_atomically(out.with_suffix(".npz"), saved.encode(found.latent, label))
        images.save_animation(out, [beside(frame) for frame in frames])
        print(f"LPIPS {float(found.distance):.4f} after {self.steps} iterations: {out}, and beside it .png and .npz")

    def found(
        self, show: "Callable[[int, str, np.ndarray], None]", trained: "Trained | None" = None
    ) -> "tuple[Trained, int | None, np.ndarray, Projection]":
        """Searches.

        Args:
            show: called now and then with the iterations done, the losses in words, and the picture found so far,
                uint8 [H, W, C]. What it raises ends the search.
            trained: the run; it is read unless it is given.

        Returns:
            The run, the class, the target uint8 [H, W, C], and what was found.
        """
        check_range("steps", self.steps, 1)
        check_seed(self.seed)
        import jax
        import jax.numpy as jnp
        import numpy as np

        from jaxgan.evaluate import lpips
        from jaxgan.latent import mix, project
        from jaxgan.support import images

        trained, label = _read(self.run, self.best, self.label, trained)
        if self.plus and not mix.has_styles(trained.game):
            raise UserError(f"--plus: {self.run} has no styles; leave it out, or train a stylegan2 or gat config")
        target = _open(self.image, _shape(trained), trained.shown)

        def on_pictures(done: int, losses: project.History, picture: jax.Array) -> None:
            last = {name: float(values[-1]) for name, values in losses.items()}
            if not jnp.isfinite(last["loss"]):
                raise NonFiniteError(f"iteration {done}: the loss is not finite")
            text = f"LPIPS {last['lpips']:.4f}  pixels {last['pixels']:.4f}"
            show(done, text, images.to_uint8(np.asarray(picture)))

        found = project.project(
            trained.game,
            trained.state.ema,
            lpips.load(),
            jnp.asarray(target, jnp.float32) / 127.5 - 1,
            jax.random.key(self.seed),
            label,
            steps=self.steps,
            plus=self.plus,
            every=-(-self.steps // _FRAMES),
            on_pictures=on_pictures,
        )
        return trained, label, target, found

    @contextlib.contextmanager
    def _progress(self, console: "Console") -> "Iterator[Callable[[int, str, np.ndarray], None]]":
        """Progress: a live bar in a terminal, now and then a line elsewhere."""
        from jaxgan.support.progress import Bar

        before = 0
        with Bar(console, self.steps, text="compiling") as bar:

            def show(done: int, text: str, _: "np.ndarray") -> None:
                nonlocal before
                bar.move(done, text)
                tenth = max(self.steps // 10, 1)
                if done // tenth > before // tenth:
                    bar.line(f"iteration {done}/{self.steps}  {text}")
                before = done

            yield show


@dataclasses.dataclass(frozen=True)
class Directions:
    """Show the directions of the latent space that change pictures most (SeFa): a row each, from one end to the other.

    Each row moves one sample, which is in the middle, along a direction.
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run, a file that `jaxgan export` made of it, or emoji: the generator that ships."""
    count: int = 5
    """Directions, from the strongest on."""
    steps: int = 7
    """Pictures along each."""
    strength: float = 3.0
    """How far to go either way, in standard deviations of the latents."""
    seed: int = 0
    """Of the sample."""
    label: int | None = None
    """The class (conditional runs); 0 if not given."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .png or .jpg file; RUN/directions.png if not given."""

    def __call__(self) -> None:
        check_range("count", self.count, 1)
        check_range("steps", self.steps, 2, 100)
        check_seed(self.seed)
        if not 0 < self.strength < float("inf"):
            raise UserError(f"--strength must be above 0, not {self.strength}")
        import jax

        from jaxgan.latent import directions, mix, sampling
        from jaxgan.run.directory import output
        from jaxgan.support import images

        out = self.out or output(self.run, "directions.png")
        images.check_suffix(out, images.PICTURES)
        trained, label = _read(self.run, self.best, self.label)
        game, variables, key = trained.game, trained.state.ema, jax.random.key(self.seed)
        matrix = directions.weights(game, variables["params"])
        if self.count > len(matrix):
            raise UserError(f"--count must be at most {len(matrix)}, the length of the latent, not {self.count}")
        found, _ = directions.directions(matrix, self.count)
        latent = sampling.draw_latents(game, key, 1)
        reach = self.strength * directions.deviation(game, variables, key, _labels(label, 1))
        if mix.has_styles(game):
            latent = mix.styles(game, variables, latent, _labels(label, 1))
            game, label = mix.of_styles(game), None
        points = directions.sliders(latent[0], found, self.steps, reach)
        pictures = sampling.pictures(game, variables, points, _labels(label, len(points)))
        images.save(out, images.grid(trained.put_right(pictures), self.steps))
        print(f"{self.count} directions of step {int(trained.state.step)}: {out}")


def _read(run: Path, best: bool, label: int | None, trained: "Trained | None" = None) -> "tuple[Trained, int | None]":
    """A run that makes pictures, read unless given, and the class to make: 0 if not given, None if it has none."""
    from jaxgan.run import directory

    if trained is None:
        trained = directory.read_pictures(run, best, label)
    else:
        directory.check_pictures(run, trained, label)
    return trained, (label or 0) if trained.classes else None


def _shape(trained: "Trained") -> tuple[int, ...]:
    """Shape of a generator's pictures, which may still be smaller than the data where it grows."""
    import jax
    import jax.numpy as jnp

    from jaxgan import train_step

    label = jnp.zeros(1, jnp.int32) if trained.classes else None
    make = functools.partial(train_step.generate, trained.game)
    return jax.eval_shape(make, trained.state.ema, jnp.zeros((1, trained.game.latent_size)), label).shape[1:]


def _open(path: Path, shape: tuple[int, ...], shown: tuple[int, int] | None) -> "np.ndarray":
    """A picture's middle, as a run's data are: its size and channels, uint8 [H, W, C]."""
    from jaxgan.data import folder
    from jaxgan.support import images

    channels: Any = {1: "grey", 3: "rgb", 4: "rgba"}[shape[-1]]
    size = f"{shown[0]}x{shown[1]}" if shown else shape[0]
    if not path.is_file():
        raise UserError(f"{path}: is a folder, not a picture" if path.is_dir() else f"{path}: no such file")
    try:
        picture = folder.convert(path.parent, path.name, folder.Settings(size=size, channels=channels))
        return images.resized(picture, (shape[1], shape[0]))  # Of a run that grows, smaller than its data.
    except folder.Skipped as reason:
        raise UserError(f"{path}: {reason}") from None


def _labels(label: int | None, count: int) -> Any:
    import jax.numpy as jnp

    return None if label is None else jnp.full(count, label, jnp.int32)
