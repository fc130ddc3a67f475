"""`imgpro-lite exec`: a command with a server of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import rich_click as click

from imgpro_lite.testing.server_process import SMALL_MIN_FREE_MB, ServerFailed, ServerProcess

# As `docker run` has it, so that it is none of the suite's.
EXIT_OWN_FAILURE = 125
# As shells have it.
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
EXIT_SIGNALLED = 128

# The default of [storage] min_free_mb. The settings themselves take 0.1 s to import.
DEFAULT_MIN_FREE_MB = 256
BYTES_PER_MB = 2**20

_PATH = click.Path(path_type=Path)


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--seed", type=_PATH, help="Seed folder that the server begins with.")
@click.option("--config", type=_PATH, help="Configuration file. Without one the hosted API's limits hold.")
@click.option("--log", type=_PATH, help="File to which the server's log is added.")
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec(  # noqa: A001
    umask: int, seed: Path | None, config: Path | None, log: Path | None, command: tuple[str, ...]
) -> None:
    """Run a command, such as a test suite, against a throw-away server in dev mode.

    It finds the server in IMGPRO_URL, a key of a verified team in IMGPRO_KEY, and the control plane in
    IMGPRO_CONTROL_URL. Its exit status is passed on, or is 125 when the server fails, and nothing of the server is
    left.
    """
    _refuse_what_cannot_be_run(command[0])
    child = _Child(command, umask)
    warn_of_little_room(config)
    try:
        with ServerProcess.start(seed=seed, config=config, log=log) as server:
            status = child.run(_variables(server))
            server.check()
    except ServerFailed as error:
        click.echo(f"imgpro-lite: {error}", err=True)
        sys.exit(EXIT_OWN_FAILURE)
    except OSError as error:
        click.echo(f"imgpro-lite: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True)
        sys.exit(EXIT_OWN_FAILURE)
    sys.exit(status)


def warn_of_little_room(config: Path | None) -> None:
    """Say why all uploads will be refused, where the suite only sees that they are."""
    directory = tempfile.gettempdir()
    needed_mb = DEFAULT_MIN_FREE_MB if config else SMALL_MIN_FREE_MB
    free_mb = shutil.disk_usage(directory).free // BYTES_PER_MB
    if free_mb < needed_mb:
        click.echo(
            f"imgpro-lite: {directory} has {free_mb} MB free, and below {needed_mb} uploads are refused, unless "
            "[storage] min_free_mb says otherwise. Set TMPDIR to a directory with more.",
            err=True,
        )


def _refuse_what_cannot_be_run(name: str) -> None:
    """Before a server is started for it."""
    if shutil.which(name) is None:
        is_there = os.path.dirname(name) and os.path.exists(name)  # noqa: PTH110, PTH120 - as which() sees it
        click.echo(f"imgpro-lite: {name}: {'cannot be executed' if is_there else 'command not found'}", err=True)
        sys.exit(EXIT_NOT_EXECUTABLE if is_there else EXIT_NOT_FOUND)


def _variables(server: ServerProcess) -> dict[str, str]:
    """What the command learns of the server."""
    return {
        "IMGPRO_URL": server.base_url,
        "IMGPRO_KEY": server.key,
        "IMGPRO_CONTROL_URL": server.facts["control_url"],
    }


class _Child:
    """The command, and the signals that are meant for it.

    Ctrl-C in a terminal reaches it without us, as it is in the foreground too; we wait until it has ended. Everything
    else is sent to us alone, and passed on. Before it runs, and so that the server is stopped, a signal is an exit.
    """

    def __init__(self, command: tuple[str, ...], umask: int) -> None:
        self._command = command
        self._umask = umask
        self._is_begun = False
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last one is not there on Windows
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or & in a script
                signal.signal(number, self._take)

    def run(self, variables: Mapping[str, str]) -> int:
        """Its exit status, as shells count."""
        self._is_begun = True
        environment = os.environ | variables
        self._process = subprocess.Popen(
            self._command, executable=shutil.which(self._command[0]), env=environment, umask=self._umask
        )
        for number in self._early:
            self._process.send_signal(number)
        code = self._process.wait()
        return code if code >= 0 else EXIT_SIGNALLED - code

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._is_begun:
            sys.exit(EXIT_SIGNALLED + number)
        if number == signal.SIGINT and _is_in_foreground():
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)  # does nothing once it has ended


def _is_in_foreground() -> bool:
    """Whether Ctrl-C in the terminal is for us and what we run. On Windows it is for all programs of a console."""
    if sys.platform == "win32":
        return True
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:  # noqa: PTH123
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # none, as in continuous integration
        return False
