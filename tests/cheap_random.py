"""A random generator that compiles in a fraction of the time that JAX's own takes, for tests of anything else.

Threefry is a loop of twenty rounds for every number that is drawn by name: hundreds in a training step with all
options, and half of the time for which such a step is compiled. This one mixes bits a few times (as the end of
MurmurHash3 does).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.extend import random


def _mixed(x, salt):
    x = x ^ salt
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _hashed(key, x):
    """Two words for each of x, uint32: [..., 2] of a key [2]."""
    a = _mixed(_mixed(x, key[0]) + jnp.uint32(0x9E3779B9), key[1])
    return jnp.stack([a, _mixed(a + x, key[0] + jnp.uint32(0x7F4A7C15))], axis=-1)


def _seed(seed):
    return _hashed(jnp.zeros(2, jnp.uint32), seed.astype(jnp.uint32))


def _split(key, shape):
    return _hashed(key, jax.lax.iota(jnp.uint32, math.prod(shape))).reshape(*shape, 2)


def _bits(key, width, shape):
    words = _hashed(key, jax.lax.iota(jnp.uint32, math.prod(shape)) + jnp.uint32(1)).reshape(*shape, 2)
    if width == 64:
        return words[..., 0].astype(jnp.uint64) << 32 | words[..., 1].astype(jnp.uint64)
    return (words[..., 0] >> jnp.uint32(32 - width)).astype(f"uint{width}")


def _fold_in(key, data):
    return _hashed(key + jnp.uint32(0x6A09E667), data.astype(jnp.uint32))


CHEAP = random.define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_bits, fold_in=_fold_in, name="cheap", tag="chp"
)


key = functools.partial(jax.random.key, impl=CHEAP)
"""In place of `jax.random.key`."""


def use():
    """Makes every key from now on, in this process, one of this generator."""
    jax.random.key = key
