"""Measures of generated pictures against real ones: pure functions of features [N, F], in float64.

Each returns a `Value` with a spread. All depend on how many pictures they are taken from, and most on the features far
more than on anything else; see docs/evaluate.md for which to trust for what.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_BLOCK = 1024
"""Rows that are computed with at a time, so that memory does not grow with their number."""


class Value(NamedTuple):
    """What was measured.

    Attributes:
        value: the measure.
        spread: how far it may be off, one standard deviation; each measure says of what. None where it is not known.
    """

    value: float
    spread: float | None


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and covariance of features: all that the Frechet distance needs.

    Attributes:
        mean: float64 [F].
        covariance: float64 [F, F].
    """

    mean: np.ndarray
    covariance: np.ndarray

    @functools.cached_property
    def root(self) -> np.ndarray:
        """The symmetric root of the covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def statistics(features: np.ndarray) -> Statistics:
    """Mean and (unbiased) covariance of features [N, F], N > 1."""
    return _of_sums(len(features), *_sums(features, centre := features.mean(axis=0, dtype=np.float64)), centre)


def frechet(a: np.ndarray, b: np.ndarray | Statistics, groups: int = 10) -> Value:
    """Frechet distance of features taken as normal distributions; in Inception's features this is FID.

    `|mean a - mean b|^2 + trace(A + B - 2 (A B)^(1/2))`, A and B the covariances. Smaller is better; biased upwards by
    about 1 / N.

    Args:
        a: [N, F].
        b: [M, F], or their statistics.
        groups: parts that `a` is dealt into for the spread, each left out once (the jackknife); fewer than 2 give none.

    References:
        Heusel et al., arXiv 1706.08500, equation 6.
    """
    target = b if isinstance(b, Statistics) else statistics(b)
    centre = a.mean(axis=0, dtype=np.float64)
    groups = min(groups, len(a) // 2)
    parts = [a[place::groups] for place in range(groups)] if groups > 1 else [a]
    sums = [(len(part), *_sums(part, centre)) for part in parts]
    count, first, second = len(a), np.sum([m for _, m, _ in sums], axis=0), np.sum([s for _, _, s in sums], axis=0)
    value = distance(_of_sums(count, first, second, centre), target)
    if groups < 2:
        return Value(value, None)
    others = [distance(_of_sums(count - n, first - m, second - s, centre), target) for n, m, s in sums]
    return Value(value, float(np.sqrt((groups - 1) * np.var(others))))


def distance(a: Statistics, b: Statistics) -> float:
    """The Frechet distance of two normal distributions."""
    # The roots of the eigenvalues of A B are those of the symmetric B^(1/2) A B^(1/2).
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(b.root @ a.covariance @ b.root), 0)).sum()
    apart = float(np.sum((a.mean - b.mean) ** 2))
    return float(apart + np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared)


def frechet_infinity(a: np.ndarray, b: np.ndarray | Statistics, points: int = 15, seed: int = 0) -> Value:
    """The Frechet distance that samples without end would have, from its trend over their number.

    A line through the distances at `points` numbers of samples, evenly from min(5000, N / 2) to N, over 1 / N; its
    value at 0. The bias of the real pictures' number stays. The spread is the standard error of that value.

    Args:
        a: [N, F], N > 3.
        b: [M, F], or their statistics.
        points: numbers of samples that are looked at.
        seed: of the order in which samples are taken.

    References:
        Chong and Forsyth, Effectively Unbiased FID and Inception Score, arXiv 1911.07023, section 3.
    """
    target = b if isinstance(b, Statistics) else statistics(b)
    counts = np.unique(np.linspace(min(5000, len(a) // 2), len(a), points).astype(int))
    counts = counts[counts > 1]
    a = a[np.random.default_rng(seed).permutation(len(a))]
    centre = a.mean(axis=0, dtype=np.float64)
    first, second = np.zeros_like(centre), np.zeros((len(centre), len(centre)))
    found, begin = [], 0
    for count in counts:
        more = _sums(a[begin:count], centre)
        first, second, begin = first + more[0], second + more[1], count
        found.append(distance(_of_sums(count, first, second, centre), target))
    design = np.stack([np.ones(len(counts)), 1 / counts], axis=1)
    inverse = np.linalg.pinv(design.T @ design)
    fit = inverse @ design.T @ np.array(found)
    left = np.array(found) - design @ fit
    freedom = len(counts) - 2
    return Value(float(fit[0]), float(np.sqrt(left @ left / freedom * inverse[0, 0])) if freedom > 0 else None)


def kernel(a: np.ndarray, b: np.ndarray, subsets: int = 100, size: int = 1000, seed: int = 0) -> Value:
    """Kernel distance: the squared maximum mean discrepancy under (x y / F + 1)^3; in Inception's features this is KID.

    Smaller is better; unbiased, so that it is about 0, and may be negative, for equal distributions. The mean over
    subsets of both sets; the spread is the standard deviation over subsets, as papers give it.

    Args:
        a: [N, F].
        b: [M, F].
        subsets: how many.
        size: pictures in each; half of N or M where that is fewer, so that subsets differ.
        seed: of the subsets.

    References:
        Binkowski et al., Demystifying MMD GANs, arXiv 1801.01401, section 4.
    """
    random = np.random.default_rng(seed)
    size = max(2, min(size, len(a) // 2, len(b) // 2))
    found = [kernel_distance(*(x[random.choice(len(x), size, replace=False)] for x in (a, b))) for _ in range(subsets)]
    return Value(float(np.mean(found)), float(np.std(found)))


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimate for one pair of sets [N, F] and [M, F] (see `kernel`)."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def similar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        inner = x @ y.T / x.shape[1] + 1
        return inner * inner * inner

    def inner(x: np.ndarray) -> float:
        own = similar(x, x)
        return float(own.sum() - np.trace(own)) / (len(x) * (len(x) - 1))

    return inner(a) + inner(b) - 2 * float(similar(a, b).mean())


def neighbourhoods(a: np.ndarray, b: np.ndarray, manifold: int = 3, density: int = 5) -> dict[str, Value]:
    """Precision, recall, density and coverage: whether samples lie among real pictures, and whether all are reached.

    `precision`: share of samples within the distance of a real picture to its third neighbour; `recall`: share of real
    pictures within that of a sample to its third neighbour. `density`: by how many of the real pictures' balls (of five
    neighbours) a sample is held, over five, 1 for the data; `coverage`: share of real pictures that have a sample
    within their ball. Larger is better. The spread is the standard error of the mean over pictures, the balls taken as
    given.

    Args:
        a: samples [N, F].
        b: real pictures [M, F].
        manifold: neighbours for precision and recall.
        density: neighbours for density and coverage.

    References:
        Kynkaanniemi et al., Improved Precision and Recall, arXiv 1904.06991, equations 1 and 2, k = 3.
        Naeem et al., Reliable Fidelity and Diversity Metrics, arXiv 2002.09797, equations 5 and 8, k = 5.
    """
    centre = b.mean(axis=0, dtype=np.float64)
    most = max(manifold, density)
    real, fake = (np.sqrt(_nearest(x, x, most, centre, own=True)) for x in (b, a))
    ball = {k: real[:, min(k, real.shape[1]) - 1] for k in (manifold, density)}
    reach = fake[:, min(manifold, fake.shape[1]) - 1]
    precise, held = np.zeros(len(a), bool), np.zeros(len(a))
    recalled, covered = np.zeros(len(b), bool), np.zeros(len(b), bool)
    for rows, columns, square in _tiles(a, b, centre):
        apart = np.sqrt(square)
        precise[rows] |= (apart <= ball[manifold][columns]).any(axis=1)
        recalled[columns] |= (apart <= reach[rows, None]).any(axis=0)
        inside = apart < ball[density][columns]
        held[rows] += inside.sum(axis=1) / density
        covered[columns] |= inside.any(axis=0)
    parts = {"precision": precise, "recall": recalled, "density": held, "coverage": covered}
    return {name: mean(part.astype(np.float64)) for name, part in parts.items()}


def inception_score(logits: np.ndarray, splits: int = 10) -> Value:
    """How sure a classifier is of each sample, and how unlike its answers are: exp(E KL(p(y | x) || p(y))).

    Larger is better; it knows nothing of the real pictures, and of nothing but the classifier's classes. The mean over
    consecutive parts of the samples; the spread is the standard deviation over them.

    Args:
        logits: [N, classes], of Inception without its bias, as in its authors' code.
        splits: parts.

    References:
        Salimans et al., Improved Techniques for Training GANs, arXiv 1606.03498, section 4.
    """
    splits = min(splits, len(logits))
    found = []
    for index in range(splits):
        part = logits[index * len(logits) // splits : (index + 1) * len(logits) // splits].astype(np.float64)
        part = part - part.max(axis=1, keepdims=True)
        log = part - np.log(np.exp(part).sum(axis=1, keepdims=True))
        share = np.exp(log)
        found.append(np.exp((share * (log - np.log(share.mean(axis=0)))).sum(axis=1).mean()))
    return Value(float(np.mean(found)), float(np.std(found)))


def memorisation(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> Value:
    """Whether samples are nearer to the training pictures than other real pictures are.

    The probability that a sample is nearer to its nearest training picture than a held-out picture to its own: 1/2
    where nothing is copied, more where samples are copies, less where they are far from the data. Mann and Whitney's
    statistic, over the numbers of pairs. No published measure of copying tells a generator that learned pictures by
    heart from one that is only good (arXiv 2306.04675, section 5); look at the neighbours, too. The spread is that of
    equal distributions.

    Args:
        samples: [N, F].
        training: [T, F].
        held_out: [H, F], real pictures that the generator has not seen.

    References:
        Meehan et al., A Non-Parametric Test to Detect Data-Copying in Generative Models, arXiv 2004.05675.
    """
    centre = training.mean(axis=0, dtype=np.float64)
    near, other = (_nearest(x, training, 1, centre)[:, 0] for x in (samples, held_out))
    n, h = len(near), len(other)
    return Value(ahead(-near, -other), float(np.sqrt((n + h + 1) / (12 * n * h))))


def overfitting(training: np.ndarray, held_out: np.ndarray, generated: np.ndarray) -> Value:
    """How far the discriminator takes pictures that it has not seen for generated ones, from its logits.

    (E D(training) - E D(held-out)) / (E D(training) - E D(generated)): 0 where it judges held-out pictures as it does
    those it was trained on, 1 where it judges them as generated ones. The spread is the standard error for the number
    of held-out pictures.

    Args:
        training: logits [T].
        held_out: logits [H].
        generated: logits [N].

    References:
        Karras et al., Training Generative Adversarial Networks with Limited Data, arXiv 2006.06676, equation 1.
    """
    whole = float(training.mean() - generated.mean())
    if whole == 0:
        return Value(float("nan"), None)
    return Value(
        float(training.mean() - held_out.mean()) / whole,
        float(held_out.std(ddof=1) / np.sqrt(len(held_out)) / abs(whole)) if len(held_out) > 1 else None,
    )


def ahead(a: np.ndarray, b: np.ndarray) -> float:
    """Probability that one of `a` [N] is larger than one of `b` [M]; equal ones count half."""
    b = np.sort(b)
    return float((np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")).mean() / (2 * len(b)))


def mean(parts: np.ndarray) -> Value:
    """The mean of numbers [N], with its standard error."""
    return Value(float(parts.mean()), float(parts.std(ddof=1) / np.sqrt(len(parts))) if len(parts) > 1 else None)


def _sums(features: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum [F] and sum of outer products [F, F] of what features [N, F] differ from a centre [F] by."""
    first, second = np.zeros(features.shape[1]), np.zeros((features.shape[1], features.shape[1]))
    for begin in range(0, len(features), _BLOCK):
        block = features[begin : begin + _BLOCK] - centre
        first += block.sum(axis=0)
        second += block.T @ block
    return first, second


def _of_sums(count: int, first: np.ndarray, second: np.ndarray, centre: np.ndarray) -> Statistics:
    return Statistics(centre + first / count, (second - np.outer(first, first) / count) / (count - 1))


def _tiles(a: np.ndarray, b: np.ndarray, centre: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared distances of rows of [N, F] to rows of [M, F], some of both at a time, with which they are.

    `centre` is taken off all of them: as differences of squares, distances between large numbers lose digits.
    """
    for begin in range(0, len(a), _BLOCK):
        x = a[begin : begin + _BLOCK] - centre
        for start in range(0, len(b), _BLOCK):
            y = b[start : start + _BLOCK] - centre
            square = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
            yield slice(begin, begin + len(x)), slice(start, start + len(y)), np.maximum(square, 0)


def _nearest(a: np.ndarray, b: np.ndarray, count: int, centre: np.ndarray, own: bool = False) -> np.ndarray:
    """Squared distances of each of `a` [N, F] to its nearest in `b` [M, F], in order, [N, count or fewer].

    `own`: both are the same, and nothing is its own neighbour.
    """
    count = max(min(count, len(b) - own), 1)
    found = np.full((len(a), count), np.inf)
    for rows, columns, square in _tiles(a, b, centre):
        if own and rows == columns:
            np.fill_diagonal(square, np.inf)
        together = np.concatenate([found[rows], square], axis=1)
        found[rows] = np.partition(together, count - 1, axis=1)[:, :count]
    return np.sort(found, axis=1)
