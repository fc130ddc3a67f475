"""Request lines of hot answers: in the form of cold ones, about the right client, and over real sockets too."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ApiFactory
from hot import cool, is_hot
from images import make_image
from running import servers, until
from views import put
from wire import client_at

from imgpro_lite.logs import ACCESS_LOGGER, JsonFormatter, TextFormatter

PICTURE = make_image("jpeg", 900, 700)
REQUESTS: list[tuple[str, dict[str, str]]] = [
    ("GET", {}),
    ("HEAD", {}),
    ("GET", {"If-None-Match": "*"}),
    ("GET", {"X-Forwarded-For": "203.0.113.9"}),
]


def line_of(
    caplog: pytest.LogCaptureFixture, client: Any, address: str, request: tuple[str, dict[str, str]]
) -> tuple[str, str]:
    """The line of a request as text and as JSON, without what differs between any two: time, duration and id."""
    method, headers = request
    caplog.clear()
    answer = client.request(method, address, headers=headers)
    (record,) = (record for record in caplog.records if record.name == ACCESS_LOGGER)
    assert record.request_id == answer.headers["x-request-id"]  # type: ignore[attr-defined]
    assert 0 <= record.seconds < 60  # type: ignore[attr-defined]
    record.created, record.request_id, record.seconds = 1_700_000_000.0, "id", 1  # type: ignore[attr-defined]
    return TextFormatter().format(record), JsonFormatter().format(record)


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.0.2.7", "2001:db8::7"])
def test_a_hot_line_is_a_cold_line(start: ApiFactory, caplog: pytest.LogCaptureFixture, peer: str) -> None:
    caplog.set_level("INFO", ACCESS_LOGGER)
    api = start(server={"trusted_proxies": ["10.0.0.0/8"]})
    address = f"{put(api, PICTURE)}.webp?size=s"
    client = client_at(api, peer)
    cold = []
    for request in REQUESTS:
        cool(api)
        cold.append(line_of(caplog, client, address, request))
    client.get(address)
    assert is_hot(api, address)
    hot = [line_of(caplog, client, address, request) for request in REQUESTS]
    assert hot == cold
    clients = [re.search(r"client=(\S+)", text)[1] for text, _ in hot]  # type: ignore[index]
    assert clients == [peer, peer, peer, "203.0.113.9" if peer == "10.0.0.7" else peer]
    assert "size=s" not in str(hot)  # a query may hold a token


def test_a_quiet_log_has_no_hot_lines(start: ApiFactory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", ACCESS_LOGGER)
    api = start()
    address = f"{put(api, PICTURE)}.jpeg"
    for _ in range(3):
        assert api.client.get(address).status_code == 200
    assert is_hot(api, address)
    assert [record for record in caplog.records if record.name == ACCESS_LOGGER] == []


@pytest.mark.parametrize("format_", ["json", pytest.param("text", marks=pytest.mark.slow)])
def test_over_real_sockets(tmp_path: Path, format_: str) -> None:
    with servers(tmp_path) as start:
        server = start(config=f'[log]\nformat = "{format_}"\n')
        src = server.upload(PICTURE).json()["src"]
        address = src.replace(".jpeg", ".webp?size=s")
        answers = [server.get(address) for _ in range(4)]
        answers += [server.get(address, headers={"If-None-Match": answers[0].headers["etag"]}) for _ in range(2)]
        ids = [answer.headers["x-request-id"] for answer in answers]
        assert len(set(ids)) == len(ids)
        for path in (server.data_dir / "cache").rglob("*.webp*"):
            path.write_bytes(bytes(path.stat().st_size))
        answers.append(server.get(address))
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 304, 304, 200]
        assert {answer.content for answer in answers} == {answers[0].content, b""}
        differing = {"x-request-id", "date"}
        seen = [[(k, v) for k, v in answer.headers.multi_items() if k not in differing] for answer in answers]
        assert sorted(seen[0]) == sorted(seen[1]) == sorted(seen[2]) == sorted(seen[3]) == sorted(seen[6])
        assert sorted(seen[4]) == sorted(pair for pair in seen[0] if pair[0] != "content-length")

        def written() -> list[str]:
            return [line for line in server.stderr.splitlines() if "webp" in line]

        until(lambda: len(written()) >= len(answers))  # they are written in groups
        lines = written()
        if format_ == "json":
            records = [json.loads(line) for line in lines]
            assert [list(record) for record in records] == [list(records[0])] * len(records)
            assert [record["bytes"] for record in records[4:6]] == [0, 0]
        else:
            form = (
                r"\S+Z INFO    GET \S+\.webp (200|304)  bytes=\d+ seconds=[\d.e-]+ client=127\.0\.0\.1 request_id=\w+"
            )
            assert all(re.fullmatch(form, line) for line in lines)
