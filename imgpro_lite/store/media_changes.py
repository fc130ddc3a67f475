"""Which images a transaction has changed. Triggers note it, so that no statement can forget to."""

import asyncio
import sqlite3
from collections.abc import Callable

# Of one connection only, and gone with it: nothing of this is in the file.
_TRIGGERS = """
CREATE TEMP TRIGGER note_media_update AFTER UPDATE ON main.media BEGIN SELECT note_media_change(OLD.id); END;
CREATE TEMP TRIGGER note_media_delete AFTER DELETE ON main.media BEGIN SELECT note_media_change(OLD.id); END;
"""


class MediaChanges:
    """The ids of images that were changed or removed, from one connection, for what remembers images in memory."""

    def __init__(self, on_change: Callable[[list[str]], None]) -> None:
        self._on_change = on_change
        self._ids: list[str] = []

    def watch(self, conn: sqlite3.Connection) -> None:
        """Note what this connection changes from now on."""
        conn.create_function("note_media_change", 1, lambda media_id: self._ids.append(media_id))
        conn.executescript(_TRIGGERS)

    def discard(self) -> None:
        """Forget what was noted. Called, as `tell`, in the connection's thread."""
        self._ids.clear()

    def tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the event loop hear of what was noted."""
        if self._ids:
            ids, self._ids = self._ids, []
            loop.call_soon_threadsafe(self._on_change, ids)
