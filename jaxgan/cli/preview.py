"""`jaxgan data preview`: real pictures, and how the discriminator sees them."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan import config as cfg
from jaxgan.cli.options import Positional, check_range, parse
from jaxgan.cli.training import placed, target
from jaxgan.support.errors import UserError


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
    columns: int = 10
    """Pictures side by side."""
    rows: int = 4
    """Times that each is seen, below it."""
    out: Path | None = None
    """A .png or .jpg file; preview.png if not given."""


def start_preview(arguments: list[str]) -> None:
    """Runs `jaxgan data preview` with what follows it on the command line."""
    name, config, _ = target("data preview", arguments)
    options = parse(Preview, "jaxgan data preview", arguments, default=Preview(name, config))
    config = placed(cfg.validate(options.config, "command line"))
    check_range("columns", options.columns, 1, config.batch_size)
    check_range("rows", options.rows, 1, 100)
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan.run import build
    from jaxgan.step import judging
    from jaxgan.support import images

    out = options.out or Path("preview.png")
    images.check_suffix(out, images.PICTURES)
    source = build.source(config)
    if len(source.shape) != 3:
        raise UserError(f"data: {config.data} is points, which cannot be shown so")
    game = dataclasses.replace(build.experiment(config, source.shape, source.classes).stages[-1].game, pack=1)
    item = jax.tree.map(jnp.asarray, source[0])
    real = source.batch(source.resident, item)["image"][: options.columns]
    seen = [judging.preview(game, real, jax.random.key(config.seed), row) for row in range(options.rows)]
    sheet = images.to_uint8(np.concatenate([real, *seen]))
    images.save(out, images.sheet(sheet, len(real)))
    by = (
        f"{', '.join(config.augment)} with a probability of {config.augment_probability:g}"
        if config.augment
        else "none"
    )
    varied = f"; varied by {', '.join(config.vary_real)}" if config.vary_real else ""
    noise = f"; noise of {config.instance_noise:g}" if config.instance_noise else ""
    print(
        f"{len(real)} real pictures, and below how the discriminator sees them: augmentation {by}{varied}{noise}: {out}"
    )
