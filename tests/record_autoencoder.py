"""Records what diffusers' AutoencoderKL computes: `python tests/record_autoencoder.py`.

It writes tests/data/autoencoder.npz: a small one with random weights, of which names and shapes are kept. One of Stable
Diffusion's size is compared here, and how far ours is from it printed. PyTorch, diffusers and this package are needed.
"""

import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.data import latents

DATA = Path(__file__).parent / "data" / "autoencoder.npz"


def random(name: str, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers by NumPy's legacy generator, which gives the same in every version."""
    return (scale * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)).astype(np.float32)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random weights of these names and shapes."""
    found = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            found[name] = random(name, *shape, scale=float(np.prod(shape[1:])) ** -0.5)
        else:
            found[name] = float(name.endswith("weight")) + random(name, *shape, scale=0.3)
    return found


def ours(arrays: dict[str, np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """What our encoder makes of a random picture, and our decoder of a random latent."""
    encoder, decoder, params = latents.convert(arrays, "recorded")
    side = size // 2 ** (len(encoder.widths) - 1)
    image, latent = random("image", 2, size, size, 3), random("latent", 2, side, side, encoder.channels)
    encoded = jax.jit(encoder.apply)({"params": params["encoder"]}, image)
    decoded = jax.jit(decoder.apply)({"params": params["decoder"]}, latent)
    return np.asarray(encoded), np.asarray(decoded)


def main() -> None:
    import torch
    from diffusers.models import AutoencoderKL  # pyright: ignore[reportMissingImports]

    for widths, blocks, groups, size in (((128, 256, 512, 512), 2, 32, 64), ((8, 16, 16), 1, 8, 16)):
        network = AutoencoderKL(
            block_out_channels=widths,
            layers_per_block=blocks,
            norm_num_groups=groups,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
        )
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        arrays = weights(shapes)
        network.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
        found = ours(arrays, size)
        side = size // 2 ** (len(widths) - 1)
        image, latent = random("image", 2, size, size, 3), random("latent", 2, side, side, 4)

        def apply(function: Any, x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return function(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()

        expected = (
            apply(lambda x, network=network: network.encode(x).latent_dist.parameters, image),
            apply(lambda x, network=network: network.decode(x).sample, latent),
        )
        for name, a, b in zip(("encoder", "decoder"), found, expected, strict=True):
            print(f"{widths} {name}: {np.abs(a - b).max() / np.abs(b).max():.1e} of the largest value")
    kept = np.array([f"{name} {' '.join(map(str, shape))}" for name, shape in shapes.items()])
    np.savez_compressed(DATA, shapes=kept, encoded=expected[0], decoded=expected[1])
    print(DATA, DATA.stat().st_size)


if __name__ == "__main__":
    main()
