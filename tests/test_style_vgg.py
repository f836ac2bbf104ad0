import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_style
from jax.test_util import check_grads

from jaxgan.models import layers
from jaxgan.models.conv import conv
from jaxgan.style import vgg
from jaxgan.support.errors import UserError


def network(architecture):
    params = {}
    for name, array in record_style.random_arrays(architecture).items():
        layer, kind = name.split(".")
        params.setdefault(layer, {})[kind] = jnp.asarray(array)
    return vgg.Network(vgg.VGG(blocks=vgg.BLOCKS[architecture]), params)


@pytest.mark.parametrize(
    ("architecture", "last", "form"),
    # The fast form takes long to compile: two of each block's shapes will do.
    [("VGG16", "relu5_3", "quick"), ("VGG19", "relu5_4", "quick"), ("VGG19", "relu3_2", "fast")],
)
def test_features_equal_pytorchs(architecture, last, form):
    ours = network(architecture).using(form=form)
    names = vgg.layer_names(ours.module)
    names = [name for name in names[: names.index(last) + 1] if not name.startswith("pool")]
    image = jnp.asarray(record_style.images()[0])[None]
    found = jax.jit(lambda x: ours.features(x, names))(image)
    with np.load(record_style.DATA) as recorded:
        for name in names:
            wanted = recorded[f"{architecture}/{name}"]
            error = np.abs(record_style.sample(np.asarray(found[name][0])) - wanted).max()
            assert error <= 1e-4 * np.abs(wanted).max(), name
            norm = np.linalg.norm(np.asarray(found[name]).ravel())
            np.testing.assert_allclose(norm, recorded[f"{architecture}/{name}/norm"], rtol=1e-4)


def test_nothing_is_computed_beyond_the_last_layer_asked_for(small, monkeypatch):
    convolutions = []
    monkeypatch.setattr(vgg, "conv", lambda *args, **keywords: convolutions.append(1) or conv(*args, **keywords))

    def count(*layers):
        convolutions.clear()
        jax.eval_shape(lambda x: small.features(x, layers), jnp.zeros((1, 64, 64, 3)))
        return len(convolutions)

    assert (count("conv1_1"), count("relu1_1", "pool1"), count("relu2_1"), count("relu3_1")) == (1, 2, 3, 4)


def test_conv_and_relu_layers_and_shapes(small):
    found = small.features(jnp.full((2, 37, 50, 3), 0.3), ["conv2_1", "relu2_1", "pool1", "pool2"])
    np.testing.assert_array_equal(found["relu2_1"], jnp.maximum(found["conv2_1"], 0))
    assert found["conv2_1"].shape == (2, 18, 25, 8)
    assert found["pool2"].shape == (2, 9, 12, 8)


def test_average_pooling(small):
    average = small.using(pooling="average")
    image = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3))
    found = average.features(image, ["relu1_2", "pool1"])
    blocks = np.asarray(found["relu1_2"]).reshape(1, 16, 2, 16, 2, -1)
    np.testing.assert_allclose(found["pool1"], blocks.mean(axis=(2, 4)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", ["replicate", "reflect"])
def test_padding_leaves_no_frame_on_a_plain_picture(small, padding):
    image = jnp.full((1, 32, 32, 3), 0.7)
    framed = small.features(image, ["conv1_1"])["conv1_1"]
    plain = small.using(padding=padding).features(image, ["conv1_1"])["conv1_1"]
    assert np.ptp(framed, axis=(1, 2)).max() > 0.1
    assert np.ptp(plain, axis=(1, 2)).max() < 1e-4
    np.testing.assert_allclose(plain[:, 5, 5], framed[:, 5, 5], rtol=1e-4, atol=1e-5)


def test_caffe_preprocessing_is_bgr_less_the_mean():
    shown = vgg.preprocess(jnp.array([1.0, 0.5, 0.0]), "caffe")
    np.testing.assert_allclose(shown, [0 - 103.939, 127.5 - 116.779, 255 - 123.68], rtol=1e-5)
    np.testing.assert_allclose(vgg.preprocess(jnp.array([0.485, 0.456, 0.631]), "torchvision"), [0, 0, 1], atol=1e-6)


def test_a_pixel_beyond_reach_changes_nothing(small):
    layers = ["relu3_1"]
    image = jax.random.uniform(jax.random.key(0), (1, 96, 96, 3))
    slope = jax.jit(jax.grad(lambda x: small.features(x, layers)["relu3_1"][0, 12].sum()))(image)
    rows = slope[0].any(axis=(1, 2))
    touched = np.flatnonzero(rows)
    assert 48 - vgg.reach(small.module, layers) <= touched.min()
    assert touched.max() <= 51 + vgg.reach(small.module, layers)


def test_unknown_layer_is_named_with_those_there_are(small):
    with pytest.raises(UserError, match="relu6_1: no such layer in the network; its layers are conv1_1, relu1_1, "):
        small.features(jnp.zeros((1, 32, 32, 3)), ["relu1_1", "relu6_1"])


def test_remat_and_bfloat16_change_little(small):
    image = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3))

    def gradient(network):
        def energy(x):
            return jnp.sum(jnp.square(network.features(x, ["relu3_1"])["relu3_1"].astype(x.dtype)))

        return jax.jit(jax.grad(energy))(image)

    exact = gradient(small)
    np.testing.assert_allclose(gradient(small.using(remat=True)), exact, rtol=1e-4, atol=1e-6)
    rough = gradient(small.using(dtype="bfloat16"))
    assert jnp.linalg.norm(rough - exact) < 0.1 * jnp.linalg.norm(exact)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_poolings_gradients_are_those_of_jax(kind):
    pool, mine = getattr(layers, f"{kind}_pool"), getattr(vgg, f"_{kind}_pool")
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
    weights = jax.random.normal(jax.random.key(1), (2, 3, 4, 3))
    np.testing.assert_array_equal(mine(x), pool(x))

    def gradient(function):
        return jax.grad(lambda x: jnp.sum(weights * jnp.square(function(x))))(x)

    np.testing.assert_allclose(gradient(mine), gradient(pool), rtol=1e-6)
    # Where all four are alike, each gets a quarter.
    flat = jax.grad(lambda x: jnp.sum(mine(x)))(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(flat, np.full((1, 2, 2, 1), 0.25))
    check_grads(mine, (x,), order=2, modes=["fwd", "rev"], atol=0.01, rtol=0.01)
