"""Writes the networks that ship with the package, of a run: its averaged generator and its discriminator, float16.

launch/local.sh python benchmarks/held_out.py FOLDER --out SPLIT
launch/local.sh jaxgan data make SPLIT/train --size 64 --out SET
launch/local.sh jaxgan train emoji --data SET --out RUN
launch/local.sh python benchmarks/ship.py RUN
"""

import argparse
import dataclasses
from importlib import resources
from pathlib import Path

import numpy as np

from jaxgan.run import directory, networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="emoji")
    options = parser.parse_args()
    trained = directory.read(options.run)
    about = trained.about
    about = dataclasses.replace(about, config=dataclasses.replace(about.config, data=""))
    found = networks.of_state("", trained.state, about)
    arrays = {
        part: {name: array.astype(np.float16) for name, array in found.arrays[part].items()}
        for part in ("ema", "discriminator")
    }
    folder = Path(str(resources.files("jaxgan.support"))) / "assets" / "generators"
    file = folder / f"{options.name}.safetensors"
    networks.save(file, dataclasses.replace(found, arrays=arrays))
    print(f"{file}: step {found.step:,}, {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
