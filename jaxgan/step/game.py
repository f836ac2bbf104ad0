"""The rules of the game and its state: what `jaxgan.train_step` plays by, and what it remembers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxgan import losses
from jaxgan.step.augment import Augment
from jaxgan.step.keys import each

Batch = Mapping[str, Any]
"""`{"image": real examples [N, ...], "label": optional int32 [N]}`. "image", and what `Game.view` makes of it, may be a
pytree (a pyramid of resolutions); the game never looks inside it. "label" may be any condition that both networks are
given, also a pytree of arrays [N, ...]: the pictures that pictures are made of (pix2pix)."""
Metrics = dict[str, jax.Array]
PENALTIES = ("r1", "r2", "drift", "gradient_penalty", "dragan", "consistency")
"""Weights of what is added to the discriminator's loss."""
Prior = Callable[[jax.Array, int], jax.Array]
"""(key, `Game.latent_size`) -> one latent, an array of any shape; a plain function with a name, so that games hash."""


def standard_normal(key: jax.Array, size: int) -> jax.Array:
    """A latent of independent standard normal numbers, float32 [size]."""
    return jax.random.normal(key, (size,), jnp.float32)


class Network(Protocol):
    """What the game needs of a network; every Flax Linen module has it.

    A generator is called as `(latent)`, [N, ...] as `Game.prior` draws it, or `(latent, label)` and returns images
    shaped like what `Game.view` makes of `batch["image"]`; a discriminator as `(image)` or `(image, label)` and returns
    logits, [N] or [N, 1]. Called so, they behave as in training; `generate` passes `train=False` to a generator whose
    behaviour differs then.
    """

    def init(self, rngs: Any, *args: Any) -> Any:
        """Returns the variables: a mapping with "params" and perhaps other collections (batch statistics).

        `rngs` holds one key, as "params" and as "default": Linen draws all by the one, NNX all else by the other.
        """
        ...

    def apply(self, variables: Any, *args: Any, rngs: Any = None, mutable: Any = False, **keywords: Any) -> Any:
        """Returns the output; where `mutable` names collections, a pair of it and of these, updated."""
        ...


@dataclasses.dataclass(frozen=True)
class Game:
    """The rules: two networks, how each learns, and what each wants. Static under jit.

    Attributes:
        generator: maps latents to images.
        discriminator: maps images to logits.
        generator_optimizer: the generator's Optax transformation.
        discriminator_optimizer: the discriminator's.
        latent_size: length of a latent.
        prior: draws a latent; standard normal if not given.
        view: what of real images is played with, as a function of them and of how far a growing network's newest layers
            are faded in (`fade_steps`): a pyramid of them, or the images at the size of a stage; None for all of them.
        loss: the two losses, functions of logits.
        generator_term: what the generator minimises besides, as a function of (fakes, batch as it is played with): a
            scalar, a mean over the examples. pix2pix's is 100 times the mean of `|fake - image|` (arXiv 1611.07004,
            equation 4).
        noisy_labels: probability that a real and a fake example are exchanged in the discriminator's loss.
        r1: weight gamma of the R1 penalty (`losses.zero_centred` at real examples); 0 for none, as for all weights.
        r2: weight of the same at fakes.
        difference: measure R1 and R2 by a difference: how much the logits change when normal noise of this standard
            deviation is added to the pictures, before augmentation; on average over noise the same, without second
            derivatives. For networks without statistics. 0 for exact gradients.
        gradient_penalty: weight of WGAN-GP's penalty (`losses.one_centred` between real and fake examples).
        dragan: weight of DRAGAN's (`losses.one_centred` around real examples).
        drift: weight of the mean square of real examples' logits, which keeps these near 0 (arXiv 1710.10196, appendix
            A.1).
        penalty_at: where R1 and R2 take the slope, if not by `difference`: "picture", before augmentation, as their
            authors do; "shown", of what the discriminator is shown. The other penalties' examples are mixed of what is
            shown.
        penalty_every: N, apply penalties at every Nth step only, N times as strong (arXiv 1912.04958, section 3.1).
        penalty_decay_steps: steps in which the weights of R1 and R2 fall, by a cosine,
        penalty_final: to this share of what they were (arXiv 2501.05441, appendix).
        path_length: weight of the generator's path length penalty (see `paths`); the generator must have styles.
        path_every: N, apply that at every Nth step only, N times as strong.
        fade_steps: steps in which the newest layers of growing networks are faded in; 0 for none.
        consistency: weight of the mean square by which logits change when images are shifted a little (bCR, arXiv
            2002.04724, equation 5).
        augment: what is done to all that the discriminator sees, real and fake, in both updates; see `augment`.
        augment_probability: of each of these for each example, at the beginning.
        augment_rise_steps: steps in which it rises to that from 0, by a cosine; 0 for at once.
        ada_target: adapt the probability of `augment` until the share of real examples that the discriminator is right
            about, less the share that it is wrong about, is this (ADA, arXiv 2006.06676); with losses whose logits
            have no zero, of pairs of a real example and a fake. None keeps the probability.
        ada_images: real examples it takes for the probability to go from 0 to 1.
        guidance: noise of each of a generator's pictures, from the first to the last (see `augment.guided`); of real
            ones as many are made. None of it, and one picture, if empty.
        instance_noise: standard deviation of noise on all that the discriminator sees, real and fake.
        instance_noise_steps: steps in which that falls to 0; 0 keeps it.
        pack: examples that the discriminator judges together, side by side in the last dimension (PacGAN, arXiv
            1712.04086); they are next to each other in the batch.
        skip_discriminator_below: leave out the discriminator's updates while `Player.loss` is below this.
        skip_generator_below: leave out the generator's likewise.
        discriminator_updates: updates of the discriminator in a step, each with its own equal share of the batch and
            its own fakes, before the one update of the generator.
        ema_decay: decay of the moving average of the generator, 0 <= decay < 1, warmed up: at most (1 + t) / (10 + t)
            at step t. The average is used for sampling.
        ema_start: steps in which the average is the generator itself; after that nothing is warmed up.
        ema_half_life: real examples in which the average forgets half, in place of `ema_decay`; 0 for that.
        ema_ramp: `ema_half_life` is at most this share of the examples seen so far; None for no such bound.
        ema_rise_steps: steps in which `ema_half_life` rises from 0, by a cosine; 0 for at once.
        fake_classes: draw labels of fakes uniformly from so many classes; 0 gives them the real examples'.
        accumulate: parts into which the batch of every update is dealt; they are computed one after another, in the
            memory of one, and their gradients averaged: the same update as that of the whole batch, except that what
            couples examples (batch normalisation, packing, a relativistic average) sees each part by itself.
        axis: the mapped axis (of `shard_map` or `pmap`) over whose devices the batch is split into equal blocks. None
            under `jit`, where arrays are global however they are placed.

    Raises:
        ValueError: `penalty_at` is neither, or what counts (`pack`, say) is below 1.
    """

    generator: Network
    discriminator: Network
    generator_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation
    latent_size: int
    prior: Prior = standard_normal
    view: Callable[[Any, jax.Array], Any] | None = None
    loss: losses.Loss = losses.non_saturating
    generator_term: Callable[[Any, Batch], jax.Array] | None = None
    noisy_labels: float = 0.0
    r1: float = 0.0
    r2: float = 0.0
    difference: float = 0.0
    gradient_penalty: float = 0.0
    dragan: float = 0.0
    drift: float = 0.0
    penalty_at: Literal["picture", "shown"] = "picture"
    penalty_every: int = 1
    penalty_decay_steps: int = 0
    penalty_final: float = 0.0
    path_length: float = 0.0
    path_every: int = 4
    fade_steps: int = 0
    consistency: float = 0.0
    augment: tuple[Augment, ...] = ()
    augment_probability: float = 1.0
    augment_rise_steps: int = 0
    ada_target: float | None = None
    ada_images: int = 500_000
    guidance: tuple[float, ...] = ()
    instance_noise: float = 0.0
    instance_noise_steps: int = 0
    pack: int = 1
    skip_discriminator_below: float | None = None
    skip_generator_below: float | None = None
    discriminator_updates: int = 1
    ema_decay: float = 0.999
    ema_start: int = 0
    ema_half_life: float = 0.0
    ema_ramp: float | None = None
    ema_rise_steps: int = 0
    fake_classes: int = 0
    accumulate: int = 1
    axis: str | None = None

    def __post_init__(self) -> None:
        if self.penalty_at not in ("picture", "shown"):
            raise ValueError(f"penalty_at: must be 'picture' or 'shown', not {self.penalty_at!r}")
        for name in ("penalty_every", "path_every", "pack", "discriminator_updates", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, not {getattr(self, name)}")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Player:
    """One network's state.

    Attributes:
        params: the parameters its optimiser changes.
        stats: its other variable collections, such as running batch statistics.
        optimizer: the state of its optimiser.
        loss: moving average over some 10 steps of what it minimises, its loss and the penalties that are taken at a
            step; infinite before the first.
        skipped: int32, updates that were left out.
    """

    params: Any
    stats: Any
    optimizer: Any
    loss: jax.Array
    skipped: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """Parameters and statistics, as the network's `apply` takes them."""
        return {"params": self.params, **self.stats}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that training remembers.

    Attributes:
        step: int32 scalar, steps done.
        generator: the generator.
        discriminator: the discriminator.
        ema: moving average of the generator's variables (parameters and statistics), for sampling.
        augment: the probability of augmentation, which ADA adapts.
        path_length: running mean of the generator's path lengths; 0 if they are not regularised.
    """

    step: jax.Array
    generator: Player
    discriminator: Player
    ema: Any
    augment: jax.Array
    path_length: jax.Array


def used(weight: Any) -> bool:
    """Whether a weight is not simply zero; one that is traced, in a sweep, is used."""
    return not isinstance(weight, int | float) or weight != 0


def labels(batch: Batch) -> tuple[jax.Array, ...]:
    """The labels of a batch, as what follows the image or the latent in a call; nothing where it has none."""
    return (batch["label"],) if "label" in batch else ()


def drawn(game: Game, key: jax.Array, index: jax.Array) -> jax.Array:
    """Latents [N, ...], each by its place int32 [N] alone."""
    return jax.vmap(lambda key: game.prior(key, game.latent_size))(each(key, index))


def batch_size(batch: Batch) -> int:
    """Examples in a batch."""
    return jax.tree.leaves(batch["image"])[0].shape[0]


def own(game: Game, tree: Any) -> Any:
    """Arrays that are the same on all devices of the game's axis, as each device's own copies.

    Gradients for these are of the device's block of the batch alone. Otherwise `shard_map` with `check_vma=True` would
    sum them over the devices by itself. Leaves that are not floating point stay.
    """

    def own_leaf(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        try:
            return jax.lax.pcast(leaf, game.axis, to="varying")
        except ValueError:  # It is a device's own already; or the axis is one of `vmap`, where everything is.
            return leaf

    return tree if game.axis is None else jax.tree.map(own_leaf, tree)
