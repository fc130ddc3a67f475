"""How records look in JSON (decision 34). URLs are built from the settings, never from a request."""

from typing import Any

from imgpro_lite.models import Media
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.accounts import NewKey, key_limits
from imgpro_lite.services.limits import register_url, verify_url


def page_url(rt: Runtime, media: Media) -> str:
    """The address of an image's page."""
    return f"{rt.public_url}/{media.id}"


def picture_stem(base: str, media: Media) -> str:
    """The addresses of an image's bytes up to the extension. `base` is what the server's addresses begin with."""
    return f"{base}/{media.team_hash}/{media.id}"


def present_fixed(rt: Runtime, media: Media, *, owner: bool) -> dict[str, Any]:
    """The fixed fields of an image. `owner`: whether its own team is asking."""
    display = media.display.value
    shown: dict[str, Any] = {
        "id": media.id,
        "name": media.name,
        "url": page_url(rt, media),
        "src": f"{picture_stem(rt.src_url, media)}.{display}",
        "width": media.width,
        "height": media.height,
        "filesize": media.filesize_bytes,
        "extension": display,
        "editable": media.editable,
        "tags": list(media.tags),
        "namespace": media.namespace,
        "public": media.public,
        "created_at": media.created_at,
    }
    if media.expires_at is not None:
        shown["expires_at"] = media.expires_at
    if media.date_at is not None:
        shown["date"] = media.date_at
    if media.external_id is not None and owner:
        shown["external_id"] = media.external_id
    return shown


def present_media(rt: Runtime, media: Media, *, owner: bool) -> dict[str, Any]:
    """An image with its metadata at the top level. A fixed field always wins over metadata of its name."""
    fixed = present_fixed(rt, media, owner=owner)
    return fixed | {key: value for key, value in media.metadata.items() if key not in fixed}


def present_item(rt: Runtime, media: Media) -> dict[str, Any]:
    """An image in a list, for its own team: the contract's fields, without metadata."""
    shown = present_fixed(rt, media, owner=True)
    del shown["extension"], shown["editable"]
    return shown


def present_upload(rt: Runtime, media: Media) -> dict[str, Any]:
    """The answer to an upload; without a key it says how to get one (decision 36)."""
    shown = present_media(rt, media, owner=not media.anonymous)
    if media.anonymous:
        shown["upgrade"] = {
            "type": "register",
            "url": register_url(rt),
            "message": "Create a free API key to keep your images and to manage them.",
            "label": "Create API Key",
        }
    return shown


def present_new_key(rt: Runtime, new: NewKey) -> dict[str, Any]:
    """The answer to POST /v1/keys: the only time that the key itself is shown."""
    verified = new.team.verified
    shown = {
        "key": new.secret,
        "key_id": new.key.key_id,
        "status": "active",
        "verified": verified,
        "limits": key_limits(rt.settings, rt.plans.get(new.team.plan), new.team),
        "message": "Key active."
        if verified
        else "Key active. Check your email to verify and unlock permanent storage.",
    }
    if rt.gives_links and not verified:  # decision 9: nowhere else does an answer carry it
        shown["verify_url"] = verify_url(rt, new.team.email or "", new.key.key_id)
    return shown
