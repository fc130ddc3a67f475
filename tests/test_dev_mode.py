"""Dev mode: it cannot be reached by accident, and its guard lets in nobody's web page."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory
from images import make_image
from mailing import read_outbox, tokens
from running import run, servers
from shared import serve

from imgpro_lite.dev.guard import FORWARDING_HEADERS
from imgpro_lite.dev.mode import DevMode, enter_dev_mode, with_own_address
from imgpro_lite.errors import OperatorError
from imgpro_lite.settings import Settings

HOST_NAME = "images.test"
TOKEN = "a-token-for-tests"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("dev"), dev=DevMode()) as api:
        yield api


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that may be called by a name of its own."""
    with serve(tmp_path_factory.mktemp("opened"), dev=DevMode(HOST_NAME, TOKEN)) as api:
        yield api


def check_refused(answer: Any) -> None:
    assert answer.status_code == 403
    assert answer.json()["error"] == "forbidden"


def test_without_the_flag_there_is_no_control_plane(api: Api) -> None:
    assert api.client.get("/_dev/clock").status_code == 404
    assert api.client.post("/_dev/clock/advance", json={"days": 1}).status_code == 404


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:4647", "LOCALHOST", "127.0.0.1:80", "[::1]:4647", "localhost."]
)
def test_names_of_this_machine(dev: Api, host: str) -> None:
    assert dev.client.get("/_dev/clock", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "",
        "[::",
        "localhost@evil.example",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/_dev/clock", "/healthz", "/", "/v1/usage"])
def test_other_names_are_dns_rebinding(dev: Api, path: str, host: str) -> None:
    answer = dev.client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "--dev-host" in answer.text


@pytest.mark.parametrize(
    "name", [*sorted(FORWARDING_HEADERS), "x-forwarded-for", "X-Forwarded-Prefix", "x_forwarded_host"]
)
def test_no_proxy(dev: Api, name: str) -> None:
    for path in ("/_dev/clock", "/v1/usage"):
        answer = dev.client.get(path, headers={name: "127.0.0.1"})
        check_refused(answer)
        assert name.lower() in answer.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "http://localhost:4647", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_others_do_not_turn_anything(dev: Api, headers: dict[str, str]) -> None:
    before = dev.client.get("/_dev/clock").json()
    check_refused(dev.client.post("/_dev/clock/advance", json={"days": 1}, headers=headers))
    check_refused(dev.client.get("/_dev/clock", headers=headers))
    assert dev.client.get("/_dev/clock").json() == before


def test_our_own_pages_may(dev: Api) -> None:
    headers = {"Origin": "http://localhost:4647", "Sec-Fetch-Site": "same-origin"}
    assert dev.client.get("/_dev/clock", headers=headers).status_code == 200


def test_the_control_plane_is_not_open_to_other_origins(dev: Api) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = dev.client.options("/_dev/clock/advance", headers=headers)
    check_refused(answer)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_api_stays_open_to_pages(dev: Api) -> None:
    answer = dev.client.get("/v1/usage", headers={"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://10.0.0.1"])
def test_the_api_is_not_for_pages_of_other_sites(dev: Api, origin: str) -> None:
    """An answer of dev mode may have the link in it with which a key joins the team of an address."""
    answer = dev.client.post("/v1/keys", json={"email": "dev@example.com"}, headers={"Origin": origin})
    check_refused(answer)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_links_do_not_act_for_pages_of_other_sites(dev: Api, site: str) -> None:
    made = dev.client.post("/v1/keys", json={"email": "mine@example.com"}, headers={"Origin": "http://localhost:3000"})
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    link = made.json()["verify_url"].removeprefix("http://localhost:4647")
    shown = dev.client.get(link, headers={"Sec-Fetch-Site": site})
    assert "<button" in shown.text
    assert not dev.client.get("/v1/usage", headers=headers).json()["verified"]
    dev.client.get(link)
    assert dev.client.get("/v1/usage", headers=headers).json()["verified"]


def test_links_are_not_given_to_a_network(opened: Api) -> None:
    """Nobody there has shown the token."""
    made = opened.client.post("/v1/keys", json={"email": "dev@example.com"}, headers={"Host": HOST_NAME})
    assert made.status_code == 201
    assert "verify_url" not in made.json()
    (token,) = [tokens(mail)[0] for mail in read_outbox(opened) if mail["To"] == "dev@example.com"]
    assert "<button" in opened.client.get(f"/verify?t={token}").text


def test_another_name_demands_the_token(opened: Api) -> None:
    for host in (HOST_NAME, f"{HOST_NAME}:4647", "localhost"):
        assert opened.client.get("/v1/usage", headers={"Host": host}).json()["error"] == "unauthorized"
        answer = opened.client.get("/_dev/clock", headers={"Host": host})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
        assert opened.client.get("/_dev/clock", headers=headers).status_code == 200
    check_refused(opened.client.get("/_dev/clock", headers={"Host": "other.test"}))


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        (f"Basic {b64encode(b'any:' + TOKEN.encode()).decode()}", 200),
        (f"Basic {b64encode(TOKEN.encode()).decode()}", 401),
        ("Basic ???", 401),
        ("Basic /w==", 401),
    ],
)
def test_tokens(opened: Api, authorization: str, status: int) -> None:
    headers = {"Authorization": authorization}
    assert opened.client.get("/_dev/clock", headers=headers).status_code == status


@pytest.mark.parametrize(
    "server",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "192.168.1.5"},
        {"public_url": "https://images.example.com"},
        {"api_url": "https://api.example.com"},
        {"src_url": "https://src.example.com"},
        {"public_url": "http://localhost.example.com"},
    ],
)
def test_a_configuration_of_a_public_server_is_refused(server: dict[str, str]) -> None:
    settings = Settings.model_validate({"server": server})
    with pytest.raises(OperatorError):
        enter_dev_mode(settings, None)


def test_one_host_may_be_let_in() -> None:
    server = {"host": "0.0.0.0", "public_url": "http://Images.test:4647/img"}
    _, mode = enter_dev_mode(Settings.model_validate({"server": server}), "images.TEST.")
    assert mode.token
    assert "images.test" in mode.host_names
    with pytest.raises(OperatorError):
        enter_dev_mode(Settings.model_validate({"server": {"public_url": "https://images.example.com"}}), "images.test")


@pytest.mark.parametrize("name", ["a:80", "http://a", "a/b", "*", " ", "ä.test"])
def test_a_host_is_a_name(name: str) -> None:
    with pytest.raises(OperatorError, match="--dev-host"):
        enter_dev_mode(Settings(), name)


def test_no_mail_to_real_people() -> None:
    settings, _ = enter_dev_mode(Settings.model_validate({"mail": {"host": "smtp.example.com"}}), None)
    assert settings.mail.host == ""


def test_a_named_host_is_reached_from_elsewhere() -> None:
    settings, mode = enter_dev_mode(Settings(), "images.test")
    assert settings.server.host == "0.0.0.0"
    assert with_own_address(settings, mode).public_url == "http://images.test:4647"
    other = Settings.model_validate({"server": {"host": "192.168.1.5", "public_url": "http://images.test"}})
    settings, mode = enter_dev_mode(other, "images.test")
    assert (settings.server.host, with_own_address(settings, mode).public_url) == ("192.168.1.5", "http://images.test")


def test_a_library_of_a_real_server_is_refused(start: ApiFactory) -> None:
    api = start()
    uploaded = api.upload(make_image("jpeg", 8, 8)).json()
    with pytest.raises(OperatorError, match="was not begun in dev mode"):
        start(dev=DevMode())
    assert start().fetch(uploaded["src"]).status_code == 200
    (api.data_dir / "dev" / "may-be-reset").touch()
    assert start(dev=DevMode()).client.post("/_dev/reset").status_code == 200


def test_command(tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start(args=("--dev",))
        assert "DEV MODE" in server.stdout
        assert server.get("/_dev/clock").status_code == 200
        assert server.get("/_dev/clock", headers={"Host": "evil.example"}).status_code == 403


def test_command_for_programs(tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start(args=("--dev", "--dev-host", HOST_NAME, "--print-json"))
        facts = json.loads(server.stdout)
    assert facts["url"] == f"http://{HOST_NAME}:{server.port}"
    assert facts["control_url"] == f"{facts['url']}/_dev"
    assert facts["token"]
    assert facts["pid"] == server.process.pid
    assert facts["data_dir"] == str(server.data_dir)


def test_the_name_alone_is_a_mistake(tmp_path: Path) -> None:
    finished = run(tmp_path, "serve", "--dev-host", HOST_NAME)
    assert finished.returncode == 1
    assert "--dev" in finished.stderr
