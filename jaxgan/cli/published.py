"""`jaxgan import`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.cli.options import Positional


@dataclasses.dataclass(frozen=True)
class Import:
    """Make a run of published StyleGAN2 networks, to sample, mix and project with, or to train on.

    jaxgan import G_ema.safetensors --out faces

    The file holds `G_ema.state_dict()` of NVIDIA's stylegan2-ada-pytorch, as safetensors, npz or pth, or both networks,
    by names that begin with "G_ema." and "D.", as where torch loads NVIDIA's pickle: torch.save({"G_ema":
    found["G_ema"].state_dict(), "D": found["D"].state_dict()}, "faces.pth"). Pickles are not read: they run what is in
    them.
    """

    file: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A .safetensors, .npz, .pth or .pt file."""
    out: Path | None = None
    """Directory of the run; runs/ and the file's name if not given."""

    def __call__(self) -> None:
        from jaxgan.run.start import adopt

        out = self.out or Path("runs") / self.file.stem
        trained, without = adopt(self.file, out)
        size, channels = trained.shape[0], trained.shape[2]
        print(f"{out}: StyleGAN2, {size} x {size} x {channels}; see it with: jaxgan sample {out} --truncation 0.7")
        judge = f"Its discriminator is new ({without})" if without else "Its discriminator is the file's"
        print(f"{judge}. Train on with: jaxgan train {out} --data FOLDER")
