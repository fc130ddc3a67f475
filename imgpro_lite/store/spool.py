"""A file that is still arriving: written, counted and hashed as its bytes come in."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from imgpro_lite.byte_budget import ByteBudget
from imgpro_lite.formats import SNIFF_BYTES
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import disk_full_as_refusal, sync_file

# Bytes collected before a thread writes and hashes them: a hop between threads costs about 0.1 ms, writing and hashing
# 512 KiB about 1 ms. Two such buffers for each of 20 uploads at once are 20 MB. When more come at once than the budget
# has room for, such as those of clients that only hold connections, they collect less and are a little slower.
BATCH_BYTES = 512 * 1024
CROWDED_BATCH_BYTES = 64 * 1024


@dataclass(frozen=True)
class SpooledFile:
    """A file that arrived whole. `head` are its first SNIFF_BYTES; it is not synced yet."""

    path: Path
    descriptor: int
    size_bytes: int
    sha256: bytes
    head: bytes

    async def sync(self) -> None:
        """Return when the bytes are on the disk. Raises StorageFull, or OSError for a failing disk."""
        with disk_full_as_refusal():
            reached("upload.written")
            await asyncio.to_thread(sync_file, self.descriptor)
            reached("upload.synced")


class Spool:
    """Takes the bytes of one file. One thread at a time writes and hashes while the next bytes arrive. `abandon` must
    follow, which gives back to the budget."""

    def __init__(self, path: Path, descriptor: int, budget: ByteBudget) -> None:
        self._path = path
        self._descriptor = descriptor
        self._budget = budget
        self._budgeted_bytes = 2 * BATCH_BYTES if budget.take(2 * BATCH_BYTES) else 0
        self._hash = hashlib.sha256()
        self._batch = bytearray()
        self._writing: asyncio.Future[None] | None = None
        self.size_bytes = 0
        self.head = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Call `flush_if_needed` before feeding more than a batch."""
        self.size_bytes += len(data)
        if len(self.head) < SNIFF_BYTES:
            self.head += data[: SNIFF_BYTES - len(self.head)]
        self._batch += data

    async def flush_if_needed(self) -> None:
        """Write a full batch, in the background. Raises StorageFull when an earlier one did not fit."""
        if len(self._batch) >= (BATCH_BYTES if self._budgeted_bytes else CROWDED_BATCH_BYTES):
            await self._start_writing()

    async def finish(self) -> SpooledFile:
        """The whole file. Raises StorageFull."""
        await self._start_writing()
        await self._wait()
        return SpooledFile(self._path, self._descriptor, self.size_bytes, self._hash.digest(), self.head)

    async def abandon(self) -> None:
        """Let a write that is under way end, before the descriptor is closed under it."""
        self._budget.give_back(self._budgeted_bytes)
        self._budgeted_bytes = 0
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _start_writing(self) -> None:
        await self._wait()
        batch, self._batch = self._batch, bytearray()
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write_and_hash, batch)

    async def _wait(self) -> None:
        if self._writing is not None:
            with disk_full_as_refusal():
                await asyncio.shield(self._writing)

    def _write_and_hash(self, batch: bytearray) -> None:
        view = memoryview(batch)
        while view:  # a write may be short: on a disk that is nearly full the first one is
            view = view[os.write(self._descriptor, view) :]
        self._hash.update(batch)


def copy_to_spool(source: Path, path: Path, descriptor: int) -> SpooledFile:
    """A file of this machine as a copy in an empty one. Raises StorageFull, or OSError if it cannot be read."""
    hash_, head, size_bytes = hashlib.sha256(), b"", 0
    with disk_full_as_refusal(), source.open("rb") as file, os.fdopen(os.dup(descriptor), "wb") as target:
        while batch := file.read(BATCH_BYTES):
            target.write(batch)
            hash_.update(batch)
            head = head or batch[:SNIFF_BYTES]
            size_bytes += len(batch)
    return SpooledFile(path, descriptor, size_bytes, hash_.digest(), head)


@asynccontextmanager
async def open_spool(blobs: BlobStore, budget: ByteBudget) -> AsyncIterator[Spool]:
    """A spool for a new file, which is gone after the block unless the store adopted it."""
    with blobs.temporary() as (path, descriptor):
        spool = Spool(path, descriptor, budget)
        try:
            yield spool
        finally:
            await spool.abandon()
