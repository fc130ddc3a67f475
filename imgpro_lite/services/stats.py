"""What a library holds, for the operator: read in one consistent view, beside a running server or alone."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.plans import PlanTable, month_number
from imgpro_lite.services.cache_stats import summarize
from imgpro_lite.settings import BYTES_PER_MB, SECONDS_PER_DAY, Settings
from imgpro_lite.store import metric_rows, stat_rows
from imgpro_lite.store.cache_files import CacheFiles
from imgpro_lite.store.data_dir import CACHE_NAME, DATABASE_NAME, INTERMEDIATES_NAME
from imgpro_lite.store.files import free_bytes
from imgpro_lite.store.metric_rows import TeamGroup
from imgpro_lite.store.sqlite_file import connect_to_read
from imgpro_lite.store.stat_rows import FormatUse, NamespaceUse, RowFigures, Uploads

SOON_DAYS = 7


@dataclass(frozen=True)
class TeamShare:
    """One of the largest teams, with what its plan allows; None is no limit."""

    team: str
    email: str | None
    kind: str
    plan: str
    uploads_used: int
    uploads_limit: int | None
    storage_bytes: int
    storage_limit_bytes: int | None


@dataclass(frozen=True)
class CacheUse:
    """A cache of files."""

    files: int
    size_bytes: int
    limit_bytes: int


@dataclass(frozen=True)
class Stats:
    """Sizes in bytes. What is deleted is still there for the grace period."""

    images: int
    uploaded_bytes: int
    stored_bytes: int
    """As files: images with the same bytes share one, and those of deleted images are there too."""
    formats: list[FormatUse]
    uploads: Uploads
    month_uploads: int
    expiring_soon: int
    deleted_images: int
    deleted_bytes: int
    teams: list[TeamGroup]
    largest_teams: list[TeamShare]
    largest_namespaces: list[NamespaceUse]
    mails_waiting: int
    variants: CacheUse
    intermediates: CacheUse
    database_bytes: int
    free_bytes: int


def gather(settings: Settings, clock: Clock, limit: int) -> Stats:
    """The figures, with as many of the largest. Raises OperatorError, sqlite3.Error and OSError."""
    directory, now = settings.data_dir.absolute(), clock.now()
    conn = connect_to_read(directory / DATABASE_NAME)
    try:
        conn.execute("BEGIN")  # so that all of it is of one moment
        rows = stat_rows.get_row_figures(conn, now, SECONDS_PER_DAY)
        return _stats(settings, conn, rows, now, limit)
    finally:
        conn.close()


def _stats(settings: Settings, conn: sqlite3.Connection, rows: RowFigures, now: int, limit: int) -> Stats:
    directory = settings.data_dir.absolute()
    uploaded_bytes = sum(use.size_bytes for use in rows.formats)
    return Stats(
        images=sum(use.images for use in rows.formats),
        uploaded_bytes=uploaded_bytes,
        stored_bytes=uploaded_bytes + rows.deleted_bytes - stat_rows.get_shared_bytes(conn),
        formats=rows.formats,
        uploads=rows.uploads,
        month_uploads=stat_rows.get_month_uploads(conn, month_number(now)),
        expiring_soon=stat_rows.count_expiring(conn, now + SOON_DAYS * SECONDS_PER_DAY),
        deleted_images=rows.deleted_images,
        deleted_bytes=rows.deleted_bytes,
        teams=metric_rows.list_team_groups(conn),
        largest_teams=_largest_teams(settings, conn, now, limit),
        largest_namespaces=stat_rows.list_largest_namespaces(conn, limit),
        mails_waiting=metric_rows.get_waiting(conn).mails,
        variants=_cache(directory / CACHE_NAME, settings.cache.max_mb),
        intermediates=_cache(directory / INTERMEDIATES_NAME, settings.cache.intermediates_mb),
        database_bytes=sum(path.stat().st_size for path in directory.glob(f"{DATABASE_NAME}*")),
        free_bytes=free_bytes(directory),
    )


def _largest_teams(settings: Settings, conn: sqlite3.Connection, now: int, limit: int) -> list[TeamShare]:
    plans, month = PlanTable.from_settings(settings.plans), month_number(now)
    shares = []
    for team in stat_rows.list_largest_teams(conn, limit):
        plan = plans.get(team.plan)
        shares.append(
            TeamShare(
                team.hash,
                team.email,
                team.kind,
                plan.name,
                team.uploads_used if team.uploads_month == month else 0,
                plan.uploads_limit,
                team.storage_bytes,
                plan.storage_limit_bytes,
            )
        )
    return shares


def _cache(directory: Path, max_mb: int) -> CacheUse:
    found = summarize(CacheFiles(directory).read()).total
    return CacheUse(found.variants, found.size_bytes, max_mb * BYTES_PER_MB)
