import functools
import math
import re
import zlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import biggan, layers

NORMALISED = {  # Spectrally normalised layers of each module, in the order of their calls.
    "Generator": ["Dense_0", "Conv_0"],
    "Discriminator": ["logit", "label"],
    "UpBlock": ["Conv_0", "Conv_1", "skip"],
    "DownBlock": ["Conv_0", "Conv_1", "skip"],
    "ConditionalBatchNorm": ["gain", "bias"],
    "SelfAttention": ["query", "key", "value", "output"],
}
TO_PYTORCH = [
    (r"shared/embedding", "shared.weight"),
    (r"label/embedding", "embed.weight"),
    (r"(Dense_0|logit)/", "linear."),
    (r"(Up|Down)Block_(\d)/", r"blocks.\2.0."),
    (r"ConditionalBatchNorm_0/", "bn1."),
    (r"ConditionalBatchNorm_1/", "bn2."),
    (r"^BatchNorm_0/", "output_layer.0."),
    (r"BatchNorm_0/", ""),
    (r"^Conv_0/", "output_layer.2."),
    (r"Conv_0/", "conv1."),
    (r"Conv_1/", "conv2."),
    (r"skip/", "conv_sc."),
    (r"query/", "theta."),
    (r"key/", "phi."),
    (r"value/", "g."),
    (r"output/", "o."),
    (r"[./]kernel$", ".weight"),
    (r"scale$", "gain"),
    (r"(mean|var)$", r"stored_\1"),
]


def drawn(name, shape):
    """The weight of this name in tests/record_biggan.py, and here: so the file need not hold it."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(np.float32)
    if name.endswith("var"):
        return np.abs(values) + 0.5
    if name.startswith("output_layer.0"):
        return np.abs(values) / 3  # So that activations are seldom zero, and pictures neither black nor white.
    return values


def as_recorded(path, leaf, attention=0):
    """The value in the record of a variable of ours; attention follows the block of that number."""
    name = "/".join(part.key for part in path[1:]).replace("SelfAttention_0/", f"blocks.{attention}.1.")
    for ours, theirs in TO_PYTORCH:
        name = re.sub(ours, theirs, name)
    shape = leaf.shape
    if len(shape) == 4:
        return drawn(name, [shape[axis] for axis in (3, 2, 0, 1)]).transpose(2, 3, 1, 0)
    if name.startswith("linear") and shape[-1] > 1:  # Theirs has channels before positions.
        theirs = drawn(name, shape[::-1])
        return np.moveaxis(theirs.reshape(-1, 16, *shape[:-1]), 0, 1).reshape(theirs.shape).T
    embedding = name in ("shared.weight", "embed.weight")
    return drawn(name, shape) if embedding else drawn(name, shape[::-1]).T


def settled(module, variables):
    """The variables, spectral normalisation's vectors replaced by exact ones."""

    def settle(module, params, stats):
        new = {}
        for name, value in stats.items():
            kind, _, index = name.rpartition("_")
            if kind == "SpectralNorm":
                (kernel,) = (leaf for leaf in params[NORMALISED[module][int(index)]].values() if leaf.ndim > 1)
                value = {"right": np.linalg.svd(np.reshape(kernel, (-1, kernel.shape[-1])))[0][:, 0]}
            elif kind != "BatchNorm":
                value = settle(kind, params[name], value)
            new[name] = value
        return new

    params = variables["params"]
    return {"params": params, "batch_stats": settle(type(module).__name__, params, variables["batch_stats"])}


def normalised(kernel):
    matrix = np.reshape(kernel, (-1, kernel.shape[-1]))
    return matrix / np.linalg.norm(matrix, 2)


def start(module, *inputs, attention=0):
    """Variables as in the record: none is zero, as attention's share is at first."""
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs), jax.random.key(0))
    return settled(
        module, jax.tree_util.tree_map_with_path(functools.partial(as_recorded, attention=attention), shapes)
    )


@functools.partial(jax.jit, static_argnums=0)
def call(module, variables, *inputs):
    return module.apply(variables, *inputs, mutable=["batch_stats"])[0]


@functools.partial(jax.jit, static_argnums=0)
def evaluate(generator, variables, *inputs):
    return generator.apply(variables, *inputs, train=False)


def pair(classes=3, dtype=jnp.float32, axis=None):
    generator = biggan.Generator(8, 3, 4, attention=8, shared=5, classes=classes, dtype=dtype, axis=axis)
    return generator, biggan.Discriminator(4, attention=4, classes=classes, dtype=dtype)


LATENT = jnp.asarray(drawn("latent", (4, 6)))
IMAGE = jnp.tanh(drawn("image", (4, 8, 8, 3)))
LABEL = jnp.array([0, 2, 1, 2], jnp.int32)


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("label", [None, LABEL])
def test_shapes(size, label, key):
    classes = 0 if label is None else 3
    generator = biggan.Generator(size, 3, width=8, attention=size // 2, classes=classes)
    discriminator = biggan.Discriminator(width=8, attention=size // 2, classes=classes)

    def both(latent):
        image = generator.init_with_output(key, latent, label)[0]
        return image, discriminator.init_with_output(key, image, label)[0]

    image, logits = jax.eval_shape(both, jnp.zeros((4, 7)))
    assert (image.shape, logits.shape) == ((4, size, size, 3), (4,))


def test_it_has_the_references_size(key):
    """Parameters of the pair for ImageNet at 128 x 128: as BigGAN-PyTorch counts them, without a difference."""
    generator = biggan.Generator(128, 3, width=96, attention=64, classes=1000)
    discriminator = biggan.Discriminator(width=96, attention=64, classes=1000)
    shapes = [
        jax.eval_shape(generator.init, key, jnp.zeros((1, 120)), LABEL[:1]),
        jax.eval_shape(discriminator.init, key, jnp.zeros((1, 128, 128, 3)), LABEL[:1]),
    ]
    count = [sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree["params"])) for tree in shapes]
    assert count == [70_433_988, 87_982_370]


@pytest.mark.parametrize(
    ("size", "first", "up", "down"),
    [
        (32, 4, [4, 4, 4], [4, 4, 4, 4]),
        (64, 16, [16, 8, 4, 2], [1, 2, 4, 8, 16]),
        (256, 16, [16, 8, 8, 4, 2, 1], [1, 2, 4, 8, 8, 16, 16]),
    ],
)
def test_features_are_the_references(size, first, up, down, key):
    """Those of `G_arch` and `D_arch` in BigGAN-PyTorch."""
    generator, discriminator = biggan.Generator(size, 3, width=1), biggan.Discriminator(width=1)
    made = jax.eval_shape(generator.init, key, jnp.zeros((1, 7)))["params"]
    judged = jax.eval_shape(discriminator.init, key, jnp.zeros((1, size, size, 3)))["params"]
    assert len(made["Dense_0"]["bias"]) == 4 * 4 * first
    for params, name, expected in ((made, "UpBlock", up), (judged, "DownBlock", down)):
        blocks = [params[f"{name}_{index}"] for index in range(sum(key.startswith(name) for key in params))]
        assert [len(block["Conv_1"]["bias"]) for block in blocks] == expected


def test_kernels_start_orthogonal(key):
    params = jax.jit(biggan.ConditionalBatchNorm().init, static_argnums=3)(key, IMAGE, LATENT, True)["params"]
    kernels = [params["gain"]["kernel"], jax.jit(biggan._Conv(5).init)(key, IMAGE)["params"]["kernel"].reshape(-1, 5)]
    for kernel in kernels:
        gram = kernel.T @ kernel
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


@pytest.fixture(scope="module")
def recorded():
    return np.load(Path(__file__).with_name("data") / "biggan.npz")


def test_the_generator_equals_the_reference(recorded):
    """Pictures in training and in evaluation; recorded by tests/record_biggan.py."""
    generator = biggan.Generator(32, 3, width=2, attention=16, shared=6, classes=3)
    inputs = jnp.asarray(drawn("latent", (2, 16))), LABEL[:2]
    variables = start(generator, *inputs, attention=1)
    for mode, function in (("training", call), ("evaluation", evaluate)):
        image = function(generator, variables, *inputs)[:, ::3, ::3]
        np.testing.assert_allclose(image, recorded[f"generator/{mode}"], rtol=1e-5, atol=1e-5)


def test_the_discriminator_equals_the_reference(recorded):
    """Logits; recorded by tests/record_biggan.py."""
    discriminator = biggan.Discriminator(width=2, attention=16, classes=3)
    inputs = jnp.asarray(drawn("image", (2, 32, 32, 3))), LABEL[:2]
    logits = call(discriminator, start(discriminator, *inputs), *inputs)
    np.testing.assert_allclose(logits, recorded["discriminator"], rtol=1e-5)


def test_conditional_batch_norm_by_hand():
    x, condition = jnp.asarray(drawn("x", (3, 2, 2, 4))), jnp.asarray(drawn("condition", (3, 5)))
    norm = biggan.ConditionalBatchNorm()
    variables = start(norm, x, condition, True)
    params, stats = variables["params"], variables["batch_stats"]["BatchNorm_0"]
    gain, bias = ((condition @ normalised(params[name]["kernel"]))[:, None, None] for name in ("gain", "bias"))
    mean, variance = np.mean(x, axis=(0, 1, 2)), np.var(x, axis=(0, 1, 2))
    found, new = norm.apply(variables, x, condition, True, mutable=["batch_stats"])
    expected = (x - mean) / np.sqrt(variance + 1e-5) * (1 + gain) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = np.asarray(norm.apply(variables, x, condition, False))
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * (1 + gain) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for name, moment in (("mean", mean), ("var", variance)):
        average = np.asarray(new["batch_stats"]["BatchNorm_0"][name])
        np.testing.assert_allclose(average, 0.9 * stats[name] + 0.1 * moment, rtol=1e-4, atol=1e-6)


def test_self_attention_by_hand():
    x = drawn("x", (2, 4, 6, 16))
    attention = biggan.SelfAttention()
    variables = start(attention, x)
    w = {name: normalised(layer["kernel"]) for name, layer in variables["params"].items() if name != "gamma"}
    gamma, expected = 0.7, np.zeros_like(x)
    variables["params"]["gamma"] = jnp.float32(gamma)
    for n in range(2):
        pools = [(slice(i, i + 2), slice(j, j + 2)) for i in (0, 2) for j in (0, 2, 4)]
        keys, values = (
            np.stack([(x[n] @ w[name])[pool].max(axis=(0, 1)) for pool in pools]) for name in ("key", "value")
        )
        for place in np.ndindex(4, 6):
            weights = np.exp(keys @ (x[n][place] @ w["query"]))
            mean = weights @ values / weights.sum()
            expected[n][place] = x[n][place] + gamma * mean @ w["output"]
    np.testing.assert_allclose(call(attention, variables, x), expected, rtol=1e-4, atol=1e-5)


def test_attention_starts_as_nothing(key):
    x = drawn("x", (1, 4, 4, 16))
    np.testing.assert_array_equal(jax.jit(biggan.SelfAttention().init_with_output)(key, x)[0], x)


def test_one_of_several_maps_of_a_size_attends_to_itself(key):
    params = jax.eval_shape(biggan.Discriminator(2, attention=8).init, key, jnp.zeros((1, 32, 32, 3)))["params"]
    assert sum(name.startswith("SelfAttention") for name in params) == 1  # Three maps are 8 x 8.


def test_the_label_matters():
    generator, discriminator = pair()
    variables = start(generator, LATENT, LABEL)
    same = jnp.tile(LATENT[:1], (4, 1))
    image = evaluate(generator, variables, same, LABEL)
    np.testing.assert_allclose(image[1], image[3], atol=1e-5)  # Of the same class.
    assert min(jnp.abs(image[0] - image[1]).max(), jnp.abs(image[1] - image[2]).max()) > 1e-2
    variables = start(discriminator, IMAGE, LABEL)
    logits = call(discriminator, variables, jnp.tile(IMAGE[:1], (4, 1, 1, 1)), LABEL)
    assert len(set(np.round(logits, 3).tolist())) == 3


@pytest.mark.parametrize("label", [None, LABEL])
def test_both_chunks_of_the_latent_matter(label):
    generator = pair(0 if label is None else 3)[0]
    variables = start(generator, LATENT, label)
    image = evaluate(generator, variables, LATENT, label)
    for chunk in (slice(3), slice(3, 6)):
        other = evaluate(generator, variables, LATENT.at[:, chunk].add(1), label)
        assert jnp.abs(other - image).max() > 1e-2


def test_the_first_chunk_has_what_is_left_over(key):
    params = jax.eval_shape(biggan.Generator(16, 3, 3).init, key, jnp.zeros((1, 11)))["params"]
    assert params["Dense_0"]["kernel"].shape[0] == 5
    assert params["UpBlock_1"]["ConditionalBatchNorm_0"]["gain"]["kernel"].shape[0] == 3


def test_evaluation_uses_running_statistics_and_a_picture_is_its_own():
    generator = pair()[0]
    variables = start(generator, LATENT, LABEL)
    together = evaluate(generator, variables, LATENT, LABEL)
    others = evaluate(generator, variables, LATENT.at[1:].add(1), LABEL.at[1:].set(0))
    np.testing.assert_allclose(together[0], others[0], rtol=1e-5, atol=1e-6)
    assert jnp.abs(together[1:] - others[1:]).max() > 1e-2
    assert jnp.abs(together - call(generator, variables, LATENT, LABEL)).max() > 1e-2


def test_spectral_normalisation_without_a_place_for_its_vectors():
    """As with one; even for the vectors of a moving average, which are too short."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.SpectralNorm(nn.Dense(5, use_bias=False, name="layer"))(x)

    x = drawn("x", (3, 7))
    variables = {"params": {"layer": {"kernel": drawn("kernel", (7, 5))}}}
    variables["batch_stats"] = {"SpectralNorm_0": {"right": jnp.asarray(drawn("right", (7,)))}}
    expected, new = Net().apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_array_equal(np.asarray(Net().apply(variables, x)), expected)
    assert jnp.abs(new["batch_stats"]["SpectralNorm_0"]["right"] - drawn("right", (7,))).max() > 1e-2
    short = {**variables, "batch_stats": jax.tree.map(lambda leaf: leaf / 2, variables["batch_stats"])}
    np.testing.assert_allclose(np.asarray(Net().apply(short, x)), expected, rtol=1e-5)


def test_bfloat16_gives_finite_float32():
    generator, discriminator = pair(dtype=jnp.bfloat16)
    variables, judge = start(generator, LATENT, LABEL), start(discriminator, IMAGE, LABEL)
    image = call(generator, variables, LATENT, LABEL)
    logits = call(discriminator, judge, image, LABEL)
    assert (image.dtype, logits.dtype) == (jnp.float32, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, judge))} == {jnp.dtype("float32")}
    exact = call(pair()[0], variables, LATENT, LABEL)
    assert 0 < jnp.abs(image - exact).mean() < 0.05
    np.testing.assert_allclose(logits, call(pair()[1], judge, image, LABEL), rtol=0.05, atol=0.05)


def test_the_gradient_of_a_gradient_penalty_is_finite():
    discriminator = pair()[1]
    variables = start(discriminator, IMAGE, LABEL)

    def penalty(params):
        def logits(image):
            return jnp.sum(call(discriminator, {**variables, "params": params}, image, LABEL))

        return jnp.sum(jax.grad(logits)(IMAGE) ** 2)

    value, gradient = jax.jit(jax.value_and_grad(penalty))(variables["params"])
    assert value > 0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["SelfAttention_0"]))


def test_a_batch_split_over_an_axis_is_the_whole_one():
    generator = pair()[0]
    variables = start(generator, LATENT, LABEL)
    whole = call(generator, variables, LATENT, LABEL)
    split = jax.vmap(lambda *inputs: call(pair(axis="batch")[0], variables, *inputs), axis_name="batch")
    parts = split(LATENT.reshape(2, 2, -1), LABEL.reshape(2, 2))
    np.testing.assert_allclose(parts.reshape(whole.shape), whole, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_told(key):
    with pytest.raises(ValueError, match="a latent of 2 is too short for 2 residual blocks: it takes 3"):
        jax.eval_shape(biggan.Generator(16, 3, 3).init, key, LATENT[:, :2])
    with pytest.raises(ValueError, match=r"no feature map of side 4 for attention; there are \[8, 16\]"):
        jax.eval_shape(biggan.Generator(16, 3, 4, attention=4).init, key, LATENT)
    with pytest.raises(ValueError, match=r"no feature map of side 7 for attention; there are \[14\]"):
        jax.eval_shape(biggan.Discriminator(4, attention=7).init, key, jnp.zeros((1, 28, 28, 1)))
    with pytest.raises(ValueError, match="3 classes was called without labels"):
        jax.eval_shape(pair()[0].init, key, LATENT)
    with pytest.raises(ValueError, match="0 classes was called with labels"):
        jax.eval_shape(pair(0)[1].init, key, IMAGE, LABEL)
