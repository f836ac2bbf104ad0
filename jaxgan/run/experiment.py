"""What a run is made of, in plain parts: `build` makes it of a config, and nothing after that reads a config."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.evaluate.modes import Judge
from jaxgan.models import conv
from jaxgan.run import parallel
from jaxgan.step.game import Game


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run with one game, and so with one program: of a run that grows, a size of its pictures.

    Attributes:
        end: the step with which it ends; infinite for the last.
        game: its game.
        batch_size: real examples that a step takes, for all updates of the discriminator.
        group: examples that are looked at together.
    """

    end: float
    game: Game
    batch_size: int
    group: int


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """A run in parts.

    Attributes:
        config: what it was built of, as config.json and checkpoints hold it.
        stages: one after another; one alone unless pictures grow.
        shape: shape of an example, of the full size.
        classes: number of labels; 0 if not conditional.
        seed: of everything random.
        start: whose networks it begins with, a run or a file; "" for new ones.
        steps: its length.
        change: the step at which convolutions on CPU change over from the quick form to the fast one; infinite where
            they do not, None for runs from before there was a choice.
        loss: the loss's name, for the diagnosis.
        precision: what the networks compute in, for advice.
        judge: counts the modes of samples; None where the data have none to count.
        log_every: steps between lines of metrics.
        sample_every: steps between looks at samples.
        checkpoint_every: steps between checkpoints.
        evaluate_every: steps between measurements against the data; 0 for none.
        evaluate_count: samples that these are made of, and as many real pictures.
        evaluate_features: what their distances are taken in, by name.
        evaluate_weights: a file of the features' weights, or its URL; None where they ship.
        keep_last: checkpoints to keep.
        keep_every: those of multiples of this step are kept for good; None for none.
        best: the metric of a look, or of a measurement, whose best state is kept; "" for none.
        patience: looks (or measurements) without a better one after which a run ends; 0 for never.
        decoder: where examples are latents, the parameters of what makes pictures of them; None otherwise.
        scale: how many times as wide as latents pictures are.
        varied: the game with other values of some of its numbers, by the config's names, traced ones perhaps.
    """

    config: cfg.Config
    stages: tuple[Stage, ...]
    shape: tuple[int, ...]
    classes: int
    seed: int
    start: str
    steps: int
    change: float | None
    loss: str
    precision: str
    judge: Judge | None
    log_every: int
    sample_every: int
    checkpoint_every: int
    evaluate_every: int
    evaluate_count: int
    evaluate_features: str
    evaluate_weights: str | None
    keep_last: int
    keep_every: int | None
    best: str
    patience: int
    varied: Callable[[Mapping[str, Any]], Game]
    decoder: Any = None
    scale: int = 1

    @property
    def pictured(self) -> tuple[int, ...]:
        """Shape of what is shown of an example: of a latent, the picture's."""
        return self.shape if self.decoder is None else (self.scale * self.shape[0], self.scale * self.shape[1], 3)

    def shown(self, variables: Any) -> Any:
        """A generator's variables, with what it takes to make pictures where it makes latents."""
        return variables if self.decoder is None else {**variables, "decoder": self.decoder}

    def stage_after(self, step: int) -> Stage:
        """The stage in which the step after `step` is done."""
        return next(stage for stage in self.stages if step < stage.end)

    def stage_of(self, step: int) -> Stage:
        """The stage of a state with this step, which grows only when it goes on."""
        return next(stage for stage in self.stages if step <= stage.end)

    def pictures(self, step: int) -> int:
        """Real pictures that training has been shown after so many steps."""
        shown = begin = 0
        for stage in self.stages:
            end = int(min(step, stage.end))
            shown += max(0, end - begin) * stage.batch_size
            begin = end
        return shown

    def is_looked_at(self, step: int) -> bool:
        """Whether samples are looked at, or measured, after so many steps."""
        intervals = filter(None, (self.sample_every, self.evaluate_every))
        return step == self.steps or any(step % every == 0 for every in intervals)

    def form(self, platform: str, step: int) -> tuple[conv.Form, int]:
        """The form of convolutions in the steps after `step`, and until which step.

        A function of the config and the platform alone, so that a run which is stopped or extended has the forms of
        one that is not.
        """
        end = min(self.stage_after(step).end, self.steps)
        if platform != "cpu":
            return "quick", int(end)
        if self.change is None:
            return "everywhere", int(end)
        return ("fast", int(end)) if step >= self.change else ("quick", int(min(end, self.change)))

    def init(self, stage: Stage, seed: int | jax.Array) -> train_step.TrainState:
        """The state before a stage's first step, as a traceable function of the seed of its parameters."""
        batch = {"image": jnp.zeros((stage.batch_size, *self.shape), jnp.float32)}
        if self.classes:
            batch["label"] = jnp.zeros(stage.batch_size, jnp.int32)
        return train_step.init(stage.game, batch, jax.random.key(seed))

    def initial_state(self, stage: Stage, placement: parallel.Placement) -> train_step.TrainState:
        """The state before a stage's first step, made where it belongs."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state(stage, placement))
        return jax.jit(functools.partial(self.init, stage, self.seed), out_shardings=shardings)()

    def abstract_state(self, stage: Stage, placement: parallel.Placement) -> train_step.TrainState:
        """Shapes, dtypes and placement of a stage's state, without computing it."""
        state = jax.eval_shape(functools.partial(self.init, stage, self.seed))
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            state,
            parallel.shard_state(placement, state),
        )
