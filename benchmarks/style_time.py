"""Times of style transfer, ours in its compiled loop and plain PyTorch's, side by side in one run.

    launch/local.sh python benchmarks/style_time.py [--recipe] [SIZE ...]     (PyTorch is in the extra `bench`)
    launch/local.sh python benchmarks/style_time.py [--recipe] --to-loss SIZE
    launch/local.sh python benchmarks/style_time.py [--recipe] --same SIZE
    launch/local.sh python benchmarks/style_time.py --memory jaxgan|jaxgan-saving|pytorch SIZE
    launch/local.sh python benchmarks/style_time.py --growth

The first prints for each size (256 and 512 if none is given) ms an iteration of Gatys with VGG16, relu1_1 to relu5_1,
the ratio, our compile time, and GFLOP/s of the textbook algorithm's arithmetic. They take turns, several rounds; the
fastest counts. The second prints the time to reach the loss that 500 of PyTorch's Adam iterations reach, for our
stages and for PyTorch. The third prints both programs' losses after 50 iterations from the same start. The fourth
prints the peak memory of a process that does a few iterations; the last its growth over 1,000 iterations of L-BFGS.

What is minimised is Gatys's objective, Gram matrices, layers of equal weight, zeros beyond the edges, whatever the
defaults are; with --recipe it is that of the defaults, on both sides. `--device cuda` is PyTorch's device; ours is
JAX's default one.
"""

import dataclasses
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgan
from jaxgan.cli import style as command
from jaxgan.style import cost, losses, recipe, transfer, vgg, weights
from jaxgan.style import pictures as files
from jaxgan.support.console import open_console

ROUNDS, ITERATIONS = 4, 3
RECIPE = False  # Whether the objective is that of the defaults.
DEVICE = "cpu"  # PyTorch's.
WEIGHTS = (1.0, 20.0, 10.0)
ADAM = optax.adam(0.02, b2=0.99)  # PyTorch's side has the same.


def pictures(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle squares of the demonstration's pictures."""
    folder = Path(jaxgan.__path__[0]) / "support" / "assets" / "style"
    content, style = (square(files.read(folder / name).pixels, size) for name in command.DEMO)
    return content, style


def square(image: np.ndarray, size: int) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    return files.fit(image[top : top + side, left : left + side], (size, size))


def options(
    stages: tuple[tuple[float, int], ...] | None, optimizer: optax.GradientTransformation | None
) -> transfer.Options:
    gatys = transfer.Options(
        content_weight=WEIGHTS[0],
        style_weight=WEIGHTS[1],
        tv_weight=WEIGHTS[2],
        style_layers=tuple((name, 1.0) for name, _ in recipe.STYLE_LAYERS),
        style_loss=losses.GRAM,
        padding="zero",
        stages=stages,
        optimizer=optimizer,
    )
    return transfer.Options(stages=stages, optimizer=optimizer) if RECIPE else gatys


def shares() -> tuple[float, float, float]:
    """Of content, style and variation."""
    return (recipe.CONTENT_WEIGHT, recipe.STYLE_WEIGHT, recipe.TV_WEIGHT) if RECIPE else WEIGHTS


def torch_side(size: int):
    import torch_device
    import torch_style
    from safetensors.numpy import load_file

    torch_device.use(DEVICE)
    path = f"{jaxgan.__path__[0]}/support/assets/vgg/vgg16.safetensors"
    layers: dict[str, float] = {name: weight if RECIPE else 1.0 for name, weight in recipe.STYLE_LAYERS}
    kinds = {"style_loss": recipe.STYLE_LOSS, "padding": recipe.PADDING} if RECIPE else {}
    return torch_style.Gatys(load_file(path), *pictures(size), shares(), relative=True, layers=layers, **kinds)


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

    def __init__(self, size: int, saving: bool = False) -> None:
        content, style = map(jnp.asarray, pictures(size))
        chosen = command.Style(size=size, save_memory=saving)
        console = open_console(quiet=True)
        self.network = chosen.load_network(console)
        self.options = options(((1.0, ITERATIONS),), ADAM)
        if saving:
            self.network, self.options = chosen.fitted(self.network, self.options, (size, size), console)
        since = time.perf_counter()
        # Its form is as `stylize` chooses it: the targets are computed once.
        self.targets = jax.block_until_ready(transfer.prepare(self.network, content, (style,), self.options, None, 1.0))
        self.state = transfer.begin(content, (style,), self.options, jax.random.key(0), None, (size, size))
        self.prepare_seconds = time.perf_counter() - since
        since = time.perf_counter()
        self.network = self.network.using(form="fast")
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
        value = sum(weight * part for weight, part in zip(shares(), theirs.step(), strict=True))
    their_seconds = time.perf_counter() - since
    print(f"{size} px: PyTorch reaches {value:.4f} in {iterations} iterations, {their_seconds:.1f} s", flush=True)
    content, style = map(jnp.asarray, pictures(size))
    spent: dict[tuple[int, ...], list[float]] = {}
    clock = [time.perf_counter()]

    def on_chunk(state: transfer.State, history: transfer.History) -> None:
        jax.block_until_ready(state)
        clock.append(time.perf_counter())
        spent.setdefault(state.image.shape, []).append((clock[-1] - clock[-2]) / len(history["total"]))

    ours = options(recipe.stages((size, size)), None)
    assert ours.stages is not None
    _, history = transfer.stylize(
        weights.load(), content, [style], ours, jax.random.key(0), chunk=10, on_chunk=on_chunk
    )
    # The first chunk at a size compiles.
    paces = [float(np.median(seconds[1:])) for seconds in spent.values()]
    before = sum(pace * count for pace, (_, count) in zip(paces[:-1], ours.stages[:-1], strict=True))
    total = np.asarray(history["total"])[-ours.stages[-1][1] :]
    seconds = before + paces[-1] * len(total)
    print(f"  jaxgan, its stages: {total[-1]:.4f} in {seconds:.1f} s", end="")
    print(f" and {clock[-1] - clock[0] - seconds:.1f} s to prepare and compile")
    below = np.flatnonzero(total <= value)
    if below.size:
        seconds = before + paces[-1] * below[0]
        print(f"  PyTorch's loss after {seconds:.1f} s, ratio {seconds / their_seconds:.2f}")
    else:
        print("  PyTorch's loss not reached")


def same(size: int) -> None:
    theirs = torch_side(size)
    # From the content itself, where the content loss has no slope, rounding alone decides where a descent goes.
    noise = np.random.RandomState(1).random_sample((size, size, 3)).astype(np.float32)
    theirs.begin(noise)
    values = np.array([theirs.step() for _ in range(51)])
    content, style = map(jnp.asarray, pictures(size))
    ours = dataclasses.replace(options(((1.0, 51),), ADAM), average=0.0)
    key = jax.random.key(0)
    _, history = transfer.stylize(weights.load(), content, [style], ours, key, start=jnp.asarray(noise))
    for index, name in enumerate(("content", "style", "tv")):
        found, wanted = float(history[name][50]), values[50, index]
        print(f"  {name:8} after 50 iterations: jaxgan {found:.6f}, PyTorch {wanted:.6f}, {found / wanted - 1:+.2%}")


def memory(side: str, size: int) -> None:
    if side.startswith("jaxgan"):
        cost.release_after_compiling()  # As the command does.
        Ours(size, saving=side == "jaxgan-saving").run()
    else:
        theirs = torch_side(size)
        for _ in range(2):
            theirs.step()
    print(f"{side} at {size} px: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def growth() -> None:
    content, style = map(jnp.asarray, pictures(64))
    lbfgs = dataclasses.replace(options(((1.0, 1000),), transfer.optimizer("lbfgs", 1000)), average=0.0)
    done: list[float] = []

    def on_chunk(state: transfer.State, history: transfer.History) -> None:
        done.extend(np.asarray(history["total"]).tolist())
        if len(done) in (100, 500, 1000):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
            print(f"  {len(done):5} iterations: {resident:.1f} MiB resident, loss {done[-1]:.4f}")

    transfer.stylize(weights.load(), content, [style], lbfgs, jax.random.key(0), chunk=50, on_chunk=on_chunk)


def main() -> None:
    arguments = sys.argv[1:]
    if "--recipe" in arguments:
        globals()["RECIPE"] = True
        arguments.remove("--recipe")
    if "--device" in arguments:
        at = arguments.index("--device")
        globals()["DEVICE"] = arguments[at + 1]
        del arguments[at : at + 2]
    if arguments[:1] == ["--memory"]:
        memory(arguments[1], int(arguments[2]))
    elif arguments[:1] == ["--same"]:
        same(int(arguments[1]))
    elif arguments[:1] == ["--growth"]:
        growth()
    elif arguments[:1] == ["--to-loss"]:
        to_loss(int(arguments[1]))
    else:
        print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
        for size in map(int, arguments or (256, 512)):
            compare(size)


if __name__ == "__main__":
    main()
