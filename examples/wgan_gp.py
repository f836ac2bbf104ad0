"""WGAN-GP (Gulrajani et al., arXiv 1704.00028) on eight Gaussians; `python examples/wgan_gp.py`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import losses, train_step

ANGLES = jnp.arange(8.0) * jnp.pi / 4
CENTRES, SPREAD = jnp.stack([jnp.cos(ANGLES), jnp.sin(ANGLES)], axis=1), 0.05


class Network(nn.Module):
    """[N, inputs] -> [N, outputs], without normalisation, which would couple the examples of a batch."""

    outputs: int

    @nn.compact
    def __call__(self, x, train=True):
        for _ in range(3):
            x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(self.outputs)(x)


def batch_of(key):
    """5 x 64 points, for the critic's five updates in a step."""
    which, noise = jax.random.split(key)
    centre = CENTRES[jax.random.randint(which, (320,), 0, 8)]
    return {"image": centre + SPREAD * jax.random.normal(noise, (320, 2))}


adam = optax.adam(1e-3, b1=0.0, b2=0.9)
rules = {"loss": losses.wasserstein, "gradient_penalty": 0.1, "discriminator_updates": 5}
game = train_step.Game(Network(2), Network(1), adam, adam, latent_size=2, **rules)


@functools.partial(jax.jit, static_argnums=0)
def train(steps, key):
    """The state after some steps, and at each the critic's loss: minus its estimate of the distance."""

    def step(state, number):
        state, metrics = train_step.train_step(game, state, batch_of(jax.random.fold_in(key, number)), key)
        return state, metrics["discriminator/loss"]

    return jax.lax.scan(step, train_step.init(game, batch_of(key), key), jnp.arange(steps))


def main(steps=1500):
    """Trains; returns how many modes 1000 samples are at, and the share of samples within three spreads of one."""
    state, loss = train(steps, key := jax.random.key(0))
    samples = train_step.generate(game, state.ema, train_step.latents(game, key, 1000))
    distance = jnp.linalg.norm(samples[:, None] - CENTRES, axis=-1)
    good = distance.min(axis=1) < 3 * SPREAD
    modes = len(set(distance.argmin(axis=1)[good].tolist()))
    print(f"distance {-loss[0]:.3f}, then {-loss[-1]:.3f}; {modes} of 8 modes; {good.mean():.0%} of the samples at one")
    return modes, float(good.mean())


if __name__ == "__main__":
    main()
