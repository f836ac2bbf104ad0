"""Zip and tar archives of pictures, read in place: nothing is ever unpacked to a disk.

Members that are encrypted, damaged, links, too large, or named as if they lay outside are left out, with a reason.
"""

import contextlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxgan.support.errors import UserError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_MOST = 2**28  # Bytes of a member: a picture file is smaller, and what is larger would fill the memory.
_BOMB, _AT_LEAST = 200, 2**30  # Times that all members may be larger than the archive, beyond so many bytes.
_UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, RuntimeError, NotImplementedError)
"""What zipfile and tarfile raise on what is damaged, encrypted, or packed in a way that they do not know."""


class Archive:
    """An open archive. Use `opened`.

    Attributes:
        files: paths of the members that may be pictures; of a zip archive sorted, of a tar archive in its order, since
            a compressed one can only be read from its beginning.
        unreadable: those that cannot be used, and why.
        left_out: number of hidden directories, whose members are left out.
    """

    def __init__(self, path: Path, file: zipfile.ZipFile | tarfile.TarFile) -> None:
        self._path, self._file = path, file
        self._members: dict[str, zipfile.ZipInfo | tarfile.TarInfo] = {}
        self.unreadable: dict[str, str] = {}
        hidden: set[str] = set()
        for name, member, size, wrong in _zipped(file) if isinstance(file, zipfile.ZipFile) else _tarred(path, file):
            *folders, last = name.replace("\\", "/").split("/")
            if name.startswith("/") or ".." in folders or ":" in name.split("/")[0]:
                wrong = "its name leads outside of the archive"
            elif size > _MOST:
                wrong = f"would take {size:,} bytes, more than {_MOST:,}"
            inner = [index for index, part in enumerate(folders) if part.startswith(".") or part == "__MACOSX"]
            if inner and ".." not in folders:
                hidden.add("/".join(folders[: inner[0] + 1]))
            elif wrong:
                self.unreadable[name] = wrong
            elif not last.startswith("."):
                self._members[name] = member  # Of several by one name, the last, as unpacking would leave.
        self.left_out = len(hidden)
        self.files = sorted(self._members) if isinstance(file, zipfile.ZipFile) else list(self._members)

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            UserError: it cannot be read.
        """
        member = self._members[name]
        try:
            if isinstance(self._file, zipfile.ZipFile):
                assert isinstance(member, zipfile.ZipInfo)
                return self._file.read(member)
            assert isinstance(member, tarfile.TarInfo)
            content = self._file.extractfile(member)
            return b"" if content is None else content.read()
        except _UNREADABLE as error:
            raise UserError(f"{self._path / name}: is damaged in the archive: {error}") from None


def is_archive(path: Path) -> bool:
    """Whether a file's name ends as those of archives that can be read do."""
    return path.name.lower().endswith(ENDINGS)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Opens an archive.

    Raises:
        UserError: it cannot be read, or would unpack to so much that it is meant to do harm.
    """
    with contextlib.ExitStack() as stack:
        archive = _open(path, stack)
        yield archive


def _open(path: Path, stack: contextlib.ExitStack) -> Archive:
    try:
        if path.name.lower().endswith(".zip"):
            file = stack.enter_context(zipfile.ZipFile(path))
            _check_sizes(path, sum(member.file_size for member in file.infolist()))
        else:
            file = stack.enter_context(tarfile.open(path))  # noqa: SIM115, for the stack closes it.
        return Archive(path, file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.filename is not None and not isinstance(error, tarfile.TarError):
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        raise UserError(f"{path}: cannot be read as an archive: {error}; is it cut short?") from None


def _zipped(file: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo, int, str]]:
    """The members of a zip archive: name, itself, size, and what is wrong with it."""
    for member in file.infolist():
        link = stat.S_ISLNK(member.external_attr >> 16)
        wrong = "is encrypted" if member.flag_bits & 1 else "is a link" if link else ""
        if not member.is_dir():
            yield member.filename, member, member.file_size, wrong


def _tarred(path: Path, file: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo, int, str]]:
    """The members of a tar archive, as `_zipped`."""
    for member in file:
        _check_sizes(path, member.offset_data + member.size)
        if not member.isdir():
            name = member.name.removeprefix("./")
            yield name, member, member.size, "" if member.isreg() else "is a link, or no file"


def _check_sizes(path: Path, size: int) -> None:
    if size > max(_AT_LEAST, _BOMB * os.path.getsize(path)):
        raise UserError(
            f"{path}: would unpack to {size:,} bytes, over {_BOMB} times its size, as no archive of pictures"
        )
