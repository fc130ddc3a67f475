"""The steps of a rebuild."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.rebuild.database import install, require_lost
from imgpro_lite.services.rebuild.lines import BlockedLine, ImageLine, LibraryLine, Line, TeamLine, parse
from imgpro_lite.services.rebuild.rows import insert_blocked, insert_image, insert_team
from imgpro_lite.store import manifest_rows, media_rows, rebuild_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.data_dir import hold_if_stopped, refuse_unfinished_restore
from imgpro_lite.store.files import give_to_owner, sha256_of_file
from imgpro_lite.store.manifests import MANIFESTS_NAME, Manifests, read_sealed
from imgpro_lite.store.sqlite_copy import open_new

L = TypeVar("L", bound=Line)

# Rows in one transaction: what it changes is kept in memory until then, about 2 KB for each.
COMMIT_EVERY = 10_000
_DRAFT_NAME = "rebuilt.db"
_MISSING = "is missing"


class Kind(StrEnum):
    """What cannot be made as it was. Scripts know these words."""

    DAMAGED_MANIFEST = "damaged_manifest"
    OTHER_LIBRARY = "other_library"
    MISSING_TEAM = "missing_team"
    CONFLICT = "conflict"
    BROKEN_FILE = "broken_file"
    FILE_WITHOUT_IMAGE = "file_without_image"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was, in a sentence."""

    kind: Kind
    message: str

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


@dataclass(frozen=True)
class Options:
    """What is to be done: `verify` reads every file, `dry_run` changes nothing."""

    verify: bool = False
    dry_run: bool = False


class Progress(Protocol):
    """Who shows how far it is."""

    def begin(self, title: str, files: int | None = None, size_bytes: int | None = None) -> None:
        """Another step begins, of so many things, where that is known."""

    def advance(self, files: int, size_bytes: int = 0) -> None:
        """So much more is done."""


@dataclass
class Rebuilt:
    """What there is again."""

    database_was: str
    images: int = 0
    deleted_images: int = 0
    teams: int = 0
    keys: int = 0
    blocked_files: int = 0
    set_aside: tuple[str, ...] = ()


def rebuild(
    data_dir: Path, options: Options, tell: Callable[[Problem], None], progress: Progress, clock: Clock
) -> Rebuilt:
    """Make the database of an absolute data directory anew. Raises OperatorError, sqlite3.Error, OSError."""
    with hold_if_stopped(data_dir) as is_stopped:
        if not is_stopped:
            raise OperatorError(f"A server is running on {data_dir}. Stop it first.")
        refuse_unfinished_restore(data_dir)
        database_was = require_lost(data_dir)
        manifests = Manifests(data_dir)
        if not any(name for _, name in manifests.walk()):
            raise OperatorError(
                f"There is nothing in {data_dir / MANIFESTS_NAME} to rebuild a database from. Restore it from a backup."
            )
        draft = data_dir / "tmp" / _DRAFT_NAME
        if not draft.parent.exists():
            draft.parent.mkdir(mode=0o700)
            give_to_owner(draft.parent, data_dir)
        draft.unlink(missing_ok=True)
        try:
            with closing(open_new(draft, clock)) as conn:
                done = _Rebuilding(data_dir, manifests, conn, options, tell, progress, Rebuilt(database_was))
                done.run()
            if not options.dry_run:
                moved = install(data_dir, draft)
                done.rebuilt.set_aside = tuple(str(path.relative_to(data_dir)) for path in moved)
        finally:
            draft.unlink(missing_ok=True)
        return done.rebuilt


class _Rebuilding:
    """A rebuild that is under way."""

    def __init__(
        self,
        data_dir: Path,
        manifests: Manifests,
        conn: sqlite3.Connection,
        options: Options,
        tell: Callable[[Problem], None],
        progress: Progress,
        rebuilt: Rebuilt,
    ) -> None:
        self._data_dir = data_dir
        self._manifests = manifests
        self._conn = conn
        self._options = options
        self._tell = tell
        self._progress = progress
        self._blobs = BlobStore(data_dir, min_free_bytes=0)
        self._library_id: str | None = None
        self._uncommitted = 0
        self.rebuilt = rebuilt

    def run(self) -> None:
        """Fill the database."""
        self._conn.execute("BEGIN")
        self._name_library()
        self._progress.begin("Teams")
        for team in self._lines("teams/", TeamLine):
            insert_team(self._conn, team, self.rebuilt, self._tell_conflict)
            self._commit_now_and_then()
        for blocked in self._lines("blocked/", BlockedLine):
            self.rebuilt.blocked_files += insert_blocked(self._conn, blocked)
        manifests = sum(name is not None and name.startswith("images/") for _, name in self._manifests.walk())
        self._progress.begin("Images", manifests * manifest_rows.GROUP)  # at most
        for image in self._lines("images/", ImageLine):
            self._put_image(image)
            self._commit_now_and_then()
            self._progress.advance(1)
        self._tell_other_files()
        # The server compares every manifest with its rows: some are damaged, or not as they were.
        manifest_rows.delete_all_due(self._conn)
        manifest_rows.insert_all_due(self._conn)
        if state := self._manifests.read_state():
            manifest_rows.update_state(self._conn, state)
        self._conn.execute("COMMIT")

    def _name_library(self) -> None:
        """As its manifest says, or else most teams."""
        names = Counter(line.library for line in self._read("library", LibraryLine, lambda _: None))
        names = names or Counter(line.library for line in self._read("teams/", TeamLine, lambda _: None))
        names = names or Counter(line.library for line in self._read("images/", ImageLine, lambda _: None))
        if names:
            self._library_id = names.most_common(1)[0][0]
            rebuild_rows.update_library_id(self._conn, self._library_id)

    def _lines(self, prefix: str, kind: type[L]) -> Iterator[L]:
        """What the manifests of a kind say. What is damaged, or of another library, is told."""
        for line in self._read(prefix, kind, self._tell_damaged):
            if line.library == self._library_id:
                yield line
            else:
                self._tell(Problem(Kind.OTHER_LIBRARY, f"A line of {prefix}… is of another library: {line.library}."))

    def _read(self, prefix: str, kind: type[L], tell_damaged: Callable[[str], None]) -> Iterator[L]:
        for path, name in self._manifests.walk():
            if name is None or not name.startswith(prefix):
                continue
            try:
                for number, content in enumerate(read_sealed(path), start=1):
                    line = parse(content)
                    if isinstance(line, kind):
                        yield line
                    else:
                        tell_damaged(f"Line {number} of {self._relative(path)} is damaged, or of a newer version.")
            except OSError as error:
                tell_damaged(f"{self._relative(path)} cannot be read: {error.strerror}.")

    def _put_image(self, image: ImageLine) -> None:
        reason = self._find_damage(image)
        if reason == _MISSING and image.deleted_at is not None:
            return  # its time was over, and the file had gone already
        if not insert_image(self._conn, image, self.rebuilt, self._tell_conflict, self._tell_team):
            return
        if image.deleted_at is None:
            self.rebuilt.images += 1
        else:
            self.rebuilt.deleted_images += 1
        if reason:
            path = self._relative(self._blobs.path(bytes.fromhex(image.sha256)))
            self._tell(Problem(Kind.BROKEN_FILE, f"The file {path} of image {image.id} {reason}."))

    def _find_damage(self, image: ImageLine) -> str | None:
        """What is wrong with the file of an image."""
        sha256 = bytes.fromhex(image.sha256)
        path = self._blobs.path(sha256)
        try:
            if self._options.verify:
                digest, status = sha256_of_file(path)
                if digest != sha256:
                    return "is damaged"
            else:
                status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return _MISSING
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if status.st_size != image.filesize_bytes:
            return f"has {status.st_size} bytes instead of {image.filesize_bytes}"
        return None

    def _tell_other_files(self) -> None:
        self._progress.begin("Files")
        for folder in self._blobs.list_folders():
            for sha256 in sorted(self._blobs.list_folder(folder)):
                if not media_rows.is_used(self._conn, sha256):
                    path = self._relative(self._blobs.path(sha256))
                    self._tell(Problem(Kind.FILE_WITHOUT_IMAGE, f"No manifest says what {path} is."))

    def _commit_now_and_then(self) -> None:
        self._uncommitted += 1
        if self._uncommitted >= COMMIT_EVERY:
            manifest_rows.delete_all_due(self._conn)
            self._conn.execute("COMMIT")
            self._conn.execute("BEGIN")
            self._uncommitted = 0

    def _tell_damaged(self, message: str) -> None:
        self._tell(Problem(Kind.DAMAGED_MANIFEST, message))

    def _tell_conflict(self, message: str) -> None:
        self._tell(Problem(Kind.CONFLICT, message))

    def _tell_team(self, message: str) -> None:
        self._tell(Problem(Kind.MISSING_TEAM, message))

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._data_dir))
