import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_r3gan as record
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan import losses
from jaxgan.models import conv, equalised, r3gan


@pytest.fixture(scope="module")
def recorded():
    with np.load(record.DATA) as arrays:
        return dict(arrays)


def network(name, classes) -> tuple[Any, Any]:
    """The network that was recorded, and its weights."""
    widths = {"width": record.WIDTHS[-1], "max_width": record.WIDTHS[0]}
    fields: dict[str, Any] = widths | {
        "blocks": record.BLOCKS,
        "group_width": record.GROUP,
        "expansion": record.EXPANSION,
    }
    if name == "generator":
        module = r3gan.Generator(record.SIZE, record.CHANNELS, classes=classes, **fields)
    else:
        module = r3gan.Discriminator(classes=classes, **fields)
    return module, unflatten_dict(record.weights(name, classes), sep="/")


def label(classes):
    return (jnp.asarray(record.LABELS, jnp.int32),) if classes else ()


def assert_close(found, expected, message=""):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=message)


def assert_gradients(recorded, name, gradients):
    found = flatten_dict(gradients, sep="/")
    expected = {key.split("/", 1)[1]: value for key, value in recorded.items() if key.startswith(f"{name}/")}
    assert found.keys() == expected.keys()
    for key, gradient in found.items():
        assert_close(record.sample(np.asarray(gradient)), expected[key], key)


@pytest.mark.parametrize("classes", [0, 3])
def test_the_generator_equals_pytorchs(classes, recorded):
    module, params = network("generator", classes)
    latent = record.random("latent", 2, record.LATENT)

    def forward(params):
        image = module.apply({"params": params}, latent, *label(classes))
        return jnp.sum(image * record.random("slope", *image.shape)), image

    gradients, image = jax.jit(jax.grad(forward, has_aux=True))(params)
    assert_close(image, recorded[f"image{classes}"])
    assert_gradients(recorded, f"generator{classes}", gradients)


@pytest.mark.parametrize("classes", [0, 3])
def test_the_discriminator_and_its_penalty_equal_pytorchs(classes, recorded):
    module, params = network("discriminator", classes)
    image = record.random("image", 2, record.SIZE, record.SIZE, record.CHANNELS)

    def judge(params, image):
        return module.apply({"params": params}, image, *label(classes))

    def weighted(params):
        logits = judge(params, image)
        return jnp.sum(logits * jnp.array([1.0, -2.0])), logits

    def penalty(params):
        return losses.zero_centred(jax.grad(lambda image: judge(params, image).sum())(image))

    gradients, logits = jax.jit(jax.grad(weighted, has_aux=True))(params)
    assert_close(logits, recorded[f"logits{classes}"])
    assert_gradients(recorded, f"discriminator{classes}", gradients)
    value, gradients = jax.jit(jax.value_and_grad(penalty))(params)
    assert_close(value, recorded[f"penalty{classes}"])
    assert_gradients(recorded, f"r1{classes}", gradients)


@pytest.mark.parametrize("group", [4, 16, 32])
def test_grouped_equals_xlas(group, key):
    """And so do its gradients and those of a penalty."""
    x, kernel, slope = (
        jax.random.normal(k, shape)
        for k, shape in zip(jax.random.split(key, 3), [(2, 8, 8, 32), (3, 3, group, 32), (2, 8, 8, 32)], strict=True)
    )

    def xla(x, kernel):
        order = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=order, feature_group_count=32 // group
        )

    def all_of(function):
        def penalty(x, kernel):
            return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(function(x, kernel)) * slope))(x) ** 2)

        y, pullback = jax.vjp(function, x, kernel)
        return y, pullback(slope), jax.grad(penalty, (0, 1))(x, kernel)

    jax.tree.map(assert_close, jax.jit(lambda: all_of(conv.grouped))(), jax.jit(lambda: all_of(xla))())


def parameters(module, key, *inputs):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(module.init, key, *inputs)))


@pytest.mark.parametrize(
    ("size", "fields", "expected"),
    [
        (32, {"width": 768, "classes": 10}, (20_781_952, 21_280_512)),
        (64, {"width": 384}, (22_429_824, 22_381_440)),
        (256, {"width": 96}, (23_057_952, 23_009_568)),
        (64, {"width": 1536, "max_width": 1536, "group_width": 32, "classes": 1000}, (103_570_432, 107_205_120)),
    ],
)
def test_the_networks_have_the_papers_sizes(size, fields, expected, key):
    """Parameters of the reference code's presets CIFAR10, FFHQ-64, FFHQ-256 and ImageNet-64, counted there."""
    label = (jnp.zeros(1, jnp.int32),) if "classes" in fields else ()
    generator = parameters(r3gan.Generator(size, 3, **fields), key, jnp.zeros((1, 64)), *label)
    discriminator = parameters(r3gan.Discriminator(**fields), key, jnp.zeros((1, size, size, 3)), *label)
    assert (generator, discriminator) == expected


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(size, channels, key):
    generator = r3gan.Generator(size, channels, width=8, max_width=16, blocks=1, group_width=0)
    discriminator = r3gan.Discriminator(width=8, max_width=16, blocks=1, group_width=0)

    def pair(latent):
        image = generator.init_with_output(key, latent, train=False)[0]
        return image, discriminator.init_with_output(key, image)[0]

    image, logits = jax.eval_shape(pair, jnp.zeros((2, 10)))
    assert image.shape == (2, size, size, channels)
    assert logits.shape == (2,)


def test_the_initial_function_and_its_variance(key):
    """Last convolutions and biases are zero, so blocks are identities; other kernels are normal with their gains."""
    module: Any = r3gan.Generator(16, 3, width=64, max_width=64, blocks=3, classes=50)
    latent = jax.random.normal(key, (4, 32))
    label = jnp.arange(4)
    params: Any = jax.jit(module.init)(key, latent, label)["params"]
    gain = math.sqrt(2 / 1.04) * 9**-0.25
    expected = {"basis": 1, "label/embedding": 50**-0.5, "latent/kernel": 64**-0.5, "image/kernel": 64**-0.5}
    for name, leaf in flatten_dict(params, sep="/").items():
        assert isinstance(name, str)
        leaf = np.asarray(leaf)
        if name.startswith("block"):
            kind = name.split("/", 1)[1]
            deviation = {"expand/kernel": gain / 8, "kernel": gain / 12}.get(kind, 0)
        else:
            deviation = expected[name]
        np.testing.assert_allclose(leaf.std(), deviation, rtol=0.12, err_msg=name)
        assert abs(leaf.mean()) <= 0.2 * deviation

    def without_blocks(latent, label):
        linear = jnp.concatenate([latent, params["label"]["embedding"][label]], axis=1) @ params["latent"]["kernel"]
        x = params["basis"] * linear[:, None, None]
        return equalised.upsample(equalised.upsample(x)) @ params["image"]["kernel"]

    image = jax.jit(module.apply)({"params": params}, latent, label)
    np.testing.assert_allclose(image, jax.jit(without_blocks)(latent, label), atol=1e-4)


def test_the_discriminators_initial_scale(key):
    module = r3gan.Discriminator(width=64, max_width=64, blocks=1, classes=50)
    params: Any = jax.jit(module.init)(key, jnp.zeros((1, 8, 8, 3)), jnp.zeros(1, jnp.int32))["params"]
    expected = {
        "basis": 1 / 4,
        "logit/kernel": 1 / 8,
        "label/embedding": 1 / 8 * 50**-0.5,
        "image/kernel": 3**-0.5,
        "block0_0/kernel": math.sqrt(2 / 1.04) * 2**-0.25 / 12,
    }
    flat = flatten_dict(params, sep="/")
    for name, deviation in expected.items():
        np.testing.assert_allclose(np.std(np.asarray(flat[name])), deviation, rtol=0.12, err_msg=name)


def test_labels_matter_and_must_match_the_classes(key):
    generator = r3gan.Generator(8, 1, width=8, max_width=8, blocks=1, group_width=8, classes=3)
    discriminator = r3gan.Discriminator(width=8, max_width=8, blocks=1, group_width=8, classes=3)
    latent, label = jnp.ones((3, 4)), jnp.arange(3)
    images, _ = jax.jit(generator.init_with_output)(key, latent, label)
    assert min(jnp.abs(images[i] - images[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-2
    logits, _ = jax.jit(discriminator.init_with_output)(key, jnp.repeat(images[:1], 3, axis=0), label)
    assert len(set(np.asarray(logits).tolist())) == 3
    for module, x in ((generator, latent), (discriminator, images)):
        with pytest.raises(ValueError, match="3 classes was called without labels"):
            module.init(key, x)
        with pytest.raises(ValueError, match="0 classes was called with labels"):
            module.clone(classes=0).init(key, x, label)


def test_groups_must_divide(key):
    with pytest.raises(ValueError, match="groups of 16 do not divide the 24 features"):
        r3gan.Discriminator(width=12).init(key, jnp.zeros((1, 8, 8, 3)))


def test_bfloat16_is_near_float32():
    for name, x in (("generator", record.random("latent", 2, record.LATENT)), ("discriminator", None)):
        module, params = network(name, 0)
        x = record.random("image", 2, record.SIZE, record.SIZE, record.CHANNELS) if x is None else x
        exact, rounded = (
            jax.jit(module.clone(dtype=dtype).apply)({"params": params}, x) for dtype in (jnp.float32, jnp.bfloat16)
        )
        assert rounded.dtype == jnp.float32
        assert 0 < jnp.abs(rounded - exact).max() < 0.1 * jnp.abs(exact).max()
