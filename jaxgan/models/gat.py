"""GAT's pair (arXiv 2509.24935): transformers on patches, of latents of an autoencoder or of pixels alike.

The generator starts from positions alone; a style, made of the latent and the class, scales what every block reads and
writes. After every quarter of its depth it makes a picture, which is added to those before. The discriminator is shown
the four together. With `losses.relativistic_paired`, `Game.guidance` and R1 and R2 by finite differences this is the
paper's game. Its sizes, with patches of 2, 4 or 8:

    S     width=384, depth=12, heads=6
    B     width=768, depth=12, heads=12
    L     width=1024, depth=24, heads=16
    XL    width=1152, depth=28, heads=16

Blocks of one kind are one layer, scanned: a network of any depth compiles in the time of a block, and where parameters
are split over devices one block's are gathered at a time.

The authors' networks have more parameters by their count: the positions, which are not learned (tokens x width in each
network), and in the generator an embedding of patches (width x (patch^2 x channels + 1)), which they multiply by 0.
Theirs need classes; without these the style is the latent's alone, and the logit linear.

References:
    Hyun et al., Scalable GANs with Transformers, arXiv 2509.24935.
    Peebles and Xie, Scalable Diffusion Models with Transformers, arXiv 2212.09748, section 3.2 (patches, gates).
    Su et al., RoFormer, arXiv 2104.09864, section 3.2 (rotary positions).
    Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.models import conv, layers

PICTURES = 4
"""How many pictures a generator makes, one after every quarter of its depth."""

_AVERAGE = 0.995  # Decay of the moving averages of styles.
_EPSILON = 1e-6  # Of the norms of features.


class Generator(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> a tuple of four float32 [N, size, size, channels], each a correction on.

    In evaluation (`train=False`) the last pictures only, [N, size, size, channels]; not bounded. A quarter of the
    blocks has a style, in training the same one for all. `batch_stats` holds the average style, of each class by
    itself, towards which samples may be drawn (`stylegan2.truncate`). The authors keep it on each device by itself;
    this is of the whole batch.

    Attributes:
        size: side of the pictures, or of their latents; a multiple of `patch`.
        channels: their channels.
        width: features of a patch; a multiple of 4 * heads.
        depth: blocks; a multiple of 4.
        heads: attention's heads.
        patch: side of a patch.
        classes: number of classes; 0 if not conditional.
        rematerialise: compute blocks again where their gradients are, rather than keep what they computed: a quarter
            more work in a fraction of the memory.
        dtype: what the blocks' products are computed in; what blocks add up to, styles and pictures are float32.
        axis: the mapped axis over which a batch is split (see `train_step.Game.axis`).
    """

    size: int
    channels: int
    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 2
    classes: int = 0
    rematerialise: bool = True
    dtype: layers.DTYPE = jnp.float32
    axis: str | None = None

    def setup(self) -> None:
        self.mapper = _Mapping(self.width, self.classes, conv.wider(self.dtype, jnp.float32))
        self.synthesizer = _Synthesis(
            self.size, self.channels, self.width, self.depth, self.heads, self.patch, self.rematerialise, self.dtype
        )
        shape = (self.classes, self.width) if self.classes else (self.width,)
        self.average = self.variable("batch_stats", "average_style", jnp.zeros, shape, jnp.float32)

    def __call__(
        self, latent: jax.Array, label: jax.Array | None = None, train: bool = True
    ) -> jax.Array | tuple[jax.Array, ...]:
        return self.synthesis(self.mapping(latent, label, train), train)

    @property
    def layers(self) -> int:
        """How many styles a picture takes."""
        return PICTURES

    def mapping(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True) -> jax.Array:
        """The styles of latents: float32 [N, 4, width], a quarter of the depth each, all alike."""
        style = self.mapper(latent, label)
        if train and not self.is_initializing():
            self._remember(jax.lax.stop_gradient(style), label)
        return jnp.broadcast_to(style[:, None], (style.shape[0], PICTURES, self.width))

    def synthesis(self, styles: jax.Array, train: bool = True) -> jax.Array | tuple[jax.Array, ...]:
        """The pictures of styles [N, 4, width]."""
        pictures = self.synthesizer(styles)
        return pictures if train else pictures[-1]

    def _remember(self, style: jax.Array, label: jax.Array | None) -> None:
        """Moves the average styles of those classes that the batch has."""
        old = self.average.value.reshape(-1, self.width)
        label = jnp.zeros(style.shape[0], jnp.int32) if label is None else label
        member = (jnp.arange(len(old), dtype=label.dtype)[:, None] == label).astype(style.dtype)
        total, count = jnp.matmul(member, style, precision="highest"), jnp.sum(member, axis=1, keepdims=True)
        if self.axis is not None:
            total, count = jax.lax.psum((total, count), self.axis)
        new = _AVERAGE * old + (1 - _AVERAGE) * (total / jnp.maximum(count, 1)).astype(old.dtype)
        self.average.value = jnp.where(count > 0, new, old).reshape(self.average.value.shape)


class Discriminator(nn.Module):
    """Pictures (and labels int32 [N]) -> float32 logits [N].

    Attributes:
        width: features of a patch; a multiple of 4 * heads.
        depth: blocks.
        heads: attention's heads.
        patch: side of a patch.
        embedding: length of a class's vector, on which the logit projects.
        classes: number of classes; 0 if not conditional.
        rematerialise: compute blocks again where their gradients are, rather than keep what they computed.
        dtype: what the blocks' products are computed in; all else is float32. Where logits of pictures that differ
            little are subtracted (`Game.difference`), float32 it must be.
    """

    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 2
    embedding: int = 2048
    classes: int = 0
    rematerialise: bool = True
    dtype: layers.DTYPE = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array | tuple[jax.Array, ...], label: jax.Array | None = None) -> jax.Array:
        """The logits of [N, size, size, channels], or of a tuple of such pictures, seen on top of one another."""
        label = layers.check_label(label, self.classes)
        x = jnp.concatenate(jax.tree.leaves(image), axis=-1)
        n, side = x.shape[0], x.shape[1] // self.patch
        x = x.astype(conv.wider(self.dtype, jnp.float32))
        x = _dense(self.width, x.dtype, "patches")(_patches(x, self.patch))
        x = x + positions(side, self.width).astype(x.dtype)
        token = self.param("token", nn.initializers.normal(0.02), (self.width,), jnp.float32)
        x = jnp.concatenate([jnp.broadcast_to(token, (n, 1, self.width)).astype(x.dtype), x], axis=1)
        x = _scanned(_JudgingBlock, self.depth, self.rematerialise)(self.heads, side, self.dtype, name="blocks")(x)[0]
        x = _Norm(name="norm")(x[:, 0])
        if label is None:
            return _dense(1, x.dtype, "logit")(x)[:, 0]
        vector = nn.Embed(self.classes, self.embedding, embedding_init=nn.initializers.normal(0.02), name="label")(
            label
        )
        vector = _Slow(self.embedding, name="label1")(jax.nn.silu(_Slow(self.embedding, name="label0")(vector)))
        return jnp.sum(_dense(self.embedding, x.dtype, "logit")(x) * vector.astype(x.dtype), axis=-1)


def check_patch(patch: int, side: int) -> None:
    """Raises ValueError where patches do not divide pictures of so many pixels."""
    if side % patch:
        raise ValueError(f"patches of {patch} do not divide {side}")


def positions(side: int, width: int) -> np.ndarray:
    """Sines and cosines of where each patch is, [side * side, width]: of its column, then of its row."""
    frequency = 10000.0 ** -(np.arange(width // 4) / (width // 4))
    angle = np.arange(side)[:, None] * frequency
    wave = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    column, row = np.tile(wave, (side, 1)), np.repeat(wave, side, axis=0)
    return np.concatenate([column, row], axis=1)


def angles(side: int, features: int) -> np.ndarray:
    """By how much each pair of a head's features is turned, [side * side, features / 2]: by the row, then the column.

    References:
        Sun et al., EVA-CLIP, arXiv 2303.15389 (rotary positions in two dimensions).
    """
    frequency = 10000.0 ** -(np.arange(features // 4) / (features // 4))
    angle = np.arange(side)[:, None] * frequency
    return np.concatenate([np.repeat(angle, side, axis=0), np.tile(angle, (side, 1))], axis=1)


class _Mapping(nn.Module):
    """Latents [N, Z] (and labels int32 [N]) -> float32 styles [N, width], at a hundredth of the others' rate."""

    width: int
    classes: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None) -> jax.Array:
        x = _normalised(latent.astype(self.dtype), 1e-8)
        if layers.check_label(label, self.classes) is not None:
            init = nn.initializers.normal(0.02)
            embedding = nn.Embed(self.classes, latent.shape[-1], embedding_init=init, name="label")(label)
            x = jnp.concatenate([_normalised(embedding.astype(x.dtype), 1e-8), x], axis=-1)
        return _Slow(self.width, name="dense1")(jax.nn.silu(_Slow(self.width, name="dense0")(x)))


class _Synthesis(nn.Module):
    """Styles [N, 4, width] -> a tuple of four pictures [N, size, size, channels]."""

    size: int
    channels: int
    width: int
    depth: int
    heads: int
    patch: int
    rematerialise: bool
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, styles: jax.Array) -> tuple[jax.Array, ...]:
        side = self.size // self.patch
        # The styles times 0, so that on devices that have an axis the tokens are each device's own.
        x = jnp.asarray(positions(side, self.width), styles.dtype) + 0 * styles[:, :1]
        quarters = nn.scan(
            _Quarter, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=1, length=PICTURES
        )
        features = self.patch**2 * self.channels
        block = self.depth // PICTURES, self.heads, side, features, self.rematerialise, self.dtype
        _, corrections = quarters(*block, name="quarters")(x, styles)
        pictures = jnp.cumsum(corrections, axis=0)
        return tuple(_unpatched(picture, side, self.patch) for picture in pictures)


class _Quarter(nn.Module):
    """Blocks, then a picture's patches: features [N, T, width] and styles [N, width] -> features, [N, T, features]."""

    depth: int
    heads: int
    side: int
    features: int
    rematerialise: bool
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> tuple[jax.Array, jax.Array]:
        blocks = _scanned(_MakingBlock, self.depth, self.rematerialise)
        x, _ = blocks(self.heads, self.side, self.dtype, name="blocks")(x, style)
        scale = _dense(x.shape[-1], x.dtype, "style", gain=0.1)(jax.nn.silu(style))
        return x, _dense(self.features, x.dtype, "picture")(_normalised(x) * (1 + scale[:, None]))


class _MakingBlock(nn.Module):
    """A generator's block: attention, then a gated layer, between scales and gates that the style [N, width] sets."""

    heads: int
    side: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> tuple[jax.Array, None]:
        modulation = _dense(4 * x.shape[-1], self.dtype, "style", gain=0.1)(jax.nn.silu(style))[:, None]
        scale, gate, gated_scale, gated_gate = jnp.split(modulation.astype(x.dtype), 4, axis=-1)
        attention = _Attention(self.heads, self.side, self.dtype, name="attention")
        x = x + gate * attention(_normalised(x) * (1 + scale)).astype(x.dtype)
        gated = _SwiGLU(self.dtype, name="gated")
        return x + gated_gate * gated(_normalised(x) * (1 + gated_scale)).astype(x.dtype), None


class _JudgingBlock(nn.Module):
    """A discriminator's block: the same, its norms and the sizes of what it adds learned."""

    heads: int
    side: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, None]:
        for name, layer in (
            ("attention", _Attention(self.heads, self.side, self.dtype, name="attention")),
            ("gated", _SwiGLU(self.dtype, name="gated")),
        ):
            size = self.param(f"{name}_size", nn.initializers.constant(0.1), x.shape[-1:], jnp.float32)
            x = x + layer(_Norm(name=f"{name}_norm")(x)).astype(x.dtype) * size.astype(x.dtype)
        return x, None


class _Attention(nn.Module):
    """Every position looks at all others, [N, T, width] -> [N, T, width].

    Queries and keys are normalised and turned by where they are (the last side^2 positions; a token before these has no
    place). The two features of a pair that turns lie half a head apart, where the authors have them side by side: the
    same network, its features in another order, without shuffling neighbours.
    """

    heads: int
    side: int
    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, tokens, width = x.shape
        features = width // self.heads
        x = _dense(3 * width, self.dtype, "qkv")(x.astype(self.dtype)).reshape(n, tokens, 3, self.heads, features)
        turn = np.pad(angles(self.side, features), [(tokens - self.side**2, 0), (0, 0)])[:, None]
        q, k = (self._placed(name, x[:, :, place], turn) for place, name in enumerate(("query_scale", "key_scale")))
        return _dense(width, self.dtype, "out")(_attended(q, k, x[:, :, 2]).reshape(n, tokens, width))

    def _placed(self, name: str, x: jax.Array, turn: np.ndarray) -> jax.Array:
        wide = conv.wider(self.dtype, jnp.float32)
        scale = self.param(name, nn.initializers.ones, x.shape[-1:], jnp.float32)
        # PyTorch's default epsilon, where the other norms have 1e-6.
        y = _normalised(x.astype(wide), float(jnp.finfo(wide).eps)) * scale.astype(wide)
        cosine, sine = np.cos(turn).astype(wide), np.sin(turn).astype(wide)
        a, b = jnp.split(y, 2, axis=-1)
        return jnp.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=-1).astype(x.dtype)


class _SwiGLU(nn.Module):
    """out(silu(a) * b), a and b of 8/3 as many features, [N, T, width] -> [N, T, width]."""

    dtype: layers.DTYPE

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        a, b = jnp.split(_dense(2 * (8 * width // 3), self.dtype, "inner")(x.astype(self.dtype)), 2, axis=-1)
        return _dense(width, self.dtype, "out")(jax.nn.silu(a) * b)


class _Norm(nn.Module):
    """Divides features by their root mean square and scales them (arXiv 1910.07467)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _normalised(x) * self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32).astype(x.dtype)


class _Slow(nn.Module):
    """Fully connected, float32; what it learns counts a hundredth, so it learns at a hundredth of the rate."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.variance_scaling(1e4, "fan_avg", "uniform")
        kernel = layers.kernel(self, init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return jnp.matmul(x.astype(kernel.dtype), 0.01 * kernel, precision="highest") + 0.01 * bias


def _attended(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """softmax(q k / sqrt(F)) v, each [N, T, heads, F]; the softmax is in float32 at least, where `jax.nn`'s is at most.

    References:
        Vaswani et al., Attention Is All You Need, arXiv 1706.03762, equation 1.
    """
    precision = jax.lax.DotAlgorithmPreset.BF16_BF16_F32 if q.dtype == jnp.bfloat16 else "high"
    # Widened before the product, not by it, so that its gradients are products of one dtype, too.
    wide = conv.wider(q.dtype, jnp.float32)
    logits = jnp.einsum("nqhf,nkhf->nhqk", q.astype(wide), k.astype(wide), precision=precision)
    weights = jax.nn.softmax(logits * q.shape[-1] ** -0.5, axis=-1).astype(v.dtype)
    return jnp.einsum("nhqk,nkhf->nqhf", weights, v, precision=precision)


def _normalised(x: jax.Array, epsilon: float = _EPSILON) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)


def _dense(features: int, dtype: layers.DTYPE, name: str, gain: float = 1.0) -> layers.Dense:
    """A fully connected layer with Xavier's initialisation; float32 is TF32 or three products of bfloat16 at least."""
    init = nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")
    return layers.Dense(features, dtype=dtype, kernel_init=init, precision="high", name=name)


def _scanned(block: type[nn.Module], depth: int, rematerialise: bool) -> Any:
    """Blocks one after another as one layer, whose parameters have the block's number first."""
    if rematerialise:
        block = nn.remat(block, prevent_cse=False)  # Nothing is shared between the turns of a loop.
    return nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]
        length=depth,
    )


def _patches(x: jax.Array, patch: int) -> jax.Array:
    """Cuts pictures into patches, row by row, [N, H, W, C] -> [N, H/p * W/p, p * p * C]."""
    n, h, w, c = x.shape
    check_patch(patch, h)
    x = x.reshape(n, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // patch * (w // patch), patch * patch * c)


def _unpatched(x: jax.Array, side: int, patch: int) -> jax.Array:
    """Lays patches out, [N, side * side, p * p * C] -> [N, side * p, side * p, C]."""
    x = x.reshape(x.shape[0], side, side, patch, patch, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(x.shape[0], side * patch, side * patch, -1)
