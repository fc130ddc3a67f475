"""What other sites, and strangers with pieces of a session, try: a cookie counts only where a page of ours uses it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from library import add, connect, new_email, picture
from pages import everything, sign
from shared import serve
from signing_in import COOKIE, HOST, POLICY, Browser, Shown, signed_in
from wire import check_refusal

from imgpro_lite import links
from imgpro_lite.store.data_dir import load_secrets, rotate_secrets

OTHER_SITES: list[dict[str, str | None]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # a neighbour's subdomain
    {"Sec-Fetch-Site": "none"},  # typed by hand, or a form of another program
    {"Sec-Fetch-Site": None},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Sec-Fetch-Site": "SAME-ORIGIN"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:4648"},
    {"Origin": "http://localhost:4647.evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"X-CSRF-Token": None},
    {"Host": "api.img.example"},
]
FORMS = {
    "/dashboard/keys": {"name": "theirs", "read": "on", "write": "on"},
    "/dashboard/settings": {"registration": "closed"},
    "/dashboard/sign-out": {},
}


@dataclass
class Owner:
    """Somebody who is signed in, and what is attacked."""

    api: Api
    browser: Browser
    key: dict[str, Any]
    image: dict[str, Any]
    csrf: str

    @property
    def cookie(self) -> str:
        return str(self.browser.client.cookies[COOKIE])

    def with_cookie(self, cookie: str) -> Browser:
        """Another browser that sends a cookie."""
        other = Browser.at(self.api)
        other.client.cookies.set(COOKIE, cookie, domain="localhost.local", path="/")
        return other


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


@pytest.fixture(scope="module")
def owner(shared: Api) -> Owner:
    browser, key = signed_in(shared, email=new_email())
    return Owner(
        shared, browser, key, add(shared, authorization(key), public="false"), browser.open("/dashboard/keys").csrf
    )


@pytest.fixture(scope="module")
def stranger(shared: Api) -> Browser:
    """Somebody of another team, who is signed in too."""
    return signed_in(shared, email=new_email())[0]


# ── the API ──


def test_a_script_of_our_pages_may_do_what_the_key_may(owner: Owner) -> None:
    path = f"/v1/media/{owner.image['id']}"
    for origin in (None, HOST):
        own: dict[str, str | None] = {"Origin": origin}
        ask = owner.browser.ask_api
        assert ask("GET", path, owner.csrf, headers=own).json()["id"] == owner.image["id"]
        assert ask("PATCH", path, owner.csrf, headers=own, json={"name": "New"}).json()["name"] == "New"
        stored = ask("POST", "/v1/upload", owner.csrf, headers=own, files={"file": ("x.png", picture(1))})
        assert (stored.status_code, stored.json().get("expires_at")) == (201, None)
        assert ask("POST", "/v1/keys", owner.csrf, headers=own, json={}).status_code == 201
    assert owner.browser.ask_api("GET", "/v1/media", owner.csrf).json()["items"]


def test_a_session_lacks_what_its_key_lacks(shared: Api) -> None:
    browser, key = signed_in(shared, "--read-only", email=new_email())
    assert browser.ask_api("GET", "/v1/usage").status_code == 200
    check_refusal(browser.ask_api("POST", "/v1/upload", files={"file": ("x.png", picture())}), 403, "forbidden")
    csrf = browser.open("/dashboard").csrf
    with connect(shared.data_dir) as conn:
        conn.execute("UPDATE api_keys SET can_read = 0, can_write = 1 WHERE key_id = ?", (key["key_id"],))
    check_refusal(browser.ask_api("GET", "/v1/usage", csrf), 403, "forbidden")


@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
def test_requests_from_elsewhere_are_refused(owner: Owner, headers: dict[str, str | None]) -> None:
    """The cookie is as if it were not there: no image is seen or changed, and nothing in the answer lets it in."""
    before = everything(owner.api)
    path = f"/v1/media/{owner.image['id']}"
    expected = {"GET": 401, "PATCH": 401, "DELETE": 401}
    if headers == {"Host": "api.img.example"}:  # an unknown name has everything, as an IP address has
        expected = {"GET": 200}
    if headers == {"X-CSRF-Token": None}:  # then it is nobody's, like any other without a key
        expected["GET"] = 404
    for method, status in expected.items():
        answer = owner.browser.ask_api(method, path, owner.csrf, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["access-control-allow-origin"] == "*"  # which browsers refuse with cookies
        assert "access-control-allow-credentials" not in answer.headers
        assert "set-cookie" not in answer.headers
    assert everything(owner.api) == before


@pytest.mark.parametrize("route", ["upload", "import", "keys"])
@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({"Sec-Fetch-Site": None}, "Open the page over https:// or as http://localhost, or use an API key."),
        ({"Sec-Fetch-Site": "same-site"}, "A request of another site"),
        ({"Sec-Fetch-Site": "cross-site"}, "A request of another site"),
        ({"Origin": "https://pics.example.net"}, "its operator has to set [server] public_url"),
    ],
)
def test_what_our_pages_send_is_never_a_strangers(
    owner: Owner, route: str, headers: dict[str, str | None], advice: str
) -> None:
    """Whoever is signed in would lose a picture to the anonymous team: it is refused, in words that help."""
    before = everything(owner.api)
    sent = {
        "upload": {"files": {"file": ("x.png", picture(2))}, "data": {"public": "false"}},
        "import": {"json": {"url": "http://127.0.0.1/x.png"}},
        "keys": {"json": {"email": new_email()}},
    }[route]
    answer = owner.browser.ask_api("POST", f"/v1/{route}", owner.csrf, headers=headers, **sent)
    assert advice in check_refusal(answer, 401, "unauthorized")["message"]
    assert everything(owner.api) == before


def test_a_preflight_allows_no_cookies(owner: Owner) -> None:
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-csrf-token"}
    answer = owner.browser.client.options("/v1/media/batch", headers={"Origin": "https://evil.example", **asked})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_a_key_wins_over_the_session(owner: Owner) -> None:
    """A wrong one too: it never falls back to anything."""
    wrong = {"Authorization": "Bearer img_live_x"}
    check_refusal(owner.browser.ask_api("GET", "/v1/usage", owner.csrf, headers=wrong), 401, "unauthorized")
    _, other = signed_in(owner.api, email=new_email())
    right = authorization(other)
    assert owner.browser.ask_api("GET", "/v1/media", owner.csrf, headers=right).json()["items"] == []


def test_only_the_host_of_the_pages_knows_sessions(start: ApiFactory) -> None:
    pages, *others = hosts = ["https://img.example", "https://api.img.example", "https://src.img.example"]
    api = start(server=dict(zip(("public_url", "api_url", "src_url"), hosts, strict=True)))
    browser = Browser.at(api, pages)
    policy = POLICY.replace("img-src 'self'", f"img-src 'self' {others[1]}")
    page = Shown(browser.get("/dashboard/sign-in"), policy=policy)
    browser.submit(page, "/dashboard/sign-in", key=make_key(api.data_dir, "--verified")["key"])
    csrf = Shown(browser.get("/dashboard/keys"), policy=policy).csrf
    cookie = f"__Host-imgpro-session={browser.client.cookies['__Host-imgpro-session']}"
    sent = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": csrf, "Cookie": cookie}
    answers = {host: Browser.at(api, host).get(f"{host}/v1/usage", headers=sent).status_code for host in hosts}
    assert answers == {pages: 200, others[0]: 401, others[1]: 404}
    assert Browser.at(api, others[0]).get(f"{others[0]}/dashboard").status_code == 404


# ── pieces of a session ──


def test_changed_cookies(owner: Owner) -> None:
    path, cookie = "/dashboard/settings", owner.cookie
    payload, timestamp, signature = cookie.rsplit(".", 2)  # a payload that is compressed begins with a dot
    forged = [
        *(cookie[:at] + ("A" if cookie[at] != "A" else "B") + cookie[at + 1 :] for at in range(0, len(cookie) - 1, 7)),
        *(payload, f"{payload}.{timestamp}", f"{payload}.{timestamp}.", f"{payload}..{signature}", ""),
        sign(owner.api, links.CSRF, {"session": "x"}),
        sign(owner.api, links.SIGN_IN, {"id": "x", "key": owner.key["key_id"], "at": owner.api.clock.now()}),
        "x" * 5000,
    ]
    for text in forged:
        other = owner.with_cookie(text)
        assert other.get(path).status_code == 303, text
        check_refusal(other.ask_api("GET", "/v1/usage", owner.csrf), 401, "unauthorized")


def test_the_token_of_another_session(owner: Owner) -> None:
    """Neither of another account, nor of another session of the same key, nor a form's with no session."""
    mine, _ = signed_in(owner.api, email=new_email())
    again = Browser.at(owner.api).sign_in(owner.key["key"])
    visitor = Browser.at(owner.api)
    for csrf in (mine.open("/dashboard/keys").csrf, again.open("/dashboard/keys").csrf, "", owner.cookie, "é"):
        sent = {"X-CSRF-Token": csrf.encode()}
        check_refusal(owner.browser.ask_api("GET", "/v1/usage", "", headers=sent), 401, "unauthorized")
    check_refusal(visitor.ask_api("GET", "/v1/usage", owner.csrf), 401, "unauthorized")
    check_refusal(
        visitor.ask_api("POST", "/v1/upload", owner.csrf, files={"file": ("x.png", picture())}), 401, "unauthorized"
    )


def test_who_is_not_signed_in_has_no_session(shared: Api) -> None:
    visitor = Browser.at(shared)
    csrf = visitor.open("/dashboard/sign-in").form("/sign-in")["csrf"]
    check_refusal(visitor.ask_api("GET", "/v1/usage", csrf), 401, "unauthorized")
    assert visitor.client.post("/dashboard/keys", data={"csrf": csrf, "read": "on"}).status_code == 403


def test_forgotten_secrets_end_every_session(start: ApiFactory) -> None:
    api = start()
    browser, key = signed_in(api)
    kept = browser.client.cookies[COOKIE]
    rt: Any = api.client.app.state.runtime
    rotate_secrets(api.data_dir, api.clock.now(), forget_old=False)
    rt.links.rotate(load_secrets(api.data_dir))
    assert browser.is_signed_in
    rotate_secrets(api.data_dir, api.clock.now(), forget_old=True)
    rt.links.rotate(load_secrets(api.data_dir))
    assert not browser.is_signed_in
    assert Owner(api, browser, key, {}, "").with_cookie(kept).get("/dashboard").status_code == 303
    assert browser.sign_in(key["key"]).is_signed_in


# ── forms ──


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin", None])
def test_forms_of_other_sites(owner: Owner, stranger: Browser, path: str, site: str | None) -> None:
    """A browser would send no cookie with them; one that does gets no further. With ours, the site decides."""
    headers = {"Sec-Fetch-Site": site} if site else {}
    before = everything(owner.api)
    tokens = ["", "x", owner.cookie, stranger.open("/dashboard/keys").csrf]
    if site in ("cross-site", "same-site", "none"):
        tokens.append(owner.csrf)
    for token in tokens:
        answer = owner.browser.client.post(path, data={**FORMS[path], "csrf": token}, headers=headers)
        assert answer.status_code == 403, (token, answer.text)
    bare = Browser.at(owner.api)
    assert bare.client.post(path, data={**FORMS[path], "csrf": owner.csrf}, headers=headers).status_code == 403
    assert everything(owner.api) == before
    assert owner.browser.is_signed_in


def test_nobody_can_be_signed_in_as_somebody_else(shared: Api) -> None:
    """Forms that another site sends to sign its visitor in with a key or a link of its own."""
    attacker, key = signed_in(shared, email=new_email())
    token = sign(shared, links.SIGN_IN, {"team": add(shared, authorization(key))["src"].split("/")[3], "id": "x"})
    visitor = Browser.at(shared).open("/dashboard/sign-in")
    known = [attacker.open("/dashboard/keys").csrf, visitor.form("/sign-in")["csrf"]]
    victim = Browser.at(shared)
    victim.open("/dashboard/sign-in")
    for path, fields in (("/dashboard/sign-in", {"key": key["key"]}), ("/dashboard/sign-in/link", {"t": token})):
        for csrf in ("", *known):
            for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
                assert victim.client.post(path, data={**fields, "csrf": csrf}, headers=headers).status_code == 403
    assert not victim.is_signed_in


def test_a_prepared_session_is_never_signed_in(shared: Api) -> None:
    """Who puts a cookie of his own into somebody's browser still has only the session of nobody."""
    attacker, victim = Browser.at(shared), Browser.at(shared)
    attacker.open("/dashboard/sign-in")
    prepared = attacker.client.cookies[COOKIE]
    victim.client.cookies.set(COOKIE, prepared, domain="localhost.local", path="/")
    _, key = signed_in(shared, email=new_email())
    victim.sign_in(key["key"])
    assert victim.is_signed_in
    assert not attacker.is_signed_in


def test_nothing_but_the_form_signs_in_or_out(owner: Owner) -> None:
    before = everything(owner.api)
    for path in (*FORMS, "/dashboard/keys/revoke"):
        owner.browser.get(path, params={**FORMS.get(path, {}), "csrf": owner.csrf, "key_id": owner.key["key_id"]})
    assert owner.browser.is_signed_in
    assert everything(owner.api) == before


def test_the_log_and_the_database_have_no_secret(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    owner.browser.open("/dashboard")
    owner.browser.ask_api("GET", "/v1/usage", owner.csrf)
    for secret in (owner.cookie, owner.csrf, owner.key["key"]):
        assert secret not in caplog.text
        for path in owner.api.data_dir.glob("imgpro.db*"):
            assert secret.encode() not in path.read_bytes()
