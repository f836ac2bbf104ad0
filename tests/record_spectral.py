"""Records PyTorch's spectral normalisation of a dense and of a convolutional layer: tests/data/spectral.npz.

    launch/local.sh python tests/record_spectral.py     (needs the extra `bench`)

Two calls in training, each with one power iteration. Kernels are stored as Flax has them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.parametrizations import spectral_norm

CALLS = 2


def record(layer: Any, flax_axes: tuple[int, ...]) -> dict[str, np.ndarray]:
    kernel = layer.weight.detach().clone()
    layer = spectral_norm(layer)
    parametrization = layer.parametrizations.weight[0]
    recorded = {"kernel": kernel.permute(flax_axes).numpy(), "right": np.zeros(0)}
    # From a start that is far from the singular vectors, so that each iteration shows.
    right = torch.randn(parametrization._v.shape)
    parametrization._v.copy_(right / right.norm())
    order = [axis - 1 for axis in flax_axes[:-1]] if len(flax_axes) == 4 else [0]
    shape = kernel.shape[1:]
    recorded["right"] = parametrization._v.clone().reshape(shape).permute(order).reshape(-1).numpy()
    normalised = [layer.weight for _ in range(CALLS)][-1]
    weights = torch.linspace(-1, 1, kernel.numel()).reshape(kernel.shape)
    (normalised * weights).sum().backward()
    recorded["normalised"] = normalised.detach().permute(flax_axes).numpy()
    recorded["gradient"] = layer.parametrizations.weight.original.grad.permute(flax_axes).numpy()
    recorded["weights"] = weights.permute(flax_axes).numpy()
    return recorded


def main() -> None:
    torch.manual_seed(0)
    arrays = {}
    for name, layer, axes in (
        ("dense", torch.nn.Linear(7, 5), (1, 0)),
        ("conv", torch.nn.Conv2d(3, 4, 2), (2, 3, 1, 0)),
    ):
        arrays |= {f"{name}/{key}": np.ascontiguousarray(value) for key, value in record(layer, axes).items()}
    np.savez(Path(__file__).with_name("data") / "spectral.npz", **arrays)


if __name__ == "__main__":
    main()
