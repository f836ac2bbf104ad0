"""The pairs of jaxgan in PyTorch, as a user of PyTorch would write them: what the benchmarks compare with.

Same layers, widths, initialisation, optimisers and order of updates; channels_last, the discriminator's parameters
frozen during the generator's update (which spares PyTorch their gradients), one forward pass of the generator a step.
"""

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from jaxgan import config as cfg
from jaxgan.models import dcgan


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)


class DCGANGenerator(nn.Module):
    """`jaxgan.models.dcgan.Generator`: latents [N, Z] -> pictures [N, C, size, size]."""

    def __init__(self, latent_size: int, base: int, widths: list[int], channels: int) -> None:
        super().__init__()
        self.base, self.width = base, widths[0]
        self.first = nn.Linear(latent_size, base * base * widths[0])
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.rest = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        x = self.first(latent).view(-1, self.base, self.base, self.width).permute(0, 3, 1, 2)
        return self.rest(x)


class DCGANDiscriminator(nn.Module):
    """`jaxgan.models.dcgan.Discriminator`: pictures [N, C, size, size] -> logits [N]."""

    def __init__(self, base: int, widths: list[int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2, True)]
        for before, after in itertools.pairwise(widths):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=norm == "none"))
            layers += [nn.BatchNorm2d(after)] if norm == "batch" else []
            layers.append(nn.LeakyReLU(0.2, True))
        size = base * base * widths[-1]
        layers.append(nn.Flatten())
        if features:
            layers += [nn.Linear(size, features), nn.LeakyReLU(0.2, True)]
        self.rest = nn.Sequential(*layers, nn.Linear(features or size, 1))
        self.apply(_initialise)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.rest(image)[:, 0]


def pair(config: cfg.Config, shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """A config's generator and discriminator, for pictures of a shape (H, W, C)."""
    if isinstance(config.generator, cfg.DCGANGenerator):
        return dcgan_pair(config, shape[0], shape[2])
    assert isinstance(config.generator, cfg.MLPGenerator)
    return mlp_pair(config.latent_size, shape[0] * shape[1] * shape[2], config.generator.widths)


def layout(config: cfg.Config, images: torch.Tensor) -> torch.Tensor:
    """Pictures [N, H, W, C] as a config's pair takes them: flat, or [N, C, H, W] with channels last."""
    if isinstance(config.generator, cfg.DCGANGenerator):
        return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    return images.flatten(1)


def mlp_pair(latent_size: int, pixels: int, widths: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """The fully connected pair on flat pictures; the discriminator has the widths in reverse."""

    def stack(sizes: list[int]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2, True)]
        return layers[:-1]

    generator = nn.Sequential(*stack([latent_size, *widths, pixels]), nn.Tanh())
    return generator, nn.Sequential(*stack([pixels, *widths[::-1], 1]), nn.Flatten(0))


def dcgan_pair(config: cfg.Config, size: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """The convolutional pair of a config, channels_last."""
    base, doublings = dcgan.stages(size)
    assert isinstance(config.generator, cfg.DCGANGenerator)
    assert isinstance(config.discriminator, cfg.DCGANDiscriminator)
    widths, judge = (
        [p.width * min(2**i, 8) for i in range(doublings)] for p in (config.generator, config.discriminator)
    )
    pair = (
        DCGANGenerator(config.latent_size, base, widths[::-1], channels),
        DCGANDiscriminator(base, judge, channels, config.discriminator.features, config.discriminator.norm),
    )
    for network in pair:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return pair


def make_step(
    config: cfg.Config, generator: nn.Module, discriminator: nn.Module
) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """A config's training step `step(real) -> (discriminator's loss, generator's loss)`."""
    optimizers = [
        torch.optim.Adam(network.parameters(), player.learning_rate, (player.beta1, player.beta2))
        for network, player in ((generator, config.generator), (discriminator, config.discriminator))
    ]

    def step(real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fake = generator(torch.randn(len(real), config.latent_size))
        discriminator.requires_grad_(True)
        loss_d = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
        optimizers[1].zero_grad(set_to_none=True)
        loss_d.backward()
        optimizers[1].step()
        discriminator.requires_grad_(False)
        loss_g = F.softplus(-discriminator(fake)).mean()
        optimizers[0].zero_grad(set_to_none=True)
        loss_g.backward()
        optimizers[0].step()
        return loss_d.detach(), loss_g.detach()

    return step
