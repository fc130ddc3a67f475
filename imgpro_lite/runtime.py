"""What a running server is made of. `app.py` builds it; handlers and services receive it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from imgpro_lite.background import Background
from imgpro_lite.backlog import Backlog
from imgpro_lite.byte_budget import ByteBudget
from imgpro_lite.clock import Clock
from imgpro_lite.fetching.fetcher import Fetcher
from imgpro_lite.hot_answers import HotAnswers
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.links import Links
from imgpro_lite.mail.composer import Composer
from imgpro_lite.mail.sending import Sender
from imgpro_lite.plans import PlanTable
from imgpro_lite.rate_windows import RateWindows
from imgpro_lite.remembered import Remembered
from imgpro_lite.settings import BYTES_PER_MB, ImagingSettings, Settings
from imgpro_lite.single_flight import SingleFlight
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.db import Database
from imgpro_lite.tally import Tally


@dataclass(frozen=True)
class Allowances:
    """How much strangers may store together, in bytes; worked out from the settings and the size of the disk."""

    anonymous_storage_bytes: int
    unverified_storage_bytes: int


# The server is to stay below 250 MB whatever strangers send; it has 60 MB, and its connections may take 100.
LARGE_BODIES_BYTES = 32 * BYTES_PER_MB

# How often what the database says may be read for /metrics, however often that is asked for; and the most of the time
# that reading may take. Counting a million images takes 40 ms, so that it is done every 40 seconds.
FIGURES_SECONDS = 10.0
FIGURES_SHARE = 0.001


@dataclass(frozen=True)
class Maker:
    """What it takes to make variants, in the server and in the operator's commands."""

    settings: ImagingSettings
    blobs: BlobStore
    cache: VariantCache
    intermediates: VariantCache
    pool: WorkerPool
    clock: Clock
    in_flight: SingleFlight
    preparing: dict[str, asyncio.Event] = field(default_factory=dict)
    """The intermediates that are being made of uploads now, by name. Set when there is nothing to wait for any more."""


@dataclass(frozen=True)
class Mail:
    """What it takes to send mail."""

    composer: Composer
    sender: Sender
    queued: asyncio.Event
    """Set when there is new mail to send."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while mail is sent: one connection at a time."""


@dataclass(frozen=True)
class Runtime:
    """Everything that a request may need. Nothing of it is global."""

    settings: Settings
    public_url: str
    src_url: str
    plans: PlanTable
    allowances: Allowances
    clock: Clock
    links: Links
    db: Database
    mail: Mail
    fetcher: Fetcher
    blobs: BlobStore
    maker: Maker
    pool: WorkerPool
    hot: HotAnswers
    refinements: Backlog[Any]
    """Variants that are to be made again with more care, by name."""
    rate_windows: RateWindows
    in_flight: SingleFlight
    tally: Tally = field(default_factory=Tally)
    library_figures: Remembered[Any] = field(default_factory=lambda: Remembered(FIGURES_SECONDS, FIGURES_SHARE))
    """What /metrics tells of the database."""
    is_dev: bool = False
    gives_links: bool = False
    """Whether answers carry verification links, and links act when they are fetched: in dev mode, where nobody but this
    machine can ask."""
    background: Background = field(default_factory=Background)
    """What writes to the library beside the requests."""
    extra_storage_bytes: dict[str, int] = field(default_factory=dict)
    """What teams, by hash, count as stored beside their images. Only the control plane of dev mode puts anything in."""
    large_bodies: ByteBudget = field(default_factory=lambda: ByteBudget(LARGE_BODIES_BYTES))
    """What bodies that are read into memory may take together, beyond the beginning that each may have."""

    @property
    def has_mail(self) -> bool:
        """Whether mail reaches those whom it is for: over a mail server, or in dev mode the outbox."""
        return bool(self.settings.mail.host) or self.is_dev
