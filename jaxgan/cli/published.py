"""`jaxgan import`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.cli.options import Positional
from jaxgan.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Import:
    """Make a run of published networks, StyleGAN2's or GAT's, to sample, mix and project with, or to train on.

    jaxgan import G_ema.safetensors --out faces

    jaxgan import 0400000.pt --latents vae.safetensors --out imagenet

    The file holds `G_ema.state_dict()` of NVIDIA's stylegan2-ada-pytorch, as safetensors, npz or pth, or both networks,
    by names that begin with "G_ema." and "D.", as where torch loads NVIDIA's pickle: torch.save({"G_ema":
    found["G_ema"].state_dict(), "D": found["D"].state_dict()}, "faces.pth"). Pickles are not read: they run what is in
    them. Or it is a checkpoint of GAT's authors' code (github.com/hse1032/GAT).
    """

    file: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A .safetensors, .npz, .pth or .pt file."""
    out: Path | None = None
    """Directory of the run; runs/ and the file's name if not given."""
    clamp: float = 256.0
    """What StyleGAN2's activations are kept within, which the file does not tell: 256 for what stylegan2-ada-pytorch
    trained in mixed precision, as it does unless told otherwise; 0 for networks that keep them within nothing."""
    latents: Path | None = None
    """The autoencoder whose latents the networks make, a .safetensors file, where they make latents."""

    def __call__(self) -> None:
        from jaxgan.run.start import adopt

        if not 0 <= self.clamp < float("inf"):
            raise UserError(f"--clamp must be 0 or above, not {self.clamp}")
        out = self.out or Path("runs") / self.file.stem
        trained, without = adopt(self.file, out, self.clamp, self.latents)
        size, channels = trained.shape[0], trained.shape[2]
        kind = {"stylegan2": "StyleGAN2", "gat": "GAT"}[trained.config.generator.kind]
        print(f"{out}: {kind}, {size} x {size} x {channels}; see it with: jaxgan sample {out} --truncation 0.7")
        judge = f"Its discriminator is new ({without})" if without else "Its discriminator is the file's"
        print(f"{judge}. Train on with: jaxgan train {out} --data FOLDER")
