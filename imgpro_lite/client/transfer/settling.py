"""Whether images in doubt have arrived: looked for in the destination's list."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from imgpro_lite.client.transfer.errors import Unusable
from imgpro_lite.client.transfer.images import parse_id
from imgpro_lite.client.transfer.journal import Doubt, Journal
from imgpro_lite.client.transfer.sides import Side
from imgpro_lite.fields import clean_name

# The servers' clocks are compared to the second only, and an answer takes its time.
SLACK_SECONDS = 60
# A gigabyte on a slow line. What came later with another size is somebody else's.
MAX_UPLOAD_SECONDS = 3600


def find_arrived(destination: Side, journal: Journal, doubts: Sequence[Doubt]) -> dict[str, Mapping[str, Any]]:
    """The new images of those that are there, by old id. Raises TransferError.

    An image is the one in doubt that has its name, size in bytes and pixels, came since, and is no other's. A
    destination that takes metadata out, or cleans an SVG in its own way, has other bytes: then it is the only one that
    has all that was said of it, and came about then. Where two may be meant none is, because an image that is there
    twice is better than one that is missing. All of the list is read: the contract does not say in which order it is.
    """
    missing = list(doubts)
    found: dict[str, Mapping[str, Any]] = {}
    if not missing:
        return found
    namespaces = {doubt.namespace for doubt in missing}
    (namespace,) = namespaces if len(namespaces) == 1 else (None,)
    taken = set(journal.known.values())
    alike: dict[str, list[Mapping[str, Any]]] = {}
    others = {**journal.doubts, **{doubt.old_id: doubt for doubt in missing}}
    for page in destination.pages({"namespace": namespace} if namespace else {}):
        for item in page:
            if _id(item) in taken:
                continue
            if doubt := next((doubt for doubt in missing if _is_same(doubt, item)), None):
                found[doubt.old_id] = item
                missing.remove(doubt)
            elif doubt := _only_like(others.values(), item):
                alike.setdefault(doubt.old_id, []).append(item)
        if not missing:
            break
    return found | {doubt.old_id: alike[doubt.old_id][0] for doubt in missing if len(alike.get(doubt.old_id, ())) == 1}


def is_changed(doubt: Doubt, item: Mapping[str, Any]) -> bool:
    """Whether an image that was found has other bytes than were sent."""
    return item.get("filesize") != doubt.filesize_bytes


def _id(item: Mapping[str, Any]) -> str:
    try:
        return parse_id(item)
    except Unusable:
        return ""


def _has_its_looks(doubt: Doubt, item: Mapping[str, Any]) -> bool:
    """Whether it came since, and has the name and the pixels."""
    created_at = item.get("created_at")
    if not isinstance(created_at, int) or created_at < doubt.at - SLACK_SECONDS:
        return False
    if doubt.name and item.get("name") != clean_name(doubt.name):
        return False
    return (item.get("width"), item.get("height")) == (doubt.width, doubt.height)


def _is_same(doubt: Doubt, item: Mapping[str, Any]) -> bool:
    return _has_its_looks(doubt, item) and not is_changed(doubt, item)


def _only_like(doubts: Collection[Doubt], item: Mapping[str, Any]) -> Doubt | None:
    """The one in doubt that an image of another size may be; None when it may be several, or is none."""
    may_be = [doubt for doubt in doubts if _is_like(doubt, item)]
    return may_be[0] if len(may_be) == 1 else None


def _is_like(doubt: Doubt, item: Mapping[str, Any]) -> bool:
    if not doubt.name or item.get("external_id") is not None or not _has_its_looks(doubt, item):
        return False
    if item["created_at"] > doubt.at + MAX_UPLOAD_SECONDS:
        return False
    said = (doubt.namespace, doubt.public, sorted(doubt.tags))
    tags = item.get("tags")
    return said == (item.get("namespace"), item.get("public"), sorted(map(str, tags)) if isinstance(tags, list) else [])
