"""Loading a seed into a library: teams and keys at once, then the images, as uploads are stored.

    copied → blocked? known format? there already? → decoded in a worker → [there already? · rename · row · commit]

A seed only adds what is missing. What is there already stays as it is, so loading it again changes nothing.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from imgpro_lite import ids
from imgpro_lite.errors import ImgProError, NotFound, OperatorError, StorageFull, ValidationFailed
from imgpro_lite.formats import Format
from imgpro_lite.models import ANONYMOUS_TEAM_ID, NewMedia, Team, TeamKind
from imgpro_lite.plans import PlanTable, month_number
from imgpro_lite.runtime import Maker
from imgpro_lite.services import uploads
from imgpro_lite.services.accounts import insert_new_key, refuse_unknown_plan, retention_days
from imgpro_lite.services.seed_file import Seed, SeedImage, SeedProblems, SeedTeam, label
from imgpro_lite.settings import SECONDS_PER_DAY, Settings
from imgpro_lite.store import account_rows, media_rows, seed_rows, team_rows
from imgpro_lite.store.db import Database
from imgpro_lite.store.spool import SpooledFile, copy_to_spool
from imgpro_lite.store.sqlite_file import Tx

OWNER = "seed"  # whose turn it is where uploads wait for a worker


@dataclass(frozen=True)
class Library:
    """What it takes to load a seed, in the server and in the operator's command."""

    settings: Settings
    plans: PlanTable
    db: Database
    maker: Maker


@dataclass
class Loaded:
    """What a seed has added."""

    teams: int = 0
    keys: int = 0
    images: int = 0
    present: int = 0
    """Images that were there already."""
    problems: dict[int, str] = field(default_factory=dict)
    """Why images could not be loaded, by the number of their entry."""

    def list_problems(self) -> list[str]:
        """A line for each, in the order of the entries."""
        return [text for _, text in sorted(self.problems.items())]


@dataclass(frozen=True)
class _Destination:
    """Where an image goes. The hash names a team for good, which its row id does not."""

    team_hash: str | None
    counts: bool
    """Whether it is one of the uploads of the month."""


async def load_seed(library: Library, seed: Seed, loaded: Loaded, on_image: Callable[[], None] = lambda: None) -> None:
    """Add what is missing, and note in `loaded` what was done. `on_image` is called after each image,
    whatever became of it. Rate limits and quotas do not hold.

    Raises SeedProblems for teams and keys that cannot be, and then has changed nothing, and StorageFull.
    """
    hashes = await library.db.write(_load_teams, library.plans, seed, loaded)
    destinations = [_Destination(None, counts=True)] * len(seed.images)
    for place, team_place in enumerate(seed.team_of):
        if team_place is not None:
            counts = seed.teams[team_place].uploads_used is None
            destinations[place] = _Destination(hashes[team_place], counts)
    # Pictures are decoded side by side, but stored in the order of the file, which is that of lists.
    parallel = len(library.maker.pool.pids) + 1
    tasks = deque[asyncio.Task[None]]()
    try:
        for number, (entry, destination) in enumerate(zip(seed.images, destinations, strict=True), start=1):
            if len(tasks) == parallel:
                await tasks.popleft()
            one = _Image(library, seed, entry, destination)
            before = tasks[-1] if tasks else None
            tasks.append(asyncio.create_task(_load_image(one, number, before, loaded, on_image)))
        while tasks:
            await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ── teams and keys: one transaction ──


def _load_teams(tx: Tx, plans: PlanTable, seed: Seed, loaded: Loaded) -> list[str]:
    """The hashes of the seed's teams, those that were missing made. Raises SeedProblems."""
    problems = []
    hashes = []
    for number, entry in enumerate(seed.teams, start=1):
        try:
            team = _find_team(tx.conn, entry)
            if team is None:
                team = _insert_team(tx, plans, entry)
                loaded.teams += 1
            loaded.keys += _load_keys(tx, team, entry)
            hashes.append(team.hash)
        except (OperatorError, ValueError) as error:
            problems.append(f"[[team]] {number}: {error}")
    if problems:
        raise SeedProblems(seed.folder, problems)
    return hashes


def _find_team(conn: sqlite3.Connection, entry: SeedTeam) -> Team | None:
    """The team that an entry is about, if it is there: by its hash, else by its keys, else by its address.

    Raises ValueError where the hash cannot be had.
    """
    if entry.hash is not None:
        team = account_rows.find_team_by_hash(conn, entry.hash)
        if team is not None and team.email != entry.email:
            raise ValueError("hash: is that of another team")
        other = account_rows.find_verified_team(conn, entry.email) if team is None and entry.verified else None
        if other is not None:
            raise ValueError(f"hash: the team of {entry.email} has {other.hash}; leave it out to add to that team")
        return team
    for key in entry.keys:
        found = account_rows.find_key_and_team(conn, ids.api_key_sha256(key.key))
        if found is not None and found[1].email == entry.email:
            return found[1]
    if entry.verified:
        return account_rows.find_verified_team(conn, entry.email)
    named = [summary.team for summary in team_rows.list_teams_named(conn, entry.email)]
    return next((team for team in named if team.kind is TeamKind.UNVERIFIED), None)


def _insert_team(tx: Tx, plans: PlanTable, entry: SeedTeam) -> Team:
    """A new team as the seed has it. Raises OperatorError for an unknown plan."""
    refuse_unknown_plan(plans, entry.plan)
    kind = TeamKind.VERIFIED if entry.verified else TeamKind.UNVERIFIED
    team = account_rows.insert_team(tx.conn, kind, entry.email, entry.plan, tx.now, entry.hash)
    if entry.registration_closed:
        team_rows.update_registration(tx.conn, team.id, closed=True)
    if entry.uploads_used is not None:
        account_rows.replace_team_uploads(tx.conn, team.id, month_number(tx.now), entry.uploads_used)
    return account_rows.get_team(tx.conn, team.id)


def _load_keys(tx: Tx, team: Team, entry: SeedTeam) -> int:
    """Add the keys that are missing: how many. Raises ValueError for one that is somebody else's."""
    added = 0
    for number, key in enumerate(entry.keys, start=1):
        sha256 = ids.api_key_sha256(key.key)
        found = account_rows.find_key_and_team(tx.conn, sha256)
        if found is not None and found[1].id == team.id:
            continue
        if account_rows.has_api_key(tx.conn, sha256):
            raise ValueError(f"keys: the {number}. of them is that of another team, or was revoked")
        insert_new_key(tx, team, key.name, key.abilities, created_from=None, secret=key.key)
        added += 1
    return added


# ── images: one transaction each ──


@dataclass(frozen=True)
class _Image:
    """An image to load, and where to."""

    library: Library
    seed: Seed
    entry: SeedImage
    destination: _Destination


async def _load_image(
    one: _Image, number: int, before: asyncio.Task[None] | None, loaded: Loaded, on_image: Callable[[], None]
) -> None:
    """Load an image after the one before it. What is wrong with it is noted. Raises StorageFull."""
    try:
        if await _store(one, before):
            loaded.images += 1
        else:
            loaded.present += 1
    except StorageFull:
        raise
    except ValidationFailed as error:
        reasons = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.errors.items())
        loaded.problems[number] = f"{label(number, one.entry)}: {reasons}"
    except ImgProError as error:
        loaded.problems[number] = f"{label(number, one.entry)}: {error}"
    except OSError as error:
        loaded.problems[number] = f"{label(number, one.entry)}: {error.strerror}"
    on_image()


async def _store(one: _Image, before: asyncio.Task[None] | None) -> bool:
    """Keep the image of an entry. False when it is there already."""
    library, blobs = one.library, one.library.maker.blobs
    source = one.seed.folder / one.entry.file
    blobs.check_free_space()
    with blobs.temporary() as (path, descriptor):
        file = await asyncio.to_thread(copy_to_spool, source, path, descriptor)
        await library.db.read(uploads.refuse_blocked, file.sha256)
        format_ = uploads.format_of(file)
        # It is the operator's own, like an upload with a key.
        what = library.settings.uploads.stripped(anonymous=False)
        # What is stored of an SVG, or of a picture that something is taken out of, is known only later.
        is_stored_as_it_is = format_ is not Format.SVG and what is None
        if is_stored_as_it_is and await library.db.read(_is_known, one, file, library.maker.clock.now()):
            return False
        async with uploads.decoded(library.maker, file, format_, OWNER, what) as (stored, probed):
            media_id = one.entry.id or ids.new_media_id()
            new = uploads.new_media(media_id, stored, format_, probed, one.entry, one.entry.file)
            if before is not None:
                await asyncio.wait([before])
            return await uploads.keep(library.db, blobs, new.sha256, _insert, one, new, stored)


def _is_known(conn: sqlite3.Connection, one: _Image, file: SpooledFile, now: int) -> bool:
    """Whether there is no need to decode the file."""
    return _is_present(conn, one, _get_team(conn, one), file.sha256, now)


def _get_team(conn: sqlite3.Connection, one: _Image) -> Team:
    if one.destination.team_hash is None:
        return account_rows.get_team(conn, ANONYMOUS_TEAM_ID)
    team = account_rows.find_team_by_hash(conn, one.destination.team_hash)
    if team is None:
        raise NotFound("Its team was joined to another meanwhile.")
    return team


def _is_present(conn: sqlite3.Connection, one: _Image, team: Team, sha256: bytes, now: int) -> bool:
    """Whether the image is there already: by its id, else its external_id, else its content and name.

    Raises ValidationFailed where another image has its id or external_id.
    """
    entry = one.entry
    if entry.id is not None and media_rows.find_deleted(conn, entry.id):
        raise ValidationFailed({"id": [f"is that of a deleted image; `imgpro-lite media restore {entry.id}`"]})
    by_id = media_rows.find_undeleted(conn, entry.id) if entry.id is not None else None
    if by_id is not None:
        if (by_id.team_id, by_id.sha256) != (team.id, sha256):
            raise ValidationFailed({"id": ["is that of another image"]})
        return True
    if entry.external_id is not None and team.kind is not TeamKind.ANONYMOUS:
        found = media_rows.find_by_external_id(conn, team.id, entry.external_id, now)
        if found is not None and entry.id is not None:
            raise ValidationFailed({"external_id": [f"is that of the image {found.id}"]})
        return found is not None
    return entry.id is None and seed_rows.has_same(conn, team.id, sha256, entry.shown_name, now)


def _insert(tx: Tx, one: _Image, new: NewMedia, stored: SpooledFile) -> bool:
    """The durable step. False, and nothing is done, when the image is there already."""
    team = _get_team(tx.conn, one)
    if _is_present(tx.conn, one, team, new.sha256, tx.now):
        return False
    if new.external_id is not None:
        media_rows.release_expired_external_id(tx.conn, team.id, new.external_id, tx.now)
    uploads.refuse_blocked(tx.conn, new.sha256)
    if one.destination.counts:
        account_rows.update_team_uploads(tx.conn, team, month_number(tx.now), 1)
    one.library.maker.blobs.adopt(stored.path, new.sha256)
    days = retention_days(one.library.settings, team)
    media_rows.insert_media(
        tx.conn,
        new,
        team_id=team.id,
        team_hash=one.entry.hash or team.hash,
        created_at=tx.now,
        retention_expires_at=None if days is None else tx.now + days * SECONDS_PER_DAY,
    )
    return True
