"""One's own pictures, by what a config calls them: a folder, a set made of one, an .npz file, a set of TFDS."""

import hashlib
import math
from pathlib import Path

import numpy as np
from rich.console import Console

from jaxgan.config import SHIPPED, nearest
from jaxgan.data import archives, arrays, latents, making, records
from jaxgan.data import folder as folders
from jaxgan.data.source import Pictures
from jaxgan.data.tfds import PREFIX, TfdsPictures
from jaxgan.support import cache, files
from jaxgan.support.console import open_console
from jaxgan.support.errors import UserError
from jaxgan.support.progress import Bar

SIZE = 64
"""Side of a folder's pictures, where nobody says."""


class Loaded:
    """Arrays as pictures."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, identity: str) -> None:
        self.images, self.labels, self.identity = images, labels, identity
        self.shape = images.shape[1:]
        self.classes = 0 if labels is None else int(labels.max()) + 1

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.images[indices]} | ({} if self.labels is None else {"label": self.labels[indices]})


def open_pictures(
    data: str,
    size: int | None = None,
    conditional: bool = False,
    split: str = "train",
    data_dir: str = "",
    crop: bool = False,
) -> Pictures:
    """Opens a data set; of a folder a set is made first, in the user's cache.

    Args:
        data: a folder, a set, an .npz file, or "tfds:NAME".
        size: side that pictures are brought to; None for that of the set, or 64 for a folder.
        conditional: whether labels are wanted; of a folder its sub-folders.
        split: of a set of TFDS.
        data_dir: of TFDS.
        crop: whether squares of `size` will be cut out: pictures are an eighth larger, or as large as they are.

    Raises:
        UserError: there is no such thing, it is damaged, has no labels where they are wanted, or its pictures have
            another size.
    """
    made = None if size is None else math.ceil(size * 9 / 8) if crop else size
    if data.startswith(PREFIX):
        return TfdsPictures(data.removeprefix(PREFIX), split, data_dir, made, conditional)
    path = files.expanded(data)
    if path.suffix in (".npz", ".npy") and not files.is_dir(path):
        pictures: Pictures = Loaded(*arrays.load_npz(path, conditional))
    elif latents.is_set(path):
        pictures = latents.LatentSet(path, conditional)
    elif records.is_set(path):
        pictures = records.PictureSet(path, conditional)
    elif is_folder(data):
        settings = folders.Settings(size=made or (SIZE * 9 // 8 if crop else SIZE), labels=conditional)
        whole = Path(records.printable(path.resolve()))
        name = hashlib.sha256(f"{whole} {settings}".encode()).hexdigest()[:16]
        out = cache.folder() / "sets" / f"{whole.name}-{name}"
        make_shown(path, out, settings, open_console())
        pictures = records.PictureSet(out, conditional)
    else:
        raise UserError(
            f"data: {data}: no such folder, archive, set, .npy or .npz file, tfds:NAME, or shipped data"
            f"{nearest(data, SHIPPED)}"
        )
    check_square(pictures.shape, data)
    height, width, _ = pictures.shape
    if size is not None and (size > height or (size < height and not crop)):
        raise UserError(
            f"{data}: its pictures are {width} x {height}, and size is {size}; give --size {height}, or make it anew"
        )
    return pictures


def check_square(shape: tuple[int, ...], where: str) -> None:
    """Raises UserError, which begins with `where`, for pictures [H, W, C] that are no squares."""
    height, width, _ = shape
    if height != width:
        raise UserError(f"{where}: its pictures are {width} x {height}; square ones are needed")


def shown(data: str) -> tuple[int, int] | None:
    """Width and height that a set's pictures should have, where they are kept as squares and are none; else None."""
    path = files.expanded(data)
    if not (data and files.is_dir(path) and records.is_set(path)):
        return None
    manifest = records.read_manifest(path)
    width, height = manifest.settings.shown
    return (width, height) if width != height else None


def is_folder(data: str) -> bool:
    """Whether data are a folder or an archive of pictures, of which a set is made first."""
    path = files.expanded(data)
    made = records.is_set(path) or latents.is_set(path)
    return (files.is_dir(path) and not made) or (files.is_file(path) and archives.is_archive(path))


def make_shown(
    folder: Path, out: Path, settings: folders.Settings, console: Console, verify: bool = False
) -> records.Manifest:
    """Makes a set as `making.make` does, with a bar, and says what came of it."""
    with Bar(console, None, text="looking at the folder") as bar:

        def report(done: int, total: int, skipped: int) -> None:
            bar.move(done, f"pictures converted, {skipped} skipped", total)

        manifest = making.make(folder, out, settings, report, verify=verify)
    shown = records.printable(out)
    where = f", which {shown}/skipped.txt lists with reasons" if manifest.skipped else ""
    same = f"; {manifest.duplicates} are the same as another ({shown}/duplicates.txt)" if manifest.duplicates else ""
    said = (
        f"{manifest.count:,} pictures, {manifest.skipped:,} files skipped{where}{same}{folders.said(manifest.left_out)}"
    )
    console.print(f"{records.printable(folder)}: {said}", soft_wrap=True)
    for note in _notes(manifest):
        console.print(f"note: {note}", soft_wrap=True)
    return manifest


def _notes(manifest: records.Manifest) -> list[str]:
    """What somebody who has made a set may not have meant."""
    notes = []
    if manifest.wrapper:
        notes.append(f"the classes are the sub-folders of {manifest.wrapper}, which holds all of them")
    if len(manifest.classes) == 1:
        notes.append(f"all pictures are of one class, {manifest.classes[0]}: labels tell a generator nothing")
    bits = math.ceil(math.log2(manifest.deep + 1))
    if 8 <= bits <= 14 and not manifest.settings.range:
        notes.append(
            f"no 16-bit picture has a value above {manifest.deep:,.0f}: of {bits} bits, perhaps, and dark as they are; "
            f"--range 0:{2**bits - 1} makes the largest white"
        )
    return notes
