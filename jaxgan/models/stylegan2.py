"""StyleGAN2: a mapping network makes styles, which scale the channels of every convolution of the synthesis network.

The synthesis network sums pictures of all its resolutions (skips), the discriminator has residual blocks. It needs no
operators of its own: a modulated convolution scales its inputs by the style, convolves all examples with one kernel,
and scales its outputs; resampling filters are sums of shifted slices.

References:
    Karras, Laine and Aila, A Style-Based Generator Architecture for Generative Adversarial Networks, arXiv 1812.04948.
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import equalised, layers
from jaxgan.models.dcgan import stages
from jaxgan.step.keys import stream

_AVERAGE = 0.995  # Decay of the moving average of styles.


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> float32 [N, size, size, channels], about in [-1, 1].

    In training every example gets fresh noise, and some get styles of two latents; in evaluation (`train=False`) noise
    is the same for all. `batch_stats` holds the average style, towards which samples may be drawn (`truncate`).

    Attributes:
        size: side of the images (see `dcgan.stages`).
        channels: channels of the images.
        width: features at the full size; each smaller size has twice as many,
        max_width: but at most so many.
        style_size: length W of a style.
        mapping_layers: layers of the mapping network.
        style_mixing: share of examples whose finer layers get the style of another latent (arXiv 1812.04948, section
            3.1), in training.
        clamp: keep what each convolution makes within +- this (arXiv 2006.06676, appendix D); 0 for none.
        classes: number of classes; 0 if not conditional.
        dtype: what the synthesis network computes in; styles and pictures are float32.
        axis: the mapped axis over which a batch is split (see `train_step.Game.axis`).
    """

    size: int
    channels: int
    width: int = 32
    max_width: int = 512
    style_size: int = 512
    mapping_layers: int = 8
    style_mixing: float = 0.9
    clamp: float = 0.0
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    def setup(self) -> None:
        self.mapper = _Mapping(self.style_size, self.mapping_layers, self.classes)
        self.synthesizer = _Synthesis(
            self.size, self.channels, self.width, self.max_width, self.clamp, self.dtype, self.axis
        )
        self.average = self.variable("batch_stats", "average_style", jnp.zeros, (self.style_size,), jnp.float32)

    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        return self.synthesis(self.mapping(latent, label, train), train)

    def mapping(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        """The styles of latents: float32 [N, layers, W], coarse to fine, alike for all layers unless mixed."""
        style = self.mapper(latent, label)
        count = self.layers
        styles = jnp.broadcast_to(style[:, None], (style.shape[0], count, self.style_size))
        if not train:
            return styles
        if not self.is_initializing():
            mean = jax.lax.stop_gradient(jnp.mean(style, axis=0))
            self.average.value = _AVERAGE * self.average.value + (1 - _AVERAGE) * mean
        if self.style_mixing:
            keys = layers.keys_of(self, "mixing", len(latent), self.axis)
            other = self.mapper(
                jax.vmap(lambda key: jax.random.normal(key, latent.shape[1:], latent.dtype))(keys), label
            )
            first = jax.vmap(self._crossover)(keys)
            styles = jnp.where((jnp.arange(count) < first[:, None])[..., None], styles, other[:, None])
        return styles

    def synthesis(self, styles: jax.Array, train: bool = True) -> jax.Array:
        """The pictures of styles [N, layers, W]."""
        return self.synthesizer(styles, train)

    @property
    def layers(self) -> int:
        """How many styles a picture takes."""
        return 2 * stages(self.size)[1] + 2

    def _crossover(self, key: jax.Array) -> jax.Array:
        """The first layer that gets the other style; the number of layers where none does."""
        mixed = jax.random.bernoulli(stream(key, "mixed"), self.style_mixing)
        return jnp.where(mixed, jax.random.randint(stream(key, "crossover"), (), 1, self.layers), self.layers)


def truncate(styles: jax.Array, average: jax.Array, psi: float | jax.Array) -> jax.Array:
    """Draws styles [N, layers, W] towards the average one [W]: 1 leaves them, 0 makes all alike.

    Args:
        styles: coarse to fine.
        average: the average style.
        psi: how far, of all layers or of each: float or [layers].

    References:
        arXiv 1812.04948, appendix B.
    """
    return average + jnp.asarray(psi)[..., None] * (styles - average)


class _Mapping(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> styles [N, W]."""

    style_size: int
    layers: int
    classes: int

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None) -> jax.Array:
        x = equalised.pixel_norm(latent)
        if layers.check_label(label, self.classes) is not None:
            embedding = equalised.Dense(self.style_size, name="embed")(jax.nn.one_hot(label, self.classes))
            x = jnp.concatenate([x, equalised.pixel_norm(embedding)], axis=-1)
        return equalised.mapped(x, self.style_size, self.layers)


class _Synthesis(nn.Module):
    """Styles [N, layers, W] -> pictures [N, size, size, channels]."""

    size: int
    channels: int
    width: int
    max_width: int
    clamp: float
    dtype: layers.DTYPE
    axis: str | None

    @nn.compact
    def __call__(self, styles: jax.Array, train: bool) -> jax.Array:
        base, doublings = stages(self.size)
        picture, place = jnp.zeros(()), 0
        features = layers.widths(self.width, self.max_width, doublings)
        const = self.param("const", nn.initializers.normal(1.0), (base, base, features[0]), jnp.float32)
        x = jnp.broadcast_to(const, (styles.shape[0], *const.shape)).astype(self.dtype)
        for index, width in enumerate(features):
            side = base * 2**index
            if index:
                up = _Styled(width, True, self.clamp, self.dtype, self.axis, name=f"conv{side}_0")
                x = up(x, styles[:, place], train)
                picture, place = equalised.upsample(picture), place + 1
            styled = _Styled(width, False, self.clamp, self.dtype, self.axis, name=f"conv{side}_1")
            x = styled(x, styles[:, place], train)
            # The picture's layer shares the next convolution's style.
            picture = picture + _ToPicture(self.channels, self.clamp, name=f"picture{side}")(x, styles[:, place + 1])
            place += 1
        return picture


class _Styled(nn.Module):
    """A modulated convolution with noise, a bias and a leaky ReLU, [N, H, W, C] -> [N, H or 2H, W or 2W, features]."""

    features: int
    up: bool
    clamp: float
    dtype: layers.DTYPE
    axis: str | None

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array, train: bool) -> jax.Array:
        scale = equalised.Dense(x.shape[-1], bias_init=1, name="affine")(style)
        kernel = layers.kernel(self, nn.initializers.normal(1.0), (3, 3, x.shape[-1], self.features))
        x = modulated(x, kernel / math.sqrt(math.prod(kernel.shape[:3])), scale, self.up)
        fixed = self.variable(
            "noise", "noise", lambda: jax.random.normal(self.make_rng("params"), x.shape[1:3], jnp.float32)
        )
        noise = fixed.value
        if train:
            keys = layers.keys_of(self, "noise", len(x), self.axis)
            noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:3], jnp.float32))(keys)
        strength = self.param("noise_strength", nn.initializers.zeros, (), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x = layers.plus(x, (strength * noise)[..., None], bias)
        return equalised.clamped(equalised.leaky_relu(x), self.clamp)


class _ToPicture(nn.Module):
    """A modulated 1x1 convolution without demodulation, [N, H, W, C] -> float32 [N, H, W, channels]."""

    channels: int
    clamp: float

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        scale = equalised.Dense(x.shape[-1], bias_init=1, name="affine")(style) / math.sqrt(x.shape[-1])
        kernel = layers.kernel(self, nn.initializers.normal(1.0), (1, 1, x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        picture = equalised.convolve(x.astype(jnp.float32) * scale[:, None, None], kernel) + bias
        return equalised.clamped(picture, self.clamp)


def modulated(x: jax.Array, kernel: jax.Array, scale: jax.Array, up: bool = False) -> jax.Array:
    """Convolves each example with a kernel of its own: `kernel` scaled by channel, then brought to unit length.

    Scaling inputs and outputs of one convolution for all is the same as a kernel an example, and several times as fast
    on CPU.

    Args:
        x: [N, H, W, C].
        kernel: float32 [3, 3, C, D].
        scale: float32 [N, C].
        up: double height and width (see `equalised.convolve`).

    Returns:
        [N, H, W, D] or [N, 2H, 2W, D], of x's dtype.

    References:
        arXiv 1912.04958, equations 1 to 3.
    """
    length = jax.lax.rsqrt(scale**2 @ jnp.sum(kernel**2, axis=(0, 1)) + 1e-8)
    x = x * scale.astype(x.dtype)[:, None, None]
    x = equalised.convolve(x, kernel, "up" if up else "none")
    return x * length.astype(x.dtype)[:, None, None]


class Discriminator(nn.Module):
    """Images [N, size, size, channels] (and labels int32 [N]) -> float32 logits [N]; residual blocks.

    Attributes:
        width: features at the full size; each smaller size has twice as many,
        max_width: but at most so many.
        minibatch_stddev: size of the groups whose spread the last layers are told (see `layers.minibatch_stddev`); 0
            for none.
        mapping_layers: layers that make of a class's vector what features are compared with (see `equalised.classify`).
        clamp: keep what each convolution makes within +- this; 0 for none.
        classes: number of classes; 0 if not conditional.
        dtype: what the residual blocks compute in; what follows is float32.
    """

    width: int = 32
    max_width: int = 512
    minibatch_stddev: int = 4
    mapping_layers: int = 8
    clamp: float = 0.0
    classes: int = 0
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None) -> jax.Array:
        base, halvings = stages(image.shape[1])
        features = layers.widths(self.width, self.max_width, halvings)[::-1]

        def activated(x: jax.Array) -> jax.Array:
            return equalised.clamped(equalised.leaky_relu(x), self.clamp)

        x = activated(equalised.Conv(features[0], kernel=1, dtype=self.dtype, name="first")(image))
        for index, width in enumerate(features[1:]):
            side = base * 2 ** (halvings - index)
            conv = equalised.Conv(x.shape[-1], dtype=self.dtype, name=f"conv{side}_0")
            down = equalised.Conv(width, resample="down", dtype=self.dtype, name=f"conv{side}_1")
            skip = equalised.Conv(width, 1, "down", use_bias=False, dtype=self.dtype, name=f"skip{side}")
            # The root keeps the variance of the sum.
            x = (activated(down(activated(conv(x)))) + equalised.clamped(skip(x), self.clamp)) * math.sqrt(0.5)
        x = layers.minibatch_stddev(x.astype(jnp.float32), self.minibatch_stddev)
        x = activated(equalised.Conv(features[-1], name="last")(x))
        x = equalised.leaky_relu(equalised.Dense(features[-1], name="features")(x.reshape(len(x), -1)))
        return equalised.classify(x, label, self.classes, self.mapping_layers)
