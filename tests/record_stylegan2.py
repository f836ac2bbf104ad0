"""Records what PyTorch's StyleGAN2 computes: `python tests/record_stylegan2.py` writes tests/data/stylegan2.npz.

`G/` and `D/` hold the `state_dict`s (latents 16, styles 24, pictures 16x16x3, `channel_base` 256, `channel_max` 32, 3
mapping layers; groups of 4 in minibatch standard deviation), named as NVIDIA's; everything has PyTorch's layout, NCHW
and OIHW. The rest:

    z, ws                           latents [4, 16] and their styles [4, 6, 24]
    image/const, image/none         pictures with the constant noise, and with none
    image/truncated                 with the constant noise, styles half-way to `w_avg`
    mixed/ws, mixed/image           other styles [4, 6, 24], one a layer, and their pictures with the constant noise
    judged/image, judged/logits     pictures [8, 3, 16, 16], of ever more contrast, and their logits [8]
    judged/slope                    gradient of the logits' sum for the pictures
    r1/<name>                       gradient of the mean over the batch of |slope|^2, for that weight of D
    path/y                          y [4, 3, 16, 16], standard normal numbers divided by sqrt(16 * 16)
    path/lengths                    |J^T y| [4] at `ws` with the constant noise, root mean square over the 6 styles
    path/aim, path/<name>           a, and the gradient of the mean of (lengths - a)^2 for that weight of G
"""

import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data" / "stylegan2.npz"


def main() -> None:
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import torch_stylegan2  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    generator = torch_stylegan2.Generator(16, 24, 16, 3, channel_base=256, channel_max=32, mapping_layers=3)
    discriminator = torch_stylegan2.Discriminator(16, 3, channel_base=256, channel_max=32, mbstd_group=4)
    with torch.no_grad():
        # What training begins from leaves out too much: biases and noise strengths of zero.
        for network in (generator, discriminator):
            for name, parameter in network.named_parameters():
                if name.endswith(("bias", "noise_strength")):
                    parameter += torch.randn_like(parameter) * (30 if "mapping" in name else 0.3)
        generator.mapping.w_avg.normal_(0, 0.5)

    recorded = {f"G/{name}": value for name, value in generator.state_dict().items()}
    recorded |= {f"D/{name}": value for name, value in discriminator.state_dict().items()}

    z = torch.randn(4, 16)
    ws = generator.mapping(z)
    image = generator.synthesis(ws, "const")
    recorded |= {"z": z, "ws": ws, "image/const": image, "image/none": generator.synthesis(ws, "none")}
    recorded["image/truncated"] = generator(z, psi=0.5, noise="const")

    mixed = torch.randn(4, 6, 24)
    recorded |= {"mixed/ws": mixed, "mixed/image": generator.synthesis(mixed, "const")}

    y = torch.randn_like(image) / 16
    lengths = torch_stylegan2.path_lengths(ws, image, y * 16)
    aim = torch.tensor(0.5) * lengths.detach().mean()
    recorded |= {"path/y": y, "path/lengths": lengths, "path/aim": aim}
    loss = (lengths - aim).square().mean()
    for name in ("synthesis.b8.conv0.weight", "mapping.fc1.weight"):
        recorded[f"path/{name}"] = torch.autograd.grad(loss, generator.get_parameter(name), retain_graph=True)[0]

    # Other groups than those of neighbours would differ much from them.
    real = (torch.randn(8, 3, 16, 16) * torch.linspace(0.2, 2, 8).view(-1, 1, 1, 1)).requires_grad_(True)
    logits = discriminator(real)
    recorded |= {"judged/image": real, "judged/logits": logits[:, 0]}
    recorded["judged/slope"] = torch.autograd.grad(logits.sum(), real)[0]
    penalty = torch_stylegan2.r1_penalty(discriminator, real).mean()
    weight = discriminator.get_parameter("b8.conv1.weight")
    recorded["r1/b8.conv1.weight"] = torch.autograd.grad(penalty, weight)[0]

    arrays = {name: value.detach().contiguous().numpy() for name, value in recorded.items()}
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
    np.savez_compressed(DATA, **arrays)
    print(DATA, DATA.stat().st_size, "bytes; lengths", arrays["path/lengths"], "logits", arrays["judged/logits"])


if __name__ == "__main__":
    main()
