"""The composition root: builds the runtime, and puts routes, middleware and answers to errors around it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from imgpro_lite.background import Background
from imgpro_lite.backlog import Backlog
from imgpro_lite.clock import Clock, MovableClock
from imgpro_lite.dev import seed, state
from imgpro_lite.dev.control import Control
from imgpro_lite.dev.document import dev_overlay
from imgpro_lite.dev.fault_injection import FaultInjection
from imgpro_lite.dev.guard import Guard
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.dev.routes import dev_routes
from imgpro_lite.dev.traffic import TrafficGate
from imgpro_lite.errors import ImgProError, OperatorError, StorageFull
from imgpro_lite.fetching.fetcher import Fetcher
from imgpro_lite.fetching.internet import Internet
from imgpro_lite.hot_answers import HotAnswers
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.imaging.process import WorkerDied
from imgpro_lite.links import ExpiredLink, InvalidLink, Links
from imgpro_lite.mail.composer import Composer
from imgpro_lite.mail.senders import open_sender
from imgpro_lite.plans import PlanTable
from imgpro_lite.rate_windows import RateWindows
from imgpro_lite.runtime import Allowances, Mail, Maker, Runtime
from imgpro_lite.services.delivery import deliver_forever
from imgpro_lite.services.housekeeping import follow_others_forever, keep_house_forever, save_rate_windows
from imgpro_lite.services.manifests import write_manifests_forever
from imgpro_lite.services.orphans import remove_old_orphans_forever, set_orphans_aside
from imgpro_lite.services.refining import refine_forever
from imgpro_lite.services.sweeper import sweep_forever
from imgpro_lite.settings import BYTES_PER_MB, Settings
from imgpro_lite.single_flight import SingleFlight
from imgpro_lite.store import account_rows, failpoints, files, media_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.data_dir import (
    CACHE_NAME,
    DATABASE_NAME,
    INTERMEDIATES_NAME,
    hold_data_dir,
    load_secrets,
    mark_running,
    operator_errors,
)
from imgpro_lite.store.db import Database, open_database
from imgpro_lite.store.restoring_dir import RESTORING_NAME
from imgpro_lite.tally import Tally
from imgpro_lite.web import pages
from imgpro_lite.web.hot import HotPath
from imgpro_lite.web.middleware import Addresses, Cors, RequestLog, UnreadBody
from imgpro_lite.web.page_answer import Pages
from imgpro_lite.web.responses import render_error, render_http_exception, render_unexpected
from imgpro_lite.web.routes import routes

log = logging.getLogger("imgpro_lite.app")

# Variants that wait to be made once more; each is 1 KB. What is forgotten waits again at its next view.
MAX_REFINEMENTS = 1000

# What strangers may store together where the settings say 0 (decision 22).
STRANGERS_SHARE_OF_DISK = 0.1


def create_app(
    settings: Settings,
    clock: Clock | None = None,
    internet: Internet | None = None,
    pool: WorkerPool | None = None,
    dev: DevMode | None = None,
) -> Starlette:
    """The application. Its lifespan opens the data directory and starts the workers; it raises OperatorError."""
    clock = clock or Clock()
    control = Control(dev, MovableClock(clock)) if dev else None
    tally = Tally()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.control = control
        used_clock = control.clock if control else clock
        workers = pool or WorkerPool(settings.imaging)
        async with open_runtime(settings, used_clock, internet or Internet(), workers, control, tally) as runtime:
            app.state.runtime = runtime
            yield

    app = Starlette(
        routes=[*routes(), *_metrics_routes(settings), *(dev_routes() if dev else [])],
        lifespan=lifespan,
        middleware=_middleware(settings, control, tally),
        exception_handlers={
            ImgProError: render_error,
            HTTPException: render_http_exception,
            InvalidLink: pages.render_invalid_link,
            ExpiredLink: pages.render_expired_link,
            Exception: render_unexpected,
        },
    )
    # A redirect would be built from the request's Host header (decision 2).
    app.router.redirect_slashes = False
    app.state.tally = tally
    app.state.pages = Pages(settings, is_dev=dev is not None)
    app.state.overlays = [dev_overlay()] if dev else []
    return app


def _metrics_routes(settings: Settings) -> list[BaseRoute]:
    """The address of the metrics, if there is one among ours. prometheus-client is loaded only where it is used."""
    if not settings.metrics.is_on:
        return []
    from imgpro_lite.web.metrics import metrics_routes

    return metrics_routes(settings.metrics)


def _middleware(settings: Settings, control: Control | None, tally: Tally) -> list[Middleware]:
    """The outermost first, so that even a failure's answer has CORS headers, and every answer an id and a log line."""
    counted = tally if settings.metrics.is_on else None
    every_request = [
        Middleware(Cors, settings=settings),
        Middleware(RequestLog, tally=counted),
        Middleware(UnreadBody),
        Middleware(Addresses, settings=settings),
    ]
    if control:
        return [
            *every_request,
            Middleware(Guard, mode=control.mode),
            Middleware(FaultInjection),  # before the gate, so that no reset waits for the end of a delay
            Middleware(TrafficGate, traffic=control.traffic),
        ]
    # The short way for hot images. In dev mode nothing may pass the guard.
    return [Middleware(HotPath, settings=settings, tally=counted), *every_request]


@contextlib.asynccontextmanager
async def open_runtime(
    settings: Settings,
    clock: Clock,
    internet: Internet,
    pool: WorkerPool,
    control: Control | None = None,
    tally: Tally | None = None,
) -> AsyncIterator[Runtime]:
    """Everything that a server is made of, opened in order and closed in reverse. Raises OperatorError."""
    if points := failpoints.armed():
        log.warning("for tests only: %s is set, at %s", failpoints.VARIABLE, ", ".join(points))
    async with contextlib.AsyncExitStack() as stack:
        data_dir = stack.enter_context(hold_data_dir(settings.data_dir))
        if control:
            state.enter_dev_dir(data_dir, control)
        else:
            state.leave_dev_dir(data_dir)
        blobs, cache, intermediates = await _open_files(settings, data_dir)
        hot = HotAnswers(settings.cache.memory_mb * BYTES_PER_MB)
        mail = Mail(
            Composer(settings.public_url, settings.server.contact),
            open_sender(settings, data_dir, clock, is_dev=control is not None),
            asyncio.Event(),
        )
        db = await stack.enter_async_context(
            open_database(data_dir / DATABASE_NAME, clock, hot.forget, mail.queued.set, blobs.reserve)
        )
        await _refuse_without_files(db, blobs)
        _warn_of_full_disk(blobs)
        _warn_of_restoring(data_dir)
        # Only now: a start that is refused leaves it to the next one whether to look for what a crash left.
        blobs.may_have_orphans = stack.enter_context(mark_running(data_dir, lambda: blobs.is_tidy))
        rate_windows = RateWindows()
        rate_windows.restore(await db.read(account_rows.list_rate_windows, clock.now()))
        in_flight = SingleFlight()
        # Closed in reverse: what nobody waits for any more ends with the workers.
        stack.push_async_callback(in_flight.drain)
        stack.push_async_callback(pool.close)
        await _start_workers(pool)
        runtime = Runtime(
            settings=settings,
            public_url=settings.public_url,
            src_url=settings.src_url,
            plans=PlanTable.from_settings(settings.plans),
            allowances=_allowances(settings, data_dir),
            clock=clock,
            links=Links(load_secrets(data_dir), clock),
            db=db,
            mail=mail,
            fetcher=Fetcher(settings.import_, _own_hosts(settings), internet),
            blobs=blobs,
            maker=Maker(settings.imaging, blobs, cache, intermediates, pool, clock, in_flight),
            pool=pool,
            hot=hot,
            refinements=Backlog(MAX_REFINEMENTS),
            rate_windows=rate_windows,
            in_flight=in_flight,
            tally=tally or Tally(),
            is_dev=control is not None,
            gives_links=control is not None and control.mode.token is None,
        )
        stack.push_async_callback(save_rate_windows, runtime)
        if control:
            await state.begin(runtime, control)
            await seed.load(runtime, control)
        for background in (runtime.background, refining := Background()):
            stack.push_async_callback(background.stop)
        refining.start(partial(refine_forever, runtime))
        _start_background(runtime)
        yield runtime


async def _open_files(settings: Settings, data_dir: Path) -> tuple[BlobStore, VariantCache, VariantCache]:
    """The originals, the variants and the intermediates. Raises OperatorError."""
    storage = settings.storage
    blobs = BlobStore(data_dir, storage.min_free_mb * BYTES_PER_MB, storage.reserve_mb * BYTES_PER_MB)
    cache = VariantCache(data_dir / CACHE_NAME, settings.cache.max_mb * BYTES_PER_MB)
    intermediates = VariantCache(data_dir / INTERMEDIATES_NAME, settings.cache.intermediates_mb * BYTES_PER_MB)
    with operator_errors(data_dir):
        for prepare in (blobs.reserve.prepare, blobs.prepare, cache.prepare, intermediates.prepare):
            await asyncio.to_thread(prepare)
    return blobs, cache, intermediates


async def _start_workers(pool: WorkerPool) -> None:
    try:
        await pool.start()
    except (WorkerDied, TimeoutError) as error:
        raise OperatorError("The processes that decode pictures do not start; the log has the details.") from error


def _start_background(rt: Runtime) -> None:
    """Begin what writes to the library beside the requests. Refining does not: it makes files of files."""
    works = [keep_house_forever, follow_others_forever, sweep_forever, deliver_forever, remove_old_orphans_forever]
    if rt.blobs.may_have_orphans:
        works.append(set_orphans_aside)
    if not rt.is_dev:  # a library for tests need not outlive its database, and is reset all the time
        works.append(write_manifests_forever)
    rt.background.start(*(partial(work, rt) for work in works))


async def _refuse_without_files(db: Database, blobs: BlobStore) -> None:
    """Raise OperatorError where images are known and not a single file is there: the disk of `blobs/` is not mounted,
    or only the database was restored."""
    if await db.read(media_rows.has_live) and not await asyncio.to_thread(blobs.has_any):
        raise OperatorError(
            f"The database has images, but {blobs.root} has no files. Mount its disk, or restore it from a backup. If "
            "the files are lost for good, `imgpro-lite fsck --repair --remove-broken --force` removes their images."
        )


def _warn_of_restoring(data_dir: Path) -> None:
    """Nobody else would ever tell of what may be as large as the library."""
    if (data_dir / RESTORING_NAME).exists():
        log.warning(
            "%s was left by a restore that did not end. Run it again, or remove the directory.",
            data_dir / RESTORING_NAME,
        )


def _warn_of_full_disk(blobs: BlobStore) -> None:
    try:
        blobs.check_free_space()
    except StorageFull:
        log.warning("The disk has no room, or less than [storage] min_free_mb: uploads are refused until it has.")


def _allowances(settings: Settings, data_dir: Path) -> Allowances:
    share = int(files.total_bytes(data_dir) * STRANGERS_SHARE_OF_DISK)
    return Allowances(
        anonymous_storage_bytes=settings.anonymous.storage_mb * BYTES_PER_MB or share,
        unverified_storage_bytes=settings.limits.unverified_storage_mb * BYTES_PER_MB or share,
    )


def _own_hosts(settings: Settings) -> frozenset[str]:
    """The host names that people reach this server by."""
    urls = (settings.public_url, settings.api_url, settings.src_url)
    return frozenset((urlsplit(url).hostname or "").rstrip(".") for url in urls)
