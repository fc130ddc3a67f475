"""`imgpro-lite cache stats` and `cache clear`: alone, and beside a running server, which notices."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from commands import make_key
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from library import add, owner
from running import until

from imgpro_lite.cli.main import cli
from imgpro_lite.errors import OperatorError

MB = 1024 * 1024


@pytest.fixture
def clock() -> FakeClock:
    """The operator's commands use the machine's clock, so the server begins at the same time."""
    return FakeClock(int(time.time()))


@pytest.fixture
def api(start: ApiFactory) -> Api:
    """A server without answers in memory, which would hide the files."""
    return start(cache={"memory_mb": 0})


def run_cache(data_dir: Path, *arguments: str, answer: str = "") -> Result:
    """`imgpro-lite cache …`, with what is typed when it asks."""
    return CliRunner().invoke(cli, ["cache", *arguments, "--data-dir", str(data_dir)], input=answer)


def stats(data_dir: Path) -> dict[str, Any]:
    """`imgpro-lite cache stats --json`."""
    result = run_cache(data_dir, "stats", "--json")
    assert result.exit_code == 0, result.output
    shown: dict[str, Any] = json.loads(result.output)
    return shown


def upload(api: Api, width: int = 700, height: int = 1500) -> str:
    """Upload a picture: its address without the extension."""
    answer = api.upload(make_image("jpeg", width, height))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["src"]).removesuffix(".jpeg")


def files(api: Api, name: str = "cache") -> list[Path]:
    return sorted(path for path in (api.data_dir / name).rglob("*") if path.is_file())


def cached_bytes(api: Api) -> int:
    """What the running server believes that its cache holds."""
    return int(api.client.app.state.runtime.maker.cache.total_bytes)  # type: ignore[attr-defined]


# ── stats ──


def test_stats_of_an_empty_library(tmp_path: Path) -> None:
    make_key(tmp_path / "data")
    nothing = {"variants": 0, "bytes": 0}
    assert stats(tmp_path / "data") == {
        **nothing,
        "limit_bytes": 2048 * MB,
        "least_recently_used_at": None,
        "kinds": [],
        "outdated": nothing,
        "intermediates": {**nothing, "limit_bytes": 512 * MB},
    }
    assert "0 files, 0.0 of 2,048 MB (0 % full)" in run_cache(tmp_path / "data", "stats").output
    assert not (tmp_path / "data" / "cache").exists()


def test_stats_by_format_and_size(api: Api) -> None:
    path = upload(api, 1500, 1400)  # large enough for an intermediate
    wanted = {("avif", "s"): 1, ("jpeg", "s"): 1, ("png", "full"): 1, ("webp", "m"): 2}
    until(lambda: len(files(api, "intermediates")) > 0)
    begun_at = int(time.time())
    for (extension, size), count in wanted.items():
        for address in [path, upload(api, 720)][:count]:
            assert api.fetch(f"{address}.{extension}?size={size}").status_code == 200
    shown = stats(api.data_dir)
    assert {(kind["format"], kind["size"]): kind["variants"] for kind in shown["kinds"]} == wanted
    assert sum(kind["bytes"] for kind in shown["kinds"]) == shown["bytes"] == cached_bytes(api)
    assert shown["variants"] == len(files(api)) == 5
    assert begun_at <= shown["least_recently_used_at"] <= time.time()
    assert shown["intermediates"]["variants"] == len(files(api, "intermediates")) > 0
    told = run_cache(api.data_dir, "stats").output
    assert "Variants:      5 files" in told
    assert [line.split()[:3] for line in told.splitlines() if "webp" in line] == [["webp", "m", "2"]]
    assert "Outdated" not in told


def test_variants_of_earlier_versions_are_told_apart(api: Api) -> None:
    assert api.fetch(f"{upload(api)}.webp?size=s").status_code == 200
    (path,) = files(api)
    path.rename(path.with_name(path.name.replace("-v", "-v9")))
    shown = stats(api.data_dir)
    assert shown["kinds"] == []
    assert shown["outdated"] == {"variants": 1, "bytes": shown["bytes"]}
    assert "Outdated:      1 of earlier versions" in run_cache(api.data_dir, "stats").output


# ── clear ──


def test_clear_beside_a_running_server(api: Api) -> None:
    path = upload(api, 1500, 1400)  # large enough for an intermediate
    addresses = [f"{path}.{extension}?size={size}" for extension in ("webp", "png") for size in ("s", "m")]
    before = [api.fetch(address).content for address in addresses]
    until(lambda: len(files(api, "intermediates")) > 0)
    size_bytes = sum(file.stat().st_size for file in files(api) + files(api, "intermediates"))
    count = len(files(api) + files(api, "intermediates"))
    assert cached_bytes(api) > 0
    result = run_cache(api.data_dir, "clear", "--yes")
    assert result.output == f"Removed {count} files, {size_bytes / MB:,.1f} MB.\n"
    assert files(api) == files(api, "intermediates") == []
    until(lambda: cached_bytes(api) == 0)
    assert len([api.fetch(address).content for address in addresses]) == len(before)
    assert len(files(api)) == len(addresses)
    assert api.fetch(f"{path}.jpeg").status_code == 200  # the original


def test_what_was_cleared_is_made_again_also_before_the_server_notices(api: Api) -> None:
    address = f"{upload(api)}.webp?size=s"
    before = api.fetch(address)
    assert run_cache(api.data_dir, "clear", "--yes").exit_code == 0
    again = api.fetch(address)
    assert (again.status_code, again.headers["etag"]) == (200, before.headers["etag"])
    assert cached_bytes(api) == files(api)[0].stat().st_size


def test_clear_leaves_what_is_being_made(api: Api) -> None:
    assert api.fetch(f"{upload(api)}.webp?size=s").status_code == 200
    (path,) = files(api)
    being_made = path.with_name("00.webp.0123abcd.tmp").with_name(path.name[:70] + ".0123abcd.tmp")
    being_made.write_bytes(b"half")
    foreign = path.with_name("notes.txt")
    foreign.touch()
    assert run_cache(api.data_dir, "clear", "--yes").exit_code == 0
    assert files(api) == sorted([being_made, foreign])


def test_clear_asks_first(api: Api) -> None:
    assert api.fetch(f"{upload(api)}.webp?size=s").status_code == 200
    for answer in ("n\n", "\n", ""):
        result = run_cache(api.data_dir, "clear", answer=answer)
        assert (result.exit_code, len(files(api))) == (1, 1)
        assert str(api.data_dir) in result.output
    assert run_cache(api.data_dir, "clear", answer="y\n").exit_code == 0
    assert files(api) == []


# ── both ──


@pytest.mark.parametrize("arguments", [["stats"], ["clear", "--yes"], ["warm"]])
def test_where_there_is_no_library(tmp_path: Path, arguments: list[str]) -> None:
    result = run_cache(tmp_path / "typo", *arguments)
    assert isinstance(result.exception, OperatorError)
    assert "There is no library" in str(result.exception)
    assert not (tmp_path / "typo").exists()


# ── files that are not whole, as visitors meet them ──


@pytest.mark.parametrize("left", [b"", b"RIFF"], ids=["empty", "cut"])
def test_a_file_that_is_damaged_while_the_server_runs_is_never_served(api: Api, left: bytes) -> None:
    address = f"{upload(api)}.webp?size=s"
    before = api.fetch(address)
    (path,) = files(api)
    path.write_bytes(left)
    again = api.fetch(address)
    assert (again.status_code, len(again.content)) == (200, len(before.content))
    assert again.headers["etag"] == before.headers["etag"]
    assert files(api) == [path]


def test_a_purged_image_is_gone_from_the_account_of_the_cache(api: Api) -> None:
    """Which another process removes, beside the server."""
    headers = owner(api)
    shown = add(api, headers)
    assert api.fetch(str(shown["src"]).replace(".png", ".webp")).status_code == 200
    assert cached_bytes(api) > 0
    arguments = ["media", "delete", shown["id"], "--purge", "--data-dir", str(api.data_dir)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    until(lambda: cached_bytes(api) == 0)
