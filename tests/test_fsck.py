"""`imgpro-lite fsck`: every kind of damage is found, what can be put right is, and nothing is ever lost by it."""

import os
import shutil
from pathlib import Path

import pytest
from checking import (
    Damage,
    a_file,
    blob_of,
    check,
    execute,
    flip_a_bit,
    kinds,
    overwrite_a_page,
    repair,
    without_index,
    without_triggers,
)
from commands import make_key
from images import make_image
from library import check_counts, connect, owner, picture
from shared import serve

from imgpro_lite.errors import OperatorError
from imgpro_lite.services.fsck.checkup import Kind

PICTURE = make_image("jpeg", 1300, 1200)  # large enough for intermediates
OTHERS = ["anonymous", "unverified", "deleted"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The data directory of a server that has ended, with all that a server makes; its images by what they are."""
    data_dir = tmp_path_factory.mktemp("library") / "data"
    with serve(data_dir) as api:
        headers = owner(api)
        answer = api.upload(PICTURE, headers, tags="one,two", namespace="ns", name="Sunset")
        ids = {"sunset": answer.json()["id"]}
        assert api.fetch(f"{answer.json()['src']}?size=s").status_code == 200
        for number, (name, key) in enumerate(zip(OTHERS, [None, api.new_key(), headers], strict=True)):
            ids[name] = api.upload(picture(number), key, tags="one,three").json()["id"]
        assert api.client.request("DELETE", f"/v1/media/{ids['deleted']}", headers=headers).status_code == 200
    return data_dir, ids


@pytest.fixture
def ids(original: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return original[1]


@pytest.fixture
def data_dir(original: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    copy = tmp_path / "data"
    shutil.copytree(original[0], copy)
    return copy


@pytest.fixture
def sunset(data_dir: Path, ids: dict[str, str]) -> Path:
    """The file of the picture that has everything."""
    return blob_of(data_dir, ids["sunset"])


def sql(*statements: str) -> Damage:
    return lambda data_dir: execute(data_dir, *statements)


def untriggered(*statements: str) -> Damage:
    return lambda data_dir: without_triggers(data_dir, *statements)


def cached(data_dir: Path) -> Path:
    """The one variant."""
    (path,) = (data_dir / "cache").glob("*/*")
    return path


def move_a_blob(data_dir: Path) -> None:
    path = next(path for path in (data_dir / "blobs").rglob("*") if path.is_file())
    path.rename(data_dir / "blobs" / path.name)
    shutil.copy(data_dir / "blobs" / path.name, path)


def unindexed(data_dir: Path) -> None:
    """An index that is not what its table has."""
    without_index(data_dir, "media_expiry", "UPDATE media SET ttl_expires_at = 5 WHERE team_id = 1")


MANIFEST_TRIGGERS = (
    *((table, what) for table in ("media", "teams", "api_keys") for what in ("inserted", "updated", "deleted")),
    *(("blocked_blobs", "inserted"), ("blocked_blobs", "deleted"), ("library", "updated")),
)

REPAIRABLE: dict[str, tuple[str, Damage]] = {
    "a missing index": ("schema", sql("DROP INDEX media_sha256")),
    "another index": ("schema", sql("DROP INDEX media_list", "CREATE INDEX media_list ON media (seq)")),
    "a missing trigger": ("schema", sql("DROP TRIGGER media_updated")),
    "an older schema": (
        "schema",
        sql(
            *(f"DROP TRIGGER {table}_{what}_manifest" for table, what in MANIFEST_TRIGGERS),
            "DROP TABLE manifests_due",
            "DROP TABLE manifest_backlog",
            "DROP TABLE manifest_state",
            "DROP TABLE library",
            "DROP TABLE spent_tokens",
            "ALTER TABLE api_keys DROP COLUMN session_ends_at",
            "DROP TRIGGER media_expiry_updated",
            "ALTER TABLE media_tags DROP COLUMN expires_at",
            "PRAGMA user_version = 2",
        ),
    ),
    "a row that is missing from an index": ("database", unindexed),
    "storage too high": ("count", sql("UPDATE teams SET storage_bytes = storage_bytes + 1 WHERE kind = 'verified'")),
    "storage of unverified keys": ("count", sql("UPDATE totals SET unverified_storage_bytes = 7")),
    "no total": ("count", sql("DELETE FROM totals")),
    "storage below zero": ("count", untriggered("UPDATE teams SET storage_bytes = 0 WHERE kind = 'unverified'")),
    "a namespace that counts wrong": ("count", sql("UPDATE namespaces SET images = 5")),
    "a namespace that is missing": ("count", sql("DELETE FROM namespaces")),
    "a namespace too many": ("count", sql("INSERT INTO namespaces SELECT id, 'no', 0, 0 FROM teams")),
    "a tag that counts wrong": ("count", sql("UPDATE tags SET images = 9 WHERE name = 'one'")),
    "a tag without images": ("count", sql("INSERT INTO tags (team_id, name, images) SELECT id, 'no', 0 FROM teams")),
    "no tags": ("count", sql("DELETE FROM tags")),
    "no index of tags": ("count", sql("DELETE FROM media_tags")),
    "the index of tags stale": ("count", sql("UPDATE media_tags SET sort_at = sort_at + 1, expires_at = 5")),
    "a tag of no image": ("count", sql("INSERT INTO media_tags SELECT id, 1, 2, NULL FROM tags")),
    "tags changed unseen": ("count", untriggered('UPDATE media SET tags = \'["two", "four"]\'')),
    "deleted unseen": ("count", untriggered("UPDATE media SET deleted_at = 1")),
    "another length": ("wrong_length", untriggered("UPDATE media SET filesize_bytes = filesize_bytes + 1")),
    "a file without image": ("file_without_image", a_file(f"blobs/12/34/1234{'0' * 60}")),
    "a file in the wrong folder": ("stray", move_a_blob),
    "a stray file among the folders": ("stray", a_file("blobs/.DS_Store")),
    "a stray file in a folder": ("stray", a_file("blobs/12/notes.txt")),
    "a stray file beside blobs": ("stray", a_file(f"blobs/12/34/1234{'0' * 60}.jpg")),
    "a link among blobs": ("stray", lambda data_dir: (data_dir / "blobs/zz").symlink_to("/nowhere")),
    "an upload that a crash cut short": ("leftover", a_file("tmp/tmpabc")),
    "a folder among uploads": ("leftover", a_file("tmp/sub/notes.txt")),
    "a pipe among uploads": ("leftover", lambda data_dir: os.mkfifo(data_dir / "tmp" / "pipe")),
    "a variant cut short": ("cache", lambda data_dir: cached(data_dir).write_bytes(b"short")),
    "a variant half made": ("cache", a_file(f"cache/ab/ab{'0' * 62}-320.0123.tmp")),
    "a variant of a purged image": ("cache", a_file(f"cache/ab/ab{'0' * 62}-320-q80-v9.webp.4")),
    "an intermediate of a purged image": ("cache", a_file(f"intermediates/ab/ab{'0' * 62}-640-v9.4")),
    "something else in the cache": ("cache", a_file("cache/ab/notes.txt")),
    "something else beside the cache": ("cache", a_file("cache/README")),
    "a directory in the cache": ("cache", a_file("cache/ab/cd/notes.txt")),
    "a directory that others may read": ("access", lambda data_dir: data_dir.chmod(0o755)),
    "a secret that the group may read": ("access", lambda data_dir: (data_dir / "secret").chmod(0o640)),
}


def test_a_sound_library_is_clean(data_dir: Path) -> None:
    before = sorted(data_dir.rglob("*"))
    assert check(data_dir, repair=True, remove_broken=True) == []
    assert sorted(data_dir.rglob("*")) == before


@pytest.mark.parametrize("what", REPAIRABLE)
def test_damage_is_found_and_repaired(data_dir: Path, what: str) -> None:
    kind, damage = REPAIRABLE[what]
    damage(data_dir)
    found = check(data_dir)
    if what in ("a missing trigger", "another length"):  # what they say is wrong together with what follows from it
        assert kind in kinds(found)
    else:
        assert kinds(found) == {kind}
    assert kind in kinds(repair(data_dir))
    check_counts(data_dir)


def test_what_has_no_image_is_set_aside_and_never_removed(data_dir: Path) -> None:
    names = [f"blobs/12/34/1234{'0' * 60}", "blobs/12/notes.txt", "blobs/.DS_Store"]
    for _ in range(2):
        for name in names:
            a_file(name)(data_dir)
        repair(data_dir)
    aside = data_dir / "set-aside"
    kept = {str(path.relative_to(aside)) for path in aside.rglob("*") if path.is_file()}
    assert kept == {*names, *(f"{name}.2" for name in names)}
    assert aside.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_what_root_has_left_is_given_back(data_dir: Path, sunset: Path) -> None:
    everything = [data_dir, *data_dir.rglob("*")]
    for path in everything:
        os.chown(path, 65534, 65534)  # "nobody" nearly everywhere
    for path in (sunset, sunset.parent, data_dir / "secret"):
        os.chown(path, 0, 0)
    a_file("blobs/.DS_Store")(data_dir)
    assert kinds(check(data_dir)) == {"access", "stray"}
    assert [problem.kind for problem in repair(data_dir)].count(Kind.ACCESS) == 3
    aside = data_dir / "set-aside"
    assert {path.stat().st_uid for path in (*everything, aside, aside / "blobs")} == {65534}


def test_a_file_that_waits_for_the_sweep_is_no_problem(data_dir: Path, ids: dict[str, str]) -> None:
    execute(data_dir, f"DELETE FROM media WHERE id = '{ids['deleted']}'")
    assert check(data_dir) == []


# --- what only a backup can bring back


@pytest.mark.parametrize("how", ["missing", "flipped", "cut"])
def test_a_broken_file_is_told_with_its_images_and_only_removed_when_asked(
    data_dir: Path, sunset: Path, ids: dict[str, str], how: str
) -> None:
    content = sunset.read_bytes()
    if how == "missing":
        sunset.unlink()
    elif how == "flipped":
        flip_a_bit(sunset)
    else:
        sunset.write_bytes(content[:-1])
    (problem,) = check(data_dir, repair=True)
    assert (problem.kind, problem.repaired) == ("missing_file" if how == "missing" else "damaged_file", False)
    ((image,), count) = problem.images, problem.image_count
    assert (image.id, image.name, image.email, count) == (ids["sunset"], "Sunset", "ops@example.com", 1)
    assert sunset.exists() == (how != "missing")

    (problem,) = check(data_dir, repair=True, remove_broken=True)
    assert problem.repaired
    assert check(data_dir) == []
    check_counts(data_dir)
    with connect(data_dir) as conn:
        assert conn.execute("SELECT deleted_at > 0 FROM media WHERE id = ?", (ids["sunset"],)).fetchall() == [(1,)]
    aside = data_dir / "set-aside" / sunset.relative_to(data_dir)
    assert (sunset.exists(), aside.exists()) == (False, how != "missing")


def test_a_disk_that_is_not_mounted_removes_no_image(data_dir: Path) -> None:
    (data_dir / "blobs").rename(data_dir / "elsewhere")
    (data_dir / "blobs").mkdir()
    with pytest.raises(OperatorError, match="mounted"):
        check(data_dir, repair=True, remove_broken=True)
    (data_dir / "blobs").rmdir()
    (data_dir / "elsewhere").rename(data_dir / "blobs")
    assert check(data_dir) == []


def test_the_quick_way_reads_no_file_but_sees_its_length(data_dir: Path, sunset: Path) -> None:
    flip_a_bit(sunset)
    assert check(data_dir, quick=True) == []
    sunset.write_bytes(sunset.read_bytes()[:-1])
    assert kinds(check(data_dir, quick=True)) == {"damaged_file"}


def test_a_missing_file_of_a_deleted_image_is_no_problem(data_dir: Path, ids: dict[str, str]) -> None:
    blob_of(data_dir, ids["deleted"]).unlink()
    assert check(data_dir) == []


def test_an_upload_of_the_same_bytes_heals(data_dir: Path, sunset: Path) -> None:
    with serve(data_dir) as api:
        for damage in (flip_a_bit, Path.unlink):
            damage(sunset)
            assert len(check(data_dir)) == 1
            assert api.upload(PICTURE).status_code == 201
            assert check(data_dir) == []
            assert sunset.read_bytes() == PICTURE


def test_a_database_that_is_damaged_is_told_and_left_alone(data_dir: Path) -> None:
    path = data_dir / "imgpro.db"
    overwrite_a_page(path)
    before = path.read_bytes()
    a_file(f"blobs/12/34/1234{'0' * 60}")(data_dir)
    assert kinds(check(data_dir, repair=True)) == {"database"}
    assert path.read_bytes() == before


def test_another_database_never_makes_the_files_strangers(data_dir: Path, sunset: Path) -> None:
    path = data_dir / "imgpro.db"
    path.write_bytes(b"")
    assert kinds(check(data_dir, repair=True)) == {"database"}
    other = data_dir.with_name("other")
    make_key(other)  # makes a new database
    shutil.copy(other / "imgpro.db", path)
    found = check(data_dir, repair=True)
    assert {problem.repaired for problem in found if problem.kind == Kind.FILE_WITHOUT_IMAGE} == {False}
    assert sunset.exists()


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (sql("CREATE TRIGGER mine AFTER INSERT ON media BEGIN SELECT 1; END"), "schema"),
        (untriggered("UPDATE media SET format = 'exe' WHERE seq = 1"), "row"),
        (
            sql(
                "PRAGMA foreign_keys = OFF", "UPDATE api_keys SET team_id = 99 WHERE can_write AND created_from IS NULL"
            ),
            "row",
        ),
        (sql("UPDATE teams SET uploads_used = -1 WHERE id = 1"), "row"),
        (lambda data_dir: (data_dir / "tmp").rename(data_dir / "t") and (data_dir / "tmp").symlink_to("t"), "access"),
    ],
    ids=["a foreign trigger", "an unknown format", "no such team", "a check", "a link"],
)
def test_what_cannot_be_repaired_is_told(data_dir: Path, damage: Damage, kind: str) -> None:
    damage(data_dir)
    (problem,) = check(data_dir, repair=True)
    assert (str(problem.kind), problem.repaired) == (kind, False)


def test_tags_that_cannot_be_read_keep_nobody_from_looking_at_the_rest(data_dir: Path) -> None:
    without_triggers(data_dir, "UPDATE media SET tags = '[' WHERE tags LIKE '%two%'")
    a_file("blobs/.DS_Store")(data_dir)
    assert kinds(check(data_dir)) == {"row", "count", "stray"}


def test_tables_of_other_tools_are_left_alone(data_dir: Path) -> None:
    execute(data_dir, "CREATE TABLE _litestream_seq (id INTEGER)", "CREATE INDEX mine ON media (name)", "ANALYZE")
    assert check(data_dir) == []
