"""The command `imgpro-lite`: its groups, and how its failures are told."""

import os
import sqlite3
import sys

import rich_click as click

from imgpro_lite import __version__
from imgpro_lite.cli.cache import cache
from imgpro_lite.cli.doctor import doctor
from imgpro_lite.cli.keys import keys
from imgpro_lite.cli.mail import mail
from imgpro_lite.cli.media import media
from imgpro_lite.cli.serve import serve
from imgpro_lite.cli.signing import secrets
from imgpro_lite.cli.teams import teams
from imgpro_lite.cli.upload import upload
from imgpro_lite.config import ConfigError
from imgpro_lite.errors import OperatorError

EXIT_FAILED = 1
EXIT_WRONG_CONFIGURATION = 2  # as for a wrong command line


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="imgpro-lite")
def cli() -> None:
    """The hosted img.pro image API on your own machine."""


cli.add_command(serve)
cli.add_command(keys)
cli.add_command(teams)
cli.add_command(media)
cli.add_command(mail)
cli.add_command(cache)
cli.add_command(secrets)
cli.add_command(upload)
cli.add_command(doctor)


def main() -> None:
    """Run the command line. What the operator has to mend is told in words, never as a traceback."""
    # What the server writes is for its own user: e-mail addresses, private images, the secret.
    os.umask(0o077)
    try:
        cli()
    except ConfigError as error:
        click.echo("The configuration cannot be used:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(EXIT_WRONG_CONFIGURATION)
    except OperatorError as error:
        click.echo(f"imgpro-lite: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except sqlite3.Error as error:
        click.echo(f"imgpro-lite: The database failed: {error}. Nothing was changed by this command.", err=True)
        sys.exit(EXIT_FAILED)
