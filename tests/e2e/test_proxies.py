"""Behind nginx and Caddy, set up as the README says: nothing of the server's promises is lost on the way."""

import contextlib
import json
import os
import socket
import ssl
import sys
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from commands import authorization, make_key
from images import REAL_IMAGES, add_png_chunks, make_image
from pages import Page
from proxies import PAGES_HOST, SRC_HOST, Proxy, caddy, code_blocks, find_program, free_ports, nginx
from running import Running, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="e2e servers are started on Linux only")

PROXIES = {"nginx": nginx, "caddy": caddy}
STRANGER = "198.51.100.7"


@dataclass
class Site:
    """A server behind a proxy, and a key of it."""

    proxy: Proxy
    server: Running
    key: dict[str, Any]

    def upload(self, content: bytes, filename: str = "photo.jpg", **options: Any) -> Any:
        with self.proxy.client() as client:
            files = {"file": (filename, content)}
            return client.post("/v1/upload", files=files, headers=authorization(self.key), **options)

    def path(self, src: str) -> str:
        """The path of an address that must be one of the image bytes' host."""
        assert src.startswith(f"https://{SRC_HOST}/")
        return src.removeprefix(f"https://{SRC_HOST}")


def split_hosts() -> str:
    """The README's settings for two hosts."""
    (config,) = [block for block in code_blocks("toml", "Behind a reverse proxy") if "src_url" in block]
    assert tomllib.loads(config)["server"]["trusted_proxies"]
    return config


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("server")
    server = Running.spawn(directory, config=split_hosts(), args=("--print-json",))
    with contextlib.closing(server):
        until(lambda: server.stdout or server.process.poll() is not None)
        server.port = json.loads(server.stdout)["port"]
        yield server
        assert server.end() == 0
        assert "Traceback" not in server.stderr


@pytest.fixture(scope="module", params=PROXIES)
def site(server: Running, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    name = request.param
    if find_program(name) is None:
        pytest.skip(f"{name} is not installed")
    key = make_key(server.data_dir, "--verified", email=f"{name}@example.com")
    with PROXIES[name](tmp_path_factory.mktemp(name), server.port) as proxy:
        yield Site(proxy, server, key)


@pytest.fixture(scope="module")
def src(site: Site) -> str:
    """The path of an image's bytes."""
    answer = site.upload(make_image("jpeg", 900, 700))
    assert answer.status_code == 201
    assert answer.json()["url"].startswith(f"https://{PAGES_HOST}/")
    return site.path(answer.json()["src"])


def test_image_bytes_are_as_the_server_sends_them(site: Site, src: str) -> None:
    direct = site.server.get(src, headers={"Host": SRC_HOST})
    with site.proxy.client(SRC_HOST) as client:
        for _ in range(2):  # the second comes from a cache, where there is one
            answer = client.get(src)
            assert (answer.status_code, answer.content) == (200, direct.content)
            for name in ("etag", "cache-control", "last-modified", "content-type", "x-content-type-options"):
                assert answer.headers[name] == direct.headers[name]
            assert answer.headers["access-control-allow-origin"] == "*"
        head = client.head(src)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(direct.content))
        unchanged = client.get(src, headers={"If-None-Match": direct.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        part = client.get(src, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, direct.content[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(direct.content)}"
        assert client.get(src, headers={"Range": "bytes=99999999-"}).status_code == 416
        changed = client.get(src, headers={"Range": "bytes=10-19", "If-Range": '"another"'})
        assert (changed.status_code, changed.content) == (200, direct.content)


def test_each_host_serves_its_part(site: Site, src: str) -> None:
    with site.proxy.client(SRC_HOST) as bytes_host, site.proxy.client(PAGES_HOST) as pages_host:
        assert bytes_host.get("/v1/usage").status_code == 404
        assert bytes_host.get("/pricing").status_code == 404
        assert pages_host.get(src).status_code == 404
        assert pages_host.get("/pricing").status_code == 200
        assert pages_host.get(f"/oembed?url=https://{PAGES_HOST}/{Path(src).stem}").json()["url"].startswith("https://")


def test_http_leads_to_https(site: Site) -> None:
    with site.proxy.plain_client() as client:
        for method in ("GET", "POST"):
            answer = client.request(method, "/v1/upload?a=b")
            assert (answer.status_code, answer.headers["location"]) == (308, f"https://{PAGES_HOST}/v1/upload?a=b")


def test_nginx_does_not_answer_for_hosts_that_nobody_named(nginx_site: Site) -> None:
    with nginx_site.proxy.plain_client() as client, pytest.raises(httpx2.RemoteProtocolError):
        client.get("/", headers={"Host": "other.example.com"})


def test_it_speaks_http_2(site: Site) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", site.proxy.https_port)) as sock,
        context.wrap_socket(sock, server_hostname=PAGES_HOST) as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("size_mb", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_a_body_is_passed_on_while_it_arrives(site: Site, size_mb: int) -> None:
    """The server has the first half of a picture before the other is sent."""
    content = add_png_chunks(make_image("png", 60, 40), prVt=os.urandom(size_mb << 20))
    half = size_mb << 19

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.png"\r\n\r\n'
        yield content[:half]
        until(lambda: any(one.stat().st_size > half // 2 for one in (site.server.data_dir / "tmp").iterdir()))
        yield content[half:]
        yield b"\r\n--b--\r\n"

    headers = {**authorization(site.key), "Content-Type": "multipart/form-data; boundary=b"}
    with site.proxy.client() as client:
        answer = client.post("/v1/upload", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["filesize"]) == (201, len(content))


@pytest.mark.slow
@pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
def test_heic_goes_in_and_comes_out_as_avif(site: Site) -> None:
    answer = site.upload((REAL_IMAGES / "iphone.heic").read_bytes(), "iphone.heic")
    assert answer.status_code == 201
    with site.proxy.client(SRC_HOST) as client:
        made = client.get(site.path(answer.json()["src"]).replace(".jpeg", ".avif?size=s"))
    assert (made.status_code, made.headers["content-type"]) == (200, "image/avif")


def test_errors_keep_their_shape(site: Site) -> None:
    with site.proxy.client() as client:
        cases = [
            (client.get("/v1/usage"), 401, "unauthorized"),
            (client.get("/v1/nothing"), 404, "not_found"),
            (client.put("/v1/upload"), 405, "method_not_allowed"),
            (client.post("/v1/keys", content=b"{", headers={"Content-Type": "application/json"}), 400, "bad_request"),
            (client.get("/v1/" + "a" * 9_000), 414, "uri_too_long"),
            (client.post("/v1/upload", files={"file": ("a.jpg", bytes(21 << 20))}), 400, "file_too_large"),
            (site.upload(bytes(80 << 20)), 400, "file_too_large"),  # which nginx refuses by itself
        ]
    with site.proxy.client(SRC_HOST) as client:
        cases.append((client.get("/abc12/abcdefghijkl12.jpeg"), 404, "not_found"))
    for answer, status, code in cases:
        assert (answer.status_code, answer.json()["error"]) == (status, code)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["access-control-allow-origin"] == "*"


def test_limits_count_the_real_address_and_not_what_strangers_write(site: Site) -> None:
    content, remaining = make_image("png", 8, 8), []
    network = f"127.0.{list(PROXIES).index(site.proxy.name) + 1}"  # all of 127.0.0.0/8 is this machine
    for number, last in enumerate((2, 2, 3)):
        headers = {"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": STRANGER, "Forwarded": f"for={STRANGER}"}
        with site.proxy.client(address=f"{network}.{last}") as client:
            answer = client.post("/v1/upload", files={"file": ("a.png", content)}, headers=headers)
        remaining.append(int(answer.headers["x-ratelimit-remaining"]))
    # Of the README's trusted proxies only 127.0.0.1 is here, so these are clients.
    assert remaining == [19, 18, 19]


def test_who_signs_in_has_a_secure_session(site: Site) -> None:
    with site.proxy.client() as client:
        page = Page(client.get("/dashboard/sign-in", headers={"Sec-Fetch-Site": "same-origin"}).text)
        (form,) = [one for one in page.forms if one.action.endswith("/dashboard/sign-in")][:1]
        cookies = client.cookies
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": f"https://{PAGES_HOST}"}
        answer = client.post(form.action, data={**form.hidden, "key": site.key["key"]}, headers=headers)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-imgpro-session=")
        assert "Secure" in cookie
        assert client.get("/dashboard", headers={"Sec-Fetch-Site": "none"}).status_code == 200
        assert cookies


def test_connections_are_kept(site: Site) -> None:
    with site.proxy.client() as client:
        answers = [client.get("/healthz") for _ in range(3)]
        sockets = {id(answer.extensions["network_stream"]) for answer in answers}
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(sockets) == 1


@pytest.fixture(scope="module")
def nginx_site(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if find_program("nginx") is None:
        pytest.skip("nginx is not installed")
    key = make_key(server.data_dir, "--verified", email="cache@example.com")
    with nginx(tmp_path_factory.mktemp("cache"), server.port, cached_for="1s") as proxy:
        yield Site(proxy, server, key)


def test_nginx_answers_many_at_once(nginx_site: Site) -> None:
    address = nginx_site.path(nginx_site.upload(make_image("jpeg", 900, 700)).json()["src"]) + "?size=s"
    answers = at_once(nginx_site, address)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert "HIT" in {answer.headers["x-cache"] for answer in at_once(nginx_site, address)}
    assert not any("set-cookie" in answer.headers for answer in answers)


def at_once(site: Site, address: str) -> list[Any]:
    """The answers to many who want the same."""

    def get(_number: int) -> Any:
        with site.proxy.client(SRC_HOST) as client:
            return client.get(address, headers={"Cookie": "a=b"})

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(get, range(16)))


@pytest.mark.parametrize("size", ["", "?size=s"])
def test_nginx_keeps_nothing_of_an_image_that_ends_soon(nginx_site: Site, size: str) -> None:
    """Each answer says how long it may still be kept, so that no browser has it longer than the server."""
    upload = nginx_site.upload(make_image("jpeg", 900, 700), data={"ttl": "1h"})
    address = nginx_site.path(upload.json()["src"]) + size
    ends_at = upload.json()["expires_at"]
    with nginx_site.proxy.client(SRC_HOST) as client:
        for _ in range(3):
            asked_at = int(time.time())
            answer = client.get(address)
            assert (answer.status_code, answer.headers["x-cache"]) == (200, "MISS")
            assert int(answer.headers["cache-control"].removeprefix("public, max-age=")) <= ends_at - asked_at
            assert "x-accel-expires" not in answer.headers
    # Nobody waits for another one's answer, which is not kept.
    assert {answer.headers["x-cache"] for answer in at_once(nginx_site, address)} == {"MISS"}


def test_nginx_keeps_nothing_but_image_bytes_under_their_own_addresses(nginx_site: Site) -> None:
    address = nginx_site.path(nginx_site.upload(make_image("jpeg", 60, 40)).json()["src"])
    spellings = [f"{address}?x=1", f"{address}?size=s&size=m", f"{address}?size=S", f"{address}?download"]
    spellings += [address.replace(".jpeg", ".%6Apeg"), address.replace(".jpeg", ".JPEG")]
    with nginx_site.proxy.client(SRC_HOST) as client:
        answers = [client.get(path) for path in spellings for _ in range(2)]
        assert {answer.status_code for answer in answers} == {200}
        answers += [client.get(f"{address[:-6]}.{kind}") for kind in ("jpegx", "nothing") for _ in range(2)]
    with nginx_site.proxy.client() as client:
        answers += [client.get(path) for path in ("/", "/pricing", "/v1/usage", "/healthz") for _ in range(2)]
    assert {answer.headers.get("x-cache") for answer in answers} <= {None, "MISS"}


@pytest.mark.slow
def test_nginx_asks_again_soon_whether_an_image_is_still_there(nginx_site: Site) -> None:
    shown = nginx_site.upload(make_image("jpeg", 70, 50), data={"ttl": "30d"}).json()
    address, media = nginx_site.path(shown["src"]), f"/v1/media/{shown['id']}"
    key = authorization(nginx_site.key)
    with nginx_site.proxy.client(SRC_HOST) as client, nginx_site.proxy.client() as pages:
        first = client.get(address)
        assert client.get(address).headers["x-cache"] == "HIT"
        assert pages.patch(media, json={"public": False}, headers=key).status_code == 200
        # What is asked for is everything, so that no header is of another time than its bytes.
        again = until(lambda: (found := client.get(address)).headers["x-cache"] == "EXPIRED" and found)
        assert (again.status_code, again.content) == (200, first.content)
        assert "photo" in first.headers["content-disposition"]
        assert "photo" not in again.headers["content-disposition"]
        assert client.get(address).headers["x-cache"] == "HIT"
        assert pages.delete(media, headers=key).status_code == 200
        until(lambda: client.get(address).status_code == 404)
        assert client.get(address, headers={"If-None-Match": first.headers["etag"]}).status_code == 404
        assert client.get(address).json()["error"] == "not_found"


@pytest.mark.slow
def test_nginx_stops_keeping_an_image_whose_end_comes_near(tmp_path: Path) -> None:
    if find_program("nginx") is None:
        pytest.skip("nginx is not installed")
    server = Running.spawn(tmp_path, config=f"{split_hosts()}[cache]\nmax_age_seconds = 2\n", args=("--print-json",))
    with contextlib.closing(server):
        until(lambda: server.stdout)
        key = make_key(server.data_dir, "--verified")
        with nginx(tmp_path, json.loads(server.stdout)["port"], cached_for="1s") as proxy:
            site = Site(proxy, server, key)
            address = site.path(site.upload(make_image("jpeg", 70, 50), data={"ttl": "3607"}).json()["src"])
            with proxy.client(SRC_HOST) as client:
                assert [client.get(address).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]
                # From 3,602 seconds before the end on each answer is the server's own.
                until(lambda: [client.get(address).headers["x-cache"] for _ in range(3)] == ["EXPIRED"] * 3)


@pytest.mark.parametrize("name", PROXIES)
def test_while_the_server_is_away_clients_are_told_to_come_again(name: str, tmp_path: Path) -> None:
    if find_program(name) is None:
        pytest.skip(f"{name} is not installed")
    (port,) = free_ports(1)
    with PROXIES[name](tmp_path, port) as proxy, proxy.client() as client:
        answer = client.get("/v1/usage")
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "overloaded", "5")
    assert answer.json()["action"] == {"type": "wait", "seconds": 5}
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-type"] == "application/json"
