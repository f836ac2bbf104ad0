"""`jaxgan show` and `jaxgan configs`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxgan import config as cfg
from jaxgan.cli.options import Positional


@dataclasses.dataclass(frozen=True)
class Show:
    """Show a run: its config, step, sizes, a digest of each network's parameters, its last metrics."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""

    def __call__(self) -> None:
        from jaxgan.run import directory, metrics, networks, start

        trained = directory.read(self.run)
        state = trained.state
        print(cfg.to_json(trained.config), end="")
        for damaged in trained.damaged:
            print(f"warning: {damaged}")
        if origin := start.recorded(self.run):
            at = "" if origin["step"] is None else f", step {origin['step']}"
            new = f"; {origin['new']}" if origin["new"] else ""
            print(f"began with {origin['path']}{at}, sha256 {origin['sha256']}{new}")
        print(f"step {int(state.step)} of {trained.experiment.steps}")
        for name, params in (("generator", state.generator.params), ("discriminator", state.discriminator.params)):
            print(f"{name}: {size(params):,} parameters, sha256 {networks.digest(params)}")
        print(f"whole state (statistics, optimisers and average too): sha256 {networks.digest(state)}")
        for kind in ("discriminator/loss", "diagnosis"):
            if line := metrics.last(self.run / "metrics.jsonl", kind):
                print(f"metrics at step {line.pop('step')}:")
                for metric, value in line.items():
                    print(f"  {metric:32} {value if isinstance(value, str) else f'{value:.6g}'}")


@dataclasses.dataclass(frozen=True)
class Configs:
    """List the configs that ship with jaxgan."""

    def __call__(self) -> None:
        listed = cfg.names()
        width = max(map(len, listed))
        for name, line in listed.items():
            print(f"{name:{width}}  {line}")


def size(params: Any) -> int:
    """How many numbers a pytree of arrays holds."""
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))
