"""Builds from a config what it describes: the data source and the game."""

import jax.numpy as jnp
import optax

from jaxgan import config as cfg
from jaxgan.data import ArraySource, Source, load_mnist
from jaxgan.models import dcgan, mlp
from jaxgan.train_step import Game


def source(config: cfg.Config, part: tuple[int, int] = (0, 1)) -> Source:
    """The data of an experiment.

    Args:
        config: the experiment.
        part: which block of every batch this process feeds, and of how many.
    """
    images, labels = load_mnist()
    batch_size = config.batch_size * config.discriminator_updates
    return ArraySource(images, labels if config.conditional else None, batch_size, config.seed, *part)


def game(config: cfg.Config, shape: tuple[int, int, int], classes: int, axis: str | None = None) -> Game:
    """The game of an experiment.

    Args:
        config: the experiment.
        shape: shape of one image (height, width, channels).
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
        case cfg.MLPDiscriminator(widths=widths, dropout=dropout):
            discriminator = mlp.Discriminator(widths, dropout, classes, dtype, axis)
        case cfg.DCGANDiscriminator() as d:
            discriminator = dcgan.Discriminator(
                d.width, d.downsampling, d.features, d.norm, d.dropout, classes, dtype, axis
            )
    return Game(
        generator,
        discriminator,
        _adam(config.generator),
        _adam(config.discriminator),
        latent_size=config.latent_size,
        r1=config.r1,
        discriminator_updates=config.discriminator_updates,
        ema_decay=config.ema_decay,
        accumulate=config.accumulate,
        axis=axis,
    )


def _adam(player: cfg.Adam) -> optax.GradientTransformation:
    return optax.adam(player.learning_rate, player.beta1, player.beta2)
