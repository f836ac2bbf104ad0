"""How fast pictures become a set, whether streaming keeps a step fed, and whether a large set needs memory.

    launch/local.sh python benchmarks/data.py [--only make|stream|large] [--count 200000]

make: `jaxgan data make` beside a loop of Pillow that opens, converts and resizes the same files, in one process and in
as many. stream: seconds a step of a DCGAN, with pictures streaming from ArrayRecord and with all on the device, taking
turns. large: a made-up set of many pictures is written, and the process's memory watched while batches are read.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from jaxgan import config as cfg
from jaxgan.data import ArraySource, Source, StreamSource, making, records
from jaxgan.data.folder import Settings
from jaxgan.data.mnist import load_mnist
from jaxgan.data.source import fetched
from jaxgan.run import build, parallel, programs


def photographs(folder: Path, count: int) -> None:
    """Smooth pictures of a camera's sizes, as JPEG."""
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
        coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(folder / f"{index:04}.jpg", quality=90)


def pillow(paths: list[Path]) -> int:
    for path in paths:
        with Image.open(path) as image:
            np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS))
    return len(paths)


def make(count: int = 400) -> None:
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "photos"
        folder.mkdir()
        photographs(folder, count)
        paths = sorted(folder.iterdir())
        spawn = multiprocessing.get_context("spawn")
        times: dict[str, list[float]] = {"data make": [], "Pillow, one process": [], f"Pillow, {workers} processes": []}
        for turn in range(3):
            for name, seconds in times.items():
                since = time.perf_counter()
                if name == "data make":
                    making.make(folder, Path(base) / f"set{turn}", Settings())
                elif "one" in name:
                    pillow(paths)
                else:
                    with concurrent.futures.ProcessPoolExecutor(workers, spawn) as pool:
                        list(pool.map(pillow, [paths[index::workers] for index in range(workers)]))
                seconds.append(time.perf_counter() - since)
        print(f"{count} JPEGs of 1600 x 1200 to 64 px, medians of 3")
        for name, seconds in times.items():
            print(f"  {name:24} {count / statistics.median(seconds):7.0f} images/s")


def write_set(path: Path, images: Any, shape: tuple[int, int, int], count: int) -> records.PictureSet:
    """A set written directly, of pictures that a function of the index makes."""
    path.mkdir()
    writer = ArrayRecordWriter(str(path / "pictures-00000.arrayrecord"), "group_size:1,uncompressed")
    for index in range(count):
        writer.write(images(index).tobytes())
    writer.close()
    manifest = records.Manifest(
        version=records.VERSION, source="made up", listing="", settings=Settings(size=shape[0]), count=count, skipped=0,
        duplicates=0, shape=shape, classes=(), mean=(0.0,), std=(0.0,), parts=(count,), sha256="",
    )  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(dataclasses.asdict(manifest)))
    return records.PictureSet(path)


def timed(config: cfg.Config, source: Source, count: int) -> Any:
    """A function that runs a dispatch of `count` steps as `jaxgan train` does, and returns seconds a step."""
    place = parallel.place(devices=jax.devices()[:1])
    experiment = build.experiment(config, source.shape, source.classes)
    game = experiment.stages[0].game
    key = parallel.key(place, 0)
    state = [experiment.initial_state(experiment.stages[0], place)]
    compiled = programs.compile_steps(place, game, source, state[0], key, "fast")
    resident = parallel.put_everywhere(place, source.resident)
    room = programs.capacity(source)
    items = fetched(source, 0, 10**6)

    def plan() -> Any:
        return parallel.put_items(place, programs.stack_items(items, count, room))

    following = [plan()]

    def run() -> float:
        since = time.perf_counter()
        state[0], collected = compiled(state[0], resident, following[0], jnp.int32(count), key)
        following[0] = plan()  # Travels while the device works.
        jax.device_get(collected)
        return (time.perf_counter() - since) / count

    run()
    return run


def stream(rounds: int = 15) -> None:
    digits = load_mnist()[0]
    random = np.random.default_rng(0).integers(0, 256, (4000, 64, 64, 3), np.uint8)
    mnist = cfg.load("mnist_dcgan")[1]
    large = cfg.Config(batch_size=64)
    # As many steps a dispatch as take half a second on 2 cores, or one.
    for name, config, images, count in (
        ("mnist_dcgan", mnist, digits, 25),
        ("DCGAN 64 px, batch 64", large, random, 1),
    ):
        with tempfile.TemporaryDirectory() as base:
            pictures = write_set(Path(base) / "set", images.__getitem__, images.shape[1:], len(images))
            streamed = StreamSource(pictures, config.batch_size, 0)
            resident = ArraySource(np.asarray(images), None, config.batch_size, 0)
            ways = {"on the device": timed(config, resident, count), "streaming": timed(config, streamed, count)}
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, run in ways.items():
                    times[way].append(run())
            medians = {way: statistics.median(seconds) for way, seconds in times.items()}
            ratio = medians["streaming"] / medians["on the device"]
            shown = ", ".join(f"{way} {1000 * seconds:.1f} ms" for way, seconds in medians.items())
            print(f"{name}: {shown} a step; ratio {ratio:.3f} (medians of {rounds} rounds, taking turns)")


def memory(count: int) -> None:
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as base:
        base_image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        since = time.perf_counter()
        pictures = write_set(Path(base) / "set", lambda index: base_image + np.uint8(index % 251), (64, 64, 3), count)
        seconds, size = time.perf_counter() - since, count * 12288 / 2**30
        print(f"{count:,} pictures of 64 px ({size:.2f} GiB) written in {seconds:.0f} s")
        source = StreamSource(pictures, 64, 0)
        seen, since = [], time.perf_counter()
        steps = count // 64
        for step, _ in enumerate(fetched(source, 0, steps)):
            if step % max(1, steps // 10) == 0:
                # Pages of the files that are mapped count as shared; they are the system's, to take back at any time.
                found = process.memory_info()
                seen.append((found.rss - found.shared) / 2**20)
        rate = steps * 64 / (time.perf_counter() - since)
        print(f"one epoch at {rate:,.0f} images/s; memory, MiB: {', '.join(f'{mib:.0f}' for mib in seen)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["make", "stream", "large"])
    parser.add_argument("--count", type=int, default=200_000)
    options = parser.parse_args()
    if options.only in (None, "make"):
        make()
    if options.only in (None, "stream"):
        stream()
    if options.only in (None, "large"):
        memory(options.count)


if __name__ == "__main__":
    main()
