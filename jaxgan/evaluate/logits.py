"""What a run's discriminator says of pictures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.evaluate import batches
from jaxgan.evaluate.origins import Origin
from jaxgan.run.directory import Trained
from jaxgan.step import judging


def of(trained: Trained, origin: Origin, numbers: np.ndarray) -> np.ndarray:
    """A discriminator's logits of pictures as they are, without what training adds (augmentation, noise).

    In whole batches, as in training: pictures after the last one are left out. A discriminator that judges several
    pictures together gives a logit for each group of them.

    Args:
        trained: the run.
        origin: where pictures of the run's size come from, with labels where the run is conditional.
        numbers: which of them.

    Returns:
        float32 [n].
    """
    game, player = trained.game, trained.state.discriminator

    def logits(variables: Any, image: jax.Array, label: jax.Array | None) -> jax.Array:
        params, stats = variables
        x = image.astype(jnp.float32) / 127.5 - 1
        shown = judging.plain(game, x, stats)
        labels = () if label is None else (label,)
        return judging.apply(game.discriminator, params, stats, shown, *labels, key=jax.random.key(0))[0].reshape(-1)

    variables, compiled = batches.everywhere((player.params, player.stats)), jax.jit(logits)
    known = origin.labels if trained.classes else None
    numbers = np.resize(numbers, max(1, len(numbers) // batches.size()) * batches.size())
    order = np.argsort(numbers, kind="stable")  # Of fewer than a batch some are taken again.
    found, begin = [], 0
    for block in batches.rebatched(origin.blocks(numbers[order])):
        part = numbers[order][begin : begin + len(block)]
        label = None if known is None else batches.spread(known(part).astype(np.int32))
        found.append(np.asarray(compiled(variables, batches.spread(block), label)))
        begin += len(block)
    return np.concatenate(found)
