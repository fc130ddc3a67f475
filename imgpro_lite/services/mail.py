"""Mail: queued in the transaction that it tells about, composed and sent later, kept until it is sent."""

from collections.abc import Sequence

from imgpro_lite.store.mail_rows import MailKind, insert_mail
from imgpro_lite.store.sqlite_file import Tx


def queue_verification(tx: Tx, email: str, key_ids: Sequence[str]) -> None:
    """Mail an address the links that confirm or revoke keys which were made in its name."""
    insert_mail(tx.conn, MailKind.VERIFY, email, {"key_ids": list(key_ids)}, tx.now)


def queue_joined(tx: Tx, email: str, key_id: str, images: int) -> None:
    """Tell an address that a key, and this many images with it, now belong to its team."""
    insert_mail(tx.conn, MailKind.JOINED, email, {"key_id": key_id, "images": images}, tx.now)


def queue_sign_in(tx: Tx, email: str, asked_from: str) -> None:
    """Mail an address a link to sign in. Whether it has a team is looked up when the mail is written: asking for a
    link does, and takes, the same for every address."""
    insert_mail(tx.conn, MailKind.SIGN_IN, email, {"asked_from": asked_from}, tx.now)


def queue_upgrade_request(tx: Tx, contact: str, team_id: int, plan: str) -> None:
    """Tell the operator that a team asks for a plan."""
    insert_mail(tx.conn, MailKind.UPGRADE_REQUEST, contact, {"team_id": team_id, "plan": plan}, tx.now)
