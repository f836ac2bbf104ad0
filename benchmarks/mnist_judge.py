"""Are the samples digits? A classifier's judgement of a run on MNIST, beside a PyTorch GAN trained alike.

    launch/local.sh jaxgan train mnist_dcgan
    launch/local.sh python benchmarks/mnist_judge.py runs/mnist_dcgan [--torch]

The classifier is trained on MNIST's training set at the first call and kept beside this file. A sample counts as a
digit if the classifier gives one class more than 0.9; the share of each class among all samples shows whether the
generator covers them. MNIST's own test set is judged too, as the ceiling. --torch trains the same networks in PyTorch
(the extra `bench`) with the same batch, steps and optimisers, and judges it by the same samples.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import config as cfg
from jaxgan import run as runs
from jaxgan import sampling, train_step
from jaxgan.data import ArraySource, load_mnist
from jaxgan.models import layers
from jaxgan.monitor import images

WEIGHTS = Path(__file__).with_name("mnist_classifier.msgpack")
SAMPLES = 2000


class Classifier(nn.Module):
    """Images [N, 28, 28, 1] in [-1, 1] -> logits [N, 10]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for features in (32, 64):
            x = nn.relu(layers.Conv(features)(x))
            x = layers.max_pool(nn.relu(layers.Conv(features)(x)))
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(x))


def train_classifier(epochs: int = 6, batch_size: int = 128) -> Any:
    """Trains the classifier by Adam with cosine decay."""
    source = ArraySource(*load_mnist("train"), batch_size, seed=0)
    steps = epochs * 60_000 // batch_size
    # The kernels' initialisation (0.02) is a GAN's: a quicker rate makes up for it.
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    model, key = Classifier(), jax.random.key(0)

    @jax.jit
    def run(resident, items):
        def step(carry, item):
            params, state, count = carry
            batch = source.batch(resident, item)

            def loss(params):
                dropout = {"dropout": jax.random.fold_in(key, count)}
                logits = model.apply(params, batch["image"], True, rngs=dropout)
                return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()  # pyright: ignore

            gradients = jax.grad(loss)(params)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(params, updates), state, count + 1), None

        params = model.init(key, jnp.zeros((1, 28, 28, 1)))
        return jax.lax.scan(step, (params, optimizer.init(params), 0), items)[0][0]

    return run(source.resident, np.stack([source[step] for step in range(steps)]))


def load_classifier() -> Any:
    """The classifier's variables, trained first if need be."""
    if not WEIGHTS.exists():
        since = time.perf_counter()
        WEIGHTS.write_bytes(flax.serialization.to_bytes(train_classifier()))
        print(f"trained the classifier in {time.perf_counter() - since:.0f} s")
    return flax.serialization.msgpack_restore(WEIGHTS.read_bytes())


def probabilities(variables: Any, pictures: np.ndarray) -> np.ndarray:
    """Class probabilities [N, 10] of uint8 pictures [N, 28, 28, 1]."""
    apply = jax.jit(lambda x: jax.nn.softmax(Classifier().apply(variables, x)))  # pyright: ignore
    parts = np.split(pictures.astype(np.float32) / 127.5 - 1, range(500, len(pictures), 500))
    return np.concatenate([np.asarray(apply(part)) for part in parts])


def report(name: str, variables: Any, pictures: np.ndarray) -> None:
    """Prints one line of judgement."""
    shares = probabilities(variables, pictures)
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
    variables = load_classifier()
    pictures, labels = load_mnist("test")
    accuracy = (probabilities(variables, pictures).argmax(axis=1) == labels).mean()
    print(f"the classifier's accuracy on MNIST's test set: {accuracy:.2%}")
    report("MNIST's test set", variables, pictures[:SAMPLES])
    trained = runs.read(options.run)
    latent = train_step.latents(jax.random.key(1), SAMPLES, trained.game.latent_size)
    asked = np.arange(SAMPLES) % trained.classes if trained.classes else None
    label = None if asked is None else jnp.asarray(asked)
    generator = trained.state.generator
    for name, weights in (
        ("moving average", trained.state.ema),
        ("last step", {"params": generator.params, **generator.stats}),
    ):
        drawn = sampling.pictures(trained.game, weights, latent, label)
        report(f"jaxgan, step {int(trained.state.step)}, {name}", variables, drawn)
        if asked is not None:
            obeyed = (probabilities(variables, drawn).argmax(axis=1) == asked).mean()
            print(f"  the digit that was asked for: {obeyed:.1%}")
    if options.torch:
        report(f"PyTorch, step {trained.config.steps}", variables, torch_samples(trained.config))


if __name__ == "__main__":
    main()
