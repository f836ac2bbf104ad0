"""pix2pix (Isola et al., arXiv 1611.07004): a picture from its outlines; `python examples/pix2pix.py`.

A batch's "label" is any condition that both networks are given, here a picture. The discriminator judges patches, and a
term of the generator's own is the distance from the one right picture.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import train_step
from jaxgan.models import layers


class Generator(nn.Module):
    """(latents [N, Z], pictures [N, H, W, 1]) -> pictures [N, H, W, 1]: down twice, up again past what was there."""

    @nn.compact
    def __call__(self, latent, outlines, train=True):
        """The latent, in place of the paper's dropout, is laid over all positions."""
        noise = jnp.broadcast_to(latent[:, None, None], (*outlines.shape[:3], latent.shape[-1]))
        full = layers.leaky_relu(layers.Conv(16)(jnp.concatenate([outlines, noise], axis=-1)))
        half = layers.leaky_relu(layers.Conv(32, 4, 2)(full))
        x = layers.leaky_relu(layers.Conv(32, 4, 2)(half))
        for width, skipped in ((32, half), (16, full)):
            x = nn.relu(layers.Conv(width)(jnp.concatenate([layers.upsample(x), skipped], axis=-1)))
        return jnp.tanh(layers.Conv(1)(x))


class Discriminator(nn.Module):
    """(pictures, outlines) -> logits [N, H / 4, W / 4], one for each patch."""

    @nn.compact
    def __call__(self, image, outlines):
        x = jnp.concatenate([image, outlines], axis=-1)
        for width in (16, 32):
            x = layers.leaky_relu(layers.Conv(width, 4, 2)(x))
        return layers.Conv(1)(x)[..., 0]


def pairs(key, count=16, size=16):
    """Filled discs in [-0.8, 0.8], which tanh reaches, and their outlines in {-1, 1}, float32 [N, H, W, 1]."""
    x, y, radius = jax.random.uniform(key, (3, count, 1, 1), minval=0.3, maxval=0.7)
    place = jnp.linspace(0, 1, size)
    distance = jnp.hypot(place - x, place[:, None] - y) - radius / 2
    disc, outline = 0.8 * jnp.tanh(-30 * distance), jnp.where(jnp.abs(distance) < 0.06, 1.0, -1.0)
    return {"image": disc[..., None], "label": outline[..., None]}


def l1(fake, batch):
    """The paper's equation 4, weighted as there."""
    return 100 * jnp.mean(jnp.abs(fake - batch["image"]))


adam = optax.adam(1e-3, b1=0.5)
game = train_step.Game(Generator(), Discriminator(), adam, adam, latent_size=2, generator_term=l1)


@functools.partial(jax.jit, static_argnums=0)
def train(steps, key):
    """The state after some steps, and the mean distance from the right picture at each."""

    def step(state, number):
        state, metrics = train_step.train_step(game, state, pairs(jax.random.fold_in(key, number)), key)
        return state, metrics["generator/term"] / 100

    return jax.lax.scan(step, train_step.init(game, pairs(key), key), jnp.arange(steps))


def main(steps=300):
    """Trains; returns the mean distance from the right pictures, of pictures made of outlines never seen."""
    state, distance = train(steps, key := jax.random.key(0))
    test = pairs(jax.random.key(1), 64)
    made = train_step.generate(game, state.ema, train_step.latents(game, key, 64), test["label"])
    error = float(jnp.mean(jnp.abs(made - test["image"])))
    print(f"mean distance of a pixel: {distance[0]:.3f} at first, {error:.3f} of new outlines")
    return error


if __name__ == "__main__":
    main()
