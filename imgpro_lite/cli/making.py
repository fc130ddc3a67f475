"""What the commands share that decode pictures: workers of their own, and the server's files."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from imgpro_lite.cli.offline import library_clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.imaging import sandbox
from imgpro_lite.imaging.capacity import share_out
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.imaging.process import WorkerDied
from imgpro_lite.runtime import Maker
from imgpro_lite.settings import Settings
from imgpro_lite.single_flight import SingleFlight
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.data_dir import CACHE_NAME, INTERMEDIATES_NAME, operator_errors

NO_LIMIT_BYTES = sys.maxsize  # the server sees to it that its caches stay small enough


@contextlib.asynccontextmanager
async def open_maker(settings: Settings, blobs: BlobStore, *, is_alone: bool = False) -> AsyncIterator[Maker]:
    """Workers of the command's own, fewer unless it is known that no server runs, and the server's caches.

    Raises OperatorError.
    """
    data_dir = settings.data_dir.absolute()
    cache, intermediates = (VariantCache(data_dir / name, NO_LIMIT_BYTES) for name in (CACHE_NAME, INTERMEDIATES_NAME))
    with operator_errors(data_dir):
        cache.prepare(beside_server=True)
        intermediates.prepare(beside_server=True)
    # Half as many as the server has, each with as much memory: where one runs, they are there besides its own.
    count, memory_mb = share_out(settings.imaging, sandbox.count_cores(), sandbox.total_memory_mb())
    share = {"workers": count if is_alone else max(1, count // 2), "worker_memory_mb": memory_mb}
    imaging = settings.imaging.model_copy(update=share)
    in_flight = SingleFlight()
    pool = WorkerPool(imaging)
    async with contextlib.AsyncExitStack() as stack:
        # Closed in reverse: what was under way ends with the workers, and removes its temporary file.
        stack.push_async_callback(in_flight.drain)
        stack.push_async_callback(pool.close)
        try:
            await pool.start()
        except (WorkerDied, TimeoutError) as error:
            raise OperatorError("The processes that decode pictures do not start.") from error
        yield Maker(imaging, blobs, cache, intermediates, pool, library_clock(settings), in_flight)


def require_owner(directory: Path) -> None:
    """Raise OperatorError for another user than the server's, who could not read what this one makes."""
    if hasattr(os, "geteuid") and directory.stat().st_uid != os.geteuid():
        raise OperatorError(
            f"The directory {directory.absolute()} belongs to another user. Run this as that user, so that the server "
            "can read what is made."
        )
