import math
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan.models import dcgan, equalised, layers, mlp


def variables_and_output(module, key, *inputs, **keywords):
    variables = module.init(key, *inputs, **keywords)
    output, _ = module.apply(variables, *inputs, **keywords, mutable=["batch_stats"])
    return variables, output


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_dcgan_shapes(size, channels, key):
    generator, discriminator = dcgan.Generator(size, channels, width=4), dcgan.Discriminator(width=4)

    def pair(latent):
        _, image = variables_and_output(generator, key, latent)
        return image, variables_and_output(discriminator, key, image)[1]

    image, logits = jax.eval_shape(pair, jnp.zeros((2, 10)))
    assert image.shape == (2, size, size, channels)
    assert logits.shape == (2,)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("downsampling", ["strided", "pooling"])
@pytest.mark.parametrize(("dtype", "norm"), [(jnp.float32, "batch"), (jnp.bfloat16, "none")])
def test_dcgan_variants(upsampling, downsampling, dtype, norm, key):
    generator = dcgan.Generator(16, 3, 4, upsampling, classes=3, dtype=dtype)
    discriminator = dcgan.Discriminator(4, downsampling, features=7, norm=norm, classes=3, dtype=dtype)
    label = jnp.array([0, 2])
    variables, image = variables_and_output(generator, key, 100 * jnp.ones((2, 5)), label)
    assert image.shape == (2, 16, 16, 3)
    assert jnp.abs(image).max() <= 1
    judge, logits = variables_and_output(discriminator, key, image, label)
    assert logits.shape == (2,)
    assert (image.dtype, logits.dtype) == (jnp.float32, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, judge))} == {jnp.dtype("float32")}
    assert ("batch_stats" in judge) == (norm == "batch")


def test_dcgan_has_the_papers_size(key):
    """Parameters of the 64 x 64 pair of width 64: equal to the PyTorch example's, but for what is said here."""
    generator = jax.eval_shape(dcgan.Generator(64, 3).init, key, jnp.zeros((1, 100)))["params"]
    discriminator = jax.eval_shape(dcgan.Discriminator().init, key, jnp.zeros((1, 64, 64, 3)))["params"]
    count = [sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for tree in (generator, discriminator)]
    # PyTorch's example (no biases) has 3,576,704 and 2,765,568. Ours adds the bias of the first fully connected layer
    # (8192) and of the picture (3); and of D's first layer (64) and of its logit (1).
    assert count == [3_576_704 + 8192 + 3, 2_765_568 + 64 + 1]


@pytest.mark.parametrize(("size", "expected"), [(28, (7, 2)), (64, (4, 4)), (256, (4, 6)), (8, (4, 1)), (48, (6, 3))])
def test_stages(size, expected):
    assert dcgan.stages(size) == expected


@pytest.mark.parametrize(("size", "nearest"), [(30, r"\[28, 32\]"), (4, r"\[8, 10\]"), (65, r"\[56, 64\]")])
def test_an_impossible_size_names_the_nearest(size, nearest):
    with pytest.raises(ValueError, match=f"no image size {size} .* nearest are {nearest}"):
        dcgan.stages(size)


def test_mlp_shapes(key):
    _, image = variables_and_output(mlp.Generator((6, 5, 3), widths=(7,)), key, jnp.ones((2, 4)))
    assert image.shape == (2, 6, 5, 3)
    _, logits = variables_and_output(mlp.Discriminator(widths=(7,)), key, image)
    assert logits.shape == (2,)


def test_labels_must_match_the_classes(key):
    with pytest.raises(ValueError, match="3 classes was called without labels"):
        mlp.Generator((4,), classes=3).init(key, jnp.zeros((2, 5)))
    with pytest.raises(ValueError, match="0 classes was called with labels"):
        mlp.Discriminator().init(key, jnp.zeros((2, 5)), jnp.zeros(2, jnp.int32))


def test_the_label_matters(key):
    discriminator = mlp.Discriminator(widths=(8,), classes=3)
    image = jnp.ones((3, 4))
    _, logits = variables_and_output(discriminator, key, image, jnp.arange(3))
    assert len(set(np.asarray(logits).tolist())) == 3


def test_evaluation_uses_running_statistics_and_a_picture_is_its_own(key):
    generator = dcgan.Generator(8, 1, width=4)
    latent = jax.random.normal(key, (6, 5))
    variables = generator.init(key, latent)
    together = generator.apply(variables, latent, train=False)
    alone = generator.apply(variables, latent[:1], train=False)
    np.testing.assert_allclose(np.asarray(together)[:1], np.asarray(alone), rtol=1e-5, atol=1e-6)


def test_max_pool_and_upsample():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(layers.max_pool(x)[0, :, :, 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(layers.max_pool(layers.upsample(x)), x)
    np.testing.assert_array_equal(layers.upsample(x)[0, :2, :4, 0], [[0, 0, 1, 1], [0, 0, 1, 1]])
    gradient = jax.grad(lambda x: layers.max_pool(x).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], np.kron([[1, 1], [1, 1]], [[0, 0], [0, 1]]))


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_spectral_normalisation_equals_pytorchs(name):
    """Kernel and gradient after as many calls from the same start; recorded by tests/record_spectral.py."""
    recorded = np.load(Path(__file__).with_name("data") / "spectral.npz")
    kernel, right, expected, gradient, weights = (
        recorded[f"{name}/{key}"] for key in ("kernel", "right", "normalised", "gradient", "weights")
    )
    if name == "dense":
        x, layer = jnp.eye(7), lambda: nn.Dense(5, use_bias=False, name="layer")
    else:
        x, layer = jnp.zeros((1, 4, 4, 3)), lambda: layers.Conv(4, kernel=2, use_bias=False, name="layer")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.normalised(layer(), "spectral", x)

    stats = jax.tree.map(lambda _: jnp.asarray(right), Net().init(jax.random.key(0), x)["batch_stats"])

    def forward(kernel, stats):
        variables = {"params": {"layer": {"kernel": kernel}}, "batch_stats": stats}
        output, new = Net().apply(variables, x, mutable=["batch_stats"])
        return output, new["batch_stats"]

    def weighted(kernel, stats):
        # The layer is linear: with what makes its output the kernel, or a sum of it.
        output, after = forward(kernel, stats)
        return jnp.sum(output * weights), after

    _, stats = forward(kernel, stats)
    if name == "dense":  # A batch that is the identity: the output is the normalised kernel.
        np.testing.assert_allclose(forward(kernel, stats)[0], expected, rtol=1e-5, atol=1e-6)
        slope = jax.grad(weighted, has_aux=True)(jnp.asarray(kernel), stats)[0]
        np.testing.assert_allclose(slope, gradient, rtol=1e-4, atol=1e-6)
    else:  # One pixel on in one channel: the output holds the kernel's column for it.
        for channel in range(3):
            lit = x.at[0, 1, 1, channel].set(1)
            variables = {"params": {"layer": {"kernel": kernel}}, "batch_stats": stats}
            output = Net().apply(variables, lit, mutable=["batch_stats"])[0]
            found = jnp.sort(output[0].reshape(-1, 4)[jnp.abs(output[0]).reshape(-1, 4).sum(axis=1) > 0], axis=0)
            np.testing.assert_allclose(found, jnp.sort(expected[:, :, channel].reshape(4, 4), axis=0), rtol=1e-5)


@pytest.mark.parametrize("pair", ["mlp", "dcgan"])
def test_a_spectrally_normalised_discriminator_has_slope_one_at_most(pair, key):
    if pair == "mlp":
        network, image = mlp.Discriminator((16, 16), norm="spectral"), jax.random.normal(key, (4, 6))
    else:
        network, image = dcgan.Discriminator(4, norm="spectral"), jax.random.normal(key, (4, 8, 8, 1))
    variables = network.init(key, image)
    variables = {**variables, "params": jax.tree.map(lambda leaf: 50 * leaf, variables["params"])}
    for _ in range(60):
        stats = network.apply(variables, image, mutable=["batch_stats"])[1]
        variables = {**variables, **stats}
    slope = jax.grad(lambda x: network.apply(variables, x, mutable=["batch_stats"])[0].sum())(image)
    norms = jnp.linalg.norm(slope.reshape(4, -1), axis=1)
    # A 4x4 convolution of stride 2 sees each pixel four times, so its slope may be twice its kernel's.
    assert norms.max() <= (1.01 if pair == "mlp" else 2.02)
    assert norms.min() > 0


def test_minibatch_stddev_by_hand():
    x = jnp.array([[0.0, 2.0], [2.0, 2.0], [5.0, 1.0], [5.0, 1.0]])
    after = layers.minibatch_stddev(x, 2)
    np.testing.assert_allclose(after, np.c_[x, [0.5, 0.5, 0, 0]], atol=1e-4)
    np.testing.assert_array_equal(layers.minibatch_stddev(x, 0), x)
    picture = layers.minibatch_stddev(jnp.zeros((4, 3, 3, 2), jnp.bfloat16), 4)
    assert (picture.shape, picture.dtype) == ((4, 3, 3, 3), jnp.bfloat16)
    with pytest.raises(ValueError, match="groups of 3 do not divide 4 examples"):
        layers.minibatch_stddev(x, 3)
    check_grads(lambda x: layers.minibatch_stddev(x, 2), (x[:2] + 0.3,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_fourier_features_are_periodic_directions():
    x = jnp.array([[0.3, -0.2]])
    features = layers.fourier(x, 5, 2.0)
    assert features.shape == (1, 12)
    np.testing.assert_array_equal(features[:, :2], x)
    np.testing.assert_allclose(features[:, 2:7] ** 2 + features[:, 7:] ** 2, 1, rtol=1e-5)
    angles = jnp.arctan2(features[:, 2:7], features[:, 7:])
    np.testing.assert_allclose(angles, x @ (2.0 * jax.random.normal(jax.random.key(0), (2, 5))), rtol=1e-4)


def test_points_are_not_bounded(key):
    points = variables_and_output(mlp.Generator((2,), (8,)), key, 100 * jnp.ones((3, 4)))[1]
    assert points.shape == (3, 2)
    assert jnp.abs(points).max() > 1


def bfloat16_layers():
    """Layers in bfloat16 whose parameters each meet 1001 examples; with what they are called."""
    features = jnp.ones((1001, 4), jnp.bfloat16)
    pictures = features.reshape(1001, 1, 1, 4)
    labels = jnp.zeros(1001, jnp.int32)
    narrow = {"dtype": jnp.bfloat16}
    yield "dense", layers.Dense(3, **narrow), (features,)
    yield "convolution", layers.Conv(3, 1, **narrow), (pictures,)
    yield "transposed", layers.ConvTranspose(3, 1, 1, **narrow), (pictures,)
    yield "equalised dense", equalised.Dense(3, **narrow), (features,)
    yield "equalised convolution", equalised.Conv(3, 1, **narrow), (pictures,)
    yield "label", Labelled(), (features, labels)


class Labelled(nn.Module):
    @nn.compact
    def __call__(self, x, label):
        return layers.concatenate_label(x, label, 2, jnp.bfloat16)


@pytest.mark.parametrize(
    ("layer", "inputs"), [case[1:] for case in bfloat16_layers()], ids=lambda case: type(case).__name__
)
def test_gradients_of_parameters_are_summed_in_float32(layer, inputs, key):
    """1001 ones are 1000 in bfloat16."""
    params = layer.init(key, *inputs)["params"]

    def total(params):
        y = layer.apply({"params": params}, *inputs)
        assert y.dtype == jnp.bfloat16
        return jnp.sum(y.astype(jnp.float32))

    gradients = jax.grad(total)(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert gradient.dtype == jnp.float32, path
        scale = 0.5 if isinstance(layer, equalised.Dense | equalised.Conv) and "kernel" in str(path) else 1
        np.testing.assert_array_equal(gradient[..., 0, :] if "label" in str(path) else gradient, 1001 * scale)
