"""Writing a library as a seed: the originals under readable names, and a `seed.toml` that says the rest."""

import json
import re
import shutil
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from imgpro_lite.errors import OperatorError
from imgpro_lite.fields import base_name
from imgpro_lite.formats import Format, parse_extension
from imgpro_lite.models import Media, Team
from imgpro_lite.plans import month_number
from imgpro_lite.services.seed_file import SEED_NAME
from imgpro_lite.services.team_changes import TeamAndKeys, list_teams_and_keys
from imgpro_lite.store import seed_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.seed_rows import StoredImage

# A file system's 255 bytes hold 50 characters of four bytes each, an id and an extension.
MAX_STEM_CHARS = 50
_UNUSUAL = re.compile(r"[^\w.-]+")
_BARE_KEY = re.compile("[A-Za-z0-9_-]+")


@dataclass
class Exported:
    """What was written."""

    teams: int = 0
    images: int = 0
    problems: list[str] = field(default_factory=list)
    """A line for each image that could not be."""


def make_export_folder(folder: Path) -> None:
    """Raise OperatorError unless there is an empty folder, or none, which is then made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = next(folder.iterdir(), None) is None
    except OSError as error:
        raise OperatorError(f"Nothing can be written to {folder}: {error.strerror}.") from None
    if not is_empty:
        raise OperatorError(f"{folder} is not empty, and nothing in it is to be overwritten. Name a new folder.")


def export_library(
    conn: sqlite3.Connection,
    blobs: BlobStore,
    folder: Path,
    now: int,
    exported: Exported,
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """Write every team and live image to an empty folder, as they are at one moment. Raises OSError.

    `seed.toml` has its name only when it is complete. `on_image` is called after each image.
    """
    unfinished = folder / f"{SEED_NAME}.unfinished"
    conn.execute("BEGIN")
    try:
        with unfinished.open("x", encoding="utf-8") as file:
            teams = {found.team.id: found for found in list_teams_and_keys(conn) if _is_used(found)}
            for found in teams.values():
                _write_team(file, found, now)
            exported.teams = len(teams)
            writer = _Writer(file, folder, blobs, {id_: found.team for id_, found in teams.items()})
            for stored in seed_rows.list_live(conn, now):
                try:
                    writer.write(stored)
                    exported.images += 1
                except FileNotFoundError:
                    exported.problems.append(f"{stored.media.id} ({stored.media.name}): its file is missing")
                on_image()
    finally:
        conn.execute("ROLLBACK")
    unfinished.replace(folder / SEED_NAME)


def _is_used(found: TeamAndKeys) -> bool:
    return found.team.verified or bool(found.keys) or found.team.storage_bytes > 0


def _write_team(file: TextIO, found: TeamAndKeys, now: int) -> None:
    team = found.team
    used = team.uploads_used_in(month_number(now))
    values = {"email": team.email, "hash": team.hash, "plan": team.plan, "verified": team.verified}
    values |= {"registration_closed": True} if team.registration_closed else {}
    _write_entry(file, "team", values | {"uploads_used": used})
    if found.keys:
        names = ", ".join(f"{_toml(key.name)} ({', '.join(sorted(key.abilities))})" for key in found.keys)
        file.write(f"# The keys cannot be exported, because only their hashes are stored: {names}.\n")
        file.write('# keys = ["img_live_…"] gives the team new ones.\n')


class _Writer:
    """Writes images one by one."""

    def __init__(self, file: TextIO, folder: Path, blobs: BlobStore, teams: dict[int, Team]) -> None:
        self._file = file
        self._folder = folder
        self._blobs = blobs
        self._teams = teams
        self._emails = Counter(team.email for team in teams.values())
        self._taken = {SEED_NAME, f"{SEED_NAME}.unfinished"}
        self._names: dict[bytes, str] = {}
        """The files that there are, by hash: images with the same bytes share one."""

    def write(self, stored: StoredImage) -> None:
        """The original, and its entry. Raises OSError, and FileNotFoundError when the original is missing."""
        media = stored.media
        name = self._names.get(media.sha256)
        if name is None:
            name = _file_name(media, self._taken)
            shutil.copyfile(self._blobs.path(media.sha256), self._folder / name)
            self._taken.add(name.casefold())
            self._names[media.sha256] = name
        _write_entry(self._file, "image", self._values(stored, name))

    def _values(self, stored: StoredImage, name: str) -> dict[str, Any]:
        media = stored.media
        team = self._teams.get(media.team_id)
        values: dict[str, Any] = {"file": name, "id": media.id}
        if team is not None:
            values["team"] = team.email if self._emails[team.email] == 1 else team.hash
        optional = {
            "hash": None if team and team.hash == media.team_hash else media.team_hash,
            "name": None if media.name == base_name(name) else media.name,
            "tags": list(media.tags),
            "namespace": media.namespace,
            "external_id": media.external_id,
            "date": None if media.date_at is None else datetime.fromtimestamp(media.date_at, UTC),
            "ttl": stored.ttl_seconds,
            "metadata": _metadata(media.metadata),
        }
        values |= {key: value for key, value in optional.items() if value not in (None, [], {})}
        return values if media.public else values | {"public": False}


def _file_name(media: Media, taken: set[str]) -> str:
    """A name for the original that every system takes, like that of the image: `photo.jpg`."""
    stem, _, suffix = media.name.rpartition(".")
    if not stem or parse_extension(suffix) != media.format:
        stem, suffix = media.name, _usual_suffix(media.format)
    stem = _UNUSUAL.sub("-", unicodedata.normalize("NFC", stem)).strip("-.")[:MAX_STEM_CHARS].strip("-.")
    name = f"{stem or media.id}.{suffix.lower()}"
    return f"{stem}-{media.id}.{suffix.lower()}" if name.casefold() in taken else name


def _usual_suffix(format_: Format) -> str:
    return "jpg" if format_ is Format.JPEG else str(format_)


def _metadata(metadata: dict[str, Any]) -> dict[str, Any] | str:
    """As a table; as the text of JSON where that has something in it for which TOML has no words, or not many."""
    is_flat = all(isinstance(value, str | int | float) for value in metadata.values())
    return metadata if is_flat else json.dumps(metadata, ensure_ascii=False)


def _write_entry(file: TextIO, table: str, values: dict[str, Any]) -> None:
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    file.write("\n".join([*([""] if file.tell() else []), f"[[{table}]]", *lines, ""]))


def _toml(value: Any) -> str:
    """A value as TOML writes it. Its strings are those of JSON, but for one character."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case list():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case dict():
            return f"{{ {', '.join(f'{_key(key)} = {_toml(item)}' for key, item in value.items())} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)
