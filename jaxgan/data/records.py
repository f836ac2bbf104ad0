"""Sets of pictures: a folder converted once, as ArrayRecord files that are read at random access.

manifest.json                  settings, number and shape of the pictures, classes, mean, hash, where they come from
pictures-00000.arrayrecord     records of height x width x channels bytes
labels.npy                     int32, where there are classes
files.txt                      the file of each record, in order
skipped.txt                    the files left out, and why
duplicates.txt                 files whose pictures are the same
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from jaxgan.data import folder as folders
from jaxgan.support.errors import JaxganError, UserError

VERSION = 1
_LEAST_PART, _MOST_PARTS = 250, 64  # Files a part, and parts: enough for many workers, few enough to keep open.

Report = Callable[[int, int, int], None]
"""(files done, of how many, skipped)"""


@pydantic.with_config(pydantic.ConfigDict(extra="forbid"))
@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a set holds.

    Attributes:
        version: of this format.
        source: the folder it was made from.
        listing: hash of that folder's files' names, sizes and times.
        settings: how pictures were brought to one shape.
        count: number of pictures.
        skipped: number of files left out.
        duplicates: number of pictures that are the same as another.
        shape: of a picture: height, width, channels.
        classes: names of the classes; empty without labels.
        mean: of each channel, 0 to 255.
        std: standard deviation of each channel.
        parts: number of pictures in each file of records.
        sha256: of all pictures and labels.
    """

    version: int
    source: str
    listing: str
    settings: folders.Settings
    count: int
    skipped: int
    duplicates: int
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parts: tuple[int, ...]
    sha256: str


class PictureSet:
    """A set on disk: anything from it by number, nothing kept in memory.

    Attributes:
        manifest: what it holds.
        labels: int32 [M], or None.
    """

    def __init__(self, path: Path, conditional: bool = False) -> None:
        """Opens it.

        Args:
            path: its directory.
            conditional: whether labels are wanted.

        Raises:
            UserError: it is damaged, or has no labels where they are wanted.
        """
        self.path, self.manifest = path, read_manifest(path)
        if conditional and not self.manifest.classes:
            raise UserError(f"{path}: has no labels; make it with --labels, of a folder with a sub-folder a class")
        paths = [path / _part_name(index) for index, count in enumerate(self.manifest.parts) if count]
        for part in paths:
            if not part.is_file():
                raise UserError(f"{part}: is missing; make the set again: jaxgan data make")
        self.labels = None
        try:
            self._records = ArrayRecordDataSource([str(part) for part in paths])
            if conditional:
                self.labels = np.load(path / "labels.npy")
            count = len(self._records)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{path}: cannot be read ({_line(error)}); make it again: jaxgan data make") from None
        if count != self.manifest.count:
            raise UserError(f"{path}: has {count} records, but its manifest says {self.manifest.count}; make it again")

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a picture."""
        return self.manifest.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return 0 if self.labels is None else len(self.manifest.classes)

    @property
    def identity(self) -> str:
        """Hash of all pictures and labels."""
        return self.manifest.sha256

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Reads pictures, uint8 [n, H, W, C] as "image", and their labels, int32 [n] as "label"."""
        size = math.prod(self.shape)
        try:
            records = self._records.__getitems__([int(index) for index in indices])
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{self.path}: cannot be read ({_line(error)}); make it again: jaxgan data make") from None
        if any(len(record) != size for record in records):
            raise UserError(f"{self.path}: a record has not the length of a picture; make it again: jaxgan data make")
        images = np.frombuffer(b"".join(records), np.uint8).reshape(-1, *self.shape)
        return {"image": images} | ({} if self.labels is None else {"label": self.labels[indices]})

    def files(self) -> list[str]:
        """The file that each record comes from."""
        return (self.path / "files.txt").read_text(errors="surrogateescape").split("\n")[:-1]


def is_set(path: Path) -> bool:
    """Whether a directory holds a finished set."""
    return (path / "manifest.json").is_file()


def read_manifest(path: Path) -> Manifest:
    """Reads a set's manifest.

    Raises:
        UserError: there is none, or it is damaged.
    """
    file = path / "manifest.json"
    if not file.is_file():
        raise UserError(f"{path}: no set of pictures (it has no manifest.json); make one: jaxgan data make")
    try:
        manifest = pydantic.TypeAdapter(Manifest).validate_json(file.read_text())
    except (pydantic.ValidationError, UnicodeDecodeError) as error:
        what = error.errors()[0] if isinstance(error, pydantic.ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, what["loc"]))
        raise UserError(
            f"{file}: is damaged ({where + ': ' if where else ''}{what['msg']}); make the set again"
        ) from None
    if manifest.version != VERSION:
        raise UserError(f"{file}: version {manifest.version}, this program reads {VERSION}; make the set again")
    return manifest


def make(
    folder: Path, out: Path, settings: folders.Settings, report: Report | None = None, workers: int | None = None
) -> Manifest:
    """Converts a folder to a set, in parallel; goes on where it was interrupted; the result does not depend on either.

    Args:
        folder: pictures, in sub-folders or not.
        out: the set's directory. A set of the same settings from the same folder is brought up to date.
        settings: how they are brought to one shape.
        report: told of progress.
        workers: processes; one a core if None.

    Returns:
        The manifest.

    Raises:
        UserError: no picture in the folder can be used, or `out` holds something else.
    """
    settings = folders.check_settings(settings)
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{out}: lies in the folder of pictures itself; choose another --out")
    files = folders.listing(folder)
    if settings.labels:
        outside = [file for file in files if "/" not in file]
        files = [file for file in files if "/" in file]
    else:
        outside = []
    if not files:
        where = "sub-folders, one a class, of" if settings.labels else ""
        raise UserError(f"{folder}: no files in {where + ' ' if where else ''}it")
    plan = {"version": VERSION, "source": str(folder.resolve()), "settings": dataclasses.asdict(settings)}
    listing = _hash_listing(folder, files)
    if is_set(out):
        old = read_manifest(out)
        _check_same(out, old.source, old.settings, plan["source"], settings)
        if old.listing == listing:
            return old
    elif out.exists() and any(out.iterdir()) and not (out / "plan.json").is_file():
        raise UserError(f"{out}: exists, and is no set of pictures; choose another --out")
    _begin(out, plan | {"listing": listing})
    ranges = _ranges(len(files))
    jobs = [(folder, out, index, files[slice(*ends)], settings) for index, ends in enumerate(ranges)]
    done = skipped = 0
    for part in _run(jobs, workers or os.cpu_count() or 1):
        done, skipped = done + part["files"], skipped + len(part["skipped"])
        if report:
            report(done, len(files), skipped)
    return _finish(folder, out, plan["source"], listing, settings, len(jobs), files, outside)


def _check_same(out: Path, old_source: str, old: folders.Settings, source: str, new: folders.Settings) -> None:
    if old_source != source:
        raise UserError(f"{out}: was made from {old_source}; choose another --out, or delete it")
    pairs = zip(dataclasses.asdict(old).items(), dataclasses.asdict(new).values(), strict=True)
    changed = [f"{name} ({before}, now {now})" for (name, before), now in pairs if before != now]
    if changed:
        raise UserError(f"{out}: was made with another {', '.join(changed)}; choose another --out, or delete it")


def _begin(out: Path, plan: dict[str, Any]) -> None:
    """Makes the directory, or keeps the parts of an interrupted making with the same plan."""
    path = out / "plan.json"
    text = json.dumps(plan, indent=2)
    try:
        if path.is_file() and path.read_text() == text:
            return
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        _write(path, text)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error


def _ranges(count: int) -> list[tuple[int, int]]:
    size = max(_LEAST_PART, math.ceil(count / _MOST_PARTS))
    return [(begin, min(begin + size, count)) for begin in range(0, count, size)]


def _run(jobs: list[tuple[Any, ...]], workers: int) -> Iterator[dict[str, Any]]:
    """Converts parts, and yields each one's report as it is done."""
    workers = min(workers, len(jobs))
    if workers == 1:
        for job in jobs:
            yield convert_part(*job)
        return
    # Not forked: JAX has threads.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, spawn, _begin_worker) as pool:
        futures = [pool.submit(convert_part, *job) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, concurrent.futures.BrokenExecutor):
                folder = jobs[0][0]
                raise JaxganError(
                    f"{folder}: a process that converts pictures has died (out of memory?); the same command goes on"
                ) from None
            raise


def _begin_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def convert_part(folder: Path, out: Path, index: int, files: list[str], settings: folders.Settings) -> dict[str, Any]:
    """Converts some files to one file of records, whole or not at all, and returns a report, which it also keeps."""
    report = out / f"part-{index:05}.json"
    if report.is_file():
        return json.loads(report.read_text())
    path = out / _part_name(index)
    partial = path.with_suffix(".partial")
    kept: list[str] = []
    hashes: list[str] = []
    skipped: dict[str, str] = {}
    total = squares = np.zeros(len(folders.MODES[settings.channels]))
    writer = ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
    for file in files:
        try:
            pixels = folders.convert(folder, file, settings)
        except folders.Skipped as reason:
            skipped[file] = " ".join(str(reason).split())
            continue
        record = pixels.tobytes()
        writer.write(record)
        kept.append(file)
        hashes.append(hashlib.sha256(record).hexdigest())
        exact = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)
        total, squares = total + exact.sum(axis=0), squares + (exact**2).sum(axis=0)
    writer.close()
    os.replace(partial, path)
    found = {"files": len(files), "kept": kept, "hashes": hashes, "skipped": skipped}
    found |= {"total": total.tolist(), "squares": squares.tolist()}
    _write(report, json.dumps(found))
    return found


def _finish(
    folder: Path,
    out: Path,
    source: str,
    listing: str,
    settings: folders.Settings,
    parts: int,
    files: list[str],
    outside: list[str],
) -> Manifest:
    """Puts the parts' reports together."""
    reports = [json.loads((out / f"part-{index:05}.json").read_text()) for index in range(parts)]
    kept = [file for part in reports for file in part["kept"]]
    skipped = {file: reason for part in reports for file, reason in part["skipped"].items()}
    skipped |= dict.fromkeys(outside, "lies outside of the sub-folders that are the classes")
    if not kept:
        first, reason = next(iter(skipped.items()))
        shutil.rmtree(out)
        raise UserError(f"{folder}: none of its {len(skipped)} files can be used; {first}: {reason}")
    names = folders.classes(kept) if settings.labels else []
    labels = np.array([names.index(file.split("/")[0]) for file in kept], np.int32) if names else None
    hashes = [value for part in reports for value in part["hashes"]]
    same: dict[str, list[str]] = {}
    for file, value in zip(kept, hashes, strict=True):
        same.setdefault(value, []).append(file)
    doubles = [group for group in same.values() if len(group) > 1]
    pixels = len(kept) * settings.size**2
    mean = np.sum([part["total"] for part in reports], axis=0) / pixels
    std = np.sqrt(np.maximum(0, np.sum([part["squares"] for part in reports], axis=0) / pixels - mean**2))
    sha = hashlib.sha256("".join(hashes).encode() + (b"" if labels is None else labels.tobytes()))
    manifest = Manifest(
        version=VERSION,
        source=source,
        listing=listing,
        settings=settings,
        count=len(kept),
        skipped=len(skipped),
        duplicates=sum(len(group) - 1 for group in doubles),
        shape=(settings.size, settings.size, len(mean)),
        classes=tuple(names),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        parts=tuple(len(part["kept"]) for part in reports),
        sha256=sha.hexdigest(),
    )
    _write(out / "files.txt", "".join(f"{_printable(file)}\n" for file in kept))
    _write(out / "skipped.txt", "".join(f"{_printable(file)}: {reason}\n" for file, reason in sorted(skipped.items())))
    _write(out / "duplicates.txt", "".join(f"{' = '.join(map(_printable, group))}\n" for group in doubles))
    if labels is not None:
        np.save(out / "labels.npy", labels)
    _write(out / "manifest.json", json.dumps(dataclasses.asdict(manifest), indent=2) + "\n")
    for index in range(parts):
        (out / f"part-{index:05}.json").unlink()
    (out / "plan.json").unlink()
    return manifest


def _hash_listing(folder: Path, files: list[str]) -> str:
    sha = hashlib.sha256()
    for file in files:
        try:
            stat = (folder / file).stat()
            known = f"{stat.st_size}\0{stat.st_mtime_ns}"
        except OSError:  # A link that leads nowhere.
            known = ""
        sha.update(f"{file}\0{known}\n".encode(errors="surrogateescape"))
    return sha.hexdigest()


def _part_name(index: int) -> str:
    return f"pictures-{index:05}.arrayrecord"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, errors="surrogateescape")
    os.replace(partial, path)


def _printable(file: str) -> str:
    return file.replace("\n", "?")


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
