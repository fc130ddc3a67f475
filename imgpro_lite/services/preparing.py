"""Keeping the reduced pictures that an upload makes on the way, for views that may come before they are finished."""

import asyncio
import logging
from pathlib import Path

from imgpro_lite.imaging.jobs import INTERMEDIATE_EDGES_PX
from imgpro_lite.runtime import Maker
from imgpro_lite.services.making import intermediate_name

log = logging.getLogger("imgpro_lite.preparing")


class Preparation:
    """The intermediates of one upload. A worker writes them to `paths`, by short edge in pixels, before and after the
    upload's answer; none when they are there already, or not wanted."""

    def __init__(self, maker: Maker, sha256: bytes) -> None:
        self._maker = maker
        self._names = {edge_px: intermediate_name(sha256, edge_px) for edge_px in INTERMEDIATE_EDGES_PX}
        store = maker.intermediates
        is_there = any(store.find(name, maker.clock.now()) for name in self._names.values())
        is_under_way = any(name in maker.preparing for name in self._names.values())
        is_wanted = store.max_bytes > 0 and not is_there and not is_under_way
        self.paths: dict[int, Path] = {}
        self._kept: list[str] = []
        self._is_dropped = self._has_ended = False
        if is_wanted:
            self.paths = {edge_px: store.temporary(name) for edge_px, name in self._names.items()}
            self._maker.preparing.update({name: asyncio.Event() for name in self._names.values()})

    def keep(self, edge_px: int) -> None:
        """Take up a file that is complete. A failure only makes later views slower."""
        if self._is_dropped or self._has_ended:
            return
        name = self._names[edge_px]
        try:
            self._maker.intermediates.adopt(self.paths[edge_px], name, self._maker.clock.now())
        except OSError:
            log.warning("an intermediate could not be kept", exc_info=True)
            return
        self._kept.append(name)
        self._maker.preparing[name].set()

    def end(self) -> None:
        """Let nobody wait any longer, and remove what was not completed."""
        if self._has_ended:
            return
        self._has_ended = True
        for edge_px in self.paths:
            self._maker.preparing.pop(self._names[edge_px]).set()
        for path in self.paths.values():
            try:
                path.unlink(missing_ok=True)
            except OSError:  # the next start tries again
                log.warning("what is left of an intermediate could not be removed", exc_info=True)

    def drop(self) -> None:
        """Keep nothing, because the upload was refused."""
        self._is_dropped = True
        for name in self._kept:
            self._maker.intermediates.remove(name)
