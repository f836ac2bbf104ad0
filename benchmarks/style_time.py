"""Time of style transfer, ours in its compiled loop and plain PyTorch's, side by side in one run.

    launch/local.sh python benchmarks/style_time.py [SIZE ...]     (PyTorch is in the extra `bench`)
    launch/local.sh python benchmarks/style_time.py --to-loss SIZE
    launch/local.sh python benchmarks/style_time.py --memory jaxgan|pytorch SIZE

The first prints for each size (256 and 512 if none is given) ms an iteration of Gatys with VGG16, relu1_1 to relu5_1,
the ratio, our compile time, and GFLOP/s of the textbook algorithm's arithmetic. They take turns, several rounds; the
fastest counts. The second prints the time to reach the loss that 500 of PyTorch's Adam iterations reach, for our
stages and for PyTorch. The third prints the peak memory of a process that does two iterations.
"""

import resource
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.style import transfer, vgg, weights

ROUNDS, ITERATIONS = 4, 3
WEIGHTS = (1.0, 20.0, 10.0)


def pictures(size: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, (size, size, 3))
    content = 0.5 + 0.3 * np.stack([np.sin(9 * x), np.cos(8 * y), np.sin(7 * (x + y))], axis=-1) + noise
    style = 0.5 + 0.4 * np.stack([np.sin(70 * x * y), np.cos(90 * y), np.sin(60 * (x - y))], axis=-1) + noise
    return content.astype(np.float32), style.astype(np.float32)


def options(stages: tuple[tuple[float, int], ...]) -> transfer.Options:
    return transfer.Options(content_weight=WEIGHTS[0], style_weight=WEIGHTS[1], tv_weight=WEIGHTS[2], stages=stages)


def torch_side(size: int):
    import torch_style
    from safetensors.numpy import load_file

    import jaxgan

    path = f"{jaxgan.__path__[0]}/assets/vgg/vgg16.safetensors"
    return torch_style.Gatys(load_file(path), *pictures(size), WEIGHTS, relative=True)


def textbook_gflop(size: int) -> float:
    """Forward to relu5_1 and back to the pixels, the kernels' gradients left out."""
    total, channels = 0.0, 3
    for block, (count, width) in enumerate(zip((2, 2, 3, 3, 1), vgg.WIDTHS, strict=True)):
        for _ in range(count):
            total += 2 * 2 * 9 * channels * width * (size // 2**block) ** 2
            channels = width
    return total / 1e9


class Ours:
    """Our loop at one size, compiled."""

    def __init__(self, size: int) -> None:
        content, style = map(jnp.asarray, pictures(size))
        self.options, self.network = options(((1.0, ITERATIONS),)), weights.load()
        since = time.perf_counter()
        self.targets = jax.block_until_ready(transfer.prepare(self.network, content, (style,), self.options, None, 1.0))
        self.state = transfer.begin(content, (style,), self.options, jax.random.key(0), None, (size, size))
        self.prepare_seconds = time.perf_counter() - since
        since = time.perf_counter()
        arguments = (self.network, self.targets, self.options, self.state, jnp.int32(ITERATIONS), ITERATIONS)
        self.compiled = transfer.iterate.lower(*arguments).compile()
        self.compile_seconds = time.perf_counter() - since

    def run(self) -> None:
        arguments = (self.network, self.targets, self.options, self.state, jnp.int32(ITERATIONS))
        self.state, history = self.compiled(*arguments)
        jax.block_until_ready(history)


def compare(size: int) -> None:
    ours = Ours(size)
    print(f"\n{size} px: ours prepared in {ours.prepare_seconds:.1f} s, compiled in {ours.compile_seconds:.1f} s")
    runs: dict[str, Callable[[], object]] = {"jaxgan": ours.run}
    try:
        theirs = torch_side(size)
        runs["PyTorch"] = lambda: [theirs.step() for _ in range(ITERATIONS)]
    except ImportError:
        print("PyTorch is not installed (the extra `bench`): no comparison")
    best: dict[str, float] = {}
    for round_ in range(ROUNDS + 1):  # The first warms up.
        for name, run in runs.items():
            since = time.perf_counter()
            run()
            seconds = (time.perf_counter() - since) / ITERATIONS
            if round_:
                best[name] = min(best.get(name, seconds), seconds)
    for name, seconds in best.items():
        print(f"  {name:8} {seconds * 1e3:8.1f} ms an iteration {textbook_gflop(size) / seconds:6.0f} GFLOP/s")
    if len(best) == 2:
        print(f"  ratio, jaxgan / PyTorch: {best['jaxgan'] / best['PyTorch']:.2f}")


def to_loss(size: int, iterations: int = 500) -> None:
    theirs, value = torch_side(size), float("nan")
    since = time.perf_counter()
    for _ in range(iterations):
        value = sum(weight * part for weight, part in zip(WEIGHTS, theirs.step(), strict=True))
    their_seconds = time.perf_counter() - since
    print(f"{size} px: PyTorch reaches {value:.4f} in {iterations} iterations, {their_seconds:.1f} s")
    content, style = map(jnp.asarray, pictures(size))
    ours = options(((0.25, 200), (0.5, 150), (1.0, iterations)))
    reached: list[float] = []
    clock = {"since": time.perf_counter(), "spent": 0.0, "compiling": 0.0, "owing": 0.0}
    seen: set[tuple[int, ...]] = set()

    def on_chunk(state: transfer.State, history: transfer.History) -> None:
        seconds = time.perf_counter() - clock["since"]
        # The first chunk at a size compiles; its ten iterations are charged at the speed of the next ten.
        if state.image.shape in seen:
            clock["spent"] += seconds * (2 if clock["owing"] else 1)
            clock["compiling"] -= seconds * clock["owing"]
        else:
            clock["compiling"] += seconds
        clock["owing"] = float(state.image.shape not in seen)
        seen.add(state.image.shape)
        if state.image.shape == content.shape and not reached and float(history["total"][-1]) <= value:
            reached.append(clock["spent"])
            raise StopIteration
        clock["since"] = time.perf_counter()

    try:
        transfer.stylize(weights.load(), content, [style], ours, jax.random.key(0), chunk=10, on_chunk=on_chunk)
        print("  ours does not reach it")
    except StopIteration:
        ratio = reached[0] / their_seconds
        print(f"  ours in {reached[0]:.1f} s, ratio {ratio:.2f}, and {clock['compiling']:.1f} s to compile")


def memory(side: str, size: int) -> None:
    if side == "jaxgan":
        Ours(size).run()
    else:
        theirs = torch_side(size)
        for _ in range(2):
            theirs.step()
    print(f"{side} at {size} px: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--memory"]:
        memory(arguments[1], int(arguments[2]))
    elif arguments[:1] == ["--to-loss"]:
        to_loss(int(arguments[1]))
    else:
        print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
        for size in map(int, arguments or (256, 512)):
            compare(size)


if __name__ == "__main__":
    main()
