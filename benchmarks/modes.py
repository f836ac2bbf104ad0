"""Mode coverage of rings and grids: ours beside plain GANs, WGAN-GP, PacGAN and R3GAN, ten seeds each.

    launch/local.sh python benchmarks/modes.py [--seeds 10] [--data ring grid] [--methods ...] [--out runs/modes]

Each method is a sweep of the config `ring` or `grid` with other settings, trained by `jaxgan sweep`; the judgement is
PacGAN's (arXiv 1712.04086): 2,500 samples, high quality within 3 sigma, reverse KL of the histogram over modes. Rivals
have 10,000 steps of batch 100 (10 epochs of the 100,000 points, where the paper has 400), Adam as their papers set it,
and the same networks without Fourier features.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan import config as cfg
from jaxgan.data.mixture import MIXTURES
from jaxgan.run import metrics
from jaxgan.run.sweep import members, sweep

Look = dict[str, Any]


def both(**fields: Any) -> dict[str, Any]:
    """The same for the two players."""
    return {f"{player}.{name}": value for player in ("generator", "discriminator") for name, value in fields.items()}


def looks(config: cfg.Config, seeds: int, out: Path) -> list[list[Look]]:
    """Trains a sweep, or finds it trained; of every seed the looks that counted modes."""
    sweep(config, seeds, {}, out, quiet=True)
    runs = [member.run for member in members(config, seeds, {}, out)]
    return [[line for line in metrics.read(run / "metrics.jsonl") if "modes/kl" in line] for run in runs]


STEPS = 10_000
PLAIN = {"loss": "non_saturating", "r1": 0.0, "r2": 0.0, "discriminator.fourier": 0, "steps": STEPS}
PLAIN |= both(learning_rate=2e-4, beta1=0.5, beta2=0.999, decay_steps=0)
GP = {"loss": "wasserstein", "gradient_penalty": 0.1, "discriminator_updates": 5, "steps": STEPS // 2}
GP |= both(learning_rate=1e-4, beta2=0.9)
R3 = {"discriminator.fourier": 0, "steps": STEPS} | both(decay_steps=STEPS)
METHODS: dict[str, dict[str, Any]] = {
    "GAN (non-saturating)": PLAIN,
    "PacGAN2": PLAIN | {"pack": 2},
    "PacGAN4": PLAIN | {"pack": 4},
    "WGAN-GP": PLAIN | GP,
    "R3GAN's loss": R3,
    "ours": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", nargs="+", default=["ring", "grid"], choices=["ring", "grid"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("runs/modes"))
    options = parser.parse_args()
    rows = []
    for data in options.data:
        base = cfg.load(data)[1]
        for name in options.methods:
            config = cfg.replaced(base, METHODS[name])
            config = dataclasses.replace(config, sample_every=config.steps // 10, checkpoint_every=config.steps // 2)
            since = time.perf_counter()
            found = [own[-1] for own in looks(config, options.seeds, options.out / data / name.split()[0])]
            seconds = (time.perf_counter() - since) / options.seeds
            of = len(MIXTURES[data].centres)
            reached = np.array([of * line["modes/share"] for line in found])
            quality = 100 * np.array([line["modes/high_quality"] for line in found])
            kl = np.array([line["modes/kl"] for line in found])
            rows.append(
                f"| {data} | {name} | {(reached == of).sum()} of {len(found)} | {reached.mean():.1f} | "
                f"{np.median(quality):.1f} ({quality.min():.1f} to {quality.max():.1f}) | "
                f"{np.median(kl):.4f} ({kl.min():.4f} to {kl.max():.4f}) | {seconds:.0f} |"
            )
            print(rows[-1], flush=True)
    print(
        "\n| data | method | seeds with all modes | modes | high quality % | reverse KL | s a seed |\n"
        + "|---" * 7
        + "|"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
