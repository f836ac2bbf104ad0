"""Runs that begin with networks from elsewhere: fine-tuning, a way on after a NaN, published networks.

What such a run begins with is its checkpoint of step 0, so that from there on it is a run like any other and never
needs again what it began from. `origin.json` says what that was.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import config as cfg
from jaxgan.data.latents import Autoencoder
from jaxgan.models import gat, stylegan2
from jaxgan.run import build, checkpoint, directory, networks, parallel, published
from jaxgan.run.experiment import Experiment
from jaxgan.run.networks import Networks
from jaxgan.support.errors import UserError
from jaxgan.support.files import is_dir, is_file, read_text, write_atomically
from jaxgan.train_step import TrainState


def read(path: Path) -> Networks:
    """Reads the networks of a run, of a file that `jaxgan export` wrote, or of one that `jaxgan import` reads.

    Raises:
        UserError: there is nothing such, or it cannot be read.
    """
    file = networks.file_of(path)
    if file is None and is_dir(path):
        return networks.of_state(str(path), directory.read(path).state)
    if not is_file(file or path):
        raise UserError(f"{path}: no such run or file of networks")
    if file and (found := networks.load(file)):
        return dataclasses.replace(found, where=str(path))
    return _of_published(path, published.read(path))


def begin(
    run: Path, experiment: Experiment, placement: parallel.Placement, found: Networks | None = None
) -> tuple[TrainState, str]:
    """The first state of a run that begins with others' networks, placed; its origin is written down.

    Args:
        run: its directory.
        experiment: the run's; its `start` says where the networks are.
        placement: on which devices.
        found: the networks, where they have been read.

    Returns:
        The state, and what was taken and what not, in a line.

    Raises:
        UserError: as `read`, nothing fits, or the run began with other networks than are there now.
    """
    found = found or read(Path(experiment.start))
    origin, before = {"path": found.where, "step": found.step, "sha256": found.sha256}, recorded(run)
    if before and before["sha256"] != origin["sha256"]:
        raise UserError(
            f"{run}: has no checkpoint, and began with other networks than {found.where} has now; choose another --out"
        )
    state = experiment.initial_state(experiment.stages[0], placement)
    shardings = [leaf.sharding for leaf in jax.tree.leaves(state)]
    state, new = networks.transplant(found, state)
    if parallel.is_first():
        write_atomically(run / "origin.json", json.dumps({**origin, "new": new}, indent=2) + "\n")
    return _placed(state, shardings), said(found, new)


def said(found: Networks, new: str) -> str:
    """What a run begins with, in a line; `new` is what `networks.transplant` says."""
    at = "" if found.step is None else f" at step {found.step:,}"
    return f"begins with {found.where}{at}; {new or 'every layer fits'}"


def _placed(state: TrainState, shardings: list[Any]) -> TrainState:
    """The state with its NumPy arrays on the devices, one program for all of them."""
    leaves, structure = jax.tree.flatten(state)
    taken = [place for place, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]
    made = [jax.make_array_from_callback(leaves[at].shape, shardings[at], leaves[at].__getitem__) for at in taken]
    # Copies of JAX's own: on CPU it would otherwise keep NumPy's memory, which a donated state must not be.
    copy = jax.jit(lambda arrays: [array.copy() for array in arrays], out_shardings=[shardings[at] for at in taken])
    for at, array in zip(taken, copy(made), strict=True):
        leaves[at] = array
    return jax.tree.unflatten(structure, leaves)


def recorded(run: Path) -> dict[str, Any] | None:
    """What a run began with: "path", "step", "sha256" of the networks, and "new", what was not taken; or None.

    Raises:
        UserError: origin.json is damaged.
    """
    path = run / "origin.json"
    if not is_file(path):
        return None
    try:
        found = json.loads(read_text(path))
        return {name: found[name] for name in ("path", "step", "sha256", "new")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is damaged; delete it") from None


def adopt(
    file: Path, run: Path, clamp: float = 256.0, autoencoder: Path | None = None
) -> tuple[directory.Trained, str]:
    """Makes a run, at step 0, of networks that others trained (see `published`).

    Args:
        file: of their parameters and buffers.
        run: the directory, which is made.
        clamp: what StyleGAN2's keep their activations within, which the file does not tell; 0 for nothing.
        autoencoder: of which GAT's make latents.

    Returns:
        The run, and why its discriminator is new; "" where it is the file's.

    Raises:
        UserError: the file cannot be read, there is a run already, or latents come without their autoencoder.
    """
    if directory.is_run(run):
        raise UserError(f"{run}: holds a run already; choose another --out, or delete it")
    found = published.read(file)
    generator = found.generator
    about: dict[str, Any] = {}
    if isinstance(generator, gat.Generator):
        config = _gat(file, found, generator)
        if config.latents and autoencoder is None:
            raise UserError(
                f"{file}: makes latents of {generator.channels} channels; name their autoencoder: --latents"
            )
    else:
        config = _stylegan2(file, found, generator, clamp)
    if autoencoder is not None:
        if not config.latents:
            raise UserError(f"--latents {autoencoder}: {file} makes pictures")
        about["autoencoder"] = dataclasses.asdict(Autoencoder.of(autoencoder))
    shape = (generator.size, generator.size, generator.channels)
    plan = build.experiment(config, shape, generator.classes)
    placement = parallel.place(devices=jax.local_devices()[:1])
    with directory.lock(run), checkpoint.open_for_saving(run, plan) as saver:
        state, _ = begin(run, plan, placement, _of_published(file, found))
        saver.save(state)
        saver.close()  # Whole, before anything says that there is a run.
        directory.write_config(run, config)
        about |= {"shape": list(shape), "classes": generator.classes, "identity": None}
        write_atomically(run / "data.json", json.dumps(about, indent=2) + "\n")
    return directory.Trained(plan, state, []), found.without


def _stylegan2(file: Path, found: published.Published, generator: stylegan2.Generator, clamp: float) -> cfg.Config:
    """How such networks are trained on."""
    judge = found.discriminator
    if not isinstance(judge, stylegan2.Discriminator):
        judge = stylegan2.Discriminator(generator.width, generator.max_width)
    rates: Any = {"learning_rate": 2.5e-3, "beta1": 0.0, "beta2": 0.99}
    return cfg.Config(
        data="",
        start=str(file.absolute()),
        size=generator.size,
        conditional=generator.classes > 0,
        generator=cfg.StyleGAN2Generator(
            width=generator.width,
            max_width=generator.max_width,
            style_size=generator.style_size,
            mapping_layers=generator.mapping_layers,
            clamp=clamp,
            **rates,
        ),
        discriminator=cfg.StyleGAN2Discriminator(
            width=judge.width,
            max_width=judge.max_width,
            minibatch_stddev=judge.minibatch_stddev,
            clamp=clamp,
            **rates,
        ),
        latent_size=found.latent_size,
        batch_size=32,
        r1=10.0,
        penalty_every=16,
        path_length=2.0,
        augment=("colour", "translation", "cutout"),
    )


def _gat(file: Path, found: published.Published, generator: gat.Generator) -> cfg.Config:
    """How such networks are trained on: as the config of theirs that ships, in their sizes."""
    _, config = cfg.load("gat_256")
    assert isinstance(config.generator, cfg.GATGenerator)
    rate = config.generator.learning_rate * config.generator.width / generator.width
    sizes: Any = {name: getattr(generator, name) for name in ("width", "depth", "heads", "patch")}
    judged = sizes
    if isinstance(judge := found.discriminator, gat.Discriminator):
        judged = {name: getattr(judge, name) for name in (*sizes, "embedding")}
    return dataclasses.replace(
        config,
        start=str(file.absolute()),
        size=generator.size,
        latents=generator.channels not in (1, 3),
        generator=dataclasses.replace(config.generator, learning_rate=rate, **sizes),
        discriminator=dataclasses.replace(config.discriminator, learning_rate=rate, **judged),
        latent_size=found.latent_size,
    )


def _of_published(path: Path, found: published.Published) -> Networks:
    trees = {"generator": found.trained, "ema": found.ema}
    trees |= {"discriminator": {"params": found.params}} if found.discriminator else {}
    return Networks(str(path.absolute()), None, {part: networks.flatten(tree) for part, tree in trees.items()})
