"""The console: where all that is said on the way is printed, as it is."""

from rich.console import Console


def open_console(quiet: bool = False, stderr: bool = False) -> Console:
    """A console that takes text as it is: brackets in the name of a run are no markup, and numbers have no colours.

    Args:
        quiet: print nothing.
        stderr: print to stderr, where stdout is for results.
    """
    return Console(quiet=quiet, stderr=stderr, markup=False, highlight=False, emoji=False)
