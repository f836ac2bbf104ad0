"""Records what R3GAN's networks compute in PyTorch: `python tests/record_r3gan.py` writes tests/data/r3gan.npz.

The networks are written here once more, from plain PyTorch operations, after the reference code
(github.com/brownvc/R3GAN, R3GAN/Networks.py and Resamplers.py). Weights are random, those that begin as zero too.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data" / "r3gan.npz"
SIZE, CHANNELS, LATENT, BLOCKS, GROUP, EXPANSION = 16, 3, 5, 2, 16, 2
WIDTHS = (32, 32, 16)
"""From the smallest feature map to the largest: once the width stays, once it changes."""
LABELS = np.array([2, 0])


def random(name: str, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers by NumPy's legacy generator, which gives the same in every version."""
    return (scale * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)).astype(np.float32)


def weights(network: str, classes: int) -> dict[str, np.ndarray]:
    """A network's weights, named and laid out as Flax has them."""
    shapes: dict[str, tuple[int, ...]] = {"basis": (4, 4, WIDTHS[0])}
    if network == "generator":
        shapes["latent/kernel"] = (2 * LATENT if classes else LATENT, WIDTHS[0])
        shapes["image/kernel"] = (WIDTHS[-1], CHANNELS)
        widths, vector = WIDTHS, LATENT
    else:
        shapes["image/kernel"] = (CHANNELS, WIDTHS[-1])
        shapes["logit/kernel"] = (WIDTHS[0], WIDTHS[0] if classes else 1)
        widths, vector = WIDTHS[::-1], WIDTHS[0]
    if classes:
        shapes["label/embedding"] = (classes, vector)
    for index, width in enumerate(widths):
        if index and widths[index - 1] != width:
            shapes[f"project{index}/kernel"] = (widths[index - 1], width)
        inner = width * EXPANSION
        for block in range(BLOCKS):
            shapes |= {
                f"block{index}_{block}/expand/kernel": (width, inner),
                f"block{index}_{block}/expand/bias": (inner,),
                f"block{index}_{block}/kernel": (3, 3, GROUP, inner),
                f"block{index}_{block}/bias": (inner,),
                f"block{index}_{block}/project/kernel": (inner, width),
            }
    scales = {name: 0.3 if len(shape) == 1 else np.prod(shape[:-1]) ** -0.5 for name, shape in shapes.items()}
    return {name: random(f"{network}{classes}/{name}", *shape, scale=scales[name]) for name, shape in shapes.items()}


def sample(gradient: np.ndarray) -> np.ndarray:
    """16 of the elements of an array, and its norm."""
    flat = gradient.reshape(-1)
    return np.append(flat[np.linspace(0, flat.size - 1, 16).astype(int)], np.linalg.norm(flat))


def main() -> None:
    import torch
    from torch.nn import functional

    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8  # [1, 2, 1] * [1, 1]
    low_pass = torch.outer(line, line)[None, None]

    def linear(x: Any, kernel: Any) -> Any:
        return functional.conv2d(x, kernel.T[:, :, None, None])

    def block(x: Any, w: Any, name: str) -> Any:
        y = linear(x, w[f"{name}/expand/kernel"])
        y = functional.leaky_relu(y + w[f"{name}/expand/bias"].view(1, -1, 1, 1), 0.2)
        y = functional.conv2d(y, w[f"{name}/kernel"].permute(3, 2, 0, 1), padding=1, groups=y.shape[1] // GROUP)
        y = functional.leaky_relu(y + w[f"{name}/bias"].view(1, -1, 1, 1), 0.2)
        return x + linear(y, w[f"{name}/project/kernel"])

    def blocks(x: Any, w: Any, index: int) -> Any:
        for number in range(BLOCKS):
            x = block(x, w, f"block{index}_{number}")
        return x

    def project(x: Any, w: Any, index: int) -> Any:
        name = f"project{index}/kernel"
        return linear(x, w[name]) if name in w else x

    def upsample(x: Any) -> Any:
        n, c, h, width = x.shape
        y = functional.conv_transpose2d(x.reshape(n * c, 1, h, width), 4 * low_pass, stride=2, padding=1)
        return y.reshape(n, c, 2 * h, 2 * width)

    def downsample(x: Any) -> Any:
        n, c, h, width = x.shape
        y = functional.conv2d(x.reshape(n * c, 1, h, width), low_pass, stride=2, padding=1)
        return y.reshape(n, c, h // 2, width // 2)

    def one_hot(classes: int) -> Any:
        return functional.one_hot(torch.from_numpy(LABELS), classes).float()

    def generator(x: Any, w: Any, classes: int) -> Any:
        if classes:
            x = torch.cat([x, one_hot(classes) @ w["label/embedding"]], dim=1)
        x = w["basis"].permute(2, 0, 1) * (x @ w["latent/kernel"])[:, :, None, None]
        for index in range(len(WIDTHS)):
            x = blocks(upsample(project(x, w, index)) if index else x, w, index)
        return linear(x, w["image/kernel"]).permute(0, 2, 3, 1)

    def discriminator(x: Any, w: Any, classes: int) -> Any:
        x = linear(x.permute(0, 3, 1, 2), w["image/kernel"])
        for index in range(len(WIDTHS)):
            x = blocks(project(downsample(x), w, index) if index else x, w, index)
        x = functional.conv2d(x, w["basis"].permute(2, 0, 1)[:, None], groups=x.shape[1]).flatten(1) @ w["logit/kernel"]
        return (x * (one_hot(classes) @ w["label/embedding"])).sum(dim=1) if classes else x[:, 0]

    def sampled(name: str, value: Any, w: dict[str, Any]) -> dict[str, np.ndarray]:
        slopes = torch.autograd.grad(value, list(w.values()), retain_graph=True)
        return {f"{name}/{key}": sample(slope.numpy()) for key, slope in zip(w, slopes, strict=True)}

    recorded: dict[str, np.ndarray] = {}
    for classes in (0, 3):
        g, d = (
            {name: torch.from_numpy(value).requires_grad_() for name, value in weights(network, classes).items()}
            for network in ("generator", "discriminator")
        )
        fake = generator(torch.from_numpy(random("latent", 2, LATENT)), g, classes)
        recorded[f"image{classes}"] = fake.detach().numpy()
        recorded |= sampled(f"generator{classes}", (fake * torch.from_numpy(random("slope", *fake.shape))).sum(), g)
        image = torch.from_numpy(random("image", *fake.shape)).requires_grad_()
        logits = discriminator(image, d, classes)
        recorded[f"logits{classes}"] = logits.detach().numpy()
        recorded |= sampled(f"discriminator{classes}", (logits * torch.tensor([1.0, -2.0])).sum(), d)
        (slope,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
        penalty = (slope**2).sum(dim=(1, 2, 3)).mean() / 2
        recorded[f"penalty{classes}"] = penalty.detach().numpy()
        recorded |= sampled(f"r1{classes}", penalty, d)
    np.savez_compressed(DATA, **recorded)  # pyright: ignore[reportArgumentType]
    print(DATA, DATA.stat().st_size, recorded["logits0"], recorded["logits3"], recorded["penalty0"])


if __name__ == "__main__":
    main()
