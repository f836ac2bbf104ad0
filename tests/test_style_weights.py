import collections
import hashlib
import http.server
import io
import pickle
import sys
import threading
import types
import zipfile

import numpy as np
import pytest
import record_style
from safetensors.numpy import save_file

from jaxgan.style import vgg, weights
from jaxgan.support import download, torch_file
from jaxgan.support.errors import UserError


@pytest.fixture(scope="module")
def arrays():
    return {name: array.astype(np.float16) for name, array in record_style.random_arrays("VGG16").items()}


def check(network, arrays, preprocessing="torchvision"):
    assert network.module.preprocessing == preprocessing
    assert {f"{layer}.{kind}" for layer, kinds in network.params.items() for kind in kinds} == set(arrays)
    for name, array in arrays.items():
        layer, kind = name.split(".")
        np.testing.assert_array_equal(network.params[layer][kind], array.astype(np.float32))


def torchvision_state(arrays):
    """torchvision's names and order of dimensions."""
    state, number, block = collections.OrderedDict(), 0, "1"
    for name in [name for name in arrays if name.endswith("kernel")]:
        number, block = number + (name[4] != block), name[4]  # a pooling stands between blocks
        state[f"features.{number}.weight"] = arrays[name].transpose(3, 2, 0, 1)
        state[f"features.{number}.bias"] = arrays[name.replace("kernel", "bias")]
        number += 2
    return state


class Tensor:
    """Pickles as PyTorch's tensors do."""

    def __init__(self, key, array):
        self.key, self.array = key, np.ascontiguousarray(array)

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        return rebuild, (Storage(self), 0, self.array.shape, strides, False, collections.OrderedDict())


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def __init__(self, file, tail):
        super().__init__(file, protocol=2)
        self.tail = tail

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            kind = sys.modules["torch"].HalfStorage
            return ("storage", kind, obj.tensor.key, "cpu", obj.tensor.array.size, *self.tail)
        return None


@pytest.fixture
def torch_names(monkeypatch):
    """The names that PyTorch's files refer to, without PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("executed")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    torch.HalfStorage = type("HalfStorage", (), {"__module__": "torch"})  # pyright: ignore[reportAttributeAccessIssue]
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # pyright: ignore[reportAttributeAccessIssue]
    torch._utils = utils  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def zip_bytes(state):
    tensors = collections.OrderedDict((k, Tensor(str(i), v)) for i, (k, v) in enumerate(state.items()))
    file, index = io.BytesIO(), io.BytesIO()
    Pickler(index, ()).dump(tensors)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("vgg16/data.pkl", index.getvalue())
        for tensor in tensors.values():
            archive.writestr(f"vgg16/data/{tensor.key}", tensor.array.tobytes())
    return file.getvalue()


def legacy_bytes(state):
    tensors = collections.OrderedDict((k, Tensor(str(i), v)) for i, (k, v) in enumerate(state.items()))
    file = io.BytesIO()
    for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(header, file, protocol=2)
    Pickler(file, (None,)).dump(tensors)
    pickle.dump([tensor.key for tensor in tensors.values()], file, protocol=2)
    for tensor in tensors.values():
        file.write(tensor.array.size.to_bytes(8, "little") + tensor.array.tobytes())
    return file.getvalue()


def test_the_packages_weights():
    network = weights.load()
    assert network.module.blocks == vgg.BLOCKS["VGG16"]
    kernel = network.params["conv1_1"]["kernel"]
    np.testing.assert_allclose(kernel[0, :3, 0, 0], [-0.5537, 0.1427, 0.5290], atol=1e-3)  # as torchvision's


def test_the_formats_of_pytorch(arrays, tmp_path, torch_names):
    state = torchvision_state(arrays) | {"classifier.0.weight": np.zeros((2, 2), np.float16)}
    for name, data in (("zip.pth", zip_bytes(state)), ("legacy.pth", legacy_bytes(state))):
        (tmp_path / name).write_bytes(data)
        check(weights.load(tmp_path / name, preprocessing="torchvision"), arrays)
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(UserError, match=rf"{name}: cannot be read as weights"):
            weights.load(tmp_path / name)


def test_caffes_weights_are_never_read_as_torchvisions(arrays, tmp_path, torch_names, monkeypatch):
    data = zip_bytes(torchvision_state(arrays))
    (tmp_path / "mine.pth").write_bytes(data)
    unknown = r"mine.pth: neither torchvision's own file nor a known one of Caffe's.*--preprocessing torchvision or"
    with pytest.raises(UserError, match=unknown):
        weights.load(tmp_path / "mine.pth")
    check(weights.load(tmp_path / "mine.pth", preprocessing="caffe"), arrays, "caffe")
    # Saved anew, as neural-style-pt's downloader does: the name tells of another file.
    for name in ("vgg16-00b39a1b.pth", "vgg16-397923af.pth"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}: .*another program has saved it anew.*--preprocessing") as error:
            weights.load(tmp_path / name)
        assert "\n" not in str(error.value)
        check(weights.load(tmp_path / name, preprocessing="caffe"), arrays, "caffe")
    # The published files are known by their hashes, whatever they are called.
    for kind in ("caffe", "torchvision"):
        monkeypatch.setattr(weights, "_PUBLISHED", {hashlib.sha256(data).hexdigest()[:8]: kind})
        check(weights.load(tmp_path / "mine.pth"), arrays, kind)


def test_npz_safetensors_and_keras(arrays, tmp_path):
    import h5py

    np.savez(tmp_path / "a.npz", **arrays)
    check(weights.load(tmp_path / "a.npz"), arrays)
    save_file(arrays, tmp_path / "a.safetensors", {"preprocessing": "caffe"})
    check(weights.load(tmp_path / "a.safetensors"), arrays, "caffe")
    weights.save(tmp_path / "b.safetensors", weights.load(tmp_path / "a.npz"))
    check(weights.load(tmp_path / "b.safetensors"), arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in arrays.items():
            layer = f"block{name[4]}_conv{name[6]}"
            kind = "W" if array.ndim == 4 else "b"
            file.create_dataset(f"{layer}/{layer}_{kind}_1:0", data=array)
    check(weights.load(tmp_path / "a.h5"), arrays, "caffe")


@pytest.mark.usefixtures("torch_names")
def test_dictionaries_in_a_dictionary_are_read_by_names_with_dots():
    value = np.arange(6, dtype=np.float16).reshape(2, 3)
    index, file = io.BytesIO(), io.BytesIO()
    Pickler(index, ()).dump({"G_ema": {"mapping.weight": Tensor("0", value)}, "step": 7})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("both/data.pkl", index.getvalue())
        archive.writestr("both/data/0", value.tobytes())
    found = torch_file.read(file.getvalue())
    assert list(found) == ["G_ema.mapping.weight"]
    np.testing.assert_array_equal(found["G_ema.mapping.weight"], value)


def test_no_pickle_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (type(tmp_path).touch, (tmp_path / "executed",))

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("vgg16/data.pkl", pickle.dumps({"features.0.weight": Bomb()}))
    with pytest.raises(UserError, match="refused to load"):
        weights.read("bomb.pth", file.getvalue())
    assert not (tmp_path / "executed").exists()


def test_what_is_not_vgg_is_refused(arrays, tmp_path):
    def refused(match, changed, name="a.npz"):
        np.savez(tmp_path / name, **changed)
        with pytest.raises(UserError, match=match):
            weights.load(tmp_path / name)

    few = {name: arrays[name] for name in ("conv1_1.kernel", "conv1_1.bias")}
    refused(r"a.npz: not the trunk of VGG16 or VGG19: expected 13 or 16 .* found 1 layers \(conv1_1", few)
    bad = arrays | {"conv2_1.kernel": arrays["conv2_2.kernel"]}
    refused(r"conv2_1's kernel: expected \[3, 3, 64, 128\], found \[3, 3, 128, 128\]", bad)
    refused("conv1_1's bias holds a NaN", arrays | {"conv1_1.bias": np.full(64, np.nan)})
    (tmp_path / "text.pth").write_text("hello there")
    with pytest.raises(UserError, match=r"text.pth: not a file of weights"):
        weights.load(tmp_path / "text.pth")
    with pytest.raises(UserError, match=r"absent.pth: cannot be read: No such file"):
        weights.load(tmp_path / "absent.pth")
    for name, expected in (
        ("vgg16-397923af.pth", "sha256 expected 397923af, found"),
        ("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5 expected 6d6bbae143d832006294945121d1f1fc, found"),
    ):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(UserError, match=rf"{name}: wrong or cut short: {expected}"):
            weights.load(tmp_path / name)


class Server(http.server.ThreadingHTTPServer):
    """Serves `data`; breaks off after half, as often as `failures` says; can ignore ranges."""

    data, failures, ranges, garbage = b"", 0, True, False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self):
        wanted = self.headers["Range"]
        self.server.requests.append(wanted)
        if self.server.garbage:
            self.wfile.write(b"no answer\r\n\r\n")
            return
        if "absent" in self.path:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        body = self.server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.failures:
            self.server.failures -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    server = Server()
    server.data = np.random.default_rng(0).bytes(3_000_000)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_download_goes_on_where_the_server_failed(server, ranges, tmp_path):
    server.failures, server.ranges = 2, ranges
    url = f"http://127.0.0.1:{server.server_port}/vgg.npz"
    path = download.download(url, tmp_path)
    assert path.read_bytes() == server.data
    assert server.requests == [None, "bytes=1500000-", "bytes=2250000-" if ranges else "bytes=1500000-"]
    assert download.download(url, tmp_path) == path
    assert len(server.requests) == 3


def test_download_that_fails_for_good_says_how_far_it_came_and_resumes(server, tmp_path):
    server.failures = 4
    url = f"http://127.0.0.1:{server.server_port}/vgg.npz"
    with pytest.raises(UserError, match=r"not downloaded: the connection ended after 2,812,500 bytes"):
        download.download(url, tmp_path)
    found = download.download(url, tmp_path).read_bytes()
    assert hashlib.sha256(found).digest() == hashlib.sha256(server.data).digest()
    with pytest.raises(UserError, match=r"absent.npz: not downloaded: the server says 404"):
        download.download(url.replace("vgg", "absent"), tmp_path)
    with pytest.raises(UserError, match=r"not downloaded: .*refused"):
        download.download("http://127.0.0.1:9/vgg.npz", tmp_path)
    server.garbage = True
    with pytest.raises(UserError, match=r"other.npz: not downloaded: no answer"):
        download.download(url.replace("vgg", "other"), tmp_path)


def test_weights_from_a_url(server, arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = io.BytesIO()
    np.savez(file, **arrays)
    server.data, server.failures = file.getvalue(), 1
    check(weights.load(f"http://127.0.0.1:{server.server_port}/vgg16.npz"), arrays)
