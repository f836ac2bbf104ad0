"""The command `jaxgan style`."""

import dataclasses
import itertools
import json
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxgan.cli.options import MOST, check_range, check_seed
from jaxgan.support.errors import NonFiniteError, UserError
from jaxgan.support.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from jaxgan.style import transfer, vgg

DEMO = (Path("chelsea.jpg"), Path("swirls.jpg"))
_LEAST_SIDE = 160  # Below, too little of most contents is left to recognise, and the losses end higher, too.
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")


@dataclasses.dataclass(frozen=True)
class Style:
    """Give a picture the style of others: `jaxgan style --demo` shows it.

    Two folders instead of pictures make a sheet of every content in every style.
    """

    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CONTENT STYLE [STYLE ...]")] = ()
    """The picture to change, then one or more whose style it gets; or a folder of each."""
    out: Path = Path("stylized.png")
    """Where the result goes: .png, .jpg, .webp or .tiff."""
    demo: bool = False
    """Use the two pictures that ship with jaxgan, at 256 pixels: a try in a minute or two."""
    size: int = 512
    """Pixels of the result's longer side."""
    style_weight: float = 20.0
    """More: more style. 5 changes surfaces only, 100 lets forms go."""
    content_weight: float = 1.0
    """More: the content's forms stay."""
    tv_weight: float = 10.0
    """More: smoother."""
    blend: tuple[float, ...] = ()
    """How much of each style, where there are several; the same of each if not given."""
    style_scale: float = 1.0
    """The longer side of the style pictures relative to the result's: 2 gives strokes twice as large."""
    style_crop: tuple[float, float, float, float] | None = None
    """Use this part of the styles: left, top, right and bottom as fractions; 0 0 0.5 0.5 is the upper left quarter."""
    style_loss: Literal["gram", "wasserstein", "statistics"] = "gram"
    """How styles are compared."""
    init: str = "content"
    """Start from: content, noise, statistics (noise in the style's colours), or a picture's file."""
    optimizer: Literal["adam", "lbfgs", "sgd"] = "adam"
    """lbfgs takes two to three times as long an iteration; sgd has momentum."""
    learning_rate: float | None = None
    """In pixels of 0..1; 0.03 for adam and 0.005 for sgd if not given. Falls to a fiftieth over the last third."""
    steps: int = 400
    """Iterations in all, as many at each scale."""
    scales: int = 3
    """Sizes to go through, each half of the next; those whose shorter side is below 160 pixels are left out."""
    preserve_color: Literal["no", "luminance", "match"] = "no"
    """Keep the content's colours: its hues under the result's brightness, or the style's colours matched to it."""
    mask: tuple[Path, ...] = ()
    """A grey picture a style, white where it belongs; of the content's shape; soft edges are welcome."""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """Where in the network contents are compared."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Where styles are compared."""
    weights: str | None = None
    """File or URL of VGG16's or VGG19's weights (.pth, .h5, .safetensors, .npz); VGG16 of the package if not given."""
    pooling: Literal["max", "average"] = "max"
    """The network's pooling."""
    padding: Literal["zero", "replicate", "reflect"] = "zero"
    """What the network sees beyond the edges."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the features; bfloat16 is for accelerators."""
    save_memory: bool = False
    """For large pictures: evaluate in bands and compute features twice instead of keeping them."""
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
        from jaxgan.style import pictures, weights
        from jaxgan.support.console import open_console

        command = self._checked()
        pictures.check_writable(command.out, command.force)
        console = open_console(command.quiet, stderr=True)
        since = time.perf_counter()
        if any(path.is_dir() for path in command.pictures[:2]):
            command._sheet(console)
        else:
            job = command._read(*command.pictures)
            network = weights.load(command.weights, console).using(**command._network())
            image = command._run(network, job, console, command.out)
            pictures.write(command.out, image, job.profile, command._settings())
        print(f"{command.out} in {time.perf_counter() - since:.0f} s")

    def _checked(self) -> "Style":
        """The command with the demonstration's pictures filled in; refuses values that make no sense."""
        if self.demo:
            if self.pictures:
                raise UserError(f"--demo brings its own pictures; leave out {self.pictures[0]}")
            folder = Path(str(resources.files("jaxgan.support") / "assets" / "style"))
            return dataclasses.replace(
                self, demo=False, pictures=tuple(folder / name for name in DEMO), size=min(self.size, 256)
            )._checked()
        if len(self.pictures) < 2:
            raise UserError("style: name a content and a style: jaxgan style CONTENT STYLE --out OUT (or --demo)")
        for name, least in (("scales", 1), ("save_every", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(self, name)}")
        check_range("size", self.size, 64, 2**15)
        check_range("steps", self.steps, 1, 10 * MOST)
        check_seed(self.seed)
        for name in ("style_weight", "content_weight", "tv_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, not {getattr(self, name)}")
        for name in ("style_scale", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} must be above 0, not {value}")
        left, top, right, bottom = self.style_crop or (0, 0, 1, 1)
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise UserError(
                f"--style-crop: left < right and top < bottom, all in 0..1, are needed, not {self.style_crop}"
            )
        styles = len(self.pictures) - 1
        if self.blend and (len(self.blend) != styles or min(self.blend) < 0 or sum(self.blend) <= 0):
            raise UserError(f"--blend: {styles} weights are needed, one a style, 0 or more, not {list(self.blend)}")
        if self.mask and len(self.mask) != styles:
            raise UserError(f"--mask: {styles} masks are needed, one a style, not {len(self.mask)}")
        if self.mask and self.blend:
            raise UserError("--blend mixes styles everywhere, --mask separates them: give one of the two")
        return self

    def _read(self, content: Path, *styles: Path, square: bool = False) -> "_Job":
        import jax.numpy as jnp
        import numpy as np

        from jaxgan.style import colour, pictures

        image, profile = pictures.read(content, self.size)
        if square:
            image = _square(pictures.read(content)[0], self.size)
        side = round(self.size * self.style_scale)
        others = [pictures.read(style, side, self.style_crop)[0] for style in styles]
        if square:
            others = [_square(other, side) for other in others]
        if self.preserve_color == "match":
            others = [np.asarray(colour.match_colours(jnp.asarray(other), jnp.asarray(image))) for other in others]
        masks = [pictures.read_mask(mask, image.shape[:2]) for mask in self.mask]
        start = None
        if self.init not in ("content", "noise", "statistics"):
            start = pictures.fit(pictures.read(Path(self.init))[0], image.shape[:2])
        return _Job(image, tuple(others), np.stack(masks) if masks else None, start, profile)

    def _network(self) -> dict[str, Any]:
        return {
            "pooling": self.pooling,
            "padding": self.padding,
            "dtype": self.precision,
            "remat": self.save_memory,
        }

    def _options(self, shape: tuple[int, ...]) -> "transfer.Options":
        import jax.numpy as jnp

        from jaxgan.style import losses, transfer

        fractions = [0.5**scale for scale in reversed(range(self.scales))]
        fractions = [f for f in fractions if min(shape[:2]) * f >= _LEAST_SIDE or f == 1]
        steps = [
            self.steps * (i + 1) // len(fractions) - self.steps * i // len(fractions) for i in range(len(fractions))
        ]
        init: Any = self.init if self.init in ("noise", "statistics") else "content"
        return transfer.Options(
            content_weight=self.content_weight,
            style_weight=self.style_weight,
            tv_weight=self.tv_weight,
            blend=jnp.asarray(self.blend) if self.blend else None,
            average=0.9 if self.optimizer == "adam" else 0.0,
            content_layers=tuple((name, 1.0) for name in self.content_layers),
            style_layers=tuple((name, 1.0) for name in self.style_layers),
            style_loss=getattr(losses, self.style_loss.upper()),
            init=init,
            optimizer=transfer.optimizer(self.optimizer, self.steps, self.learning_rate),
            stages=tuple((f, n) for f, n in zip(fractions, steps, strict=True) if n),
            band_rows=256 if self.save_memory else 0,
        )

    def _run(self, network: "vgg.Network", job: "_Job", console: "Console", out: Path) -> "np.ndarray":
        """One transfer, with progress, intermediate pictures and trace."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from jaxgan.style import colour, pictures, transfer
        from jaxgan.style.progress import StyleProgress

        options = self._options(job.content.shape)
        steps = sum(count for _, count in options.stages)
        lines: list[dict[str, float]] = []

        def finish(image: jax.Array, content: Any) -> np.ndarray:
            if self.preserve_color == "luminance":
                image = colour.keep_colours(
                    image, transfer.resize(jnp.asarray(content), (image.shape[0], image.shape[1]))
                )
            return np.asarray(image)

        with StyleProgress(console, options.stages) as progress:

            def on_chunk(state: transfer.State, history: transfer.History) -> None:
                first = len(lines)
                values = {name: np.asarray(part) for name, part in history.items()}
                for index in range(len(values["total"])):
                    lines.append({"step": len(lines)} | {name: float(part[index]) for name, part in values.items()})
                if not np.isfinite(values["total"]).all():
                    raise NonFiniteError(
                        f"iteration {first}: the loss is not finite. Try a smaller --learning-rate or "
                        "--precision float32."
                    )
                progress.update(len(lines), lines[-1], state.image.shape)
                if self.save_every and len(lines) // self.save_every > first // self.save_every and len(lines) < steps:
                    path = out.with_name(f"{out.stem}.{len(lines):05}{out.suffix}")
                    pictures.write(path, finish(transfer.picture(state), job.content), job.profile)

            image, _ = transfer.stylize(
                network,
                jnp.asarray(job.content),
                [jnp.asarray(style) for style in job.styles],
                options,
                jax.random.key(self.seed),
                None if job.masks is None else jnp.asarray(job.masks),
                None if job.start is None else jnp.asarray(job.start),
                chunk=min(self.save_every or 10, 10),
                on_chunk=on_chunk,
            )
        if self.trace:
            write_atomically(out.with_suffix(".jsonl"), "".join(json.dumps(line) + "\n" for line in lines))
            _plot(out.with_suffix(".losses.png"), lines, options)
        return finish(image, job.content)

    def _sheet(self, console: "Console") -> None:
        """Every content in every style, squares, with the originals along the top and the left."""
        import numpy as np

        from jaxgan.style import pictures, weights

        contents, styles = (_listed(path) for path in self.pictures[:2])
        if len(self.pictures) > 2 or self.mask or self.blend:
            raise UserError("a sheet takes one content or folder and one style or folder, without --mask and --blend")
        jobs = {pair: self._read(*pair, square=True) for pair in itertools.product(contents, styles)}
        network = weights.load(self.weights, console).using(**self._network())
        blank = np.ones((self.size, self.size, 3), np.float32)
        tops = [pictures.fit(jobs[contents[0], style].styles[0], blank.shape[:2]) for style in styles]
        rows = [np.concatenate([blank, *tops], axis=1)]
        for content in contents:
            row = [jobs[content, styles[0]].content]
            for style in styles:
                console.print(f"{content.name} in the style of {style.name}")
                out = self.out.with_name(f"{self.out.stem}.{content.stem}.{style.stem}{self.out.suffix}")
                row.append(self._run(network, jobs[content, style], console, out))
            rows.append(np.concatenate(row, axis=1))
        pictures.write(self.out, np.concatenate(rows, axis=0), None, self._settings())

    def _settings(self) -> dict[str, Any]:
        """What made the picture, for the picture; files by name only."""
        fields = dataclasses.asdict(self)
        names = {"pictures": [path.name for path in self.pictures], "mask": [path.name for path in self.mask]}
        for unwanted in ("out", "demo", "force", "quiet", "trace", "save_every"):
            del fields[unwanted]
        return fields | names


@dataclasses.dataclass(frozen=True)
class _Job:
    """The pictures of one transfer, at their sizes."""

    content: "np.ndarray"
    styles: tuple["np.ndarray", ...]
    masks: "np.ndarray | None"
    start: "np.ndarray | None"
    profile: bytes | None


def _square(image: "np.ndarray", size: int) -> "np.ndarray":
    """The middle square of a picture, at a size."""
    from jaxgan.style import pictures

    side = min(image.shape[:2])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    return pictures.fit(image[top : top + side, left : left + side], (size, size))


def _listed(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in _PICTURES)
    if not found:
        raise UserError(f"{path}: no pictures in this folder")
    return found


def _plot(path: Path, lines: list[dict[str, float]], options: "transfer.Options") -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    weights = {"content": options.content_weight, "style": options.style_weight, "tv": options.tv_weight}
    for name, weight in ({"total": 1.0} | weights).items():
        axes.plot([line["step"] for line in lines], [weight * line[name] for line in lines], label=name)
    for done in itertools.accumulate(count for _, count in options.stages[:-1]):
        axes.axvline(done, color="grey", linewidth=0.8, linestyle="--")
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-3 * lines[-1]["total"])  # A start from the content has no content loss.
    axes.set_xlabel("iteration (dashed: the next larger size)")
    axes.set_ylabel("weighted loss")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
