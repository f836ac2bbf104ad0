"""Settings of all tests: strict dtype promotion, one cache of programs, a budgeted and repeatable hypothesis."""

import gc
import os
import tempfile

import hypothesis

# The processes of one session share what they compile, and leave the user's own cache alone.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="jaxgan-programs-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
# LLVM's first level takes a fifth less time to compile a training step than its third. With its level 0, or XLA's
# preset FAST_COMPILE, it would be half, but then devices' results part sooner (tests/eight_devices.py).
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1".strip()

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Tracing makes objects by the million, most of which stay; to search them for garbage takes a third of its time.
gc.set_threshold(200_000, 20, 50)
jax.config.update("jax_numpy_dtype_promotion", "strict")
hypothesis.settings.register_profile("jaxgan", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("jaxgan")


@pytest.fixture
def key():
    return jax.random.key(0)


def small_network():
    from jaxgan.style import vgg

    random, params, channels = np.random.default_rng(0), {}, 3
    for name, width in {"conv1_1": 8, "conv1_2": 8, "conv2_1": 8, "conv3_1": 16}.items():
        kernel = random.normal(size=(3, 3, channels, width)) * (2 / (9 * channels)) ** 0.5
        params[name] = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(width)}
        channels = width
    return vgg.Network(vgg.VGG(blocks=(2, 1, 1), widths=(8, 8, 16)), params)


@pytest.fixture(scope="session")
def small():
    """A trunk like VGG's with four narrow layers: compiled in a second or two."""
    return small_network()
