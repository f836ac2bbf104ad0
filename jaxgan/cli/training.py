"""`jaxgan train` and `jaxgan sweep`."""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxgan import config as cfg
from jaxgan.cli import dry_run
from jaxgan.cli.options import MOST, Positional, check_range, parse
from jaxgan.support import files
from jaxgan.support.errors import UserError

STOPPED = 75
"""Exit code of a training that a signal stopped before its end, saved (EX_TEMPFAIL: the same command goes on)."""


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a GAN. The same command again, or `jaxgan train RUN`, goes on where it stopped.

    Ctrl-C and SIGTERM stop cleanly, with a checkpoint (exit code 75). Samples, losses.png and metrics.jsonl are in the
    run's directory.
    """

    begin: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIG|RUN")]
    """A config's name (`jaxgan configs` lists them), a Python file that makes one, or the directory of a run."""
    config: Annotated[cfg.Config, tyro.conf.arg(name="")]
    out: Path | None = None
    """Directory of the run; runs/CONFIG if not given."""
    dry_run: bool = False
    """Show the resolved config, shapes, parameters, FLOPs and memory of a step, and stop."""
    target: str | None = None
    """With --dry-run: have the compiler of accelerators that are not here say whether it fits and what a step takes:
    v5e:4x4, v6e:4x4, v4:4x4x4, v5p:4x4x4, h100:8, h200:8, a100:8. Needs `pip install 'jaxgan[targets]'`."""
    quiet: bool = False
    """Show nothing but the closing line."""
    parallel: Literal["jit", "shard_map", "pmap"] = "jit"
    """How the step is put on several devices; the result is the same."""
    shard_model: int = 1
    """Split large parameters and their moments over so many devices (with jit), where they outgrow one."""
    distributed: bool = False
    """Take part in a training of several processes: Cloud TPU, Slurm and Open MPI tell which, otherwise the next three
    options do, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. All processes see the same --out."""
    coordinator: str | None = None
    """HOST:PORT at which process 0 waits for the others."""
    processes: int | None = None
    """How many processes there are."""
    process: int | None = None
    """Which of them this is, from 0."""
    timeout: int = 30
    """Seconds of silence after which a process counts as dead; the others then end, with an error."""
    profile: str | None = None
    """A:B writes a jax.profiler trace of steps A to B to the run's directory, for TensorBoard or Perfetto."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Train many seeds and values together, in one compiled program; a table and a plot of them at the end.

    jaxgan sweep ring --seeds 10 --vary generator.learning_rate=1e-4,2e-4,4e-4 --vary r1=0,0.1

    The same command again goes on where it stopped. Every run has a directory of its own.
    """

    target: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIG")]
    """A config's name (`jaxgan configs` lists them), or a Python file that makes one."""
    config: Annotated[cfg.Config, tyro.conf.arg(name="")]
    seeds: int = 3
    """How many seeds, from --seed on."""
    vary: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FIELD=VALUE,VALUE,...: every combination is trained with every seed. May be given several times."""
    out: Path | None = None
    """Directory of the sweep; runs/CONFIG_sweep if not given."""
    quiet: bool = False
    """Show nothing but the table."""


def start_training(arguments: list[str]) -> None:
    """Runs `jaxgan train` with what follows it on the command line."""
    begin, config, out = target("train", arguments)
    options = parse(Train, "jaxgan train", arguments, default=Train(begin, config, out))
    config = cfg.placed(cfg.validate(options.config, "command line"))
    assert options.out is not None
    profile = _steps(options.profile)
    if options.target and not options.dry_run:
        raise UserError(f"--target {options.target}: nothing runs there; give --dry-run with it")
    if options.dry_run and options.target:
        dry_run.compile_for(config, options.target, options.parallel, options.shard_model, options.quiet)
        return
    if options.dry_run:
        dry_run.show(config)
        return
    from jaxgan.run import parallel
    from jaxgan.run.training import train

    if options.distributed:
        parallel.connect(options.coordinator, options.processes, options.process, options.timeout)
    placement = parallel.place(options.parallel, options.shard_model)
    if not train(config, options.out, options.quiet, placement, profile):
        sys.exit(STOPPED)


def start_sweep(arguments: list[str]) -> None:
    """Runs `jaxgan sweep` with what follows it on the command line."""
    begin, config, out = target("sweep", arguments)
    default = Sweep(begin, config, out=None if out is None else Path(f"{out}_sweep"))
    options = parse(Sweep, "jaxgan sweep", arguments, default=default)
    config = cfg.placed(cfg.validate(options.config, "command line"))
    check_range("seeds", options.seeds, 1, min(MOST, cfg.SEEDS - config.seed))
    vary = dict(_varied(text) for text in options.vary)
    from jaxgan.run.sweep import sweep

    assert options.out is not None
    if not sweep(config, options.seeds, vary, options.out, options.quiet):
        sys.exit(STOPPED)


def target(command: str, arguments: list[str]) -> tuple[str, cfg.Config, Path | None]:
    """The config that a command line names first, and the directory that its run has if not told otherwise."""
    named = arguments[0] if arguments else ""
    if not named or (named.startswith("-") and named not in ("-h", "--help")):
        raise UserError(f"{command}: name a config or a run first: jaxgan {command} CONFIG [options]")
    if named.startswith("-"):
        return "CONFIG", cfg.Config(), None
    if files.is_file(Path(named) / "config.json") or (files.is_dir(Path(named)) and named not in cfg.names()):
        from jaxgan.run.directory import read_config

        return named, read_config(Path(named)), Path(named)
    name, config = cfg.load(named)
    return named, config, Path("runs") / name


def _steps(text: str | None) -> tuple[int, int] | None:
    """Reads "A:B"."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or int(found[1]) >= int(found[2]):
        raise UserError(f"--profile: must be A:B, steps with A < B, not {text}")
    return int(found[1]), int(found[2])


def _varied(text: str) -> tuple[str, list[Any]]:
    """Reads "FIELD=VALUE,VALUE"."""
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UserError(f"--vary: must be FIELD=VALUE,VALUE,..., not {text}")

    def read(value: str) -> Any:
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value

    return name.replace("-", "_"), [read(value) for value in values.split(",")]
