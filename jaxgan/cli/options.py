"""How commands read what is given to them."""

import contextlib
import io
import re
from typing import Any

import tyro

from jaxgan.config import SEEDS
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
    _, _, text = box.getvalue().split("For full helptext")[0].partition("\n")  # Below the box's title.
    said = " ".join(re.sub(r"[╭╮╰╯│─]+|-{3,}", " ", text).split())
    said = re.sub(
        r"Error parsing (\S+): .*?(?:base 10|to float): '(.*?)'.* Argument helptext: \S+ (\[.*?\]{2}|\S+) .*",
        lambda found: f"{found[1]}: takes {found[3].removeprefix('{None}|')}, not {found[2]}",
        said,
    )
    raise UserError(f"{said} (see {program} --help)")


MOST = 100_000
"""Of pictures, rows, seeds: who asks for more has made a mistake, or is better served in parts."""


def check_range(name: str, value: int, least: int, most: int = MOST) -> None:
    """Raises UserError where the number given to --NAME is out of range."""
    if value < least:
        raise UserError(f"--{name} must be at least {least}, not {value}")
    if value > most:
        raise UserError(f"--{name} must be at most {most}, not {value}")


def check_truncation(value: float | None) -> None:
    """Raises UserError for a --truncation that is not above 0 and finite."""
    if value is not None and not 0 < value < float("inf"):
        raise UserError(f"--truncation must be above 0, not {value}")


def seeds(text: str) -> list[int]:
    """Reads what is given to --seeds: "0-99", "3,7,10-12"; in the order given, each once.

    Raises:
        UserError: it is no list of seeds, or too long.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not ends:
            raise UserError(f"--seeds: must be seeds and ranges of them such as 0-99 or 3,7,10-12, not {text}")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first:
            raise UserError(f"--seeds: {part.strip()} runs backwards")
        check_range("seeds", last, 0, SEEDS - 1)
        check_range("seeds", len(found) + last - first + 1, 1)
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


def check_seed(seed: int) -> None:
    """Raises UserError for a seed that JAX would wrap."""
    check_range("seed", seed, 0, SEEDS - 1)
