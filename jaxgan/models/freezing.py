"""FreezeD: a discriminator whose first layers do not learn, for fine-tuning (Mo, Cho and Shin, arXiv 2002.10964).

Layers are counted as the picture meets them: those of a kernel, each with what follows before the next one
(normalisation). What a layer has learned about edges and colours is as true of other pictures.
"""

import dataclasses
import functools
from typing import Any

import jax
from flax import traverse_util

from jaxgan.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A discriminator with the same variables, whose first layers pass no gradient to their parameters.

    Slopes for the picture are as they were, and so are statistics, which go on changing. By Adam, parameters without a
    gradient stay exactly as they are.

    Attributes:
        network: the discriminator.
        layers: how many do not learn, counted from the picture.
    """

    network: Any
    layers: int

    def init(self, rngs: Any, *args: Any) -> Any:
        """As the network's."""
        _first(self.network, self.layers, *_described(args))
        return self.network.init(rngs, *args)

    def apply(self, variables: Any, *args: Any, **keywords: Any) -> Any:
        """As the network's."""
        held = _first(self.network, self.layers, *_described(args))
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.lax.stop_gradient(leaf) if _name(path)[:-1] in held else leaf, variables["params"]
        )
        return self.network.apply({**variables, "params": params}, *args, **keywords)


def _described(args: Any) -> tuple[Any, tuple[tuple[tuple[int, ...], Any], ...]]:
    """The structure of arguments, and their shapes and dtypes, as what a cache can look up."""
    leaves, structure = jax.tree.flatten(args)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


@functools.lru_cache(maxsize=64)
def _first(network: Any, count: int, structure: Any, leaves: Any) -> frozenset[tuple[str, ...]]:
    """The paths of the modules that hold the parameters of the first so many layers.

    Raises:
        UserError: there are not more layers than that.
    """
    paths: list[tuple[str, ...]] = []

    def init(*args: Any) -> Any:
        variables = network.init(jax.random.key(0), *args)
        # Here, before JAX sorts them by name, they are in the order of their first use.
        paths.extend(traverse_util.flatten_dict(variables["params"]))
        return variables

    jax.eval_shape(init, *structure.unflatten([jax.ShapeDtypeStruct(*leaf) for leaf in leaves]))
    modules = list(dict.fromkeys(path[:-1] for path in paths))
    kernels = {path[:-1] for path in paths if "kernel" in path}
    places = [place for place, path in enumerate(modules) if path in kernels]
    if count >= len(places):
        raise UserError(f"discriminator.freeze: {count} of its {len(places)} layers leaves none to learn; take fewer")
    return frozenset(modules[: places[count]])


def _name(path: Any) -> tuple[str, ...]:
    return tuple(part.key for part in path)
