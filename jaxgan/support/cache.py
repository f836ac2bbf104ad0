"""Where jaxgan keeps what can be made or fetched again: downloaded weights, compiled programs."""

import contextlib
import os
from pathlib import Path


def folder() -> Path:
    """`jaxgan` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxgan"


def keep_programs() -> None:
    """Has JAX keep the programs it compiles, unless the environment says where, or "" for not at all.

    Call it before JAX is imported. A directory that cannot be written is left alone.
    """
    programs = folder() / "programs"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        with contextlib.suppress(OSError):
            programs.mkdir(parents=True, exist_ok=True)
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
    # A command compiles some seventy small programs, too; together they take seconds.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
