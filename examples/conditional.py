"""A conditional DCGAN on data shaped like CIFAR-10's; `python examples/conditional.py`.

To train on CIFAR-10 itself let `data` return its 50,000 pictures and labels, and take wider networks and more steps.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import train_step
from jaxgan.models import dcgan

CLASSES, BATCH = 10, 32


def data(count=2000):
    """Pictures uint8 [N, 32, 32, 3] of stripes, each class in a colour of its own, and their classes int32 [N]."""
    random = np.random.default_rng(0)
    label = np.arange(count) % CLASSES
    colour = np.random.default_rng(1).uniform(40, 215, (CLASSES, 1, 1, 3))[label]
    phase, slope = random.uniform(0, 6, (2, count, 1, 1))
    y, x = np.mgrid[:32, :32] / 5
    stripes = 40 * np.sin(x * np.cos(slope) + y * np.sin(slope) + phase)
    return (colour + stripes[..., None]).astype(np.uint8), label.astype(np.int32)


adam = optax.adam(1e-3, b1=0.5)
generator = dcgan.Generator(32, 3, width=8, classes=CLASSES)
discriminator = dcgan.Discriminator(width=8, classes=CLASSES)
game = train_step.Game(generator, discriminator, adam, adam, latent_size=32, r1=1.0, penalty_every=4)


@functools.partial(jax.jit, static_argnums=0)
def train(steps, image, label, key):
    """The state after some steps on batches drawn from all examples."""

    def batch_of(number):
        drawn = jax.random.randint(jax.random.fold_in(key, number), (BATCH,), 0, len(image))
        return {"image": image[drawn].astype(jnp.float32) / 127.5 - 1, "label": label[drawn]}

    def step(state, number):
        return train_step.train_step(game, state, batch_of(number), key)[0], None

    return jax.lax.scan(step, train_step.init(game, batch_of(0), key), jnp.arange(steps))[0]


def main(steps=1000):
    """Trains; returns the correlation of the classes' mean colours, of samples with those of the data."""
    image, label = data()
    state = train(steps, image, label, key := jax.random.key(0))
    classes = jnp.arange(100) % CLASSES
    samples = train_step.generate(game, state.ema, train_step.latents(game, key, 100), classes)
    real = np.stack([image[label == c].mean(axis=(0, 1, 2)) for c in range(CLASSES)])
    made = np.stack([np.asarray(samples[c::CLASSES]).mean(axis=(0, 1, 2)) for c in range(CLASSES)])
    correlation = np.corrcoef(real.ravel(), made.ravel())[0, 1]
    print(f"colours of the classes: samples and data correlate by {correlation:.2f}")
    return correlation


if __name__ == "__main__":
    main()
