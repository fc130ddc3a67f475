"""`imgpro-lite stats`: what the library holds, read beside a server and on a stopped library, and nothing changed."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from commands import run_main
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from library import owner

DAY = 86_400
JPEG, PNG = make_image("jpeg", 90, 70), make_image("png", 80, 60)


@pytest.fixture
def clock() -> FakeClock:
    """The command uses the machine's clock; the images are of ten days ago, and then of now."""
    return FakeClock(int(time.time()) - 10 * DAY)


def stats(data_dir: Path) -> dict[str, Any]:
    code, out, err = run_main("stats", "--json", "--data-dir", str(data_dir))
    assert (code, err) == (0, "")
    shown: dict[str, Any] = json.loads(out)
    return shown


def fill(api: Api) -> None:
    """An anonymous image and two of a team that are equal, of ten days ago; one more of now, and one deleted."""
    verified = owner(api, "--plan", "pro")
    assert api.upload(JPEG).status_code == 201
    for name in ("one", "two"):
        assert api.upload(JPEG, verified, namespace=name).status_code == 201
    api.clock.advance(days=10)
    added = api.upload(PNG, verified, namespace="two", ttl="2d")
    deleted = api.upload(make_image("gif", 50, 50), verified)
    assert api.client.delete(f"/v1/media/{deleted.json()['id']}", headers=verified).status_code == 200
    assert api.client.get(added.json()["src"].removeprefix("http://localhost:4647") + "?size=s").status_code == 200
    assert api.client.get(added.json()["src"].removeprefix("http://localhost:4647")[:-4] + ".webp").status_code == 200


def check(found: dict[str, Any]) -> None:
    assert found["images"] == 4
    assert found["uploaded_bytes"] == 3 * len(JPEG) + len(PNG)
    assert found["deleted_images"] == 1
    assert found["stored_bytes"] == len(JPEG) + len(PNG) + found["deleted_bytes"]
    assert {use["format"]: (use["images"], use["size_bytes"]) for use in found["formats"]} == {
        "jpeg": (3, 3 * len(JPEG)),
        "png": (1, len(PNG)),
    }
    assert found["uploads"] == {"last_day": 2, "last_7_days": 2, "last_30_days": 5}
    assert found["expiring_soon"] == 1
    (team,) = found["largest_teams"]
    assert (team["email"], team["plan"], team["kind"]) == ("ops@example.com", "pro", "verified")
    assert (team["uploads_limit"], team["storage_limit_bytes"]) == (1000, 50 * 1024**3)
    assert team["storage_bytes"] == 2 * len(JPEG) + len(PNG)
    assert [(use["namespace"], use["images"]) for use in found["largest_namespaces"]] == [("two", 2), ("one", 1)]
    assert found["variants"]["files"] == 1
    assert found["variants"]["limit_bytes"] == 2048 * 1024**2
    assert found["database_bytes"] > 50_000
    assert found["free_bytes"] > 0
    assert {(group["kind"], group["teams"]) for group in found["teams"]} == {("anonymous", 1), ("verified", 1)}


def snapshot(data_dir: Path) -> dict[str, tuple[int, int]]:
    """Every file with its length and the time of its last change; the index of the log is memory shared with others."""
    files = (path for path in data_dir.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_beside_a_server_and_stopped(start: ApiFactory) -> None:
    api = start()
    fill(api)
    check(stats(api.data_dir))
    api.client.__exit__(None, None, None)  # the server stops
    before = snapshot(api.data_dir)
    check(stats(api.data_dir))
    assert snapshot(api.data_dir) == before


def test_for_people(api: Api) -> None:
    assert run_main("stats", "--data-dir", str(api.data_dir))[0] == 0  # of an empty library
    headers = owner(api)
    api.clock.advance(days=10)
    api.upload(JPEG, headers, namespace="holidays")
    api.upload(PNG)
    code, out, err = run_main("stats", "--data-dir", str(api.data_dir))
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "Images 2" in lines
    assert "Charged this month 1 uploads" in lines  # what has no key is not charged
    assert f"As uploaded {(len(JPEG) + len(PNG)) / 1024:.1f} KB" in lines
    assert "Teams 1 verified, 0 unverified" in lines
    assert any(line.endswith(f"ops@example.com owner {len(JPEG) / 1024:.1f} KB 1") for line in lines)
    assert any(line.startswith("holidays ") for line in lines)


def test_where_there_is_no_library(tmp_path: Path) -> None:
    code, out, err = run_main("stats", "--data-dir", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert "There is no library in" in err
    assert not (tmp_path / "none").exists()


def test_a_library_that_is_not_ours(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "imgpro.db")
    conn.execute("CREATE TABLE something (id)")
    conn.close()
    code, _out, err = run_main("stats", "--data-dir", str(tmp_path))
    assert code == 1
    assert "not one of imgpro-lite" in err
    assert [path.name for path in tmp_path.iterdir()] == ["imgpro.db"]
