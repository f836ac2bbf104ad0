"""Layers that the model families share."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models import conv
from jaxgan.step.keys import each

DTYPE = Any
normal = nn.initializers.normal(0.02)
"""DCGAN's initialisation of kernels (arXiv 1511.06434, section 4)."""
MOMENTUM = 0.9
"""Of the running averages of batch normalisation."""


def widths(width: int, limit: int, doublings: int) -> list[int]:
    """Features of each size, from the smallest to the full one.

    `width` at the full size, twice as many at each halving, at most `limit`.
    """
    return [min(width * 2**index, limit) for index in range(doublings, -1, -1)]


class Conv(nn.Module):
    """Convolution, [N, H, W, C] -> [N, H/stride, W/stride, features], with jaxgan's fast gradients.

    Attributes:
        features: output channels.
        kernel: side of the kernel.
        stride: step of the kernel.
        use_bias: whether to add a bias a channel.
        dtype: what to compute in.
        kernel_init: how the kernel starts.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = True
    dtype: DTYPE = jnp.float32
    kernel_init: nn.initializers.Initializer = normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _convolve(self, conv.conv, x)


class ConvTranspose(nn.Module):
    """Transposed convolution, [N, H, W, C] -> [N, H * stride, W * stride, features]. Attributes as for `Conv`."""

    features: int
    kernel: int = 4
    stride: int = 2
    use_bias: bool = True
    dtype: DTYPE = jnp.float32
    kernel_init: nn.initializers.Initializer = normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _convolve(self, conv.conv_transpose, x)


def _convolve(module: Conv | ConvTranspose, function: Any, x: jax.Array) -> jax.Array:
    shape = (module.kernel, module.kernel, x.shape[-1], module.features)
    weight = kernel(module, module.kernel_init, shape)
    x = function(x.astype(module.dtype), weight, stride=module.stride, padding="SAME")
    if module.use_bias:
        x = plus(x, module.param("bias", nn.initializers.zeros, (module.features,), jnp.float32))
    return x


class Dense(nn.Module):
    """Fully connected, [..., C] -> [..., features]; on feature maps a 1x1 convolution.

    Attributes:
        features: outputs.
        use_bias: whether to add a bias a feature.
        dtype: what to compute in.
        kernel_init: how the kernel starts.
        precision: of float32 products on platforms that round by default (see `jax.lax.Precision`).
    """

    features: int
    use_bias: bool = True
    dtype: DTYPE = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    precision: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = kernel(self, self.kernel_init, (x.shape[-1], self.features))
        x = matmul(x.astype(self.dtype), weight, self.precision)
        if self.use_bias:
            x = plus(x, self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32))
        return x


def dense(features: int, dtype: DTYPE, name: str | None = None) -> Dense:
    """A fully connected layer with DCGAN's initialisation."""
    return Dense(features, dtype=dtype, kernel_init=normal, name=name)


def kernel(module: nn.Module, init: nn.initializers.Initializer, shape: tuple[int, ...]) -> jax.Array:
    """A layer's parameter "kernel", float32, as its products take it: gathered, where it is split over devices.

    Else XLA would split the products instead, and send features from device to device many times over: a small GAT on 8
    devices moved 2,430 MB a step where it now moves 160.
    """
    value = module.param("kernel", init, shape, jnp.float32)
    if jax.sharding.get_abstract_mesh().shape.get("model", 1) == 1:  # See `parallel.Placement`.
        return value
    return jax.lax.with_sharding_constraint(value, jax.sharding.PartitionSpec())


# Parameters are float32 whatever a network computes in. Their gradients are sums over examples, and over devices, which
# are taken in float32, too: so a parameter is not rounded before it meets the examples but where it does.


def matmul(x: jax.Array, kernel: jax.Array, precision: str | None = None) -> jax.Array:
    """The product x @ kernel in x's dtype, [..., C] and [C, D] -> [..., D]; the kernel's gradient is of its own."""
    if x.dtype != kernel.dtype:
        return _mixed(*conv.alike(x, kernel))
    return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), precision)


@jax.custom_vjp
def _mixed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel.astype(x.dtype)


def _mixed_gradients(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    examples = tuple(range(x.ndim - 1))
    wide = conv.wider(x.dtype, kernel.dtype)
    slope = jax.lax.dot_general(x, g, ((examples, examples), ((), ())), preferred_element_type=wide)
    return _mixed(g, kernel.T), slope.astype(kernel.dtype)


_mixed.defvjp(lambda x, kernel: (_mixed(x, kernel), (x, kernel)), _mixed_gradients)


def plus(x: jax.Array, *terms: jax.Array) -> jax.Array:
    """The sum of features and parameters that broadcast to them, in the widest dtype, rounded to that of x."""
    wide = conv.wider(*(term.dtype for term in (x, *terms)))
    return functools.reduce(jnp.add, (term.astype(wide) for term in (x, *terms))).astype(x.dtype)


def batch_norm(x: jax.Array, train: bool, axis: str | None = None) -> jax.Array:
    """Batch normalisation (arXiv 1502.03167) as DCGAN's reference code sets it, in float32, [..., C] -> [..., C].

    Args:
        x: features.
        train: normalise by the batch's moments rather than by their running averages.
        axis: the mapped axis over which the batch is split; its moments are those of the whole batch.
    """
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=MOMENTUM,
        epsilon=1e-5,
        scale_init=lambda key, shape, dtype: 1 + normal(key, shape, dtype),
        axis_name=axis,
    )
    return norm(x.astype(jnp.float32)).astype(x.dtype)


def dropout(module: nn.Module, x: jax.Array, rate: float, axis: str | None = None) -> jax.Array:
    """Dropout (arXiv 1207.0580) whose noise belongs to the example, on whichever device that is, [N, ...] -> [N, ...].

    Args:
        module: the module that draws.
        x: features.
        rate: share of features to drop; the others grow by 1 / (1 - rate).
        axis: the mapped axis over which the batch is split.
    """
    if not rate:
        return x
    keys = keys_of(module, "dropout", len(x), axis)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)


def keys_of(module: nn.Module, name: str, count: int, axis: str | None) -> jax.Array:
    """A module's key for each of `count` examples, by its place in the whole batch, which may be split over `axis`."""
    mapped = axis is not None and not module.is_initializing()
    first = jax.lax.axis_index(axis) * count if mapped else 0
    return each(module.make_rng(name), first + jnp.arange(count, dtype=jnp.int32))


def normalised(layer: nn.Module, norm: str, x: jax.Array) -> jax.Array:
    """Calls a layer, its kernel divided by its largest singular value where `norm` is "spectral"."""
    return SpectralNorm(layer)(x) if norm == "spectral" else layer(x)


class SpectralNorm(nn.Module):
    """Calls a layer with its kernel divided by its largest singular value, found by one power iteration a call.

    The vectors of the iteration are among the network's statistics. As PyTorch's `spectral_norm`, call for call; Flax's
    own is half an iteration out of step with that. Where statistics are immutable a call gives the same and keeps no
    vectors: it iterates all the same, because those of a moving average are not of length 1.

    Attributes:
        layer: a layer with one parameter of two or more dimensions, outputs last.

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, arXiv 1802.05957, algorithm 1.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        divide = functools.partial(jax.tree.map, self._divide)
        call = nn.map_variables(
            lambda layer: layer(x), "params", trans_in_fn=divide, init=self.is_initializing(), mutable=True
        )
        return call(self.layer)

    def _divide(self, kernel: jax.Array) -> jax.Array:
        if kernel.ndim < 2:
            return kernel
        matrix = kernel.reshape(-1, kernel.shape[-1])
        right = self.variable("batch_stats", "right", self._start, matrix)

        def turn(v: jax.Array) -> tuple[jax.Array, jax.Array]:
            u = _unit(v @ matrix)
            return u, _unit(matrix @ u)

        left, turned = jax.lax.stop_gradient(turn(right.value))
        if self.is_mutable_collection("batch_stats"):
            right.value = turned
        return kernel / (turned @ matrix @ left)

    def _start(self, matrix: jax.Array) -> jax.Array:
        """A first vector [inputs]; fifteen iterations on its way already, as in PyTorch."""
        v = _unit(jax.random.normal(self.make_rng("params"), matrix.shape[:1]))
        return jax.lax.fori_loop(0, 15, lambda _, v: _unit(matrix @ _unit(v @ matrix)), v)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


def fourier(x: jax.Array, count: int, scale: float) -> jax.Array:
    """Appends sines and cosines of fixed random directions of the input, [N, C] -> [N, C + 2 * count].

    A network of coordinates learns coarse shapes first and fine ones very slowly; with these it sees both.

    Args:
        x: features.
        count: directions.
        scale: standard deviation of the frequencies, in radians a unit of the input.

    References:
        Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, arXiv 2006.10739, equation 5.
    """
    directions = scale * jax.random.normal(jax.random.key(0), (x.shape[-1], count), x.dtype)
    return jnp.concatenate([x, jnp.sin(x @ directions), jnp.cos(x @ directions)], axis=-1)


def minibatch_stddev(x: jax.Array, group: int) -> jax.Array:
    """Appends one feature that tells how much a group of examples differ, [N, ..., C] -> [N, ..., C + 1].

    The standard deviation over the group's examples, averaged over all positions and features. Groups are of
    neighbours, so that a batch that is split over devices has the same ones.

    Args:
        x: features.
        group: examples in a group; must divide N. 0 returns x as it is.

    References:
        Karras et al., Progressive Growing of GANs, arXiv 1710.10196, section 3.
    """
    if not group:
        return x
    if len(x) % group:
        raise ValueError(f"minibatch_stddev: groups of {group} do not divide {len(x)} examples")
    groups = x.astype(jnp.float32).reshape(-1, group, *x.shape[1:])
    spread = jnp.sqrt(jnp.var(groups, axis=1) + 1e-8).reshape(len(groups), -1).mean(axis=1)
    feature = jnp.repeat(spread, group).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.concatenate([x, jnp.broadcast_to(feature, (*x.shape[:-1], 1))], axis=-1)


def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.2 x), the discriminators' activation."""
    return nn.leaky_relu(x, 0.2)


def upsample(x: jax.Array) -> jax.Array:
    """Doubles height and width by repeating pixels, [N, H, W, C] -> [N, 2H, 2W, C]."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 max-pooling, [N, H, W, C] -> [N, H/2, W/2, C]; H and W are even.

    As the maximum of four slices: its gradient is much cheaper than that of a windowed reduction.
    """
    return jnp.maximum(jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2]), jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]))


def average_pool(x: jax.Array) -> jax.Array:
    """2x2 mean-pooling, [N, H, W, C] -> [N, H/2, W/2, C]; H and W are even."""
    return (x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]) / 4


def concatenate_label(latent: jax.Array, label: jax.Array | None, classes: int, dtype: DTYPE) -> jax.Array:
    """Appends a learned vector of the class to each latent; the latent alone where there are no classes."""
    if check_label(label, classes) is None:
        return latent.astype(dtype)
    embedding = nn.Embed(classes, latent.shape[-1], name="label")(label)
    return jnp.concatenate([latent.astype(dtype), embedding.astype(dtype)], axis=-1)


def classify(features: jax.Array, label: jax.Array | None, classes: int, dtype: DTYPE, norm: str = "none") -> jax.Array:
    """Logits [N] of feature vectors [N, F]: linear, plus the projection on a learned vector of the class.

    References:
        Miyato and Koyama, cGANs with Projection Discriminator, arXiv 1802.05637, equation 3.
    """
    logits = normalised(dense(1, dtype, name="logit"), norm, features)[:, 0]
    if check_label(label, classes) is not None:
        assert label is not None
        embed = nn.Embed(classes, features.shape[-1], embedding_init=normal, name="label")
        embedding = normalised(embed, norm, label).astype(features.dtype)
        logits = logits + jnp.sum(embedding * features, axis=-1)
    return logits.astype(jnp.float32)


def check_label(label: jax.Array | None, classes: int) -> jax.Array | None:
    """The labels as they are; raises ValueError where a network of so many classes was called with or without."""
    if (label is None) == (classes > 0):
        raise ValueError(f"a network of {classes} classes was called with{'out' if label is None else ''} labels")
    return label
