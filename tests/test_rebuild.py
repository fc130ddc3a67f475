"""`imgpro-lite rebuild`: everything that people have is there again after the database was lost."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from checking import check, kinds, overwrite_a_page
from commands import authorization, make_key, run_keys, run_main
from conftest import Api
from library import (
    Headers,
    blob_path,
    check_counts,
    connect,
    list_ids,
    list_teams,
    owner,
    picture,
    run_media,
    run_teams,
    show_team,
    sweep_now,
)
from manifests import (
    change_lines,
    copy_without_database,
    fail_to_rebuild,
    lose_database,
    rebuild,
    wait_for_manifests,
)
from shared import serve
from wire import check_refusal

from imgpro_lite.clock import Clock
from imgpro_lite.store import manifest_rows
from imgpro_lite.store.manifests import seal
from imgpro_lite.store.sqlite_copy import open_new

DAY = 86_400


@dataclass
class Library:
    """A data directory whose server was stopped, and what people saw there before."""

    data_dir: Path
    headers: dict[str, Headers]
    ids: dict[str, str]
    srcs: list[str]
    clock_at: int
    seen: dict[str, Any]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    data_dir = tmp_path_factory.mktemp("rebuild") / "data"
    with serve(data_dir) as api:
        api.clock.at = int(time.time())  # as commands have it
        library = fill(api)
        library.seen = look(api, library)
        wait_for_manifests(data_dir)
    return library


def fill(api: Api) -> Library:
    """Images of every kind: two teams with the same bytes, a team that joined another, and what was changed."""
    team, reader = owner(api), authorization(make_key(api.data_dir, "--verified", "--read-only"))
    made = api.client.post("/v1/keys", json={"email": "ops@example.com"}).json()
    joined, stranger, revoked = (
        authorization(made),
        api.new_key("new@example.com"),
        make_key(api.data_dir, "--verified"),
    )
    headers = {"team": team, "reader": reader, "joined": joined, "stranger": stranger}
    every = {"tags": "one,zwei", "namespace": "holidays", "external_id": "ü-1", "date": "2020-02-29", "ttl": "30d"}
    uploads: list[tuple[str, int, Headers | None, dict[str, str]]] = [
        ("plain", 0, team, {}),
        ("full", 1, team, {**every, "metadata": '{"a": 1.50, "b": [null, "\\u00e9"], "big": 1e300}'}),
        ("private", 2, team, {"public": "false", "name": "ein \u202fName"}),
        ("shared", 0, stranger, {"tags": "one", "external_id": "ü-1"}),
        ("joining", 3, joined, {"external_id": "ü-1", "tags": "two"}),
        ("anonymous", 0, None, {}),
        ("deleted", 4, team, {"tags": "one", "namespace": "holidays"}),
        ("purged", 5, team, {}),
        ("blocked", 6, team, {}),
        ("changed", 7, team, {"tags": "one"}),
    ]
    answers = {name: api.upload(picture(number), key, **fields).json() for name, number, key, fields in uploads}
    ids = {name: answer["id"] for name, answer in answers.items()}
    assert api.client.delete(f"/v1/media/{ids['deleted']}", headers=team).status_code == 200
    change = {"name": "new", "tags": ["two", "three"], "namespace": "other", "metadata": {"x": "y"}}
    assert api.client.patch(f"/v1/media/{ids['changed']}", headers=team, json=change).status_code == 200
    run_keys(api.data_dir, "verify", made["key_id"])
    run_keys(api.data_dir, "revoke", revoked["key_id"])
    headers["revoked"] = authorization(revoked)
    run_media(api.data_dir, "delete", ids["purged"], "--purge")
    run_media(api.data_dir, "block", hashlib.sha256(picture(6)).hexdigest())
    run_teams(api.data_dir, "set-registration", "ops@example.com", "closed")
    sweep_now(api)
    return Library(api.data_dir, headers, ids, [answer["src"] for answer in answers.values()], api.clock.at, {})


def look(api: Api, library: Library) -> dict[str, Any]:
    """What people see: every answer as it is."""
    paths = ["/v1/media?limit=3", "/v1/media?tags=one", "/v1/media?namespace=holidays", "/v1/usage", "/v1/namespaces"]
    paths += [f"/v1/media/{media_id}" for media_id in library.ids.values()]
    seen = {
        f"{name} {path}": answer_of(api.client.get(path, headers=headers))
        for name, headers in {**library.headers, "nobody": {}}.items()
        for path in paths
    }
    seen |= {src: (answer := api.fetch(src)).status_code == 200 and answer.content for src in library.srcs}
    return seen | {name: list_ids(api, library.headers[name]) for name in ("team", "stranger", "joined")}


def answer_of(answer: Any) -> tuple[int, Any]:
    shown = answer.json()
    shown.pop("cursor", None)
    return answer.status_code, shown


def test_everything_is_as_it_was(library: Library, tmp_path: Path) -> None:
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    code, problems, summary = rebuild(data_dir, "--dry-run", "--verify")
    assert (code, problems, list(data_dir.glob("imgpro.db*"))) == (0, [], [])
    again = rebuild(data_dir, "--verify")
    assert again == (0, [], summary | {"dry_run": False})
    assert {key: summary[key] for key in ("images", "deleted_images", "keys", "blocked_files", "database_was")} == {
        "images": 7,
        "deleted_images": 1,
        "keys": 4,
        "blocked_files": 1,
        "database_was": "missing",
    }
    assert check(data_dir) == []
    check_counts(data_dir)
    assert rows_of(data_dir) == rows_of(library.data_dir)
    with serve(data_dir) as api:
        api.clock.at = library.clock_at
        assert look(api, library) == library.seen
        check_refusal(api.upload(picture(6), library.headers["team"]), 403, "forbidden")
        closed = api.client.post("/v1/keys", json={"email": "ops@example.com"})
        check_refusal(closed, 403, "registration_closed")
        run_media(data_dir, "restore", library.ids["deleted"])
        assert api.client.get(f"/v1/media/{library.ids['deleted']}").json()["tags"] == ["one"]
        added = api.upload(picture(8), library.headers["team"]).json()["id"]
        assert list_ids(api, library.headers["team"])[0] == added
        api.clock.advance(days=31)
        sweep_now(api)
        assert library.ids["full"] not in list_ids(api, library.headers["team"])
        assert list_ids(api, library.headers["stranger"]) == []  # its retention is over too
        wait_for_manifests(data_dir)
        assert check(data_dir) == []


def rows_of(data_dir: Path) -> dict[str, list[Any]]:
    """What must be the same to the byte: all but what nobody sees, and sessions."""
    with connect(data_dir) as conn:
        return {
            table: conn.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("media", "teams", "api_keys", "blocked_blobs", "library", "namespaces", "totals")
        }


def test_a_database_that_can_be_read_is_not_replaced(library: Library) -> None:
    before = (library.data_dir / "imgpro.db").read_bytes()
    assert "can be read" in fail_to_rebuild(library.data_dir)
    assert (library.data_dir / "imgpro.db").read_bytes() == before


def test_a_damaged_database_is_kept(library: Library, tmp_path: Path) -> None:
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    damaged = b"no more" * 1000
    (data_dir / "imgpro.db").write_bytes(damaged)
    (data_dir / "imgpro.db-wal").write_bytes(b"of the old one")
    code, _, summary = rebuild(data_dir)
    assert (code, summary["database_was"]) == (0, "damaged")
    assert summary["set_aside"] == ["set-aside/imgpro.db", "set-aside/imgpro.db-wal"]
    assert (data_dir / "set-aside" / "imgpro.db").read_bytes() == damaged
    assert not (data_dir / "imgpro.db-wal").exists()
    assert check(data_dir) == []
    with connect(data_dir) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite_a_page(data_dir / "imgpro.db")
    assert rebuild(data_dir)[2]["database_was"] == "damaged"
    assert (data_dir / "set-aside" / "imgpro.db.2").exists()


def test_it_is_refused_where_it_could_harm(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as api:
        headers = owner(api)
        api.upload(picture(), headers)
        wait_for_manifests(api.data_dir)
        assert "Stop it first" in fail_to_rebuild(api.data_dir)
    lose_database(tmp_path / "data")
    for path in (tmp_path / "data" / "manifests").rglob("*.jsonl"):
        path.unlink()
    assert "nothing in" in fail_to_rebuild(tmp_path / "data")
    assert "no library" in fail_to_rebuild(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_server_without_its_database_says_what_to_do(library: Library, tmp_path: Path) -> None:
    """Also where there are no images, but keys: a new database would have their manifest written over."""
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    assert "imgpro-lite rebuild" in run_main("fsck", "--data-dir", str(data_dir))[2]
    for _ in range(2):
        with pytest.raises(Exception, match="imgpro-lite rebuild"), serve(data_dir):
            pass
        for path in (data_dir / "blobs").rglob("*"):
            if path.is_file():
                path.unlink()
    assert rebuild(data_dir)[2]["keys"] == 4


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)


def other_library(path: Path) -> None:
    change_lines(path, lambda content: content.update(library="0" * 32))


def newer(path: Path) -> None:
    change_lines(path, lambda content: content.update(version=manifest_rows.VERSION + 1))


# The manifest, what is done to it, and the kinds of problems that are told.
DAMAGES: dict[str, tuple[str, Callable[[Path], Any], set[str]]] = {
    "an image that cannot be read": ("images/0/0", flip, {"damaged_manifest"}),  # others have its file
    "a manifest cut off": ("images/0/0", cut_off, {"damaged_manifest", "file_without_image"}),
    "an empty one": ("images/0/0", lambda path: path.write_bytes(b""), {"damaged_manifest", "file_without_image"}),
    "one that is missing": ("images/0/0", Path.unlink, {"file_without_image"}),
    "of another library": ("images/0/0", other_library, {"other_library", "file_without_image"}),
    "of a newer version": ("images/0/0", newer, {"damaged_manifest", "file_without_image"}),
    "no team": ("teams/0/2", Path.unlink, {"missing_team"}),
    "no name of the library": ("library", Path.unlink, set()),
}


# The others with `--full`: each is a library of its own.
QUICK = {"an image that cannot be read", "of another library"}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=() if what in QUICK else pytest.mark.slow) for what in DAMAGES]
)
def test_what_a_damaged_manifest_costs(library: Library, tmp_path: Path, what: str) -> None:
    name, damage, told = DAMAGES[what]
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    damage(data_dir / "manifests" / f"{name}.jsonl")
    code, problems, summary = rebuild(data_dir)
    assert {problem["kind"] for problem in problems} == told
    assert code == (1 if told else 0)
    assert summary["teams"] == len(list_teams(library.data_dir)) - 1  # without that of anonymous images
    check_counts(data_dir)
    left = {problem.kind for problem in check(data_dir) if problem.kind != "manifest"}
    assert left == ({"file_without_image"} if "file_without_image" in told else set())
    if name != "images/0/0":
        assert summary["images"] == 7
    with connect(data_dir) as conn:
        (library_id,) = conn.execute("SELECT id FROM library").fetchone()
        kept = set(conn.execute("SELECT id, team_hash, team_id = 1 FROM media"))
    assert kept <= {(row[1], row[3], row[2] == 1) for row in rows_of(library.data_dir)["media"]}
    assert what == "of another library" or library_id == rows_of(library.data_dir)["library"][0][1]


def test_a_team_whose_manifest_is_damaged_is_given_to_its_owner_again(library: Library, tmp_path: Path) -> None:
    """As the advice says. The other teams, and their keys, are what they were."""
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    team = next(team for team in list_teams(library.data_dir) if team["email"] == "ops@example.com")
    with connect(library.data_dir) as conn:
        (team_id,) = conn.execute("SELECT id FROM teams WHERE hash = ?", (team["team"],)).fetchone()
    (data_dir / "manifests" / "teams" / "0" / f"{team_id}.jsonl").write_text("x\n")
    code, _, err = run_main("rebuild", "--data-dir", str(data_dir))
    assert (code, err) == (1, "")
    lost = show_team(data_dir, team["team"])
    assert (lost["email"], lost["plan"], lost["images"]) == (f"{team['team']}@lost.invalid", "free", team["images"])
    assert {other["team"] for other in list_teams(data_dir)} == {
        other["team"] for other in list_teams(library.data_dir)
    }
    run_teams(data_dir, "set-email", team["team"], "Ops@Example.com")
    key = make_key(data_dir, "--verified")
    with serve(data_dir) as api:
        api.clock.at = library.clock_at
        assert library.ids["private"] in list_ids(api, authorization(key))
        assert list_ids(api, library.headers["stranger"]) == library.seen["stranger"]


def test_files_are_compared(library: Library, tmp_path: Path) -> None:
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    missing, damaged, short = [blob_path(data_dir, hashlib.sha256(picture(number)).hexdigest()) for number in (0, 1, 2)]
    missing.unlink()
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    short.write_bytes(b"short")
    for arguments, expected in (((), {missing, short}), (("--verify",), {missing, damaged, short})):
        _, problems, _ = rebuild(data_dir, "--dry-run", *arguments)
        texts = [problem["message"] for problem in problems]
        assert {path for path in (missing, damaged, short) if any(path.name in text for text in texts)} == expected
    rebuild(data_dir)
    assert kinds(check(data_dir)) == {"missing_file", "damaged_file"}


def test_conflicting_manifests_lose_nothing_but_a_name(library: Library, tmp_path: Path) -> None:
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    images = data_dir / "manifests" / "images" / "0"

    def other_ids(content: dict[str, Any]) -> None:
        content["id"] = content["id"][::-1]

    for number, change in ((1, lambda _: None), (2, other_ids)):
        (images / f"{number}.jsonl").write_bytes((images / "0.jsonl").read_bytes())
        change_lines(images / f"{number}.jsonl", change)
    code, problems, summary = rebuild(data_dir)
    assert (code, summary["images"], summary["deleted_images"]) == (1, 14, 2)
    texts = " ".join(problem["message"] for problem in problems)
    assert "is there twice" in texts
    assert "has the external_id 'ü-1'" in texts
    check_counts(data_dir)
    assert {problem.kind for problem in check(data_dir)} <= {"manifest"}


HOSTILE: list[Any] = [
    None,
    True,
    -1,
    2**63,
    10**400,
    1.5,
    "",
    "\ud800",
    "\x00",
    "../../x",
    [],
    {},
    [[]],
    "[",
    "x" * 70_000,
]


def test_no_manifest_is_believed_blindly(library: Library, tmp_path: Path) -> None:
    """Every field with every wrong value, under the right checksum, and files that are no manifests at all."""
    data_dir = copy_without_database(library.data_dir, tmp_path / "data")
    blocked = next((data_dir / "manifests" / "blocked").iterdir())
    for kind in ("images/0/0", "teams/0/2", f"blocked/{blocked.stem}"):
        source = data_dir / "manifests" / f"{kind}.jsonl"
        first = json.loads(source.read_text("utf-8").splitlines()[0])["content"]
        for number, field in enumerate(first, start=1):
            lines = [json.dumps({**first, field: value}).encode("utf-8") for value in HOSTILE]
            name = f"{number:02x}.jsonl" if kind.startswith("blocked") else f"{number}.jsonl"
            source.with_name(name).write_bytes(seal(lines))
    junk = data_dir / "manifests" / "images" / "7"
    junk.mkdir(parents=True)
    for index, content in enumerate((b"\xff" * 100, b"\n" * 1000, b"[" * 200_000, b'{"checksum":', b"\0" * 4096)):
        (junk / f"{7000 + index}.jsonl").write_bytes(content)
    (junk / "7100.jsonl").mkdir()
    (junk / "7101.jsonl").symlink_to("/nowhere")
    (junk / "notes.txt").touch()
    code, problems, summary = rebuild(data_dir)
    assert code == 1
    assert "damaged_manifest" in {problem["kind"] for problem in problems}
    assert summary["images"] >= 7
    check_counts(data_dir)
    assert {problem.kind for problem in check(data_dir)} <= {"manifest", "stray", "missing_file"}
    with serve(data_dir) as api:
        assert len(list_ids(api, library.headers["team"])) >= 4


def test_every_column_is_in_a_manifest(tmp_path: Path) -> None:
    """Whoever adds a column has to say here that it may be lost."""
    conn = open_new(tmp_path / "new.db", Clock())
    lost = {
        "media": {"team_id", "sha256", "sort_at", "expires_at"},  # under other names, or worked out
        "teams": {"storage_bytes"},
        "api_keys": {"team_id", "secret_sha256", "session_ends_at"},
    }
    kept = {
        "media": manifest_rows.IMAGE_COLUMNS,
        "teams": manifest_rows.TEAM_COLUMNS,
        "api_keys": manifest_rows.KEY_COLUMNS,
    }
    for table, columns in kept.items():
        found = {name for (name,) in conn.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))}
        assert found == set(columns) | lost[table]
    conn.close()
