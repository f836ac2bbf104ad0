"""The summary of a run's lines: what is asked of it is what the lines would answer, however many and however cut."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgan.run import diagnosis, history, metrics
from jaxgan.run.history import LOOKS, ROOM, History, Thinned


def step_line(step, loss=1.4, separation=0.5, gradient=1.0):
    numbers = {"loss": loss, "separation": separation, "real": 0.5, "fake": 0.25}
    return {
        "step": step,
        **{f"discriminator/{name}": value for name, value in numbers.items()},
        "discriminator/penalty": loss / 2,
        "generator/loss": 0.7,
        "generator/gradient_norm": gradient,
    }


def look_line(step, variety=1.0, state=None, **modes):
    line = {"step": step, "diversity/pixels": variety, "diversity/features": variety, "diversity/coverage": variety}
    line |= {f"modes/{name}": value for name, value in modes.items()}
    return line | ({"diagnosis": state} if state else {})


def of(lines):
    found = History()
    for line in lines:
        found.add(line)
    return found


def again(found):
    """As a checkpoint's metadata give it back."""
    return History.from_json(json.loads(json.dumps(found.to_json())))


def made_up(count, every=10):
    random = np.random.default_rng(0)
    for step in range(1, count + 1):
        yield step_line(step, *random.random(3).tolist())
        if step % every == 0:
            yield look_line(step, random.random(), ("healthy", "mode collapse")[step % 3 == 0], kl=random.random())


def test_a_bucket_is_a_row_as_long_as_there_is_room():
    series = Thinned(["a"], ("first", "mean", "low", "high"))
    for step in range(ROOM):
        series.add(3 * step, [step / 7])
    assert series.steps == [3 * step for step in range(ROOM)]
    for kind in ("first", "mean", "low", "high"):
        np.testing.assert_array_equal(series.column("a", kind), np.float32(np.arange(ROOM) / 7))


@pytest.mark.parametrize("count", [ROOM + 1, 2 * ROOM, 2 * ROOM + 3, 7 * ROOM + 5])
def test_buckets_are_of_equally_many_rows(count):
    values = np.random.default_rng(0).random((count, 2)).astype(np.float32)
    series = Thinned(["a", "b"], ("first", "mean", "low", "high"))
    for step, row in enumerate(values.tolist()):
        series.add(step, row)
    assert ROOM / 2 < len(series.steps) <= ROOM
    assert len(series) == count
    stride = series.stride
    assert series.steps == list(range(0, count, stride))
    for index, name in enumerate("ab"):
        buckets = [values[begin : begin + stride, index] for begin in range(0, count, stride)]
        np.testing.assert_array_equal(series.column(name, "first"), [bucket[0] for bucket in buckets])
        np.testing.assert_array_equal(series.column(name, "low"), [bucket.min() for bucket in buckets])
        np.testing.assert_array_equal(series.column(name, "high"), [bucket.max() for bucket in buckets])
        np.testing.assert_allclose(series.column(name, "mean"), [bucket.mean() for bucket in buckets], rtol=1e-5)


NUMBER = st.one_of(st.floats(width=32, allow_nan=True), st.floats(-1e3, 1e3), st.integers(-5, 5))


@given(
    kinds=st.lists(st.tuples(st.sampled_from(["step", "step", "step", "look", "other"]), NUMBER), max_size=60),
    cuts=st.sets(st.integers(0, 60)),
    repeats=st.sampled_from([1, 40]),
)
def test_in_pieces_it_is_the_same_as_at_once(kinds, cuts, repeats):
    makes = {
        "step": lambda step, x: step_line(step, x, gradient=x),
        "look": lambda step, x: look_line(step, x, state=f"state {x == x}", kl=x),
        "other": lambda step, x: {"step": step, "modes/kl": x, "words": "some"},
    }
    lines = [makes[kind](step, x) for step, (kind, x) in enumerate(kinds * repeats)]
    pieces = History()
    for index, line in enumerate(lines):
        if index % 61 in cuts:
            pieces = again(pieces)
        pieces.add(line)
    assert json.dumps(pieces.to_json()) == json.dumps(of(lines).to_json())
    assert json.dumps(again(pieces).to_json()) == json.dumps(pieces.to_json())


def test_what_diagnosis_needs_by_hand():
    lines = [step_line(step, loss=step, gradient=step) for step in range(1, 31)]
    looks = [
        look_line(step, variety) for step, variety in ((5, 3), (10, 1), (15, 7), (20, 2), (25, 4), (26, 5), (28, 6))
    ]
    found = of(sorted([*lines, *looks], key=lambda line: line["step"]))
    assert (found.lines, found.looks) == (30, 7)
    assert found.first == list(range(1, 21))
    assert [look["step"] for look in found.tail] == [15, 20, 25, 26, 28]
    assert found.peaks["diversity/pixels"] == 3
    # Since the third last look, at 25.
    assert found.recent()["discriminator/loss"].tolist() == [26, 27, 28, 29, 30]
    assert found.last["discriminator/loss"] == 30
    assert found.last["diversity/coverage"] == 6
    assert found.best["diversity/coverage"] == {"step": 15, "score": 7, "since": 4}
    for step in (31, 32, 33):
        found.add(look_line(step))
    assert found.recent()["discriminator/loss"].tolist() == list(range(11, 31))  # None since: the last 20.


def test_a_curve_is_of_the_lines_that_have_it():
    plain = {name: value for name, value in step_line(1).items() if "penalty" not in name}
    found = again(of([plain, step_line(2, loss=4), look_line(2), step_line(3, loss=6)]))
    curve = found.curves["discriminator/penalty"]
    assert (curve.steps, curve.column("discriminator/penalty", "mean").tolist()) == ([2, 3], [2, 3])
    assert again(of([plain])).curves == {}
    older = of([plain]).to_json()
    del older["curves"]
    assert json.dumps(History.from_json(older).to_json()) == json.dumps(of([plain]).to_json())


def test_recent_lines_are_bounded():
    found = of([look_line(0), look_line(0), look_line(0), *(step_line(step, loss=step) for step in range(1, 2000))])
    assert found.recent()["discriminator/loss"].tolist() == list(range(2000 - ROOM, 2000))


def test_the_quantile_of_gradients_is_that_of_all_lines():
    """Of thinned ones, too: the first of a bucket is a sample; a mean would be drawn up by rare large ones."""
    random = np.random.default_rng(0)
    gradients = np.where(random.random(20_000) < 0.02, 1e4, random.lognormal(size=20_000))
    few = of(step_line(step, gradient=value) for step, value in enumerate(gradients[:500].tolist()))
    column = few.gradient.column("generator/gradient_norm")
    np.testing.assert_allclose(np.quantile(column, 0.9), np.quantile(gradients[:500], 0.9), rtol=1e-6)
    many = of(step_line(step, gradient=value) for step, value in enumerate(gradients.tolist()))
    column = many.gradient.column("generator/gradient_norm")
    assert np.quantile(column, 0.9) == pytest.approx(np.quantile(gradients, 0.9), rel=0.25)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["diversity/coverage", "modes/high_quality", "modes/kl"])
def test_the_best_is_finite_and_the_first_of_equals(name, bad):
    found = of([look_line(1) | {name: bad}])
    assert name not in found.best  # And patience waits.
    scores = [0.5, 0.5, bad, {"modes/kl": 0.6}.get(name, 0.4)]
    for step, score in enumerate(scores, start=2):
        found.add(look_line(step) | {name: score})
    assert found.best[name] == {"step": 2, "score": 0.5, "since": 3}
    better = {"modes/kl": 0.1}.get(name, 0.9)
    found.add(look_line(9) | {name: better})
    assert found.best[name] == {"step": 9, "score": better, "since": 0}


def test_diagnosis_of_few_lines_by_hand():
    calm = [step_line(step, separation=0.7) for step in range(1, 101)]

    def judged(steps, looks, loss="non_saturating"):
        return diagnosis.diagnose(of(sorted([*steps, *looks], key=lambda line: line["step"])), loss)

    looks = [look_line(step) for step in range(20, 101, 20)]
    assert judged(calm, looks[:4]).state == "starting"
    assert "the discriminator tells 70% of pairs apart" in judged(calm, looks).evidence
    # Only in the end, and by the median of the lines since the third last look.
    late = [*calm[:60], *(step_line(step, loss=50) for step in range(61, 101))]
    assert judged(late, looks).state == "divergence"
    assert judged([*calm[:85], *late[85:]], looks).state == "healthy"
    # A critic of whose losses the first are large already.
    assert judged([step_line(step, loss=900) for step in range(1, 101)], looks, "wasserstein").state == "healthy"
    assert judged([step_line(step, loss=1100) for step in range(1, 101)], looks, "wasserstein").state == "divergence"
    assert "--r1" in judged(late, looks).suggestion
    assert "--gradient-penalty" in judged(late, looks, "wasserstein").suggestion
    gone = [*calm[:60], *(step_line(step, separation=1.0, gradient=0.005) for step in range(61, 101))]
    assert "vanished (0.005, and was 1)" in judged(gone, looks).evidence
    alike = [*looks[:1], *(look_line(step, 0.3) for step in (40, 60, 80, 100))]
    assert judged(calm, alike).evidence == (
        "two samples differ by 30% of what two real examples do, in pixels, and was 100%"
    )


def test_a_judgement_of_modes_at_the_end_alone_is_no_fault():
    """Stacked digits are counted at a run's last look only."""
    looks = [look_line(step) for step in range(5, 51, 5)]
    looks[-1] |= {"modes/share": 0.4, "modes/high_quality": 0.9}
    lines = sorted([*(step_line(step) for step in range(1, 51)), *looks], key=lambda line: line["step"])
    assert diagnosis.diagnose(of(lines)).state == "healthy"
    counted = [
        line | {"modes/share": 0.4, "modes/high_quality": 0.9} if "diversity/pixels" in line else line for line in lines
    ]
    assert diagnosis.diagnose(of(counted)).state == "mode collapse"


def test_it_is_small_and_quick_however_long_the_run():
    found = History()
    seconds = []
    lines = list(made_up(20_000))
    for begin in range(0, len(lines), 1000):
        since = time.perf_counter()
        for line in lines[begin : begin + 1000]:
            found.add(line)
        seconds.append(time.perf_counter() - since)
        assert len(json.dumps(found.to_json())) < 100_000
    assert found.lines == 20_000
    assert found.looks == 2000
    # Half a millisecond a line is ten times what it takes; and it does not grow.
    assert np.median(seconds[-5:]) < 0.5
    assert min(seconds[-5:]) < 3 * min(seconds[:5])
    assert len(found.states()) <= ROOM
    assert set(dict(found.states()).values()) == {"healthy", "mode collapse"}


def test_the_largest_is_about_a_hundred_kilobytes():
    numbers = dict.fromkeys(history.LOOKED, 0.12345678901234567)
    found = History()
    for step in range(10**8, 10**8 + ROOM):
        found.add(step_line(step, *(0.12345678901234567,) * 3))
        found.add({"step": step, **numbers, "diagnosis": "discriminator has won"})
    assert len(found.losses.steps) == len(found.looked.steps) == ROOM
    assert len(json.dumps(found.to_json())) < 105_000 + 8_500 * len(found.curves)


def test_it_is_read_from_a_file_or_from_a_mark_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    texts = [json.dumps(line) + "\n" for line in made_up(700)]
    path.write_text("".join(texts))
    whole = history.read(path)
    assert whole.lines == 700
    for cut in (0, 1, 400, len(texts)):
        head = tmp_path / "head.jsonl"
        head.write_text("".join(texts[:cut]))
        mark = {"offset": len("".join(texts[:cut])), "history": history.read(head).to_json()}
        assert json.dumps(history.read(path, mark).to_json()) == json.dumps(whole.to_json())
    assert history.read(tmp_path / "missing.jsonl").lines == 0
    assert len(whole.tail) == LOOKS
    assert metrics.last(path, "diagnosis") == json.loads(texts[-1])
