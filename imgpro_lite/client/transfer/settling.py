"""Whether images in doubt have arrived: looked for in the destination's list."""

from collections.abc import Mapping, Sequence
from typing import Any

from imgpro_lite.client.transfer.errors import Unusable
from imgpro_lite.client.transfer.images import parse_id
from imgpro_lite.client.transfer.journal import Doubt, Journal
from imgpro_lite.client.transfer.sides import Side
from imgpro_lite.fields import clean_name

# The servers' clocks are compared to the second only, and an answer takes its time.
SLACK_SECONDS = 60


def find_arrived(destination: Side, journal: Journal, doubts: Sequence[Doubt]) -> dict[str, Mapping[str, Any]]:
    """The new images of those that are there, by old id. Raises TransferError.

    An image is the one in doubt that has its name, size in bytes and pixels, came since, and is no other's. All of the
    list is read: the contract does not say in which order it is.
    """
    missing = list(doubts)
    found: dict[str, Mapping[str, Any]] = {}
    if not missing:
        return found
    namespaces = {doubt.namespace for doubt in missing}
    (namespace,) = namespaces if len(namespaces) == 1 else (None,)
    taken = set(journal.known.values())
    for page in destination.pages({"namespace": namespace} if namespace else {}):
        for item in page:
            doubt = next((doubt for doubt in missing if _is_same(doubt, item)), None)
            if doubt is None or _id(item) in taken:
                continue
            found[doubt.old_id] = item
            missing.remove(doubt)
        if not missing:
            break
    return found


def _id(item: Mapping[str, Any]) -> str:
    try:
        return parse_id(item)
    except Unusable:
        return ""


def _is_same(doubt: Doubt, item: Mapping[str, Any]) -> bool:
    created_at = item.get("created_at")
    if not isinstance(created_at, int) or created_at < doubt.at - SLACK_SECONDS:
        return False
    if doubt.name and item.get("name") != clean_name(doubt.name):
        return False
    shown = (item.get("filesize"), item.get("width"), item.get("height"))
    return shown == (doubt.filesize_bytes, doubt.width, doubt.height)
