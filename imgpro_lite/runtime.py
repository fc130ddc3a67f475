"""What a running server is made of. `app.py` builds it; handlers and services receive it."""

from dataclasses import dataclass

from imgpro_lite.clock import Clock
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.links import Links
from imgpro_lite.plans import PlanTable
from imgpro_lite.rate_windows import RateWindows
from imgpro_lite.settings import Settings
from imgpro_lite.single_flight import SingleFlight
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.db import Database


@dataclass(frozen=True)
class Allowances:
    """How much strangers may store together, in bytes; worked out from the settings and the size of the disk."""

    anonymous_storage_bytes: int
    unverified_storage_bytes: int


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
    blobs: BlobStore
    cache: VariantCache
    pool: WorkerPool
    rate_windows: RateWindows
    in_flight: SingleFlight
