"""A team's library in tests: filled, listed, swept, and everything that is counted counted again."""

import functools
import itertools
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from commands import authorization, make_key
from conftest import Api
from images import make_image
from wire import check_refusal

from imgpro_lite.cli.main import cli
from imgpro_lite.errors import OperatorError
from imgpro_lite.ids import api_key_sha256
from imgpro_lite.services.sweeper import Swept, sweep

Headers = dict[str, str]
_numbers = itertools.count()


@functools.cache
def picture(number: int = 0) -> bytes:
    """A tiny picture; another number is another picture."""
    return make_image("png", 4 + number, 3)


def owner(api: Api, *options: str, email: str = "ops@example.com") -> Headers:
    """The headers of a key without limits, whose images are kept for good."""
    return authorization(make_key(api.data_dir, "--verified", *options, email=email))


def new_email() -> str:
    """An address that no other test uses."""
    return f"somebody{next(_numbers)}@example.com"


def somebody(api: Api, *options: str) -> Headers:
    """The same as `owner`, for an address that no other test uses."""
    return owner(api, *options, email=new_email())


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


def add_rows(data_dir: Path, headers: Headers, count: int, **columns: Any) -> list[str]:
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
    ids = [f"{next(_numbers):014d}" for _ in range(count)]
    with connect(data_dir) as conn:
        conn.execute("BEGIN IMMEDIATE")
        conn.executemany(
            f"INSERT INTO media (id, {', '.join(row)}) VALUES (?{', ?' * len(row)})",
            [(media_id, *row.values()) for media_id in ids],
        )
        conn.execute("COMMIT")
    return ids


def add_file(data_dir: Path) -> None:
    """A file, so that a server starts with images that are only rows."""
    path = data_dir / "blobs" / "00" / "00" / ("0" * 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


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
    app: Any = api.client.app
    portal: Any = api.client.portal
    swept: Swept = portal.call(sweep, app.state.runtime)
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
    """`imgpro-lite media …`, which must fail in a way that the operator can mend: what it says."""
    result = CliRunner().invoke(cli, ["media", *arguments, "--data-dir", str(data_dir)])
    assert isinstance(result.exception, OperatorError), result.exception
    assert result.output == ""
    return str(result.exception)


def blob_path(data_dir: Path, sha256: str) -> Path:
    """Where the bytes with this hash are."""
    return data_dir / "blobs" / sha256[:2] / sha256[2:4] / sha256


def check_counts(data_dir: Path) -> None:
    """Everything that is counted equals a recount of the images, in one view of the database."""
    with connect(data_dir) as conn:
        conn.execute("BEGIN")
        live = conn.execute(
            "SELECT media.seq, team_id, kind, filesize_bytes, namespace, tags, sort_at, expires_at "
            "FROM media JOIN teams ON teams.id = team_id WHERE deleted_at IS NULL"
        ).fetchall()
        storage, images, namespace_bytes, tags = Counter[int](), Counter[Any](), Counter[Any](), Counter[Any]()
        unverified, placed = 0, set()
        for seq, team, kind, size, namespace, tag_list, at, ends_at in live:
            storage[team] += size
            unverified += size if kind == "unverified" else 0
            if namespace is not None:
                images[team, namespace] += 1
                namespace_bytes[team, namespace] += size
            for tag in json.loads(tag_list):
                tags[team, tag] += 1
                placed.add((team, tag, at, seq, ends_at))
        kept = dict(conn.execute("SELECT id, storage_bytes FROM teams"))
        assert kept == {team: storage[team] for team in kept}
        assert conn.execute("SELECT unverified_storage_bytes FROM totals").fetchall() == [(unverified,)]
        rows = conn.execute("SELECT team_id, namespace, images, storage_bytes FROM namespaces").fetchall()
        assert {(team, name): count for team, name, count, _ in rows} == images
        assert {(team, name): size for team, name, _, size in rows} == namespace_bytes
        rows = conn.execute("SELECT team_id, name, images FROM tags").fetchall()
        assert {(team, name): count for team, name, count in rows} == tags
        joined = "FROM media_tags JOIN tags ON tags.id = tag_id"
        assert set(conn.execute(f"SELECT team_id, name, sort_at, seq, expires_at {joined}")) == placed
        assert conn.execute("SELECT count(*) FROM media_tags").fetchall() == [(len(placed),)]


def check_files(data_dir: Path) -> None:
    """Every image, deleted or not, has its bytes."""
    with connect(data_dir) as conn:
        digests = [sha256.hex() for (sha256,) in conn.execute("SELECT DISTINCT sha256 FROM media")]
    missing = [digest for digest in digests if not blob_path(data_dir, digest).is_file()]
    assert missing == []


def send_batch(api: Api, headers: Headers | None, method: str, body: Any, query: str = "") -> Any:
    """A request to /v1/media/batch; the answer, whatever it is. A body that is text is sent as it is."""
    content = body if isinstance(body, str) else json.dumps(body)
    return api.client.request(method, f"/v1/media/batch{query}", headers=headers, content=content)


def update_batch(api: Api, headers: Headers, ids: list[str], **changes: Any) -> int:
    """Change images: how many the answer says."""
    answer = send_batch(api, headers, "PATCH", {"ids": ids, "update": changes})
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["updated"]
    return int(answer.json()["updated"])


def delete_batch(api: Api, headers: Headers, body: Any = "", query: str = "") -> int:
    """Delete images: how many the answer says."""
    answer = send_batch(api, headers, "DELETE", body, query)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["deleted"]
    return int(answer.json()["deleted"])


def batch_errors(api: Api, headers: Headers, method: str, body: Any, query: str = "") -> list[str]:
    """Send what is refused as invalid: the fields that are wrong."""
    answer = send_batch(api, headers, method, body, query)
    return sorted(check_refusal(answer, 422, "validation_error")["errors"])


def patch_media(api: Api, headers: Headers | None, media_id: str, body: Any) -> Any:
    """A request to change an image; the answer, whatever it is."""
    return api.client.request("PATCH", f"/v1/media/{media_id}", headers=headers, content=json.dumps(body), params=None)


def change_media(api: Api, headers: Headers, media_id: str, body: Any) -> dict[str, Any]:
    """A change that is made: the image as the answer shows it, which is how everybody sees it from now on."""
    answer = patch_media(api, headers, media_id, body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    assert get_media(api, headers, media_id) == shown
    return shown


def get_media(api: Api, headers: Headers, media_id: str) -> dict[str, Any]:
    """An image as its owner sees it."""
    answer = api.client.get(f"/v1/media/{media_id}", headers=headers)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def upload_by_command(*arguments: str | Path, **env: str) -> Result:
    """`imgpro-lite upload …` in this process, with its exit code and what it prints."""
    ours = {"IMGPRO_URL": None, "IMGPRO_KEY": None, **env}
    return CliRunner().invoke(cli, ["upload", *map(str, arguments)], env=ours)


def run_teams(data_dir: Path, *arguments: str) -> str:
    """`imgpro-lite teams …`: what it prints. It must succeed."""
    result = CliRunner().invoke(cli, ["teams", *arguments, "--data-dir", str(data_dir)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail_teams(data_dir: Path, *arguments: str) -> str:
    """`imgpro-lite teams …`, which must fail in a way that the operator can mend: what it says."""
    result = CliRunner().invoke(cli, ["teams", *arguments, "--data-dir", str(data_dir)])
    assert isinstance(result.exception, OperatorError), result.exception
    assert result.output == ""
    return str(result.exception)


def list_teams(data_dir: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_teams(data_dir, "list", "--json"))
    return found


def show_team(data_dir: Path, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(run_teams(data_dir, "show", name, "--json"))
    return shown
