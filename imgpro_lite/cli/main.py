"""The command `imgpro-lite`: its groups, and how its failures are told."""

import importlib
import os
import sqlite3
import sys

import rich_click as click

from imgpro_lite import __version__
from imgpro_lite.cli.output import OutputFailed
from imgpro_lite.errors import ConfigError, OperatorError

EXIT_FAILED = 1
EXIT_WRONG_CONFIGURATION = 2  # as for a wrong command line
EXIT_INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT

# The commands in the order of the help, each with its module.
_MODULES = {
    "serve": "serve",
    "exec": "throwaway",
    "keys": "keys",
    "teams": "teams",
    "media": "media",
    "mail": "mail",
    "cache": "cache",
    "seed": "seed",
    "secrets": "signing",
    "upload": "upload",
    "push": "transfer",
    "pull": "transfer",
    "config": "configuration",
    "backup": "backup",
    "restore": "restore",
    "stats": "stats",
    "doctor": "doctor",
    "fsck": "fsck",
    "licenses": "licenses",
    "rebuild": "rebuild",
    "systemd": "systemd",
}


class _Commands(click.RichGroup):
    """Imports a command when it is used: all of them together take half a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        try:
            module = importlib.import_module(f"imgpro_lite.cli.{_MODULES[cmd_name]}")
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="imgpro-lite")
def cli() -> None:
    """The hosted img.pro image API on your own machine."""


def main() -> None:
    """Run the command line. What the operator has to mend is told in words, never as a traceback."""
    # What the server writes is for its own user: e-mail addresses, private images, the secret.
    umask = os.umask(0o077)
    try:
        cli(obj=umask)  # for commands of the user's that we run
    except ConfigError as error:
        click.echo("The configuration cannot be used:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(EXIT_WRONG_CONFIGURATION)
    except OutputFailed as error:
        click.echo(f"imgpro-lite: {error}", err=True)
        _give_up_output()
        sys.exit(EXIT_FAILED)
    except OperatorError as error:
        click.echo(f"imgpro-lite: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except OSError as error:  # a full disk behind the output, for example
        click.echo(f"imgpro-lite: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True)
        _give_up_output()
        sys.exit(EXIT_FAILED)
    except sqlite3.Error as error:
        # Some commands commit in several steps.
        click.echo(f"imgpro-lite: The database failed: {error}. What the command had done before stays done.", err=True)
        sys.exit(EXIT_FAILED)


def _give_up_output() -> None:
    """Let what could not be written be forgotten: Python would try it again at its end, and fail with a traceback."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
