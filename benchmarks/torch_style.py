"""Style transfer in PyTorch as a user of PyTorch would write it: what jaxgan is compared with.

Gatys et al. as published, with means for sums so that losses are comparable: VGG16, content at relu4_2, style at
relu1_1 to relu5_1, Adam on the pixels, clamped to 0..1. Or, with the Wasserstein distance of Gaussians for Gram
matrices, weights of layers, and edges replicated.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG(nn.Module):
    """The trunk of torchvision's VGG16 or VGG19, with arrays `convB_C.kernel` (HWIO) and `convB_C.bias`."""

    def __init__(self, arrays: dict[str, np.ndarray], layers: Sequence[str], padding: str = "zeros") -> None:
        super().__init__()
        self.layers = set(layers)
        self.steps: list[tuple[str, nn.Module]] = []
        names = sorted({name.split(".")[0] for name in arrays})
        for index, name in enumerate(names):
            if index and name[4] != names[index - 1][4]:
                self.steps.append((f"pool{names[index - 1][4]}", nn.MaxPool2d(2)))
            kernel = torch.as_tensor(arrays[f"{name}.kernel"].astype(np.float32).transpose(3, 2, 0, 1).copy())
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1, padding_mode=padding)
            conv.weight.data = kernel.contiguous(memory_format=torch.channels_last)
            conv.bias = nn.Parameter(torch.as_tensor(arrays[f"{name}.bias"].astype(np.float32)))
            self.steps += [(name, conv), (name.replace("conv", "relu"), nn.ReLU())]
        last = max(index for index, (name, _) in enumerate(self.steps) if name in self.layers)
        self.steps = self.steps[: last + 1]
        self.net = nn.Sequential(*(module for _, module in self.steps)).requires_grad_(False)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of pictures [N, 3, H, W] in 0..1."""
        x = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        found = {}
        for name, module in self.steps:
            x = module(x)
            if name in self.layers:
                found[name] = x
        return found


STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT = "relu4_2"


def gram(x: torch.Tensor) -> torch.Tensor:
    flat = x[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


class TraceOfRoot(torch.autograd.Function):
    """Trace of the square root of a positive semidefinite matrix, by Newton and Schulz's coupled iteration."""

    @staticmethod
    def forward(ctx, matrix: torch.Tensor) -> torch.Tensor:
        eye, norm = torch.eye(len(matrix)), matrix.norm() + 1e-20
        root, inverse = matrix / norm, eye
        for _ in range(15):
            change = 1.5 * eye - 0.5 * inverse @ root
            root, inverse = root @ change, change @ inverse
        ctx.save_for_backward(inverse / norm.sqrt())
        return root.trace() * norm.sqrt()

    @staticmethod
    def backward(ctx, g: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g / 2 * ctx.saved_tensors[0]


def gaussian(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = x[0].flatten(1).mean(1)
    return mean, gram(x) - torch.outer(mean, mean)


class Wasserstein:
    """Squared Wasserstein-2 distance from a style's features, as Gaussians."""

    def __init__(self, features: torch.Tensor) -> None:
        self.mean, covariance = gaussian(features)
        values, vectors = torch.linalg.eigh(covariance)
        self.root, self.trace = (vectors * values.clamp(min=0).sqrt()) @ vectors.T, covariance.trace()
        self.zero = self.mean.square().sum() + self.trace

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        mean, covariance = gaussian(features)
        between = self.root @ covariance @ self.root
        cross = TraceOfRoot.apply((between + between.T) / 2)
        return (mean - self.mean).square().sum() + covariance.trace() + self.trace - 2 * cross  # pyright: ignore[reportOperatorIssue]


class Gram:
    """Squared difference from a style's Gram matrix."""

    def __init__(self, features: torch.Tensor) -> None:
        self.gram = gram(features)
        self.zero = self.gram.square().sum() / (4 * len(self.gram) ** 2)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return (gram(features) - self.gram).square().sum() / (4 * len(self.gram) ** 2)


class Gatys:
    """The optimisation; `step` does one iteration and returns its losses (content, style, total variation)."""

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        content: np.ndarray,
        style: np.ndarray,
        weights: tuple[float, float, float],
        relative: bool = False,
        layers: Mapping[str, float] = MappingProxyType(dict.fromkeys(STYLE, 1.0)),
        style_loss: str = "gram",
        padding: str = "zeros",
    ) -> None:
        """Pictures [H, W, 3] in 0..1; relative: divide each layer's loss by that of features which are all zero."""
        self.network, self.weights = VGG(arrays, (*layers, CONTENT), padding), weights
        self.layers = {name: weight / sum(layers.values()) for name, weight in layers.items()}
        start, other = (
            torch.as_tensor(x.transpose(2, 0, 1)[None].copy()).contiguous(memory_format=torch.channels_last)
            for x in (content, style)
        )
        with torch.no_grad():
            self.goal = self.network(start)[CONTENT]
            features = self.network(other)
            kind = {"gram": Gram, "wasserstein": Wasserstein}[style_loss]
            self.goals = {name: kind(features[name]) for name in layers}
            self.scales = {name: goal.zero if relative else torch.tensor(1.0) for name, goal in self.goals.items()}
            self.content_scale = self.goal.square().mean() / 2 if relative else torch.tensor(1.0)
        self.image = start.clone(memory_format=torch.preserve_format).requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.image], 0.02, (0.9, 0.99))

    def begin(self, picture: np.ndarray) -> None:
        """Goes on from a picture [H, W, 3] instead of the content."""
        with torch.no_grad():
            self.image.copy_(torch.as_tensor(picture.transpose(2, 0, 1)[None].copy()))

    def losses(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.network(self.image)
        content = F.mse_loss(features[CONTENT], self.goal) / 2 / self.content_scale
        style = torch.tensor(0.0)
        for name, goal in self.goals.items():
            style = style + self.layers[name] * goal(features[name]) / self.scales[name]
        x = self.image
        down, across = (x[:, :, 1:] - x[:, :, :-1]).square().mean(), (x[..., 1:] - x[..., :-1]).square().mean()
        return content, style, down + across

    def step(self) -> tuple[float, float, float]:
        parts = self.losses()
        self.optimizer.zero_grad()
        sum(weight * part for weight, part in zip(self.weights, parts, strict=True)).backward()  # pyright: ignore[reportAttributeAccessIssue]
        self.optimizer.step()
        with torch.no_grad():
            self.image.clamp_(0, 1)
        content, style, variation = (float(part.detach()) for part in parts)
        return content, style, variation
