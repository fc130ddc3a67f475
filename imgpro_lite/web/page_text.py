"""How pages write times, numbers, sizes and prices: the filters of the templates."""

from datetime import UTC, datetime

from imgpro_lite.plans import Plan
from imgpro_lite.settings import BYTES_PER_MB

_STORAGE_UNITS = ("MB", "GB", "TB", "PB")
_BYTES_PER_KB = 1024
_TIME_UNITS = {"day": 86_400, "hour": 3600, "minute": 60}
_SECONDS_PER_MINUTE = 60
_MINUTES_PER_HOUR = 60


def utc_time(at: int) -> str:
    """A Unix time for people: `23 November 2026, 06:18 UTC`."""
    time = datetime.fromtimestamp(at, UTC)
    return f"{time.day} {time:%B %Y, %H:%M} UTC"


def iso_time(at: int) -> str:
    """A Unix time for programs that read the page."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int, noun: str) -> str:
    """`no images`, `1 image`, `1,000 images`."""
    amount = f"{number:,}" if number else "no"
    return f"{amount} {noun}" if number == 1 else f"{amount} {noun}s"


def storage(size_bytes: int) -> str:
    """A size in the largest unit that it has a whole one of: `5 GB`, `1.5 TB`."""
    amount, units = size_bytes / BYTES_PER_MB, iter(_STORAGE_UNITS)
    unit = next(units)
    while amount >= 1024 and (larger := next(units, None)):
        amount, unit = amount / 1024, larger
    return f"{amount:,.1f}".removesuffix(".0") + f" {unit}"


def file_size(size_bytes: int) -> str:
    """A size for people who download: `812 bytes`, `245 KB`, `1.4 MB`."""
    if size_bytes < _BYTES_PER_KB:
        return count(size_bytes, "byte")
    if size_bytes < BYTES_PER_MB:
        return f"{round(size_bytes / _BYTES_PER_KB)} KB"
    return storage(size_bytes)


def time_left(seconds: int) -> str:
    """`in 3 days`, rounded to the nearest of the largest unit that there are two of."""
    for unit, unit_seconds in _TIME_UNITS.items():
        if (amount := round(seconds / unit_seconds)) >= 2:
            return f"in {count(amount, unit)}"
    return "in a minute"


def waiting_time(seconds: int) -> str:
    """How long to wait, in minutes or hours, rounded up so that it is never too short."""
    minutes = max(1, -(-seconds // _SECONDS_PER_MINUTE))
    return count(minutes, "minute") if minutes <= _MINUTES_PER_HOUR else count(-(-minutes // _MINUTES_PER_HOUR), "hour")


def plan_uploads(plan: Plan) -> str:
    """`1,000 uploads a month`"""
    return "unlimited uploads" if plan.uploads_limit is None else f"{count(plan.uploads_limit, 'upload')} a month"


def plan_storage(plan: Plan) -> str:
    """`50 GB of storage`"""
    limit = plan.storage_limit_bytes
    return "unlimited storage" if limit is None else f"{storage(limit)} of storage"


def plan_price(plan: Plan) -> str:
    """`$10 a month`"""
    return f"${plan.price_usd_per_month:,} a month" if plan.price_usd_per_month else "free of charge"


FILTERS = {
    "utc_time": utc_time,
    "iso_time": iso_time,
    "count": count,
    "file_size": file_size,
    "time_left": time_left,
    "waiting_time": waiting_time,
    "plan_uploads": plan_uploads,
    "plan_storage": plan_storage,
    "plan_price": plan_price,
}
