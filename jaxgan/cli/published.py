"""`jaxgan import`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.cli.options import Positional
from jaxgan.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Import:
    """Make a run of a published StyleGAN2 generator, to sample, mix and project with, or to train on.

    jaxgan import G_ema.safetensors --out faces

    The file holds `G_ema.state_dict()` of NVIDIA's stylegan2-ada-pytorch, as safetensors or npz; pickles are not read.
    """

    file: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A .safetensors or .npz file."""
    out: Path | None = None
    """Directory of the run; runs/ and the file's name if not given."""
    clamp: float = 256.0
    """What its activations are kept within, which the file does not tell: 256 for what stylegan2-ada-pytorch trained in
    mixed precision, as it does unless told otherwise; 0 for networks that keep them within nothing."""

    def __call__(self) -> None:
        from jaxgan.run.published import adopt

        if not 0 <= self.clamp < float("inf"):
            raise UserError(f"--clamp must be 0 or above, not {self.clamp}")
        out = self.out or Path("runs") / self.file.stem
        trained = adopt(self.file, out, self.clamp)
        size, channels = trained.shape[0], trained.shape[2]
        print(f"{out}: StyleGAN2, {size} x {size} x {channels}; see it with: jaxgan sample {out} --truncation 0.7")
        print(f"Its discriminator is new. Train on with: jaxgan train {out} --data FOLDER")
