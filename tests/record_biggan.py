"""Records the reference BigGAN of 32 x 32 pictures, narrow: tests/data/biggan.npz.

    git clone https://github.com/ajbrock/BigGAN-PyTorch
    launch/local.sh python tests/record_biggan.py BigGAN-PyTorch     (needs the extra `bench`)

Weights are drawn from their names (`test_biggan.drawn`), and the iterations of spectral normalisation start at the
exact singular vectors. Of pictures every third pixel is kept.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from test_biggan import drawn


def prepare(network: Any) -> Any:
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if not name.rsplit(".", 1)[-1].startswith(("u0", "sv0")):
                value.copy_(torch.from_numpy(np.asarray(drawn(name, tuple(value.shape)))))
        for module in network.modules():
            if hasattr(module, "u0"):
                matrix = module.weight.reshape(len(module.weight), -1)
                module.u0.copy_(torch.linalg.svd(matrix)[0][:, :1].T)
    return network


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    import BigGAN  # pyright: ignore[reportMissingImports]

    label = torch.tensor([0, 2])
    shape: dict[str, Any] = {"resolution": 32, "n_classes": 3, "skip_init": True}
    generator = BigGAN.Generator(G_ch=2, G_attn="16", dim_z=16, shared_dim=6, hier=True, no_optim=True, **shape)
    generator = prepare(generator)
    arrays = {}
    latent = torch.from_numpy(drawn("latent", (2, 16)))
    # Evaluation first: training changes the running averages.
    for mode in ("evaluation", "training"):
        generator.train(mode == "training")
        picture = generator(latent, generator.shared(label))
        arrays[f"generator/{mode}"] = picture.detach().permute(0, 2, 3, 1)[:, ::3, ::3].numpy()

    discriminator = prepare(BigGAN.Discriminator(D_ch=2, D_attn="16", **shape))
    # At this size it attends after all four blocks, of which one has maps of 16 x 16: only that is left to.
    for block in discriminator.blocks[1:]:
        block[1].gamma.data.zero_()
    image = torch.from_numpy(drawn("image", (2, 32, 32, 3))).permute(0, 3, 1, 2)
    arrays["discriminator"] = discriminator(image, label)[:, 0].detach().numpy()
    np.savez(Path(__file__).with_name("data") / "biggan.npz", **arrays)


if __name__ == "__main__":
    main()
