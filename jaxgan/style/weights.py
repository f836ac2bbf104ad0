"""VGG's weights: those that ship with the package, and readers of the files that others publish.

A file's format is recognised by its first bytes, its network by its layers, and how it wants its pictures by where it
comes from; a file that fits nothing is refused. No pickle is executed: PyTorch's files are read by an unpickler that
knows tensors and nothing else.
"""

import collections
import hashlib
import io
import json
import pickle
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from jaxgan.style import vgg
from jaxgan.support import cache
from jaxgan.support.console import open_console
from jaxgan.support.errors import UserError

_OWN_SHA256 = "d680137d015eb4e2e90ab2560fb654d146581fc577cc0c7b9f0ee6f99868e99f"
_MD5 = {  # Keras publishes these beside its files.
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5": "6d6bbae143d832006294945121d1f1fc",
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5": "253f8cb515780f3b799900260a226db6",
}
_ATTEMPTS = 4
_CHUNK = 1 << 18

Arrays = dict[str, np.ndarray]


def load(source: str | Path | None = None, console: Console | None = None) -> vgg.Network:
    """Reads the weights of a trunk.

    Args:
        source: a file or a URL of one: torchvision's `vgg16-397923af.pth` and `vgg19-dcbb9e9d.pth`, Keras's
            `vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5` and its fellow for VGG19 (which are Caffe's weights),
            safetensors or npz with `convB_C.kernel` (HWIO) and `convB_C.bias`. None: the VGG16 of the package.
        console: where the progress of a download is shown.

    Raises:
        UserError: the file cannot be had or read, is not what it is named as, or holds no trunk of VGG16 or VGG19.
    """
    if source is None:
        data = (resources.files("jaxgan.support") / "assets" / "vgg" / "vgg16.safetensors").read_bytes()
        check_hash("vgg16.safetensors of the package", data, "sha256", _OWN_SHA256)
        return _network("the package's weights", *_read_safetensors(data))
    url = str(source)
    path = download(url, console=console) if re.match(r"https?://", url) else Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    _check_published_hash(path, data)
    return read(path.name, data)


def read(name: str, data: bytes) -> vgg.Network:
    """The trunk in a file's bytes; `name` is for messages."""
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                torch = any(member.endswith("/data.pkl") for member in archive.namelist())
            arrays, preprocessing = _read_torch_zip(data) if torch else _read_npz(data)
        elif data.startswith(b"\x89HDF"):
            arrays, preprocessing = _read_keras(data)
        elif data.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF"):
            arrays, preprocessing = _read_torch_legacy(data)
        elif data[8:9] == b"{":
            arrays, preprocessing = _read_safetensors(data)
        else:
            raise UserError(f"{name}: not a file of weights; readable are .pth, .h5, .safetensors and .npz")
    except UserError:
        raise
    except Exception as error:  # The formats' readers raise nearly everything on damaged files.
        raise UserError(f"{name}: cannot be read as weights ({_first_line(error)}); is it whole?") from error
    return _network(name, arrays, preprocessing)


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be made: {error.strerror}") from None
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
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            problem = str(getattr(error, "reason", error))
        except OSError as error:
            raise UserError(f"{partial}: cannot be written: {error.strerror or error}") from None
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
            f"found {len(layers)} layers ({shown}, ...)"
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


def _from_torch(state: Any) -> tuple[Arrays, str]:
    """From torchvision's names, features.N.weight (OIHW) and features.N.bias, to ours; the classifier is left out."""
    if not isinstance(state, dict):
        raise ValueError(f"holds no dictionary of tensors but {type(state).__name__}")
    trunk = {key: value for key, value in state.items() if re.fullmatch(r"features\.\d+\.(weight|bias)", str(key))}
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
    return arrays, "torchvision"


class _Storage(NamedTuple):
    """A torch storage that a pickle refers to."""

    dtype: np.dtype
    key: str
    size: int


class _Lazy(NamedTuple):
    """A torch tensor, before its storage is read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        whole = storages[self.storage.key]
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.strides, *self.shape, 0) < 0 or last >= whole.size:
            raise ValueError("a tensor reaches beyond its storage")
        steps = [step * whole.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(whole[self.offset :], self.shape, steps, writeable=False)


_DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
}


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries of tensors; refuses everything else, so nothing in a file can run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Lazy(storage, offset, tuple(shape), tuple(strides))
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"refused to load {module}.{name}: only tensors are read")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        return _Storage(dtype, str(key), int(size))


def _read_torch_zip(data: bytes) -> tuple[Arrays, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        prefix = index.removesuffix("data.pkl")
        state = _Unpickler(io.BytesIO(archive.read(index))).load()
        tensors = {key: value for key, value in state.items() if isinstance(value, _Lazy)}
        # The classifier's storages, nine tenths of the file, stay packed.
        tensors = {key: value for key, value in tensors.items() if str(key).startswith("features.")}
        storages = {
            tensor.storage.key: np.frombuffer(archive.read(f"{prefix}data/{tensor.storage.key}"), tensor.storage.dtype)
            for tensor in tensors.values()
        }
    return _from_torch({key: tensor.read(storages) for key, tensor in tensors.items()})


def _read_torch_legacy(data: bytes) -> tuple[Arrays, str]:
    """The format before PyTorch 1.6: five pickles (magic, version, system, state, keys), then each storage."""
    file = io.BytesIO(data)
    for _ in range(3):
        _Unpickler(file).load()
    state = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    tensors = {key: value for key, value in state.items() if isinstance(value, _Lazy)}
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages: dict[str, np.ndarray] = {}
    for key in map(str, keys):
        count = int.from_bytes(file.read(8), "little")
        size = count * dtypes[key].itemsize
        raw = file.read(size)
        if len(raw) < size:
            raise ValueError(f"cut short: expected {size:,} bytes of a tensor, found {len(raw):,}")
        storages[key] = np.frombuffer(raw, dtypes[key])
    return _from_torch({key: tensor.read(storages) for key, tensor in tensors.items()})


def _check_published_hash(path: Path, data: bytes) -> None:
    """Checks a file whose name says its hash (`vgg16-397923af.pth`) or whose publisher does."""
    if path.name in _MD5:
        check_hash(str(path), data, "md5", _MD5[path.name])
    elif match := re.search(r"-([0-9a-f]{8,64})\.\w+$", path.name):
        check_hash(str(path), data, "sha256", match[1])


def check_hash(name: str, data: bytes, kind: str, expected: str, mend: str = "delete it and download it again") -> None:
    """Refuses the bytes of a file whose hash of a kind does not begin as expected; `mend` says what to do."""
    found = hashlib.new(kind, data, usedforsecurity=False).hexdigest()[: len(expected)]
    if found != expected:
        raise UserError(
            f"{name}: wrong or cut short: {kind} expected {expected}, found {found} ({len(data):,} bytes); {mend}"
        )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
