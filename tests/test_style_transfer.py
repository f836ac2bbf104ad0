import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import record_style

from jaxgan.style import losses, recipe, transfer, weights
from jaxgan.support.errors import UserError

LAYERS = (("relu1_1", 1.0), ("relu2_1", 1.0), ("relu3_1", 2.0))
TINY = transfer.Options(
    content_layers=(("relu3_1", 1.0),),
    style_layers=LAYERS,
    style_loss=losses.GRAM,
    padding="zero",
    stages=((0.5, 7), (1.0, 12)),
    coarse_weight=1.0,  # After 7 iterations there is little to be held to.
)


@pytest.fixture(scope="module")
def pictures():
    content, style = record_style.images()
    return jnp.asarray(content[:64, :80]), jnp.asarray(style[:64, :72])


def run(network, pictures, seed=0, **changes):
    content, style = pictures
    options = dataclasses.replace(TINY, **changes)
    return transfer.stylize(network, content, [style], options, jax.random.key(seed))


def gatys(iterations):
    wanted = dict(zip(("content_weight", "style_weight", "tv_weight"), record_style.GATYS_WEIGHTS, strict=True))
    adam = optax.adam(0.02, b2=0.99)
    layers = tuple((f"relu{block}_1", 1.0) for block in range(1, 6))
    published = {"style_layers": layers, "style_loss": losses.GRAM, "padding": "zero", "relative": False}
    return transfer.Options(**wanted, **published, average=0.0, stages=((1.0, iterations),), optimizer=adam)


def test_losses_and_gradients_of_gatys_equal_pytorchs():
    content, style = (jnp.asarray(picture) for picture in record_style.images())
    network, options = weights.load(), gatys(1)
    targets = transfer.prepare(network, content, (style,), options, None, 1.0)
    gradient = jax.jit(jax.grad(lambda x: transfer.objective(network, targets, options, x), has_aux=True))
    with np.load(record_style.DATA) as recorded:
        for index, picture in enumerate(record_style.waypoints()):
            slope, parts = gradient(jnp.asarray(picture))
            found = [parts[name] for name in ("content", "style", "tv")]
            np.testing.assert_allclose(found, recorded[f"waypoint{index}/losses"], rtol=1e-4, atol=1e-9)
            np.testing.assert_allclose(np.linalg.norm(slope), recorded[f"waypoint{index}/norm"], rtol=1e-3)
            theirs = recorded[f"waypoint{index}/gradient"]
            # Where two features of a pooling are equal but for rounding, the choice is the other one now and then.
            close = np.abs(record_style.sample(np.asarray(slope)) - theirs) < 1e-3 * np.abs(theirs).max()
            assert close.mean() > 0.9


def test_the_same_descent_as_gatys_in_pytorch():
    content, style, start = (jnp.asarray(picture) for picture in (*record_style.images(), record_style.start()))
    _, history = transfer.stylize(weights.load(), content, [style], gatys(51), jax.random.key(0), start=start)
    with np.load(record_style.DATA) as recorded:
        apart = recorded["gatys/apart"]
        assert apart[3] < 0.001 < apart[10] < 0.01 < apart[50] < 0.02
        for index, name in enumerate(("content", "style", "tv")):
            theirs = recorded["gatys"][:, index]
            assert theirs[50] > 0
            # As close as PyTorch's own are, whose starts differ by their last bits.
            np.testing.assert_array_less(np.abs(history[name] / theirs - 1), 1e-5 + apart, err_msg=name)
    weighted = zip(record_style.GATYS_WEIGHTS, ("content", "style", "tv"), strict=True)
    np.testing.assert_allclose(history["total"], sum(weight * history[name] for weight, name in weighted), rtol=1e-5)


@pytest.mark.parametrize("init", ["content", "noise", "statistics"])
@pytest.mark.parametrize("name", ["adam", "lbfgs", "sgd"])
def test_every_start_and_optimiser_descends_and_repeats_itself(small, pictures, init, name):
    changes = {"init": init, "optimizer": transfer.optimizer(name, 19), "average": 0.5 if name == "adam" else 0.0}
    image, history = run(small, pictures, **changes)
    again, _ = run(small, pictures, **changes)
    assert np.asarray(image).tobytes() == np.asarray(again).tobytes()
    assert image.shape == pictures[0].shape
    assert 0 <= image.min() < image.max() <= 1
    assert history["total"].shape == (19,)
    assert history["total"][6] < 0.8 * history["total"][0]
    assert history["total"][18] < 0.9 * history["total"][7]
    other, _ = run(small, pictures, seed=1, **changes)
    assert np.array_equal(image, other) == (init == "content")


def test_a_larger_size_is_held_to_the_one_before(small, pictures):
    content, style = pictures
    changes = {"stages": ((0.5, 60), (1.0, 60)), "average": 0.0, "optimizer": transfer.optimizer("adam", 120)}
    options = dataclasses.replace(TINY, **changes)
    key = jax.random.key(0)
    before, _ = transfer.stylize(small, content, [style], dataclasses.replace(options, stages=((0.5, 60),)), key)
    targets = transfer.prepare(small, content, (style,), options, None, 0.5)
    apart, losses = {}, {}
    for weight in (0.0, 100.0):
        chosen = dataclasses.replace(options, coarse_weight=weight)
        image, history = transfer.stylize(small, content, [style], chosen, key)
        shrunk = transfer.resize(image, (before.shape[0], before.shape[1]))
        apart[weight] = float(jnp.mean(jnp.square(shrunk - before)))
        losses[weight] = float(transfer.objective(small, targets, chosen, shrunk)[1]["style"])
        assert not history["coarse"][:60].any()
        np.testing.assert_allclose(history["coarse"][-1], apart[weight], rtol=0.1)
        parts = zip((1.0, 8.0, 10.0, weight), ("content", "style", "tv", "coarse"), strict=True)
        np.testing.assert_allclose(history["total"], sum(w * history[name] for w, name in parts), rtol=1e-5)
    assert 0 < apart[100.0] < 0.15 * apart[0.0]
    found = float(transfer.objective(small, targets, options, before)[1]["style"])
    assert losses[100.0] < 1.25 * found < losses[0.0]


def test_any_optax_optimiser_and_a_start_from_a_picture(small, pictures):
    content, style = pictures
    options = dataclasses.replace(TINY, optimizer=optax.rmsprop(1e-3), stages=((1.0, 1),), average=0.0)
    start = jnp.full(content.shape, 0.25)
    image, _ = transfer.stylize(small, content, [style], options, jax.random.key(0), start=start)
    assert 0 < jnp.abs(image - start).max() < 0.02


@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_nothing_is_compiled_again_within_a_scale(small, pictures, name):
    content, style = pictures
    options = dataclasses.replace(
        TINY, optimizer=transfer.optimizer(name, 19), stages=((0.5, 13), (1.0, 11)), tv_power=1
    )
    compiled, live, chunks = [], [], []

    def on_chunk(state, history):
        compiled.append(transfer.iterate._cache_size())  # pyright: ignore[reportAttributeAccessIssue]
        live.append(len(jax.live_arrays()))
        chunks.append(len(history["total"]))

    transfer.stylize(small, content, [style], options, jax.random.key(0), chunk=3, on_chunk=on_chunk)
    assert chunks == [3, 3, 3, 3, 1, 3, 3, 3, 2]
    first = compiled[0]
    assert compiled == [first] * 5 + [first + 1] * 4
    # A chunk leaves its history behind, four arrays and their cut, and nothing else.
    growth = np.diff(live)
    assert growth[1] == growth[2] == growth[6] <= 8, growth


def test_chunks_change_nothing(small, pictures):
    content, style = pictures
    whole, history = run(small, pictures)
    parts, pieces = transfer.stylize(
        small, content, [style], TINY, jax.random.key(0), chunk=5, on_chunk=lambda state, history: None
    )
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_array_equal(history["total"], pieces["total"])


@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_a_transfer_goes_on_from_any_chunk_with_the_same_numbers(small, pictures, name):
    content, style = pictures
    options = dataclasses.replace(TINY, optimizer=transfer.optimizer(name, 19))
    kept = []

    def keep(state, history):
        kept.append((jax.tree.map(lambda leaf: np.asarray(leaf).copy(), state), history))

    whole, losses = transfer.stylize(small, content, [style], options, jax.random.key(0), chunk=7, on_chunk=keep)
    done = [7, 14, 19]  # At the end of the first stage, and within the second.
    for step, (state, _) in list(zip(done, kept, strict=True))[:2]:
        resume = step, jax.tree.map(jnp.asarray, state)
        image, rest = transfer.stylize(small, content, [style], options, jax.random.key(0), chunk=7, resume=resume)
        np.testing.assert_array_equal(image, whole)
        np.testing.assert_array_equal(rest["total"], losses["total"][step:])


def test_grey_stays_grey(small, pictures):
    content, style = (jnp.broadcast_to(picture.mean(axis=-1, keepdims=True), picture.shape) for picture in pictures)
    for init in ("content", "noise"):
        image, history = run(small, (content, style), grey=True, init=init)
        assert float(jnp.ptp(image, axis=-1).max()) < 1e-6
        assert history["total"][18] < 0.9 * history["total"][7]
    coloured, _ = run(small, (content, style))
    assert float(jnp.ptp(coloured, axis=-1).mean()) > 0.01  # Nothing else would keep it so.


def test_a_frame_before_is_kept_to_where_it_is_trusted(small, pictures):
    content, style = pictures
    frame, trust = jnp.full(content.shape, 0.5), jnp.zeros(content.shape[:2]).at[:, :40].set(1)
    options = dataclasses.replace(TINY, temporal_weight=1e4, stages=((1.0, 30),))
    temporal = transfer.Temporal(frame, trust)
    image, history = transfer.stylize(small, content, [style], options, jax.random.key(0), temporal=temporal)
    off = jnp.abs(image - frame).mean(axis=-1)
    assert off[:, :32].mean() < 0.25 * off[:, 48:].mean()
    expected = float((trust[..., None] * jnp.square(content - frame)).mean())
    np.testing.assert_allclose(history["temporal"][0], expected, rtol=1e-5)
    weighted = sum(float(history[name][0]) * weight for name, weight in
                   (("content", 1.0), ("style", 8.0), ("tv", 10.0), ("temporal", 1e4)))  # fmt: skip
    np.testing.assert_allclose(history["total"][0], weighted, rtol=1e-5)
    with pytest.raises(UserError, match="temporal: the frame before and its trust must be of the content's size"):
        transfer.stylize(small, content, [style], options, jax.random.key(0), temporal=temporal._replace(trust=frame))


def test_sizes_halve_as_long_as_contents_stay_recognisable():
    assert recipe.stages((200, 300, 3), 400) == ((1.0, 400),)
    assert recipe.stages((320, 512, 3), 401) == ((0.5, 200), (1.0, 201))
    assert recipe.stages((1365, 2048), 400) == ((0.125, 100), (0.25, 100), (0.5, 100), (1.0, 100))
    assert recipe.stages((1365, 2048), 400, scales=1) == ((1.0, 400),)
    assert recipe.stages((100, 100), 400, scales=5) == ((1.0, 400),)
    assert recipe.stages((640, 640), 1) == ((1.0, 1),)


def test_works_under_jit_and_many_weights_in_one_program(small, pictures):
    content, style = pictures
    style_weights = jnp.array([2.0, 40.0])

    def one(style_weight):
        options = dataclasses.replace(TINY, style_weight=style_weight)
        return transfer.stylize(small, content, [style], options, jax.random.key(0))[0]

    many = jax.jit(jax.vmap(one))(style_weights)
    for weight, image in zip(style_weights, many, strict=True):
        alone = run(small, pictures, style_weight=weight)[0]
        np.testing.assert_allclose(image, alone, atol=5e-3)
    assert jnp.abs(many[0] - many[1]).mean() > 0.01


@pytest.mark.parametrize("loss", [losses.GRAM, losses.WASSERSTEIN, losses.STATISTICS])
def test_bands_equal_the_whole(small, loss):
    key, other = jax.random.split(jax.random.key(0))
    content, image = jax.random.uniform(key, (2, 203, 40, 3))
    style = jax.random.uniform(other, (150, 50, 3)) ** 2
    masks = jnp.stack([jnp.linspace(0, 1, 203)] * 40, axis=1)[None]
    for mask in (None, masks):
        values = []
        for rows in (0, 32):
            options = dataclasses.replace(TINY, style_loss=loss, band_rows=rows)
            targets = transfer.prepare(small, content, (style,), options, mask, 1.0)
            gradient = jax.jit(jax.value_and_grad(transfer.objective, argnums=3, has_aux=True))
            values.append((*gradient(small, targets, options, image), targets.content))
        ((whole, parts), slope, goal), ((banded, _), banded_slope, banded_goal) = values
        np.testing.assert_allclose(banded, whole, rtol=1e-4)
        np.testing.assert_allclose(banded_slope, slope, atol=1e-3 * np.abs(slope).max())
        np.testing.assert_allclose(banded_goal["relu3_1"], goal["relu3_1"], rtol=1e-4, atol=1e-4)
        assert parts["content"] > 0.1


def test_gradient_of_the_objective_numerically(small, pictures):
    content, style = pictures
    targets = transfer.prepare(small, content, (style,), TINY, None, 1.0)
    value = jax.jit(lambda x: transfer.objective(small, targets, TINY, x)[0])
    image = jax.random.uniform(jax.random.key(1), content.shape)
    slope = jax.jit(jax.grad(value))(image)
    # Along the gradient the value changes most, and stands out from float32's rounding.
    direction, step = slope / jnp.linalg.norm(slope), 0.05
    numeric = (value(image + step * direction) - value(image - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.linalg.norm(slope), numeric, rtol=0.02)


def test_losses_mean_the_same_at_every_size(small):
    tile, other = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
    found = []
    for repeats in (2, 4):
        picture, goal = (jnp.tile(part, (repeats, repeats, 1)) for part in (tile, other**2))
        targets = transfer.prepare(small, goal, (goal,), TINY, None, 1.0)
        found.append(jax.jit(transfer.objective)(small, targets, TINY, picture)[1])
    for name in ("content", "style", "tv"):  # Sums over positions would be four times as large.
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=0.15, err_msg=name)


def test_features_of_nothing_have_a_relative_loss_of_one(small, pictures):
    content, style = pictures
    targets = transfer.prepare(small, content, (style,), TINY, None, 1.0)
    dark = dataclasses.replace(small, params=jax.tree.map(jnp.zeros_like, small.params))
    parts = jax.jit(transfer.objective)(dark, targets, TINY, content)[1]
    np.testing.assert_allclose([parts["content"], parts["style"]], 1, rtol=1e-4)


def test_blended_styles_lie_between(small, pictures):
    content, style = pictures
    other = jnp.roll(style, 1, axis=-1) ** 2

    def image(blend):
        options = dataclasses.replace(TINY, blend=jnp.array(blend), average=0.0, content_weight=0.0)
        return transfer.stylize(small, content, [style, other], options, jax.random.key(0))[0]

    first, both, second = image([1.0, 0.0]), image([1.0, 1.0]), image([0.0, 3.0])
    np.testing.assert_array_equal(first, run(small, pictures, average=0.0, content_weight=0.0)[0])
    apart = jnp.linalg.norm(first - second)
    assert jnp.linalg.norm(first - both) < apart
    assert jnp.linalg.norm(second - both) < apart


def test_masks_give_each_region_its_style(small, pictures):
    content, _ = pictures
    red, blue = jnp.full((64, 64, 3), 0.1).at[..., 0].set(0.9), jnp.full((64, 64, 3), 0.1).at[..., 2].set(0.9)
    left = jnp.zeros(content.shape[:2]).at[:, :40].set(1)
    masks = jnp.stack([left, 1 - left])
    options = dataclasses.replace(
        TINY, content_weight=0.0, stages=((1.0, 60),), optimizer=optax.adam(0.05), style_layers=LAYERS[:1]
    )
    image, _ = transfer.stylize(small, content, [red, blue], options, jax.random.key(0), masks=masks)
    mean_left, mean_right = image[:, :32].mean(axis=(0, 1)), image[:, 48:].mean(axis=(0, 1))
    assert mean_left[0] > mean_right[0] + 0.2
    assert mean_right[2] > mean_left[2] + 0.2


def test_adams_moments_are_carried_up_and_lbfgs_starts_afresh(pictures):
    image = pictures[0]
    for name, carried in (("adam", True), ("lbfgs", False)):
        options = dataclasses.replace(TINY, optimizer=transfer.optimizer(name, 19))
        state = transfer.begin(image, (image,), options, jax.random.key(0), None, (32, 40))
        full = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), state.optimizer)
        grown = transfer.enlarge(options, dataclasses.replace(state, optimizer=full), (64, 80))
        assert options.optimizer
        fresh = options.optimizer.init(grown.image)
        assert jax.tree.map(jnp.shape, grown.optimizer) == jax.tree.map(jnp.shape, fresh)
        same = all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (grown.optimizer, fresh)), strict=True))
        assert same != carried


def test_bfloat16_features_stay_close(small, pictures):
    gentle = optax.adam(0.02, b2=0.99)
    exact, history = run(small, pictures, optimizer=gentle)
    rough, rough_history = run(small.using(dtype="bfloat16"), pictures, optimizer=gentle)
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough_history["total"][-1], history["total"][-1], rtol=0.05)
    assert jnp.abs(rough - exact).mean() < 0.02


def test_average_of_iterates(small, pictures):
    options = dataclasses.replace(TINY, stages=((1.0, 3),), average=0.5)
    iterates = []
    content, style = pictures
    image, _ = transfer.stylize(
        small,
        content,
        [style],
        options,
        jax.random.key(0),
        chunk=1,
        on_chunk=lambda state, history: iterates.append(np.asarray(state.image).copy()),
    )
    np.testing.assert_allclose(image, (iterates[0] + 2 * iterates[1] + 4 * iterates[2]) / 7, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused(small, pictures):
    content, style = pictures

    def refused(match, network=small, content=content, styles=(style,), masks=None, **changes):
        options = dataclasses.replace(TINY, **changes)
        with pytest.raises(UserError, match=match):
            transfer.stylize(network, content, styles, options, jax.random.key(0), masks=masks)

    refused("content: must be an RGB picture", content=content[..., :1])
    refused("style 0: must be an RGB picture", styles=[style[None]])
    refused("styles: at least one", styles=[])
    refused("stages: at least one", stages=())
    refused("content: 20 x 16 at the first stage", stages=((0.25, 1),))
    refused(r"masks: must be one a style.*\[1, 64, 80\], not \[1, 64, 72\]", masks=jnp.ones((1, 64, 72)))
    refused("blend: 2 weights for 1 styles", blend=jnp.ones(2))
    refused("band_rows: must be a multiple of 32", band_rows=100)
    refused("relu9_9: no such layer", content_layers=(("relu9_9", 1.0),))


DEVICES = """
import dataclasses, sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_numpy_dtype_promotion", "strict")
sys.path.insert(0, "tests")
from conftest import small_network
from jaxgan.style import parallel, transfer
from test_style_transfer import TINY
network, options = small_network(), dataclasses.replace(TINY, average=0.0)
assert len(jax.devices()) == 4
contents = jax.random.uniform(jax.random.key(0), (4, 128, 64, 3))
style = jax.random.uniform(jax.random.key(1), (64, 64, 3)) ** 2
key = jax.random.key(2)
batch, history = parallel.stylize_batch(network, contents, [style], options, key, jax.devices())
assert len(batch.sharding.device_set) == 4
alone, losses = transfer.stylize(network, contents[3], [style], options, jax.random.split(key, 4)[3])
np.testing.assert_allclose(batch[3], alone, atol=5e-3)
np.testing.assert_allclose(history["total"][3], losses["total"], rtol=1e-3)
split, rows = transfer.stylize(network, contents[3], [style], parallel.split_rows(options, jax.devices()), key)
np.testing.assert_allclose(rows["total"], losses["total"], rtol=1e-3)
np.testing.assert_allclose(split, alone, atol=5e-3)
shards = {shard.data.shape for shard in split.addressable_shards}
print("rows", shards)
"""


def test_devices_share_a_batch_or_the_rows_of_a_picture():
    process = subprocess.run(
        [sys.executable, "-c", DEVICES],
        capture_output=True,
        text=True,
        cwd=record_style.DATA.parents[2],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "4"},
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "rows {(32, 64, 3)}" in process.stdout
