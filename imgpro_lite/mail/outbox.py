"""Where mail goes without a mail server: files in the data directory, which mail programs open."""

import asyncio
import itertools
import os
import re
import secrets
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.mail.sending import Message
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import sync_directory, sync_file

# Strangers make these files, so there is an end to them: at about 7 KB each they take 70 MB.
MAX_FILES = 10_000

_STAMP = "%Y%m%dT%H%M%SZ"
# A date and time that strptime can read, so that no other file is ever taken for one of ours.
_NAME = re.compile(
    r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z-[0-9]+-[a-z_]+-[0-9a-f]+\.eml"
)


class Outbox:
    """A directory of mail, readable by its owner only: the links in it are as good as the mailbox that they are for."""

    def __init__(self, directory: Path, clock: Clock, keep_seconds: int) -> None:
        self._directory = directory
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._numbers = itertools.count(1)
        self._names: deque[str] | None = None
        """Our files, oldest first; None until the directory has been looked at."""

    async def send(self, message: Message) -> str:
        """Write the mail to a file of its own. Raises OSError."""
        name = await asyncio.to_thread(self._write, message)
        return f"written to {self._directory.name}/{name}, because [mail] host is not set"

    async def keep_tidy(self) -> None:
        """Remove what is older than its links are good for, and the oldest of too many. Raises OSError."""
        await asyncio.to_thread(self._remove_old)

    def forget_names(self) -> None:
        """Look at the directory anew, because others have changed what is in it."""
        self._names = None

    def _write(self, message: Message) -> str:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        names = self._listed()
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime(_STAMP)
        name = f"{stamp}-{next(self._numbers):06}-{message.kind}-{secrets.token_hex(4)}.eml"
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
        if not self._directory.is_dir():
            return
        names, now = self._listed(), self._clock.now()
        while names and (len(names) > MAX_FILES or _written_at(names[0]) + self._keep_seconds <= now):
            (self._directory / names.popleft()).unlink(missing_ok=True)

    def _listed(self) -> deque[str]:
        """Our files. Those of other names are somebody else's."""
        if self._names is None:  # for the first time: remove what a crash left half written
            for path in self._directory.glob(".*.eml.tmp"):
                path.unlink(missing_ok=True)
            self._names = deque(sorted(path.name for path in self._directory.iterdir() if _NAME.fullmatch(path.name)))
        return self._names


def _written_at(name: str) -> int:
    """Unix time from the name of one of our files."""
    return int(datetime.strptime(name.partition("-")[0], _STAMP).replace(tzinfo=UTC).timestamp())
