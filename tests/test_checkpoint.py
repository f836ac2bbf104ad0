"""Checkpoints: which one a run stands at, whatever is wrong with the others, and what is said of it."""

import dataclasses
import errno
import functools
import itertools
import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tensorstore

from jaxgan import config as cfg
from jaxgan.run import build, checkpoint, networks, parallel
from jaxgan.support.errors import UserError
from jaxgan.train_step import Player, TrainState

CONFIG = cfg.Config(data="ring", generator=cfg.MLPGenerator(), discriminator=cfg.MLPDiscriminator(), keep_last=10)
PLAN = build.experiment(CONFIG, (2,), 0)


def state_at(step: int, width: int = 64) -> TrainState:
    """A state of the right structure, large enough that its arrays have data files of their own."""
    values = jax.random.normal(jax.random.key(step), (width, 50))
    params = {"kernel": values, "half": values.astype(jnp.bfloat16)}
    player = Player(params, {}, (jnp.int32(step), {}), jnp.float32(0), jnp.int32(0))
    return TrainState(jnp.int32(step), player, player, {"params": params}, jnp.float32(0), jnp.float32(0))


def abstract(step: int, width: int = 64) -> TrainState:
    place = parallel.place(devices=jax.devices()[:1])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place.everywhere), state_at(0, width)
    )


restore = functools.partial(checkpoint.restore, plan=PLAN, abstract=abstract)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    with checkpoint.open_for_saving(run, PLAN) as saver:
        for step in (500, 1000):
            saver.save(state_at(step), {"offset": 10 * step, "first": [1.5, None]})
    return run


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def data_files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.parent.name == "d"]


def test_what_was_saved_is_restored_to_the_bit_with_its_record(saved):
    restored = restore(saved)
    assert restored is not None
    assert networks.digest(restored.state) == networks.digest(state_at(1000))
    assert restored.record == checkpoint.record(saved) == {"offset": 10000, "first": [1.5, None]}
    assert restored.versions == checkpoint.versions()
    assert restored.damaged == []


def test_a_run_without_checkpoints_stands_at_the_beginning(tmp_path):
    assert restore(tmp_path) is None
    assert checkpoint.record(tmp_path) is None


def test_every_array_is_read_once(saved, monkeypatch):
    opened, original = [], tensorstore.open
    monkeypatch.setattr(tensorstore, "open", lambda spec: opened.append(spec["kvstore"]["path"]) or original(spec))
    restore(saved)
    assert len(opened) == len(set(opened)) == len(jax.tree.leaves(abstract(0)))


def cut(path):
    for file in data_files(path):
        os.truncate(file, file.stat().st_size // 2)


def corrupt(path):
    for file in data_files(path):
        size = file.stat().st_size
        file.write_bytes(file.read_bytes()[: size // 4] + bytes(size // 2) + file.read_bytes()[size // 4 * 3 :])


def lose_data(path):
    for file in data_files(path):
        file.unlink()


def lose_metadata(path):
    (path / "_CHECKPOINT_METADATA").unlink()


def break_json(path):
    (path / "_CHECKPOINT_METADATA").write_bytes(b'{"custom_metadata": {"config": \xff')


def empty(path):
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (cut, "cut short"),
        (corrupt, "corrupt|cut short"),
        (lose_data, "missing"),
        (lose_metadata, "missing"),
        (break_json, "_CHECKPOINT_METADATA is corrupt"),
        (empty, "missing"),
        (lambda path: (path / "state" / "manifest.ocdbt").unlink(), "missing"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_in_silence(harm, reason, run, capfd):
    newest = run / "checkpoints" / "1000"
    harm(newest)
    restored = restore(run)
    assert restored is not None
    assert restored.state.step == 500
    (damaged,) = restored.damaged
    assert damaged.path == newest
    assert any(word in damaged.reason for word in reason.split("|")), damaged
    assert restored.record == {"offset": 5000, "first": [1.5, None]}
    assert capfd.readouterr() == ("", "")


def test_two_damaged_ones_of_a_step_are_both_set_aside(run):
    newest = run / "checkpoints" / "1000"
    names = []
    for _ in range(3):
        cut(newest)
        restored = restore(run)
        assert restored is not None
        names.append(checkpoint.set_aside(restored.damaged[0]).name)
        shutil.copytree(run / "checkpoints" / names[-1], newest)
    assert names == ["1000.unreadable", "1000.unreadable-2", "1000.unreadable-3"]


def test_where_none_is_whole_nobody_is_told_to_delete_anything(run):
    for step in (500, 1000):
        cut(run / "checkpoints" / str(step))
    with pytest.raises(
        UserError, match=r"no checkpoint can be read: .*1000 .*500 .*; begin anew with another --out"
    ) as error:
        restore(run)
    assert "delete" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), "1000: cannot be read now: Stale file handle"),
        (PermissionError(errno.EACCES, "Permission denied"), "1000: cannot be read now: Permission denied"),
        (MemoryError(), "1000: there is not enough memory to read it"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 5 GiB"), "1000: there is not enough memory to read it"),
    ],
)
def test_what_fails_for_another_reason_says_so_and_the_checkpoint_stays(error, message, run, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(jax, "make_array_from_callback", fail)
    with pytest.raises(UserError, match=message):
        restore(run)
    assert checkpoint.steps(run) == [500, 1000]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission_the_checkpoint_stays(run):
    for file in data_files(run / "checkpoints" / "1000"):
        file.chmod(0)
    with pytest.raises(UserError, match=r"1000: cannot be read now: .*ermission"):
        restore(run)


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNKNOWN", "INTERNAL", "PERMISSION_DENIED"])
def test_what_tensorstore_fails_of_without_damage_says_so(code, run, monkeypatch):
    def fail(*arguments):
        raise ValueError(f"{code}: Error reading {'x' * 300} [os_error_code='13']\nmore")

    monkeypatch.setattr(tensorstore, "open", fail)
    with pytest.raises(UserError, match=r"1000: cannot be read now: Permission denied$"):
        restore(run)


def test_another_structure_says_what_differs(run):
    """And the checkpoint before, which the same jaxgan made, is not tried."""
    with pytest.raises(UserError, match=r"1000: its state is of another structure, made by jaxgan .*") as error:
        restore(run, abstract=functools.partial(abstract, width=32))
    assert "params.kernel (float32 [64, 50], now float32 [32, 50])" in str(error.value)
    assert "and 2 more" in str(error.value)


def test_another_config_is_refused(run):
    with pytest.raises(UserError, match=r"1000: made by another config: batch_size \(128, now 8\)"):
        restore(run, plan=build.experiment(dataclasses.replace(CONFIG, batch_size=8), (2,), 0))


def test_one_that_vanishes_meanwhile_is_looked_for_again(run, monkeypatch):
    """As when the trainer keeps one checkpoint and makes the next while another command reads."""
    listed = [[250], [500, 1000], [500, 1000]]
    monkeypatch.setattr(checkpoint, "steps", lambda run, best=False: listed.pop(0))
    restored = restore(run)
    assert restored is not None
    assert restored.state.step == 1000
    assert restored.damaged == []


def test_a_run_that_never_stands_still_ends_in_a_line(run, monkeypatch):
    count = itertools.count(1)
    monkeypatch.setattr(checkpoint, "steps", lambda run, best=False: [next(count)])
    with pytest.raises(UserError, match="no checkpoint can be read"):
        restore(run)


def test_an_earlier_step_never_replaces_a_later_one(run):
    with checkpoint.open_for_saving(run, dataclasses.replace(PLAN, keep_last=1)) as saver:
        with pytest.raises(UserError, match="holds step 1000, which 300 would replace"):
            saver.save(state_at(300))
        saver.save(state_at(1000))  # As it is.
    assert checkpoint.steps(run) == [500, 1000]


def test_any_step_replaces_the_best_one(tmp_path):
    with checkpoint.open_best(tmp_path, PLAN) as best:
        for number, step in enumerate((50, 80, 80, 40)):
            best.save(state_at(step), {"number": number})
            best.close()
            assert checkpoint.steps(tmp_path, best=True) == [step]
            restored = restore(tmp_path, best=True)
            assert restored is not None
            assert restored.record == {"number": number}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "cannot be written: no room is left; make some. The same command",
        ),
        (
            ValueError("RESOURCE_EXHAUSTED: Error writing"),
            "cannot be written: no room is left; make some. The same command",
        ),
        (OSError(errno.EROFS, "Read-only file system"), "cannot be written: Read-only file system. "),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "cannot be written: No such file"),
    ],
)
def test_what_saving_fails_of_is_one_line(error, message, tmp_path):
    class Failing:
        latest = None

        def save_async(self, *arguments, **keywords):
            raise error

    saver = checkpoint.Saver(Failing(), tmp_path / "checkpoints", CONFIG)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=f"checkpoints: {message}"):
        saver.save(state_at(1))


def test_a_directory_deleted_meanwhile_comes_back(tmp_path):
    with checkpoint.open_for_saving(tmp_path / "run", PLAN) as saver:
        saver.save(state_at(1))
        saver.close()
        shutil.rmtree(tmp_path / "run")
        saver.save(state_at(2))
    assert checkpoint.steps(tmp_path / "run") == [2]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    opening = checkpoint.open_for_saving(tmp_path / "file", PLAN)
    with pytest.raises(UserError, match="file/checkpoints: cannot be written: Not a directory"), opening:
        pass


def test_records_of_before_there_were_any_are_none(run):
    path = run / "checkpoints" / "1000" / "_CHECKPOINT_METADATA"
    about = json.loads(path.read_text())
    del about["custom_metadata"]["record"]
    path.write_text(json.dumps(about))
    restored = restore(run)
    assert restored is not None
    assert restored.record is None
    assert checkpoint.record(run) is None


def test_a_run_may_have_nearly_any_name(tmp_path):
    """One with *, ? or [ is refused by `directory.lock`: Orbax takes them for patterns."""
    run = tmp_path / "lr=1 50% %20 #1 ä"
    with checkpoint.open_for_saving(run, PLAN) as saver:
        saver.save(state_at(3))
    restored = restore(run)
    assert restored is not None
    assert networks.digest(restored.state) == networks.digest(state_at(3))
