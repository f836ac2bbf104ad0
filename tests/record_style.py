"""Records what PyTorch computes, for tests that run without it: `python tests/record_style.py` writes tests/data."""

import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data" / "style.npz"
GATYS_WEIGHTS = (1.0, 0.1, 1.0)
COUNTS = {"VGG16": (2, 2, 3, 3, 3), "VGG19": (2, 2, 4, 4, 4)}


def random_arrays(architecture: str) -> dict[str, np.ndarray]:
    """Random weights by NumPy, whose legacy generator gives the same numbers in every version."""
    random, arrays, channels = np.random.RandomState(0), {}, 3
    for block, (count, width) in enumerate(zip(COUNTS[architecture], (64, 128, 256, 512, 512), strict=True), 1):
        for index in range(1, count + 1):
            kernel = random.standard_normal((3, 3, channels, width)) * (2 / (9 * channels)) ** 0.5
            arrays[f"conv{block}_{index}.kernel"] = kernel.astype(np.float32)
            arrays[f"conv{block}_{index}.bias"] = (random.standard_normal(width) * 0.1).astype(np.float32)
            channels = width
    return arrays


def images() -> tuple[np.ndarray, np.ndarray]:
    """Two smooth pictures with an odd number of rows and columns, [71, 83, 3] in 0..1."""
    y, x = np.mgrid[:71, :83].astype(np.float32) / 80
    a = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y * x), np.sin(20 * x * x)], axis=-1)
    b = np.stack([np.cos(40 * x), np.sin(33 * (y + x)), np.cos(50 * y * y)], axis=-1)
    return (0.5 + 0.4 * a).astype(np.float32), (0.5 + 0.45 * b).astype(np.float32)


def waypoints() -> list[np.ndarray]:
    """Pictures at which losses and gradients are compared."""
    content, style = images()
    return [content, (content + style) / 2, 1 - style * content]


def start(nudged: int = 0) -> np.ndarray:
    """Where the descents begin. From the content itself they would be chaotic: its content loss has no slope there.

    Nudged: the last bits of its numbers changed at random.
    """
    numbers = np.random.RandomState(1).random_sample((71, 83, 3)).astype(np.float32)
    if not nudged:
        return numbers
    return np.nextafter(numbers, np.random.RandomState(nudged).randint(0, 2, numbers.shape).astype(np.float32))


def sample(features: np.ndarray) -> np.ndarray:
    """64 of a layer's features [H, W, C]."""
    flat = features.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, 64).astype(int)]


def main() -> None:
    import torch
    from safetensors.numpy import load_file

    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import torch_style  # pyright: ignore[reportMissingImports]

    recorded: dict[str, np.ndarray] = {}
    content, style = images()
    for architecture in COUNTS:
        arrays = random_arrays(architecture)
        names = [f"{kind}{key[4:7]}" for key in arrays if key.endswith("bias") for kind in ("conv", "relu")]
        with torch.no_grad():
            found = torch_style.VGG(arrays, names)(torch.from_numpy(content.transpose(2, 0, 1)[None].copy()))
        for name, value in found.items():
            recorded[f"{architecture}/{name}"] = sample(value[0].permute(1, 2, 0).numpy())
            recorded[f"{architecture}/{name}/norm"] = value.norm().numpy()
    weights = load_file(Path(__file__).parents[1] / "jaxgan" / "support" / "assets" / "vgg" / "vgg16.safetensors")

    def descent(begin: np.ndarray) -> np.ndarray:
        gatys = torch_style.Gatys(weights, content, style, GATYS_WEIGHTS)
        gatys.begin(begin)
        return np.array([gatys.step() for _ in range(51)], np.float32)

    descents = np.stack([descent(start(nudged)) for nudged in range(33)])
    recorded["gatys"] = descents[0]
    # How far rounding alone has taken any two of PyTorch's own descents from one another, by iteration.
    apart = (descents.max(axis=0) / descents.min(axis=0) - 1).max(axis=1)
    recorded["gatys/apart"] = np.maximum.accumulate(apart)
    for index, picture in enumerate(waypoints()):
        gatys = torch_style.Gatys(weights, content, style, GATYS_WEIGHTS)
        gatys.begin(picture)
        parts = gatys.losses()
        sum(weight * part for weight, part in zip(GATYS_WEIGHTS, parts, strict=True)).backward()  # pyright: ignore[reportAttributeAccessIssue]
        recorded[f"waypoint{index}/losses"] = np.array([float(part.detach()) for part in parts])
        slope = gatys.image.grad[0].permute(1, 2, 0).numpy()
        recorded[f"waypoint{index}/gradient"] = sample(slope)
        recorded[f"waypoint{index}/norm"] = np.asarray(np.linalg.norm(slope))
    np.savez_compressed(DATA, **recorded)  # pyright: ignore[reportArgumentType]
    print(DATA, DATA.stat().st_size, recorded["gatys"][[0, 1, 10, 50]])


if __name__ == "__main__":
    main()
