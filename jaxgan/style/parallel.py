"""Style transfer on several devices: a batch of pictures, or the rows of one large picture."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.style import transfer, vgg
from jaxgan.support.errors import UserError

Devices = Sequence[Any]
"""Such as `jax.devices()`."""


def split_rows(options: transfer.Options, devices: Devices) -> transfer.Options:
    """Options that split the rows of the picture, and all that is computed of it, over devices.

    The compiler exchanges the rows that a convolution needs of its neighbours. The height at every stage must be a
    multiple of the number of devices.
    """
    return dataclasses.replace(options, rows=NamedSharding(_mesh(devices), PartitionSpec("device")))


def stylize_batch(
    network: vgg.Network,
    contents: jax.Array,
    styles: Sequence[jax.Array],
    options: transfer.Options,
    key: jax.Array,
    devices: Devices,
) -> tuple[jax.Array, transfer.History]:
    """`transfer.stylize` for a batch of contents [N, H, W, 3], dealt out to devices; one program.

    Picture i starts from the i-th of `jax.random.split(key, N)`.

    Returns:
        Pictures [N, H, W, 3], losses [N, iterations].

    Raises:
        UserError: N is not a multiple of the number of devices.
    """
    if len(contents) % len(devices):
        raise UserError(f"contents: {len(contents)} pictures do not go evenly on {len(devices)} devices")
    mesh = _mesh(devices)
    split, same = NamedSharding(mesh, PartitionSpec("device")), NamedSharding(mesh, PartitionSpec())

    def one(network, content, styles, options, key):
        return transfer.stylize(network, content, styles, options, key)

    every = jax.vmap(one, in_axes=(None, 0, None, None, 0))
    keys = jax.random.split(key, len(contents))
    run = jax.jit(every, in_shardings=(same, split, same, same, split), out_shardings=split)
    return run(network, contents, tuple(styles), options, keys)


def _mesh(devices: Devices) -> Mesh:
    return Mesh(np.array(devices), ("device",), axis_types=(AxisType.Auto,))
