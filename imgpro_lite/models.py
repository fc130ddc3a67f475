"""What the layers pass to each other: frozen records of the rows, and of who is asking."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from imgpro_lite.formats import Format, display_format

# The one team that owns what is uploaded without a key. The schema creates it.
ANONYMOUS_TEAM_ID = 1


class TeamKind(StrEnum):
    """Whose space it is. An unverified key has one of its own until its address is confirmed (decision 6)."""

    ANONYMOUS = "anonymous"
    UNVERIFIED = "unverified"
    VERIFIED = "verified"


class Ability(StrEnum):
    """What a key may do: `read` is the GET routes, `write` the rest (decision 12)."""

    READ = "read"
    WRITE = "write"


class Strip(StrEnum):
    """What is taken out of a file before it is stored: where it was taken, or everything that a camera or a program
    wrote into it (EXIF, XMP, IPTC, comments), but for orientation and colour profile."""

    LOCATION = "location"
    METADATA = "metadata"


@dataclass(frozen=True)
class Team:
    """The owner of keys and images, with what it has used."""

    id: int
    hash: str
    kind: TeamKind
    email: str | None
    plan: str
    registration_closed: bool
    uploads_month: int
    """The calendar month that `uploads_used` counts, as `plans.month_number` has it."""
    uploads_used: int
    storage_bytes: int

    @property
    def verified(self) -> bool:
        """Whether the e-mail address is confirmed, so that images are kept for good."""
        return self.kind is TeamKind.VERIFIED

    def uploads_used_in(self, month: int) -> int:
        """Uploads in a month: the counter belongs to `uploads_month` and starts anew in every other."""
        return self.uploads_used if month == self.uploads_month else 0


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret."""

    key_id: str
    team_id: int
    name: str
    abilities: frozenset[Ability]
    created_at: int
    created_from: str | None
    """The address that asked for it; None when the operator made it."""
    revoked_at: int | None
    session_ends_at: int | None = None
    """When the session ends that this key was made for, by a mailed link; None for a key that somebody has."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request: a key of a team, or an address without one."""

    team: Team
    key: ApiKey | None
    address: str
    """The client's IP address as rate limits count it: IPv6 by its /64 network."""

    @property
    def anonymous(self) -> bool:
        return self.key is None

    @property
    def subject(self) -> str:
        """Who shares a turn when many wait: the team, or for strangers the address."""
        return self.address if self.anonymous else self.team.hash


class Media(NamedTuple):
    """An image as stored. Sizes in pixels are those of the upright picture, times are Unix seconds.

    A named tuple, because a list makes fifty of them for each request: a frozen dataclass takes four times as long.
    """

    seq: int
    id: str
    team_id: int
    team_hash: str
    sha256: bytes
    format: Format
    width: int
    height: int
    frames: int
    has_alpha: bool
    filesize_bytes: int
    name: str
    namespace: str | None
    tags: tuple[str, ...]
    public: bool
    external_id: str | None
    metadata_json: str
    """The metadata as it is stored; lists do not show it, so it is parsed on demand."""
    date_at: int | None
    created_at: int
    sort_at: int
    """What lists are ordered by: the caller's date, else the time of creation."""
    expires_at: int | None

    @property
    def metadata(self) -> dict[str, Any]:
        """The caller's own keys and values."""
        parsed: dict[str, Any] = json.loads(self.metadata_json)
        return parsed

    @property
    def display(self) -> Format:
        """The format of `src` and `extension`."""
        return display_format(self.format, has_alpha=self.has_alpha)

    @property
    def anonymous(self) -> bool:
        return self.team_id == ANONYMOUS_TEAM_ID

    @property
    def editable(self) -> bool:
        """True for raster images of an authenticated team (decision 26)."""
        return self.format is not Format.SVG and not self.anonymous


@dataclass(frozen=True)
class NewMedia:
    """An image about to be stored: everything but what the transaction gives it."""

    id: str
    sha256: bytes
    format: Format
    width: int
    height: int
    frames: int
    has_alpha: bool
    filesize_bytes: int
    name: str
    namespace: str | None
    tags: tuple[str, ...]
    public: bool
    external_id: str | None
    metadata: Mapping[str, Any]
    date_at: int | None
    ttl_seconds: int | None


@dataclass(frozen=True)
class MediaFilter:
    """Which images a list shows. With several tags an image has all of them, or any."""

    namespace: str | None = None
    tags: tuple[str, ...] = ()
    any_tag: bool = False


@dataclass(frozen=True)
class NamespaceUsage:
    """What a team keeps in one namespace."""

    namespace: str
    images: int
    storage_bytes: int
