"""A transfer that was stopped, in a file from which it goes on."""

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxgan
from jaxgan.style import transfer
from jaxgan.support.errors import UserError, first_line
from jaxgan.support.files import write_atomically

_LAYOUT = 2
"""Of the state's arrays in the file; a file of another one is of another command."""


class Saved(NamedTuple):
    """Where a transfer stands.

    Attributes:
        step: iterations done.
        leaves: of the `transfer.State` after them.
        lines: the losses of every iteration so far.
        done: names of the pictures that the command had finished before, where it makes several.
    """

    step: int
    leaves: list[np.ndarray]
    lines: list[dict[str, float]]
    done: list[str]

    def state(self, like: Any) -> transfer.State:
        """The state, which has the structure of another, or of its shapes."""
        return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(leaf) for leaf in self.leaves])


def digest(settings: dict[str, Any], arrays: Iterable[np.ndarray | None]) -> str:
    """A hash of all that decides what comes of a transfer."""
    found = hashlib.sha256(json.dumps([_LAYOUT, jaxgan.__version__, settings], sort_keys=True).encode())
    for array in arrays:
        found.update(b"none" if array is None else str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def save(path: Path, origin: str, step: int, state: transfer.State, lines: list[dict[str, float]], done: list[str]):
    """Writes where a transfer of this origin, a `digest`, stands."""
    arrays = {str(index): np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}
    about = json.dumps({"origin": origin, "step": step, "lines": lines, "done": done})
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(about), **arrays)  # pyright: ignore[reportArgumentType]
    write_atomically(path, buffer.getvalue())


def load(path: Path, origin: str, force: bool) -> Saved | None:
    """Reads where a transfer of this origin stands; None: at its beginning.

    Raises:
        UserError: the file is damaged, or of another command; with `force` it is passed over instead.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            leaves = [file[str(index)] for index in range(len(file.files) - 1)]
        if about["origin"] == origin:
            return Saved(about["step"], leaves, about["lines"], about["done"])
        problem = "is of another command, with other pictures or settings"
    except Exception as error:  # A damaged archive raises nearly everything.
        problem = f"cannot be read ({first_line(error)})"
    if force:
        return None
    raise UserError(f"{path}: {problem}; delete it, or give --force, to begin anew")
