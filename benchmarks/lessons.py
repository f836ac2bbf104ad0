"""The ten lessons for training GANs (Pasini), one option at a time, on the ring of eight Gaussians: what each does.

    launch/local.sh python benchmarks/lessons.py [--seeds 10] [--steps 4000] [--only NAME ...] [--out runs/lessons]

The base is a plain non-saturating GAN, fully connected, Adam at 0.001 for both. Each row changes what it names and
nothing else. Modes, high quality and reverse KL are PacGAN's, of 2,500 samples of the averaged generator; medians of
all seeds and their range. Early stopping costs no training: it is the best look of each seed of the base beside its
last one.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from modes import Look, both, looks

from jaxgan import config as cfg

BASE: dict[str, Any] = {"loss": "non_saturating", "r1": 0.0, "r2": 0.0, "discriminator.fourier": 0, "log_every": 50}
BASE |= both(learning_rate=1e-3, beta1=0.5, beta2=0.999, decay_steps=0)
LESSONS: dict[str, dict[str, Any]] = {
    "base": {},
    "1 capacity: twice as wide": both(widths=[128, 128, 128]),
    "1 stability: R1": {"r1": 0.1},
    "3 loss: least squares": {"loss": "least_squares"},
    "3 loss: hinge": {"loss": "hinge"},
    "3 loss: relativistic, R1 and R2": {"loss": "relativistic_paired", "r1": 0.05, "r2": 0.05},
    "4 balance: two updates of D": {"discriminator_updates": 2},
    "4 balance: skip D below 1.2": {"skip_discriminator_below": 1.2},
    "5 learning rates: 0.0001": both(learning_rate=1e-4),
    "6 noise on D's input, fading": {"instance_noise": 0.2, "instance_noise_steps": 2000},
    "7 label smoothing": {"smooth_real": 0.1},
    "9 two time scales: G 0.00025": {"generator.learning_rate": 2.5e-4},
    "10 spectral normalisation": {"discriminator.norm": "spectral"},
    "packing: PacGAN2": {"pack": 2},
}


def row(name: str, chosen: list[Look]) -> str:
    """A row of the table."""
    cells = []
    for metric, scale, form in (("modes/share", 8, ".1f"), ("modes/high_quality", 100, ".1f"), ("modes/kl", 1, ".3f")):
        values = scale * np.array([look[metric] for look in chosen])
        cells.append(f"{np.median(values):{form}} ({values.min():{form}} to {values.max():{form}})")
    states = [look["diagnosis"] for look in chosen]
    return f"| {name} | {' | '.join(cells)} | {states.count('healthy')} of {len(states)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--only", nargs="+", default=list(LESSONS), choices=list(LESSONS))
    parser.add_argument("--out", type=Path, default=Path("runs/lessons"))
    options = parser.parse_args()
    base = dataclasses.replace(cfg.load("ring")[1], steps=options.steps, sample_every=options.steps // 8)
    print("| option | modes of 8 | high quality % | reverse KL | called healthy |\n" + "|---" * 5 + "|", flush=True)
    for place, name in enumerate(options.only):
        config = cfg.replaced(base, BASE | LESSONS[name])
        found = looks(config, options.seeds, options.out / str(place))
        print(row(name, [own[-1] for own in found]), flush=True)
        if name == "base":
            best = [min(own, key=lambda look: look["modes/kl"]) for own in found]
            print(row("2 early stopping: the best look of the base", best), flush=True)


if __name__ == "__main__":
    main()
