"""What multi-scale gradients do on MNIST: MSG-GAN's pair, and the same pair that sees the finest pictures only.

    launch/local.sh python benchmarks/multiscale.py [--seeds 3] [--steps 1000] [--out runs/multiscale]

Without the pyramid the pair is progressive growing's, whole from the beginning. Digits are samples that the package's
classifier is sure of (above 0.9), of 2,000; the rarest class tells what is missing; Frechet distances are those of
`jaxgan evaluate`. Medians of all seeds and their range.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.evaluate import classifier, features, report
from jaxgan.latent import sampling
from jaxgan.run import directory, sweep

SAMPLES = 2000
BOTH: Any = {"learning_rate": 2e-3, "beta1": 0.0, "beta2": 0.99, "width": 16, "max_width": 64}
PAIRS = {
    "finest pictures only": (cfg.ProgressiveGenerator(**BOTH), cfg.ProgressiveDiscriminator(**BOTH)),
    "pyramid of 7, 14 and 28 px": (cfg.MSGGenerator(**BOTH), cfg.MSGDiscriminator(**BOTH)),
}


def measures(run: Path) -> tuple[float, float, float]:
    """Share of digits, share of the rarest class, Frechet distance."""
    trained = directory.read(run)
    latent = train_step.latents(trained.game, jax.random.key(1), SAMPLES)
    shares = classifier.probabilities(sampling.pictures(trained.game, trained.state.ema, latent))
    rarest = np.bincount(shares.argmax(axis=1), minlength=10).min() / SAMPLES
    found = report.judge_run(run, trained, features.vgg16(), report.Options(SAMPLES, measures=("frechet",)))
    frechet = found.measures["frechet"]
    assert frechet is not None
    return 100 * (shares.max(axis=1) > 0.9).mean(), 100 * rarest, frechet.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/multiscale"))
    options = parser.parse_args()
    print("| the discriminator sees | digits % | rarest class % | Frechet distance |\n" + "|---" * 4 + "|", flush=True)
    for place, (name, (generator, discriminator)) in enumerate(PAIRS.items()):
        config = cfg.Config(
            generator=generator,
            discriminator=discriminator,
            latent_size=64,
            batch_size=32,
            r1=1.0,
            penalty_every=4,
            steps=options.steps,
            sample_every=options.steps,
            checkpoint_every=options.steps,
        )
        out = options.out / str(place)
        sweep.sweep(config, options.seeds, {}, out, quiet=True)
        found = np.array([measures(member.run) for member in sweep.members(config, options.seeds, {}, out)])
        cells = [f"{np.median(column):.1f} ({column.min():.1f} to {column.max():.1f})" for column in found.T]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
