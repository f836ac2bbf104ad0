"""Trains the same games on one and on eight devices in every way; prints how far results part, as JSON.

    JAX_NUM_CPU_DEVICES=8 python tests/eight_devices.py

A process of its own, because the number of devices is fixed when JAX starts. Each difference is the largest over all
arrays (parameters, statistics, moments, averages, metrics) of |a - b| / max|b|.
"""

import functools
import json
import math

import cheap_random
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import losses, train_step
from jaxgan.data import ArraySource
from jaxgan.models import dcgan, layers
from jaxgan.run import parallel, programs
from jaxgan.step import augment

STEPS, BATCH = 20, 32
jax.config.update("jax_numpy_dtype_promotion", "strict")


class Double(nn.Module):
    """Dense, batch norm and dropout, dense, in float64."""

    hidden: int
    outputs: tuple[int, ...]
    axis: str | None = None
    plain: bool = False  # Neither norm nor noise: what parts of a batch, each by itself, cannot change.

    @nn.compact
    def __call__(self, x):
        double = functools.partial(nn.Dense, param_dtype=jnp.float64, dtype=jnp.float64)
        x = double(self.hidden)(x.astype(jnp.float64).reshape(len(x), -1))
        if not self.plain:
            x = self.norm(x)
            x = layers.dropout(self, x, 0.3, self.axis)
        return double(math.prod(self.outputs))(nn.leaky_relu(x)).reshape(-1, *self.outputs)

    def norm(self, x):
        """Batch normalisation; Flax's keeps float32 statistics."""
        moments = jnp.stack([x.mean(axis=0), (x**2).mean(axis=0)])
        running = self.variable("batch_stats", "moments", jnp.zeros_like, moments)
        if self.axis and not self.is_initializing():
            moments = jax.lax.pmean(moments, self.axis)
        running.value = 0.9 * running.value + 0.1 * moments
        return (x - moments[0]) * jax.lax.rsqrt(moments[1] - moments[0] ** 2 + 1e-5)


def double_game(axis, plain=False, **fields):
    networks = Double(256, (4, 4, 1), axis, plain), Double(512, (), axis, plain)
    rates = optax.sgd(0.05), optax.sgd(0.05)
    return train_step.Game(*networks, *rates, latent_size=300, axis=axis, **fields)


def drawing(axis, **fields):
    """Every option that draws at random for each example."""
    return double_game(
        axis,
        plain=True,
        noisy_labels=0.2,
        r2=0.1,
        gradient_penalty=0.1,
        penalty_every=2,
        consistency=0.1,
        augment=(augment.colour, augment.translation, augment.cutout),
        augment_probability=0.5,
        ada_target=-1.0,
        ada_images=1000,
        instance_noise=0.1,
        skip_discriminator_below=1.25,
        **fields,
    )


def everything(axis):
    """Every option that draws at random or couples the examples of a batch."""
    return drawing(axis, loss=losses.average(axis), r1=0.1, dragan=0.1, pack=2)


def single_game(axis, **fields):
    networks = dcgan.Generator(8, 1, width=4, axis=axis), dcgan.Discriminator(width=4, axis=axis)
    return train_step.Game(*networks, optax.sgd(0.02), optax.sgd(0.02), latent_size=8, axis=axis, **fields)


def run(make_game, side, kind, devices=None, model=1, counts=(STEPS,), **fields):
    """States and metrics after each number of steps, all by one program."""
    placement = parallel.place(kind, model, jax.devices()[:devices])
    game = make_game(placement.axis, **fields)
    images = np.random.default_rng(0).integers(0, 256, (100, side, side, 1), np.uint8)
    source = ArraySource(images, None, BATCH * game.discriminator_updates, 0)
    batch = jax.eval_shape(source.batch, source.resident, source[0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), batch)
    init = functools.partial(train_step.init, game, zeros, jax.random.key(0))
    init = jax.jit(init, out_shardings=parallel.shard_state(placement, jax.eval_shape(init)))
    key = parallel.key(placement, 0)
    resident = parallel.put_everywhere(placement, source.resident)
    compiled = programs.compile_steps(placement, game, source, init(), key)
    items = parallel.put_items(placement, programs.gather_items(source, 0, STEPS))
    outcomes = []
    for count in counts:
        state, metrics = compiled(init(), resident, items, parallel.put_everywhere(placement, np.int32(count)), key)
        if model > 1:
            split = [leaf.sharding.shard_shape(leaf.shape) != leaf.shape for leaf in jax.tree.leaves(state)]
            assert any(split), "nothing was split"
        outcomes.append(jax.device_get((state, {name: values[:count] for name, values in metrics.items()})))
    return outcomes


def difference(a, b):
    def of(x, y):
        assert x.dtype == y.dtype, (x.dtype, y.dtype)
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return np.abs(x - y).max() / max(np.abs(y).max(), 1e-3)

    return float(max(jax.tree.leaves(jax.tree.map(of, a, b))))


def main():
    cheap_random.use()
    assert len(jax.devices()) == 8
    found = {}

    def compare(name, reference, *arguments, **keywords):
        for (state, metrics), (wanted, its) in zip(run(*arguments, **keywords), reference, strict=True):
            step = int(wanted.step)
            if "everything" in name:  # A metric that is made of float32 slopes and of nothing else.
                metrics, its = dict(metrics), dict(its)
                found[f"{name} penalty {step}"] = difference(*(x.pop("discriminator/penalty") for x in (metrics, its)))
            found[f"{name} {step}"] = difference((state, metrics), (wanted, its))

    ways = (("jit", 8, 1), ("pmap", 8, 1), ("shard_map", 8, 1))
    counts = (1, STEPS)
    reference = run(single_game, 8, "jit", 1, counts=counts, r1=0.1)
    for kind, devices, model in ways:
        compare(f"float32 {kind}", reference, single_game, 8, kind, devices, model, counts, r1=0.1)
    with jax.enable_x64(True):
        reference = run(double_game, 4, "jit", 1, counts=counts)
        for kind, devices, model in (*ways, ("jit", 8, 2)):
            name = f"float64 {kind}{' split' if model > 1 else ''}"
            compare(name, reference, double_game, 4, kind, devices, model, counts)
        reference = run(double_game, 4, "jit", 1, discriminator_updates=2)
        for kind in ("jit", "shard_map"):
            compare(f"float64 two updates {kind}", reference, double_game, 4, kind, 8, discriminator_updates=2)
        reference = run(double_game, 4, "jit", 1, plain=True)
        for kind, devices in (("jit", 1), ("jit", 8), ("shard_map", 8)):
            name = f"float64 accumulated {kind} {devices}"
            compare(name, reference, double_game, 4, kind, devices, plain=True, accumulate=4)
        reference = run(everything, 4, "jit", 1)
        for kind in ("jit", "shard_map", "pmap"):
            compare(f"float64 everything {kind}", reference, everything, 4, kind, 8)
        reference = run(drawing, 4, "jit", 1)
        for kind, devices in (("jit", 1), ("shard_map", 8)):
            compare(f"float64 everything accumulated {kind}", reference, drawing, 4, kind, devices, accumulate=4)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
