"""Trains the MNIST classifier that ships with the package, and says how often it is right.

    launch/local.sh python benchmarks/mnist_classifier.py [--train]

Without --train it only judges the one that ships, on MNIST's test set.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.flax
from flax import traverse_util

import jaxgan
from jaxgan.data import ArraySource, load_mnist
from jaxgan.evaluate import classifier

WEIGHTS = Path(jaxgan.__file__).parent / "support" / "assets" / "mnist" / "classifier.safetensors"


def train(epochs: int = 6, batch_size: int = 128) -> Any:
    """Trains the classifier by Adam with cosine decay."""
    source = ArraySource(*load_mnist("train"), batch_size, seed=0)
    steps = epochs * 60_000 // batch_size
    # The kernels' initialisation (0.02) is a GAN's: a quicker rate makes up for it.
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    model, key = classifier.Classifier(), jax.random.key(0)

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="train it anew, and write it into the package")
    if parser.parse_args().train:
        since = time.perf_counter()
        flat: dict[str, Any] = dict(traverse_util.flatten_dict(train(), sep="/"))
        # Half precision changes no decision on the test set, and halves the file.
        safetensors.flax.save_file({name: leaf.astype(jnp.float16) for name, leaf in flat.items()}, WEIGHTS)
        print(f"trained in {time.perf_counter() - since:.0f} s: {WEIGHTS}")
    pictures, labels = load_mnist("test")
    accuracy = (classifier.probabilities(pictures).argmax(axis=1) == labels).mean()
    print(f"right on {accuracy:.2%} of MNIST's test set")


if __name__ == "__main__":
    main()
