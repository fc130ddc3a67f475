"""Which images there are to copy, and whether the destination can take them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imgpro_lite.client.transfer.errors import Unusable
from imgpro_lite.client.transfer.images import DAY_SECONDS, parse_id
from imgpro_lite.client.transfer.journal import Journal
from imgpro_lite.client.transfer.sides import Side
from imgpro_lite.errors import OperatorError

OnItem = Callable[[str, Mapping[str, Any]], None]

LOOKED_AT = 3  # somebody may have deleted one or two of them


@dataclass(frozen=True)
class Plan:
    """The images of the source, the oldest first, and how much of it is new."""

    ids: list[str]
    new_images: int
    new_bytes: int
    longest_days: int | None
    """The longest time, in whole days, after which an image ends; None where none does. An unverified key keeps its
    images for such a time, which the API does not tell."""


def check_apart(source: Side, destination: Side) -> None:
    """Raise OperatorError when both sides are the same team, or one is a copy of the other. Raises TransferError."""
    if source.key == destination.key:
        raise OperatorError("Both sides have the same key: images are copied from one team to another.")
    if common := source.first_ids() & destination.first_ids():
        raise OperatorError(
            f"Both sides show the image {min(common)}: they are the same team, or one is a restored copy of the other. "
            "Nothing is copied, because every image would be there twice."
        )


def list_images(source: Side, query: Mapping[str, str], known: Mapping[str, str], on_item: OnItem | None) -> Plan:
    """Everything that the filter lets through; `on_item` hears of each new one, in the order of the list.

    Raises TransferError. Of each image only its id and time are held: a hundred thousand take some 15 MB.
    """
    listed: list[tuple[int, str]] = []
    seen: set[str] = set()
    new_images = new_bytes = longest_days = 0
    for page in source.pages(query):
        before = len(seen)
        for item in page:
            media_id = parse_id(item)
            if media_id in seen:
                continue
            seen.add(media_id)
            created_at, size_bytes = item.get("created_at"), item.get("filesize")
            longest_days = max(longest_days, _whole_days(item))
            listed.append((created_at if isinstance(created_at, int) else 0, media_id))
            if media_id not in known:
                new_images += 1
                new_bytes += size_bytes if isinstance(size_bytes, int) else 0
                if on_item is not None:
                    on_item(media_id, item)
        if page and len(seen) == before:
            raise Unusable(f"{source.title} lists its images without an end: a page has only images that were there")
    listed.reverse()  # lists are newest first, and of those that came in the same second too
    listed.sort(key=lambda one: one[0])
    return Plan([media_id for _, media_id in listed], new_images, new_bytes, longest_days or None)


def _whole_days(item: Mapping[str, Any]) -> int:
    """After how many days an image ends; 0 where it does not, or between two days."""
    created_at, expires_at = item.get("created_at"), item.get("expires_at")
    if not isinstance(created_at, int) or not isinstance(expires_at, int):
        return 0
    days, rest_seconds = divmod(expires_at - created_at, DAY_SECONDS)
    return max(days, 0) if rest_seconds == 0 else 0


def check_journal(destination: Side, journal: Journal) -> None:
    """Raise OperatorError when the destination has none of what the journal noted last: it was emptied, or is another
    one, and every image would pass for copied. Raises TransferError."""
    last = list(journal.known.values())[-LOOKED_AT:]
    if last and not any(destination.owns_image(media_id) for media_id in last):
        raise OperatorError(
            f"The journal {journal.path} says that {len(journal.known):,} images were copied, but the destination has "
            "none of the last of them. If it was emptied, remove the journal, or begin another one with --journal."
        )
