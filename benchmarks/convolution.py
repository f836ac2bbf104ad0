"""Time of a convolution and its gradients, ours in the fast form and XLA's, alone (a jit call each) and inside a loop.

    launch/local.sh python benchmarks/convolution.py

Every call's arguments depend on the call before, so that nothing is moved out of the loop; what that costs is measured
by the same loop without a convolution, and subtracted. The fastest of several rounds counts.
"""

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.models import conv

ROUNDS = 2
CASES = {
    "DCGAN: 4x4 stride 2, 64x16x16x128 -> 256": ((64, 16, 16, 128), (4, 4, 128, 256), 2),
    "VGG: 3x3, 1x64x64x256 -> 256": ((1, 64, 64, 256), (3, 3, 256, 256), 1),
}
Form = Callable[..., jax.Array]


def xla(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def forms(convolve: Form, stride: int) -> dict[str, tuple[str, Form]]:
    """Name -> (which two of x, kernel and cotangent it takes, function)."""

    def energy(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(convolve(x, kernel, stride) ** 2)

    return {
        "forward": ("xk", lambda x, k: convolve(x, k, stride)),
        "gradient for the input": ("gk", lambda g, k, x: jax.vjp(lambda x: convolve(x, k, stride), x)[1](g)[0]),
        "gradient for the kernel": ("gx", lambda g, x, k: jax.vjp(lambda k: convolve(x, k, stride), k)[1](g)[0]),
        "gradient penalty's gradient": (
            "xk",
            lambda x, k: jax.grad(lambda k: jnp.sum(jax.grad(energy)(x, k) ** 2))(k),
        ),
    }


def seconds(function: Callable[[tuple], tuple], start: tuple, looped: bool, repeats: int) -> float:
    """Seconds a call of a function from arguments to arguments."""
    if looped:
        call = jax.jit(lambda carry: lax.fori_loop(0, repeats, lambda _, carry: function(carry), carry))
    else:
        one = jax.jit(function)

        def call(carry):
            for _ in range(repeats):
                carry = one(carry)
            return carry

    jax.block_until_ready(call(start))
    times = []
    for _ in range(ROUNDS):
        since = time.perf_counter()
        jax.block_until_ready(call(start))
        times.append(time.perf_counter() - since)
    return min(times) / repeats


def main() -> None:
    for name, (shape, kernel_shape, stride) in CASES.items():
        x = jax.random.normal(jax.random.key(0), shape)
        kernel = jax.random.normal(jax.random.key(1), kernel_shape)
        arrays = {"x": x, "k": kernel, "g": xla(x, kernel, stride)}
        print(f"\n{name}: ms, ours alone / ours in a loop / XLA alone / XLA in a loop")
        for form in forms(xla, stride):
            cells = []
            for convolve in (conv.compiled(conv.conv), xla):
                names, function = forms(convolve, stride)[form]
                rest = {letter: array for letter, array in arrays.items() if letter not in names}
                # The shape of the argument that a gradient is for; its values do not matter.
                function = functools.partial(function, **rest) if form.startswith("gradient for") else function

                def step(carry, function=function):
                    change = 1e-9 * function(*carry).reshape(-1)[0]
                    return tuple(array + change for array in carry)

                def empty(carry):
                    return tuple(array + 1e-9 * carry[0].reshape(-1)[0] for array in carry)

                start = tuple(arrays[letter] for letter in names)
                for looped in (False, True):
                    repeats = 2 if convolve is xla and looped else 10
                    cells.append(seconds(step, start, looped, repeats) - seconds(empty, start, looped, 10))
            print(f"  {form:28} " + " / ".join(f"{1e3 * cell:.1f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
