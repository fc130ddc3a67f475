"""Every setting, with its unit, default and purpose: `imgpro.toml.example` and the README's table are made from it.

A limit of 0 means "no limit" and a count of 0 "choose for me", where the description says so.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from imgpro_lite.models import Strip
from imgpro_lite.setting_types import (
    BaseUrl,
    Count,
    Directory,
    EmailAddress,
    Mailbox,
    Network,
    PlanName,
    Port,
    Quality,
    check_payment_url,
)

BYTES_PER_MB = 1024 * 1024
SECONDS_PER_DAY = 86_400

# Of a worker's address space Python, libvips and their libraries take 300 MB (imaging/budget.py). With 100 more every
# format works, with AVIF of up to 6 megapixels.
LEAST_WORKER_MEMORY_MB = 400

# What people write as a path or a name never needs them, and they confuse the system calls and the log.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*")
    @classmethod
    def _check_text(cls, value: object) -> object:
        if isinstance(value, str | Path) and _CONTROL_CHARACTERS.search(str(value)):
            raise ValueError("must not contain line breaks or other control characters")
        return value


class ServerSettings(Section):
    """Where the server listens and what its addresses are."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on. The default also listens on ::1.")
    port: int = Field(4647, ge=0, le=65535, description="TCP port. 0 lets the system choose one.")
    public_url: BaseUrl = Field(
        "",
        description="Address of the pages and of every link that is given out. Empty: http://localhost:PORT. "
        "A path prefix works: https://example.com/img",
    )
    api_url: BaseUrl = Field("", description="Address of the API, when it has a host of its own. Empty: public_url.")
    src_url: BaseUrl = Field(
        "", description="Address of the image bytes, when they have a host of their own. Empty: public_url."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (), description="Addresses or networks of reverse proxies whose X-Forwarded-For is believed."
    )
    contact: EmailAddress = Field("", description="E-mail address of the operator, shown to people who need help.")
    registration_closed: bool = Field(False, description="Refuse new API keys made through the API.")
    header_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds that the headers of a request may take to arrive."
    )
    body_idle_seconds: float = Field(
        20.0, gt=0, le=600, description="Seconds that a request body may stand still before the request is given up."
    )
    body_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Seconds over which a request body must arrive at 1 KB a second on average, again and again.",
    )
    reading_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Seconds over which a client must take 1 KB a second on average of an answer that waits for it.",
    )
    max_connections: int = Field(
        1000, ge=1, le=100_000, description="Connections at a time; more are told that the server is busy."
    )
    max_connections_per_address: Count = Field(
        0,
        description="Connections at a time from one address, except this machine and trusted proxies. "
        "0: a quarter of max_connections.",
    )
    shutdown_seconds: int = Field(30, ge=0, description="Seconds that requests in flight get to finish after SIGTERM.")


class LogSettings(Section):
    """What is written to standard error."""

    format: Literal["text", "json"] = Field("text", description="One line a request, as text or as JSON.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important messages to show."
    )


class LimitSettings(Section):
    """How much one caller may do. 0 is no limit."""

    anonymous_uploads_per_hour: Count = Field(20, description="Anonymous uploads for each address in a clock hour.")
    anonymous_uploads_per_day: Count = Field(100, description="Anonymous uploads for each address in a day (UTC).")
    keys_per_email_per_hour: Count = Field(5, description="New API keys for each e-mail address in a clock hour.")
    keys_per_ip_per_hour: Count = Field(20, description="New API keys for each address in a clock hour.")
    requests_per_key_per_minute: Count = Field(0, description="API requests for each key in a clock minute.")
    unverified_keys_per_email: Count = Field(3, description="Unverified API keys that one e-mail address may have.")
    unverified_storage_mb: Count = Field(
        0, description="Megabytes that all unverified keys together may store. 0: a tenth of the disk."
    )
    anonymous_file_mb: int = Field(20, ge=1, le=1024, description="Megabytes of one file uploaded without a key.")
    file_mb: int = Field(70, ge=1, le=1024, description="Megabytes of one file uploaded with a key.")
    svg_file_mb: int = Field(10, ge=1, le=1024, description="Megabytes of one SVG file.")
    retention_days: int = Field(
        30, ge=1, le=36_500, description="Days that images of anonymous callers and unverified keys are kept."
    )


class AnonymousSettings(Section):
    """Uploads without an API key."""

    enabled: bool = Field(True, description="Allow uploads without a key.")
    import_: bool = Field(True, alias="import", description="Allow imports from a URL without a key.")
    storage_mb: Count = Field(
        0, description="Megabytes that all anonymous images together may take. 0: a tenth of the disk."
    )


Whose = Literal["never", "anonymous", "always"]


class UploadSettings(Section):
    """What is taken out of pictures before they are stored, by upload or import. Pixels are not touched, and what is
    stored already stays as it is. anonymous: of those that come without a key."""

    strip_location: Whose = Field(
        "anonymous", description="Whose pictures lose the place where they were taken: never, anonymous or always."
    )
    strip_metadata: Whose = Field(
        "never",
        description="Whose pictures lose all that cameras and programs wrote into them, but for orientation and colour "
        "profile: never, anonymous or always.",
    )

    def stripped(self, *, anonymous: bool) -> Strip | None:
        """What is taken out of the pictures of a caller with or without a key; None for nothing."""
        whose = ("always", "anonymous") if anonymous else ("always",)
        if self.strip_metadata in whose:
            return Strip.METADATA
        return Strip.LOCATION if self.strip_location in whose else None


class ImportSettings(Section):
    """Fetching images from URLs that callers name. Only addresses on the public internet are dialled."""

    allow_networks: tuple[Network, ...] = Field(
        (),
        description="Addresses or networks that may be fetched from although they are not public: an intranet's. "
        "This machine's own addresses only where they are named one by one.",
    )
    ports: tuple[Port, ...] = Field((80, 443), description="Ports that may be fetched from.")
    deadline_seconds: float = Field(
        60.0, gt=0, le=600, description="Seconds for one import, redirects and waiting included."
    )
    idle_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds in which each address must begin to answer, and in which 1 KB must then arrive.",
    )
    max_concurrent: int = Field(
        4, ge=1, le=256, description="Imports that fetch at the same time; those of one caller at most half of it."
    )
    max_concurrent_per_host: int = Field(
        2, ge=1, le=256, description="Imports that fetch from one address at the same time, whatever its names."
    )
    queue_seconds: float = Field(
        15.0, gt=0, le=600, description="Seconds that an import waits for its turn before the server is overloaded."
    )

    @field_validator("ports")
    @classmethod
    def _check_ports(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("must name a port; `[anonymous] import = false` leaves imports to those with a key")
        return value


class PlanSettings(Section):
    """What a team may use in a month. Plans are ordered by uploads, then storage; the next one up is the upgrade."""

    label: str = Field(min_length=1, max_length=40, description="Name that people see.")
    uploads_per_month: Count = Field(description="Uploads and imports in a calendar month (UTC). 0 is no limit.")
    storage_mb: Count = Field(description="Megabytes of stored images. 0 is no limit.")
    price_usd_per_month: int = Field(
        0, ge=0, le=1_000_000, description="Price in whole US dollars a month, for the pages."
    )
    offered: bool = Field(True, description="Whether it is listed and offered as an upgrade.")


class ImagingSettings(Section):
    """How pictures are decoded and encoded."""

    workers: int = Field(
        0, ge=0, le=256, description="Processes that decode and encode pictures. 0: one for each core."
    )
    worker_memory_mb: int = Field(
        0,
        ge=0,
        description="Megabytes of address space of one worker, at least 400. "
        "0: half of the memory, shared out, at most 1024.",
    )
    max_megapixels: int = Field(
        250,
        ge=1,
        le=1000,
        description="Megapixels of the largest picture taken; formats that need much memory take less.",
    )
    transform_deadline_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds for one transform, then its worker is killed."
    )
    svg_deadline_seconds: float = Field(
        5.0, gt=0, le=600, description="Seconds for drawing an SVG, then its worker is killed."
    )
    queue_seconds: float = Field(
        15.0,
        gt=0,
        le=600,
        description="Expected seconds of waiting from which on the server says it is overloaded.",
    )
    jobs_per_worker: int = Field(500, ge=1, description="Jobs after which a worker is replaced by a fresh one.")
    jpeg_quality: Quality = Field(80, description="Quality of JPEG variants, 1 to 100.")
    webp_quality: Quality = Field(80, description="Quality of WebP variants, 1 to 100.")
    refine_avif: bool = Field(
        True,
        description="Make AVIF in sizes s, m and l quickly for its first view, and once more in the background, a "
        "tenth smaller.",
    )
    avif_quality: Quality = Field(55, description="Quality of AVIF variants, 1 to 100 (its scale is not JPEG's).")

    @field_validator("worker_memory_mb")
    @classmethod
    def _check_worker_memory(cls, value: int) -> int:
        if 0 < value < LEAST_WORKER_MEMORY_MB:
            raise ValueError(f"must be 0 or at least {LEAST_WORKER_MEMORY_MB}: its libraries take 300 of them")
        return value


class StorageSettings(Section):
    """Disk space."""

    min_free_mb: Count = Field(
        256, description="Megabytes of free disk below which uploads and new variants are refused."
    )
    reserve_mb: Count = Field(
        16,
        description="Megabytes of disk kept for deletions when the disk is full. 0: none.",
    )
    grace_days: int = Field(
        7,
        ge=0,
        le=3650,
        description="Days that the bytes of deleted images are kept, for the operator to restore them.",
    )


class MailSettings(Section):
    """How mail is sent. Without a host it is written to outbox/*.eml in the data directory."""

    host: str = Field("", description="SMTP server. Empty: mail is written to files.")
    port: int = Field(587, ge=1, le=65535, description="Port of the SMTP server: 587 for starttls, 465 for tls.")
    username: str = Field("", description="Name to log in with. Empty: no login.")
    password: str = Field("", repr=False, description="Password to log in with.")
    tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is protected; none is for a server on this machine."
    )
    from_: Mailbox = Field(
        "",
        alias="from",
        description="Sender of mail, as name@example.com or Our Images <name@example.com>. "
        "Empty: noreply@ the host of public_url.",
    )
    timeout_seconds: float = Field(
        30.0, gt=0, le=600, description="Seconds for connecting and logging in, and again for sending a mail."
    )


class UpgradeSettings(Section):
    """What the button of an upgrade link does."""

    mode: Literal["ask", "redirect", "apply"] = Field(
        "ask",
        description="ask: the request is mailed to [server] contact and listed by `imgpro-lite teams requests`. "
        "redirect: on to url. apply: the team is on the plan at once.",
    )
    url: str = Field(
        "",
        validate_default=True,
        description="Where redirect goes: an address with {plan}, {team} and {email} in it, each filled in.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str, info: ValidationInfo) -> str:
        check_payment_url(value)
        if info.data.get("mode") == "redirect" and not value:
            raise ValueError("must be set in mode redirect, like https://pay.example.com/?plan={plan}&team={team}")
        return value


class CacheSettings(Section):
    """Resized and converted pictures, and how long others may keep them."""

    max_mb: int = Field(2048, ge=1, description="Megabytes of variants on disk; the least recently used go first.")
    intermediates_mb: Count = Field(
        512,
        description="Megabytes of reduced pictures kept from uploads, so that no first view decodes a large original. "
        "0: none.",
    )
    memory_mb: Count = Field(
        32, description="Megabytes of memory for small image files that are asked for often. 0: none."
    )
    max_age_seconds: int = Field(86_400, ge=0, description="Seconds that browsers and proxies may keep image bytes.")


# Long enough that nobody guesses it, and short enough to be typed: 16 characters of a random text are 96 bits.
MIN_TOKEN_CHARS = 16


class MetricsSettings(Section):
    """Numbers for Prometheus at /metrics. Neither a port nor a token: there are none."""

    host: str = Field("127.0.0.1", min_length=1, description="Address that /metrics alone listens on, with port.")
    port: int = Field(0, ge=0, le=65535, description="TCP port of that address. 0: none.")
    token: str = Field(
        "",
        repr=False,
        description="Who sends it (`Authorization: Bearer TOKEN`) gets /metrics at public_url too. Empty: nobody.",
    )

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: str) -> str:
        if value and (len(value) < MIN_TOKEN_CHARS or not value.isascii() or " " in value):
            raise ValueError(
                f"must be at least {MIN_TOKEN_CHARS} characters of ASCII without spaces, as "
                "`openssl rand -hex 16` prints them"
            )
        return value

    @property
    def is_on(self) -> bool:
        """Whether anybody may ask for them."""
        return bool(self.port or self.token)


DEFAULT_PLANS = {
    "free": PlanSettings(label="Free", uploads_per_month=100, storage_mb=5 * 1024),
    "pro": PlanSettings(label="Pro", uploads_per_month=1_000, storage_mb=50 * 1024, price_usd_per_month=10),
    "scale": PlanSettings(label="Scale", uploads_per_month=10_000, storage_mb=500 * 1024, price_usd_per_month=49),
    "max": PlanSettings(label="Max", uploads_per_month=100_000, storage_mb=5 * 1024 * 1024, price_usd_per_month=299),
}


class Settings(Section):
    """The whole configuration. `config.load` builds it from file, environment and flags."""

    data_dir: Directory = Field(Path("imgpro-data"), description="Directory of the database, the images and the cache.")
    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    anonymous: AnonymousSettings = AnonymousSettings()
    uploads: UploadSettings = UploadSettings()
    import_: ImportSettings = Field(ImportSettings(), alias="import")
    imaging: ImagingSettings = ImagingSettings()
    storage: StorageSettings = StorageSettings()
    cache: CacheSettings = CacheSettings()
    mail: MailSettings = MailSettings()
    upgrade: UpgradeSettings = UpgradeSettings()
    metrics: MetricsSettings = MetricsSettings()
    plans: dict[PlanName, PlanSettings] = Field(
        DEFAULT_PLANS, min_length=1, description="What teams may use, by plan name."
    )

    @property
    def public_url(self) -> str:
        """Base address of pages and links, without a trailing slash."""
        return self.server.public_url or f"http://localhost:{self.server.port}"

    @property
    def api_url(self) -> str:
        """Base address of the API, without a trailing slash."""
        return self.server.api_url or self.public_url

    @property
    def src_url(self) -> str:
        """Base address of image bytes, without a trailing slash."""
        return self.server.src_url or self.public_url
