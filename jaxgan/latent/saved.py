"""Latents in files: .npz with a latent [size], or styles [L, W], and perhaps a "label"."""

import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import train_step
from jaxgan.latent import mix
from jaxgan.support.errors import UserError

Latent = tuple[jax.Array, int | None]
"""A latent [size], or styles [L, W]; and its class, where the generator has classes and one is known."""


def encode(found: np.ndarray | jax.Array, label: int | None = None) -> bytes:
    """What a file holds of a latent [size], or of styles [L, W]."""
    buffer = io.BytesIO()
    arrays = {"latent" if found.ndim == 1 else "styles": np.asarray(found)}
    arrays |= {} if label is None else {"label": np.asarray(label)}
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def load(path: Path, game: train_step.Game, variables: Any, classes: int, run: str) -> Latent:
    """Reads what `encode` gave.

    Args:
        path: the file.
        game: the rules.
        variables: the generator's variables.
        classes: number of classes; 0 if not conditional.
        run: the run's name, for the message.

    Returns:
        The latent, and its class where the generator has classes and the file names one.

    Raises:
        UserError: there is no such file, or it holds no latent, or one for other networks.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            name = "styles" if "styles" in arrays else "latent"
            found = np.asarray(arrays[name], np.float32)
            label = int(arrays["label"]) if classes and "label" in arrays else None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; --through takes seeds and .npz files of `jaxgan project`") from None
    except Exception:  # NumPy's reader raises nearly everything on what is no such file.
        raise UserError(f"{path}: holds no latent or styles, as `jaxgan project` writes them") from None
    wanted: tuple[int, ...] = (game.latent_size,)
    if name == "styles" and mix.has_styles(game):
        one = jnp.zeros((1, game.latent_size))
        any_class = jnp.zeros(1, jnp.int32) if classes else None
        wanted = jax.eval_shape(lambda: mix.styles(game, variables, one, any_class)).shape[1:]
    if found.shape != wanted:
        raise UserError(f"{path}: {name} of the shape {found.shape}, where {run} takes {wanted}")
    if label is not None and not 0 <= label < classes:
        raise UserError(f"{path}: of the class {label}, where {run} has 0 to {classes - 1}")
    return jnp.asarray(found), label
