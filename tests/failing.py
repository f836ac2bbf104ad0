"""What commands say when they fail."""

import pytest

from jaxgan import cli


def fails(arguments, capsys, code=2):
    """The one line on stderr of a command that ends with this code."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert end.value.code == code, error
    assert error.count("\n") == 1, error
    return error
