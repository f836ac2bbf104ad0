"""Files that others publish: fetched once, and checked against the hash that is published with them."""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from jaxgan.support import cache, files
from jaxgan.support.console import open_console
from jaxgan.support.errors import UserError

_MD5 = {  # Keras publishes these beside its files.
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5": "6d6bbae143d832006294945121d1f1fc",
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5": "253f8cb515780f3b799900260a226db6",
}
_MEND = "delete it and download it again"
_ATTEMPTS = 4
_CHUNK = 1 << 18


def read(
    source: str | Path, console: Console | None = None, check: bool = True, mend: str = _MEND
) -> tuple[str, bytes]:
    """Reads a file, or what a URL leads to, which is fetched once.

    Args:
        source: a path, or http or https.
        console: where the progress of a download is shown.
        check: whether the hash in its name is looked at.
        mend: what to do, for the message, where the hash is another.

    Returns:
        The file's name and its bytes.

    Raises:
        UserError: it cannot be had or read, or is not what its name or its publisher says: the hash in
            "vgg16-397923af.pth" is checked.
    """
    url = str(source)
    path = download(url, console=console) if re.match(r"https?://", url) else files.expanded(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not check:
        return path.name, data
    if path.name in _MD5:
        check_hash(str(path), data, "md5", _MD5[path.name], mend)
    elif match := re.search(r"-([0-9a-f]{8,64})\.\w+$", path.name):
        check_hash(str(path), data, "sha256", match[1], mend)
    return path.name, data


def download(url: str, folder: Path | None = None, console: Console | None = None) -> Path:
    """Fetches a file once; an interrupted download goes on where it stopped, now or at the next call.

    Args:
        url: http or https.
        folder: where files are kept; by default `jaxgan` in the user's cache directory.
        console: where progress is shown.

    Returns:
        The file's path.

    Raises:
        UserError: the file could not be fetched whole.
    """
    if folder is None:
        folder = cache.folder()
    name = Path(urllib.parse.urlparse(url).path).name or "weights"
    # Different addresses may end in the same name.
    path = folder / hashlib.sha256(url.encode()).hexdigest()[:12] / name
    if path.exists():
        return path
    partial = path.with_name(path.name + ".partial")
    with files.in_one_line(path.parent, "made"):
        path.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(0.2 * 2**attempt)
        try:
            if _fetch(url, partial, console):
                partial.replace(path)
                return path
            problem = f"the connection ended after {partial.stat().st_size:,} bytes"
        except urllib.error.HTTPError as error:
            problem = f"the server says {error.code} {error.reason}"
            if error.code == 416:  # What we have is no beginning of what the server has now.
                partial.unlink(missing_ok=True)
            elif error.code < 500:
                break
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        except OSError as error:
            raise UserError(f"{partial}: cannot be written: {files.refusal(error)}") from None
    raise UserError(f"{url}: not downloaded: {problem}; the same command goes on from there")


def _fetch(url: str, partial: Path, console: Console | None) -> bool:
    """Adds to a partial file what is missing, as far as the connection holds; says whether it is whole."""
    shown = console or open_console(stderr=True)
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=30) as response:
        if response.status != 206:  # The server sends all of it, whatever was asked for.
            have = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with (
            Progress(*columns, console=shown, disable=not shown.is_terminal) as progress,
            partial.open("ab" if have else "wb") as file,
        ):
            task = progress.add_task(Path(urllib.parse.urlparse(url).path).name, total=total, completed=have)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
    return total is None or partial.stat().st_size == total


def check_hash(name: str, data: bytes, kind: str, expected: str, mend: str = _MEND) -> None:
    """Refuses the bytes of a file whose hash of a kind does not begin as expected; `mend` says what to do."""
    found = hashlib.new(kind, data, usedforsecurity=False).hexdigest()[: len(expected)]
    if found != expected:
        raise UserError(
            f"{name}: wrong or cut short: {kind} expected {expected}, found {found} ({len(data):,} bytes); {mend}"
        )
