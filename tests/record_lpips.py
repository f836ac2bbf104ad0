"""Records what PyTorch computes, for tests that run without it: `python tests/record_lpips.py` writes tests/data."""

import sys
from pathlib import Path

import numpy as np
import record_style

DATA = Path(__file__).parent / "data" / "lpips.npz"
ASSETS = Path(__file__).parents[1] / "jaxgan" / "support" / "assets" / "vgg"


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Pictures and others, [4, 71, 83, 3] in -1..1: unlike ones, a noisy, a shifted and a darker one."""
    content, style = (2 * image - 1 for image in record_style.images())
    noise = np.random.RandomState(2).standard_normal(content.shape).astype(np.float32)
    others = [style, np.clip(content + 0.2 * noise, -1, 1), np.roll(content, 3, axis=1), 0.6 * content - 0.4]
    return np.stack([content] * 4), np.stack(others).astype(np.float32)


def main() -> None:
    import torch
    from safetensors.numpy import load_file

    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import torch_style  # pyright: ignore[reportMissingImports]

    layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
    trunk = torch_style.VGG(load_file(ASSETS / "vgg16.safetensors"), layers)
    heads = load_file(ASSETS / "lpips.safetensors")

    def features(image: torch.Tensor) -> list[torch.Tensor]:
        """LPIPS's own scaling layer, the trunk without its, and channels divided by their length."""
        x = (image - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        found = []
        for name, module in trunk.steps:
            x = module(x)
            if name in layers:
                found.append(x / (torch.sqrt(torch.sum(x**2, dim=1, keepdim=True)) + 1e-10))
        return found

    first, second = (torch.from_numpy(part.transpose(0, 3, 1, 2).copy()) for part in pairs())
    second.requires_grad_()
    distance = torch.zeros(len(first))
    for index, (x, y) in enumerate(zip(features(first), features(second), strict=True), 1):
        kernel = torch.from_numpy(heads[f"lpips{index}.kernel"])[None, :, None, None]
        distance = distance + torch.nn.functional.conv2d((x - y) ** 2, kernel).mean(dim=(1, 2, 3))
    distance.sum().backward()
    assert second.grad is not None
    slope = second.grad.permute(0, 2, 3, 1).numpy()
    recorded = {
        "distance": distance.detach().numpy(),
        "gradient": np.stack([record_style.sample(part) for part in slope]),
        "norm": np.linalg.norm(slope.reshape(len(slope), -1), axis=1),
    }
    np.savez_compressed(DATA, **recorded)  # pyright: ignore[reportArgumentType]
    print(DATA, DATA.stat().st_size, recorded["distance"], recorded["norm"])


if __name__ == "__main__":
    main()
