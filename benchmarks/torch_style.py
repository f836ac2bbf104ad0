"""Style transfer in PyTorch as a user of PyTorch would write it: what jaxgan is compared with.

Gatys et al. as published, with means for sums so that losses are comparable: VGG16, content at relu4_2, style at
relu1_1 to relu5_1, Adam on the pixels, clamped to 0..1.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG(nn.Module):
    """The trunk of torchvision's VGG16 or VGG19, with arrays `convB_C.kernel` (HWIO) and `convB_C.bias`."""

    def __init__(self, arrays: dict[str, np.ndarray], layers: Sequence[str]) -> None:
        super().__init__()
        self.layers = set(layers)
        self.steps: list[tuple[str, nn.Module]] = []
        names = sorted({name.split(".")[0] for name in arrays})
        for index, name in enumerate(names):
            if index and name[4] != names[index - 1][4]:
                self.steps.append((f"pool{names[index - 1][4]}", nn.MaxPool2d(2)))
            kernel = torch.from_numpy(arrays[f"{name}.kernel"].astype(np.float32).transpose(3, 2, 0, 1).copy())
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            conv.weight.data = kernel.contiguous(memory_format=torch.channels_last)
            conv.bias = nn.Parameter(torch.from_numpy(arrays[f"{name}.bias"].astype(np.float32)))
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


class Gatys:
    """The optimisation; `step` does one iteration and returns its losses (content, style, total variation)."""

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        content: np.ndarray,
        style: np.ndarray,
        weights: tuple[float, float, float],
        relative: bool = False,
    ) -> None:
        """Pictures [H, W, 3] in 0..1; relative: divide each layer's loss by that of features which are all zero."""
        self.network, self.weights = VGG(arrays, (*STYLE, CONTENT)), weights
        start, other = (
            torch.from_numpy(x.transpose(2, 0, 1)[None].copy()).contiguous(memory_format=torch.channels_last)
            for x in (content, style)
        )
        with torch.no_grad():
            self.goal = self.network(start)[CONTENT]
            features = self.network(other)
            self.grams = {name: gram(features[name]) for name in STYLE}
            zero = {name: g.square().sum() / (4 * len(g) ** 2) for name, g in self.grams.items()}
            self.scales = {name: zero[name] if relative else torch.tensor(1.0) for name in STYLE}
            self.content_scale = self.goal.square().mean() / 2 if relative else torch.tensor(1.0)
        self.image = start.clone(memory_format=torch.preserve_format).requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.image], 0.02, (0.9, 0.99))

    def begin(self, picture: np.ndarray) -> None:
        """Goes on from a picture [H, W, 3] instead of the content."""
        with torch.no_grad():
            self.image.copy_(torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()))

    def losses(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.network(self.image)
        content = F.mse_loss(features[CONTENT], self.goal) / 2 / self.content_scale
        style = torch.tensor(0.0)
        for name, target in self.grams.items():
            difference = (gram(features[name]) - target).square().sum() / (4 * len(target) ** 2)
            style = style + difference / self.scales[name] / len(self.grams)
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
