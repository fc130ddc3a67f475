"""Where mail goes without a mail server: files in the data directory, which mail programs open."""

import asyncio
import os
import re
import secrets
import threading
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.mail.sending import Message
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import sync_directory, sync_file

# Strangers make these files, so there is an end to them: at about 7 KB each they take 70 MB.
MAX_FILES = 10_000

_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9]+-[a-z_]+-[0-9a-f]+\.eml")


class Outbox:
    """A directory of mail, readable by its owner only: the links in it are as good as the mailbox that they are for."""

    def __init__(self, directory: Path, clock: Clock, keep_seconds: int | None, reason: str) -> None:
        self._directory = directory
        self._clock = clock
        self._keep_seconds = keep_seconds
        """None keeps mail however old it is."""
        self._reason = reason
        """Why mail is not sent, for the log."""
        self._names: deque[str] | None = None
        """Our files, oldest first; None until the directory has been looked at."""
        self._lock = threading.Lock()
        """Held by the thread that changes the directory."""
        self._next_arrival = asyncio.Event()

    @property
    def next_arrival(self) -> asyncio.Event:
        """Set when the next mail is there. Whoever waits takes it before looking, so that none is missed."""
        return self._next_arrival

    async def send(self, message: Message) -> str:
        """Write the mail to a file of its own. Raises OSError."""
        name = await asyncio.to_thread(self._write, message)
        self._announce()
        return f"written to {self._directory.name}/{name}, {self._reason}"

    async def keep_tidy(self) -> None:
        """Remove what is older than its links are good for, and the oldest of too many. Raises OSError."""
        await asyncio.to_thread(self._remove_old)

    def forget_names(self) -> None:
        """Look at the directory anew, because others have changed what is in it."""
        self._names = None
        self._announce()

    def list_names(self) -> list[str]:
        """The files, in the order in which they were written. Others may have written some too. Raises OSError."""
        if not self._directory.is_dir():
            return []
        return sorted((path.name for path in self._directory.iterdir() if is_name(path.name)), key=order)

    def read(self, name: str) -> bytes | None:
        """The mail in a file; None when there is no such file of ours. Raises OSError."""
        try:
            return (self._directory / name).read_bytes() if is_name(name) else None
        except FileNotFoundError:
            return None

    def remove(self, names: Iterable[str]) -> None:
        """Remove some of the files. Raises OSError."""
        with self._lock:
            for name in names:
                (self._directory / name).unlink(missing_ok=True)
            self._names = None

    def _announce(self) -> None:
        self._next_arrival.set()
        self._next_arrival = asyncio.Event()

    def _write(self, message: Message) -> str:
        with self._lock:
            return self._write_alone(message)

    def _write_alone(self, message: Message) -> str:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        names = self._listed()
        # Numbers go on over restarts and whatever the clock does, so they tell which mail came first.
        number = order(names[-1])[0] + 1 if names else 1
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime(_STAMP)
        name = f"{stamp}-{number:06}-{message.kind}-{secrets.token_hex(4)}.eml"
        path, unfinished = self._directory / name, self._directory / f".{name}.tmp"
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(message.content)
                file.flush()
                sync_file(file.fileno())
            reached("outbox.written")
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        reached("outbox.renamed")
        sync_directory(self._directory)
        names.append(name)
        return name

    def _remove_old(self) -> None:
        with self._lock:
            if not self._directory.is_dir():
                return
            names = self._listed()
            while names and (len(names) > MAX_FILES or self._is_too_old(names[0])):
                (self._directory / names.popleft()).unlink(missing_ok=True)

    def _is_too_old(self, name: str) -> bool:
        return self._keep_seconds is not None and _written_at(name) + self._keep_seconds <= self._clock.now()

    def _listed(self) -> deque[str]:
        """Our files. Those of other names are somebody else's."""
        if self._names is None:  # for the first time: remove what a crash left half written
            for path in self._directory.glob(".*.eml.tmp"):
                path.unlink(missing_ok=True)
            self._names = deque(self.list_names())
        return self._names


def is_name(name: str) -> bool:
    """Whether a file is one of ours: it begins with a date and time that there are."""
    try:
        return _NAME.fullmatch(name) is not None and _written_at(name) > 0
    except ValueError:
        return False


def order(name: str) -> tuple[int, str]:
    """What our files are sorted by."""
    return int(name.split("-")[1]), name


def kind_of(name: str) -> str:
    """What the mail in one of our files is about."""
    return name.split("-")[2]


def _written_at(name: str) -> int:
    """Unix time from the name of one of our files."""
    return int(datetime.strptime(name.partition("-")[0], _STAMP).replace(tzinfo=UTC).timestamp())
