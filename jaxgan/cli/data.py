"""`jaxgan data make` and `jaxgan data show`."""

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxgan.cli.options import Positional, check_range
from jaxgan.data.folder import Settings

if TYPE_CHECKING:
    from rich.console import Console


@dataclasses.dataclass(frozen=True)
class Make:
    """Convert a folder or an archive of pictures to a set for training; again, it goes on or brings it up to date.

    jaxgan data make ~/Pictures --size 64 --out flowers

    jaxgan data make pictures.zip --labels --only cat dog      two classes of an archive, which is not unpacked

    jaxgan data make scans --size 96x64 --range 0:4095         wide pictures, of 12 bits kept in 16

    Sub-folders are searched. What cannot be used is left out, and listed with reasons in skipped.txt.
    """

    folder: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER|ARCHIVE")]
    """The pictures: PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC (pip install 'jaxgan[heic]'), any depth and mode, and arrays
    (.npy); in a folder, or in a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz archive."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Settings)
    out: Path | None = None
    """Directory of the set; FOLDER_SIZE in the current one if not given."""
    latents: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Keep latents of this autoencoder (Stable Diffusion's, a .safetensors file) in place of pictures: for gat_256."""
    keep_pictures: bool = False
    """With --latents: keep the pictures as well, to measure samples against."""
    quiet: bool = False
    """Show nothing."""

    def __call__(self) -> None:
        from jaxgan.data import archives, own
        from jaxgan.data.records import printable
        from jaxgan.support.console import open_console

        name = self.folder.resolve().name
        endings = archives.ENDINGS if self.folder.is_file() else ()
        ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
        out = self.out or Path(f"{name[: len(name) - len(ending)]}_{self.settings.size}")
        console = open_console(self.quiet)
        if self.latents:
            self._make_latents(out, self.latents, console)
            return
        own.make_shown(self.folder, out, self.settings, console, verify=True)
        if not self.quiet:
            side, conditional = self.settings.side, ["--conditional"] if self.settings.labels else []
            train = shlex.join(["jaxgan", "train", "own_images", "--data", str(out), "--size", str(side), *conditional])
            print(f"{printable(out)}: train on it with: {printable(train)}")

    def _make_latents(self, out: Path, file: Path, console: "Console") -> None:
        from jaxgan.data import latents, own
        from jaxgan.support.progress import Bar

        about = latents.begin(out, self.settings, file)
        if latents.is_final(out):
            console.print(f"{out}: is made, without its pictures; delete it to make it anew", soft_wrap=True)
            return
        own.make_shown(self.folder, out / "pictures", self.settings, console)
        with Bar(console, None, text="reading the autoencoder") as bar:
            latents.encode(
                out, about, self.keep_pictures, lambda done, total: bar.move(done, "pictures encoded", total)
            )
        console.print(f"{out}: train on it with: jaxgan train gat_256 --data {out}", soft_wrap=True)


@dataclasses.dataclass(frozen=True)
class Show:
    """Show what a set holds: numbers, classes, colours, and a sheet of some of its pictures."""

    set: Annotated[Positional[Path], tyro.conf.arg(metavar="SET")]
    """Directory of the set."""
    count: int = 64
    """Pictures on the sheet, evenly spread over the set."""
    out: Path | None = None
    """A .png or .jpg file; SET/sheet.png if not given."""

    def __call__(self) -> None:
        import numpy as np

        from jaxgan.data.records import PictureSet
        from jaxgan.support import images

        check_range("count", self.count, 1)
        manifest = PictureSet(self.set).manifest
        pictures = PictureSet(self.set, conditional=bool(manifest.classes))
        height, width, channels = manifest.shape
        print(f"{manifest.count:,} pictures of {width} x {height}, {channels} channels, from {manifest.source}")
        print(f"{manifest.skipped:,} files skipped, {manifest.duplicates:,} the same as another")
        means = ", ".join(f"{mean:.0f} +- {std:.0f}" for mean, std in zip(manifest.mean, manifest.std, strict=True))
        print(f"mean and standard deviation of each channel (0 to 255): {means}")
        if pictures.labels is not None:
            for name, number in zip(manifest.classes, np.bincount(pictures.labels), strict=True):
                print(f"  {name}: {number:,}")
        chosen = np.unique(np.linspace(0, len(pictures) - 1, min(self.count, len(pictures))).astype(int))
        sheet = images.grid(pictures.read(chosen)["image"], max(1, round(len(chosen) ** 0.5)))
        out = self.out or self.set / "sheet.png"
        images.save(out, sheet)
        print(f"sheet: {out}")
