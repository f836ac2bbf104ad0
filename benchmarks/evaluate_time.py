"""What measuring takes: Inception's features a second beside torch-fidelity's, and the memory of `jaxgan evaluate`.

    launch/local.sh python benchmarks/evaluate_time.py time FOLDER
    python benchmarks/evaluate_time.py torch FOLDER            needs PyTorch and torch-fidelity
    launch/local.sh python benchmarks/evaluate_time.py memory

`time` and `torch` read 128 PNG files of 299 px, which are made in FOLDER first, in batches of 32, float32, random
weights; the better of three passes after a first one. `memory` measures 1,000 and 5,000 samples of 64 px against twice
as many pictures by every default measure, a process each, and compares their peaks.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

COUNT, BATCH, SIDE = 128, 32, 299


def make(folder: Path) -> list[Path]:
    """PNG files of smooth noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = [folder / f"{index:03}.png" for index in range(COUNT)]
    for path in paths:
        if not path.is_file():
            small = Image.fromarray(random.integers(0, 256, (20, 20, 3), np.uint8))
            small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
    return paths


def timed(look: Callable[[], object]) -> float:
    """Pictures a second, of the best of three passes."""
    look()
    times = []
    for _ in range(3):
        since = time.perf_counter()
        look()
        times.append(time.perf_counter() - since)
    return COUNT / min(times)


def ours(folder: Path) -> float:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import record_metrics  # pyright: ignore[reportMissingImports]

    from jaxgan.evaluate import batches, features, origins
    from jaxgan.evaluate.networks import inception

    params, _ = inception.from_torch("random", record_metrics.weights(inception.shapes()))
    apply = features.of_module(inception.Inception())
    run = batches.runner(lambda params, pictures: apply(params, batches.colours(pictures)), params)
    origin = origins.load(str(folder))
    assert isinstance(origin, origins.Origin)
    assert batches.size() == BATCH
    return timed(lambda: [np.asarray(run(block)) for block in origin.blocks(np.arange(COUNT))])


def theirs(folder: Path) -> float:
    from unittest import mock

    import torch

    # What torch-fidelity imports of torchvision is not used here.
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules.setdefault(name, mock.MagicMock())
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # Without a file, and without the initialisation, which takes a minute: numbers of any size take the same time.
    with mock.patch.object(torch.nn.Module, "load_state_dict"), mock.patch.object(torch, "load"):
        network = FeatureExtractorInceptionV3("x", ["2048"], "random")

    class Pictures(torch.utils.data.Dataset):
        paths = make(folder)

        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.from_numpy(np.array(Image.open(self.paths[index]).convert("RGB")).transpose(2, 0, 1))

    loader = torch.utils.data.DataLoader(Pictures(), BATCH, num_workers=2)
    with torch.no_grad():
        return timed(lambda: [network(block) for block in loader])


def measure(count: int) -> int:
    """Peak memory of this process, which measures so many samples, in bytes."""
    from jaxgan import cli

    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        for name, number in (("made", count), ("real", 2 * count)):
            with Path(folder, f"{name}.npz").open("wb") as file:
                small = random.integers(0, 256, (number, 8, 8, 3), np.uint8)
                np.savez(file, image=small.repeat(8, axis=1).repeat(8, axis=2))
                del small
        cli.main(["evaluate", f"{folder}/made.npz", f"{folder}/real.npz", "--count", str(count), "--json"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("time", "torch", "memory", "measure"))
    parser.add_argument("argument", nargs="?")
    options = parser.parse_args()
    if options.what == "measure":
        print(measure(int(options.argument)))
    elif options.what == "memory":
        peaks = {}
        for count in (1000, 5000):
            command = [sys.executable, __file__, "measure", str(count)]
            peaks[count] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
            print(f"{count:,} samples: {peaks[count] / 2**20:,.0f} MiB", flush=True)
        print(f"ratio {peaks[5000] / peaks[1000]:.3f}")
    else:
        folder = Path(options.argument)
        make(folder)
        rate = (theirs if options.what == "torch" else ours)(folder)
        print(f"{options.what}: {rate:.2f} pictures a second")


if __name__ == "__main__":
    main()
