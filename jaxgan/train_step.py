"""The game: one generative adversarial training step as pure functions.

    game = Game(generator, discriminator, generator_optimizer, discriminator_optimizer, latent_size=64)
    state = init(game, batch, key)
    state, metrics = train_step(game, state, batch, key)

`game` is static (hashable), everything else is a pytree; nothing here reads or writes anything else. All functions
work under `jit`, `vmap` and `lax.scan`, and under `shard_map` and `pmap` with a batch split over `game.axis`. A step is
two updates, in this order:

1. the discriminator's, with the generator frozen: real examples towards 1, fakes towards 0;
2. the generator's, through the frozen and *already updated* discriminator: its fakes towards 1.

Both see the same fakes, so the generator's forward pass is computed once a step.

Randomness: `key` may be the same at every step. What a step draws is a function of (key, name of the stream,
`state.step`, global index of the example), so neither the way steps are grouped into programs nor the way a batch is
split over devices changes it.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan import losses
from jaxgan.step import augment, judging, paths, schedules
from jaxgan.step.game import (
    PENALTIES,
    Batch,
    Game,
    Metrics,
    Network,
    Player,
    Prior,
    TrainState,
    batch_size,
    drawn,
    labels,
    own,
    used,
)
from jaxgan.step.keys import stream

__all__ = [
    "Batch",
    "Game",
    "Metrics",
    "Network",
    "Player",
    "Prior",
    "TrainState",
    "discriminator_step",
    "generate",
    "generator_step",
    "init",
    "latents",
    "stream",
    "train_step",
]


def init(game: Game, batch: Batch, key: jax.Array) -> TrainState:
    """Initialises both players.

    Args:
        game: the rules.
        batch: a batch as in training; only shapes and dtypes matter.
        key: PRNG key of the run.

    Returns:
        The state before the first step; all its arrays are its own, so that it can be donated.

    Raises:
        ValueError: the generator's images are not shaped like the real ones.
    """
    index = jnp.arange(batch_size(batch))
    latent = jax.tree.map(jnp.zeros_like, jax.eval_shape(functools.partial(drawn, game), key, index))

    def player(name: str, network: Network, optimizer: optax.GradientTransformation, inputs: Any) -> Player:
        variables = network.init(judging.rngs(stream(key, name)), inputs, *labels(batch))
        params = variables["params"]
        stats = {name: collection for name, collection in variables.items() if name != "params"}
        # In the networks' own precision, so that it decides alike however a sum was split.
        loss = jnp.full((), jnp.inf, jnp.result_type(*jax.tree.leaves(params)))
        with jax.numpy_dtype_promotion("standard"):  # See `_descended`.
            memory = optimizer.init(params)
        return Player(params, stats, memory, loss, jnp.zeros((), jnp.int32))

    generator = player("init generator", game.generator, game.generator_optimizer, latent)
    real = judging.matching(game, judging.viewed(game, batch["image"], {}))
    if game.axis is None:  # The generator may reduce over the axis, which is not there yet: then the first step checks.
        fake, _ = jax.eval_shape(
            lambda latent, *labels: judging.apply(
                game.generator, generator.params, generator.stats, latent, *labels, key=key
            ),
            latent,
            *labels(batch),
        )
        _check_shapes(real, fake)
    shown = judging.packed(game, real)
    discriminator = player("init discriminator", game.discriminator, game.discriminator_optimizer, shown)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=discriminator,
        ema=jax.tree.map(jnp.copy, generator.variables),
        augment=jnp.full((), game.augment_probability, jnp.float32),
        path_length=jnp.zeros((), jnp.float32),
    )


def train_step(game: Game, state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
    """One step of the game: `discriminator_updates` updates of the discriminator, then one of the generator.

    Equal to `discriminator_step` followed by `generator_step`, but the last discriminator update and the generator's
    update share one forward pass of the generator. With `discriminator_updates` = k > 1 the batch is dealt into k
    hands of N/k examples; the last one is also the generator's. (Then it is equal to `discriminator_step` on each hand
    with `update` 1, ..., k - 1 and 0.)

    Args:
        game: the rules.
        state: the state before.
        batch: N real examples (see `Batch`); k must divide N.
        key: PRNG key of the run; the step number is folded in.

    Returns:
        The state after, and float32 scalars: for each player `loss` (the adversarial one), `gradient_norm` and
        `update_ratio` (norm of the update over norm of the parameters), and for the discriminator `real` and `fake`
        (mean of D = sigmoid(logit) on each), `accuracy_real` and `accuracy_fake` (share on the right side of 1/2) and
        `separation` (share of pairs in which the real example has the larger logit), all before its (last) update,
        named `discriminator/loss` and so on. With penalties or consistency, `discriminator/penalty`, and with path
        length regularisation `generator/penalty`: their weights times what they punish, as they count on average over
        steps; of one that is applied at every Nth step only, 0 at the others. With skipping, `skipped`: the
        share of the player's updates left out so far. With ADA, `discriminator/augment`: the probability. With path
        length regularisation, `generator/path_length`: the running mean of lengths. With a term
        of one's own, which `generator/loss` includes, `generator/term`.
    """
    key = jax.random.fold_in(key, state.step)
    *earlier, last = _deal(batch, game.discriminator_updates)
    for index, hand in enumerate(earlier):
        hand = _prepared(game, state, hand)
        state, _ = _update_discriminator(game, state, hand, jax.random.fold_in(key, index + 1))
    last = _prepared(game, state, last)
    # Kept for both updates, unless the batch is dealt into parts because there is no room for the whole.
    generated = None
    if game.accumulate == 1:
        generated = _generate(game, state.generator, state.generator.stats, last, key, key)
    state, discriminator_metrics = _update_discriminator(game, state, last, key, generated)
    state, generator_metrics = _update_generator(game, state, last, key, generated)
    return state, {**discriminator_metrics, **generator_metrics}


def discriminator_step(
    game: Game, state: TrainState, batch: Batch, key: jax.Array, update: int | jax.Array = 0
) -> tuple[TrainState, Metrics]:
    """One update of the discriminator on all of `batch`, the generator frozen. The step number does not change.

    Args:
        game: the rules.
        state: the state before.
        batch: N real examples.
        key: PRNG key of the run; the step number is folded in.
        update: number of this update within the step, where there are several: each number draws fakes and noise of
            its own. The generator's update that follows plays with the fakes of number 0.

    Returns:
        The state after, and the discriminator's metrics as of `train_step`.
    """
    key = jax.random.fold_in(key, state.step)
    key = jnp.where(update == 0, key, jax.random.fold_in(key, update))
    return _update_discriminator(game, state, _prepared(game, state, batch), key)


def generator_step(game: Game, state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
    """One update of the generator through the frozen discriminator; ends the step (`state.step` grows by one).

    Args and returns as for `train_step`; the metrics are the generator's. The real examples are used only by losses
    that compare fakes with them, and for their number and labels.
    """
    return _update_generator(game, state, _prepared(game, state, batch), jax.random.fold_in(key, state.step))


def latents(game: Game, key: jax.Array, count: int) -> jax.Array:
    """Draws latents of the game's prior, each from its own index: a longer draw begins with the shorter one.

    Args:
        game: the rules.
        key: PRNG key.
        count: number of latents N.

    Returns:
        [N, ...], of the default prior float32 [N, latent_size].
    """
    return drawn(game, key, jnp.arange(count))


def generate(game: Game, variables: Any, latent: jax.Array, label: jax.Array | None = None) -> Any:
    """Images of a generator in evaluation mode. The generator must accept `train=False`.

    Args:
        game: the rules.
        variables: the generator's variables, as a rule `state.ema`.
        latent: [N, ...], as `latents` draws them.
        label: int32 [N] for a conditional generator; what "label" is in batches.

    Returns:
        Images as the generator makes them, [N, ...].
    """
    labels = () if label is None else (label,)
    return game.generator.apply(variables, latent, *labels, train=False)


class _Generated(NamedTuple):
    """Fakes for a batch, the pullback of their cotangent to the generator's parameters, and its new statistics."""

    fake: Any
    pullback: Callable[[Any], tuple[Any]]
    stats: Any


def _generate(game: Game, player: Player, stats: Any, batch: Batch, key: jax.Array, noise: jax.Array) -> _Generated:
    latent = drawn(game, stream(key, "latent"), batch["index"])
    label = labels(judging.of_fakes(game, batch, key))

    def forward(params: Any) -> tuple[Any, Any]:
        return judging.apply(game.generator, params, stats, latent, *label, key=stream(noise, "generator"))

    generated = _Generated(*jax.vjp(forward, own(game, player.params), has_aux=True))
    _check_shapes(judging.matching(game, batch["image"]), generated.fake)
    return generated


def _check_shapes(real: Any, fake: Any) -> None:
    """Raises a ValueError unless both are arrays, or pytrees of arrays, of the same shapes."""
    shapes = [jax.tree.map(lambda leaf: str(list(leaf.shape)), tree) for tree in (fake, real)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the generator makes images {shapes[0]}, and real ones are {shapes[1]}: their shapes must agree"
        )


def _update_discriminator(
    game: Game, state: TrainState, batch: Batch, key: jax.Array, generated: _Generated | None = None
) -> tuple[TrainState, Metrics]:
    player = state.discriminator

    def loss(
        params: Any, fake: Any, batch: Batch, stats: Any, noise: jax.Array, penalised: bool
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        judge = functools.partial(judging.judge, game, params, batch, noise)
        judge_fake = functools.partial(judging.judge, game, params, judging.of_fakes(game, batch, key), noise)
        pictures = {"real": batch["image"], "fake": fake}
        real, from_real = judging.shown_from(game, state, pictures["real"], batch, stream(key, "shown real"))
        fake, from_fake = judging.shown_from(game, state, pictures["fake"], batch, stream(key, "shown fake"))
        # Two passes, so that batch normalisation sees real and fake batches apart.
        real_logits, real_pullback, stats = judge("discriminator real", stats, real)
        fake_logits, fake_pullback, stats = judge_fake("discriminator fake", stats, fake)
        value = adversarial = game.loss.discriminator(*judging.exchanged(game, batch, key, real_logits, fake_logits))
        penalties = jnp.zeros_like(value)

        def steepness(
            kind: str, judge: Callable[..., Any], logits: jax.Array, slope: Callable[[jax.Array], Any]
        ) -> jax.Array:
            if not used(game.difference):
                return losses.zero_centred(slope(jnp.ones_like(logits)))
            moved = judging.moved(game, state, batch, key, kind, pictures[kind])
            change = judge(f"discriminator {kind}", stats, moved)[0] - logits  # The network draws the same again.
            return losses.zero_centred(change / game.difference)

        if penalised:
            slopes = {
                "r1": lambda: steepness("real", judge, real_logits, lambda x: from_real(*real_pullback(x))),
                "r2": lambda: steepness("fake", judge_fake, fake_logits, lambda x: from_fake(*fake_pullback(x))),
                "drift": lambda: jnp.mean(real_logits**2),
                "gradient_penalty": lambda: losses.one_centred(
                    judging.slope(judge, stats, judging.between(game, batch, key, real, fake))
                ),
                "dragan": lambda: losses.one_centred(
                    judging.slope(judge, stats, judging.around(game, batch, key, real))
                ),
            }
            for name, penalty in slopes.items():
                if used(weight := getattr(game, name)):
                    if name in ("r1", "r2") and game.penalty_decay_steps:
                        weight *= schedules.falling(state.step, game.penalty_decay_steps, game.penalty_final)
                    found = penalty().astype(value.dtype)
                    value += game.penalty_every * weight * found
                    penalties += weight * found
        if used(game.consistency):
            found = game.consistency * (
                judging.inconsistency(game, judge, stats, batch, key, real, real_logits)
                + judging.inconsistency(game, judge_fake, stats, batch, key, fake, fake_logits)
            )
            value += found
            penalties += found
        metrics = {
            "minimised": value,
            "loss": adversarial,
            "real": jnp.mean(jax.nn.sigmoid(real_logits)),
            "fake": jnp.mean(jax.nn.sigmoid(fake_logits)),
            "accuracy_real": _share(real_logits > 0),
            "accuracy_fake": _share(fake_logits < 0),
            "separation": _share(real_logits > fake_logits),
        }
        if any(used(getattr(game, name)) for name in PENALTIES):
            metrics["penalty"] = penalties
        return value, (metrics, stats)

    def gradients_of(learns: bool, penalised: bool, batch: Batch, stats: Any, noise: jax.Array) -> Any:
        fake = (generated or _generate(game, state.generator, state.generator.stats, batch, key, noise)).fake
        if not learns:
            _, (metrics, stats) = loss(player.params, fake, batch, stats, noise, penalised)
            return (None, metrics), stats
        differentiate = jax.value_and_grad(loss, has_aux=True)
        params = own(game, player.params)
        (_, (metrics, stats)), gradients = differentiate(params, fake, batch, stats, noise, penalised)
        return (gradients, metrics), stats

    def update(learns: bool, penalised: bool) -> tuple[Player, Metrics]:
        function = functools.partial(gradients_of, learns, penalised)
        (gradients, metrics), stats = _averaged(game, function, batch, player.stats, key)
        return _descended(game.discriminator_optimizer, player, gradients, stats, metrics)

    def learn() -> tuple[Player, Metrics]:
        if game.penalty_every == 1:
            return update(True, True)
        return _lazily(game.penalty_every, state, lambda: update(True, True), lambda: update(True, False))

    player, metrics = _unless_below(
        game.skip_discriminator_below, player, learn, lambda: update(learns=False, penalised=False)
    )
    if game.skip_discriminator_below is not None:
        metrics["skipped"] = player.skipped / ((state.step + 1) * game.discriminator_updates)
    state = dataclasses.replace(state, discriminator=player)
    if game.ada_target is not None:
        examples = batch_size(batch) * _devices(game)
        sign = 2 * metrics["separation" if game.loss.pairs else "accuracy_real"] - 1
        metrics["augment"] = augment.adapt(state.augment, sign, examples, game.ada_target, game.ada_images)
        state = dataclasses.replace(state, augment=metrics["augment"])
    return state, _named("discriminator", metrics)


def _update_generator(
    game: Game, state: TrainState, batch: Batch, key: jax.Array, generated: _Generated | None = None
) -> tuple[TrainState, Metrics]:
    player = state.generator
    # The discriminator is frozen: its new statistics are dropped, as is the real branch by losses that ignore it.
    judge = state.discriminator

    def gradients_of(learns: bool, batch: Batch, stats: Any, noise: jax.Array) -> tuple[tuple[Any, Metrics], Any]:
        fake, pullback, stats = generated or _generate(game, player, stats, batch, key, noise)

        def loss(fake: Any) -> tuple[jax.Array, Metrics]:
            logits = []
            for image, its in ((batch["image"], batch), (fake, judging.of_fakes(game, batch, key))):
                shown = judging.shown(game, state, image, batch, stream(key, "shown judging"))
                inputs = (shown, *labels(its))
                key_of_pass = stream(noise, "discriminator judging")
                logits.append(judging.apply(game.discriminator, judge.params, judge.stats, *inputs, key=key_of_pass)[0])
            value = game.loss.generator(*logits)
            if game.generator_term is None:
                return value, {"minimised": value, "loss": value}
            term = game.generator_term(fake, batch)
            value += term.astype(value.dtype)
            return value, {"minimised": value, "loss": value, "term": term}

        if not learns:
            return (None, loss(fake)[1]), stats
        (_, metrics), cotangent = jax.value_and_grad(loss, has_aux=True)(fake)
        (gradients,) = pullback(cotangent)
        return (gradients, metrics), stats

    def update(learns: bool) -> tuple[Player, Metrics]:
        function = functools.partial(gradients_of, learns)
        (gradients, metrics), stats = _averaged(game, function, batch, player.stats, key)
        if used(game.path_length):
            metrics |= {"path_length": state.path_length, "penalty": jnp.zeros_like(state.path_length)}
            if learns:
                gradients, more = _regularised(game, state, batch, key, gradients)
                metrics |= more
        return _descended(game.generator_optimizer, player, gradients, stats, metrics)

    player, metrics = _unless_below(game.skip_generator_below, player, lambda: update(True), lambda: update(False))
    if game.skip_generator_below is not None:
        metrics["skipped"] = player.skipped / (state.step + 1)
    decay = schedules.averaging(game, state.step, batch_size(batch) * _devices(game))
    ema = jax.tree.map(functools.partial(_towards, decay), state.ema, player.variables)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        generator=player,
        ema=ema,
        path_length=metrics.get("path_length", state.path_length),
    )
    return _faded_in(game, state), _named("generator", metrics)


def _regularised(game: Game, state: TrainState, batch: Batch, key: jax.Array, gradients: Any) -> tuple[Any, Metrics]:
    """The generator's gradients with those of the path length penalty where it is due; its metrics."""

    def add() -> tuple[Any, Metrics]:
        function = functools.partial(paths.gradients, game, state, key)
        (more, (length, penalty)), _ = _averaged(game, function, batch, state.generator.stats, key)
        metrics = {"path_length": paths.updated(state.path_length, length), "penalty": penalty}
        return jax.tree.map(jnp.add, gradients, more), metrics

    def leave() -> tuple[Any, Metrics]:
        return gradients, {"path_length": state.path_length, "penalty": jnp.zeros_like(state.path_length)}

    return _lazily(game.path_every, state, add, leave)


def _faded_in(game: Game, state: TrainState) -> TrainState:
    """The state, the newest layers of growing networks counting a step's share more."""
    if not game.fade_steps:
        return state
    alpha = state.generator.stats["fade"]["alpha"]
    fade = {"fade": {"alpha": jnp.minimum(1, alpha + jnp.asarray(1 / game.fade_steps, alpha.dtype))}}
    players = {
        name: dataclasses.replace(player, stats={**player.stats, **fade})
        for name, player in (("generator", state.generator), ("discriminator", state.discriminator))
    }
    return dataclasses.replace(state, **players, ema={**state.ema, **fade})


def _unless_below(
    threshold: float | None, player: Player, learn: Callable[[], Any], look: Callable[[], Any]
) -> tuple[Player, Metrics]:
    """Lets a player learn, or only look at its loss while that is below a threshold; keeps the average of the loss.

    That is all it minimises, penalties included where they are taken.
    """
    if threshold is None:
        player, metrics = learn()
    else:
        player, metrics = jax.lax.cond(player.loss < threshold, look, learn)
    value = metrics.pop("minimised").astype(player.loss.dtype)
    smoothed = jnp.where(jnp.isfinite(player.loss), 0.9 * player.loss + 0.1 * value, value)
    return dataclasses.replace(player, loss=smoothed), metrics


def _lazily(every: int, state: TrainState, due: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """What is due at every Nth step, else the other; its name says how often to who reads the program."""
    with jax.named_scope(f"one_step_in_{every}"):
        return jax.lax.cond(state.step % every == 0, due, otherwise)


def _towards(decay: jax.Array, mean: jax.Array, new: jax.Array) -> jax.Array:
    """A moving average after another value; of what is not floating point, such as a counter or a key, the value."""
    if not jnp.issubdtype(mean.dtype, jnp.inexact):
        return new
    return decay.astype(mean.dtype) * mean + (1 - decay).astype(mean.dtype) * new


def _share(condition: jax.Array) -> jax.Array:
    return jnp.mean(condition.astype(jnp.float32))


def _devices(game: Game) -> int:
    return 1 if game.axis is None else jax.lax.axis_size(game.axis)


def _averaged(
    game: Game,
    function: Callable[[Batch, Any, jax.Array], tuple[Any, Any]],
    batch: Batch,
    stats: Any,
    key: jax.Array,
) -> Any:
    """Calls a function for the gradients of a batch, in parts where the game says so; the one place of reductions.

    Args:
        game: the rules.
        function: (batch, statistics, key of the networks' own noise) -> (means over the batch, new statistics).
        batch: this device's block.
        stats: statistics before.
        key: of the networks' own noise.

    Returns:
        What the function would return for the whole batch.
    """
    if game.accumulate == 1:
        means, stats = function(batch, stats, key)
    else:
        parts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *_deal(batch, game.accumulate))

        def add(carry: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
            sums, stats = carry
            means, stats = function(part[0], stats, jax.random.fold_in(key, part[1]))
            return own(game, (jax.tree.map(jnp.add, sums, means), stats)), None

        shapes, _ = jax.eval_shape(function, jax.tree.map(operator.itemgetter(0), parts), stats, key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (sums, stats), _ = jax.lax.scan(add, own(game, (zeros, stats)), (parts, jnp.arange(game.accumulate)))
        means = jax.tree.map(lambda total: total / game.accumulate, sums)
    if game.axis is None:  # Arrays are global: a mean over the batch is one over all devices already.
        return means, stats
    # A network that synchronises its statistics (`axis_name`) has the same ones everywhere already. So have all what is
    # not floating point and has no mean: counters and keys.
    leaves, structure = jax.tree.flatten((means, stats))
    floating = [place for place, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    reduced = jax.lax.pmean([leaves[place] for place in floating], game.axis)
    for place, mean in zip(floating, reduced, strict=True):
        leaves[place] = mean
    return structure.unflatten(leaves)


def _descended(
    optimizer: optax.GradientTransformation, player: Player, gradients: Any, stats: Any, metrics: Metrics
) -> tuple[Player, Metrics]:
    """The player after a step of its optimiser, and the metrics with those of the step; no gradients, no step."""
    if gradients is None:
        zero = jnp.zeros_like(player.loss)  # As wide as the parameters, and so as what stands here otherwise.
        player = dataclasses.replace(player, skipped=player.skipped + 1)
        return player, metrics | {"gradient_norm": zero, "update_ratio": zero}
    # Optax's bias correction raises a float to an integer count, which strict dtype promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        # Some adapt to the loss: `value`, which those that do not are not given.
        optimizer = optax.with_extra_args_support(optimizer)
        value = metrics["minimised"]
        updates, optimizer_state = optimizer.update(gradients, player.optimizer, player.params, value=value)
    metrics = metrics | {
        "gradient_norm": optax.tree.norm(gradients),
        "update_ratio": optax.tree.norm(updates) / optax.tree.norm(player.params),
    }
    params = optax.apply_updates(player.params, updates)
    return dataclasses.replace(player, params=params, stats=stats, optimizer=optimizer_state), metrics


def _prepared(game: Game, state: TrainState, batch: Batch) -> Batch:
    """The batch as it is played with: what `Game.view` leaves of its images, and each example's "index" int32 [N].

    That is its place in the whole batch, of which a device may have a block.
    """
    index = jnp.arange(batch_size(batch), dtype=jnp.int32)
    if game.axis is not None:
        index += jax.lax.axis_index(game.axis) * len(index)
    else:
        # Fakes are to be split over devices as the real examples are, and in half a step nothing else connects the
        # two: what is added is 0, but no compiler knows.
        first = jax.tree.leaves(batch["image"])[0].reshape(len(index), -1)[:, 0].astype(jnp.float32)
        index += (jnp.isnan(first) & jnp.isfinite(first)).astype(jnp.int32)
    return {**batch, "image": judging.viewed(game, batch["image"], state.discriminator.stats), "index": index}


def _deal(batch: Batch, hands: int) -> list[Batch]:
    """Deals a batch into equal parts, round robin: with the batch split over devices no example has to move."""
    if hands == 1:
        return [batch]
    count = batch_size(batch)
    if count % hands:
        raise ValueError(f"a batch of {count} cannot be dealt into {hands} equal parts")
    dealt = jax.tree.map(lambda leaf: leaf.reshape(count // hands, hands, *leaf.shape[1:]), batch)
    return [jax.tree.map(operator.itemgetter((slice(None), hand)), dealt) for hand in range(hands)]


def _named(player: str, metrics: Metrics) -> Metrics:
    def at_least_single(value: jax.Array) -> jax.Array:
        return value if value.dtype == jnp.float64 else value.astype(jnp.float32)

    return {f"{player}/{name}": at_least_single(value) for name, value in metrics.items()}
