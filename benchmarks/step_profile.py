"""Where the time of a training step goes: by kind of work, by layer, by operation, by derivative.

    launch/local.sh python benchmarks/step_profile.py mnist_dcgan
    launch/local.sh python benchmarks/step_profile.py stylegan2_64 --steps 16 --set augment=[]

The program is the one that training runs, the fast form, on made-up pictures; JAX's profiler times each of its
operations. Threads' times are summed, so shares count, not milliseconds; a fusion counts where its last operation does.
"""

import argparse
import collections
import dataclasses
import glob
import gzip
import json
import re
import tempfile
from pathlib import Path

import jax
import step_time

from jaxgan import config as cfg

MOVES = {"add", "add_any", "concatenate", "mul", "pad", "slice", "split", "stack", "sub", "transpose", "unstack"}


def origins(text: str) -> dict[str, tuple[str, str, str]]:
    """Of each operation in a compiled program its layer, its primitive, and how it is differentiated.

    "jvp" is a pass forwards, "transpose jvp" its gradient; what has two of "transpose" is of a penalty's.
    """
    found = {}
    for name, metadata in re.findall(r"^\s*(?:ROOT )?%(\S+) = .*?metadata=\{(.*?)\}", text, re.MULTILINE):
        *path, primitive = (re.findall(r'op_name="(.*?)"', metadata) or [""])[0].split("/")
        path = "/".join(path).removeprefix("jit(chosen)/while/body/")
        layer = re.sub(r"/?(transpose|jvp|vmap)\(|\)", "", re.sub(r"/?jit\(\w*\)", "", path))
        found[name] = layer or "-", primitive or "-", " ".join(re.findall(r"transpose|jvp", path)) or "-"
    return found


def kind(layer: str, primitive: str) -> str:
    """What sort of work an operation is, roughly."""
    if primitive in ("dot_general", "conv_general_dilated"):
        return "matrix products and convolutions"
    if not re.search("Discriminator|Generator", layer):
        return "optimisers, averages, batches, random numbers"
    if primitive in MOVES and re.search("[Cc]onv|Dense|skip|first|last|picture", layer):
        return "numbers moved and added in layers"
    return "sums of gradients, activations, normalisation"


def profile(config: cfg.Config, shape: tuple[int, int, int], steps: int) -> tuple[dict[str, float], str]:
    """Returns microseconds of each operation in `steps` steps, and the text of the compiled program."""
    _, compiled, runs = step_time.jax_runs(config, shape, steps)
    loop = runs["loop"]
    loop()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            loop()
        (path,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
        events = json.loads(gzip.decompress(Path(path).read_bytes()))["traceEvents"]
    times: dict[str, float] = collections.defaultdict(float)
    for event in events:
        if "hlo_op" in event.get("args", {}):
            times[event["args"]["hlo_op"]] += event["dur"]
    return times, compiled.as_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="the value as JSON")
    chosen = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (change.split("=", 1) for change in chosen.set)}
    config = dataclasses.replace(cfg.load(chosen.config)[1], **changes)
    mnist = config.data == "mnist"
    times, text = profile(config, (28, 28, 1) if mnist else (config.size or 64, config.size or 64, 3), chosen.steps)
    places, whole = origins(text), sum(times.values())
    for title, group in (
        ("kind", lambda place: kind(*place[:2])),
        ("operation", lambda place: place[1]),
        ("layer", lambda place: place[0]),
        ("derivative", lambda place: place[2]),
        ("layer and operation", lambda place: f"{place[0]} {place[1]}"),
    ):
        shares: dict[str, float] = collections.defaultdict(float)
        for name, spent in times.items():
            shares[group(places.get(name, ("-", "-", "")))] += spent
        print(f"\n{whole / chosen.steps / 1e3:.1f} ms a step over all threads, by {title}:")
        for name, spent in sorted(shares.items(), key=lambda item: -item[1])[: chosen.rows]:
            print(f"  {spent / whole:6.1%}  {name}")


if __name__ == "__main__":
    main()
