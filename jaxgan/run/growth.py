"""Progressive growing: a run in stages, each a size of the pictures (Karras et al., arXiv 1710.10196).

A stage is an experiment of its own: `at` says which. `grow` takes the state from one to the next. Stages are counted
from 0, the smallest size; an experiment that does not grow has one.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxgan import config as cfg
from jaxgan.step.game import Player, TrainState


def stage(config: cfg.Config, step: int) -> int:
    """The stage in which the step after `step` is done."""
    return sum(step >= begin for begin in config.grow)


def stage_of(config: cfg.Config, step: int) -> int:
    """The stage of a state with this step, which grows only when it goes on."""
    return sum(step > begin for begin in config.grow)


def end(config: cfg.Config, stage: int) -> int:
    """The step with which a stage ends."""
    return min((*config.grow, config.steps)[stage], config.steps)


def at(config: cfg.Config, stage: int) -> cfg.Config:
    """The experiment as it is in a stage: its batch size, its learning rates, and whether layers are faded in."""
    if not config.grow:
        return config
    factor = config.grow_rates[stage] if config.grow_rates else 1.0

    def rated(player: Any) -> Any:
        return dataclasses.replace(player, learning_rate=factor * player.learning_rate)

    return dataclasses.replace(
        config,
        batch_size=config.grow_batch_sizes[stage] if config.grow_batch_sizes else config.batch_size,
        generator=rated(config.generator),
        discriminator=rated(config.discriminator),
        fade_steps=config.fade_steps if stage else 0,
    )


def grow(old: TrainState, new: TrainState) -> TrainState:
    """Takes a state to the next stage; the function of both networks stays the same.

    Args:
        old: at the end of a stage.
        new: a state of the next stage before its first step, for what is not in `old`.

    Returns:
        Layers and their average as in `old`, and new ones of no weight yet (alpha = 0); optimisers as in `new`.
    """

    def grown(old: Player, new: Player) -> Player:
        return dataclasses.replace(
            old, params=_kept(old.params, new.params), stats=_unfaded(new.stats), optimizer=new.optimizer
        )

    return dataclasses.replace(
        old,
        generator=grown(old.generator, new.generator),
        discriminator=grown(old.discriminator, new.discriminator),
        ema=_unfaded(_kept(old.ema, new.ema)),
    )


def _kept(old: Any, new: Any) -> Any:
    """A tree of the names of `new`, with what `old` has of them."""
    if not isinstance(new, dict):
        return old
    return {name: _kept(old[name], value) if name in old else value for name, value in new.items()}


def _unfaded(stats: Any) -> Any:
    return {**stats, "fade": {"alpha": jnp.zeros_like(stats["fade"]["alpha"])}}
