"""Time of a training step, ours in the loop that users run, and PyTorch's, side by side in one run.

    launch/local.sh python benchmarks/step_time.py [--device cuda]

PyTorch is in the extra `bench` (pip install 'jaxgan[bench]'); --device is its device, ours is JAX's default one.

Prints for each pair: ms a step alone (one jit call a step), in the training loop (many steps a dispatch), and in
PyTorch (channels_last; eager, and compiled where that works), with the ratio of the loop to PyTorch's faster one;
compile time; GFLOP/s of the arithmetic that the textbook algorithm takes, beside the machine's matrix-product peak.
Ours and PyTorch's take turns, several rounds, and the fastest round counts.
"""

import argparse
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import ArraySource
from jaxgan.run import build, parallel, programs

ROUNDS = 4
CASES = {
    "DCGAN 64x64x3, width 64, batch 64": (cfg.Config(batch_size=64), (64, 64, 3), 6),
    "configs/mnist_dcgan.py": (cfg.load("mnist_dcgan")[1], (28, 28, 1), 100),
    "MNIST DCGAN 28x28, width 64, batch 128": (cfg.Config(), (28, 28, 1), 25),
    "configs/mnist_fc.py (batch 128)": (cfg.load("mnist_fc")[1], (28, 28, 1), 100),
}


def peak() -> float:
    """GFLOP/s of a float32 matrix product, the fastest of several."""
    size = 2048
    a = jnp.ones((size, size))
    product = jax.jit(jnp.dot)
    jax.block_until_ready(product(a, a))
    times = []
    for _ in range(ROUNDS):
        since = time.perf_counter()
        jax.block_until_ready(product(a, a))
        times.append(time.perf_counter() - since)
    return 2 * size**3 / min(times) / 1e9


def jax_runs(config: cfg.Config, shape: tuple[int, int, int], steps: int) -> tuple[float, Any, dict]:
    """Returns seconds to compile, the compiled loop, and functions that run steps: in the loop, and alone."""
    images = np.random.default_rng(0).integers(0, 256, (1000, *shape), np.uint8)
    source = ArraySource(images, None, config.batch_size, 0)
    plan = build.experiment(config, shape, 0)
    game = plan.stages[0].game
    key = jax.random.key(0)
    placement = parallel.place()
    state = plan.initial_state(plan.stages[0], placement)
    since = time.perf_counter()
    compiled: Any = programs.compile_steps(placement, game, source, state, key, "fast")
    compile_seconds = time.perf_counter() - since
    resident = parallel.put_everywhere(placement, source.resident)
    items = parallel.put_items(placement, programs.gather_items(source, 0, steps))
    alone = jax.jit(functools.partial(train_step.train_step, game), donate_argnums=0)
    batch = jax.jit(source.batch)(resident, items[0])
    states = {"loop": state, "alone": jax.tree.map(jnp.copy, state)}

    def loop() -> None:
        states["loop"], metrics = compiled(states["loop"], resident, items, jnp.int32(steps), key)
        jax.block_until_ready(metrics)

    def one_by_one() -> None:
        for _ in range(steps):
            states["alone"], metrics = alone(states["alone"], batch, key)
            jax.block_until_ready(metrics)

    return compile_seconds, compiled, {"loop": loop, "alone": one_by_one}


def torch_runs(
    config: cfg.Config, shape: tuple[int, int, int], steps: int, device: str
) -> dict[str, Callable[[], None]]:
    """The same pair in PyTorch, eager and compiled."""
    import torch
    import torch_device
    import torch_gan

    torch_device.use(device)
    runs: dict[str, Callable[[], None]] = {}
    for name in ("eager", "compiled"):
        torch.manual_seed(0)
        pair = torch_gan.pair(config, shape)
        real = torch_gan.layout(config, torch.rand(config.batch_size, *shape) * 2 - 1)
        if name == "compiled":
            pair[0].compile()
            pair[1].compile()
        step = torch_gan.make_step(config, *pair)

        def run(step=step, real=real) -> None:
            for _ in range(steps):
                step(real)
            torch_device.wait()

        runs[name] = run
    return runs


def textbook_gflop(config: cfg.Config, shape: tuple[int, int, int]) -> float:
    """GFLOP of a step counted layer by layer: G forward 1 and backward 2 times its products, D 3 x forward, 5 back."""
    if isinstance(config.generator, cfg.MLPGenerator):
        sizes = [config.latent_size, *config.generator.widths, int(np.prod(shape))]
        layers = [a * b for a, b in itertools.pairwise(sizes)]
        generator, discriminator = layers, [*layers[:0:-1], config.generator.widths[0]]
    else:
        from jaxgan.models import dcgan

        base, doublings = dcgan.stages(shape[0])

        def convolutions(width: int) -> tuple[list[int], int]:
            """Multiplications of each layer, and numbers in the smallest feature map."""
            widths = [shape[2], *(width * min(2**i, 8) for i in range(doublings))]
            layers = [(shape[0] // 2 ** (i + 1)) ** 2 * 16 * widths[i] * widths[i + 1] for i in range(doublings)]
            return layers, base * base * widths[-1]

        assert isinstance(config.discriminator, cfg.DCGANDiscriminator)
        layers, size = convolutions(config.generator.width)
        generator = [config.latent_size * size, *layers[::-1]]
        layers, size = convolutions(config.discriminator.width)
        features = config.discriminator.features
        discriminator = [*layers, *([size * features, features] if features else [size])]
    # No gradient is needed for the generator's latents, nor for the real and (in D's update) the fake pictures.
    multiplications = 3 * sum(generator) - generator[0] + 8 * sum(discriminator) - 2 * discriminator[0]
    return 2 * multiplications * config.batch_size / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="PyTorch's")
    device = parser.parse_args().device
    limit = peak()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; matrix product peak {limit:.0f} GFLOP/s")
    for name, (config, shape, steps) in CASES.items():
        config = dataclasses.replace(config, steps=steps)
        compile_seconds, _, runs = jax_runs(config, shape, steps)
        try:
            runs |= torch_runs(config, shape, steps, device)
        except ImportError:
            print("PyTorch is not installed (the extra `bench`): no comparison")
        best: dict[str, float] = {}
        for label, run in list(runs.items()):
            try:
                run()  # Warm-up, and for PyTorch's compiler the compilation.
            except Exception as error:
                print(f"  PyTorch {label}: not available here ({type(error).__name__})")
                del runs[label]
        for _ in range(ROUNDS):
            for label, run in runs.items():
                since = time.perf_counter()
                run()
                seconds = (time.perf_counter() - since) / steps
                best[label] = min(best.get(label, seconds), seconds)
        gflop = textbook_gflop(config, shape)
        print(f"\n{name}: {gflop:.2f} GFLOP a step; ours compiled in {compile_seconds:.1f} s")
        for label, seconds in best.items():
            who = "jaxgan" if label in ("loop", "alone") else "PyTorch"
            rate = gflop / seconds
            print(f"  {who} {label:9} {seconds * 1e3:8.2f} ms a step {rate:6.0f} GFLOP/s ({rate / limit:.0%} of peak)")
        theirs = [best[label] for label in ("eager", "compiled") if label in best]
        if theirs:
            print(f"  ratio, jaxgan in the loop / PyTorch's best: {best['loop'] / min(theirs):.2f}")


if __name__ == "__main__":
    main()
