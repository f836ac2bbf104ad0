"""Makes sets of pictures: a folder converted once, in parallel, beside the set that is there until all is done.

SET/.making/    the parts that are done, each with a report, and the plan that they belong to
SET/.lock       one process at a time makes a set

Interrupted at any moment, a making goes on where it was, and the set that is there stays whole. Only files that sets
are made of are ever removed: whatever else lies in a set's directory stays.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from jaxgan.data import folder as folders
from jaxgan.data import labels, records, workers
from jaxgan.data.records import VERSION, Manifest
from jaxgan.support.errors import JaxganError, StoppedError, UserError
from jaxgan.support.files import refusal

_LEAST_PART, _MOST_PARTS = 250, 64  # Files a part, and parts: enough for many workers, few enough to keep open.
_OURS = re.compile(r"(pictures(-[0-9a-f]{8})?-(\d{5}|labels)\.(arrayrecord|npy)|part-\d{5}\.json)(\.partial)?")
_LISTS = ("files.txt", "skipped.txt", "duplicates.txt")

Report = Callable[[int, int, int], None]
"""(files done, of how many, skipped)"""


def make(
    folder: Path,
    out: Path,
    settings: folders.Settings,
    report: Report | None = None,
    processes: int | None = None,
    verify: bool = False,
) -> Manifest:
    """Converts a folder or an archive to a set, in parallel; goes on where it was interrupted, with the same result.

    Args:
        folder: pictures, in sub-folders or not; or a zip or tar archive of them, which is read in place.
        out: the set's directory. A set of the same settings from the same folder is brought up to date, or mended.
        settings: how they are brought to one shape.
        report: told of progress.
        processes: how many convert; one a core if None.
        verify: read a set that seems up to date as a whole, to find damage inside of it.

    Returns:
        The manifest.

    Raises:
        UserError: no picture in the folder can be used, or `out` holds something else.
        JaxganError: there is no room for the set, or a process has died; the same call goes on.
        StoppedError: a signal came that somebody else waits for.
    """
    settings = folders.check_settings(settings)
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{out}: lies in the folder of pictures itself; choose another --out")
    if records.printable(out.resolve()) != str(out.resolve()):  # ArrayRecord cannot open it.
        raise UserError(f"{records.printable(out)}: is not a name in UTF-8; choose another --out")
    with _interruptible():
        found = folders.listing(folder)
        listed, skipped = found.files, found.unreadable
        files, labelled = listed, labels.Labelled({})
        if settings.labels or settings.only or settings.columns:
            with folders.opened(folder) as archive:
                labelled = labels.read(folder, listed, settings.columns, archive)
            files = [file for file in listed if file in labelled.of]
            outside = [file for file in listed if file not in labelled.of and file != labelled.source]
            skipped = skipped | dict.fromkeys(outside, labelled.without)
        if settings.only:
            there = labels.ordered(set(labelled.of.values()))
            if unknown := [name for name in settings.only if name not in there]:
                shown = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
                raise UserError(f"only: {folder} has no class {unknown[0]!r}; it has {shown or 'none'}")
            files, skipped = [file for file in files if labelled.of[file] in settings.only], found.unreadable
        if not files:
            where = f"with a label in {labelled.source} in" if labelled.source else "in sub-folders, one a class, of"
            where = where if settings.labels else "in"
            raise UserError(f"{folder}: no files {where} it{folders.said(found.left_out)}{_first(skipped)}")
        if 0 < settings.limit < len(files):
            files = [files[index * len(files) // settings.limit] for index in range(settings.limit)]
        looked_at = [*files, labelled.source] if labelled.source else files
        plan = {
            "version": VERSION,
            "source": records.printable(folder.resolve()),
            "settings": _as_json(settings),
            "listing": hash_listing(folder, looked_at),
        }
        _check_place(out, plan)
        with _lock(out):
            old = _check_place(out, plan)
            if old is not None and old.listing == plan["listing"] and _is_sound(out, old, verify):
                _tidy(out, old)
                return dataclasses.replace(old, left_out=found.left_out)
            making = _begin(out, plan)
            reports = _convert(folder, making, plan, files, settings, report, processes or os.cpu_count() or 1)
            with _writing(out):
                manifest = _finish(
                    folder, making, plan, settings, looked_at, labelled, skipped, reports, found.left_out
                )
                _put_in_place(making, out, manifest)
            _tidy(out, manifest)
            if old is not None and old.labels_name != manifest.labels_name:
                (out / old.labels_name).unlink(missing_ok=True)
    return manifest


def _convert(
    folder: Path,
    making: Path,
    plan: dict[str, Any],
    files: list[str],
    settings: folders.Settings,
    report: Report | None,
    processes: int,
) -> list[dict[str, Any]]:
    """Converts all parts that are not done; returns the reports of all, in order."""
    size = max(_LEAST_PART, math.ceil(len(files) / _MOST_PARTS))
    parts = [files[begin : begin + size] for begin in range(0, len(files), size)]
    reports = {index: part for index in range(len(parts)) if (part := _read_json(making / _report_name(index)))}
    left = [
        (folder, making / _part_name(plan, index), making / _report_name(index), part, settings)
        for index, part in enumerate(parts)
        if index not in reports
    ]

    def tell() -> None:
        if report:
            done = sum(part["files"] for part in reports.values())
            report(done, len(files), sum(len(part["skipped"]) for part in reports.values()))

    tell()
    indices = [index for index in range(len(parts)) if index not in reports]
    with contextlib.closing(workers.results(convert_part, left, processes)) as converted:
        for place, part in converted:
            reports[indices[place]] = part
            tell()
    return [reports[index] for index in range(len(parts))]


def convert_part(
    folder: Path, path: Path, report: Path, files: list[str], settings: folders.Settings
) -> dict[str, Any]:
    """Converts some files to one file of records, whole or not at all; its report is kept, and returned.

    Raises:
        JaxganError: it cannot be written, or the folder has gone.
    """
    partial = path.with_name(path.name + ".partial")
    kept: list[str] = []
    hashes: list[str] = []
    skipped: dict[str, str] = {}
    deep: list[float] = []
    total = squares = np.zeros(len(folders.MODES[settings.channels]))
    with folders.opened(folder) as archive, _writing(path.parent.parent):
        writer = ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
        for file in files:
            try:
                pixels = folders.convert(folder, file, settings, archive, deep)
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
        if not folder.exists():
            raise JaxganError(f"{folder}: has gone while it was converted; the same command goes on when it is back")
        os.replace(partial, path)
        found = {"files": len(files), "kept": kept, "hashes": hashes, "skipped": skipped}
        found |= {"total": total.tolist(), "squares": squares.tolist(), "deep": max(deep, default=0.0)}
        _write(report, json.dumps(found))
    return found


def _finish(
    folder: Path,
    making: Path,
    plan: dict[str, Any],
    settings: folders.Settings,
    looked_at: list[str],
    labelled: labels.Labelled,
    skipped: dict[str, str],
    reports: list[dict[str, Any]],
    left_out: int,
) -> Manifest:
    """Puts the parts' reports together: labels, lists, and last the manifest, still beside the set."""
    kept = [file for part in reports for file in part["kept"]]
    skipped = skipped | {file: reason for part in reports for file, reason in part["skipped"].items()}
    if not kept:
        first, reason = next(iter(sorted(skipped.items())))
        _remove(making)
        raise UserError(f"{folder}: none of its {len(skipped)} files can be used; {first}: {reason}")
    names = labels.ordered({labelled.of[file] for file in kept}) if settings.labels else []
    places = {name: index for index, name in enumerate(names)}
    numbers = np.array([places[labelled.of[file]] for file in kept], np.int32) if names else None
    hashes = [value for part in reports for value in part["hashes"]]
    same: dict[str, list[str]] = {}
    for file, value in zip(kept, hashes, strict=True):
        same.setdefault(value, []).append(file)
    doubles = [group for group in same.values() if len(group) > 1]
    pixels = len(kept) * settings.side**2
    mean = np.sum([part["total"] for part in reports], axis=0) / pixels
    std = np.sqrt(np.maximum(0, np.sum([part["squares"] for part in reports], axis=0) / pixels - mean**2))
    manifest = Manifest(
        version=VERSION,
        source=plan["source"],
        # Where files have changed or gone meanwhile, the next making must look again.
        listing=plan["listing"] if hash_listing(folder, looked_at) == plan["listing"] else "",
        settings=settings,
        count=len(kept),
        skipped=len(skipped),
        left_out=left_out,
        duplicates=sum(len(group) - 1 for group in doubles),
        shape=(settings.side, settings.side, len(mean)),
        classes=tuple(map(records.printable, names)),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        name=_name(plan),
        parts=tuple(len(part["kept"]) for part in reports),
        sha256=records.hash_of(hashes, numbers),
        wrapper=records.printable(labelled.wrapper),
        deep=max((part.get("deep", 0.0) for part in reports), default=0.0),
    )
    lines = records.printable
    _write(making / "files.txt", "".join(f"{lines(file)}\n" for file in kept))
    _write(making / "skipped.txt", "".join(f"{lines(file)}: {reason}\n" for file, reason in sorted(skipped.items())))
    _write(making / "duplicates.txt", "".join(f"{' = '.join(map(lines, group))}\n" for group in doubles))
    if numbers is not None:
        with (making / manifest.labels_name).open("wb") as file:
            np.save(file, numbers)
    return manifest


def _put_in_place(making: Path, out: Path, manifest: Manifest) -> None:
    """Moves a new set to where it belongs: its records have names of their own; the manifest makes them the set."""
    numbers = [manifest.labels_name] if manifest.classes else []
    for name in (*manifest.part_names, *numbers, *_LISTS):
        if (making / name).exists():  # A making that was killed here has moved some.
            os.replace(making / name, out / name)
    _write(out / "manifest.json", json.dumps(dataclasses.asdict(manifest), indent=2) + "\n")


def _tidy(out: Path, manifest: Manifest) -> None:
    """Removes what earlier sets and makings have left."""
    _remove(out / records.MAKING)
    _remove(out, keep=(*manifest.part_names, manifest.labels_name))


def _remove(directory: Path, keep: tuple[str, ...] = ()) -> None:
    """Removes from a directory what sets are made of, and a making's directory itself, if it is empty then."""
    making = directory.name == records.MAKING
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            ours = _OURS.fullmatch(name) or (name == "plan.json" and _read_plan(directory))
            if (ours or (making and name.removesuffix(".partial") in (*_LISTS, "plan.json"))) and name not in keep:
                (directory / name).unlink()
        if making:
            directory.rmdir()


def _check_place(out: Path, plan: dict[str, Any]) -> Manifest | None:
    """Refuses a directory that is in use for something else; returns the manifest of the set there, if it is whole."""
    old = None
    try:
        names = os.listdir(out)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{out}: cannot be a set's directory: {error.strerror}") from None
    with contextlib.suppress(records.DamagedError):
        old = records.read_manifest(out) if records.is_set(out) else None
    begun = _read_plan(out / records.MAKING) or _read_plan(out)  # The latter: before they were made beside.
    before = [(old.source, _as_json(old.settings))] if old else []
    for source, settings in before + ([(begun["source"], begun["settings"])] if begun else []):
        if source != plan["source"]:
            raise UserError(f"{out}: was made from {source}; choose another --out, or delete it")
        pairs = [(name, settings.get(name, now), now) for name, now in plan["settings"].items()]
        changed = [f"{name} ({then}, now {now})" for name, then, now in pairs if then != now]
        if changed:
            raise UserError(f"{out}: was made with another {', '.join(changed)}; choose another --out, or delete it")
    # A damaged set is known by its records; hidden files are no reason to refuse a directory.
    ours = old or begun or any(_OURS.fullmatch(name) for name in names)
    if not ours and any(not name.startswith(".") for name in names):
        raise UserError(f"{out}: exists, and is no set of pictures; choose another --out")
    return old


def _is_sound(out: Path, manifest: Manifest, verify: bool) -> bool:
    try:
        pictures = records.PictureSet(out, conditional=bool(manifest.classes))
        if verify:
            pictures.verify()
    except UserError:
        return False
    return True


def _begin(out: Path, plan: dict[str, Any]) -> Path:
    """Makes the directory of a making, or keeps what an interrupted one with the same plan has done."""
    making = out / records.MAKING
    if _read_plan(making) != plan:
        _remove(making)
        with _writing(out):
            making.mkdir(exist_ok=True)
            _write(making / "plan.json", json.dumps(plan, indent=2))
    return making


def _read_plan(directory: Path) -> dict[str, Any] | None:
    """A making's plan; None where there is none, or something else of that name."""
    found = _read_json(directory / "plan.json")
    if found is None or found.keys() != {"version", "source", "settings", "listing"}:
        return None
    return found if isinstance(found["settings"], dict) else None


def _as_json(settings: folders.Settings) -> dict[str, Any]:
    """As a plan that is read back has them: lists for tuples."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Makes the directory, and holds it for this making; a directory that has come to nothing is removed."""
    new = not out.exists()
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / ".lock")
        lock.acquire()
    with lock:
        try:
            yield
        except UserError:
            if new:
                with contextlib.suppress(OSError):
                    (out / ".lock").unlink()
                    out.rmdir()
            raise


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Says in one line that something cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # The latter of ArrayRecord.
        raise JaxganError(f"{out}: cannot be written: {refusal(error)}. The same command goes on") from None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lets signals interrupt that a caller has taken over, such as a training, which stops only between its steps.

    Raises:
        StoppedError: one came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals are the main thread's.
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    known = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: handler for number, handler in before.items() if handler not in known}
    try:
        for number in taken:
            signal.signal(number, interrupt)
        yield
    except KeyboardInterrupt:
        if not taken:
            raise
        raise StoppedError("stopped while pictures were converted; the same command goes on") from None
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def hash_listing(folder: Path, files: Iterable[str]) -> str:
    """A hash of a folder's files' names, sizes and times: another where the folder has changed."""
    sha = hashlib.sha256()
    archived = not folder.is_dir()  # Then its members are as old as itself.
    for file in files:
        try:
            stat = (folder if archived else folder / file).stat()
            known = f"{stat.st_size}\0{stat.st_mtime_ns}"
        except OSError:  # A link that leads nowhere.
            known = ""
        sha.update(f"{file}\0{known}\n".encode(errors="surrogateescape"))
    return sha.hexdigest()


def _first(skipped: dict[str, str]) -> str:
    """The first file that cannot be used, and why, as the end of a sentence."""
    return "".join(f"; {file}: {reason}" for file, reason in sorted(skipped.items())[:1])


def _name(plan: dict[str, Any]) -> str:
    """What the files of records begin with: another whenever the folder has changed."""
    return f"pictures-{plan['listing'][:8]}"


def _part_name(plan: dict[str, Any], index: int) -> str:
    return records.part_name(_name(plan), index)


def _report_name(index: int) -> str:
    return f"part-{index:05}.json"


def _write(path: Path, text: str) -> None:
    """As `files.write_atomically`, by a name that `_remove` knows if a kill leaves it; errors are `_writing`'s."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", errors="surrogateescape")
    os.replace(partial, path)
