"""Errors that are shown to a user as one line, without a traceback."""

import re


class JaxganError(Exception):
    """Something went wrong that the message explains; `exit_code` is the command's."""

    exit_code = 1


class UserError(JaxganError):
    """The input is at fault; the message names the file, the field or the value, and what to do."""

    exit_code = 2


class NonFiniteError(JaxganError):
    """Training produced a NaN or an infinity."""


class StoppedError(JaxganError):
    """A signal stopped work that the same command takes up again."""

    exit_code = 75  # EX_TEMPFAIL


def first_line(error: BaseException) -> str:
    """What an error says, shortened; its kind where it says nothing."""
    if isinstance(error, ValueError) and re.search("contain(s|ing) pickled", str(error)):
        # NumPy's guess at any bytes that it does not know; it goes on to tell how to run them.
        return "it is damaged, or holds something else"
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
