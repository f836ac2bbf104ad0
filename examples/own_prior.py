"""A prior and a loss term of one's own, on eight Gaussians; `python examples/own_prior.py`.

The prior knows that there are eight modes: a latent is one of eight directions, and noise (as in Ben-Yosef and
Weinshall, arXiv 1808.10356). The term asks for the covariance of the batch, which a collapsed generator has not.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from jaxgan import train_step
from jaxgan.models import mlp

ANGLES = jnp.arange(8.0) * jnp.pi / 4
CENTRES, SPREAD = jnp.stack([jnp.cos(ANGLES), jnp.sin(ANGLES)], axis=1), 0.05


def eight_and_noise(key, size):
    """One latent [8 + size]: which of eight, and standard normal noise."""
    which, noise = jax.random.split(key)
    return jnp.concatenate([jax.nn.one_hot(jax.random.randint(which, (), 0, 8), 8), jax.random.normal(noise, (size,))])


def covariance(fake, batch):
    """The squared distance of the covariances of fakes and real points."""
    return jnp.sum((jnp.cov(fake.T) - jnp.cov(batch["image"].T)) ** 2)


def batch_of(key):
    """64 points."""
    which, noise = jax.random.split(key)
    centre = CENTRES[jax.random.randint(which, (64,), 0, 8)]
    return {"image": centre + SPREAD * jax.random.normal(noise, (64, 2))}


adam = optax.adam(1e-3, b1=0.5)
generator, discriminator = mlp.Generator((2,), widths=(64, 64)), mlp.Discriminator(widths=(64, 64))
game = train_step.Game(
    generator,
    discriminator,
    adam,
    adam,
    latent_size=2,
    prior=eight_and_noise,
    generator_term=covariance,
    r1=0.1,
)


@functools.partial(jax.jit, static_argnums=0)
def train(steps, key):
    """The state after some steps."""

    def step(state, number):
        return train_step.train_step(game, state, batch_of(jax.random.fold_in(key, number)), key)[0], None

    return jax.lax.scan(step, train_step.init(game, batch_of(key), key), jnp.arange(steps))[0]


def main(steps=2000):
    """Trains; returns how many modes 1000 samples are at, and the share of samples within three spreads of one."""
    state = train(steps, key := jax.random.key(0))
    samples = train_step.generate(game, state.ema, train_step.latents(game, key, 1000))
    distance = jnp.linalg.norm(samples[:, None] - CENTRES, axis=-1)
    good = distance.min(axis=1) < 3 * SPREAD
    modes = len(set(distance.argmin(axis=1)[good].tolist()))
    print(f"{modes} of 8 modes; {good.mean():.0%} of the samples at one")
    return modes, float(good.mean())


if __name__ == "__main__":
    main()
