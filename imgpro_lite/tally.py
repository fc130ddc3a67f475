"""What has happened since the start, in plain numbers: for /metrics, which presents them when somebody asks.

A counter of prometheus-client takes a lock and a microsecond, which is 2 % of a hot request; an addition is 0.05 us.
One event loop uses all of this, so nothing here needs a lock. No label is ever what a stranger has sent.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imgpro_lite.errors import ImgProError, QuotaExceeded
from imgpro_lite.formats import SIZES_PX

# From an answer out of memory (0.1 ms) over a transform (100 ms) to a large upload on a slow line.
REQUEST_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# From a small variant of an intermediate to the deadline.
TRANSFORM_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# What requests are counted by: any other method is somebody's invention.
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"

_SIZE_NAMES = {edge_px: name for name, edge_px in SIZES_PX.items()}

# The route of a request that none of ours fits.
NO_ROUTE = "none"
IMAGE_ROUTE = "/{team_hash}/{media_id}.{extension}"

# Refusals that are watched: a rate needs a value from before the first.
_FROM_THE_START = (
    ("quota_exceeded", "month"),
    ("quota_exceeded", "storage"),
    ("rate_limited", ""),
    ("overloaded", ""),
    ("storage_full", ""),
    ("internal_error", ""),
)
# So are the main requests that fail, and what becomes of uploads.
_REQUESTS_FROM_THE_START = tuple(
    (method, route, status) for method, route in (("GET", IMAGE_ROUTE), ("POST", "/v1/upload")) for status in (500, 503)
)
_UPLOADS_FROM_THE_START = tuple(
    (source, outcome)
    for source in ("upload", "import", "page")
    for outcome in ("stored", "aborted", "internal_error", "overloaded", "storage_full")
)


class Kind(StrEnum):
    """What a request is about, as far as its duration goes."""

    API = "api"
    IMAGE = "image"
    PAGE = "page"
    OTHER = "other"
    """Health checks, metrics, and what there is nothing for."""


class Histogram:
    """How many values were at most as large as each bound."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """For each bound, as Prometheus writes it, how many values were not above it; and the sum of all values."""
        buckets, total = [], 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, self._sum


class Outcome(StrEnum):
    """What became of a job of the workers."""

    DONE = "done"
    REFUSED = "refused"  # the picture was looked at, and is not taken
    FAILED = "failed"
    TOO_SLOW = "too_slow"
    DIED = "died"


class Replaced(StrEnum):
    """Why a worker was replaced."""

    ROUTINE = "routine"  # it had done its jobs, or had drawn an SVG
    TOO_SLOW = "too_slow"
    DIED = "died"
    DID_NOT_START = "did_not_start"  # another attempt follows


@dataclass
class WorkTally:
    """What workers did."""

    jobs: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    """By what is done: probe, transform, …"""
    busy_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """The same: time that workers spent on it."""
    replaced: Counter[Replaced] = field(default_factory=lambda: Counter(dict.fromkeys(Replaced, 0)))
    transforms: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Variants made, by format and size."""
    transform_seconds: dict[str, Histogram] = field(default_factory=dict)
    """By format."""

    def count_job(self, message: Mapping[str, Any], outcome: Outcome, seconds: float) -> None:
        """A job, with what the worker was told, has come to its end."""
        kind = message["do"]
        self.jobs[kind, outcome] += 1
        self.busy_seconds[kind] += seconds
        if kind == "transform" and outcome is Outcome.DONE:
            made = message["transform"]
            self.transforms[made["target"], _SIZE_NAMES.get(made["short_edge_px"], "full")] += 1
            histogram = self.transform_seconds.setdefault(made["target"], Histogram(TRANSFORM_BOUNDS_SECONDS))
            histogram.observe(seconds)


@dataclass
class Tally:
    """What a server did."""

    requests: Counter[tuple[str, str, int]] = field(
        default_factory=lambda: Counter(dict.fromkeys(_REQUESTS_FROM_THE_START, 0))
    )
    """By method, route and status."""
    hot_requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Those for images that were answered from memory, by method and status; they are not among `requests`."""
    durations: dict[Kind, Histogram] = field(
        default_factory=lambda: {kind: Histogram(REQUEST_BOUNDS_SECONDS) for kind in Kind}
    )
    in_flight: int = 0
    connections: int = 0
    connections_refused: int = 0
    refusals: Counter[tuple[str, str]] = field(default_factory=lambda: Counter(dict.fromkeys(_FROM_THE_START, 0)))
    """By error code, and which limit it was, where a code stands for several."""
    uploads: Counter[tuple[str, str]] = field(
        default_factory=lambda: Counter(dict.fromkeys(_UPLOADS_FROM_THE_START, 0))
    )
    """By source and outcome."""
    memory_misses: int = 0
    """Images that were asked for and were not in memory."""
    swept: Counter[str] = field(default_factory=Counter)
    """Images, by what the sweeper did with them."""

    def __post_init__(self) -> None:
        self._image_seconds = self.durations[Kind.IMAGE]

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered, or its client went away."""
        self.requests[_known(method), route, status] += 1
        self.durations[_kind_of(route)].observe(seconds)

    def count_hot(self, method: str, status: int, seconds: float) -> None:
        """An image was answered from memory."""
        self.hot_requests[method, status] += 1
        self._image_seconds.observe(seconds)

    def count_unread(self, method: str, error: ImgProError) -> None:
        """A request was refused before all of it had arrived, so it has neither a route nor a duration."""
        self.requests[_known(method), NO_ROUTE, error.status] += 1
        self.count_refusal(error)

    def count_refusal(self, error: ImgProError) -> None:
        """Something was refused."""
        self.refusals[error.code, error.quota if isinstance(error, QuotaExceeded) else ""] += 1


def _known(method: str) -> str:
    return method if method in _METHODS else OTHER_METHOD


def _kind_of(route: str) -> Kind:
    if route == IMAGE_ROUTE:
        return Kind.IMAGE
    if route.startswith("/v1/"):
        return Kind.API
    is_other = route in (NO_ROUTE, "/healthz", "/metrics") or route.startswith(("/static/", "/_dev"))
    return Kind.OTHER if is_other else Kind.PAGE
