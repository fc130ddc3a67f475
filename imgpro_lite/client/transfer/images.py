"""An image as a server shows it, and as it is sent to another one."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imgpro_lite.client.transfer.errors import Unusable
from imgpro_lite.fields import MAX_TTL_SECONDS, MIN_TTL_SECONDS, RESERVED
from imgpro_lite.logs import escape

# Ids come into paths and file names. Ours have 14 letters and digits; others may have more kinds of characters.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_TEXT_CHARS = 1000  # of a name, an address or an external id that is worth looking at; ours have 255 at most
MAX_SHOWN_CHARS = 300  # of a server's words on a terminal
MAX_FILE_BYTES = 1024 * 1024 * 1024  # as much as the largest `[limits] file_mb`
DAY_SECONDS = 86_400
_MAX_INTEGER = 2**53  # what all JSON parsers agree about


@dataclass(frozen=True, slots=True)
class Image:
    """An image. Times are Unix seconds; `date` is as the server writes it."""

    id: str
    name: str
    url: str
    src: str
    width: int
    height: int
    filesize_bytes: int
    tags: tuple[str, ...]
    namespace: str | None
    public: bool
    external_id: str | None
    date: int | str | None
    created_at: int
    expires_at: int | None
    metadata: Mapping[str, Any]


def shown_text(text: object) -> str:
    """A server's words, fit for a terminal."""
    return escape(str(text)[:MAX_SHOWN_CHARS])


def parse_id(body: Mapping[str, Any]) -> str:
    """The id of an image. Raises Unusable for what could be none, a path for example."""
    value = body.get("id")
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Unusable("the server shows an image without a usable id")
    return value


def parse_image(body: Mapping[str, Any]) -> Image:
    """What GET /v1/media/{id} answers, or an upload. Raises Unusable. What is no field of the contract is metadata."""
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Unusable("the server shows tags that are none")
    public = body.get("public", True)
    if not isinstance(public, bool):  # a private image must not become public because of a server's slip
        raise Unusable("the server does not say whether the image is public")
    date = body.get("date")
    return Image(
        id=parse_id(body),
        name=_text(body, "name") or "",
        url=_text(body, "url") or "",
        src=_text(body, "src") or "",
        width=_integer(body, "width"),
        height=_integer(body, "height"),
        filesize_bytes=_integer(body, "filesize"),
        tags=tuple(tags),
        namespace=_text(body, "namespace"),
        public=public,
        external_id=_text(body, "external_id"),
        date=_integer(body, "date") if isinstance(date, int) else _text(body, "date"),
        created_at=_integer(body, "created_at"),
        expires_at=None if body.get("expires_at") is None else _integer(body, "expires_at"),
        metadata={name: value for name, value in body.items() if name not in RESERVED},
    )


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS:
        raise Unusable(f"the server shows a {name} that is none")
    return value


def _integer(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_INTEGER:
        raise Unusable(f"the server shows a {name} that is no whole number")
    return value


def fields_of(image: Image, *, created_as_date: bool = False) -> dict[str, Any]:
    """What to say of the image elsewhere, as PATCH takes it. Without what it has not."""
    date = image.created_at if created_as_date and image.date is None else image.date
    fields: dict[str, Any] = {"name": image.name, "tags": _tags_text(image.tags), "public": image.public}
    optional = {"namespace": image.namespace, "date": date, "external_id": image.external_id}
    fields |= {name: value for name, value in optional.items() if value is not None}
    if not image.name:
        del fields["name"]
    return fields | ({"metadata": dict(image.metadata)} if image.metadata else {})


def changes_of(fields: Mapping[str, Any], there: Image) -> dict[str, Any]:
    """The same for an image that is elsewhere already: what it has there beyond the fields is cleared."""
    metadata = dict.fromkeys(there.metadata) | fields.get("metadata", {})
    cleared: dict[str, Any] = {"namespace": None, "date": None, "external_id": None}
    return cleared | dict(fields) | ({"metadata": metadata} if metadata else {})


def form_of(fields: Mapping[str, Any], ttl_seconds: int | None) -> dict[str, str]:
    """The same as fields of a form. Raises Unusable."""
    form = {name: str(value) for name, value in fields.items() if name not in ("metadata", "public")}
    form["public"] = "true" if fields["public"] else "false"
    if ttl_seconds is not None:
        form["ttl"] = str(ttl_seconds)
    try:
        if "metadata" in fields:
            form["metadata"] = json.dumps(fields["metadata"], ensure_ascii=False, allow_nan=False)
        for value in form.values():
            value.encode()
    except (ValueError, RecursionError):
        raise Unusable("the server shows text or metadata that cannot be sent on") from None
    return form


def _tags_text(tags: tuple[str, ...]) -> str:
    """Tags as the contract has them; a comma within one can only be told by a JSON array, which ours understands."""
    is_plain = not any("," in tag or tag.startswith("[") for tag in tags)
    return ",".join(tags) if is_plain else json.dumps(tags)


def ends_by_itself(image: Image, key_days: int | None) -> bool:
    """Whether an image has an end of its own, and not that of all images of a key, so many days after their upload."""
    if image.expires_at is None:
        return False
    return key_days is None or image.expires_at - image.created_at != key_days * DAY_SECONDS


def remaining_seconds(image: Image, now: int) -> int | None:
    """The `ttl` that makes a copy of an image end with it; None when it is too late for one."""
    assert image.expires_at is not None
    left_seconds = min(image.expires_at - now, MAX_TTL_SECONDS)
    return left_seconds if left_seconds >= MIN_TTL_SECONDS else None
