"""Settings of all tests: strict dtype promotion, and a budgeted, repeatable hypothesis."""

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
hypothesis.settings.register_profile("jaxgan", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("jaxgan")


@pytest.fixture
def key():
    return jax.random.key(0)
