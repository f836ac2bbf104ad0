"""Progressive growing: a run in stages, each a size of the pictures (Karras et al., arXiv 1710.10196).

A stage is a game of its own (`experiment.Stage`); `grow` takes the state from one to the next. Stages are counted from
0, the smallest size; an experiment that does not grow has one.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxgan.step.game import Player, TrainState


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
