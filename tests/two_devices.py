"""Trains every family of networks on one and on two devices; prints how far results part, as JSON.

    JAX_NUM_CPU_DEVICES=2 python tests/two_devices.py

A process of its own, as eight_devices.py, whose measure it takes. Three steps with SGD, with all that a family brings:
noise, mixed styles, path lengths, penalties, pyramids, growing layers, conditional normalisation, averages of classes.
"""

import dataclasses
import functools
import json
import re
import sys
from typing import Any

import cheap_random
import jax
import jax.numpy as jnp
import numpy as np
import optax
from eight_devices import difference

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.data import ArraySource
from jaxgan.run import build, growth, parallel, programs

SIZES: Any = {"width": 4, "max_width": 8}
SHAPE = (8, 8, 3)
STEPS, BATCH = 3, 8
GROUPS: Any = {"minibatch_stddev": 2}
FAMILIES = {
    "progressive": cfg.Config(
        generator=cfg.ProgressiveGenerator(**SIZES),
        discriminator=cfg.ProgressiveDiscriminator(**SIZES, **GROUPS),
        grow=(1,),
        fade_steps=2,
    ),
    "msg": cfg.Config(
        generator=cfg.MSGGenerator(**SIZES),
        discriminator=cfg.MSGDiscriminator(**SIZES, **GROUPS),
        augment=("colour", "translation", "cutout", "flip"),
    ),
    "stylegan2": cfg.Config(
        generator=cfg.StyleGAN2Generator(**SIZES, style_size=6, mapping_layers=2),
        discriminator=cfg.StyleGAN2Discriminator(**SIZES, **GROUPS),
        path_length=2.0,
        path_every=2,
        penalty_every=2,
    ),
    "r3gan": cfg.Config(
        generator=cfg.R3GANGenerator(**SIZES, blocks=1, group_width=4, final_beta2=0.9, decay_steps=4),
        discriminator=cfg.R3GANDiscriminator(**SIZES, blocks=1, group_width=4),
        loss="relativistic_paired",
        r2=0.1,
        penalty_decay_steps=2,
        augment=("blit", "geometry", "tone"),
        augment_rise_steps=2,
    ),
    "biggan": cfg.Config(
        generator=cfg.BigGANGenerator(width=4, shared=4, attention=8),
        discriminator=cfg.BigGANDiscriminator(width=4, attention=4),
        conditional=True,
        latent_size=6,
        loss="hinge",
        fake_labels="uniform",
        ema_half_life=100.0,
        ema_ramp=0.5,
    ),
    "gat": cfg.Config(
        generator=cfg.GATGenerator(width=16, depth=4, heads=2, patch=4),
        discriminator=cfg.GATDiscriminator(width=16, depth=4, heads=2, patch=4, embedding=8),
        conditional=True,
        loss="relativistic_paired",
        r2=0.1,
        difference=0.01,
        guidance=(0.885, 0.76, 0.51, 0.01),
        augment=("colours", "translation", "cutout", "mirror"),
    ),
}


# pmap maps with `check_vma=False`, our shard_map with True: path lengths under both. "split" splits parameters, too.
MORE = {"stylegan2": ("pmap", "split"), "gat": ("split",)}
KINDS = {name: ("jit", "shard_map", *MORE.get(name, ())) for name in FAMILIES}


def prepared(config):
    return dataclasses.replace(config, latent_size=6, batch_size=BATCH, r1=0.1, data="pictures")


@functools.cache
def initial(config):
    """The state before the first step; of a growing run right after it has grown."""
    game, classes = game_of(config, None), 3 if config.conditional else 0

    def init(game):
        batch = {"image": jnp.zeros((BATCH, *SHAPE))} | ({"label": jnp.zeros(BATCH, jnp.int32)} if classes else {})
        return train_step.init(game, batch, jax.random.key(0))

    if not config.grow:
        return jax.device_get(jax.jit(functools.partial(init, game))())
    smaller = game_of(config, None, stage=0)
    return jax.device_get(jax.jit(lambda: growth.grow(init(smaller), init(game)))())


def game_of(config, axis, **stage):
    game = build.game(config, SHAPE, 3 if config.conditional else 0, axis, **stage)
    return dataclasses.replace(game, generator_optimizer=optax.sgd(0.01), discriminator_optimizer=optax.sgd(0.01))


def run(config, kind: Any, devices):
    kind, model = ("jit", devices) if kind == "split" else (kind, 1)
    placement = parallel.place(kind, model, jax.devices()[:devices])
    classes = 3 if config.conditional else 0
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (100, *SHAPE), np.uint8), random.integers(0, 3, 100, np.int32)
    source = ArraySource(images, labels if classes else None, BATCH, 0)
    game = game_of(config, placement.axis)
    state = jax.device_put(initial(config), parallel.shard_state(placement, initial(config)))
    key = parallel.key(placement, 0)
    compiled = programs.compile_steps(placement, game, source, state, key)
    if model > 1:
        split = [leaf for leaf in jax.tree.leaves(state) if leaf.sharding.shard_shape(leaf.shape) != leaf.shape]
        assert split, "nothing was split"
        text: Any = compiled
        moved = re.findall(r" (all-to-all|collective-permute)\(", text.as_text())
        assert not moved, "parameters are gathered; features stay where they are"
    items = parallel.put_items(placement, programs.gather_items(source, 0, STEPS))
    resident = parallel.put_everywhere(placement, source.resident)
    state, metrics = compiled(state, resident, items, parallel.put_everywhere(placement, np.int32(STEPS)), key)
    return jax.device_get((state, {name: values[:STEPS] for name, values in metrics.items()}))


def main():
    cheap_random.use()
    parallel.SPLIT_FROM = 64
    assert len(jax.devices()) == 2
    found = {}
    for name in sys.argv[1:] or FAMILIES:
        config = prepared(FAMILIES[name])
        alone = run(config, "jit", 1)
        for kind in KINDS[name]:
            found[f"{name} {kind}"] = difference(run(config, kind, 2), alone)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
