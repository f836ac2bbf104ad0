"""Pictures of any origin by number: a run's samples or its data, a folder, a set, an .npz file, a set of TFDS."""

import concurrent.futures
import contextlib
import dataclasses
import mmap
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.data import Source, arrays, latents, making, pictures, records
from jaxgan.data import folder as folders
from jaxgan.data import labels as classes_of
from jaxgan.data.source import Pictures
from jaxgan.data.tfds import PREFIX
from jaxgan.evaluate import batches
from jaxgan.evaluate.measures import Statistics
from jaxgan.latent import mix, sampling
from jaxgan.run import build, directory
from jaxgan.run.directory import Trained
from jaxgan.step.game import Game
from jaxgan.support import files, images
from jaxgan.support.errors import UserError, first_line

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Origin:
    """Where pictures come from.

    Attributes:
        name: what a user calls it.
        count: number of pictures; None where more can always be made.
        shape: of a picture: height, width, channels.
        blocks: a function of the numbers int64 [n] of pictures, in ascending order, that goes through them, uint8
            [m, H, W, C] at a time.
        identity: a text that differs when the pictures do; "" where that is not known.
        labels: a function of numbers [n] to classes int [n]; None where there are none.
        files: the files that pictures come from, in order; empty where they come from none.
        left_out: files that are no pictures.
        trained: the run that makes them; None for pictures that are there.
    """

    name: str
    count: int | None
    shape: Shape
    blocks: Callable[[np.ndarray], Iterator[np.ndarray]]
    identity: str = ""
    labels: Callable[[np.ndarray], np.ndarray] | None = None
    files: tuple[str, ...] = ()
    left_out: int = 0
    trained: Trained | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of pictures that are not there, as papers publish them.

    Attributes:
        name: of the file.
        statistics: mean and covariance.
        pictures: a part of the pictures, where the file has that, too.
    """

    name: str
    statistics: Statistics
    pictures: Origin | None


def load(
    source: str, labelled: bool = False, seed: int = 0, truncation: float | None = None, best: bool = False
) -> Origin | Reference:
    """Opens pictures.

    Args:
        source: a run, whose samples these are; a folder of pictures of one size; a set; an .npy or .npz file of
            pictures (`arr_0`, or as for training); an .npz file of statistics (`mu` and `sigma`); "tfds:NAME".
        labelled: whether classes are wanted; a folder's are as `jaxgan data make --labels` finds them.
        seed: of a run's latents.
        truncation: of a run (see `jaxgan sample`).
        best: from a run's best checkpoint rather than its newest.

    Raises:
        UserError: there is no such thing, it is damaged, or its pictures are of several sizes.
    """
    if source.startswith(PREFIX):
        from jaxgan.data import own

        return _of_pictures(source, own.open_pictures(source, conditional=labelled))
    path = files.expanded(source)
    if directory.is_run(path):
        return samples(source, directory.read_pictures(path, best), seed, truncation)
    if path.suffix in (".npy", ".npz") and not files.is_dir(path):
        return _load_npy(path) if path.suffix == ".npy" else _load_npz(path, labelled)
    if files.is_file(path / "manifest.json"):
        return _of_pictures(source, held := records.PictureSet(path, labelled), tuple(held.files()))
    if files.is_dir(path):
        return _load_folder(path, labelled)
    if directory.is_trained(path):
        return samples(source, directory.read_pictures(path, best), seed, truncation)
    raise UserError(f"{source}: no such run, folder, set, .npy or .npz file, or tfds:NAME")


def samples(name: str, trained: Trained, seed: int, truncation: float | None = None) -> Origin:
    """What a run's averaged generator makes; of a conditional one all classes in turn."""
    made = generated(name, trained.game, trained.state.ema, trained.shape, trained.classes, seed, truncation)
    return dataclasses.replace(made, trained=trained)


def generated(
    name: str, game: Game, variables: Any, shape: Shape, classes: int, seed: int, truncation: float | None = None
) -> Origin:
    """What a generator with these variables makes; of a conditional one all classes in turn."""
    psi, bound = mix.truncations(game, truncation)

    def labels(numbers: np.ndarray) -> np.ndarray:
        return (numbers % classes).astype(np.int32)

    def blocks(numbers: np.ndarray) -> Iterator[np.ndarray]:
        own, key = batches.everywhere((variables, jax.random.key(seed)))
        for begin in range(0, len(numbers), batches.size()):
            part = numbers[begin : begin + batches.size()]
            index = batches.spread(batches.filled(part).astype(np.int32))
            latent = sampling.latents_at(game, key, index, bound)
            label = batches.spread(labels(batches.filled(part))) if classes else None
            made = sampling.generate(game, psi, own, latent, label)
            yield images.to_uint8(np.asarray(made)[: len(part)])

    return Origin(name, None, shape, blocks, labels=labels if classes else None)


def data(run: Path, trained: Trained) -> Source:
    """The data of a run.

    Raises:
        UserError: they are not pictures, cannot be found, or are not those that it was trained on.
    """
    source = build.source(trained.config)
    if not source.count or len(trained.shape) != 3:
        raise UserError(f"{run}: its data are no pictures to compare with; see `jaxgan modes`")
    if changed := directory.changed_data(run, source):
        raise UserError(f"{run}: was trained on other data: {', '.join(changed)}; bring those back")
    return source


def of_source(name: str, source: Source) -> Origin:
    """The pictures of a run's data, as they are kept."""
    inner = getattr(source, "source", source)  # Of one that is varied.
    if (encoded := latents.of(source)) and encoded.pictures is None:
        raise UserError(f"{name}: a set of latents alone; made with --keep-pictures it could be compared with")
    if encoded and encoded.pictures:
        return _of_pictures(name, encoded.pictures)
    held = getattr(inner, "pictures", None)
    edge = (inner.shape[0] - source.shape[0]) // 2  # As `source.blocks` cuts.

    def blocks(numbers: np.ndarray) -> Iterator[np.ndarray]:
        if held is not None:  # Pictures that stream: a few are read without all the others.
            for begin in range(0, len(numbers), batches.size()):
                block = held.read(numbers[begin : begin + batches.size()])["image"]
                yield block[:, edge : edge + source.shape[0], edge : edge + source.shape[1]]
            return
        begin = 0
        for block in source.blocks():
            here = numbers[np.searchsorted(numbers, begin) : np.searchsorted(numbers, begin + len(block))]
            if len(here):
                yield block[here - begin]
            begin += len(block)

    known = getattr(inner, "labels", getattr(held, "labels", None))
    labels = None if known is None else (lambda numbers: known[numbers])
    return Origin(name, source.count, source.shape, blocks, source.identity, labels)


def chosen(origin: Origin, count: int, seed: int) -> np.ndarray:
    """The numbers of some of the pictures, in ascending order."""
    if origin.count is None:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(origin.count)[:count])


def halves(origin: Origin, count: int, seed: int, variant: Callable[[str], str] | None = None) -> list[np.ndarray]:
    """The numbers of two equally many pictures that have none in common, each in ascending order.

    Args:
        origin: where from, with a count.
        count: pictures in each; fewer where there are fewer.
        seed: of the choice.
        variant: brings the names of the files of variants of one picture to the same text; variants are then in the
            same half.

    Raises:
        UserError: variants are asked for of pictures that have no names.
    """
    assert origin.count is not None
    random = np.random.default_rng(seed)
    if variant is None:
        order = random.permutation(origin.count)
        count = min(count, origin.count // 2)
        return [np.sort(order[:count]), np.sort(order[count : 2 * count])]
    if not origin.files:
        raise UserError(f"{origin.name}: --variants needs names of files; compare with a folder, or a set made of one")
    groups: dict[str, list[int]] = {}
    for number, file in enumerate(origin.files):
        groups.setdefault(variant(Path(file).name), []).append(number)
    shuffled = [list(groups.values())[place] for place in random.permutation(len(groups))]
    ends = np.cumsum([len(group) for group in shuffled])
    middle = int(ends[np.abs(ends - origin.count / 2).argmin()])  # The end of a group that is nearest to it.
    order = np.concatenate(shuffled)
    count = min(count, middle, origin.count - middle)
    return [np.sort(order[:count]), np.sort(order[middle : middle + count])]


def _of_pictures(name: str, held: Pictures, listed: tuple[str, ...] = ()) -> Origin:
    known = getattr(held, "labels", None)

    def blocks(numbers: np.ndarray) -> Iterator[np.ndarray]:
        for begin in range(0, len(numbers), batches.size()):
            yield held.read(numbers[begin : begin + batches.size()])["image"]

    def labels(numbers: np.ndarray) -> np.ndarray:
        return held.read(numbers)["label"] if known is None else known[numbers]

    return Origin(name, len(held), held.shape, blocks, held.identity, labels if held.classes else None, listed)


def _load_folder(path: Path, labelled: bool) -> Origin:
    """The pictures of a folder, as they are: not cut, not resized."""
    found = folders.listing(path)
    if found.unreadable:
        name, reason = next(iter(found.unreadable.items()))
        raise UserError(f"{path / name}: {reason}")
    told = classes_of.read(path, list(found.files), (), None).of if labelled else None
    listed = tuple(file for file in found.files if pictures.is_picture(file) and (told is None or file in told))
    if not listed:
        raise UserError(f"{path}: has no pictures" + (" in sub-folders, one a class" if labelled else ""))
    first = _open(path, listed[0])

    def read(number: int) -> np.ndarray:
        picture = _open(path, listed[number])
        if picture.shape != first.shape:
            raise UserError(
                f"{path / listed[number]}: is {picture.shape[1]} x {picture.shape[0]}, and {listed[0]} is "
                f"{first.shape[1]} x {first.shape[0]}; one size is needed: jaxgan data make {path} --size N --out SET"
            )
        return picture

    def blocks(numbers: np.ndarray) -> Iterator[np.ndarray]:
        parts = [numbers[begin : begin + batches.size()] for begin in range(0, len(numbers), batches.size())]
        with concurrent.futures.ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
            ahead = [pool.submit(read, int(number)) for number in (parts[0] if parts else [])]
            for place in range(len(parts)):
                now = ahead  # While these are computed with, the next are decoded.
                ahead = [pool.submit(read, int(number)) for part in parts[place + 1 : place + 2] for number in part]
                yield np.stack([future.result() for future in now])

    known = None
    if told is not None:  # Numbered as a set made of the folder has them.
        number = {name: index for index, name in enumerate(classes_of.ordered({told[file] for file in listed}))}
        known = np.array([number[told[file]] for file in listed], np.int32)
    return Origin(
        str(path),
        len(listed),
        first.shape,
        blocks,
        f"{path.resolve()} {making.hash_listing(path, listed)}",
        None if known is None else (lambda numbers: known[numbers]),
        listed,
        len(found.files) - len(listed),
    )


def _open(folder: Path, file: str) -> np.ndarray:
    """A picture as uint8 [H, W, 3], what is transparent on white."""
    image = pictures.open_picture(folder / file)
    try:
        return np.asarray(folders.in_mode(image, folders.Settings()))
    except UserError as error:
        raise UserError(f"{folder / file}: {error}") from None


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Says of a file of arrays that it is not there, or damaged."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix}: {first_line(error)}") from None


def _load_npy(path: Path) -> Origin:
    with _reading(path):
        held = np.load(path, mmap_mode="r", allow_pickle=False)
    return _of_array(path, arrays.check_images(held, str(path), "M, H, W"), None)


def _load_npz(path: Path, labelled: bool) -> Origin | Reference:
    with _reading(path), np.load(path, allow_pickle=False) as held:
        names = set(held.files)
        known = {name: np.asarray(held[name], np.float64) for name in ("mu", "sigma") if name in names}
    image = next((name for name in arrays.IMAGE_NAMES if name in names), None)
    label = next((name for name in arrays.LABEL_NAMES if name in names), None)
    pictures = None
    if image is not None:
        held = arrays.check_images(_array(path, image), f"{path}: {image}", "M, H, W")
        if labelled and label is None:
            raise UserError(f"{path}: has no array named label (it has {', '.join(sorted(names))})")
        known_labels = None
        if labelled and label is not None:
            known_labels = arrays.check_labels(_array(path, label), len(held), str(path))
        pictures = _of_array(path, held, known_labels)
    if len(known) == 2:
        mean, covariance = known["mu"], known["sigma"]
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise UserError(
                f"{path}: mu must be [F] and sigma [F, F], not {list(mean.shape)} and {list(covariance.shape)}"
            )
        return Reference(str(path), Statistics(mean, covariance), pictures)
    if pictures is None:
        raise UserError(
            f"{path}: has neither pictures (arr_0) nor statistics (mu and sigma); it has {', '.join(sorted(names))}"
        )
    return pictures


def _of_array(path: Path, held: np.ndarray, labels: np.ndarray | None) -> Origin:
    mapped = getattr(held, "_mmap", None)

    def blocks(numbers: np.ndarray) -> Iterator[np.ndarray]:
        for begin in range(0, len(numbers), batches.size()):
            yield np.array(held[numbers[begin : begin + batches.size()]])
            # Pages of the file that were read count as this process's memory until somebody needs the room.
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

    stat = path.stat()
    identity = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return Origin(
        str(path), len(held), held.shape[1:], blocks, identity, None if labels is None else (lambda n: labels[n])
    )


def _array(path: Path, name: str) -> Any:
    """An array of an .npz file; one that is not packed stays on disk."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type == zipfile.ZIP_STORED:
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                if version in header:
                    shape, fortran, dtype = header[version](member)
                    if not dtype.hasobject and 0 not in shape:
                        with path.open("rb") as file:
                            file.seek(info.header_offset + 26)  # The lengths of a name and of what follows it.
                            lengths = np.frombuffer(file.read(4), "<u2").sum()
                        start = info.header_offset + 30 + int(lengths) + member.tell()
                        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    try:
        with np.load(path, allow_pickle=False) as held:
            return held[name]
    except ValueError as error:
        raise UserError(f"{path}: {name}: cannot be read: {first_line(error)}") from None
