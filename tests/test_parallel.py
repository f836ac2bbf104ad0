"""One result on any number of devices and processes, however the step is placed; and what happens when one dies."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from test_training import SMALL, SMALL_FLAGS, steps_of

from jaxgan import cli
from jaxgan.run import checkpoint, directory, networks, parallel, training
from jaxgan.support.errors import UserError

ROOT = Path(__file__).parents[1]


def test_copies_for_one_process_are_compiled_once_and_on_one_device_not_made():
    array = jax.device_put(np.arange(4, dtype=np.float32))
    alone = parallel.local(parallel.place(), {"x": array})["x"]
    assert alone.unsafe_buffer_pointer() == array.unsafe_buffer_pointer()
    script = (
        "import jax, numpy as np; from jaxgan.run import parallel; place = parallel.place();"
        "split = jax.NamedSharding(place.mesh, jax.P(place.mesh.axis_names));"
        "tree = {'x': jax.device_put(np.arange(4, dtype='float32'), split)};"
        "found = [parallel.local(place, tree)['x'] for _ in range(3)];"
        "print([x.tolist() for x in found][2], {x.sharding.num_devices for x in found},"
        " parallel._copied(place.everywhere)._cache_size())"
    )
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[0.0, 1.0, 2.0, 3.0] {1} 1\n"), done.stderr[-2000:]


def test_eight_devices_train_as_one():
    """In every placement, with SGD, which hides nothing: tests/eight_devices.py."""
    process = subprocess.run(
        [sys.executable, ROOT / "tests" / "eight_devices.py"],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    differences = json.loads(process.stdout)
    # Of float32 numbers summed in another order; after 20 steps the differences have grown a little.
    bounds = {"float32 1": 2e-6, "float32 20": 2e-5, "float64 1": 1e-10, "float64 20": 1e-10}
    # Penalties of images in float32 have float32 slopes, whatever the networks compute in.
    rounded = [differences.pop(name) for name in list(differences) if "penalty" in name]
    assert len(rounded) == 5
    assert max(rounded) < 1e-6
    penalised = {name: differences.pop(name) for name in list(differences) if "everything" in name}
    assert {name: value for name, value in penalised.items() if value >= 1e-7} == {}
    assert len(penalised) == 5
    found = {name: value for name, value in differences.items() if value >= bounds[f"{name[:7]} {name.split()[-1]}"]}
    assert not found
    kinds = {f"float32 {kind} {steps}" for kind in ("jit", "pmap", "shard_map") for steps in (1, 20)}
    assert kinds < set(differences)
    assert len(differences) == 19


def test_a_batch_that_does_not_divide_names_the_nearest_sizes():
    placement = parallel.place(devices=jax.devices()[:1])
    parallel.check_batch(placement, 12, accumulate=4)
    with pytest.raises(UserError, match=r"batch_size: 10 .* on 1 devices x 4 accumulated parts; take 8 or 12"):
        parallel.check_batch(placement, 10, accumulate=4)
    with pytest.raises(UserError, match=r"take 4$"):
        parallel.check_batch(placement, 3, accumulate=4)


def test_groups_of_examples_stay_whole():
    """Where a device sees its block alone, the block is of whole groups; under jit a group may lie across devices."""
    mesh: Any = SimpleNamespace(size=4)
    jit, mapped = parallel.Placement("jit", mesh), parallel.Placement("shard_map", mesh)
    parallel.check_batch(jit, 8, group=4)
    parallel.check_batch(mapped, 16, group=4)
    parallel.check_batch(jit, 16, 2, group=4)
    with pytest.raises(UserError, match=r"batch_size: 8 .* on 4 devices in groups of 4; take 16$"):
        parallel.check_batch(mapped, 8, group=4)
    with pytest.raises(UserError, match=r"batch_size: 20 .* on 4 devices x 2 accumulated parts; take 16 or 24$"):
        parallel.check_batch(jit, 20, 2, group=2)


def test_splitting_parameters_needs_jit_and_a_divisor():
    with pytest.raises(UserError, match="--shard-model 2: only --parallel jit"):
        parallel.place("pmap", 2)
    for number in (3, 0):
        with pytest.raises(UserError, match=f"--shard-model {number}: does not divide 1 devices"):
            parallel.place("jit", number, jax.devices()[:1])


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
def test_a_run_may_change_its_placement(kind, tmp_path):
    training.train(SMALL, tmp_path / "a", quiet=True)
    place = parallel.place(kind, devices=jax.devices()[:1])
    training.train(dataclasses.replace(SMALL, steps=15), tmp_path / "b", quiet=True, placement=place)
    training.train(SMALL, tmp_path / "b", quiet=True)
    assert_close(tmp_path / "b", tmp_path / "a")


def test_profile_writes_a_trace(tmp_path):
    training.train(SMALL, tmp_path / "run", quiet=True, profile=(5, 12))
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize("text", ["5", "7:3", "a:b"])
def test_a_bad_profile_is_refused(text, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "mnist_fc", f"--profile={text}"])
    assert end.value.code == 2
    assert f"--profile: must be A:B, steps with A < B, not {text}" in capsys.readouterr().err


def test_distributed_without_anyone_to_tell_is_one_line():
    process = subprocess.run(
        [sys.executable, "-m", "jaxgan", "train", "mnist_fc", "--distributed"],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("JAX_")},
    )
    assert process.returncode == 2, process.stderr
    assert process.stderr.startswith("jaxgan: --distributed: ")
    assert "give --coordinator HOST:PORT" in process.stderr
    assert process.stderr.count("\n") == 1


def start(processes, devices, run, *flags):
    """Starts `launch/multiprocess.sh` in a process group of its own."""
    numbers = str(processes), str(devices)
    return subprocess.Popen(
        [ROOT / "launch" / "multiprocess.sh", *numbers, "mnist_fc", *SMALL_FLAGS, f"--out={run}", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def trainers(launcher):
    """Process ids of the training processes, in order."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if os.getpgid(int(folder.name)) != launcher.pid or b"python" not in command[0]:
                continue
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # Ended meanwhile.
            continue
        for variable in variables:
            if variable.startswith(b"JAX_PROCESS_ID="):
                found[int(variable.split(b"=")[1])] = int(folder.name)
    return [found[index] for index in sorted(found)]


def wait_for_checkpoint(launcher, run, step):
    while not checkpoint.steps(run) or checkpoint.steps(run)[-1] < step:
        assert launcher.poll() is None, launcher.communicate()[0]
        time.sleep(0.02)


def assert_close(run, reference):
    a, b = directory.read(run).state, directory.read(reference).state
    assert a.step == b.step
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), a, b)


LENGTH = "--steps=120"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run that several processes make, made by one with one device."""
    run = tmp_path_factory.mktemp("processes") / "alone"
    cli.main(["train", "mnist_fc", *SMALL_FLAGS, LENGTH, f"--out={run}", "--quiet"])
    return run


def test_two_processes_train_as_one_and_stop_as_one(alone, tmp_path):
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    said, _ = (launcher := start(2, 2, unbroken, LENGTH)).communicate(timeout=300)
    assert launcher.returncode == 0, said
    assert said.count("Done, 120 steps") == 1  # Process 0 alone speaks.
    assert_close(unbroken, alone)
    here, there = (steps_of(path) for path in (unbroken, alone))
    assert [line["step"] for line in here] == list(range(1, 121))
    for name in ("discriminator/loss", "generator/gradient_norm"):
        np.testing.assert_allclose([a[name] for a in here], [a[name] for a in there], rtol=1e-3)
    # SIGTERM to one of them stops both at the same step; then the run goes on exactly.
    launcher = start(2, 2, run, LENGTH)
    wait_for_checkpoint(launcher, run, 30)
    os.kill(trainers(launcher)[1], signal.SIGTERM)
    said, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == cli.STOPPED, said
    stopped = checkpoint.steps(run)[-1]
    assert f"Stopped at step {stopped} of 120, saved" in said
    said, _ = (again := start(2, 2, run, LENGTH)).communicate(timeout=300)
    assert again.returncode == 0, said
    assert f"from step {stopped}" in said
    assert networks.digest(directory.read(run).state) == networks.digest(directory.read(unbroken).state)
    assert (run / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()


def test_a_killed_process_ends_the_others_and_four_go_on(alone, tmp_path):
    run = tmp_path / "run"
    launcher = start(2, 2, run, LENGTH, "--timeout=10")
    wait_for_checkpoint(launcher, run, 30)
    os.kill(trainers(launcher)[1], signal.SIGKILL)
    since = time.monotonic()
    said, _ = launcher.communicate(timeout=120)
    assert time.monotonic() - since < 60
    assert launcher.returncode not in (0, cli.STOPPED), said
    # In a step the broken connection tells at once; while a checkpoint is written, the missing heartbeat does.
    # JAX words the latter in two ways, by which of its threads hears first.
    ways = ("jaxgan: process 0 of 2: another process is gone", "heartbeat timeout", "stopped sending heartbeats")
    assert any(way in said for way in ways), said
    assert checkpoint.steps(run)[-1] < 120
    launcher = start(4, 1, run, LENGTH, "--parallel=shard_map")
    said, _ = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, said
    assert f"resuming {run} from step" in said
    assert_close(run, alone)


def test_pmap_among_processes(alone, tmp_path):
    said, _ = (launcher := start(2, 2, tmp_path / "run", LENGTH, "--parallel=pmap")).communicate(timeout=300)
    assert launcher.returncode == 0, said
    assert_close(tmp_path / "run", alone)


SLOW_END = """
import sys, time
from jaxgan import cli
from jaxgan.run import recording
finish = recording.Recorder.finish
recording.Recorder.finish = lambda self: (time.sleep(12), finish(self))
cli.main(sys.argv[1:])
"""


def test_the_first_process_may_take_its_time_at_the_end(tmp_path):
    """Longer than the others' shutdown would wait for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [*SMALL_FLAGS, "--steps=10", "--sample-every=10", f"--out={tmp_path / 'run'}", "--distributed"]
    flags += [f"--coordinator=127.0.0.1:{port}", "--processes=2", "--timeout=4"]
    command = [sys.executable, "-c", SLOW_END, "train", "mnist_fc", *flags]
    processes = [
        subprocess.Popen([*command, f"--process={index}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for index in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert (tmp_path / "run" / "losses.png").is_file()


SCRIPTS = sorted((ROOT / "launch").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_launch_scripts_pass_shellcheck(script):
    checked = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_a_python_that_does_not_run_is_one_line(tmp_path):
    environment = {**os.environ, "PYTHON": "python2.9", "JAXGAN_VENV": str(tmp_path / "venv")}
    process = subprocess.run([ROOT / "launch" / "local.sh", "true"], env=environment, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr == "launch/local.sh: Python 3.11 or newer is needed; python2.9 is older, or does not run\n"
    assert not (tmp_path / "venv").exists()


def test_an_environment_of_another_checkout_is_not_used_as_it_is(tmp_path):
    """It would run that one's code."""
    files = [ROOT / "pyproject.toml", ROOT / "requirements.lock"]
    summed = subprocess.run(["cksum"], input=b"".join(path.read_bytes() for path in files), capture_output=True)
    environment = {**os.environ, "PYTHON": "python2.9", "JAXGAN_VENV": str(tmp_path)}
    # Here no Python runs, so that none differs, and what would be made anew is refused.
    for checkout, code in ((ROOT, 0), (tmp_path / "another", 2)):
        (tmp_path / ".installed").write_text(f"{summed.stdout.decode().strip()} {checkout}\n")
        assert subprocess.run([ROOT / "launch" / "local.sh", "true"], env=environment).returncode == code


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["multiprocess.sh", "--dry-run", "2", "4", "mnist_fc"], "JAX_PROCESS_ID=1"),
        (["slurm.sh", "--dry-run", "mnist_fc"], "srun --kill-on-bad-exit=0 launch/local.sh jaxgan train mnist_fc"),
        (["tpu_pod.sh", "--dry-run", "pod", "us-west4-a", "v5litepod-16", "mnist_fc"], "queued-resources create pod"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_dry_runs_show_the_commands(arguments, shown):
    script, *rest = arguments
    process = subprocess.run([ROOT / "launch" / script, *rest], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert shown in process.stdout
    alone = subprocess.run([ROOT / "launch" / script], capture_output=True, text=True)
    assert alone.returncode == 2
    assert f"launch/{script}" in alone.stdout  # Its use.


def test_kubernetes_manifest_names_the_processes():
    (manifest,) = yaml.safe_load_all((ROOT / "launch" / "kubernetes.yaml").read_text())
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    settings = {item["name"]: item for item in container["env"]}
    assert int(settings["JAX_NUM_PROCESSES"]["value"]) == job["parallelism"] == job["completions"]
    assert {"JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID"} < set(settings)
    assert container["command"][-1] == "--distributed"
