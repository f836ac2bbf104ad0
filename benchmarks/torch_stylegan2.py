"""StyleGAN2 in plain PyTorch, as one would write it for speed on CPU: what benchmarks and recorded tests compare with.

Layers, names of parameters and buffers, and the training phases are those of NVIDIA's stylegan2-ada-pytorch (generator
"skip", discriminator "resnet", modulation by scaling inputs and outputs of the convolution), so its `state_dict`s fit;
the one difference is in `minibatch_stddev`. The gain sqrt(2) of the leaky ReLUs is multiplied into what comes before
them. All is channels_last.

References:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958.
    Karras et al., Training Generative Adversarial Networks with Limited Data, arXiv 2006.06676.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from jaxgan import config as cfg

GAIN = math.sqrt(2)
Noise = Literal["random", "const", "none"]
Judge = Callable[[torch.Tensor], torch.Tensor]


def activate(x: torch.Tensor) -> torch.Tensor:
    """A leaky ReLU, in place."""
    return F.leaky_relu_(x, 0.2)


def taps() -> torch.Tensor:
    """The low-pass filter of all resampling, [4, 4]."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(line, line)


def filtered(x: torch.Tensor, kernel: torch.Tensor, padding: int, stride: int = 1) -> torch.Tensor:
    """Convolves every channel of x [N, C, H, W] with a kernel [4, 4]; on CPU faster than its two axes in turn."""
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 4, 4), None, stride, padding, groups=x.shape[1])


def convolve(x: torch.Tensor, weight: torch.Tensor, up: bool, kernel: torch.Tensor) -> torch.Tensor:
    """A convolution that keeps the size of x [N, C, H, W], or doubles it with a filter."""
    if up:
        return filtered(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 4 * kernel, 1)
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def minibatch_stddev(x: torch.Tensor, group: int) -> torch.Tensor:
    """Appends how much a group of examples differ, [N, C, H, W] -> [N, C + 1, H, W].

    Groups are of neighbours, as jaxgan's: examples 0 to G - 1, G to 2 G - 1, ... NVIDIA's are of examples N / G apart.
    """
    group = min(group, len(x))
    groups = x.reshape(-1, group, *x.shape[1:])
    spread = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(group)
    return torch.cat([x, spread.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])], 1)


class Dense(nn.Module):
    """Fully connected at equalised learning rate, [N, inputs] -> [N, outputs]."""

    def __init__(self, inputs: int, outputs: int, active: bool = False, rate: float = 1, bias: float = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full([outputs], float(bias)))
        self.active = active
        self.bias_scale = rate * (GAIN if active else 1)
        self.scale = self.bias_scale / math.sqrt(inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias * self.bias_scale)
        return activate(x) if self.active else x


class Mapping(nn.Module):
    """Latents [N, z_dim] -> styles [N, num_ws, w_dim], the same for every layer."""

    w_avg: torch.Tensor

    def __init__(self, z_dim: int, w_dim: int, num_ws: int, count: int) -> None:
        super().__init__()
        self.num_ws, self.count = num_ws, count
        for index in range(count):
            self.add_module(f"fc{index}", Dense(w_dim if index else z_dim, w_dim, active=True, rate=0.01))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: torch.Tensor, psi: float = 1, track: bool = False) -> torch.Tensor:
        """`psi` pulls styles towards their average (truncation); `track` moves the average towards these styles."""
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for index in range(self.count):
            w = self.get_submodule(f"fc{index}")(w)
        if track:
            self.w_avg.lerp_(w.detach().mean(0), 0.005)
        if psi != 1:
            w = self.w_avg.lerp(w, psi)
        return w.unsqueeze(1).repeat(1, self.num_ws, 1)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and activation, [N, inputs, H, W] -> [N, outputs, size, size]."""

    resample_filter: torch.Tensor
    noise_const: torch.Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, size: int, up: bool) -> None:
        super().__init__()
        self.size, self.up = size, up
        self.affine = Dense(w_dim, inputs, bias=1)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.register_buffer("resample_filter", taps())

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: Noise) -> torch.Tensor:
        style = self.affine(w)
        demodulation = (style.square() @ self.weight.square().sum((2, 3)).t() + 1e-8).rsqrt()
        x = convolve(x * style[:, :, None, None], self.weight, self.up, self.resample_filter)
        shift = self.bias[:, None, None] * GAIN
        if noise == "random":
            shift = shift + torch.randn(len(x), 1, self.size, self.size) * (self.noise_strength * GAIN)
        elif noise == "const":
            shift = shift + self.noise_const * (self.noise_strength * GAIN)
        return activate(torch.addcmul(shift, x, demodulation[:, :, None, None] * GAIN))


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the picture's channels, not demodulated."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.affine = Dense(w_dim, inputs, bias=1)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        style = self.affine(w) / math.sqrt(x.shape[1])
        return F.conv2d(x * style[:, :, None, None], self.weight, self.bias)


class SynthesisBlock(nn.Module):
    """The layers of one size; the first block (`inputs` 0) begins from a constant."""

    resample_filter: torch.Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, size: int, channels: int) -> None:
        super().__init__()
        if inputs:
            self.conv0 = StyledConv(inputs, outputs, w_dim, size, up=True)
        else:
            self.const = nn.Parameter(torch.randn(outputs, size, size))
        self.conv1 = StyledConv(outputs, outputs, w_dim, size, up=False)
        self.torgb = ToRGB(outputs, channels, w_dim)
        self.register_buffer("resample_filter", taps())

    def forward(
        self, x: torch.Tensor | None, image: torch.Tensor | None, ws: list[torch.Tensor], noise: Noise
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if x is None:
            x = self.const.expand(len(ws[0]), *self.const.shape).contiguous(memory_format=torch.channels_last)
        else:
            x = self.conv0(x, ws[0], noise)
        x = self.conv1(x, ws[-2], noise)
        more = self.torgb(x, ws[-1])
        assert x is not None  # The call of a module has no type.
        if image is None:
            return x, more
        kernel = (4 * self.resample_filter).expand(image.shape[1], 1, 4, 4)
        return x, F.conv_transpose2d(image, kernel, stride=2, padding=1, groups=image.shape[1]) + more


class Synthesis(nn.Module):
    """Styles [N, num_ws, w_dim] -> pictures [N, channels, size, size]."""

    def __init__(self, w_dim: int, size: int, channels: int, channel_base: int, channel_max: int) -> None:
        super().__init__()
        self.sizes = [2**i for i in range(2, size.bit_length())]
        self.num_ws = 2 * len(self.sizes)
        inputs = 0
        for each in self.sizes:
            outputs = min(channel_base // each, channel_max)
            self.add_module(f"b{each}", SynthesisBlock(inputs, outputs, w_dim, each, channels))
            inputs = outputs

    def forward(self, ws: torch.Tensor, noise: Noise = "random") -> torch.Tensor:
        styles = list(ws.unbind(1))
        x = image = None
        for index, size in enumerate(self.sizes):
            # A block's last style, that of its colours, is also the next block's first.
            own = styles[max(0, 2 * index - 1) : 2 * index + 2]
            x, image = self.get_submodule(f"b{size}")(x, image, own, noise)
        assert image is not None
        return image


class Generator(nn.Module):
    """`mapping(z)` and `synthesis(ws)` in turn: latents [N, z_dim] -> pictures [N, channels, size, size]."""

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        size: int,
        channels: int,
        channel_base: int,
        channel_max: int,
        mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        self.synthesis = Synthesis(w_dim, size, channels, channel_base, channel_max)
        self.mapping = Mapping(z_dim, w_dim, self.synthesis.num_ws, mapping_layers)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, z: torch.Tensor, psi: float = 1, noise: Noise = "random") -> torch.Tensor:
        return self.synthesis(self.mapping(z, psi), noise)


class Conv(nn.Module):
    """Convolution, bias and activation (or neither: `active` False), [N, inputs, H, W] -> [N, outputs, H', W']."""

    resample_filter: torch.Tensor

    def __init__(
        self, inputs: int, outputs: int, side: int, down: bool = False, active: bool = True, gain: float = 1
    ) -> None:
        super().__init__()
        self.down, self.active = down, active
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.bias_scale = gain * (GAIN if active else 1)
        self.scale = self.bias_scale / math.sqrt(inputs * side * side)
        self.register_buffer("resample_filter", taps())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side, stride = self.weight.shape[-1], 1
        padding = side // 2
        if self.down and side == 1:
            x = filtered(x, self.resample_filter, 1, stride=2)
        elif self.down:
            x, stride, padding = filtered(x, self.resample_filter, 2), 2, 0
        bias = None if self.bias is None else self.bias * self.bias_scale
        x = F.conv2d(x, self.weight * self.scale, bias, stride, padding)
        return activate(x) if self.active else x


class DiscriminatorBlock(nn.Module):
    """Two convolutions beside a linear one, at half the size afterwards; the first block begins from a picture."""

    resample_filter: torch.Tensor

    def __init__(self, channels: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fromrgb = Conv(channels, inputs, 1) if channels else None
        self.conv0 = Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3, down=True, gain=math.sqrt(0.5))
        self.skip = Conv(inputs, outputs, 1, down=True, active=False, gain=math.sqrt(0.5))
        self.register_buffer("resample_filter", taps())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        return self.skip(x) + self.conv1(self.conv0(x))


class Epilogue(nn.Module):
    """Features [N, C, 4, 4] -> logits [N, 1]."""

    def __init__(self, inputs: int, group: int) -> None:
        super().__init__()
        self.group = group
        self.conv = Conv(inputs + (1 if group else 0), inputs, 3)
        self.fc = Dense(inputs * 16, inputs, active=True)
        self.out = Dense(inputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.group:
            x = minibatch_stddev(x, self.group)
        return self.out(self.fc(self.conv(x).flatten(1)))


class Discriminator(nn.Module):
    """Pictures [N, channels, size, size] -> logits [N, 1]; `mbstd_group` 0 leaves minibatch standard deviation out."""

    def __init__(self, size: int, channels: int, channel_base: int, channel_max: int, mbstd_group: int = 4) -> None:
        super().__init__()
        self.sizes = [2**i for i in range(size.bit_length() - 1, 2, -1)]
        widths = {each: min(channel_base // each, channel_max) for each in (*self.sizes, 4)}
        for each in self.sizes:
            block = DiscriminatorBlock(channels if each == size else 0, widths[each], widths[each // 2])
            self.add_module(f"b{each}", block)
        self.b4 = Epilogue(widths[4], mbstd_group)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for size in self.sizes:
            x = self.get_submodule(f"b{size}")(x)
        return self.b4(x)


def r1_penalty(judge: Judge, real: torch.Tensor) -> torch.Tensor:
    """Squared slopes [N] of the logits at real pictures [N, C, H, W], differentiable (arXiv 1801.04406, equation 9)."""
    real = real.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge(real).sum(), real, create_graph=True)
    return slope.square().sum((1, 2, 3))


def path_lengths(ws: torch.Tensor, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """|J^T y| [N], root mean square over layers, differentiable (arXiv 1912.04958, section 3.2).

    Args:
        ws: styles [N, num_ws, w_dim].
        image: the pictures [N, C, H, W] made of them.
        noise: standard normal [N, C, H, W]; y is this divided by sqrt(H W).
    """
    y = noise / math.sqrt(image.shape[2] * image.shape[3])
    (slope,) = torch.autograd.grad((image * y).sum(), ws, create_graph=True)
    return slope.square().sum(2).mean(1).sqrt()


def pair(config: cfg.Config, shape: tuple[int, int, int]) -> tuple[Generator, Discriminator]:
    """The two networks of a config, for pictures of a shape (H, W, C)."""
    g, d = config.generator, config.discriminator
    assert isinstance(g, cfg.StyleGAN2Generator)
    assert isinstance(d, cfg.StyleGAN2Discriminator)
    size, _, channels = shape
    generator = Generator(
        config.latent_size, g.style_size, size, channels, g.width * size, g.max_width, g.mapping_layers
    )
    return generator, Discriminator(size, channels, d.width * size, d.max_width, d.minibatch_stddev)


def make_step(
    config: cfg.Config, generator: Generator, discriminator: Discriminator, compiled: bool = False
) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """A config's training step `step(real [N, C, H, W]) -> (discriminator's loss, generator's loss)`.

    Non-saturating losses; the discriminator's update comes first, and both share the generator's forward pass. The
    penalties (R1; path length, on half the batch) are updates of their own at every Nth step, N
    times as strong, and Adam's settings are corrected for them (arXiv 1912.04958, appendix B).

    Args:
        config: the experiment; of it the losses' weights, the optimisers and the average are used.
        generator: changed in place.
        discriminator: likewise.
        compiled: compile the networks, but not for the penalties: the compiler knows no second derivatives.
    """

    def adam(network: nn.Module, player: cfg.Adam, every: int) -> torch.optim.Adam:
        ratio = every / (every + 1)
        betas = (player.beta1**ratio, player.beta2**ratio)
        return torch.optim.Adam(network.parameters(), player.learning_rate * ratio, betas, fused=True)

    assert isinstance(config.generator, cfg.StyleGAN2Generator)
    mixing = config.generator.style_mixing
    optimizers: dict[nn.Module, torch.optim.Adam] = {
        generator: adam(generator, config.generator, config.path_every),
        discriminator: adam(discriminator, config.discriminator, config.penalty_every),
    }
    average = copy.deepcopy(generator).requires_grad_(False)
    ours, averaged = list(generator.parameters()), list(average.parameters())
    lerp: Any = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
    state = {"step": 0, "mean": torch.zeros(())}
    synthesise: Any = torch.compile(generator.synthesis) if compiled else generator.synthesis
    judge: Any = torch.compile(discriminator) if compiled else discriminator

    def styles(count: int, track: bool) -> torch.Tensor:
        ws = generator.mapping(torch.randn(count, config.latent_size), track=track)
        if torch.rand(()) < mixing:
            cut = int(torch.randint(1, ws.shape[1], ()))
            ws = torch.cat([ws[:, :cut], generator.mapping(torch.randn(count, config.latent_size))[:, cut:]], 1)
        return ws

    def update(network: nn.Module, loss: torch.Tensor) -> torch.Tensor:
        optimizers[network].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[network].step()
        return loss.detach()

    def step(real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(real)
        fake = synthesise(styles(count, track=True))
        discriminator.requires_grad_(True)
        loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()
        loss_d = update(discriminator, loss)
        if state["step"] % config.penalty_every == 0:
            penalty = r1_penalty(discriminator, real).mean()
            update(discriminator, penalty * (config.r1 / 2 * config.penalty_every))
        discriminator.requires_grad_(False)
        loss_g = update(generator, F.softplus(-judge(fake)).mean())
        if state["step"] % config.path_every == 0:
            ws = styles(count // 2, track=True)
            image = generator.synthesis(ws)
            lengths = path_lengths(ws, image, torch.randn_like(image))
            mean = state["mean"].lerp(lengths.mean(), 0.01)
            state["mean"] = mean.detach()
            update(generator, (lengths - mean).square().mean() * (config.path_length * config.path_every))
        lerp(averaged, ours, 1 - config.ema_decay)
        average.mapping.w_avg.copy_(generator.mapping.w_avg)
        state["step"] += 1
        return loss_d, loss_g

    return step
