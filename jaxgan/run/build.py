"""Builds from a config what it describes: the data source, the game, the experiment."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import config as cfg
from jaxgan import losses
from jaxgan.data import ArraySource, Source, StackedMNIST, StreamSource, VariedSource, latents, load_mnist, mixture
from jaxgan.data.source import Drawing, Pictures
from jaxgan.evaluate import modes
from jaxgan.models import autoencoder, biggan, dcgan, freezing, gat, mlp, msg, progressive, r3gan, stylegan2
from jaxgan.run import parallel
from jaxgan.run.experiment import Experiment, Stage
from jaxgan.step import augment
from jaxgan.step.game import Game, used
from jaxgan.support.errors import UserError

_MODULES: dict[str, Any] = {
    "mlp": mlp,
    "dcgan": dcgan,
    "biggan": biggan,
    "progressive": progressive,
    "msg": msg,
    "stylegan2": stylegan2,
    "r3gan": r3gan,
    "gat": gat,
}
"""By the kinds of configs; each has a Generator and a Discriminator."""

_WITHOUT_CONVOLUTIONS = {"mlp", "gat"}
_JUDGES: dict[str, modes.Judge] = {name: modes.Points(points) for name, points in mixture.MIXTURES.items()} | {
    "stacked_mnist": modes.Stacked()
}
"""What counts the modes of samples, by the data."""


def source(config: cfg.Config, part: tuple[int, int] = (0, 1)) -> Source:
    """The data of an experiment, in batches of its last stage.

    Args:
        config: the experiment.
        part: which block of every batch this process feeds, and of how many.
    """
    batch_size = config.batch_size * config.discriminator_updates
    match config.data:
        case "mnist":
            images, labels = load_mnist()
            return ArraySource(images, labels if config.conditional else None, batch_size, config.seed, *part, "mnist")
        case "stacked_mnist":
            return StackedMNIST(load_mnist()[0], batch_size, config.seed, *part)
        case "ring" | "grid":
            points = mixture.draw(mixture.MIXTURES[config.data])
            return ArraySource(points, None, batch_size, config.seed, *part, config.data)
        case _:
            return _own(config, part)


def shown(config: cfg.Config) -> tuple[int, int] | None:
    """Width and height that pictures should have, where networks make squares of them; else None."""
    if config.data in (*cfg.SHIPPED, cfg.IN_MEMORY):
        return None
    from jaxgan.data import own

    return own.shown(config.data)


def _own(config: cfg.Config, part: tuple[int, int]) -> Source:
    """One's own pictures."""
    from jaxgan.data import own  # Imports much that runs on shipped data do without.

    if config.data == cfg.IN_MEMORY:
        raise UserError("data: this run was made of arrays; give them again: jaxgan.train(RUN, source=ARRAYS)")
    if not config.data:
        raise UserError("data: say which pictures: --data FOLDER (or a set, an .npy or .npz file, tfds:NAME)")
    if config.size or own.is_folder(config.data):  # Before pictures are converted for nothing.
        check_size(config, config.size or own.SIZE)
    pictures = own.open_pictures(
        config.data, config.size, config.conditional, config.split, config.data_dir, "crop" in config.vary_real
    )
    return of_pictures(config, pictures, config.data, part)


def of_pictures(config: cfg.Config, pictures: Pictures, where: str, part: tuple[int, int] = (0, 1)) -> Source:
    """Pictures as the data of an experiment: on the device or streaming, varied as the config says.

    Args:
        config: the experiment.
        pictures: the pictures, squares.
        where: what a message begins with.
        part: which block of every batch this process feeds, and of how many.

    Raises:
        UserError: there are fewer than a batch.
    """
    encoded = pictures if isinstance(pictures, latents.LatentSet) else None
    if bool(encoded) != config.latents:
        ask = "has latents; --latents says so" if encoded else "has pictures; see `jaxgan data make --latents`"
        raise UserError(f"latents: {where} {ask}")
    batch_size = config.batch_size * config.discriminator_updates
    if len(pictures) < batch_size:
        raise UserError(
            f"{where}: has {len(pictures)} pictures, fewer than a batch of {batch_size}; take a --batch-size of "
            f"{len(pictures) // config.discriminator_updates} or less"
        )
    stream = config.stream
    if stream is None:
        stream = len(pictures) * math.prod(pictures.shape) * (2 if encoded else 1) > parallel.free_bytes() / 4
    if stream:
        source = StreamSource(pictures, batch_size, config.seed, *part)
    else:
        all_of_it = pictures.read(np.arange(len(pictures)))
        source = ArraySource(
            all_of_it["image"],
            all_of_it.get("label"),
            batch_size,
            config.seed,
            *part,
            pictures.identity,
            pictures.classes,
        )
    return _varied(config, latents.LatentSource(source, encoded) if encoded else source)


def _varied(config: cfg.Config, source: ArraySource | StreamSource | Drawing) -> Source:
    """The source, its real pictures varied where the config says so."""
    if not config.vary_real:
        return source
    return VariedSource(source, config.vary_real, config.size or source.shape[0] * 8 // 9)


def stand_in(config: cfg.Config) -> Source:
    """Data for their shapes: those that ship, and black pictures, which stream, in place of a user's own.

    1000 classes if conditional.
    """
    if config.data in cfg.SHIPPED:
        return source(config)
    size = config.size or 64
    side = size * 9 // 8 if "crop" in config.vary_real else size
    pictures = _Black((side, side, 8 if config.latents else 3), 1000 if config.conditional else 0)
    stream = StreamSource(pictures, config.batch_size * config.discriminator_updates, config.seed)
    return _varied(config, latents.LatentSource(stream) if config.latents else stream)


@dataclasses.dataclass(frozen=True)
class _Black:
    """Pictures of which only the shape matters."""

    shape: tuple[int, ...]
    classes: int
    identity = ""

    def __len__(self) -> int:
        return 2**16

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        pictures = {"image": np.zeros((len(indices), *self.shape), np.uint8)}
        return pictures | ({"label": np.zeros(len(indices), np.int32)} if self.classes else {})


def check_size(config: cfg.Config, side: int) -> None:
    """Refuses pictures of a size that the networks cannot have.

    Raises:
        UserError: names the nearest sizes, or the field of the network that asks for another.
    """
    what = "size"
    try:
        for name, player, sides in (
            ("generator", config.generator, biggan.generator_sides),
            ("discriminator", config.discriminator, biggan.discriminator_sides),
        ):
            if player.kind == "gat":
                what = f"{name}.patch"
                gat.check_patch(player.patch, side)
            elif player.kind != "mlp":
                dcgan.stages(side)
            if player.kind == "biggan":
                what = f"{name}.attention"
                biggan.check_attention(player.attention, sides(side))
    except ValueError as error:
        raise UserError(f"{what}: {error}; the pictures are of {side} px") from None


def experiment(config: cfg.Config, shape: tuple[int, ...], classes: int, axis: str | None = None) -> Experiment:
    """All that a run is made of but its data.

    Args:
        config: the experiment.
        shape: shape of one image (height, width, channels), or of one point.
        classes: number of labels; 0 if there are none.
        axis: the mapped axis over which batches are split (see `Game.axis`).
    """

    def game_of(values: Mapping[str, Any]) -> Game:
        changed = functools.reduce(lambda changed, item: cfg.replaced_unchecked(changed, *item), values.items(), config)
        return game(changed, shape, classes, axis)

    stages = tuple(
        Stage(
            end,
            game(config, shape, classes, axis, at),
            stage.batch_size * stage.discriminator_updates,
            cfg.group(config),
        )
        for at, (end, stage) in enumerate(zip((*config.grow, math.inf), cfg.stages(config), strict=True))
    )
    same = {field.name for field in dataclasses.fields(Experiment)} & {
        field.name for field in dataclasses.fields(cfg.Config)
    }
    same -= {"best"}
    return Experiment(
        config=config,
        stages=stages,
        shape=shape,
        classes=classes,
        change=_change(config),
        judge=_JUDGES.get(config.data),
        best=f"evaluate/{config.best}" if config.best in cfg.MEASURED else config.best,
        varied=game_of,
        **{name: getattr(config, name) for name in same},
    )


def decoding(plan: Experiment, about: latents.Autoencoder | None) -> Experiment:
    """An experiment on latents, able to make pictures of them; one on pictures as it is.

    Raises:
        UserError: the autoencoder is not there, or cannot be read.
    """
    if about is None:
        return plan
    _, decoder, params = about.open()

    def shown(stage: Stage) -> Stage:
        generator: Any = autoencoder.Decoded(stage.game.generator, decoder)
        return dataclasses.replace(stage, game=dataclasses.replace(stage.game, generator=generator))

    return dataclasses.replace(
        plan, stages=tuple(map(shown, plan.stages)), decoder=params["decoder"], scale=decoder.scale
    )


def _change(config: cfg.Config) -> float | None:
    """See `Experiment.change`. Where pictures grow, only the last size runs for long enough to change over."""
    if config.quick_steps is None:
        return None
    same = config.precision != "float32" or {config.generator.kind, config.discriminator.kind} <= _WITHOUT_CONVOLUTIONS
    return math.inf if same else (config.grow[-1] if config.grow else 0) + config.quick_steps


def game(
    config: cfg.Config, shape: tuple[int, ...], classes: int, axis: str | None = None, stage: int | None = None
) -> Game:
    """The game of an experiment, or of a stage of it.

    Args:
        config: the experiment.
        shape: shape of one image (height, width, channels), or of one point.
        classes: number of labels; 0 if there are none.
        axis: the mapped axis over which batches are split (see `Game.axis`).
        stage: of progressive growing, from 0; the last one if None.
    """
    check_size(config, shape[0])
    stages = len(config.grow)
    stage = stages if stage is None else stage
    config = cfg.stages(config)[stage]
    if stages and (doublings := dcgan.stages(shape[0])[1]) < stages:
        raise UserError(f"grow: {shape[0]} px are {doublings} doublings of the smallest size, not {stages}")
    side = shape[0] // 2 ** (stages - stage)
    known = {"shape": shape, "size": shape[0], "channels": shape[-1], "side": side}
    known |= {"classes": classes, "dtype": jnp.dtype(config.precision), "axis": axis}
    # By a difference divided by .01, R1 and R2 measured what bfloat16 rounds: several times what they are.
    judging = known | ({"dtype": jnp.dtype("float32")} if used(config.difference) else {})
    same = {field.name for field in dataclasses.fields(Game)} & {field.name for field in dataclasses.fields(config)}
    same -= {"generator", "discriminator", "loss", "augment"}
    fake_classes = classes if config.fake_labels == "uniform" else 0
    discriminator: Any = _network(_MODULES[config.discriminator.kind].Discriminator, config.discriminator, judging)
    if freeze := getattr(config.discriminator, "freeze", 0):
        discriminator = freezing.Frozen(discriminator, freeze)
    return Game(
        _network(_MODULES[config.generator.kind].Generator, config.generator, known),
        discriminator,
        _adam(config.generator),
        _adam(config.discriminator),
        view=_view(config, side),
        loss=_loss(config, axis),
        augment=tuple(augment.POLICIES[name] for name in config.augment),
        axis=axis,
        fake_classes=fake_classes,
        **{name: getattr(config, name) for name in same},
    )


def _network(module: type[nn.Module], player: cfg.Adam, known: dict[str, Any]) -> nn.Module:
    """A network: its attributes are the config's fields of the same names, and what is known of the experiment."""
    names = {field.name for field in dataclasses.fields(module)}
    chosen = {field.name: getattr(player, field.name) for field in dataclasses.fields(player)}
    return module(**{name: value for name, value in (chosen | known).items() if name in names})


def _view(config: cfg.Config, side: int) -> Callable[[Any, jax.Array], Any] | None:
    match config.generator.kind:
        case "msg":
            return lambda image, alpha: msg.pyramid(image)
        case "progressive":
            return functools.partial(progressive.shrunk, side)
        case _:
            return None


def _loss(config: cfg.Config, axis: str | None) -> losses.Loss:
    targets = (1 - config.smooth_real, config.smooth_fake)
    match config.loss:
        case "non_saturating" | "minimax":
            return losses.cross_entropy(*targets, saturating=config.loss == "minimax")
        case "least_squares":
            return losses.squares(*targets)
        case "relativistic_average":
            return losses.average(axis)
        case "wasserstein" | "hinge" | "relativistic_paired":
            return getattr(losses, config.loss)


def _adam(player: cfg.Adam) -> optax.GradientTransformation:
    rate, beta2, steps = player.learning_rate, player.beta2, player.decay_steps
    adam = optax.adam
    if steps:
        rate = _falling(rate, player.final_learning_rate, steps)
    if player.final_beta2 is not None:
        beta2 = _falling(beta2, player.final_beta2, steps)
        adam = optax.inject_hyperparams(optax.adam)  # Optax knows schedules of the rate only.
    parts: list[Any] = [adam(rate, player.beta1, beta2, player.epsilon)]  # pyright: ignore[reportArgumentType]
    if used(player.clip_gradient):
        parts.insert(0, optax.clip_by_global_norm(player.clip_gradient))
    if used(limit := getattr(player, "clip_weights", 0)):
        parts.append(_clip_weights(limit))
    return optax.chain(*parts) if len(parts) > 1 else parts[0]


def _falling(begin: float, end: float, steps: int) -> optax.Schedule:
    """From one value to another by half a cosine."""
    share = optax.cosine_decay_schedule(1.0, steps)
    return lambda count: end + (begin - end) * share(count)


def _clip_weights(limit: float) -> optax.GradientTransformation:
    """Cuts updates so that the parameters stay within +- limit (arXiv 1701.07875, algorithm 1)."""
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)
    )
