import concurrent.futures
import hashlib

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgan.data import ArraySource, StackedMNIST, load_mnist, source
from jaxgan.support.errors import UserError


def numbered(count, batch_size, seed=0):
    """Examples whose label is their own number."""
    return ArraySource(np.zeros((count, 2, 2, 1), np.uint8), np.arange(count, dtype=np.int32), batch_size, seed)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_every_epoch_sees_every_example_once(count, batch_size, seed):
    source = numbered(count, batch_size, seed)
    seen = np.concatenate([source[step] for step in range(-(-3 * count // batch_size))])
    for epoch in range(3):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_a_batch_is_a_function_of_seed_and_step():
    source, again, other = numbered(100, 8), numbered(100, 8), numbered(100, 8, seed=1)
    for step in (13, 2, 40):
        np.testing.assert_array_equal(source[step], again[step])
    assert not np.array_equal(source[0], other[0])
    assert not np.array_equal(numbered(100, 100)[0], numbered(100, 100)[1])


def test_the_order_of_a_seed_is_for_ever():
    # Recorded: if this fails, old runs no longer resume to the same numbers.
    assert numbered(10, 10)[0].tolist() == RECORDED


RECORDED = [8, 0, 3, 7, 6, 4, 1, 5, 2, 9]


def test_orders_are_those_of_before_made_once_and_let_go(monkeypatch):
    """Compared with permutations of 64 bits, as they were; asked for by eight threads, over twenty epochs."""
    made = []
    philox = np.random.Philox
    monkeypatch.setattr(np.random, "Philox", lambda key: made.append(tuple(key)) or philox(key))
    count = 1003
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        epochs = [range(17 * epoch, 17 * epoch + 17) for epoch in range(20)]  # The eight read one at a time.
        found = np.concatenate(
            [part for steps in epochs for part in threads.map(lambda step: source.order(count, 59, 77, step), steps)]
        )
    assert sorted(made) == [(77, epoch) for epoch in range(20)]
    for epoch in range(20):
        expected = np.random.Generator(philox([77, epoch])).permutation(count)
        np.testing.assert_array_equal(found[epoch * count : (epoch + 1) * count], expected)
    kept = source._kept(77, count)
    assert len(kept) == 2
    assert all(order.dtype == np.int32 for order in kept.values())


def test_arrays_without_examples_or_of_other_lengths_are_refused():
    with pytest.raises(UserError, match="the data have no examples"):
        numbered(0, 4)
    with pytest.raises(UserError, match="the data have 3 examples, but 2 labels"):
        ArraySource(np.zeros((3, 2)), np.zeros(2, np.int32), 2, 0)


def test_pixels_and_labels():
    images = np.array([[0], [255], [51]], np.uint8).reshape(3, 1, 1, 1)
    source = ArraySource(images, np.array([4, 5, 6], np.int32), 2, 0)
    batch = jax.jit(source.batch)(source.resident, np.array([1, 2]))
    assert batch["image"].dtype == np.float32
    np.testing.assert_allclose(batch["image"].ravel(), [1, -0.6], rtol=1e-6)
    assert batch["label"].tolist() == [5, 6]
    assert (source.shape, source.classes) == ((1, 1, 1), 7)


def test_without_labels():
    source = ArraySource(np.zeros((3, 4, 4, 1), np.uint8), None, 2, 0)
    assert set(source.batch(source.resident, source[0])) == {"image"}
    assert source.classes == 0


def test_floats_of_any_shape_stay_as_they_are():
    points = np.array([[3, -700], [0.25, 1e-3], [255, 128]], np.float32)
    source = ArraySource(points, None, 2, 0)
    batch = jax.jit(source.batch)(source.resident, np.array([2, 0]))
    np.testing.assert_array_equal(batch["image"], points[[2, 0]])
    assert batch["image"].dtype == np.float32
    assert (source.shape, source.classes) == ((2,), 0)


@given(
    count=st.integers(1, 40),
    block=st.integers(1, 12),
    parts=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    step=st.integers(0, 30),
)
def test_blocks_of_processes_make_up_the_stacked_batch(count, block, parts, seed, step):
    digits = np.zeros((count, 2, 2, 1), np.uint8)
    whole = StackedMNIST(digits, block * parts, seed)[step]
    assert (whole.shape, whole.dtype) == ((block * parts, 3), np.int32)
    blocks = [StackedMNIST(digits, block * parts, seed, part, parts)[step] for part in range(parts)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_stacked_digits_are_drawn_independently():
    """Over an epoch each channel has MNIST's classes exactly, and pairs of channels have their products."""
    digits, labels = load_mnist("test")
    source = StackedMNIST(digits, len(digits), seed=0)
    drawn = labels[source[0]]
    share = np.bincount(labels) / len(labels)
    for channel in range(3):
        np.testing.assert_array_equal(np.bincount(drawn[:, channel]) / len(labels), share)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        pairs = np.bincount(10 * drawn[:, one] + drawn[:, other], minlength=100) / len(labels)
        np.testing.assert_allclose(pairs, np.outer(share, share).ravel(), atol=4 * np.sqrt(0.01 / len(labels)))
    assert source.classes == 0
    # No channel of a seed is one of its neighbour's.
    orders = {tuple(StackedMNIST(digits, 50, seed)[0][:, channel]) for seed in range(4) for channel in range(3)}
    assert len(orders) == 12


@pytest.mark.parametrize(
    ("split", "count", "images_md5", "labels_md5"),
    [
        ("train", 60000, "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
        ("test", 10000, "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    ],
)
def test_mnist_is_the_published_one(split, count, images_md5, labels_md5):
    images, labels = load_mnist(split)
    assert images.shape == (count, 28, 28, 1)
    header = np.array([2051, count, 28, 28], ">u4").tobytes()
    assert hashlib.md5(header + images.tobytes()).hexdigest() == images_md5
    header = np.array([2049, count], ">u4").tobytes()
    assert hashlib.md5(header + labels.astype(np.uint8).tobytes()).hexdigest() == labels_md5
