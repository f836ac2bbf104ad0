"""`jaxgan export`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.cli.options import Positional, check_truncation


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a run's networks as files that need no jaxgan: the generator as a program, and all weights.

    generator.stablehlo is the averaged generator, weights inside, for CPUs, GPUs and TPUs:

        generator = jax.export.deserialize(open("generator.stablehlo", "rb").read())

        pictures = generator.call(jax.random.normal(jax.random.key(0), (16, 100)))   # [16, H, W, C] in [-1, 1]

    (a conditional one also takes labels int32 [16]; the latent's length is printed). networks.safetensors holds the
    arrays of the generator, its average and the discriminator by name: for other programs (safetensors.numpy.load_file)
    and for `jaxgan train CONFIG --from`.
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of the run."""
    truncation: float | None = None
    """Of runs with styles: these drawn towards their average by this factor, in the program."""
    best: bool = False
    """From the best checkpoint (trained with --best) rather than from the newest."""
    out: Path | None = None
    """A folder; RUN/export if not given."""

    def __call__(self) -> None:
        check_truncation(self.truncation)
        from jaxgan.latent import exporting, mix
        from jaxgan.run import networks
        from jaxgan.run.directory import output, read
        from jaxgan.support.errors import UserError
        from jaxgan.support.files import write_atomically

        trained = read(self.run, self.best)
        if self.truncation is not None and not mix.has_styles(trained.game):
            raise UserError(f"--truncation: {self.run} has no styles; leave it out, and draw shorter latents")
        out = self.out or output(self.run, "export")
        program = exporting.program(trained.game, trained.state.ema, trained.classes, self.truncation)
        write_atomically(out / "generator.stablehlo", program)
        found = networks.of_state(str(self.run), trained.state, trained.about)
        networks.save(out / "networks.safetensors", found)
        labels = f" and labels int32 [N], 0 to {trained.classes - 1}," if trained.classes else ""
        print(f"{out}/generator.stablehlo: latents float32 [N, {trained.game.latent_size}]{labels} to pictures")
        print(f"{out}/networks.safetensors: step {int(trained.state.step)}, generator, average and discriminator")
