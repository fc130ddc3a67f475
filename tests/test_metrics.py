"""/metrics: what it counts, who may read it, and that it never shows what strangers have sent."""

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from conftest import Api, ApiFactory
from images import make_image
from prometheus_client.parser import text_string_to_metric_families
from running import WAIT_SECONDS, Running, servers, until
from shared import serve
from test_docs import README

from imgpro_lite.config import load
from imgpro_lite.errors import ConfigError, OperatorError
from imgpro_lite.remembered import Remembered
from imgpro_lite.server import bind_metrics
from imgpro_lite.services.metrics.catalogue import CATALOGUE, PROCESS_METRICS
from imgpro_lite.settings import MetricsSettings
from imgpro_lite.tally import Histogram

TOKEN = "0123456789abcdef0123"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PICTURE = make_image("jpeg", 700, 500)
DAY = 86_400

Values = dict[tuple[str, ...], float]


def read(text: str) -> Values:
    """Every value, by the name and the values of its labels in the order of the labels' names."""
    return {
        (sample.name, *(value for _name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(api: Api) -> Values:
    answer = api.client.get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    return read(answer.text)


def grown(before: Values, after: Values, *key: str) -> float:
    return after.get(key, 0.0) - before.get(key, 0.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    urls = {"src_url": "http://src.example", "api_url": "http://api.example", "public_url": "http://pages.example"}
    with serve(tmp_path_factory.mktemp("metrics"), metrics={"token": TOKEN}, server=urls) as api:
        yield api


# --- what is counted


def test_what_is_exposed_is_the_catalogue(shared: Api) -> None:
    shared.client.get(shared.upload(PICTURE).json()["src"].removeprefix("http://src.example") + "?size=s")
    text = shared.client.get("/metrics", headers=BEARER).text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {name for name in types if name.startswith("imgpro_")} == {metric.name for metric in CATALOGUE}
    for metric in CATALOGUE:
        assert types[metric.name] == ("gauge" if metric.type == "info" else metric.type)
        assert f"# HELP {metric.name} {metric.help}\n" in text
    if sys.platform == "linux":
        assert {name for name in types if name.startswith("process_")} == set(PROCESS_METRICS)


def test_names_follow_the_conventions() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"imgpro_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
        assert not re.search(r"_(ms|milliseconds|mb|kb|minutes|percent)(_|$)", metric.name)
        assert metric.help.endswith(".")


def test_an_upload_and_its_views(shared: Api) -> None:
    before = scrape(shared)
    path = shared.upload(make_image("jpeg", 701, 500)).json()["src"].removeprefix("http://src.example")
    for _ in range(3):
        assert shared.client.get(f"{path}?size=s").status_code == 200
    after = scrape(shared)
    # Neither a part of it nor what there is not is looked for in memory.
    for asked, headers, status in (
        (f"{path}?size=s", {"Range": "bytes=0-9"}, 206),
        (f"{path}?size=s", {"Range": "bytes=99999999-"}, 416),
        (f"{path[:6]}/madeupmadeup.jpeg", {}, 404),
    ):
        assert shared.client.get(asked, headers=headers).status_code == status
    assert (
        scrape(shared)["imgpro_cache_requests_total", "memory", "miss"]
        == after["imgpro_cache_requests_total", "memory", "miss"]
    )
    route = "/{team_hash}/{media_id}.{extension}"
    assert grown(before, after, "imgpro_http_requests_total", "POST", "/v1/upload", "201") == 1
    assert grown(before, after, "imgpro_http_requests_total", "GET", route, "200") == 3
    assert grown(before, after, "imgpro_http_request_duration_seconds_count", "image") == 3
    assert grown(before, after, "imgpro_http_request_duration_seconds_bucket", "image", "+Inf") == 3
    assert grown(before, after, "imgpro_http_request_duration_seconds_count", "api") == 1
    assert grown(before, after, "imgpro_uploads_total", "stored", "upload") == 1
    assert grown(before, after, "imgpro_worker_jobs_total", "probe", "done") == 1
    assert grown(before, after, "imgpro_transforms_total", "jpeg", "s") == 1
    assert grown(before, after, "imgpro_transform_duration_seconds_count", "jpeg") == 1
    assert grown(before, after, "imgpro_cache_requests_total", "memory", "hit") == 2
    assert grown(before, after, "imgpro_cache_requests_total", "memory", "miss") == 1
    assert grown(before, after, "imgpro_cache_requests_total", "variants", "miss") == 1
    assert grown(before, after, "imgpro_cache_entries", "variants") == 1
    assert after["imgpro_cache_bytes", "variants"] > before["imgpro_cache_bytes", "variants"]
    assert after["imgpro_http_requests_in_flight",] == 1  # the scrape


def test_what_is_refused(shared: Api) -> None:
    before = scrape(shared)
    assert shared.upload(b"no picture").status_code == 400
    assert shared.upload(PICTURE[:900]).status_code == 400
    assert shared.client.get("/v1/usage").status_code == 401
    assert shared.client.delete("/v1/upload").status_code == 405
    after = scrape(shared)
    assert grown(before, after, "imgpro_refusals_total", "unsupported_format", "") == 2
    assert grown(before, after, "imgpro_refusals_total", "unauthorized", "") == 1
    assert grown(before, after, "imgpro_uploads_total", "unsupported_format", "upload") == 2
    assert grown(before, after, "imgpro_worker_jobs_total", "probe", "failed") == 1
    assert grown(before, after, "imgpro_http_requests_total", "DELETE", "/v1/upload", "405") == 1


def test_a_worker_that_dies_while_nobody_wants_it(shared: Api) -> None:
    assert shared.upload(PICTURE).status_code == 201
    before = scrape(shared)
    os.kill(shared.client.app.state.runtime.pool.pids[0], signal.SIGKILL)  # type: ignore[attr-defined]
    until(lambda: scrape(shared)["imgpro_workers",] == 0)
    assert shared.upload(PICTURE).status_code == 201
    after = scrape(shared)
    assert after["imgpro_workers",] == before["imgpro_workers",] == 1
    assert grown(before, after, "imgpro_workers_replaced_total", "died") == 1
    assert after["imgpro_workers_replaced_total", "did_not_start"] == 0


def test_quotas_are_told_apart(start: ApiFactory) -> None:
    api = start(
        metrics={"token": TOKEN},
        plans={"free": {"label": "Free", "uploads_per_month": 1, "storage_mb": 0}},
        anonymous={"storage_mb": 1},
        limits={"anonymous_uploads_per_hour": 3},
    )
    before = scrape(api)
    headers = api.new_key()
    assert [api.upload(PICTURE, headers).status_code for _ in range(2)] == [201, 413]
    noise = make_image("bmp", 600, 580)  # a little less than 1 MB
    assert [api.upload(noise).status_code for _ in range(4)] == [201, 413, 413, 429]
    after = scrape(api)
    assert grown(before, after, "imgpro_refusals_total", "quota_exceeded", "month") == 1
    assert grown(before, after, "imgpro_refusals_total", "quota_exceeded", "storage") == 2
    assert grown(before, after, "imgpro_refusals_total", "rate_limited", "") == 1
    # Of what is watched there is a value before anything happens.
    for code in ("storage_full", "internal_error"):
        assert before["imgpro_refusals_total", code, ""] == 0
        assert before["imgpro_uploads_total", code, "import"] == 0
    assert before["imgpro_uploads_total", "stored", "upload"] == 0
    assert before["imgpro_http_requests_total", "POST", "/v1/upload", "500"] == 0


def test_the_library_and_what_waits(start: ApiFactory) -> None:
    api = start(metrics={"token": TOKEN}, mail={"host": "127.0.0.1", "port": 1, "tls": "none"})
    key = api.new_key()
    for headers in (key, None):
        assert api.upload(PICTURE, headers).status_code == 201
    api.clock.advance(days=31)
    values = scrape(api)
    assert values["imgpro_images",] == 2
    for kind in ("anonymous", "unverified"):
        assert values["imgpro_stored_bytes", kind] == len(PICTURE)
    assert values["imgpro_teams", "free", "unverified"] == 1
    assert values["imgpro_sweeper_behind_seconds",] == DAY
    assert values["imgpro_mail_waiting",] == 1
    assert values["imgpro_mail_oldest_seconds",] == 31 * DAY
    assert values["imgpro_disk_reserve_released",] == 0
    assert 0 < values["imgpro_disk_free_bytes",] <= values["imgpro_disk_size_bytes",]
    assert values["imgpro_database_bytes",] + values["imgpro_database_wal_bytes",] > 50_000


def test_nothing_that_strangers_send_becomes_a_label(shared: Api) -> None:
    strange = "zqxj"
    before = scrape(shared)
    for number in range(20):
        shared.client.get(f"/{strange}{number}")
        shared.client.get(f"/api/{strange}{number}?{strange}={number}", headers={"Host": f"{strange}.example"})
        shared.client.request(f"{strange}{number}", "/v1/media")
        shared.upload(PICTURE, filename=f"{strange}{number}.jpg", namespace=f"{strange}{number}")
    answer = shared.client.get("/metrics", headers=BEARER)
    assert strange not in answer.text.lower()
    new = {key for key in read(answer.text) if key not in before}
    assert len([key for key in new if key[0] == "imgpro_http_requests_total"]) <= 4


def test_a_histogram_counts_what_is_not_above_its_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.1, 0.10001, 5.0):
        histogram.observe(value)
    assert histogram.cumulated() == ([("0.1", 1.0), ("1.0", 2.0), ("+Inf", 3.0)], pytest.approx(5.20001))


def test_what_costs_something_is_not_found_out_at_every_scrape() -> None:
    async def answers(remembered: Remembered[int], found: Iterator[int]) -> list[int]:
        async def find_out() -> int:
            return next(found)

        return [await remembered.get(find_out) for _ in range(3)]

    assert asyncio.run(answers(Remembered(1000.0, 0.001), iter(range(9)))) == [0, 0, 0]
    assert asyncio.run(answers(Remembered(0.0, 1e9), iter(range(9)))) == [0, 1, 2]


# --- who may read it


def answer_without_ids(api: Api, method: str, path: str, headers: dict[str, bytes]) -> tuple[Any, ...]:
    answer = api.client.request(method, path, headers=headers)
    told = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
    return answer.status_code, told, answer.content


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT"])
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer é"],
)
def test_without_the_token_there_is_nothing(shared: Api, method: str, authorization: str) -> None:
    headers = {"Authorization": authorization.encode("latin-1")} if authorization else {}
    nothing_there = answer_without_ids(shared, method, "/metricz", headers)
    assert nothing_there[0] == 404
    assert answer_without_ids(shared, method, "/metrics", headers) == nothing_there


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("pages.example", 200),
        ("src.example", 404),
        ("api.example", 404),
        ("src.example:999", 404),
        ("pages.example.:999", 200),
    ],
)
def test_only_the_host_of_the_pages_has_it(shared: Api, host: str, status: int) -> None:
    assert shared.client.get("/metrics", headers={**BEARER, "Host": host}).status_code == status


def test_a_wrong_token_is_in_the_log_but_not_what_it_was(shared: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answer = shared.client.get("/metrics", headers={"Authorization": "Bearer secret-of-somebody"})
    (record,) = [record for record in caplog.records if "wrong token" in record.message]
    assert record.levelno == logging.INFO
    assert record.__dict__["client"] == "testclient"
    assert record.__dict__["request_id"] == answer.headers["x-request-id"]
    assert "secret-of-somebody" not in caplog.text
    assert TOKEN not in caplog.text


def test_without_a_setting_there_are_none(api: Api) -> None:
    assert api.client.get("/metrics", headers=BEARER).status_code == 404


@pytest.mark.slow
def test_who_does_not_want_metrics_does_not_load_what_they_need() -> None:
    statements = "from imgpro_lite.app import create_app; from imgpro_lite.settings import Settings; import sys; "
    statements += "import imgpro_lite.server; create_app(Settings()); print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", statements], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("token", ["short", "x" * 15, "a token with some spaces", "é" * 20])
def test_a_token_that_is_refused(tmp_path: Path, token: str) -> None:
    path = tmp_path / "imgpro.toml"
    path.write_text(f'[metrics]\ntoken = "{token}"\n', "utf-8")
    with pytest.raises(ConfigError, match=re.escape("[metrics] token: must be at least 16 characters")) as caught:
        load(path, {}, {})
    assert token not in str(caught.value)


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(MetricsSettings(token=TOKEN))


# --- on an address of its own


@pytest.fixture(scope="module")
def own_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with servers(tmp_path_factory.mktemp("own")) as start:
        server = start(config=f'[metrics]\nport = {port}\ntoken = "{TOKEN}"\n')
        yield server, f"http://127.0.0.1:{port}"
        assert server.end() == 0
        assert TOKEN not in server.stderr + server.stdout


def fetch(url: str, headers: dict[str, str] | None = None) -> Any:
    return httpx2.get(url, headers=headers, timeout=WAIT_SECONDS, trust_env=False)


def test_an_address_that_has_only_the_metrics(own_address: tuple[Running, str]) -> None:
    server, url = own_address
    assert server.get("/").status_code == 200
    connection = server.connect()
    connection.send(b"nonsense\r\n\r\n")
    connection.read_to_end()
    values = read(fetch(f"{url}/metrics", BEARER).text)
    assert values["imgpro_http_requests_total", "GET", "/", "200"] == 1
    assert values["imgpro_http_requests_total", "other", "none", "400"] == 1  # what was no request
    assert values["imgpro_workers",] == 1
    assert json.loads(fetch(f"{url}/healthz").text) == {"status": "ok"}
    assert [fetch(f"{url}{path}").status_code for path in ("/", "/v1/media", "/metrics/")] == [404] * 3
    assert server.get("/metrics", headers=BEARER).status_code == 200
    # Nothing is to be hidden where there is nothing else.
    assert fetch(f"{url}/metrics").status_code == 401


@pytest.mark.slow
def test_a_port_that_is_taken(own_address: tuple[Running, str], tmp_path: Path) -> None:
    port = own_address[1].rpartition(":")[2]
    server = Running.spawn(tmp_path, config=f"[metrics]\nport = {port}\n")
    try:
        assert not server.is_ready()
        assert "or choose another with [metrics] port." in server.stderr
    finally:
        server.close()


def test_the_port_of_the_server_itself(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        settings = MetricsSettings(port=sock.getsockname()[1])
        with pytest.raises(OperatorError, match="is the port of the server itself"):
            bind_metrics(settings, [sock])
    assert bind_metrics(MetricsSettings(), []) == []


# --- the README


RULES, *SCRAPES = sorted(
    (yaml.safe_load(block) for block in re.findall(r"```yaml\n((?:scrape_configs|groups):.*?)```", README, re.DOTALL)),
    key=lambda parsed: "groups" not in parsed,
)


def test_the_alerts_use_metrics_that_there_are() -> None:
    rules = RULES["groups"][0]["rules"]
    used = set(re.findall(r"imgpro_[a-z_]+", " ".join(rule["expr"] for rule in rules)))
    assert len(rules) >= 5
    assert used <= {metric.name for metric in CATALOGUE}
    assert len(SCRAPES) == 2


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_understands_it(shared: Api, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    for number, config in enumerate(SCRAPES):
        (tmp_path / f"{number}.yml").write_text(yaml.safe_dump(config | {"rule_files": ["rules.yml"]}))
        subprocess.run(["promtool", "check", "config", "--syntax-only", str(tmp_path / f"{number}.yml")], check=True)
    subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], check=True)
    text = shared.client.get("/metrics", headers=BEARER).text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
