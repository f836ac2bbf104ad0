"""Records what other implementations compute, for tests that run without them: `python tests/record_metrics.py DINOV2`.

Needs PyTorch, torch-fidelity, and a checkout of facebookresearch/dinov2 in the folder DINOV2; writes tests/data. Inputs
and weights are random and made again by the tests.
"""

import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from jaxgan.evaluate.networks import dinov2, inception, lite0

DATA = Path(__file__).parent / "data" / "metrics.npz"
NEIGHBOURS, SUBSET, SPLITS = 3, 100, 5


def features() -> tuple[np.ndarray, np.ndarray]:
    """Features of samples [400, 24] and of real pictures [350, 24]."""
    random = np.random.RandomState(0)
    turn = random.standard_normal((24, 24))
    real = random.standard_normal((350, 24)) @ turn
    return (random.standard_normal((400, 24)) @ (0.8 * turn) + 0.3).astype(np.float32), real.astype(np.float32)


def logits() -> np.ndarray:
    """Logits [300, 20]."""
    return (3 * np.random.RandomState(1).standard_normal((300, 20))).astype(np.float32)


def pictures(side: int) -> np.ndarray:
    """Pictures uint8 [2, side, side + 9, 3], of waves and noise."""
    random = np.random.RandomState(2)
    y, x = np.mgrid[:side, : side + 9] / 9
    waves = np.stack([np.sin(a * x + b * y) for a, b in random.uniform(-1, 1, (6, 2))], axis=-1)
    waves = waves.reshape(side, side + 9, 2, 3).transpose(2, 0, 1, 3)
    return np.clip(127 + 90 * waves + 25 * random.standard_normal(waves.shape), 0, 255).astype(np.uint8)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors of some names and shapes, float32, at which signals neither grow nor vanish."""
    found = {}
    for name, shape in shapes.items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        kind = name.replace("/", ".").rsplit(".", 1)[-1]
        if kind in ("running_var", "gamma") or (kind == "weight" and len(shape) == 1):
            value = random.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            value = 0.1 * random.standard_normal(shape)
        elif kind == "kernel":  # HWIO.
            value = random.standard_normal(shape, np.float32) * (2 / np.prod(shape[:-1])) ** 0.5
        elif kind == "weight":
            value = random.standard_normal(shape, np.float32) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            value = 0.2 * random.standard_normal(shape, np.float32)
        found[name] = value.astype(np.float32)
    return found


def small_dinov2() -> dict[str, np.ndarray]:
    """The weights of a transformer of two heads and two blocks."""
    return weights(dinov2.shapes(128, 2))


def main() -> None:
    import torch

    # What torch-fidelity imports of torchvision is not used here.
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules.setdefault(name, mock.MagicMock())
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    recorded = measures() | resizes() | inceptions() | dinov2s(sys.argv[1]) | lite0s()
    np.savez_compressed(DATA, **recorded)
    for name, value in recorded.items():
        print(name, np.shape(value), np.ravel(value)[:3])
    print(DATA.stat().st_size)


def measures() -> dict[str, Any]:
    import torch
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    samples, real = map(torch.from_numpy, features())
    first, second = map(metric_fid.fid_features_to_statistics, (samples.double(), real.double()))
    keywords = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    kernel = [x[:SUBSET].double().numpy() for x in (samples, real)]
    found = metric_prc.prc_features_to_metric(
        samples.double(),
        real.double(),
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=10_000,
        save_cpu_ram=False,
        verbose=False,
    )
    score = metric_isc.isc_features_to_metric(torch.from_numpy(logits()), SPLITS, shuffle=False)
    return {
        "frechet": metric_fid.fid_statistics_to_metric(first, second, False)["frechet_inception_distance"],
        "kernel": metric_kid.kernel_mmd(*kernel, **keywords, kid_kernel_poly_coef0=1),
        "precision": found["precision"],
        "recall": found["recall"],
        "inception_score": score["inception_score_mean"],
        "inception_score_spread": score["inception_score_std"],
    }


def resizes() -> dict[str, Any]:
    import torch
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    found = {}
    for side in (40, 130):
        x = torch.from_numpy(pictures(side)).permute(0, 3, 1, 2).float()
        theirs = interpolate_bilinear_2d_like_tensorflow1x(x, (75, 75), align_corners=False)
        found[f"legacy_tensorflow_{side}"] = theirs
        found[f"legacy_pytorch_{side}"] = torch.nn.functional.interpolate(x, (75, 75), mode="bilinear")
    return {name: value.permute(0, 2, 3, 1).numpy()[:, ::5, ::5] for name, value in found.items()}


def inceptions() -> dict[str, Any]:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = {name: torch.from_numpy(value) for name, value in weights(inception.shapes()).items()}
    state["fc.bias"] = torch.ones(inception.CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, f"{folder}/weights.pth")
        # Counters of batches, which the file has and nothing uses, are not made up here.
        original = torch.nn.Module.load_state_dict
        torch.nn.Module.load_state_dict = lambda self, state: original(self, state, strict=False)  # pyright: ignore
        network = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], f"{folder}/weights.pth")
        torch.nn.Module.load_state_dict = original
    pool, logit = network(torch.from_numpy(pictures(64)).permute(0, 3, 1, 2))
    return {"inception": pool.numpy(), "inception_logits": logit.numpy()}


def dinov2s(checkout: str) -> dict[str, Any]:
    import torch

    sys.path.insert(0, checkout)
    from functools import partial

    from dinov2.layers import MemEffAttention, NestedTensorBlock  # pyright: ignore[reportMissingImports]
    from dinov2.models.vision_transformer import DinoVisionTransformer  # pyright: ignore[reportMissingImports]

    network = DinoVisionTransformer(
        img_size=518,
        patch_size=14,
        embed_dim=128,
        depth=2,
        num_heads=2,
        init_values=1.0,
        block_chunks=0,
        block_fn=partial(NestedTensorBlock, attn_class=MemEffAttention),
    )
    network.load_state_dict({n: torch.from_numpy(v) for n, v in small_dinov2().items()}, strict=False)
    x = torch.from_numpy(pictures(224))[:, :, :224].permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = network.eval().forward_features((x - mean) / std)
    return {
        "dinov2": found["x_norm_clstoken"].numpy(),
        "dinov2_patches": found["x_norm_patchtokens"].mean(dim=1).numpy(),
    }


def lite0s() -> dict[str, Any]:
    import torch
    from torch.nn.functional import conv2d, pad, relu6

    state = {name: torch.from_numpy(value) for name, value in weights(lite0.shapes()).items()}

    def apply(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        kernel = state[f"{name}/kernel"].permute(3, 2, 0, 1)
        side, groups = kernel.shape[2], x.shape[1] if name.endswith("depth") else 1
        for size, axis in zip(x.shape[2:], (2, 3), strict=True):
            total = max((-(-size // stride) - 1) * stride + side - size, 0)
            edges = [total // 2, total - total // 2]
            x = pad(x, [0, 0, *edges] if axis == 2 else [*edges, 0, 0])
        return conv2d(x, kernel, state[f"{name}/bias"], stride, groups=groups)

    x = torch.from_numpy(pictures(64)).permute(0, 3, 1, 2) / 127.5 - 1
    x = relu6(apply(x, "stem", 2))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    found = {}
    for index, stride in enumerate(strides):
        y = relu6(apply(x, f"b{index}/expand")) if index else x
        y = apply(relu6(apply(y, f"b{index}/depth", stride)), f"b{index}/project")
        x = x + y if stride == 1 and x.shape == y.shape else y
        if index in (2, 4, 10, 15):
            found[f"lite0_block{index}"] = x.mean(dim=(2, 3)).numpy()
    return found


if __name__ == "__main__":
    main()
