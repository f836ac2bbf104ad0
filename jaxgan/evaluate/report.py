"""Pictures measured against others: every measure with its spread, how many it is of, and how low it can be."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxgan.evaluate import batches, logits, lpips, measures, origins, perceptual, sliced
from jaxgan.evaluate.features import Features, biased
from jaxgan.evaluate.measures import Value
from jaxgan.evaluate.origins import Origin, Reference, chosen, halves
from jaxgan.evaluate.resizing import Resize
from jaxgan.latent import mix
from jaxgan.run.directory import Trained
from jaxgan.support import cache, files
from jaxgan.support.errors import UserError

Protocol = Literal["fid50k_full", "adm"]

SMALLER = ("frechet", "frechet_infinity", "kernel", "path_length_z", "path_length_w", "sliced_wasserstein")
"""Measures of which smaller is better; of memorisation and over-fitting neither is."""
OF_FEATURES = ("frechet", "frechet_infinity", "kernel", "precision", "recall", "density", "coverage")
NAMES = (
    *OF_FEATURES,
    *("inception_score", "path_length_z", "path_length_w", "lpips_diversity", "sliced_wasserstein"),
    *("memorisation", "overfitting"),
)
ON_REQUEST = ("path_length_z", "path_length_w")
"""Measures that need pictures made for them alone."""

WATCHED = ("frechet", "precision", "recall", "density", "coverage", "sliced_wasserstein")
"""Measures that are taken while a run trains."""

COUNT, PUBLISHED_COUNT = 5000, 50_000
_PAIRS = 500  # Of pictures, for LPIPS diversity.
_SPLIT = 5000  # Samples of a part of ADM's Inception score.


class Measured(NamedTuple):
    """A measure.

    Attributes:
        value: what was measured.
        spread: how far it may be off; see each measure.
        floor: what one half of the real pictures gets against the other, at as many pictures: no samples can be told
            from real ones that get as much. None where there are no halves.
        biased: whether the samples were trained to do well in this one.
    """

    value: float
    spread: float | None
    floor: float | None
    biased: bool


@dataclasses.dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        count: samples, and real pictures; half of the real ones at the most. By a protocol, samples. None: 5000, or
            50,000 by a protocol.
        seed: of the choice of pictures.
        protocol: compare as papers do. "fid50k_full" (StyleGAN2-ADA's): samples with all real pictures; "adm" (ADM's
            evaluator): samples with a reference batch, the Inception score over parts of 5000. Both resize as
            TensorFlow 1 did.
        resize: how pictures are brought to a network's size; None: clean, or by the protocol.
        measures: which; None for all that need no pictures of their own.
        per_class: measure each class by itself, too.
        variants: a regular expression; what it matches is taken out of the names of real pictures' files, and those
            that are the same then go to the same half.
        trained_with: networks whose features training used (see `features.biased`).
    """

    count: int | None = None
    seed: int = 1
    protocol: Protocol | None = None
    resize: Resize | None = None
    measures: tuple[str, ...] | None = None
    per_class: bool = False
    variants: str | None = None
    trained_with: Sequence[str] = ()

    @property
    def how(self) -> Resize:
        """The way of resizing."""
        return self.resize or ("legacy_tensorflow" if self.protocol else "clean")


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        features: name of the features.
        weights_sha256: of their weights; None where it is not known.
        count: samples, and real pictures (None where these are not there, only their statistics).
        seed: of the choice of pictures.
        protocol: by which it was measured, or None.
        resize: how pictures were resized; None where they were not.
        measures: by their names; None for those that were not taken.
        classes: the same for each class, of those in features.
    """

    features: str
    weights_sha256: str | None
    count: tuple[int, int | None]
    seed: int
    protocol: str | None
    resize: str | None
    measures: dict[str, Measured | None]
    classes: dict[int, dict[str, Measured | None]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One object of what JSON has."""

        def plain(found: dict[str, Measured | None]) -> dict[str, Any]:
            return {name: None if value is None else value._asdict() for name, value in found.items()}

        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {"count": list(self.count), "measures": plain(self.measures)}
        fields["classes"] = {str(label): plain(found) for label, found in self.classes.items()}
        return fields if self.classes else {name: value for name, value in fields.items() if name != "classes"}


class _Seen(NamedTuple):
    """What was seen of some pictures.

    Attributes:
        numbers: which of them, [n].
        features: float32 [n, F].
        patches: None where they are not looked for.
        pairs: LPIPS distances; None where they are not looked for.
    """

    numbers: np.ndarray
    features: np.ndarray
    patches: sliced.Patches | None
    pairs: np.ndarray | None


def judge(
    a: Origin,
    b: Origin | Reference,
    features: Features,
    options: Options,
    held_out: Origin | None = None,
    report: Callable[[int, str], None] = lambda done, text: None,
) -> Judgement:
    """Measures pictures against others.

    Args:
        a: samples.
        b: real pictures, or their statistics.
        features: what measures are taken in.
        options: how.
        held_out: real pictures that training did not see, where copying is asked for; `b` are those it did see.
        report: told how many pictures were looked at, and what is done.

    Raises:
        UserError: there are too few pictures, they are of sizes that cannot be compared, or a measure is asked for that
            needs what is not there.
    """
    real, known = (b.pictures, b.statistics) if isinstance(b, Reference) else (b, None)
    wanted = _wanted(a, real, features, options, held_out)
    if real is not None and features.side is None and a.shape[:2] != real.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (a.shape, real.shape)]
        raise UserError(f"{a.name}: pictures are {sizes[0]}, those of {real.name} {sizes[1]}; bring them to one size")
    for origin in (a, real) if options.per_class else ():
        if origin is None or origin.labels is None:
            raise UserError(f"{b.name if origin is None else origin.name}: --per-class needs classes, which it has not")
    if known is not None and len(known.mean) != (size := _size(features, a.shape)):
        raise UserError(f"{b.name}: statistics of {len(known.mean)} features, and {features.name} has {size}")
    looker = _Looker(features, options, wanted, report)
    at, one, other = _numbers(a, real, options)
    fake = looker.look(a, at)
    near, rest = (None if real is None or part is None else looker.look(real, part) for part in (one, other))
    report(looker.done, "measuring")
    found = _of_features(fake, near, rest, known, wanted, features, options)
    found |= _of_pictures(fake, near, rest, wanted, options)
    for space in ("z", "w"):
        if f"path_length_{space}" in wanted:
            value = looker.paths(a, space, len(at))
            found[f"path_length_{space}"] = _measured(value, None, "vgg16", options)
    if real is not None and held_out is not None:
        found |= _of_held_out(a, fake, real, held_out, looker, wanted, options)
    classes = {}
    if options.per_class and real is not None:
        classes = _per_class((a, fake), (real, near), (real, rest), wanted, features, options)
    return Judgement(
        features.name,
        features.sha256 or None,
        (len(at), None if one is None else len(one)),
        options.seed,
        options.protocol,
        None if features.side is None else options.how,
        dict.fromkeys(NAMES) | found,
        classes,
    )


def judge_run(run: Path, trained: Trained, features: Features, options: Options) -> Judgement:
    """Measures a run's samples against its data.

    Raises:
        UserError: as `judge`, or the data are not pictures, cannot be found, or are not those of the run.
    """
    samples = origins.samples(str(run), trained, options.seed)
    real = origins.of_source(f"the data of {run}", origins.data(run, trained))
    return judge(samples, real, features, options)


class Watch:
    """Measures samples again and again, `WATCHED`, against real pictures that are looked at once.

    The figures are those of `judge` with the same options.
    """

    def __init__(self, real: Origin, features: Features, options: Options) -> None:
        """Begins; nothing is looked at yet.

        Args:
            real: real pictures.
            features: what measures are taken in.
            options: how many, and which.

        Raises:
            UserError: there are too few real pictures.
        """
        _, self._numbers, _ = _numbers(dataclasses.replace(real, count=None), real, options)
        self._real, self._features, self._options = real, features, options
        self._seen: tuple[_Looker, _Seen, measures.Statistics] | None = None

    def measure(self, samples: Origin) -> dict[str, float]:
        """Measures samples of the real pictures' size."""
        assert self._numbers is not None
        if self._seen is None:
            wanted = _wanted(samples, self._real, self._features, self._options, None) & frozenset(WATCHED)
            looker = _Looker(self._features, self._options, wanted, lambda done, text: None)
            near = looker.look(self._real, self._numbers)
            self._seen = looker, near, measures.statistics(near.features)
        looker, near, statistics = self._seen
        fake = looker.look(samples, chosen(samples, len(self._numbers), self._options.seed))
        found = {"frechet": measures.frechet(fake.features, statistics, groups=0)}
        found |= measures.neighbourhoods(fake.features, near.features)
        if fake.patches is not None and near.patches is not None:
            found["sliced_wasserstein"] = sliced.distance(fake.patches, near.patches)
        return {name: found[name].value for name in WATCHED if name in found}


def total(a: Origin, b: Origin | Reference, options: Options) -> int:
    """How many pictures `judge` looks at, at most, but for those of single measures."""
    parts = _numbers(a, b.pictures if isinstance(b, Reference) else b, options)
    return sum(len(part) for part in parts if part is not None)


def _size(features: Features, shape: origins.Shape) -> int:
    """How many features a picture has."""
    picture = jax.ShapeDtypeStruct((1, *shape[:2], 3), np.float32)
    found = jax.eval_shape(lambda params, x: features.of(params, x, "clean"), features.params, picture)
    return found.shape[1]


def _wanted(
    a: Origin, real: Origin | None, features: Features, options: Options, held_out: Origin | None
) -> frozenset[str]:
    """The measures to take; of those asked for by name, each must be possible."""
    same = real is not None and a.shape[:2] == real.shape[:2] and sliced.levels(*a.shape[:2]) > 0
    labelled = held_out is not None and held_out.labels is not None and real is not None and real.labels is not None
    pictures = real is not None, "it needs pictures, not only their statistics"
    run = a.trained is not None, "it needs a run"
    held = held_out is not None, "it needs --held-out"
    styles = a.trained is not None and mix.has_styles(a.trained.game), "it needs a run whose generator has styles"
    classes = a.trained is None or not a.trained.classes or labelled, "of a conditional run it needs --per-class"
    needs: dict[str, list[tuple[bool, str]]] = {
        **{name: [pictures] for name in ("kernel", "precision", "recall", "density", "coverage")},
        "inception_score": [(features.classifier is not None, "it needs --features inception")],
        "path_length_z": [run],
        "path_length_w": [styles],
        "sliced_wasserstein": [pictures, (same, "it needs pictures of one size, 16 pixels a side or more")],
        "memorisation": [pictures, held],
        "overfitting": [pictures, held, run, classes],
    }
    lacks = {name: next((text for met, text in needs.get(name, ()) if not met), "") for name in NAMES}
    for name in options.measures or ():
        if name not in NAMES:
            raise UserError(f"--measures {name}: unknown; some of {', '.join(NAMES)}")
        if lacks[name]:
            raise UserError(f"--measures {name}: {lacks[name]}")
    asked = options.measures or [name for name in NAMES if name not in ON_REQUEST]
    return frozenset(name for name in asked if not lacks[name])


def _numbers(
    a: Origin, real: Origin | None, options: Options
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Which pictures are looked at: samples, real ones, and others of these for the floor."""
    most = options.count or (PUBLISHED_COUNT if options.protocol else COUNT)
    most = most if a.count is None else min(most, a.count)
    one = other = None
    if real is not None:
        assert real.count is not None
        if options.protocol:
            one = np.arange(real.count)
        else:
            variant = None if options.variants is None else _variant(options.variants)
            one, other = halves(real, most, options.seed, variant)
            most = len(one)
        if len(one) < 2:
            raise UserError(f"{real.name}: {real.count} pictures; 4 are needed, for the variance of both halves")
    if most < 2:
        raise UserError(f"{a.name}: {a.count} pictures; 2 are needed, for their variance")
    return chosen(a, most, options.seed), one, other


def _variant(pattern: str) -> Callable[[str], str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--variants {pattern}: no regular expression: {error}") from None
    return lambda name: compiled.sub("", name)


class _Looker:
    """Goes through pictures once for all that is computed of each, and says how far it is."""

    def __init__(
        self, features: Features, options: Options, wanted: frozenset[str], report: Callable[[int, str], None]
    ) -> None:
        self.done, self.network = 0, features.network
        self._features, self._options, self._wanted, self._report = features, options, wanted, report

        def of(params: Any, pictures: jax.Array) -> jax.Array:
            return features.of(params, batches.colours(pictures), options.how)

        self._run = batches.runner(of, features.params)
        self._pyramid = batches.runner(lambda _, pictures: sliced.pyramid(batches.colours(pictures)), ())
        self._metric = functools.cache(lpips.load)

    def look(self, origin: Origin, numbers: np.ndarray) -> _Seen:
        """Looks at some pictures for everything that is wanted."""
        collector = None
        if "sliced_wasserstein" in self._wanted:
            collector = sliced.Collector(len(numbers), self._options.seed)
        features = self.features(origin, numbers, collector)
        pairs = None
        if "lpips_diversity" in self._wanted:
            self._report(self.done, f"comparing pairs of {origin.name}")
            drawn = np.random.default_rng(self._options.seed).permutation(len(numbers))
            some = numbers[np.sort(drawn[: min(2 * _PAIRS, len(numbers) // 2 * 2)])]
            # Neighbours in a folder are alike; those half of it apart are not.
            parts = (origin.blocks(part) for part in np.split(some, 2))
            pairs = perceptual.distances(self._metric(), *parts)
        return _Seen(numbers, features, None if collector is None else collector.patches(), pairs)

    def features(self, origin: Origin, numbers: np.ndarray, collector: sliced.Collector | None = None) -> np.ndarray:
        """Features of some pictures, kept for the next time; patches of them go to the collector."""
        place = self._place(origin, numbers)
        kept = None if place is None else _load(place, len(numbers))
        if kept is not None and collector is None:
            self.done += len(numbers)
            return kept
        found, begin = kept, 0
        for block in batches.rebatched(origin.blocks(numbers)):
            levels = None if collector is None else self._pyramid(block)
            if kept is None:
                part = np.asarray(self._run(block))[: len(block)]
                found = np.empty((len(numbers), part.shape[1]), np.float32) if found is None else found
                found[begin : begin + len(block)] = part
            if levels is not None and collector is not None:
                collector.add([np.asarray(level)[: len(block)] for level in levels])
            begin += len(block)
            self.done += len(block)
            self._report(self.done, f"looking at {origin.name}")
        assert found is not None
        if place is not None and kept is None:
            _save(place, found)
        return found

    def paths(self, origin: Origin, space: Literal["z", "w"], count: int) -> Value:
        """The perceptual path length of a run's generator."""
        assert origin.trained is not None
        game, state, classes = origin.trained.game, origin.trained.state, origin.trained.classes
        key, found = jax.random.key(self._options.seed), []
        for part in perceptual.path_length(game, state.ema, self._metric(), key, count, space, classes):
            found.append(part)
            self._report(self.done, f"{sum(map(len, found)):,} of {count:,} paths in {space}")
        return perceptual.path_value(np.concatenate(found))

    def _place(self, origin: Origin, numbers: np.ndarray) -> Path | None:
        """Where features are kept; None of pictures or weights that cannot be told from others."""
        if not origin.identity or not self._features.sha256:
            return None
        shape = tuple(map(int, origin.shape))  # Cut-outs of the same pictures, perhaps.
        network = self._features.name, self._features.sha256, self._features.side and self._options.how
        facts = [origin.identity, shape, *network]
        name = hashlib.sha256(repr(facts).encode() + numbers.astype(np.int64).tobytes()).hexdigest()[:32]
        return cache.folder() / "features" / f"{name}.npy"


def _load(place: Path, count: int) -> np.ndarray | None:
    try:
        found = np.load(place, allow_pickle=False)
        os.utime(place)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and len(found) == count else None


def _save(place: Path, found: np.ndarray) -> None:
    """Keeps features; a cache that cannot be written is none."""
    with contextlib.suppress(UserError, OSError):
        with files.replacing(place) as partial:
            np.save(partial, found)
        cache.trim(place.parent, cache.MOST_BYTES)


def _measured(value: Value, floor: Value | None, network: str, options: Options) -> Measured:
    return Measured(*value, None if floor is None else floor.value, biased(network, options.trained_with))


def _of_features(
    fake: _Seen,
    near: _Seen | None,
    rest: _Seen | None,
    known: measures.Statistics | None,
    wanted: frozenset[str],
    features: Features,
    options: Options,
) -> dict[str, Measured | None]:
    """The measures that are functions of features."""
    found: dict[str, Value] = {}
    floors: dict[str, Value] = {}
    frechet = known or (None if near is None else measures.statistics(near.features))
    for seen, kept in ((fake, found), (rest, floors)):
        if seen is None or frechet is None:
            continue
        if "frechet" in wanted:
            kept["frechet"] = measures.frechet(seen.features, frechet, 10 if seen is fake else 0)
        if "frechet_infinity" in wanted:
            kept["frechet_infinity"] = measures.frechet_infinity(seen.features, frechet, seed=options.seed)
        if near is None:
            continue
        if "kernel" in wanted:
            kept["kernel"] = measures.kernel(seen.features, near.features, seed=options.seed)
        if wanted & {"precision", "recall", "density", "coverage"}:
            kept |= measures.neighbourhoods(seen.features, near.features)
    if "inception_score" in wanted and features.classifier is not None:
        for seen, kept in ((fake, found), (near, floors)):
            if seen is not None:
                splits = max(1, len(seen.features) // _SPLIT) if options.protocol == "adm" else 10
                kept["inception_score"] = measures.inception_score(seen.features @ features.classifier, splits)
    return {
        name: _measured(value, floors.get(name), features.network, options)
        for name, value in found.items()
        if name in wanted
    }


def _of_pictures(
    fake: _Seen, near: _Seen | None, rest: _Seen | None, wanted: frozenset[str], options: Options
) -> dict[str, Measured | None]:
    """The measures that are not in features."""
    found: dict[str, Measured | None] = {}
    if fake.pairs is not None:
        floor = None if near is None or near.pairs is None else measures.mean(near.pairs)
        found["lpips_diversity"] = _measured(measures.mean(fake.pairs), floor, "vgg16", options)
    if fake.patches is not None and near is not None and near.patches is not None:
        floor = None if rest is None or rest.patches is None else sliced.distance(rest.patches, near.patches)
        found["sliced_wasserstein"] = _measured(sliced.distance(fake.patches, near.patches), floor, "", options)
    return {name: value for name, value in found.items() if name in wanted}


def _of_held_out(
    a: Origin, fake: _Seen, real: Origin, held_out: Origin, looker: _Looker, wanted: frozenset[str], options: Options
) -> dict[str, Measured | None]:
    """The measures of what training did not see."""
    assert real.count is not None
    assert held_out.count is not None
    if held_out.shape != real.shape:
        raise UserError(
            f"{held_out.name}: pictures are {list(held_out.shape)}, those of {real.name} {list(real.shape)}"
        )
    found: dict[str, Measured | None] = {}
    unseen = np.arange(held_out.count)
    if "memorisation" in wanted:
        parts = [looker.features(origin, part) for origin, part in ((real, np.arange(real.count)), (held_out, unseen))]
        value = measures.memorisation(fake.features, *parts)
        found["memorisation"] = _measured(value, None, looker.network, options)
    if "overfitting" in wanted and a.trained is not None:
        training = chosen(real, held_out.count, options.seed)
        parts = [logits.of(a.trained, *part) for part in ((real, training), (held_out, unseen), (a, fake.numbers))]
        found["overfitting"] = _measured(measures.overfitting(*parts), None, "", options)
    return found


def _per_class(
    samples: tuple[Origin, _Seen],
    real: tuple[Origin, _Seen | None],
    others: tuple[Origin, _Seen | None],
    wanted: frozenset[str],
    features: Features,
    options: Options,
) -> dict[int, dict[str, Measured | None]]:
    """The measures in features, of each class that both sides have."""
    labels = []
    for origin, seen in (samples, real, others):
        labels.append(None if seen is None or origin.labels is None else origin.labels(seen.numbers))
    found = {}
    wanted = wanted & frozenset(OF_FEATURES)
    for label in np.intersect1d(labels[0], labels[1]):
        parts = [
            None if seen is None else _Seen(seen.numbers, seen.features[known == label], None, None)
            for (_, seen), known in zip((samples, real, others), labels, strict=True)
        ]
        if all(part is None or len(part.features) > 1 for part in parts):
            fake, near, rest = parts
            assert fake is not None
            here = _of_features(fake, near, rest, None, wanted, features, options)
            found[int(label)] = dict.fromkeys(OF_FEATURES) | here
    return found
