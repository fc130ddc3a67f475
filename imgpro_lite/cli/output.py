"""Standard output that cannot be written to, told apart from a data directory that cannot."""

import rich_click as click

from imgpro_lite.errors import OperatorError


class OutputFailed(OperatorError):
    """What was to be printed is lost: the disk behind it is full, or its reader has gone."""


def echo(text: str = "") -> None:
    """Print a line. Raises OutputFailed."""
    try:
        click.echo(text)
    except OSError as error:
        raise OutputFailed(f"The output cannot be written: {error.strerror}.") from error
