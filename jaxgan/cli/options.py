"""How commands read what is given to them."""

import contextlib
import io
import re
from typing import Any

import tyro

from jaxgan.support.errors import UserError

Positional = tyro.conf.Positional


def parse(kind: Any, program: str, arguments: list[str], **keywords: Any) -> Any:
    """Parses with tyro; a mistake becomes one line instead of tyro's box."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                kind,
                prog=program,
                args=arguments,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
                **keywords,
            )
    except SystemExit as end:
        if not end.code:
            raise
    words = re.sub(r"[╭╮╰╯│─]+", " ", box.getvalue().split("For full helptext")[0]).split()
    raise UserError(f"{' '.join(words)} (see {program} --help)")
