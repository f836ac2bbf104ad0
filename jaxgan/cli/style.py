"""The command `jaxgan style`."""

import dataclasses
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxgan.cli.options import MOST, check_range, check_seed
from jaxgan.style import recipe
from jaxgan.support.errors import NonFiniteError, StoppedError, UserError
from jaxgan.support.files import replacing, write_atomically

if TYPE_CHECKING:
    import jax
    import numpy as np
    from rich.console import Console

    from jaxgan.style import transfer, vgg
    from jaxgan.style.pictures import Picture

DEMO = (Path("chelsea.jpg"), Path("swirls.jpg"))
STARTS = ("content", "noise", "statistics")


@dataclasses.dataclass(frozen=True)
class Style:
    """Give a picture the style of others: `jaxgan style --demo` shows it.

    A folder of contents or of styles gives a folder of every content in every style; a GIF, WebP or video gives a film
    where OUT ends in .gif, .webp or .mp4. Ctrl-C and SIGTERM write the picture so far, and the same command goes on
    from there (exit code 75).
    """

    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CONTENT STYLE [STYLE ...]")] = ()
    """The picture to change, then one or more whose style it gets; or a folder of each."""
    out: Path | None = None
    """Where the result goes: .png, .jpg, .webp or .tiff; .gif, .webp or .mp4 of a film; a folder, where a folder is
    given. stylized.png, stylized.mp4 or stylized if not given."""
    sheet: Path | None = None
    """With folders: also write one picture of all, contents down the side, styles along the top."""
    demo: bool = False
    """Use the two pictures that ship with jaxgan, at 256 pixels: a try in a minute or two."""
    size: int | Literal["original"] | None = None
    """Pixels of the result's longer side; original: as many as the content has. 512 if not given; a film's own."""
    style_weight: float = recipe.STYLE_WEIGHT
    """More: more style. With 20, faces begin to break up."""
    content_weight: float = recipe.CONTENT_WEIGHT
    """More: the content's forms stay."""
    tv_weight: float = recipe.TV_WEIGHT
    """More: smoother."""
    blend: tuple[float, ...] = ()
    """How much of each style, where there are several; the same of each if not given."""
    style_scale: float = 1.0
    """The longer side of the style pictures relative to the result's: 2 gives strokes twice as large."""
    style_crop: tuple[float, float, float, float] | None = None
    """Use this part of the styles: left, top, right and bottom as fractions; 0 0 0.5 0.5 is the upper left quarter."""
    style_loss: Literal["gram", "wasserstein", "statistics"] = recipe.STYLE_LOSS
    """How styles are compared."""
    init: str = "content"
    """Start from: content, noise, statistics (noise in the style's colours), or a picture's file."""
    optimizer: Literal["adam", "lbfgs", "sgd"] = "adam"
    """lbfgs takes two to three times as long an iteration; sgd has momentum."""
    learning_rate: float | None = None
    """In pixels of 0..1; 0.03 for adam and 0.005 for sgd if not given. Falls to a fiftieth over the last third."""
    steps: int | None = None
    """Iterations in all, as many at each scale: 400 if not given; of a film, 400 for the first frame and 150 for each
    after it."""
    scales: int | None = None
    """Sizes to go through, each half of the next, at the most; as many as have a shorter side of 160 pixels if not
    given."""
    preserve_color: Literal["no", "luminance", "match"] = "no"
    """Keep the content's colours: its hues under the result's brightness, or the style's colours matched to it."""
    mask: tuple[Path, ...] = ()
    """A picture a style, for the content: white, or opaque, where the style belongs; of the content's shape; soft
    edges are welcome. There are none for parts of a style: see --style-crop."""
    content_layers: tuple[str, ...] = recipe.spelled(recipe.CONTENT_LAYERS)
    """Where in the network contents are compared: LAYER or LAYER=WEIGHT, such as relu3_2=1 relu4_2=2."""
    style_layers: tuple[str, ...] = recipe.spelled(recipe.STYLE_LAYERS)
    """Where styles are compared, likewise. More weight on the first layers: cleaner surfaces; on the last: larger
    forms of the style."""
    weights: str | None = None
    """File or URL of VGG16's or VGG19's weights (.pth, .h5, .safetensors, .npz); VGG16 of the package if not given."""
    preprocessing: Literal["torchvision", "caffe"] | None = None
    """How the training of --weights showed pictures, for torch files that are not the published ones."""
    pooling: Literal["max", "average"] = "max"
    """The network's pooling."""
    padding: recipe.Padding = recipe.PADDING
    """What the network sees beyond the edges."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the features; bfloat16 is for accelerators."""
    save_memory: bool = False
    """For large pictures: evaluate in bands and compute features twice instead of keeping them."""
    depth: Literal[8, 16] = 8
    """Bits a channel of the result; 16 for .png and .tiff."""
    seed: int = 0
    """Of a start from noise: the same seed gives the same picture."""
    save_every: int = 0
    """Write the picture so far every so many iterations, beside the result."""
    trace: bool = False
    """Write the losses of every iteration (OUT.jsonl) and their plot (OUT.losses.png) beside the result."""
    force: bool = False
    """Overwrite what is there."""
    quiet: bool = False
    """Show nothing but the closing line."""

    def __call__(self) -> None:
        # XLA complains in a box of its own where a machine is slow to compile.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from jaxgan.cli import style_films, style_folders
        from jaxgan.style import cost, film, pictures
        from jaxgan.support.console import open_console
        from jaxgan.support.stopping import catch_stop

        command = self.checked()
        cost.release_after_compiling()
        console = open_console(command.quiet, stderr=True)
        since = time.perf_counter()
        with catch_stop() as stop:
            if any(path.is_dir() for path in command.pictures):
                said = style_folders.every(command, console, stop)
            elif command.makes_film():
                said = style_films.whole(command, console, stop)
            else:
                assert command.out is not None
                if film.is_video(command.pictures[0]):
                    raise UserError(f"{command.pictures[0]}: is a film; --out needs an ending of {film.SUFFIXES}")
                pictures.check_writable(command.out, command.force)
                pictures.check_depth(command.out, command.depth)
                job = command.job(*command.read(*command.pictures, console=console))
                if job.alpha is not None:
                    pictures.check_alpha(command.out, command.pictures[0])
                network = command.load_network(console)
                command.run(network, job, console, command.out, stop)
                said = str(command.out)
        print(f"{said} in {time.perf_counter() - since:.0f} s")

    def checked(self) -> "Style":
        """The command with the demonstration's pictures filled in; refuses values that make no sense."""
        if self.demo:
            if self.pictures:
                raise UserError(f"--demo brings its own pictures; leave out {self.pictures[0]}")
            folder = Path(str(resources.files("jaxgan.support") / "assets" / "style"))
            size = 256 if self.size in (None, "original") else min(self.size, 256)
            return dataclasses.replace(
                self, demo=False, pictures=tuple(folder / name for name in DEMO), size=size
            ).checked()
        if len(self.pictures) < 2:
            raise UserError("style: name a content and a style: jaxgan style CONTENT STYLE --out OUT (or --demo)")
        folders = any(path.is_dir() for path in self.pictures)
        if self.out is None:
            from jaxgan.style import film

            name = "stylized.mp4" if film.is_video(self.pictures[0]) else "stylized.png"
            return dataclasses.replace(self, out=Path("stylized" if folders else name)).checked()
        if self.sheet is not None and not folders:
            raise UserError("--sheet shows the pictures of a folder; there is none here: --out says where one goes")
        for name, least in (("scales", 1), ("save_every", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
        if self.size not in (None, "original"):
            check_range("size", self.size, 64, 2**15)
        if self.steps is not None:
            check_range("steps", self.steps, 1, 10 * MOST)
        check_seed(self.seed)
        weights = ("style_weight", "content_weight", "tv_weight")
        for name in weights:
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, not {getattr(self, name)}")
        if not any(getattr(self, name) for name in weights):
            raise UserError("--style-weight, --content-weight and --tv-weight are all 0: nothing is wanted of a result")
        for name in ("style_scale", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} must be above 0, not {value}")
        left, top, right, bottom = self.style_crop or (0, 0, 1, 1)
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise UserError(
                f"--style-crop: left < right and top < bottom, all in 0..1, are needed, not {self.style_crop}"
            )
        if self.init not in STARTS and not Path(self.init).is_file():
            raise UserError(f"--init {self.init}: no such file, and none of {', '.join(STARTS)}")
        for name in ("content_layers", "style_layers"):
            _layers(name, getattr(self, name))
        styles = len(self.pictures) - 1
        if self.blend and (len(self.blend) != styles or min(self.blend) < 0 or sum(self.blend) <= 0):
            raise UserError(f"--blend: {styles} weights are needed, one a style, 0 or more, not {list(self.blend)}")
        if self.mask and len(self.mask) != styles:
            raise UserError(
                f"--mask: {styles} masks are needed, one a style, not {len(self.mask)}; they say where in the content "
                "a style goes, and there are none for parts of a style (--style-crop)"
            )
        if self.mask and self.blend:
            raise UserError("--blend mixes styles everywhere, --mask separates them: give one of the two")
        return self

    def read(
        self, content: Path, *styles: Path, console: "Console", size: tuple[int, int] | None = None
    ) -> "tuple[Picture, list[Picture]]":
        """The pictures of a transfer, at their sizes; what reading them has cost is printed. For `size` see `job`."""
        from jaxgan.style import pictures

        image = pictures.read(content, self.longer_side())
        others = self.read_styles(styles, max(size or image.pixels.shape[:2]))
        for path, picture in zip((content, *styles), (image, *others), strict=True):
            if picture.note:
                console.print(f"{path}: {picture.note}", soft_wrap=True)
        return image, others

    def read_styles(self, styles: Sequence[Path], longer: int) -> "list[Picture]":
        """The styles for a result whose longer side has so many pixels."""
        from jaxgan.style import pictures

        remedy = "take a larger --style-scale" if self.style_scale < 1 else "crop it or take a larger --size"
        return [pictures.read(style, round(longer * self.style_scale), self.style_crop, remedy) for style in styles]

    def makes_film(self) -> bool:
        """Whether the content is a film and the result is to be one."""
        from jaxgan.style import film

        return self.out is not None and self.out.suffix.lower() in film.SUFFIXES and film.is_film(self.pictures[0])

    def longer_side(self) -> int | None:
        """Pixels of a result's longer side; None: as many as the content has."""
        return None if self.size == "original" else self.size or recipe.SIZE

    def job(self, content: "Picture", styles: "Sequence[Picture]", size: tuple[int, int] | None = None) -> "Job":
        """What a transfer works on.

        Args:
            content: the content.
            styles: the styles.
            size: height and width to work at, where larger than the content: the rest mirrors it, and is cut off.
        """
        import jax.numpy as jnp
        import numpy as np

        from jaxgan.style import colour, pictures

        shape = content.pixels.shape[:2]
        others = [style.over_white() for style in styles]
        if self.preserve_color == "match":
            others = [
                np.asarray(colour.match_colours(jnp.asarray(other), jnp.asarray(content.pixels))) for other in others
            ]
        grey, start = content.grey and all(pictures.is_grey(other) for other in others), None
        if self.init not in STARTS:
            start = pictures.fit(pictures.read(Path(self.init)).over_white(), shape)
            grey = grey and pictures.is_grey(start)
        masks = np.stack([pictures.read_mask(mask, shape) for mask in self.mask]) if self.mask else None
        margin = [(0, whole - part) for whole, part in zip(size or shape, shape, strict=True)]

        def padded(array: np.ndarray, axis: int = 0) -> np.ndarray:
            widths = [(0, 0)] * array.ndim
            widths[axis : axis + 2] = margin
            return np.pad(array, widths, "symmetric")

        return Job(
            content=padded(content.pixels),
            styles=tuple(others),
            masks=None if masks is None else padded(masks, 1),
            start=None if start is None else padded(start),
            alpha=content.alpha,
            grey=grey,
            shape=shape,
        )

    def load_network(self, console: "Console") -> "vgg.Network":
        """The network that features come from."""
        from jaxgan.style import weights

        network = weights.load(self.weights, console, self.preprocessing)
        return network.using(pooling=self.pooling, dtype=self.precision)

    def options(self, shape: tuple[int, ...], grey: bool = False) -> "transfer.Options":
        """What to want of a picture [H, W, ...] of this shape."""
        import jax.numpy as jnp

        from jaxgan.style import losses, transfer

        weights = (self.content_weight, self.style_weight, self.tv_weight)
        # Of the weights, only how they stand to one another counts. Huge ones would overrun float32.
        _, exponent = math.frexp(max(weights))
        shares = [math.ldexp(weight, -exponent) for weight in weights]
        usual = recipe.CONTENT_WEIGHT + recipe.STYLE_WEIGHT + recipe.TV_WEIGHT
        content_weight, style_weight, tv_weight = (share * usual / sum(shares) for share in shares)
        init: Any = self.init if self.init in STARTS else "content"
        steps = self.steps or recipe.STEPS
        return transfer.Options(
            content_weight=content_weight,
            style_weight=style_weight,
            tv_weight=tv_weight,
            blend=jnp.asarray(self.blend) if self.blend else None,
            average=recipe.AVERAGE if self.optimizer == "adam" else 0.0,
            content_layers=_layers("content_layers", self.content_layers),
            style_layers=_layers("style_layers", self.style_layers),
            style_loss=losses.BY_NAME[self.style_loss],
            padding=self.padding,
            grey=grey,
            init=init,
            optimizer=transfer.optimizer(self.optimizer, steps, self.learning_rate),
            stages=recipe.stages(shape, steps, self.scales),
        )

    def fitted(
        self, network: "vgg.Network", options: "transfer.Options", shape: tuple[int, ...], console: "Console"
    ) -> "tuple[vgg.Network, transfer.Options]":
        """Has a picture evaluated in bands where it would not fit into memory otherwise, and says what it takes."""
        from jaxgan.style import cost, vgg

        layers = [name for name, _ in (*options.content_layers, *options.style_layers)]
        vgg.check_layers(network.module, layers)
        free = cost.available()
        choices = [(rows, cost.memory(network.module, shape, layers, rows)) for rows in (0, *cost.BANDS)]
        fitting = [choice for choice in choices[self.save_memory :] if choice[1] <= cost.SHARE * free]
        # Bands do not lessen what compiling takes: where they gain nothing, the whole picture comes first.
        rows, taken = fitting[0] if fitting else min(choices[self.save_memory :], key=lambda choice: choice[1])
        how = f", in bands of {rows} rows" if rows and not self.save_memory else ""
        said = f"{shape[1]} x {shape[0]} pixels: about {taken / 2**30:.1f} GiB of memory{how}"
        if not fitting:
            said += f", where {free / 2**30:.1f} GiB are free; it may not fit: take a smaller --size"
        console.print(said, soft_wrap=True)
        return network.using(remat=rows > 0), dataclasses.replace(options, band_rows=rows)

    def run(
        self,
        network: "vgg.Network",
        job: "Job",
        console: "Console",
        out: Path,
        stop: Sequence[int],
        done: Sequence[str] = (),
    ) -> list[str]:
        """One transfer and its picture, with progress, intermediate pictures and trace.

        Args:
            network: the network that features come from.
            job: what to work on.
            console: where progress is shown.
            out: where the result goes.
            stop: the signals that have come; one ends the transfer after a few iterations.
            done: what else the command has finished, to be kept where this is stopped.

        Returns:
            What else the command had finished when this was stopped; nothing if it was not.

        Raises:
            StoppedError: a signal came; OUT.partial.png and OUT.state are there.
        """
        import jax
        import numpy as np

        from jaxgan.style import pictures, saved, transfer
        from jaxgan.style.progress import StyleProgress

        options = self.options(job.content.shape, job.grey)
        network, options = self.fitted(network, options, job.content.shape, console)
        assert options.stages is not None
        steps = sum(count for _, count in options.stages)
        settings = self.settings()
        partial, kept = out.with_name(f"{out.stem}.partial.png"), out.with_suffix(".state")
        held = job.temporal or (None, None)
        origin = saved.digest(settings, [job.content, *job.styles, job.masks, job.start, *held])
        before = saved.load(kept, origin, self.force)
        lines: list[dict[str, float]] = [] if before is None else list(before.lines)
        resume = None
        if before is not None:
            console.print(f"going on from {kept}, iteration {before.step} of {steps}", soft_wrap=True)
            content, styles, key, start = self._arrays(job)
            like = jax.eval_shape(lambda: transfer.begin(content, tuple(styles), options, key, start, job.shape))
            resume = before.step, before.state(like)

        def write(path: Path, image: jax.Array, depth: int = 8) -> None:
            pictures.write(path, *self.shown(job, image), depth, settings)

        with StyleProgress(console, options.stages, len(lines)) as progress:

            def on_chunk(state: transfer.State, history: transfer.History) -> None:
                first = len(lines)
                values = {name: np.asarray(part) for name, part in history.items()}
                for index in range(len(values["total"])):
                    lines.append({"step": len(lines)} | {name: float(part[index]) for name, part in values.items()})
                progress.update(len(lines), lines[-1], state.image.shape)
                if len(lines) == steps:
                    return
                if self.save_every and len(lines) // self.save_every > first // self.save_every:
                    path = out.with_name(f"{out.stem}.{len(lines):05}{out.suffix}")
                    write(path, transfer.picture(state), self.depth)
                if stop:
                    write(partial, transfer.picture(state))
                    saved.save(kept, origin, len(lines), state, lines, list(done))
                    raise StoppedError(
                        f"stopped at iteration {len(lines)} of {steps}; the picture so far is {partial}, and the same "
                        "command goes on"
                    )

            image = self.stylized(network, options, job, on_chunk, resume)
        if self.trace:
            write_atomically(out.with_suffix(".jsonl"), "".join(json.dumps(line) + "\n" for line in lines))
            _plot(out.with_suffix(".losses.png"), lines, options)
        write(out, image, self.depth)
        partial.unlink(missing_ok=True)
        kept.unlink(missing_ok=True)
        return [] if before is None else before.done

    def stylized(
        self,
        network: "vgg.Network",
        options: "transfer.Options",
        job: "Job",
        on_chunk: "Callable[[transfer.State, transfer.History], None]",
        resume: "tuple[int, transfer.State] | None" = None,
    ) -> "jax.Array":
        """A transfer alone: its picture [H, W, 3]. Arguments as for `transfer.stylize`.

        Raises:
            NonFiniteError: a loss became NaN or infinite.
        """
        import jax.numpy as jnp
        import numpy as np

        from jaxgan.style import transfer

        done = 0 if resume is None else resume[0]

        def checked(state: transfer.State, history: transfer.History) -> None:
            nonlocal done
            if not np.isfinite(history["total"]).all():
                raise NonFiniteError(
                    f"iteration {done}: the loss is not finite. Try a smaller --learning-rate or --precision float32."
                )
            done += len(history["total"])
            on_chunk(state, history)

        content, styles, key, start = self._arrays(job)
        # As many iterations from one look at the signals to the next as take a few seconds on a CPU.
        chunk = max(1, min(10, round(10 * 512**2 / math.prod(job.content.shape[:2]))))
        image, _ = transfer.stylize(
            network,
            content,
            styles,
            options,
            key,
            None if job.masks is None else jnp.asarray(job.masks),
            start,
            chunk=min(self.save_every or chunk, chunk),
            on_chunk=checked,
            temporal=None if job.temporal is None else transfer.Temporal(*map(jnp.asarray, job.temporal)),
            resume=resume,
        )
        return image

    def _arrays(self, job: "Job") -> "tuple[jax.Array, list[jax.Array], jax.Array, jax.Array | None]":
        """A job's content, styles and start, where JAX computes, and the key of its noise."""
        import jax
        import jax.numpy as jnp

        start = None if job.start is None else jnp.asarray(job.start)
        return jnp.asarray(job.content), [jnp.asarray(style) for style in job.styles], jax.random.key(self.seed), start

    def shown(self, job: "Job", image: "jax.Array") -> "tuple[np.ndarray, np.ndarray | None]":
        """A picture of a transfer as it is to be seen: in the content's colours, if so wanted, of its shape.

        Args:
            job: what is worked on.
            image: [H, W, 3], of any stage.

        Returns:
            The picture [h, w, 3], and how opaque it is [h, w]; None: everywhere.
        """
        import jax.numpy as jnp
        import numpy as np

        from jaxgan.style import colour, pictures, transfer

        if self.preserve_color == "luminance":
            content = transfer.resize(jnp.asarray(job.content), (image.shape[0], image.shape[1]))
            image = colour.keep_colours(image, content)
        height, width = (
            round(part * here / whole)
            for part, here, whole in zip(job.shape, image.shape, job.content.shape, strict=False)
        )
        alpha = job.alpha
        if alpha is not None:
            alpha = pictures.fit(np.repeat(alpha[..., None], 3, axis=-1), (height, width))[..., 0]
        return np.asarray(image)[:height, :width], alpha

    def settings(self) -> dict[str, Any]:
        """What made the picture, for the picture; files by name only."""
        fields = dataclasses.asdict(self)
        names = {"pictures": [path.name for path in self.pictures], "mask": [path.name for path in self.mask]}
        for unwanted in ("out", "sheet", "demo", "force", "quiet", "trace", "save_every"):
            del fields[unwanted]
        return fields | names


@dataclasses.dataclass(frozen=True)
class Job:
    """The pictures of one transfer, at their sizes.

    Attributes:
        content: [H, W, 3].
        styles: [h, w, 3] each.
        masks: [S, H, W], or None.
        start: [H, W, 3], or None.
        alpha: [*shape], how opaque the result is; None: everywhere.
        grey: whether none of the pictures has colours.
        shape: height and width of the result, the upper left of what is worked on.
        temporal: of a film's frame, the one before moved to this one [H, W, 3], and where it is trusted [H, W].
    """

    content: "np.ndarray"
    styles: tuple["np.ndarray", ...]
    masks: "np.ndarray | None"
    start: "np.ndarray | None"
    alpha: "np.ndarray | None"
    grey: bool
    shape: tuple[int, int]
    temporal: "tuple[np.ndarray, np.ndarray] | None" = None


def _layers(option: str, given: Sequence[str]) -> recipe.Layers:
    """Reads LAYER or LAYER=WEIGHT."""
    option, found = f"--{option.replace('_', '-')}", []
    for text in given:
        name, equals, weight = text.partition("=")
        try:
            number = float(weight) if equals else 1.0
        except ValueError:
            number = float("nan")
        if not 0 <= number < float("inf"):
            raise UserError(f"{option} {text}: must be LAYER or LAYER=WEIGHT with a weight of 0 or more")
        if name in dict(found):
            raise UserError(f"{option}: {name} is given twice")
        found.append((name, number))
    if not sum(weight for _, weight in found):
        raise UserError(f"{option}: at least one layer with a weight above 0 is needed")
    # A layer that counts for nothing need not be computed.
    return tuple((name, weight) for name, weight in found if weight)


def _plot(path: Path, lines: list[dict[str, float]], options: "transfer.Options") -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    weights = {name: getattr(options, f"{name}_weight") for name in ("content", "style", "tv", "coarse")}
    for name, weight in ({"total": 1.0} | weights).items():
        values = [weight * line[name] for line in lines]
        if max(values) > 0:  # What has no weight has no place on a logarithmic axis.
            axes.plot([line["step"] for line in lines], values, label=name)
    if axes.lines:
        axes.legend()
        axes.set_yscale("log")
        axes.set_ylim(bottom=1e-3 * lines[-1]["total"] or None)  # A start from the content has no content loss.
    for done in itertools.accumulate(count for _, count in (options.stages or ())[:-1]):
        axes.axvline(done, color="grey", linewidth=0.8, linestyle="--")
    axes.set_xlabel("iteration (dashed: the next larger size)")
    axes.set_ylabel("weighted loss")
    axes.grid(alpha=0.3)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120)
