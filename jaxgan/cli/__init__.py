"""The command line: `jaxgan train|sweep|sample|interpolate|mix|project|directions|play|evaluate|compare|modes|...`.

JAX takes a second to import; what needs it imports it, and --help stays quick.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from jaxgan.cli.compare import Compare
from jaxgan.cli.data import Make
from jaxgan.cli.data import Show as ShowSet
from jaxgan.cli.evaluate import Evaluate, Modes
from jaxgan.cli.export import Export
from jaxgan.cli.latent import Directions, Mix, Project
from jaxgan.cli.options import parse
from jaxgan.cli.play import Play
from jaxgan.cli.preview import Preview, start_preview
from jaxgan.cli.published import Import
from jaxgan.cli.sample import Interpolate, Sample
from jaxgan.cli.show import Configs, Show
from jaxgan.cli.style import Style
from jaxgan.cli.training import STOPPED, Sweep, Train, start_sweep, start_training
from jaxgan.config import nearest
from jaxgan.support import cache, plugins
from jaxgan.support.errors import JaxganError, UserError
from jaxgan.support.files import refusal

__all__ = ["STOPPED", "main"]


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; shows an expected error as one line and exits with its code.

    Args:
        arguments: what follows `jaxgan` on the command line; None takes the process's.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    cache.keep_programs()
    plugins.leave_out_absent()
    try:
        name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
        if name in ("-h", "--help"):
            print(_overview())
        elif name in ("train", "sweep"):
            {"train": start_training, "sweep": start_sweep}[name](rest)
        elif arguments[:2] == ["data", "preview"]:
            start_preview(arguments[2:])
        elif name == "data" and (not rest or f"data {rest[0]}" not in _COMMANDS):
            if rest and rest[0] not in ("-h", "--help"):
                raise UserError(f"data {rest[0]}: no such command; jaxgan data make, data show, or data preview")
            print(_overview("data "))
        elif (two := " ".join(arguments[:2])) in _COMMANDS:
            parse(_COMMANDS[two], f"jaxgan {two}", arguments[2:])()
        elif name in _COMMANDS:
            parse(_COMMANDS[name], f"jaxgan {name}", rest)()
        else:
            known = [*_COMMANDS, "train", "sweep"]
            raise UserError(f"{name}: no such command{nearest(name, known)}; `jaxgan --help` lists them")
    except JaxganError as error:
        print(f"jaxgan: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `jaxgan configs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # Names that are too long, missing permission, a full disk, wherever it is met first.
        if error.filename is None:
            raise
        print(f"jaxgan: {error.filename}: {refusal(error)}", file=sys.stderr)
        sys.exit(UserError.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


_COMMANDS: dict[str, Callable[..., Any]] = {
    "sample": Sample,
    "interpolate": Interpolate,
    "mix": Mix,
    "project": Project,
    "directions": Directions,
    "play": Play,
    "evaluate": Evaluate,
    "compare": Compare,
    "modes": Modes,
    "show": Show,
    "configs": Configs,
    "import": Import,
    "export": Export,
    "data make": Make,
    "data show": ShowSet,
    "style": Style,
}


def _overview(only: str = "") -> str:
    lines = [
        "usage: jaxgan COMMAND [options]",
        "",
        "Generative adversarial networks and style transfer as pure functions in JAX.",
        "",
    ]
    commands = {"train": Train, "sweep": Sweep, **_COMMANDS, "data preview": Preview}
    for name, command in {name: command for name, command in commands.items() if name.startswith(only)}.items():
        lines.append(f"  {name:12} {(command.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "Begin with: jaxgan train mnist_dcgan", "Options of each: jaxgan COMMAND --help"])
