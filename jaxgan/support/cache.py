"""Where jaxgan keeps what can be made or fetched again: downloaded weights, compiled programs, sets made of folders."""

import contextlib
import os
from pathlib import Path

import platformdirs

MOST_BYTES = 2 * 2**30
"""Of compiled programs; when a command starts and there are more, those that were not used for longest go."""
LEAST_SECONDS = 0.02
"""Programs that took longer to compile are kept: a command compiles some seventy small ones, too, in seconds."""


def folder() -> Path:
    """`jaxgan` in the user's cache directory: XDG_CACHE_HOME, or where the system has it (~/.cache on Linux)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home) / "jaxgan" if home else platformdirs.user_cache_path("jaxgan", appauthor=False)


def keep_programs() -> None:
    """Has JAX keep the programs it compiles, unless the environment says where, or "" for not at all.

    Call it before JAX is imported. A directory that cannot be written is left alone.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and (kept := programs()):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(kept)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(LEAST_SECONDS))


def programs() -> Path | None:
    """The folder of compiled programs, made and not too large; None where it cannot be made."""
    kept = folder() / "programs"
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        trim(kept, MOST_BYTES)
    return kept


def trim(programs: Path, most: int) -> None:
    """Deletes the files of a folder that were not used for longest, where they are more than so many bytes in all.

    JAX can bound its cache, too, but then locks it for each program it reads, and gives up on a cache that has
    programs from before it was bounded, or whose writer was killed.
    """
    with os.scandir(programs) as entries:
        files = [(entry.stat(), entry.path) for entry in entries if entry.is_file()]
    excess = sum(stat.st_size for stat, _ in files) - most
    if excess <= 0:
        return
    excess += most // 4  # Room, so that this is not done at every start.
    for stat, path in sorted(files, key=lambda file: max(file[0].st_atime, file[0].st_mtime)):
        if excess <= 0:
            return
        with contextlib.suppress(FileNotFoundError):  # Another process does the same.
            os.unlink(path)
        excess -= stat.st_size
