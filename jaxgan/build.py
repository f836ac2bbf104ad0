"""Builds from a config what it describes: the data source and the game."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import augment, losses, parallel
from jaxgan import config as cfg
from jaxgan.data import ArraySource, Source, StackedMNIST, StreamSource, VariedSource, load_mnist, mixture
from jaxgan.errors import UserError
from jaxgan.game import Game, used
from jaxgan.models import dcgan, mlp


def source(config: cfg.Config, part: tuple[int, int] = (0, 1)) -> Source:
    """The data of an experiment.

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
            return _own(config, batch_size, part)


def _own(config: cfg.Config, batch_size: int, part: tuple[int, int]) -> Source:
    """One's own pictures: on the device or streaming, varied or not."""
    from jaxgan.data import own  # Imports much that runs on shipped data do without.

    if not config.data:
        raise UserError("data: say which pictures: --data FOLDER (or a set, an .npz file, tfds:NAME)")
    pictures = own.open_pictures(
        config.data, config.size, config.conditional, config.split, config.data_dir, "crop" in config.vary_real
    )
    if len(pictures) < batch_size:
        raise UserError(
            f"{config.data}: has {len(pictures)} pictures, fewer than a batch of {batch_size}; take a --batch-size of "
            f"{len(pictures) // config.discriminator_updates} or less"
        )
    stream = config.stream
    if stream is None:
        stream = len(pictures) * math.prod(pictures.shape) > parallel.free_bytes() / 4
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
    if not config.vary_real:
        return source
    return VariedSource(source, config.vary_real, config.size or pictures.shape[0] * 8 // 9)


def game(config: cfg.Config, shape: tuple[int, ...], classes: int, axis: str | None = None) -> Game:
    """The game of an experiment.

    Args:
        config: the experiment.
        shape: shape of one image (height, width, channels), or of one point.
        classes: number of labels; 0 if there are none.
        axis: the mapped axis over which batches are split (see `Game.axis`).
    """
    dtype = jnp.dtype(config.precision)
    match config.generator:
        case cfg.MLPGenerator(widths=widths):
            generator = mlp.Generator(shape, widths, classes, dtype)
        case cfg.DCGANGenerator(width=width, upsampling=upsampling):
            generator = dcgan.Generator(shape[0], shape[2], width, upsampling, classes, dtype, axis)
    match config.discriminator:
        case cfg.MLPDiscriminator() as d:
            discriminator = mlp.Discriminator(
                d.widths, d.norm, d.dropout, d.minibatch_stddev, d.fourier, d.fourier_scale, classes, dtype, axis
            )
        case cfg.DCGANDiscriminator() as d:
            discriminator = dcgan.Discriminator(
                d.width, d.downsampling, d.features, d.norm, d.dropout, d.minibatch_stddev, classes, dtype, axis
            )
    same = {field.name for field in dataclasses.fields(Game)} & {field.name for field in dataclasses.fields(config)}
    same -= {"generator", "discriminator", "loss", "augment"}
    return Game(
        generator,
        discriminator,
        _adam(config.generator),
        _adam(config.discriminator),
        loss=_loss(config, axis),
        augment=tuple(augment.POLICIES[name] for name in config.augment),
        axis=axis,
        **{name: getattr(config, name) for name in same},
    )


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
    rate = player.learning_rate
    if player.decay_steps:
        rate = optax.cosine_decay_schedule(rate, player.decay_steps)
    parts: list[optax.GradientTransformation] = [optax.adam(rate, player.beta1, player.beta2)]
    if used(player.clip_gradient):
        parts.insert(0, optax.clip_by_global_norm(player.clip_gradient))
    if isinstance(player, cfg.MLPDiscriminator | cfg.DCGANDiscriminator) and used(player.clip_weights):
        parts.append(_clip_weights(player.clip_weights))
    return optax.chain(*parts) if len(parts) > 1 else parts[0]


def _clip_weights(limit: float) -> optax.GradientTransformation:
    """Cuts updates so that the parameters stay within +- limit (arXiv 1701.07875, algorithm 1)."""
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)
    )
