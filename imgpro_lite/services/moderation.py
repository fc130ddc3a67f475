"""What the operator does with images: list, delete, restore and block. Beside a running server or alone."""

import sqlite3
from dataclasses import dataclass

from imgpro_lite.errors import OperatorError
from imgpro_lite.fields import is_text
from imgpro_lite.models import Media
from imgpro_lite.store import media_lists, media_rows
from imgpro_lite.store.sqlite_file import Tx


@dataclass(frozen=True)
class Listed:
    """An image as the operator sees it."""

    media: Media
    email: str | None
    deleted_at: int | None


def list_images(
    conn: sqlite3.Connection, *, email: str | None, namespace: str | None, deleted: bool, limit: int, now: int
) -> list[Listed]:
    """Images of all teams or of one address, newest first; the deleted ones only when they are asked for."""
    if not all(is_text(text or "") for text in (email, namespace)):
        return []
    email = email and email.strip().lower()  # as addresses are stored
    return [Listed(*row) for row in media_lists.list_all(conn, email, namespace, deleted=deleted, limit=limit, now=now)]


def delete_image(tx: Tx, media_id: str) -> Media:
    """Mark an image as deleted. Raises OperatorError."""
    media = media_rows.find_undeleted(tx.conn, media_id) if is_text(media_id) else None
    if media is None:
        raise OperatorError(f"There is no image {media_id!r}, or it is deleted already.")
    media_rows.mark_deleted(tx.conn, [media.seq], tx.now)
    return media


def purge_image(tx: Tx, media_id: str) -> None:
    """Remove an image's row, whether it was deleted before or not. Raises OperatorError."""
    deleted = media_rows.find_deleted(tx.conn, media_id) if is_text(media_id) else None
    media = deleted or delete_image(tx, media_id)
    media_rows.delete_row(tx.conn, media.seq)


@dataclass(frozen=True)
class Restored:
    """An image that is back, and the external_id that it had to give up because another image has it now."""

    media: Media
    dropped_external_id: str | None
    expiry_lifted: bool


def restore_image(tx: Tx, media_id: str) -> Restored:
    """Bring a deleted image back. Quota is not checked. Raises OperatorError."""
    media = _find_gone(tx, media_id) if is_text(media_id) else None
    if media is None:
        raise OperatorError(f"There is no deleted image {media_id!r}. `imgpro-lite media list --deleted` shows them.")
    wanted = media.external_id
    taken = not media.anonymous and wanted is not None and _is_taken(tx, media.team_id, wanted)
    restored = media_rows.mark_restored(tx.conn, media._replace(external_id=None) if taken else media, tx.now)
    return Restored(
        restored,
        dropped_external_id=wanted if taken else None,
        expiry_lifted=restored.expires_at != media.expires_at,
    )


def _find_gone(tx: Tx, media_id: str) -> Media | None:
    """An image that was deleted, or whose time is over although the sweep has not come yet."""
    unswept = media_rows.find_undeleted(tx.conn, media_id)
    if unswept is not None and unswept.expires_at is not None and unswept.expires_at <= tx.now:
        return unswept
    return media_rows.find_deleted(tx.conn, media_id)


def _is_taken(tx: Tx, team_id: int, external_id: str) -> bool:
    media_rows.release_expired_external_id(tx.conn, team_id, external_id, tx.now)
    return media_rows.find_by_external_id(tx.conn, team_id, external_id, tx.now) is not None


def block_blob(tx: Tx, sha256: bytes) -> int:
    """Refuse bytes for good and remove every image that has them: how many were live."""
    media_rows.insert_blocked(tx.conn, sha256, tx.now)
    removed = media_rows.mark_deleted(tx.conn, media_rows.list_live_seqs_of_blob(tx.conn, sha256), tx.now)
    media_rows.delete_deleted(tx.conn, sha256)
    return removed
