"""What a transaction has done that others have to hear of. Triggers note it, so that no statement can forget to."""

import asyncio
import sqlite3
from collections.abc import Callable

# Of one connection only, and gone with it: nothing of this is in the file.
_TRIGGERS = """
CREATE TEMP TRIGGER note_media_update AFTER UPDATE ON main.media BEGIN SELECT note_media_change(OLD.id); END;
CREATE TEMP TRIGGER note_media_delete AFTER DELETE ON main.media BEGIN SELECT note_media_change(OLD.id); END;
CREATE TEMP TRIGGER note_mail_insert AFTER INSERT ON main.mail_queue BEGIN SELECT note_mail(); END;
"""


class Changes:
    """What one connection has changed: the ids of images that were changed or removed, and whether mail was queued."""

    def __init__(self, on_media: Callable[[list[str]], None], on_mail: Callable[[], None]) -> None:
        self._on_media = on_media
        self._on_mail = on_mail
        self._media_ids: list[str] = []
        self._is_mail_queued = False

    def watch(self, conn: sqlite3.Connection) -> None:
        """Note what this connection changes from now on."""
        conn.create_function("note_media_change", 1, self._media_ids.append)
        conn.create_function("note_mail", 0, self._note_mail)
        conn.executescript(_TRIGGERS)

    def discard(self) -> None:
        """Forget what was noted. Called, as `tell`, in the connection's thread."""
        self._media_ids.clear()
        self._is_mail_queued = False

    def tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the event loop hear of what was noted."""
        if self._media_ids:
            loop.call_soon_threadsafe(self._on_media, self._media_ids.copy())
        if self._is_mail_queued:
            loop.call_soon_threadsafe(self._on_mail)
        self.discard()

    def _note_mail(self) -> None:
        self._is_mail_queued = True
