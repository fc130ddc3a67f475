"""The files of a snapshot: a copy of the database, the stored files as further names of the same bytes, and the mail.

imgpro.db   as `sqlite_copy` makes it
blobs/      by SHA-256
outbox/     mail
about.json  what people are told of it
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.data_dir import DATABASE_NAME
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import disk_full_as_refusal

_MAIL = "*.eml"


@dataclass(frozen=True)
class About:
    """What is known of a snapshot without opening it. Times are those of dev mode's clock."""

    created_at: int
    offset_seconds: int
    images: int
    extra_storage_bytes: dict[str, int]
    """What teams, by hash, count as stored beside their images."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is complete."""

    folder: Path
    about: About

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name

    @property
    def database(self) -> Path:
        """The copy of the database."""
        return self.folder / DATABASE_NAME

    @property
    def outbox(self) -> Path:
        """The mail."""
        return self.folder / "outbox"

    def list_blobs(self) -> list[bytes]:
        """The hashes of its files."""
        return [bytes.fromhex(path.name) for path in (self.folder / "blobs").iterdir()]

    def blob(self, sha256: bytes) -> Path:
        """Where one of its files is."""
        return self.folder / "blobs" / sha256.hex()


def find_snapshot(folder: Path) -> Snapshot | None:
    """The snapshot in this folder, if there is one."""
    try:
        return Snapshot(folder, About(**json.loads((folder / "about.json").read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return None


def list_snapshots(directory: Path) -> list[Snapshot]:
    """Those in a directory, by name."""
    found = [find_snapshot(folder) for folder in sorted(directory.iterdir()) if not folder.name.startswith(".")]
    return [snapshot for snapshot in found if snapshot]


def remove_snapshot(folder: Path) -> None:
    """Remove it as a whole: what a crash leaves of it is nobody's snapshot."""
    doomed = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_unfinished(directory: Path) -> None:
    """Remove what a crash has left of snapshots; one that was to be replaced is there again."""
    for old in directory.glob(".*.old"):
        folder = directory / old.name[1:].removesuffix(".old")
        if not folder.exists() and (directory / f".{folder.name}.new").exists():
            old.rename(folder)
    for leftover in directory.glob(".*"):
        shutil.rmtree(leftover)


def write_snapshot(
    folder: Path, write_database: Callable[[Path], Iterable[bytes]], source: BlobStore, outbox: Path, about: About
) -> None:
    """Make a snapshot, in the place of one of the same name. `write_database` writes the file that it is given, and
    says which stored files belong to it. Raises OSError, StorageFull, and then has left the old one as it was."""
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with disk_full_as_refusal():
            (draft / "blobs").mkdir(parents=True)
            (draft / "outbox").mkdir()
            hashes = write_database(draft / DATABASE_NAME)
            reached("snapshot.copied")
            for sha256 in hashes:
                with contextlib.suppress(FileNotFoundError):  # it was missing before
                    link(source.path(sha256), draft / "blobs" / sha256.hex())
            replace_mail(draft / "outbox", outbox)
            (draft / "about.json").write_text(json.dumps(asdict(about)), encoding="utf-8")
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    reached("snapshot.written")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def replace_mail(target: Path, source: Path) -> None:
    """Have one directory contain the mail of another, and no other mail. Raises OSError."""
    wanted, there = _mail_in(source), _mail_in(target)
    if wanted - there:
        target.mkdir(mode=0o700, exist_ok=True)
    for name in wanted - there:
        link(source / name, target / name)
    for name in there - wanted:
        (target / name).unlink()


def _mail_in(directory: Path) -> set[str]:
    return {path.name for path in directory.glob(_MAIL) if not path.name.startswith(".")}


def link(source: Path, target: Path) -> None:
    """Give bytes that never change a further name, unless it is taken. They are copied where a disk cannot do that.

    Raises OSError.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:
        with _whole(target) as temporary:
            shutil.copyfile(source, temporary)


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path for a file that gets its name when it is complete."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
