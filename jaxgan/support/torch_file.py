"""Reads the tensors of PyTorch's files without PyTorch, and without executing what a pickle says.

They are read by an unpickler that knows tensors, options of a command line (which are left out), and nothing else.
"""

import collections
import io
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

Arrays = dict[str, np.ndarray]
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF"


def is_torch(data: bytes) -> bool:
    """Whether a file's bytes begin as PyTorch's files do, of either format."""
    if not data.startswith(b"PK"):
        return data.startswith(_LEGACY)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return any(member.endswith("/data.pkl") for member in archive.namelist())


def read(data: bytes, wanted: Callable[[str], bool] = lambda name: True) -> Arrays:
    """The tensors of a state dictionary that `torch.save` wrote, by their names.

    Args:
        data: the file's bytes, in the format since PyTorch 1.6 (a zip file) or the one before.
        wanted: which of them are read; in a zip file the others stay packed.

    Raises:
        Exception: of any kind, where the file is damaged or is something else; `pickle.UnpicklingError` where it refers
            to anything but tensors.
    """
    return (_read_legacy if data.startswith(_LEGACY) else _read_zip)(data, wanted)


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


class _Options:
    """Takes the place of an argparse.Namespace, which many checkpoints hold."""


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries of tensors; refuses everything else, so nothing in a file can run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Lazy(storage, offset, tuple(shape), tuple(strides))
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        if (module, name) == ("argparse", "Namespace"):
            return _Options
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"refused to load {module}.{name}: only tensors are read")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        return _Storage(dtype, str(key), int(size))


def _tensors(state: Any, wanted: Callable[[str], bool], prefix: str = "") -> dict[str, _Lazy]:
    """Those of a dictionary, and of dictionaries in it, whose names their own follow after a dot."""
    if not isinstance(state, dict):
        raise ValueError(f"holds no dictionary of tensors but {type(state).__name__}")
    found: dict[str, _Lazy] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            found |= _tensors(value, wanted, f"{prefix}{name}.")
        elif isinstance(value, _Lazy) and wanted(f"{prefix}{name}"):
            found[f"{prefix}{name}"] = value
    return found


def _read_zip(data: bytes, wanted: Callable[[str], bool]) -> Arrays:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        prefix = index.removesuffix("data.pkl")
        tensors = _tensors(_Unpickler(io.BytesIO(archive.read(index))).load(), wanted)
        storages = {
            tensor.storage.key: np.frombuffer(archive.read(f"{prefix}data/{tensor.storage.key}"), tensor.storage.dtype)
            for tensor in tensors.values()
        }
    return {name: tensor.read(storages) for name, tensor in tensors.items()}


def _read_legacy(data: bytes, wanted: Callable[[str], bool]) -> Arrays:
    """The format before PyTorch 1.6: five pickles (magic, version, system, state, keys), then each storage."""
    file = io.BytesIO(data)
    for _ in range(3):
        _Unpickler(file).load()
    everything = _tensors(_Unpickler(file).load(), lambda name: True)
    keys = _Unpickler(file).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in everything.values()}
    storages: dict[str, np.ndarray] = {}
    for key in map(str, keys):
        count = int.from_bytes(file.read(8), "little")
        size = count * dtypes[key].itemsize
        raw = file.read(size)
        if len(raw) < size:
            raise ValueError(f"cut short: expected {size:,} bytes of a tensor, found {len(raw):,}")
        storages[key] = np.frombuffer(raw, dtypes[key])
    return {name: tensor.read(storages) for name, tensor in everything.items() if wanted(name)}
