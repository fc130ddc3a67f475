"""Every metric of ours, with its help text. The README's table is made from it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric as Prometheus sees it. `name` has the suffix that its type demands."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()


BUILD_INFO = Metric("imgpro_build_info", "info", "Always 1; `version` is that of imgpro-lite.", ("version",))

REQUESTS = Metric(
    "imgpro_http_requests_total",
    "counter",
    "Requests answered, by method, route as the server knows it (`none`: nothing there) and status (499: the client "
    "left).",
    ("method", "route", "status"),
)
REQUEST_SECONDS = Metric(
    "imgpro_http_request_duration_seconds",
    "histogram",
    "Seconds from a request's headers to the end of its answer, slow clients included. `kind`: api, image (bytes), "
    "page or other.",
    ("kind",),
)
IN_FLIGHT = Metric("imgpro_http_requests_in_flight", "gauge", "Requests that are being answered now.")
CONNECTIONS = Metric("imgpro_http_connections", "gauge", "Open connections, idle ones included.")
CONNECTIONS_REFUSED = Metric(
    "imgpro_http_connections_refused_total",
    "counter",
    "Connections turned away because there were too many, in all or from one address.",
)
REFUSALS = Metric(
    "imgpro_refusals_total",
    "counter",
    "Errors answered, by code. `quota` is month or storage for quota_exceeded, and empty for all others.",
    ("code", "quota"),
)
UPLOADS = Metric(
    "imgpro_uploads_total",
    "counter",
    "Images sent, by source (upload, import, page) and outcome: stored, aborted by the client, or the error's code.",
    ("source", "outcome"),
)
WORKERS = Metric(
    "imgpro_workers", "gauge", "Living processes that decode and encode pictures, without the one in the background."
)
WORKERS_BUSY = Metric("imgpro_workers_busy", "gauge", "Workers that have a job now.")
REPLACED = Metric(
    "imgpro_workers_replaced_total",
    "counter",
    "Workers replaced. `reason`: routine (they had done their jobs), too_slow (killed at the deadline), died or "
    "did_not_start (each attempt).",
    ("reason",),
)
QUEUE_JOBS = Metric(
    "imgpro_queue_jobs", "gauge", "Jobs that wait for a worker: upload, view or background.", ("priority",)
)
QUEUE_SECONDS = Metric(
    "imgpro_queue_wait_seconds",
    "gauge",
    "Seconds that a new job would wait; beyond `[imaging] queue_seconds` it is refused as overloaded.",
    ("priority",),
)
JOBS = Metric(
    "imgpro_worker_jobs_total",
    "counter",
    "Jobs that workers ended, by job (probe: an upload; transform: a variant) and outcome: done, refused, failed, "
    "too_slow or died.",
    ("job", "outcome"),
)
JOB_SECONDS = Metric("imgpro_worker_job_seconds_total", "counter", "Seconds that workers spent on jobs.", ("job",))
TRANSFORMS = Metric(
    "imgpro_transforms_total", "counter", "Variants made, by format and size (s, m, l or full).", ("format", "size")
)
TRANSFORM_SECONDS = Metric(
    "imgpro_transform_duration_seconds",
    "histogram",
    "Seconds that a worker took for a variant, without waiting for the worker.",
    ("format",),
)
CACHE_REQUESTS = Metric(
    "imgpro_cache_requests_total",
    "counter",
    "Look-ups of images that there are, by cache (memory: whole answers; variants and intermediates: files) and "
    "result: hit or miss.",
    ("cache", "result"),
)
CACHE_BYTES = Metric("imgpro_cache_bytes", "gauge", "Bytes that a cache holds.", ("cache",))
CACHE_MAX_BYTES = Metric("imgpro_cache_max_bytes", "gauge", "Bytes that a cache may hold.", ("cache",))
CACHE_ENTRIES = Metric("imgpro_cache_entries", "gauge", "Answers or files that a cache holds.", ("cache",))
IMAGES = Metric(
    "imgpro_images", "gauge", "Images that are not deleted. Counted again so seldom that it takes 0.1 % of the time."
)
STORED_BYTES = Metric(
    "imgpro_stored_bytes",
    "gauge",
    "Bytes of images as uploaded, as quotas count them, by kind of team: anonymous, unverified or verified.",
    ("team_kind",),
)
TEAMS = Metric("imgpro_teams", "gauge", "Teams by plan and kind.", ("plan", "team_kind"))
DISK_FREE = Metric("imgpro_disk_free_bytes", "gauge", "Free bytes on the disk of the data directory.")
DISK_SIZE = Metric("imgpro_disk_size_bytes", "gauge", "Size of the disk of the data directory.")
DISK_MARK = Metric(
    "imgpro_disk_min_free_bytes", "gauge", "`[storage] min_free_mb`: with less free, uploads and variants are refused."
)
RESERVE = Metric(
    "imgpro_disk_reserve_released",
    "gauge",
    "1 while the disk is so full that the reserve is used for deleting, else 0.",
)
DATABASE_BYTES = Metric("imgpro_database_bytes", "gauge", "Size of the database file.")
WAL_BYTES = Metric("imgpro_database_wal_bytes", "gauge", "Size of the database's write-ahead log.")
MAIL_WAITING = Metric("imgpro_mail_waiting", "gauge", "Mails that wait to be sent.")
MAIL_SECONDS = Metric(
    "imgpro_mail_oldest_seconds", "gauge", "Seconds that the oldest of them has waited; 0 without any."
)
SWEPT = Metric(
    "imgpro_swept_images_total",
    "counter",
    "Images that the sweeper ended: expired, or purged for good after the grace period.",
    ("action",),
)
SWEEP_BEHIND = Metric(
    "imgpro_sweeper_behind_seconds",
    "gauge",
    "Seconds that the image which has been due longest has waited for the sweeper; up to 30 is usual.",
)

CATALOGUE = tuple(value for value in list(globals().values()) if isinstance(value, Metric))

# Of the server's process, without its workers; prometheus-client's own, on Linux.
PROCESS_METRICS = (
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
)


def render_table() -> str:
    """The catalogue as a table in Markdown."""
    lines = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |")
    process = ", ".join(f"`{name}`" for name in PROCESS_METRICS)
    lines.append(f"| {process} | | | Of the server's process, without its workers; on Linux. |")
    return "\n".join([*lines, ""])
