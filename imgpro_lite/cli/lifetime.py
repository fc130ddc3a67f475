"""How long a server runs that another program has started: no longer than that program."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from imgpro_lite.errors import OperatorError

_READ_BYTES = 4096
_AGAIN_SECONDS = 1.0


def clean_up_at_sigterm() -> None:
    """Have SIGTERM leave all `with` blocks, also before the server listens and has a handler of its own for it."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # another one must not end the cleaning up
    sys.exit(128 + number)


def end_at_once() -> NoReturn:
    """End with status 0 and without taking Python apart, which takes 0.2 s: somebody waits for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def stop_with_stdin() -> None:
    """Stop this process, as SIGTERM does, as soon as standard input ends: its writer has closed it or is gone.

    Raises OperatorError when that is so already.
    """
    if sys.platform != "win32" and _is_at_end_of_stdin():  # where only sockets can be asked
        raise OperatorError(
            "--stop-with-stdin: standard input is at its end, as that of a command in the background of a script is. "
            "Give the server a pipe whose other end stays open as long as it is to run."
        )
    threading.Thread(target=_stop_at_end_of_stdin, name="stop-with-stdin", daemon=True).start()


def _is_at_end_of_stdin() -> bool:
    """Whether nothing will come any more. What has come is of no interest to anybody."""
    try:
        readable, _, _ = select.select([0], [], [], 0)
        return bool(readable) and not os.read(0, _READ_BYTES)
    except OSError:  # closed
        return True


def _stop_at_end_of_stdin() -> None:
    # Not sys.stdin.read(): a thread that waits inside of it keeps Python from ending.
    with contextlib.suppress(OSError):  # closed from the start
        while os.read(0, _READ_BYTES):
            pass
    while True:  # again, as the first may come when one handler has gone and the next is not there yet
        signal.raise_signal(signal.SIGTERM)
        time.sleep(_AGAIN_SECONDS)
