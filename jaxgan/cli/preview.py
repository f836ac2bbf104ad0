"""`jaxgan data preview`: real pictures, and how the discriminator sees them."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan import config as cfg
from jaxgan.cli.options import Positional, check_range, parse
from jaxgan.cli.training import target


@dataclasses.dataclass(frozen=True)
class Preview:
    """Show real pictures and, below each, how the discriminator sees it: augmented, varied, noisy. Trains nothing.

    jaxgan data preview own_images --data FOLDER

    jaxgan data preview own_images --data FOLDER --augment colour cutout --augment-probability 0.5

    The options are those of `jaxgan train`.
    """

    begin: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIG|RUN")]
    """A config's name, a Python file that makes one, or the directory of a run."""
    config: Annotated[cfg.Config, tyro.conf.arg(name="")]
    columns: int | None = None
    """Pictures side by side; 10, or a batch if that is less."""
    rows: int = 4
    """Times that each is seen, below it."""
    out: Path | None = None
    """A .png or .jpg file; preview.png if not given."""


def start_preview(arguments: list[str]) -> None:
    """Runs `jaxgan data preview` with what follows it on the command line."""
    name, config, _ = target("data preview", arguments)
    options = parse(Preview, "jaxgan data preview", arguments, default=Preview(name, config))
    config = cfg.placed(cfg.validate(options.config, "command line"))
    columns = min(10, config.batch_size) if options.columns is None else options.columns
    check_range("columns", columns, 1, config.batch_size)
    check_range("rows", options.rows, 1, 100)
    from jaxgan.run import preview
    from jaxgan.support import images

    out = options.out or Path("preview.png")
    images.check_suffix(out, images.PICTURES)
    images.save(out, preview.sheet(config, columns, options.rows))
    by = (
        f"{', '.join(config.augment)} with a probability of {config.augment_probability:g}"
        if config.augment
        else "none"
    )
    varied = f"; varied by {', '.join(config.vary_real)}" if config.vary_real else ""
    noise = f"; noise of {config.instance_noise:g}" if config.instance_noise else ""
    shown = f"{columns} real pictures, and below how the discriminator sees them"
    print(f"{shown}: augmentation {by}{varied}{noise}: {out}")
