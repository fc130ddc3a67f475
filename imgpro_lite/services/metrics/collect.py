"""The values of the metrics: of the tally, of the parts of the server, and of database and disk."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imgpro_lite import __version__
from imgpro_lite.hot_answers import HotAnswers
from imgpro_lite.imaging.jobs import Priority
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.metrics import catalogue as names
from imgpro_lite.services.metrics.catalogue import Metric
from imgpro_lite.settings import BYTES_PER_MB, SECONDS_PER_DAY
from imgpro_lite.store import metric_rows
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.data_dir import DATABASE_NAME
from imgpro_lite.store.files import free_bytes, total_bytes
from imgpro_lite.store.metric_rows import TeamGroup, Waiting
from imgpro_lite.tally import IMAGE_ROUTE, Histogram

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """A metric with its values now, by the values of its labels."""

    metric: Metric
    values: dict[Labels, float | Histogram]


@dataclass(frozen=True)
class LibraryFigures:
    """What takes some time to count."""

    images: int
    groups: list[TeamGroup]


@dataclass(frozen=True)
class DiskFigures:
    """Sizes in bytes."""

    free_bytes: int
    total_bytes: int
    database_bytes: int
    wal_bytes: int
    is_reserve_released: bool


async def collect(rt: Runtime) -> list[Family]:
    """Every metric, read from the database and the disk in threads, while requests are answered."""
    library = await rt.library_figures.get(lambda: _count_library(rt))
    waiting = await rt.db.read(metric_rows.get_waiting)
    disk = await asyncio.to_thread(_measure_disk, rt)
    return [
        *_of_requests(rt),
        *_of_workers(rt),
        *_of_caches(rt),
        *_of_library(rt, library, waiting),
        *_of_disk(rt, disk),
    ]


async def _count_library(rt: Runtime) -> LibraryFigures:
    return LibraryFigures(await rt.db.scan(metric_rows.count_images), await rt.db.scan(metric_rows.list_team_groups))


def _measure_disk(rt: Runtime) -> DiskFigures:
    directory = rt.settings.data_dir
    return DiskFigures(
        free_bytes(directory),
        total_bytes(directory),
        _size_bytes(directory / DATABASE_NAME),
        _size_bytes(directory / f"{DATABASE_NAME}-wal"),
        rt.blobs.reserve.is_missing,
    )


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _gauge(metric: Metric, value: float) -> Family:
    return Family(metric, {(): float(value)})


def _of_requests(rt: Runtime) -> Iterator[Family]:
    tally = rt.tally
    requests: dict[Labels, float | Histogram] = {
        (method, route, str(status)): float(count) for (method, route, status), count in tally.requests.items()
    }
    for (method, status), count in tally.hot_requests.items():
        key = (method, IMAGE_ROUTE, str(status))
        requests[key] = count + tally.requests[method, IMAGE_ROUTE, status]
    yield Family(names.BUILD_INFO, {(__version__,): 1.0})
    yield Family(names.REQUESTS, requests)
    yield Family(names.REQUEST_SECONDS, {(kind,): histogram for kind, histogram in tally.durations.items()})
    yield _gauge(names.IN_FLIGHT, tally.in_flight)
    yield _gauge(names.CONNECTIONS, tally.connections)
    yield _gauge(names.CONNECTIONS_REFUSED, tally.connections_refused)
    yield Family(names.REFUSALS, {key: float(count) for key, count in tally.refusals.items()})
    yield Family(names.UPLOADS, {key: float(count) for key, count in tally.uploads.items()})


def _of_workers(rt: Runtime) -> Iterator[Family]:
    pool, tally = rt.pool, rt.pool.tally
    waiting = pool.line.count_waiting()
    yield _gauge(names.WORKERS, pool.count_alive())
    yield _gauge(names.WORKERS_BUSY, pool.busy)
    yield Family(names.REPLACED, {(why,): float(count) for why, count in tally.replaced.items()})
    yield Family(names.QUEUE_JOBS, {(one.name.lower(),): float(waiting[one]) for one in Priority})
    yield Family(names.QUEUE_SECONDS, {(one.name.lower(),): pool.line.expected_wait_seconds(one) for one in Priority})
    yield Family(names.JOBS, {key: float(count) for key, count in tally.jobs.items()})
    yield Family(names.JOB_SECONDS, {(job,): seconds for job, seconds in tally.busy_seconds.items()})
    yield Family(names.TRANSFORMS, {key: float(count) for key, count in tally.transforms.items()})
    yield Family(names.TRANSFORM_SECONDS, {(format_,): one for format_, one in tally.transform_seconds.items()})


def _of_caches(rt: Runtime) -> Iterator[Family]:
    memory_hits = sum(rt.tally.hot_requests.values())
    looked_up = {
        "memory": (memory_hits, rt.tally.memory_misses),
        "variants": (rt.maker.cache.hits, rt.maker.cache.misses),
        "intermediates": (rt.maker.intermediates.hits, rt.maker.intermediates.misses),
    }
    caches: dict[str, HotAnswers | VariantCache] = {
        "memory": rt.hot,
        "variants": rt.maker.cache,
        "intermediates": rt.maker.intermediates,
    }
    requests: dict[Labels, float | Histogram] = {}
    for cache, (hits, misses) in looked_up.items():
        requests |= {(cache, "hit"): float(hits), (cache, "miss"): float(misses)}
    yield Family(names.CACHE_REQUESTS, requests)
    yield Family(names.CACHE_BYTES, {(name,): float(cache.total_bytes) for name, cache in caches.items()})
    yield Family(names.CACHE_MAX_BYTES, {(name,): float(cache.max_bytes) for name, cache in caches.items()})
    yield Family(names.CACHE_ENTRIES, {(name,): float(cache.count) for name, cache in caches.items()})


def _of_library(rt: Runtime, library: LibraryFigures, waiting: Waiting) -> Iterator[Family]:
    now = rt.clock.now()
    stored_bytes: dict[Labels, float | Histogram] = {}
    for kind in ("anonymous", "unverified", "verified"):
        stored_bytes[(kind,)] = float(sum(group.storage_bytes for group in library.groups if group.kind == kind))
    yield _gauge(names.IMAGES, library.images)
    yield Family(names.STORED_BYTES, stored_bytes)
    yield Family(names.TEAMS, {(group.plan, group.kind): float(group.teams) for group in library.groups})
    yield _gauge(names.MAIL_WAITING, waiting.mails)
    yield _gauge(names.MAIL_SECONDS, _since(waiting.oldest_mail_at, now))
    yield Family(names.SWEPT, {(action,): float(rt.tally.swept[action]) for action in ("expired", "purged")})
    due_before = now - rt.settings.storage.grace_days * SECONDS_PER_DAY
    behind = max(_since(waiting.next_expiry_at, now), _since(waiting.oldest_deletion_at, due_before))
    yield _gauge(names.SWEEP_BEHIND, behind)


def _since(at: int | None, now: int) -> float:
    """Seconds that have passed; 0 for what is still to come, and for nothing."""
    return 0.0 if at is None else float(max(0, now - at))


def _of_disk(rt: Runtime, disk: DiskFigures) -> Iterator[Family]:
    yield _gauge(names.DISK_FREE, disk.free_bytes)
    yield _gauge(names.DISK_SIZE, disk.total_bytes)
    yield _gauge(names.DISK_MARK, rt.settings.storage.min_free_mb * BYTES_PER_MB)
    yield _gauge(names.RESERVE, disk.is_reserve_released)
    yield _gauge(names.DATABASE_BYTES, disk.database_bytes)
    yield _gauge(names.WAL_BYTES, disk.wal_bytes)
