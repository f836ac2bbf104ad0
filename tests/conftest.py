"""Settings of all tests: strict dtype promotion, one cache of programs, a budgeted and repeatable hypothesis."""

import gc
import os
import shutil
import warnings
from importlib import metadata
from pathlib import Path

import hypothesis

# What tests compile they share, all processes of a session and the sessions after; the user's own cache is left alone.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "programs"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
# So do the processes that they start what Python compiles: to import JAX and all else from its sources takes seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Quick to compile rather than fast to run: LLVM leaves its optimisations out, which takes half of the time of its first
# level, and XLA has its old emitters of fusions, in one piece, which take two thirds of that of its new ones.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    # Later ones have the new emitters alone, and refuse the flag.
    f"{' --xla_cpu_use_fusion_emitters=false' if metadata.version('jaxlib') < '0.11' else ''}"
).strip()

import cheap_random
import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Tracing makes objects by the million, most of which stay; to search them for garbage takes a third of its time.
gc.set_threshold(200_000, 20, 50)
jax.config.update("jax_numpy_dtype_promotion", "strict")
hypothesis.settings.register_profile("jaxgan", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("jaxgan")


def pytest_configure():
    programs = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    if "PYTEST_XDIST_WORKER" not in os.environ and sum(path.stat().st_size for path in programs.glob("*")) > 2**30:
        shutil.rmtree(programs)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="module")
def tidied():
    """Collects what browsers and kernels leave behind, which would warn in the midst of some later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def quick_draws():
    """Keys of a random generator that compiles quickly, for what does not depend on which numbers are drawn.

    What was traced with one kind of key is not used with the other.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jax.random, "key", cheap_random.key)
        jax.clear_caches()
        yield
    jax.clear_caches()


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
