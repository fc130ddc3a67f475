"""`imgpro-lite exec`: a command with a server of its own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import rich_click as click

from imgpro_lite.errors import OperatorError
from imgpro_lite.testing.server_process import ServerFailed, ServerProcess

# As shells have it.
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
EXIT_SIGNALLED = 128

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
    IMGPRO_CONTROL_URL. Its exit status is passed on, and nothing of the server is left.
    """
    _refuse_what_cannot_be_run(command[0])
    child = _Child(command, umask)
    try:
        with ServerProcess.start(seed=seed, config=config, log=log) as server:
            status = child.run(_variables(server))
            server.check()
    except ServerFailed as error:
        raise OperatorError(str(error)) from None
    sys.exit(status)


def _refuse_what_cannot_be_run(name: str) -> None:
    """Before a server is started for it."""
    if shutil.which(name) is None:
        is_there = os.path.dirname(name) and os.path.exists(name)  # noqa: PTH110, PTH120 - as which() sees it
        click.echo(f"imgpro-lite: {name}: {'cannot be executed' if is_there else 'command not found'}", err=True)
        sys.exit(EXIT_NOT_EXECUTABLE if is_there else EXIT_NOT_FOUND)


def _variables(server: ServerProcess) -> dict[str, str]:
    """What the command learns of the server."""
    return {
        "IMGPRO_URL": server.facts["url"],
        "IMGPRO_KEY": server.key,
        "IMGPRO_CONTROL_URL": server.facts["control_url"],
    }


class _Child:
    """The command, and the signals that are meant for it.

    Ctrl-C reaches it without us, as it is in the terminal's foreground too; we wait until it has ended. What is sent to
    us alone is passed on. Before it runs, and so that the server is stopped, a signal is an exit.
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
        if number == signal.SIGINT:
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)  # does nothing once it has ended
