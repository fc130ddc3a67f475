"""`imgpro-lite fsck` where rows, or the whole database, cannot be read."""

import shutil
import subprocess
from pathlib import Path

import pytest
from checking import check, execute, overwrite_a_page, repair, run_fsck, told, without_triggers
from library import check_counts, connect, list_ids, owner, picture
from shared import serve

from imgpro_lite.cli.fsck import SALVAGE


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The data directory of a server that has ended, and its images, of which the last is deleted."""
    data_dir = tmp_path_factory.mktemp("library") / "data"
    with serve(data_dir) as api:
        headers = owner(api)
        ids = [str(api.upload(picture(number), headers, tags="one,two").json()["id"]) for number in range(3)]
        assert api.client.delete(f"/v1/media/{ids[-1]}", headers=headers).status_code == 200
    return data_dir, ids


@pytest.fixture
def ids(original: tuple[Path, list[str]]) -> list[str]:
    return original[1]


@pytest.fixture
def data_dir(original: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    copy = tmp_path / "data"
    shutil.copytree(original[0], copy)
    return copy


@pytest.mark.parametrize(
    ("column", "text"), [("tags", b"["), ("tags", b'["one", 2, {}]'), ("metadata", b"[]"), ("metadata", b"{\xff")]
)
def test_what_cannot_be_read_is_emptied_and_kept(data_dir: Path, ids: list[str], column: str, text: bytes) -> None:
    breaking = f"UPDATE media SET {column} = CAST(x'{text.hex()}' AS TEXT) WHERE id = "
    without_triggers(data_dir, f"{breaking}'{ids[0]}'", f"{breaking}'{ids[-1]}'")
    (problem,) = [problem for problem in repair(data_dir) if problem.kind == "row"]
    assert problem.message == f"The {column} of image {ids[0]} cannot be read."
    assert (data_dir / "set-aside" / "rows" / f"{ids[0]}.{column}").read_bytes() == text
    check_counts(data_dir)
    with connect(data_dir) as conn:
        shown = conn.execute(f"SELECT {column} FROM media WHERE id = ?", (ids[0],)).fetchone()
    assert shown == ({"tags": "[]", "metadata": "{}"}[column],)


def test_a_list_that_failed_works_after_the_repair_beside_the_server(data_dir: Path, ids: list[str]) -> None:
    with serve(data_dir) as api:
        headers = owner(api)
        without_triggers(data_dir, f"UPDATE media SET tags = '[' WHERE id = '{ids[1]}'")
        assert api.client.get("/v1/media", headers=headers).status_code == 500
        assert api.client.get(f"/v1/media/{ids[1]}", headers=headers).status_code == 500
        check(data_dir, repair=True)
        assert list_ids(api, headers) == ids[1::-1]
        assert api.client.patch(f"/v1/media/{ids[1]}", headers=headers, json={"tags": "new"}).status_code == 200
        assert list_ids(api, headers, tags="new") == [ids[1]]


def test_an_image_of_an_unknown_format_is_removed_only_when_asked(data_dir: Path) -> None:
    without_triggers(data_dir, "UPDATE media SET format = 'exe' WHERE seq = 1")
    assert told(data_dir, repair=True, remove_broken=True) == [("row", True)]
    assert check(data_dir) == []
    check_counts(data_dir)


# --- the whole database


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the sqlite3 command")
def test_what_can_be_read_of_a_damaged_database_is_saved_by_what_is_advised(data_dir: Path, ids: list[str]) -> None:
    path = data_dir / "imgpro.db"
    execute(
        data_dir,
        "CREATE TABLE padding (text TEXT) STRICT",  # so large that the middle of the file is in it
        "INSERT INTO padding WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400) "
        "SELECT hex(randomblob(900)) FROM n",
    )
    overwrite_a_page(path)
    assert told(data_dir, repair=True) == [("database", False)]
    subprocess.run(["sh", "-c", SALVAGE], cwd=data_dir, check=True)
    for name in ("imgpro.db", "imgpro.db-wal", "imgpro.db-shm"):
        (data_dir / name).unlink(missing_ok=True)
    (data_dir / "saved.db").rename(path)
    repair(data_dir)
    with connect(data_dir) as conn:
        assert conn.execute("SELECT id FROM media ORDER BY seq").fetchall() == [(media_id,) for media_id in ids]


def test_a_database_that_cannot_be_opened_is_told_with_what_to_do(data_dir: Path) -> None:
    with (data_dir / "imgpro.db").open("r+b") as file:
        file.write(b"\xa5" * 100)
    code, output = run_fsck(data_dir, "--repair")
    assert code == 1
    assert "  It cannot be opened: file is not a database.\n" in output
    assert "restore the database from a backup" in output
    assert f"    {SALVAGE.splitlines()[0]}\n" in output
    assert output.endswith("Problems found: 1.\n")
