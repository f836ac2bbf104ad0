"""Records a run as jaxgan made it before its convolutions had a choice of forms (commit 4a9282a).

    python tests/record_run.py     in that checkout, writes tests/data/run.zip

In it are the run's directory at step 3 (`run/`), and `expected.npz`: its parameters, optimiser states and average at
step 6, named by their paths, and of what machine and which JAX they are. The networks are narrow ones of 3x3
convolutions, in which Winograd's algorithm is everywhere that it can go.
"""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import config as cfg
from jaxgan.run import checkpoint, directory, training

DATA = Path(__file__).parent / "data" / "run.zip"
CONFIG = cfg.Config(
    generator=cfg.DCGANGenerator(width=16, upsampling="nearest"),
    discriminator=cfg.DCGANDiscriminator(width=16, downsampling="pooling", norm="none"),
    latent_size=8,
    batch_size=4,
    r1=1.0,
    steps=3,
    log_every=1,
    sample_every=3,
    checkpoint_every=3,
    keep_last=1,
)


def machine(xla_flags: str = "") -> str:
    """What the last bits of a result depend on: the processor's cores and instructions, JAX, and how XLA compiles."""
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    wide = sorted({flag for flag in flags.split() if flag.startswith(("avx", "fma", "amx"))})
    return " ".join([f"jax {jax.__version__}, {len(os.sched_getaffinity(0))} cores,", *wide, *xla_flags.split()])


def arrays(run: Path) -> dict[str, np.ndarray]:
    """All of the state of a run, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(directory.read(run).state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def go_on(run: Path) -> None:
    """Takes a run to step 6."""
    training.train(dataclasses.replace(CONFIG, steps=6), run)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "all" / "run"
        training.train(CONFIG, run, quiet=True)
        for path in run.iterdir():  # What a resumed run needs, and no more.
            if path.name not in ("config.json", "data.json", "metrics.jsonl", "checkpoints"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        longer = Path(folder) / "longer"
        shutil.copytree(run, longer)
        go_on(longer)
        assert checkpoint.steps(longer) == [6]
        expected: dict[str, Any] = {"machine": np.array(machine()), **arrays(longer)}
        np.savez(run.parent / "expected.npz", **expected)
        shutil.make_archive(str(DATA.with_suffix("")), "zip", run.parent)


if __name__ == "__main__":
    main()
