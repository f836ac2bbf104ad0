"""Layers of equalised learning rate, and filtered resampling: what progressive growing brought and StyleGAN kept.

Parameters are standard normal and scaled when they are used, by 1 / sqrt(fan in): Adam, whose steps do not depend on
the scale of gradients, then moves all layers at the same speed. Activations are leaky ReLUs of slope 0.2, times sqrt(2)
so that variance is kept.

References:
    Karras et al., Progressive Growing of GANs, arXiv 1710.10196, section 4.1.
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958.
"""

import functools
import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import conv, layers

Resample = Literal["none", "up", "down", "repeat", "average"]
GAIN = math.sqrt(2)
"""Of `leaky_relu`."""
TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
"""The low-pass filter [1, 3, 3, 1] of all resampling."""


class Dense(nn.Module):
    """Fully connected, [N, C] -> [N, features].

    Attributes:
        features: outputs.
        gain: the result's standard deviation, for inputs of 1.
        rate: learns at so many times the rate of other layers; the function stays the same.
        bias_init: first value of the bias.
        use_bias: whether to add a bias a feature.
        dtype: what to compute in.
    """

    features: int
    gain: float = 1.0
    rate: float = 1.0
    bias_init: float = 0.0
    use_bias: bool = True
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        initial = nn.initializers.normal(1 / self.rate)
        kernel = layers.kernel(self, initial, (x.shape[-1], self.features))
        scale = self.rate * self.gain / math.sqrt(x.shape[-1])
        x = layers.matmul(x.astype(self.dtype), kernel * scale)
        if self.use_bias:
            first = nn.initializers.constant(self.bias_init / self.rate)
            bias = self.param("bias", first, (self.features,), jnp.float32)
            x = layers.plus(x, bias * self.rate)
        return x


class Conv(nn.Module):
    """Convolution, [N, H, W, C] -> [N, H', W', features].

    Attributes:
        features: output channels.
        kernel: side of the kernel.
        resample: see `convolve`.
        gain: the result's standard deviation, for inputs of 1.
        use_bias: whether to add a bias a channel.
        dtype: what to compute in.
    """

    features: int
    kernel: int = 3
    resample: Resample = "none"
    gain: float = 1.0
    use_bias: bool = True
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = layers.kernel(self, nn.initializers.normal(1.0), shape)
        kernel = kernel * (self.gain / math.sqrt(math.prod(shape[:3])))
        x = convolve(x.astype(self.dtype), kernel, self.resample)
        if self.use_bias:
            x = layers.plus(x, self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32))
        return x


def convolve(x: jax.Array, kernel: jax.Array, resample: Resample = "none") -> jax.Array:
    """A convolution that may also double or halve the size, [N, H, W, C] -> [N, H', W', D].

    It is always done at the smaller size: with "up", a transposed convolution of stride 2 and then the filter; with
    "down", the filter and then a convolution of stride 2 (as StyleGAN2). "repeat" is `layers.upsample` and then the
    convolution, "average" the convolution and then `layers.average_pool`, each as one convolution of 4x4 taps (as
    progressive growing). On TPU, where matrix products are cheap beside anything else, filter and convolution are one
    of 6x6 taps.

    Args:
        x: [N, H, W, C].
        kernel: [k, k, C, D], k 1 or 3 (3 for "repeat" and "average"), of x's dtype or another (see `conv.conv`).
        resample: "none" keeps the size.
    """
    if kernel.shape[0] == 1:
        if resample == "down":
            x = downsample(x)
        x = conv.conv(x, kernel)
        return upsample(x) if resample == "up" else x
    if resample == "up":
        return conv.by_platform(x, kernel, tpu=_up_folded, default=_up)
    if resample == "down":
        return conv.by_platform(x, kernel, tpu=_down_folded, default=_down)
    if resample == "repeat":
        return conv.conv_transpose(x, _spread(kernel)[::-1, ::-1], stride=2)
    if resample == "average":
        return conv.conv(x, _spread(kernel) / 4, stride=2)
    return conv.conv(x, kernel)


def _up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return blur(conv.conv_transpose(x, kernel, stride=2, padding="VALID"), 1, 4)


def _up_folded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv.conv_transpose(x, _filtered_kernel(4 * kernel), stride=2, padding=2)


def _down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv.conv(blur(x, 2), kernel, stride=2, padding="VALID")


def _down_folded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv.conv(x, _filtered_kernel(kernel), stride=2, padding=2)


def _filtered_kernel(kernel: jax.Array) -> jax.Array:
    """[3, 3, C, D] -> [6, 6, C, D], the kernel convolved with the filter."""
    for axis in (0, 1):
        pads = [[(tap, 3 - tap) if index == axis else (0, 0) for index in range(4)] for tap in range(4)]
        kernel = functools.reduce(jnp.add, (TAPS[tap] * jnp.pad(kernel, pads[tap]) for tap in range(4)))
    return kernel


# The filter is symmetric, so each of these functions is the gradient of another. Told so, a training step computes all
# its derivatives as fast as the functions themselves; JAX's own are sums of padded arrays.


@jax.custom_vjp
def upsample(x: jax.Array) -> jax.Array:
    """Doubles height and width with the filter `TAPS`, zeros around, [N, H, W, C] -> [N, 2H, 2W, C]."""
    near, far = 2 * TAPS[1], 2 * TAPS[0]
    for axis in (1, 2):
        before, after = _shifted(x, axis, -1), _shifted(x, axis, 1)
        pair = jnp.stack([far * before + near * x, near * x + far * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


@jax.custom_vjp
def downsample(x: jax.Array) -> jax.Array:
    """Halves height and width, which are even, with the filter `TAPS`, zeros around: [N, 2H, 2W, C] -> [N, H, W, C]."""
    return _filtered(x, 1, 2)


upsample.defvjp(lambda x: (upsample(x), None), lambda _, g: (4 * downsample(g),))
downsample.defvjp(lambda x: (downsample(x), None), lambda _, g: (upsample(g) / 4,))


def blur(x: jax.Array, padding: int, gain: float = 1.0) -> jax.Array:
    """Filters with `TAPS` along both axes, [N, H, W, C] -> [N, H + 2 * padding - 3, W + 2 * padding - 3, C].

    As a sum of shifted slices: on CPU ten times as fast as a convolution a channel.

    Args:
        x: [N, H, W, C].
        padding: zeros on every side, at most 3.
        gain: factor of the result.
    """
    return _blur(padding, gain * x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blur(padding: int, x: jax.Array) -> jax.Array:
    return _filtered(x, padding, 1)


_blur.defvjp(lambda padding, x: (_blur(padding, x), None), lambda padding, _, g: (_blur(3 - padding, g),))


def _filtered(x: jax.Array, padding: int, stride: int) -> jax.Array:
    """Every `stride`-th value of the filtered pictures."""
    for axis in (1, 2):
        pads = [(padding, padding) if index == axis else (0, 0) for index in range(4)]
        padded, end = jnp.pad(x, pads), x.shape[axis] + 2 * padding - 3
        slices = [jax.lax.slice_in_dim(padded, tap, tap + end, stride, axis) for tap in range(4)]
        x = TAPS[0] * (slices[0] + slices[3]) + TAPS[1] * (slices[1] + slices[2])
    return x


def pixel_norm(x: jax.Array) -> jax.Array:
    """Divides features by their root mean square, [..., C] -> [..., C] (arXiv 1710.10196, section 4.2)."""
    square = jnp.mean(x.astype(jnp.float32) ** 2, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(square + 1e-8).astype(x.dtype)


def leaky_relu(x: jax.Array) -> jax.Array:
    """sqrt(2) max(x, 0.2 x)."""
    return layers.leaky_relu(x) * GAIN


def mapped(x: jax.Array, features: int, layers: int) -> jax.Array:
    """Fully connected layers that learn slowly, [N, C] -> [N, features]; to be called inside a module.

    Styles, and what is made of labels, would otherwise change too fast for the rest (arXiv 1812.04948, appendix C).
    """
    for index in range(layers):
        x = leaky_relu(Dense(features, rate=0.01, name=f"dense{index}")(x))
    return x


def clamped(x: jax.Array, limit: float) -> jax.Array:
    """Cut off at +- limit; 0 for none."""
    return jnp.clip(x, -limit, limit) if limit else x


def classify(features: jax.Array, label: jax.Array | None, classes: int, mapping_layers: int = 0) -> jax.Array:
    """Logits [N] of feature vectors [N, F]: linear, or for a conditional network the product with the class's vector.

    To be called inside a module. As StyleGAN2-ADA (arXiv 2006.06676, appendix C), whose mapping of labels has 8 layers.
    """
    if layers.check_label(label, classes) is None:
        return Dense(1, name="logit")(features)[:, 0]
    embedding = pixel_norm(Dense(features.shape[-1], name="embed")(jax.nn.one_hot(label, classes)))
    embedding = mapped(embedding, features.shape[-1], mapping_layers)
    projected = Dense(features.shape[-1], name="logit")(features)
    return jnp.sum(projected * embedding, axis=-1) / math.sqrt(features.shape[-1])


def _spread(kernel: jax.Array) -> jax.Array:
    """[3, 3, C, D] -> [4, 4, C, D], the sum of the kernel at the four places of 2x2 pixels."""
    for axis in (0, 1):
        early, late = ([pads if index == axis else (0, 0) for index in range(4)] for pads in ((0, 1), (1, 0)))
        kernel = jnp.pad(kernel, early) + jnp.pad(kernel, late)
    return kernel


def _shifted(x: jax.Array, axis: int, by: int) -> jax.Array:
    """x[i + by] along an axis, zeros from outside."""
    pads = [(max(-by, 0), max(by, 0)) if index == axis else (0, 0) for index in range(x.ndim)]
    return jax.lax.slice_in_dim(jnp.pad(x, pads), max(by, 0), max(by, 0) + x.shape[axis], axis=axis)
