"""Ten seeds of the config `grid`: one compiled program, ten runs one after another, and a PyTorch loop, as ratios.

    launch/local.sh python benchmarks/sweep_time.py [--seeds 10] [--steps 1000] [--rounds 3]

The three take turns; each round times `steps` steps of every seed. Compilation is timed apart. Nothing is recorded or
drawn. PyTorch trains one seed (its runs do not depend on one another), timed over a fifth of the steps; --torch 0
leaves it out. It needs the extra `bench`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as cfg
from jaxgan.run import build, parallel, programs
from jaxgan.run.sweep import Program, members


def together(config: cfg.Config, seeds: int, steps: int) -> tuple[Callable[[], None], float]:
    """Steps of all seeds in one program, and the seconds it took to compile."""
    since = time.perf_counter()
    source = build.source(config)
    everyone = members(config, seeds, {}, Path("unused"))
    plans = [build.experiment(member.config, source.shape, source.classes) for member in everyone]
    program, stage = Program(plans, source), plans[0].stages[0]
    state = [program.initial()]
    compiled = program.compiled(stage, "quick", state[0], lambda seconds: None)
    seconds = time.perf_counter() - since

    def run() -> None:
        for begin in range(0, steps, programs.CAPACITY):
            count = min(programs.CAPACITY, steps - begin)
            items = program.put([programs.gather_items(own, begin, count) for own in program.sources(stage)])
            state[0], collected = compiled(state[0], items, program.put_count(count))
            jax.device_get(collected)

    return run, seconds


def alone(config: cfg.Config, steps: int) -> tuple[Callable[[], None], float]:
    """Steps of one seed as `jaxgan train` takes them, and the seconds it took to compile."""
    since = time.perf_counter()
    place = parallel.place(devices=jax.devices()[:1])
    source = build.source(config)
    plan = build.experiment(config, source.shape, source.classes)
    game = plan.stages[0].game
    key = parallel.key(place, config.seed)
    state = [plan.initial_state(plan.stages[0], place)]
    compiled = programs.compile_steps(place, game, source, state[0], key, "fast")
    resident = parallel.put_everywhere(place, source.resident)
    seconds = time.perf_counter() - since

    def run() -> None:
        for begin in range(0, steps, programs.CAPACITY):
            count = min(programs.CAPACITY, steps - begin)
            items = parallel.put_items(place, programs.gather_items(source, begin, count))
            state[0], collected = compiled(state[0], resident, items, jnp.int32(count), key)
            jax.device_get(collected)

    return run, seconds


def pytorch(config: cfg.Config, steps: int) -> Callable[[], None]:
    """Steps of one seed in PyTorch: the same networks, loss, penalties, optimisers and moving average."""
    import torch
    from torch import nn
    from torch.nn.functional import softplus

    g, d = config.generator, config.discriminator
    assert isinstance(g, cfg.MLPGenerator)
    assert isinstance(d, cfg.MLPDiscriminator)

    def network(inputs: int, widths: tuple[int, ...], outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, after in zip((inputs, *widths), widths, strict=False):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    generator = network(config.latent_size, g.widths, 2)
    trunk = network(2 + 2 * d.fourier, d.widths, 1)
    directions = d.fourier_scale * torch.randn(2, d.fourier)
    average = [parameter.detach().clone() for parameter in generator.parameters()]

    def judge(x: torch.Tensor) -> torch.Tensor:
        angle = x @ directions
        return trunk(torch.cat([x, angle.sin(), angle.cos()], dim=-1))[:, 0]

    optimizers = [
        torch.optim.Adam(net.parameters(), player.learning_rate, (player.beta1, player.beta2))
        for net, player in ((generator, g), (trunk, d))
    ]
    points = torch.from_numpy(np.array(build.source(config).resident["image"]))

    def step() -> None:
        real = points[torch.randint(len(points), (config.batch_size,))].requires_grad_()
        made = generator(torch.randn(config.batch_size, config.latent_size))
        fake = made.detach().requires_grad_()
        real_logits, fake_logits = judge(real), judge(fake)
        loss = softplus(fake_logits - real_logits).mean()
        for logits, at, weight in ((real_logits, real, config.r1), (fake_logits, fake, config.r2)):
            (slope,) = torch.autograd.grad(logits.sum(), at, create_graph=True)
            loss = loss + weight / 2 * (slope**2).sum(dim=1).mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        with torch.no_grad():
            real_logits = judge(real)
        optimizers[0].zero_grad()
        softplus(real_logits - judge(made)).mean().backward()
        optimizers[0].step()
        with torch.no_grad():
            for old, new in zip(average, generator.parameters(), strict=True):
                old.lerp_(new, 1 - config.ema_decay)

    def run() -> None:
        for _ in range(steps):
            step()

    step()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch", type=int, default=1)
    options = parser.parse_args()
    config = cfg.load("grid")[1]
    every, compile_every = together(config, options.seeds, options.steps)
    one, compile_one = alone(config, options.steps)
    ways = {"one program": (every, 1.0), "one after another": (one, float(options.seeds))}
    if options.torch:
        ways["PyTorch"] = (pytorch(config, options.steps // 5), 5.0 * options.seeds)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (run, factor) in ways.items():
            since = time.perf_counter()
            run()
            times[name].append(factor * (time.perf_counter() - since))
    print(f"{options.seeds} seeds of `grid`, {options.steps} steps each; medians of {options.rounds} rounds")
    base = statistics.median(times["one program"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:18} {median:7.1f} s  ratio {median / base:5.2f}  ({min(found):.1f} to {max(found):.1f} s)")
    print(f"compilation: {compile_every:.1f} s for the one program, {compile_one:.1f} s for a run alone (not cached)")


if __name__ == "__main__":
    main()
