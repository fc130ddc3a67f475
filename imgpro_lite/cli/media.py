"""`imgpro-lite media …`: images, from the operator's side. Works beside a running server."""

import json
import re
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import (
    date_text,
    library_clock,
    open_library,
    print_table,
    require_database,
    settings_for_command,
    transaction,
    wait_until_noticed,
)
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.errors import OperatorError
from imgpro_lite.services import moderation
from imgpro_lite.services.moderation import Listed
from imgpro_lite.services.sweeper import STEP_FILES, list_purgeable, purge_files
from imgpro_lite.settings import Settings
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.cache_files import CacheFiles
from imgpro_lite.store.data_dir import CACHE_NAME, INTERMEDIATES_NAME

_SHA256 = re.compile("[0-9a-fA-F]{64}")


@click.group()
def media() -> None:
    """List, delete, restore and block images, also while the server runs."""


@media.command("list")
@configuration_options
@click.option("--email", help="Only images of this address.")
@click.option("--namespace", help="Only images of this namespace.")
@click.option("--deleted", is_flag=True, help="Show deleted and expired images, which can still be restored.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(
    config_path: Path | None,
    data_dir: Path | None,
    email: str | None,
    namespace: str | None,
    deleted: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List images of all teams, newest first."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with open_library(settings) as conn:
        found = moderation.list_images(
            conn, email=email, namespace=namespace, deleted=deleted, limit=limit, now=library_clock(settings).now()
        )
    if as_json:
        click.echo(json.dumps([_listed_json(item) for item in found], ensure_ascii=False))
        return
    table = Table("ID", "E-mail", "Name", "Format", "Pixels", "KB", "Namespace", "Created", "Ends", "SHA-256", box=None)
    for item in found:
        image = item.media
        ends_at = item.deleted_at or image.expires_at
        table.add_row(
            image.id,
            item.email or "(anonymous)",
            image.name,
            str(image.format),
            f"{image.width}x{image.height}",
            f"{image.filesize_bytes / 1024:.0f}",
            image.namespace or "",
            date_text(image.created_at),
            date_text(ends_at) if ends_at else "",
            image.sha256.hex(),
        )
    print_table(table)


@media.command()
@configuration_options
@click.argument("media_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--purge", is_flag=True, help="Remove the bytes now, for good, instead of after the grace period.")
def delete(config_path: Path | None, data_dir: Path | None, media_ids: tuple[str, ...], purge: bool) -> None:
    """Delete images. With --purge also ones that were deleted before."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    if not purge:
        with transaction(settings) as tx:
            for media_id in dict.fromkeys(media_ids):
                moderation.delete_image(tx, media_id)
        wait_until_noticed(settings)
        days = "1 day" if settings.storage.grace_days == 1 else f"{settings.storage.grace_days} days"
        click.echo(f"Deleted {len(media_ids)}. For {days} `imgpro-lite media restore` brings them back.")
        return
    with transaction(settings) as tx:
        for media_id in dict.fromkeys(media_ids):
            moderation.purge_image(tx, media_id)
    _purge_files(settings)
    wait_until_noticed(settings)
    click.echo(f"Deleted {len(media_ids)} for good.")


@media.command()
@configuration_options
@click.argument("media_ids", metavar="ID...", nargs=-1, required=True)
def restore(config_path: Path | None, data_dir: Path | None, media_ids: tuple[str, ...]) -> None:
    """Bring deleted or expired images back. Quotas are not checked."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with transaction(settings) as tx:
        restored = [moderation.restore_image(tx, media_id) for media_id in dict.fromkeys(media_ids)]
    blobs = BlobStore(settings.data_dir.absolute(), min_free_bytes=0)
    for item in restored:
        notes = []
        if item.dropped_external_id is not None:
            notes.append(f"without its external_id {item.dropped_external_id!r}, which another image has now")
        if item.expiry_lifted:
            notes.append("without its expiry, which was over")
        path = blobs.path(item.media.sha256)
        if not path.exists():
            notes.append(f"but its file {path} is missing: restore that from a backup, or upload the picture again")
        click.echo(f"Restored {item.media.id}" + (f" ({'; '.join(notes)})" if notes else ""))


@media.command()
@configuration_options
@click.argument("sha256")
def block(config_path: Path | None, data_dir: Path | None, sha256: str) -> None:
    """Refuse a file for good, by the SHA-256 that `media list` shows, and remove every image that has it."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    if not _SHA256.fullmatch(sha256):
        raise OperatorError("A SHA-256 has 64 hexadecimal digits. `imgpro-lite media list` shows those of the images.")
    digest = bytes.fromhex(sha256)
    with transaction(settings) as tx:
        removed = moderation.block_blob(tx, digest)
    _purge_files(settings)
    wait_until_noticed(settings)
    click.echo(f"Blocked {sha256.lower()}; {removed} images were removed.")


def _purge_files(settings: Settings) -> None:
    """Remove the files of bytes that no image has any more, and everything made from them."""
    blobs = BlobStore(settings.data_dir, min_free_bytes=0)
    caches = [CacheFiles(settings.data_dir / name) for name in (CACHE_NAME, INTERMEDIATES_NAME)]
    while True:
        with open_library(settings) as conn:
            listed = list_purgeable(conn, STEP_FILES)
        if not listed:
            return
        for cache in caches:
            if cache.remove_beginning(listed.variants):
                cache.announce_change()
        with transaction(settings) as tx:
            purge_files(tx, blobs, listed)


def _listed_json(item: Listed) -> dict[str, Any]:
    image = item.media
    return {
        "id": image.id,
        "email": item.email,
        "name": image.name,
        "path": f"/{image.team_hash}/{image.id}.{image.display}",  # the server's address may come from its own flags
        "format": str(image.format),
        "width": image.width,
        "height": image.height,
        "filesize": image.filesize_bytes,
        "sha256": image.sha256.hex(),
        "namespace": image.namespace,
        "tags": list(image.tags),
        "public": image.public,
        "external_id": image.external_id,
        "created_at": image.created_at,
        "expires_at": image.expires_at,
        "deleted_at": item.deleted_at,
    }
