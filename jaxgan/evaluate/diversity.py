"""How much samples differ from one another, beside the data: what mode collapse takes away."""

import jax
import jax.numpy as jnp

from jaxgan.models import conv

NEIGHBOURS = 5


@jax.jit
def compare(real: jax.Array, fake: jax.Array) -> dict[str, jax.Array]:
    """Measures of variety, from as many fakes as real examples.

    Args:
        real: [N, ...], images in [-1, 1] or points; N > 5.
        fake: [N, ...].

    Returns:
        `pixels` and `features`: root mean square distance of two fakes over that of two real examples, in pixels and in
        a fixed random feature space: 1 is the data's variety, 0 is one picture; 1 where the data do not vary, for then
        no sample can vary less. `coverage`: share of real examples that
        have a fake nearer than their fifth real neighbour, in the feature space; .97 is what other real examples would
        reach (Naeem et al., arXiv 2002.09797, equation 8).
    """
    pixels = [array.reshape(len(array), -1).astype(jnp.float32) for array in (real, fake)]
    deep = [features(array) for array in (real, fake)]
    return {
        "pixels": _variety(*pixels),
        "features": _variety(*deep),
        "coverage": _coverage(*deep),
    }


def features(image: jax.Array) -> jax.Array:
    """Fixed random features [N, F]: of points the points, of images two random convolutions, in coarse positions.

    Convolutions of random kernels respond to strokes and textures wherever they are, as pixels do not; they need no
    training and no download, and are the same for every data set.
    """
    x = image.astype(jnp.float32)
    if x.ndim < 4:
        return x.reshape(len(x), -1)
    for width, name in ((32, 0), (64, 1)):
        channels = x.shape[-1]
        kernel = jax.random.normal(jax.random.key(name), (3, 3, channels, width)) * (2 / (9 * channels)) ** 0.5
        x = jax.nn.relu(conv.conv(x, kernel, stride=2, padding="SAME"))
    n, height, width, channels = x.shape
    side = min(4, height, width)
    x = x[:, : height // side * side, : width // side * side]
    return x.reshape(n, side, height // side, side, width // side, channels).mean(axis=(2, 4)).reshape(n, -1)


def _variety(real: jax.Array, fake: jax.Array) -> jax.Array:
    spread = _spread(real)
    # Rounding gives rows that are all alike a spread, too.
    varies = spread > 1e-5 * jnp.sqrt(jnp.mean(jnp.sum(real**2, axis=1)))
    return jnp.where(varies, _spread(fake) / spread, 1)


def _spread(x: jax.Array) -> jax.Array:
    """Root mean square distance of two different rows: twice the variance, summed over the columns."""
    return jnp.sqrt(2 * jnp.sum(jnp.var(x, axis=0, ddof=1)))


def _coverage(real: jax.Array, fake: jax.Array) -> jax.Array:
    radius = jnp.sort(squares(real, real), axis=1)[:, NEIGHBOURS]  # The nearest of all is the example itself.
    return jnp.mean((squares(real, fake).min(axis=1) < radius).astype(jnp.float32))


def squares(a: jax.Array, b: jax.Array) -> jax.Array:
    """Squared distances of each row of [M, F] to each of [N, F]: [M, N]."""
    if a.shape[1] <= 16:  # Points: clusters may be too narrow for what rounds away below.
        return jnp.sum((a[:, None] - b) ** 2, axis=-1)
    centre = a.mean(axis=0)
    a, b = a - centre, b - centre
    return jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1) - 2 * jnp.dot(a, b.T, precision="highest")
