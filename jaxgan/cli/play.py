"""`jaxgan play`: a page to play on."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.cli.options import Positional, check_range
from jaxgan.support.errors import UserError

LOCAL = ("127.0.0.1", "localhost")


@dataclasses.dataclass(frozen=True)
class Play:
    """Open a page to play on in the browser: sliders, mixed styles, projection, style transfer, runs to watch.

    jaxgan play                    with the generator that ships

    jaxgan play runs/x             with one of your own; beside it, all runs of runs/ to watch

    The page is on this machine alone, and asks nothing of any other. Ctrl-C ends it.
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN|emoji")] = Path("emoji")
    """Directory of a run, or of several, to watch; emoji: the generator that ships, and the runs in runs/."""
    port: int | None = None
    """Where the page is; 8472 if not given, or any where that is taken."""
    browser: bool = True
    """Open the page in a browser."""
    host: str = "127.0.0.1"
    """Let others on the network see the page, at this address of the machine (0.0.0.0: all). It takes a --password, and
    is not encrypted; `ssh -L 8472:127.0.0.1:8472 MACHINE` is safer."""
    password: str | None = None
    """Asked for by the page."""

    def __call__(self) -> None:
        if self.port is not None:
            check_range("port", self.port, 0, 65535)
        if self.host not in LOCAL and not self.password:
            raise UserError(f"--host {self.host}: lets others in; give a --password with it")
        if self.password == "":
            raise UserError("--password: is empty")
        try:
            from jaxgan.run.page import server
        except ImportError as error:
            raise UserError(f"play: {error.name} is missing: pip install 'jaxgan[play]'") from None
        server.run(self.run, self.host, self.port, self.password, self.browser)
