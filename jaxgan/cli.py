"""The command line: `jaxgan train|sweep|sample|interpolate|mix|project|directions|evaluate|modes|show|...`."""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxgan import cache
from jaxgan import config as cfg
from jaxgan.data.command import Make
from jaxgan.data.command import Show as ShowSet
from jaxgan.errors import JaxganError, UserError
from jaxgan.latent.command import Directions, Mix, Project
from jaxgan.style.command import Style

if TYPE_CHECKING:  # JAX takes a second to import; what needs it imports it, and --help stays quick.
    from jaxgan.run import Trained

Positional = tyro.conf.Positional
STOPPED = 75
"""Exit code of a training that a signal stopped before its end, saved (EX_TEMPFAIL: the same command goes on)."""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; shows an expected error as one line and exits with its code.

    Args:
        arguments: what follows `jaxgan` on the command line; None takes the process's.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    cache.keep_programs()
    try:
        name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
        if name in ("-h", "--help"):
            print(_overview())
        elif name in ("train", "sweep"):
            {"train": _train, "sweep": _sweep}[name](rest)
        elif name == "data" and (not rest or f"data {rest[0]}" not in _COMMANDS):
            if rest and rest[0] not in ("-h", "--help"):
                raise UserError(f"data {rest[0]}: no such command; jaxgan data make FOLDER, or jaxgan data show SET")
            print(_overview("data "))
        elif (two := " ".join(arguments[:2])) in _COMMANDS:
            _parse(_COMMANDS[two], f"jaxgan {two}", arguments[2:])()
        elif name in _COMMANDS:
            _parse(_COMMANDS[name], f"jaxgan {name}", rest)()
        else:
            known = [*_COMMANDS, "train", "sweep"]
            raise UserError(f"{name}: no such command{cfg.nearest(name, known)}; `jaxgan --help` lists them")
    except JaxganError as error:
        print(f"jaxgan: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `jaxgan configs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a GAN. The same command again, or `jaxgan train RUN`, goes on where it stopped.

    Ctrl-C and SIGTERM stop cleanly, with a checkpoint (exit code 75). Samples, losses.png and metrics.jsonl are in the
    run's directory.
    """

    target: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIG|RUN")]
    """A config's name (`jaxgan configs` lists them), a Python file that makes one, or the directory of a run."""
    config: Annotated[cfg.Config, tyro.conf.arg(name="")]
    out: Path | None = None
    """Directory of the run; runs/CONFIG if not given."""
    dry_run: bool = False
    """Show the resolved config, shapes, parameters, FLOPs and memory of a step, and stop."""
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


def _sweep(arguments: list[str]) -> None:
    target, config, out = _target("sweep", arguments)
    default = Sweep(target, config, out=None if out is None else Path(f"{out}_sweep"))
    options = _parse(Sweep, "jaxgan sweep", arguments, default=default)
    config = _placed(cfg.validate(options.config, "command line"))
    if options.seeds < 1:
        raise UserError(f"--seeds must be at least 1, not {options.seeds}")
    vary = dict(_varied(text) for text in options.vary)
    from jaxgan.sweep import sweep

    assert options.out is not None
    if not sweep(config, options.seeds, vary, options.out, options.quiet):
        sys.exit(STOPPED)


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


def _target(command: str, arguments: list[str]) -> tuple[str, cfg.Config, Path | None]:
    """The config that a command line names first, and the directory that its run has if not told otherwise."""
    target = arguments[0] if arguments else ""
    if not target or (target.startswith("-") and target not in ("-h", "--help")):
        raise UserError(f"{command}: name a config or a run first: jaxgan {command} CONFIG [options]")
    if target.startswith("-"):
        return "CONFIG", cfg.Config(), None
    if Path(target).is_dir():
        from jaxgan.run import read_config

        return target, read_config(Path(target)), Path(target)
    name, config = cfg.load(target)
    return target, config, Path("runs") / name


def _train(arguments: list[str]) -> None:
    target, config, out = _target("train", arguments)
    options = _parse(Train, "jaxgan train", arguments, default=Train(target, config, out))
    config = _placed(cfg.validate(options.config, "command line"))
    assert options.out is not None
    profile = _steps(options.profile)
    if options.dry_run:
        _dry_run(config)
        return
    from jaxgan import parallel
    from jaxgan.training import train

    if options.distributed:
        parallel.connect(options.coordinator, options.processes, options.process, options.timeout)
    placement = parallel.place(options.parallel, options.shard_model)
    if not train(config, options.out, options.quiet, placement, profile):
        sys.exit(STOPPED)


def _placed(config: cfg.Config) -> cfg.Config:
    """The config with the whole path of its data, where they are files: a run goes on wherever it is called from."""
    path = Path(config.data).expanduser()
    if not config.data or config.data in cfg.SHIPPED or not path.exists():
        return config
    return dataclasses.replace(config, data=str(path.absolute()))


def _steps(text: str | None) -> tuple[int, int] | None:
    """Reads "A:B"."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or int(found[1]) >= int(found[2]):
        raise UserError(f"--profile: must be A:B, steps with A < B, not {text}")
    return int(found[1]), int(found[2])


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draw pictures from a trained run's averaged generator."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""
    count: int = 64
    """How many pictures."""
    seed: int = 0
    """Of the latents: the same seed gives the same pictures."""
    label: int | None = None
    """Only this class (conditional runs); otherwise all classes in turn."""
    truncation: float | None = None
    """Less variety, more typical pictures: redraw latent components beyond +- this (try 1); of stylegan2 runs, draw
    styles towards their average by this factor (try 0.7)."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A .png or .jpg file for one sheet, or a folder for a file a picture; RUN/samples.png if not given."""

    def __call__(self) -> None:
        from jaxgan import sampling
        from jaxgan.monitor import images

        trained, latent, label, psi = _latents(self.run, self.count, self.seed, self.label, self.truncation, self.best)
        pictures = sampling.pictures(trained.game, trained.state.ema, latent, label, psi)
        out = self.out or self.run / "samples.png"
        if out.suffix:
            images.check_suffix(out, images.PICTURES)
            columns = trained.classes if label is not None and self.label is None else round(self.count**0.5)
            images.save(out, images.grid(pictures, max(1, columns)))
        else:
            for index, picture in enumerate(pictures):
                images.save(out / f"{index:05}.png", picture)
        print(f"{self.count} samples of step {int(trained.state.step)}: {out}")


@dataclasses.dataclass(frozen=True)
class Interpolate:
    """Walk on great circles through random latents, and back to the first: an animation, or a strip."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""
    count: int = 8
    """Latents to visit."""
    frames: int = 16
    """Pictures from each to the next."""
    seed: int = 0
    """Of the latents."""
    label: int | None = None
    """Only this class (conditional runs); otherwise class 0."""
    truncation: float | None = None
    """Redraw latent components beyond +- this; of stylegan2 runs, draw styles towards their average by this factor."""
    out: Path | None = None
    """A .gif, .webp or .mp4 animation, or a .png or .jpg strip (a row a latent); RUN/interpolation.gif if not given."""

    def __call__(self) -> None:
        import jax.numpy as jnp

        from jaxgan import sampling
        from jaxgan.monitor import images

        if self.frames < 1:
            raise UserError(f"--frames must be at least 1, not {self.frames}")
        out = self.out or self.run / "interpolation.gif"
        images.check_suffix(out, images.ANIMATIONS + images.PICTURES)
        trained, latent, _, psi = _latents(self.run, self.count, self.seed, self.label, self.truncation)
        latent = sampling.walk(latent, self.frames)
        label = jnp.full(len(latent), self.label or 0) if trained.classes else None
        pictures = sampling.pictures(trained.game, trained.state.ema, latent, label, psi)
        if out.suffix in images.ANIMATIONS:
            images.save_animation(out, [images.grid(p[None], 1, gap=0, least_width=256) for p in pictures])
        else:
            images.save(out, images.grid(pictures, self.frames))
        print(f"{len(pictures)} pictures of step {int(trained.state.step)}: {out}")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure samples against the data: Frechet distance in VGG features, and the real pictures nearest to them."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run; its data must be where they were."""
    count: int = 5000
    """Samples, and as many real pictures (half of the data at the most). The distance depends on their number."""
    seed: int = 1
    """Of the latents."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""

    def __call__(self) -> None:
        from jaxgan.evaluate.run import judge
        from jaxgan.run import read

        if self.count < 2:
            raise UserError(f"--count must be at least 2, not {self.count}")
        trained = read(self.run, self.best)
        found = judge(trained, self.count, self.seed)
        print(f"step {int(trained.state.step)}, {found.count} samples, as many real pictures")
        floor = f"of one half of the data to the other {found.floor:.2f}"
        print(f"Frechet distance (VGG16's relu5_3): {found.distance:.2f}; {floor}")
        if found.nearest is not None:
            from jaxgan.monitor import images

            path = self.run / "neighbours.png"
            images.save(path, found.nearest.sheet)
            print(f"{found.nearest} ({path})")


@dataclasses.dataclass(frozen=True)
class Modes:
    """Count the modes that a run on ring, grid or stacked_mnist reaches: PacGAN's and VEEGAN's protocol."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""
    count: int | None = None
    """Samples to judge; 2,500 points or 26,000 stacked digits if not given. The KL depends on their number."""
    seed: int = 1
    """Of the latents."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""

    def __call__(self) -> None:
        from jaxgan.evaluate import modes
        from jaxgan.run import read, read_config

        config = read_config(self.run)
        if config.data not in ("ring", "grid", "stacked_mnist"):
            raise UserError(f"{self.run}: modes can be counted of ring, grid and stacked_mnist, not of {config.data}")
        count = self.count or (modes.STACKED_SAMPLES if config.data == "stacked_mnist" else modes.POINT_SAMPLES)
        if count < 1:
            raise UserError(f"--count must be at least 1, not {count}")
        trained = read(self.run, self.best)
        found = modes.judge_run(trained.config, trained.game, trained.state.ema, count, self.seed)
        print(f"step {int(trained.state.step)}, {count} samples: {found.modes} of {found.of} modes")
        print(f"high quality: {found.high_quality:.1%}")
        exact = modes.floor(modes.ideal(config), count)
        print(f"reverse KL: {found.kl:.4f} (an exact sampler, at as many samples: {exact:.4f})")


@dataclasses.dataclass(frozen=True)
class Show:
    """Show a run: its config, step, sizes, a digest of each network's parameters, its last metrics."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""

    def __call__(self) -> None:
        from jaxgan.monitor import metrics
        from jaxgan.run import read

        trained = read(self.run)
        state = trained.state
        print(cfg.to_json(trained.config), end="")
        for path in trained.unreadable:
            print(f"warning: {path} cannot be read (truncated?)")
        print(f"step {int(state.step)} of {trained.config.steps}")
        for name, params in (("generator", state.generator.params), ("discriminator", state.discriminator.params)):
            print(f"{name}: {_size(params):,} parameters, sha256 {digest(params)}")
        print(f"whole state (statistics, optimisers and average too): sha256 {digest(state)}")
        lines = metrics.read(self.run / "metrics.jsonl")
        for kind in ("discriminator/loss", "diagnosis"):
            for line in [line for line in lines if kind in line][-1:]:
                print(f"metrics at step {line.pop('step')}:")
                for metric, value in line.items():
                    print(f"  {metric:32} {value if isinstance(value, str) else f'{value:.6g}'}")


@dataclasses.dataclass(frozen=True)
class Import:
    """Make a run of a published StyleGAN2 generator, to sample, mix and project with, or to train on.

    jaxgan import G_ema.safetensors --out faces

    The file holds `G_ema.state_dict()` of NVIDIA's stylegan2-ada-pytorch, as safetensors or npz; pickles are not read.
    """

    file: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A .safetensors or .npz file."""
    out: Path | None = None
    """Directory of the run; runs/ and the file's name if not given."""

    def __call__(self) -> None:
        from jaxgan.published import adopt

        out = self.out or Path("runs") / self.file.stem
        trained = adopt(self.file, out)
        size, channels = trained.shape[0], trained.shape[2]
        print(f"{out}: StyleGAN2, {size} x {size} x {channels}; see it with: jaxgan sample {out} --truncation 0.7")
        print(f"Its discriminator is new. Train on with: jaxgan train {out} --data FOLDER")


@dataclasses.dataclass(frozen=True)
class Configs:
    """List the configs that ship with jaxgan."""

    def __call__(self) -> None:
        listed = cfg.names()
        width = max(map(len, listed))
        for name, line in listed.items():
            print(f"{name:{width}}  {line}")


_COMMANDS: dict[str, Callable[..., Any]] = {
    "sample": Sample,
    "interpolate": Interpolate,
    "mix": Mix,
    "project": Project,
    "directions": Directions,
    "evaluate": Evaluate,
    "modes": Modes,
    "show": Show,
    "configs": Configs,
    "import": Import,
    "data make": Make,
    "data show": ShowSet,
    "style": Style,
}


def digest(tree: Any) -> str:
    """SHA-256 of a pytree of arrays: of every leaf's path, dtype, shape and bytes."""
    import jax
    import numpy as np

    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _overview(only: str = "") -> str:
    lines = [
        "usage: jaxgan COMMAND [options]",
        "",
        "Generative adversarial networks and style transfer as pure functions in JAX.",
        "",
    ]
    commands = {"train": Train, "sweep": Sweep, **_COMMANDS}
    for name, command in {name: command for name, command in commands.items() if name.startswith(only)}.items():
        lines.append(f"  {name:12} {(command.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "Begin with: jaxgan train mnist_dcgan", "Options of each: jaxgan COMMAND --help"])


def _parse(kind: Any, program: str, arguments: list[str], **keywords: Any) -> Any:
    """Parses with tyro; a mistake becomes one line instead of tyro's box."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                kind,
                prog=program,
                args=arguments,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
                **keywords,
            )
    except SystemExit as end:
        if not end.code:
            raise
    words = re.sub(r"[╭╮╰╯│─]+", " ", box.getvalue().split("For full helptext")[0]).split()
    raise UserError(f"{' '.join(words)} (see {program} --help)")


def _latents(
    run: Path, count: int, seed: int, label: int | None, truncation: float | None, best: bool = False
) -> "tuple[Trained, Any, Any, float | None]":
    """Reads a run and draws latents for it; labels for a conditional one, and for one with styles their truncation."""
    if count < 1:
        raise UserError(f"--count must be at least 1, not {count}")
    if truncation is not None and truncation <= 0:
        raise UserError(f"--truncation must be above 0, not {truncation}")
    import jax
    import jax.numpy as jnp

    from jaxgan import sampling
    from jaxgan.latent import mix
    from jaxgan.run import read_pictures

    trained = read_pictures(run, best, label)
    psi = truncation if mix.has_styles(trained.game) else None
    bound = None if mix.has_styles(trained.game) else truncation
    latent = sampling.draw_latents(jax.random.key(seed), count, trained.game.latent_size, bound)
    if not trained.classes:
        return trained, latent, None, psi
    return trained, latent, jnp.arange(count) % trained.classes if label is None else jnp.full(count, label), psi


def _size(params: Any) -> int:
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _dry_run(config: cfg.Config) -> None:
    import jax

    from jaxgan import build, parallel, run, train_step, training
    from jaxgan.models import conv

    source = build.source(config) if config.data else build.stand_in(config)
    game = build.game(config, source.shape, source.classes)
    placement = parallel.place(devices=jax.devices()[:1])
    state = run.abstract_state(config, game, source.shape, source.classes, placement)
    batch = jax.eval_shape(source.batch, source.resident, source[0])
    print(cfg.to_json(config), end="")
    for name, leaf in batch.items():
        print(f"batch {name}: {leaf.dtype} {list(leaf.shape)}")
    for name, player in (("generator", state.generator), ("discriminator", state.discriminator)):
        print(f"{name}: {_size(player.params):,} parameters")
        for path, leaf in jax.tree_util.tree_leaves_with_path(player.params):
            print(f"  {jax.tree_util.keystr(path, simple=True, separator='/'):32} {list(leaf.shape)}")
    # Convolutions as accelerators run them: by the textbook's arithmetic.
    step = jax.jit(conv.compiled(train_step.train_step, platform="tpu"), static_argnums=0, donate_argnums=1)
    compiled = step.lower(game, state, batch, jax.random.key(0)).compile()
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    print(f"a step: {cost.get('flops', 0) / 1e9:.2f} GFLOP")
    if memory is not None:
        kept, extra = memory.argument_size_in_bytes / 2**20, memory.temp_size_in_bytes / 2**20
        print(f"memory: {kept:.0f} MiB of state and batch, {extra:.0f} MiB more during a step")
    if jax.default_backend() == "cpu":
        print("Training on CPU takes fewer FLOPs and more memory, by Winograd's algorithm.")
        if math.isfinite(change := training.change_of(config, "cpu")):
            print(f"Convolutions are quick to compile up to step {change}, then compiled again to be fast to run.")
