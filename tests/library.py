"""A team's library in tests: filled, listed, swept, and everything that is counted counted again."""

import functools
import json
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from commands import authorization, make_key
from conftest import Api
from images import make_image
from running import run

from imgpro_lite.cli.main import cli
from imgpro_lite.ids import api_key_sha256
from imgpro_lite.services.sweeper import Swept, sweep

Headers = dict[str, str]


@functools.cache
def picture(number: int = 0) -> bytes:
    """A tiny picture; another number is another picture."""
    return make_image("png", 4 + number, 3)


def owner(api: Api, *options: str, email: str = "ops@example.com") -> Headers:
    """The headers of a key without limits, whose images are kept for good."""
    return authorization(make_key(api.data_dir, "--verified", *options, email=email))


def add(api: Api, headers: Headers, **fields: str) -> dict[str, Any]:
    """Upload an image that is accepted."""
    answer = api.upload(picture(), headers, **fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def connect(data_dir: Path) -> "closing[sqlite3.Connection]":
    """The server's database, beside the server. Every statement is its own transaction."""
    return closing(sqlite3.connect(data_dir / "imgpro.db", timeout=30, isolation_level=None))


def team_of(data_dir: Path, headers: Headers) -> int:
    """The team of a key."""
    digest = api_key_sha256(headers["Authorization"].removeprefix("Bearer "))
    with connect(data_dir) as conn:
        (team_id,) = conn.execute("SELECT team_id FROM api_keys WHERE secret_sha256 = ?", (digest,)).fetchone()
    return int(team_id)


def add_rows(data_dir: Path, headers: Headers, count: int, prefix: str = "row", **columns: Any) -> list[str]:
    """Images by the thousand, as rows without files: their ids. The counts follow by themselves."""
    row = {
        "team_id": team_of(data_dir, headers),
        "team_hash": "row00",
        "sha256": bytes(32),
        "format": "png",
        "width_px": 4,
        "height_px": 3,
        "frames": 1,
        "has_alpha": 0,
        "filesize_bytes": 100,
        "name": "a row",
        "tags": "[]",
        "public": 1,
        "metadata": "{}",
        "created_at": 1_700_000_000,
        **columns,
    }
    ids = [f"{prefix}{number:0{14 - len(prefix)}d}" for number in range(count)]
    with connect(data_dir) as conn:
        conn.execute("BEGIN IMMEDIATE")
        conn.executemany(
            f"INSERT INTO media (id, {', '.join(row)}) VALUES (?{', ?' * len(row)})",
            [(media_id, *row.values()) for media_id in ids],
        )
        conn.execute("COMMIT")
    return ids


def list_page(api: Api, headers: Headers, **query: Any) -> dict[str, Any]:
    """One page of the list."""
    answer = api.client.get("/v1/media", headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def list_ids(api: Api, headers: Headers, **query: Any) -> list[str]:
    """The ids of the whole list, page by page."""
    page = list_page(api, headers, **query)
    ids = [item["id"] for item in page["items"]]
    while page["has_more"]:
        page = list_page(api, headers, cursor=page["cursor"], **query)
        ids += [item["id"] for item in page["items"]]
    return ids


def sweep_now(api: Api) -> Swept:
    """Do what the server does by itself every half minute."""
    swept: Swept = api.client.portal.call(sweep, api.client.app.state.runtime)
    return swept


def run_media(data_dir: Path, *arguments: str) -> str:
    """`imgpro-lite media …`: what it prints. It must succeed."""
    result = CliRunner().invoke(cli, ["media", *arguments, "--data-dir", str(data_dir)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def list_media_by_command(data_dir: Path, *arguments: str) -> list[dict[str, Any]]:
    """`imgpro-lite media list --json`."""
    found: list[dict[str, Any]] = json.loads(run_media(data_dir, "list", "--json", *arguments))
    return found


def fail_media(data_dir: Path, *arguments: str) -> str:
    """`imgpro-lite media …` in a process of its own, which must fail: what it says."""
    done: subprocess.CompletedProcess[str] = run(data_dir.parent, "media", *arguments, "--data-dir", str(data_dir))
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("imgpro-lite: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def blob_path(data_dir: Path, sha256: str) -> Path:
    """Where the bytes with this hash are."""
    return data_dir / "blobs" / sha256[:2] / sha256[2:4] / sha256


def check_counts(data_dir: Path) -> None:
    """Everything that is counted equals a recount of the images, in one view of the database."""
    with connect(data_dir) as conn:
        conn.execute("BEGIN")
        live = conn.execute(
            "SELECT media.seq, team_id, kind, filesize_bytes, namespace, tags, coalesce(date_at, media.created_at) "
            "FROM media JOIN teams ON teams.id = team_id WHERE deleted_at IS NULL"
        ).fetchall()
        storage, images, namespace_bytes, tags = Counter[int](), Counter[Any](), Counter[Any](), Counter[Any]()
        unverified, placed = 0, set()
        for seq, team, kind, size, namespace, tag_list, at in live:
            storage[team] += size
            unverified += size if kind == "unverified" else 0
            if namespace is not None:
                images[team, namespace] += 1
                namespace_bytes[team, namespace] += size
            for tag in json.loads(tag_list):
                tags[team, tag] += 1
                placed.add((team, tag, at, seq))
        kept = dict(conn.execute("SELECT id, storage_bytes FROM teams"))
        assert kept == {team: storage[team] for team in kept}
        assert conn.execute("SELECT unverified_storage_bytes FROM totals").fetchall() == [(unverified,)]
        rows = conn.execute("SELECT team_id, namespace, images, storage_bytes FROM namespaces").fetchall()
        assert {(team, name): count for team, name, count, _ in rows} == images
        assert {(team, name): size for team, name, _, size in rows} == namespace_bytes
        rows = conn.execute("SELECT team_id, name, images FROM tags").fetchall()
        assert {(team, name): count for team, name, count in rows} == tags
        joined = "FROM media_tags JOIN tags ON tags.id = tag_id"
        assert set(conn.execute(f"SELECT team_id, name, sort_at, seq {joined}")) == placed
        assert conn.execute("SELECT count(*) FROM media_tags").fetchall() == [(len(placed),)]


def check_files(data_dir: Path) -> None:
    """Every image, deleted or not, has its bytes."""
    with connect(data_dir) as conn:
        digests = [sha256.hex() for (sha256,) in conn.execute("SELECT DISTINCT sha256 FROM media")]
    missing = [digest for digest in digests if not blob_path(data_dir, digest).is_file()]
    assert missing == []
