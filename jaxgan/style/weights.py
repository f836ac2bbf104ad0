"""VGG's weights: those that ship with the package, and readers of the files that others publish.

A file's format is recognised by its first bytes, its network by its layers, and how it wants its pictures by where it
comes from; a file that fits nothing is refused.
"""

import hashlib
import io
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxgan.style import vgg
from jaxgan.support import download, torch_file
from jaxgan.support.errors import UserError, first_line
from jaxgan.support.torch_file import Arrays

OWN_SHA256 = "d680137d015eb4e2e90ab2560fb654d146581fc577cc0c7b9f0ee6f99868e99f"

_PUBLISHED: dict[str, vgg.Preprocessing] = {
    "397923af": "torchvision",  # VGG16
    "dcbb9e9d": "torchvision",  # VGG19
    "00b39a1b": "caffe",  # VGG16, as neural-style-pt fetches it
    "d01eb7cb": "caffe",  # VGG19
}
"""Beginnings of sha256 hashes, which are in the files' names."""
_MEND = (
    "download it again, or, where another program has saved it anew, say how its training showed pictures: "
    "--preprocessing torchvision (vgg16-397923af, vgg19-dcbb9e9d) or caffe (vgg16-00b39a1b, vgg19-d01eb7cb)"
)


def load(
    source: str | Path | None = None, console: Console | None = None, preprocessing: vgg.Preprocessing | None = None
) -> vgg.Network:
    """Reads the weights of a trunk.

    Args:
        source: a file or a URL of one: torchvision's `vgg16-397923af.pth` and `vgg19-dcbb9e9d.pth`, Keras's
            `vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5` and its fellow for VGG19 (which are Caffe's weights),
            safetensors or npz with `convB_C.kernel` (HWIO) and `convB_C.bias`. None: the VGG16 of the package.
        console: where the progress of a download is shown.
        preprocessing: how the training showed its pictures, for files that do not tell. Torch files are told by their
            hash: torchvision's, and Johnson's conversions of Caffe's, `vgg16-00b39a1b.pth` and `vgg19-d01eb7cb.pth`.
            Given, it is believed, and a hash in the file's name is not looked at.

    Raises:
        UserError: the file cannot be had or read, is not what it is named as, or holds no trunk of VGG16 or VGG19.
    """
    if source is None:
        data = (resources.files("jaxgan.support") / "assets" / "vgg" / "vgg16.safetensors").read_bytes()
        download.check_hash("vgg16.safetensors of the package", data, "sha256", OWN_SHA256)
        return _network("the package's weights", *_read_safetensors(data))
    name, data = download.read(source, console, check=preprocessing is None, mend=_MEND)
    return read(name, data, preprocessing)


def read(name: str, data: bytes, preprocessing: vgg.Preprocessing | None = None) -> vgg.Network:
    """The trunk in a file's bytes; `name` is for messages, for `preprocessing` see `load`."""
    try:
        if torch_file.is_torch(data):
            # The classifier, nine tenths of the file, is left out.
            arrays = _from_torch(torch_file.read(data, lambda name: name.startswith("features.")))
            found = preprocessing or _published(data)
            if found is None:
                # Trained otherwise, the same layers have other features of the same picture, and nothing would tell.
                raise UserError(
                    f"{name}: neither torchvision's own file nor a known one of Caffe's weights (sha256): say how its "
                    "training showed pictures: --preprocessing torchvision or --preprocessing caffe"
                )
        elif data.startswith(b"PK"):
            arrays, found = _read_npz(data)
        elif data.startswith(b"\x89HDF"):
            arrays, found = _read_keras(data)
        elif data[8:9] == b"{":
            arrays, found = _read_safetensors(data)
        else:
            raise UserError(f"{name}: not a file of weights; readable are .pth, .h5, .safetensors and .npz")
    except UserError:
        raise
    except Exception as error:  # The formats' readers raise nearly everything on damaged files.
        raise UserError(f"{name}: cannot be read as weights ({first_line(error)}); is it whole?") from error
    return _network(name, arrays, preprocessing or found)


def save(path: Path, network: vgg.Network) -> None:
    """Writes a trunk as safetensors, in float16."""
    from safetensors.numpy import save_file

    arrays = {
        f"{layer}.{kind}": np.asarray(value, np.float16)
        for layer, values in network.params.items()
        for kind, value in values.items()
    }
    save_file(arrays, path, {"preprocessing": network.module.preprocessing})


def _network(name: str, arrays: Arrays, preprocessing: str) -> vgg.Network:
    """Checks names, shapes and values, and makes the trunk."""
    layers = {key.rsplit(".", 1)[0] for key in arrays}
    wanted = {
        architecture: {f"conv{b}_{i}" for b, count in enumerate(blocks, 1) for i in range(1, count + 1)}
        for architecture, blocks in vgg.BLOCKS.items()
    }
    architecture = next((key for key, names in wanted.items() if names == layers), None)
    if architecture is None:
        shown = ", ".join(sorted(layers)[:4]) or "none"
        raise UserError(
            f"{name}: not the trunk of VGG16 or VGG19: expected 13 or 16 convolutions conv1_1 to conv5_3 or conv5_4, "
            f"found {len(layers)} layers ({shown}, ...); networks that were trained for one style are not read"
        )
    if preprocessing not in ("torchvision", "caffe"):
        raise UserError(f"{name}: preprocessing must be torchvision or caffe, not {preprocessing!r}")
    params: dict[str, dict[str, Any]] = {}
    channels = 3
    for layer in sorted(layers):
        width = vgg.WIDTHS[vgg.block_of(layer) - 1]
        params[layer] = {}
        for kind, shape in (("kernel", (3, 3, channels, width)), ("bias", (width,))):
            array = arrays.get(f"{layer}.{kind}")
            if array is None or array.shape != shape:
                found = "nothing" if array is None else list(array.shape)
                raise UserError(f"{name}: {layer}'s {kind}: expected {list(shape)}, found {found}")
            array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise UserError(f"{name}: {layer}'s {kind} holds a NaN or an infinity")
            params[layer][kind] = jnp.asarray(array)
        channels = width
    return vgg.Network(vgg.VGG(blocks=vgg.BLOCKS[architecture], preprocessing=preprocessing), params)


def _read_safetensors(data: bytes) -> tuple[Arrays, str]:
    from safetensors.numpy import load

    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return dict(load(data)), metadata.get("preprocessing", "torchvision")


def _read_npz(data: bytes) -> tuple[Arrays, str]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, str(arrays.pop("preprocessing", "torchvision"))


def _read_keras(data: bytes) -> tuple[Arrays, str]:
    """Keras's notop files: groups `block1_conv1` with one kernel (HWIO) and one bias somewhere inside."""
    try:
        import h5py
    except ImportError:
        raise UserError("a Keras .h5 file needs h5py: pip install 'jaxgan[keras]'") from None
    arrays: Arrays = {}

    def visit(path: str, item: Any) -> None:
        match = re.search(r"block(\d)_conv(\d)", path)
        if match and isinstance(item, h5py.Dataset):
            kind = "kernel" if item.ndim == 4 else "bias"
            arrays[f"conv{match[1]}_{match[2]}.{kind}"] = np.asarray(item)

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    return arrays, "caffe"


def _published(data: bytes) -> vgg.Preprocessing | None:
    """How the weights of a published torch file want their pictures; None: of any other."""
    found = hashlib.sha256(data).hexdigest()
    return next((kind for start, kind in _PUBLISHED.items() if found.startswith(start)), None)


def _from_torch(state: Arrays) -> Arrays:
    """From torchvision's names, features.N.weight (OIHW) and features.N.bias, to ours."""
    trunk = {key: value for key, value in state.items() if re.fullmatch(r"features\.\d+\.(weight|bias)", key)}
    arrays: Arrays = {}
    block, index, previous = 1, 0, -2
    for number in sorted({int(key.split(".")[1]) for key in trunk}):
        # A convolution and its ReLU take two numbers; a pooling between blocks takes one more.
        block, index = (block, index + 1) if number - previous == 2 else (block + 1, 1)
        previous = number
        for theirs, ours in (("weight", "kernel"), ("bias", "bias")):
            array = trunk.get(f"features.{number}.{theirs}")
            if array is not None:
                arrays[f"conv{block}_{index}.{ours}"] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    return arrays
