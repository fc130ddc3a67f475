"""SQL of lists: pages of a team's images, newest first, at a cost bounded by the rarest filter.

A page is found in an index before any row is read. The rarest filter is walked, newest first, and each of its images is
looked up in the indexes of the other filters; how many images each has is kept in `tags` and `namespaces`.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from imgpro_lite.models import Media, MediaFilter
from imgpro_lite.store.media_rows import COLUMNS, media_from_row

# Looking an image up in the index of a tag costs about as much as walking past so many of that tag's images (measured:
# 1.1 against 0.25 microseconds).
LOOK_UP_COST = 4

MAX_SEQ = 2**63 - 1  # the largest number that SQLite has


@dataclass(frozen=True)
class Position:
    """Where a page begins: after the image with this place in the order."""

    sort_at: int
    seq: int


def list_media(
    conn: sqlite3.Connection, team_id: int, filter_: MediaFilter, after: Position | None, limit: int, now: int
) -> list[Media]:
    """At most `limit` live images of a team that pass the filter, newest first."""
    walk = plan_walk(conn, team_id, filter_)
    if walk is None:
        return []
    columns = ", ".join(f"media.{column}" for column in COLUMNS)
    sql = (
        f"SELECT {columns} FROM ({walk.sql}) AS page JOIN media ON media.seq = page.seq "
        "ORDER BY page.sort_at DESC, page.seq DESC"
    )
    start = after or Position(2**62, 2**62)  # later than every date
    values = {**walk.values, "after_at": start.sort_at, "after_seq": start.seq, "limit": limit, "now": now}
    # All are fetched before one is read: a statement that an error has left in its middle would keep this connection at
    # the state of now, for as long as somebody holds the error.
    return [media_from_row(row) for row in conn.execute(sql, values).fetchall()]


@dataclass(frozen=True)
class Walk:
    """A query for (sort_at, seq) in list order, and its values but :after_at, :after_seq, :limit and :now."""

    sql: str
    values: dict[str, Any]


def plan_walk(conn: sqlite3.Connection, team_id: int, filter_: MediaFilter) -> Walk | None:
    """How to walk, by the counts of what is asked for; None when nothing can match."""
    values: dict[str, Any] = {"team_id": team_id, "namespace": filter_.namespace}
    if not filter_.tags:
        return Walk(_walk_media(filter_.namespace, []), values)
    tags = _count_by_tag_id(conn, team_id, filter_.tags)
    if not tags or (len(tags) < len(filter_.tags) and not filter_.any_tag):
        return None
    values |= {f"tag{number}": tag_id for number, tag_id in enumerate(tags)}
    tag_cost = sum(tags.values()) if filter_.any_tag else min(tags.values())
    if filter_.namespace is not None:
        namespace_cost = _count_namespace(conn, team_id, filter_.namespace)
        costs = sorted([namespace_cost, tag_cost])
        if not filter_.any_tag and costs[1] <= costs[0] * LOOK_UP_COST:
            return Walk(_merge_namespace(filter_.namespace, len(tags)), values)
        if namespace_cost < tag_cost:
            return Walk(_walk_media(filter_.namespace, _tag_conditions("media", len(tags), filter_.any_tag)), values)
    in_namespace = [_NAMESPACE_CONDITION] if filter_.namespace is not None else []
    if filter_.any_tag:
        return Walk(_walk_any_tag(len(tags), in_namespace), values)
    return Walk(_walk_all_tags(list(tags.values()), in_namespace), values)


def _count_by_tag_id(conn: sqlite3.Connection, team_id: int, names: tuple[str, ...]) -> dict[int, int]:
    """How many images each of these tags has, by the tag's id, rarest first. Tags that no image has are left out."""
    marks = ", ".join("?" * len(names))
    return dict(
        conn.execute(
            f"SELECT id, images FROM tags WHERE team_id = ? AND name IN ({marks}) ORDER BY images", (team_id, *names)
        )
    )


def _count_namespace(conn: sqlite3.Connection, team_id: int, namespace: str) -> int:
    row = conn.execute(
        "SELECT images FROM namespaces WHERE team_id = ? AND namespace = ?", (team_id, namespace)
    ).fetchone()
    return int(row[0]) if row else 0


_AFTER = "(sort_at, seq) < (:after_at, :after_seq)"
_ORDER = "ORDER BY sort_at DESC, seq DESC LIMIT :limit"
# Expired images stay in the indexes until the sweep. Each index has the time, so walking past them reads no rows.
_LIVE = "coalesce(expires_at > :now, TRUE)"
_NAMESPACE_CONDITION = (
    "EXISTS (SELECT 1 FROM media WHERE team_id = :team_id AND namespace = :namespace "
    "AND sort_at = walked.sort_at AND seq = walked.seq AND deleted_at IS NULL)"
)


def _walk_media(namespace: str | None, conditions: list[str], order: str = _ORDER) -> str:
    """The team's images, or those of one namespace, in list order."""
    wanted = ["team_id = :team_id", "deleted_at IS NULL", _AFTER, _LIVE, *conditions]
    if namespace is not None:
        wanted.insert(1, "namespace = :namespace")
    return f"SELECT sort_at, seq FROM media WHERE {' AND '.join(wanted)} {order}"


def _walk_tag(tag: str, conditions: list[str], order: str = _ORDER) -> str:
    """The images of one tag in list order."""
    wanted = [f"tag_id = {tag}", _AFTER, _LIVE, *conditions]
    return f"SELECT sort_at, seq FROM media_tags AS walked WHERE {' AND '.join(wanted)} {order}"


def _walk_all_tags(images: list[int], conditions: list[str]) -> str:
    """The images that have every tag. The tags come rarest first, with how many images each has.

    The rarest is walked and the others are looked up, unless the second is about as rare: then the two are merged.
    """
    others = [_has_tag("walked", f":tag{number}") for number in range(1, len(images))]
    if len(images) < 2 or images[1] > images[0] * LOOK_UP_COST:
        return _walk_tag(":tag0", [*others, *conditions])
    merged = [_walk_tag(":tag0", [*others[1:], *conditions], order=""), _walk_tag(":tag1", [], order="")]
    return f"{' INTERSECT '.join(merged)} {_ORDER}"


def _merge_namespace(namespace: str, tags: int) -> str:
    """The images of a namespace that have every tag, when the rarest tag is about as rare as the namespace."""
    others = [_has_tag("walked", f":tag{number}") for number in range(1, tags)]
    merged = [_walk_tag(":tag0", others, order=""), _walk_media(namespace, [], order="")]
    return f"{' INTERSECT '.join(merged)} {_ORDER}"


def _walk_any_tag(tags: int, conditions: list[str]) -> str:
    """The images of several tags: the first of each are enough to find the first of all."""
    each = [f"SELECT * FROM ({_walk_tag(f':tag{number}', conditions)})" for number in range(tags)]
    return f"SELECT sort_at, seq FROM ({' UNION '.join(each)}) {_ORDER}"


def _tag_conditions(walked: str, tags: int, any_tag: bool) -> list[str]:
    conditions = [_has_tag(walked, f":tag{number}") for number in range(tags)]
    return [f"({' OR '.join(conditions)})"] if any_tag else conditions


def _has_tag(walked: str, tag: str) -> str:
    return (
        f"EXISTS (SELECT 1 FROM media_tags AS other WHERE other.tag_id = {tag} "
        f"AND other.sort_at = {walked}.sort_at AND other.seq = {walked}.seq)"
    )


# Images of every team, for the operator.
_ALL = (
    "FROM media JOIN teams ON teams.id = media.team_id "
    "WHERE (media.deleted_at IS NOT NULL OR coalesce(media.expires_at <= :now, FALSE)) = :deleted "
    "AND (:email IS NULL OR teams.email = :email) "
    "AND (:namespace IS NULL OR media.namespace = :namespace)"
)


def list_all(
    conn: sqlite3.Connection,
    email: str | None,
    namespace: str | None,
    *,
    deleted: bool,
    limit: int,
    now: int,
    before_seq: int = MAX_SEQ,
) -> list[tuple[Media, str | None, int | None]]:
    """(image, its team's address, when it was deleted) of every team, newest first, for the operator."""
    columns = ", ".join(f"media.{column}" for column in COLUMNS)
    values = {"deleted": deleted, "email": email, "namespace": namespace, "now": now}
    rows = conn.execute(
        f"SELECT {columns}, teams.email, media.deleted_at {_ALL} AND media.seq < :before_seq "
        "ORDER BY media.seq DESC LIMIT :limit",
        {**values, "limit": limit, "before_seq": before_seq},
    )
    return [(media_from_row(row[:-2]), row[-2], row[-1]) for row in rows.fetchall()]


def count_all(conn: sqlite3.Connection, email: str | None, namespace: str | None, now: int) -> int:
    """How many images `list_all` would list that are not deleted."""
    values = {"deleted": False, "email": email, "namespace": namespace, "now": now}
    (count,) = conn.execute(f"SELECT count(*) {_ALL}", values).fetchone()
    return int(count)
