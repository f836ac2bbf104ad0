"""Counts what each of eight devices computes of a step, for every family of networks; prints it as JSON.

    JAX_NUM_CPU_DEVICES=8 python tests/work_a_device.py

A process of its own, as eight_devices.py. For each family and placement: the FLOPs of a device, for its eighth of the
batch, over those of one device for a batch of so many examples. Of programs that the compiler splits, all that it says;
of those that are mapped, which are what each device runs, convolutions and products of matrices. Convolutions are as
accelerators have them.
"""

import dataclasses
import functools
import json
import math
import sys

import cheap_random
import jax
import two_devices
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan import config as cfg
from jaxgan import train_step
from jaxgan.models import conv
from jaxgan.run import parallel

DEVICES, EACH = 8, 16
FAMILIES = two_devices.FAMILIES | {
    "mlp": cfg.Config(generator=cfg.MLPGenerator(widths=(256,)), discriminator=cfg.MLPDiscriminator(widths=(256,))),
    "dcgan": cfg.Config(generator=cfg.DCGANGenerator(width=8), discriminator=cfg.DCGANDiscriminator(width=8)),
}


def program(config, kind, devices, function=train_step.train_step):
    """A step as a user's own program, jitted, and its arguments: nothing but the batch says how it is to be split."""
    placement = parallel.place(kind, devices=jax.devices()[:devices])
    count = EACH * devices
    config = dataclasses.replace(two_devices.prepared(config), batch_size=count)
    game = two_devices.game_of(config, placement.axis)
    everywhere, split = placement.everywhere, PartitionSpec((parallel.DATA, parallel.MODEL))

    def shape(dims, dtype):
        return jax.ShapeDtypeStruct((count, *dims), dtype, sharding=NamedSharding(placement.mesh, split))

    batch = {"image": shape(two_devices.SHAPE, "float32")}
    batch |= {"label": shape((), "int32")} if config.conditional else {}
    key = jax.eval_shape(functools.partial(jax.random.key, 0))
    state = jax.eval_shape(functools.partial(train_step.init, game), batch, key)
    step = conv.compiled(functools.partial(function, game), platform="gpu")
    if kind == "jit":
        return jax.jit(step, in_shardings=(everywhere, None, everywhere)), (state, batch, key)
    specs = (PartitionSpec(), PartitionSpec(parallel.DATA), PartitionSpec())
    if kind == "shard_map":
        return jax.jit(jax.shard_map(step, mesh=placement.mesh, in_specs=specs, out_specs=PartitionSpec())), (
            state,
            batch,
            key,
        )
    blocks = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((devices, EACH, *leaf.shape[1:]), leaf.dtype), batch)
    return jax.pmap(step, parallel.DATA, in_axes=(None, 0, None), out_axes=None), (state, blocks, key)


def multiplied(jaxpr):
    """FLOPs of the products and convolutions of a program, all branches of it."""
    total = 0
    for equation in jaxpr.eqns:
        shapes = [variable.aval.shape for variable in (*equation.invars, *equation.outvars)]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += 2 * math.prod(shapes[2]) * math.prod(shapes[0][axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            out = equation.params["dimension_numbers"].rhs_spec[0]
            total += 2 * math.prod(shapes[2]) * math.prod(shapes[1]) // shapes[1][out]
        for inner in jax.tree.leaves(tuple(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                total += equation.params.get("length", 1) * multiplied(inner)
    return total


def main():
    cheap_random.use()
    assert len(jax.devices()) == DEVICES
    found = {}
    for name in sys.argv[1:] or FAMILIES:
        config = FAMILIES[name]

        def flops(kind, devices, config=config, **function):
            step, arguments = program(config, kind, devices, **function)
            if kind == "jit":
                return (step.lower(*arguments).compile().cost_analysis() or {})["flops"]
            return multiplied(jax.make_jaxpr(step)(*arguments).jaxpr)

        for kind in ("jit", "shard_map", "pmap"):
            found[f"{name} {kind}"] = flops(kind, DEVICES) / flops(kind, 1)
        if name == "mlp":  # In which nothing is done to real examples, and their number alone counts.
            half = functools.partial(flops, "jit", function=train_step.generator_step)
            found[f"{name} half a step"] = half(DEVICES) / half(1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
