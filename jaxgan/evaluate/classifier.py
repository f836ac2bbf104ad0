"""The MNIST classifier that judges digits; it ships with the package.

Right on 99.2 % of MNIST's test set. `benchmarks/mnist_classifier.py` trained it, and says so again.
"""

import functools
from importlib import resources
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.flax
from flax import traverse_util

from jaxgan.models import layers

_BATCH = 500


class Classifier(nn.Module):
    """Images [N, 28, 28, 1] in [-1, 1] -> logits [N, 10]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for features in (32, 64):
            x = nn.relu(layers.Conv(features)(x))
            x = layers.max_pool(nn.relu(layers.Conv(features)(x)))
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(x))


def probabilities(pictures: np.ndarray) -> np.ndarray:
    """Class probabilities [N, 10] of pictures uint8 [N, 28, 28, 1], white on black."""
    padding = -len(pictures) % _BATCH
    filled = np.concatenate([pictures, np.zeros((padding, 28, 28, 1), np.uint8)])
    parts = [np.asarray(_apply(_variables(), part)) for part in filled.reshape(-1, _BATCH, 28, 28, 1)]
    return np.concatenate(parts)[: len(pictures)]


@functools.cache
def _variables() -> Any:
    packed = (resources.files("jaxgan.support") / "assets" / "mnist" / "classifier.safetensors").read_bytes()
    flat = {name: leaf.astype(jnp.float32) for name, leaf in safetensors.flax.load(packed).items()}
    return traverse_util.unflatten_dict(flat, sep="/")


@jax.jit
def _apply(variables: Any, pictures: jax.Array) -> jax.Array:
    logits: Any = Classifier().apply(variables, pictures.astype(jnp.float32) / 127.5 - 1)
    return jax.nn.softmax(logits)
