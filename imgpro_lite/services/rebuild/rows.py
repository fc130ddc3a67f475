"""Rows from lines. What the rules of the database do not allow as it is, is made so that nothing is lost but a name."""

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from imgpro_lite.models import ANONYMOUS_TEAM_ID, TeamKind
from imgpro_lite.services.accounts import FREE
from imgpro_lite.services.rebuild.lines import BlockedLine, ImageLine, KeyLine, TeamLine, is_json
from imgpro_lite.store import media_rows, rebuild_rows
from imgpro_lite.store.integrity import EMPTY_JSON

if TYPE_CHECKING:
    from imgpro_lite.services.rebuild.rebuilding import Rebuilt

Tell = Callable[[str], None]

_NOT_COLUMNS = {"manifest", "version", "library", "team", "anonymous", "sha256", "keys", "secret_sha256"}
# What a row may have to give up, the least first: its id or place in the order, and what only one may have.
_CONCESSIONS: tuple[dict[str, None], ...] = (
    {},
    {"seq": None},
    {"external_id": None},
    {"seq": None, "external_id": None},
)


def insert_team(conn: sqlite3.Connection, team: TeamLine, rebuilt: "Rebuilt", tell: Tell) -> None:
    """A team and its keys."""
    team_id = _put_team(conn, team, tell)
    if team_id is None:
        tell(f"The team {team.hash} cannot be what its manifest says.")
        return
    rebuilt.teams += team.kind != TeamKind.ANONYMOUS
    for key in team.keys:
        try:
            rebuild_rows.insert_key(conn, team_id, bytes.fromhex(key.secret_sha256), _columns(key))
            rebuilt.keys += key.revoked_at is None
        except sqlite3.IntegrityError:
            tell(f"The key {key.key_id} of team {team.hash} is there twice.")


def _put_team(conn: sqlite3.Connection, team: TeamLine, tell: Tell) -> int | None:
    values = _columns(team)
    if team.kind == TeamKind.ANONYMOUS:
        try:
            rebuild_rows.update_anonymous_team(conn, values)
        except sqlite3.IntegrityError:
            return None
        return ANONYMOUS_TEAM_ID
    for change in ({}, {"id": None}, {"id": None, "email": lost_email(team.hash)}):
        try:
            team_id = rebuild_rows.insert_team(conn, {**values, **change})
        except sqlite3.IntegrityError:
            continue
        if "email" in change:
            tell(f"There is another team with the address {team.email}: {team.hash} has {change['email']}.")
        return team_id
    return None


def lost_email(hash_: str) -> str:
    """The address of a team whose own is not known. Nobody can have it; `teams set-email` gives it another."""
    return f"{hash_}@lost.invalid"


def insert_blocked(conn: sqlite3.Connection, blocked: BlockedLine) -> int:
    """Bytes that are refused: 1."""
    media_rows.insert_blocked(conn, bytes.fromhex(blocked.sha256), blocked.blocked_at)
    return 1


def insert_image(conn: sqlite3.Connection, image: ImageLine, rebuilt: "Rebuilt", tell: Tell, tell_team: Tell) -> bool:
    """An image: whether it could be inserted."""
    if rebuild_rows.has_image(conn, image.id):
        tell(f"The image {image.id} is there twice.")
        return False
    team_id = _find_team(conn, image, rebuilt, tell_team)
    values = _columns(image)
    for column, kind in (("tags", list), ("metadata", dict)):
        if not is_json(values[column], kind):
            values[column] = EMPTY_JSON[column]
            tell(f"The {column} of image {image.id} cannot be read.")
    for change in _CONCESSIONS:
        try:
            rebuild_rows.insert_image(conn, team_id, bytes.fromhex(image.sha256), {**values, **change})
        except sqlite3.IntegrityError:
            continue
        if "external_id" in change and image.external_id is not None:
            tell(f"Another image has the external_id {image.external_id!r} of image {image.id}.")
        return True
    tell(f"The image {image.id} cannot be what its manifest says.")
    return False


def _find_team(conn: sqlite3.Connection, image: ImageLine, rebuilt: "Rebuilt", tell: Tell) -> int:
    """The team of an image; one that no manifest has is made, so that the image is not lost."""
    hash_ = image.team or image.team_hash
    team_id = rebuild_rows.find_team_id(conn, hash_)
    if team_id is not None:
        return team_id
    if image.anonymous:
        rebuild_rows.update_anonymous_hash(conn, hash_)
        return ANONYMOUS_TEAM_ID
    email = lost_email(hash_)
    tell(f"No manifest says whose team {hash_} is: it has the address {email}, the plan {FREE!r}, and no keys.")
    rebuilt.teams += 1
    values = {"id": None, "hash": hash_, "kind": TeamKind.VERIFIED, "email": email, "plan": FREE, "created_at": 0}
    return rebuild_rows.insert_team(conn, values | {"registration_closed": 0, "uploads_month": 0, "uploads_used": 0})


def _columns(line: ImageLine | TeamLine | KeyLine) -> dict[str, Any]:
    return line.model_dump(exclude=_NOT_COLUMNS)
