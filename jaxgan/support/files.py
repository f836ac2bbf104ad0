"""Files that are whole or not there, and errors of the file system in one line."""

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from jaxgan.support.errors import UserError, first_line

_SILENT = 60.0  # Seconds after which nobody writes a file any more.
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial(\..*)?")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file, and the folders it needs, so that a reader, or a kill, never meets half of it.

    Raises:
        UserError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside another, of the same ending, which takes its place once it is written whole.

    Raises:
        UserError: it cannot be written.
    """
    with in_one_line(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
    if is_dir(path):
        raise UserError(f"{path}: is a folder; a file is to be written there")
    # Never longer than a name may be, nor another's.
    partial = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")  # As `_PARTIAL`.
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError | ValueError):  # Pillow says so where it does not know a kind of file.
            raise UserError(f"{path}: cannot be written: {refusal(error)}") from error
        raise


def clear_partial(folder: Path) -> None:
    """Removes what kills have left of files that were being written in a folder, not what is still being written."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _PARTIAL.fullmatch(path.name) and time.time() - path.stat().st_mtime > _SILENT:
                path.unlink()


def read_text(path: Path) -> str:
    """The text of a file, UTF-8.

    Raises:
        UserError: it cannot be read, or is not text.
    """
    with in_one_line(path, "read"):
        return path.read_text("utf-8")


def is_file(path: Path) -> bool:
    """Whether there is such a file; of a path that cannot be looked at there is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_dir(path: Path) -> bool:
    """Whether there is such a folder, as `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def expanded(path: str | Path) -> Path:
    """A path with the home directory in place of ~.

    Raises:
        UserError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such user's home directory") from None


@contextlib.contextmanager
def in_one_line(path: Path, done: str) -> Iterator[None]:
    """Makes a UserError of what the file system refuses.

    Args:
        path: what is worked on, where the error names no file.
        done: what could not be done to it: "read", "written", "made".
    """
    try:
        yield
    except UnicodeError:
        raise UserError(f"{path}: cannot be {done}: it is not UTF-8") from None
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be {done}: {refusal(error)}") from error


def refusal(error: Exception) -> str:
    """Why the file system did not do something, in a few words; libraries raise errors of their own for it."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if full or any(words in str(error) for words in ("No space left", "quota", "RESOURCE_EXHAUSTED")):
        return "no room is left; make some"
    return getattr(error, "strerror", None) or first_line(error)
