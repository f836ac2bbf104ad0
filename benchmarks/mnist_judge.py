"""Are the samples digits? A classifier's judgement of a run on MNIST, beside a PyTorch GAN trained alike.

    launch/local.sh jaxgan train mnist_dcgan
    launch/local.sh python benchmarks/mnist_judge.py runs/mnist_dcgan [--torch]

The classifier ships with the package (`jaxgan.evaluate.classifier`). A sample counts as a
digit if the classifier gives one class more than 0.9; the share of each class among all samples shows whether the
generator covers them. MNIST's own test set is judged too, as the ceiling. --torch trains the same networks in PyTorch
(the extra `bench`) with the same batch, steps and optimisers, and judges it by the same samples.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import ArraySource, load_mnist
from jaxgan.evaluate import classifier
from jaxgan.latent import sampling
from jaxgan.run import directory
from jaxgan.support import images

SAMPLES = 2000


def report(name: str, pictures: np.ndarray) -> None:
    """Prints one line of judgement."""
    shares = classifier.probabilities(pictures)
    classes = np.bincount(shares.argmax(axis=1), minlength=10) / len(pictures)
    confident = (shares.max(axis=1) > 0.9).mean()
    each = " ".join(f"{share:.1%}" for share in classes)
    print(f"{name:34} {confident:6.1%} digits; share of 0 to 9: {each}")


def torch_samples(config: cfg.Config) -> np.ndarray:
    """Trains the pair in PyTorch as the config says; SAMPLES pictures of its generator in evaluation mode."""
    import torch
    import torch_gan

    torch.manual_seed(config.seed)
    source = ArraySource(load_mnist()[0], None, config.batch_size, config.seed)
    pair = torch_gan.pair(config, (28, 28, 1))
    step = torch_gan.make_step(config, *pair)
    since = time.perf_counter()
    for index in range(config.steps):
        real = torch.from_numpy(source.images[source[index]].astype(np.float32) / 127.5 - 1)
        step(torch_gan.layout(config, real))
    print(f"PyTorch: {config.steps} steps in {time.perf_counter() - since:.0f} s")
    generator = pair[0].eval()
    with torch.no_grad():
        pictures = generator(torch.randn(SAMPLES, config.latent_size)).reshape(SAMPLES, 28, 28, 1).numpy()
    return images.to_uint8(pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--torch", action="store_true", help="train and judge PyTorch's pair too")
    options = parser.parse_args()
    pictures, labels = load_mnist("test")
    accuracy = (classifier.probabilities(pictures).argmax(axis=1) == labels).mean()
    print(f"the classifier's accuracy on MNIST's test set: {accuracy:.2%}")
    report("MNIST's test set", pictures[:SAMPLES])
    trained = directory.read(options.run)
    latent = train_step.latents(trained.game, jax.random.key(1), SAMPLES)
    asked = np.arange(SAMPLES) % trained.classes if trained.classes else None
    label = None if asked is None else jnp.asarray(asked)
    generator = trained.state.generator
    for name, weights in (
        ("moving average", trained.state.ema),
        ("last step", generator.variables),
    ):
        drawn = sampling.pictures(trained.game, weights, latent, label)
        report(f"jaxgan, step {int(trained.state.step)}, {name}", drawn)
        if asked is not None:
            obeyed = (classifier.probabilities(drawn).argmax(axis=1) == asked).mean()
            print(f"  the digit that was asked for: {obeyed:.1%}")
    if options.torch:
        report(f"PyTorch, step {trained.config.steps}", torch_samples(trained.config))


if __name__ == "__main__":
    main()
