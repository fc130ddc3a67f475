"""What the lines of manifests may say. They are our own, but a failing disk may have made anything of them."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from imgpro_lite.formats import Format
from imgpro_lite.models import TeamKind
from imgpro_lite.store.manifest_rows import VERSION

Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what SQLite can hold
Flag = Literal[0, 1]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Hash = Annotated[str, StringConstraints(pattern="^[0-9a-z]{5}$")]
LibraryId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]


class Line(BaseModel):
    """What every line says."""

    model_config = ConfigDict(strict=True, frozen=True)

    version: Annotated[int, Field(ge=1, le=VERSION)]
    library: LibraryId


class LibraryLine(Line):
    """The library itself."""

    manifest: Literal["library"]


class ImageLine(Line):
    """An image. The fields below `anonymous` are columns of its row."""

    manifest: Literal["image"]
    sha256: Sha256
    team: Hash | None
    """Of the team that it belongs to now; `team_hash` is what its address has."""
    anonymous: Flag
    id: Annotated[str, StringConstraints(pattern="^[0-9a-z]{14}$")]
    seq: Integer
    team_hash: Hash
    format: Annotated[Format, Field(strict=False)]
    width_px: Integer
    height_px: Integer
    frames: Integer
    has_alpha: Flag
    filesize_bytes: Integer
    name: str
    namespace: str | None
    tags: str
    public: Flag
    external_id: str | None
    metadata: str
    date_at: Integer | None
    created_at: Integer
    ttl_expires_at: Integer | None
    retention_expires_at: Integer | None
    deleted_at: Integer | None


class KeyLine(BaseModel):
    """A key of a team."""

    model_config = ConfigDict(strict=True, frozen=True)

    secret_sha256: Sha256
    key_id: str
    name: str
    can_read: Flag
    can_write: Flag
    created_at: Integer
    created_from: str | None
    revoked_at: Integer | None


class TeamLine(Line):
    """A team with its keys."""

    manifest: Literal["team"]
    id: Integer
    hash: Hash
    kind: Annotated[TeamKind, Field(strict=False)]
    email: str | None
    plan: str
    registration_closed: Flag
    created_at: Integer
    uploads_month: Integer
    uploads_used: Integer
    keys: list[KeyLine]


class BlockedLine(Line):
    """Bytes that the operator refuses."""

    manifest: Literal["blocked"]
    sha256: Sha256
    blocked_at: Integer


AnyLine = LibraryLine | ImageLine | TeamLine | BlockedLine
_ADAPTER: TypeAdapter[AnyLine] = TypeAdapter(Annotated[AnyLine, Field(discriminator="manifest")])


def parse(content: bytes | None) -> AnyLine | None:
    """What a line says, of which the checksum is right; None for one that is damaged, or of a newer version."""
    if content is None:
        return None
    try:
        return _ADAPTER.validate_json(content)
    except ValidationError:
        return None


def is_json(text: str, kind: type) -> bool:
    """Whether a text is JSON of this kind: an object, or an array of texts."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, list):
        return kind is list and all(isinstance(item, str) for item in value)
    return isinstance(value, kind)
