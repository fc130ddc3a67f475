"""Signing in with a key and with a mailed link, staying signed in, and signing out."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api, ApiFactory
from library import connect, new_email
from mailing import body, read_outbox
from pages import queued_mail
from running import until
from shared import serve
from signing_in import COOKIE, HOST, Browser, Shown, signed_in

DAY_SECONDS = 86_400
SIGN_IN, LINK = "/dashboard/sign-in", "/dashboard/sign-in/link"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


@pytest.fixture(scope="module")
def key(shared: Api) -> dict[str, str]:
    """A key that stays."""
    return make_key(shared.data_dir, "--verified", email=new_email())


def mailed_links(api: Api, email: str) -> list[str]:
    """The links to sign in that an address was mailed, as paths, oldest first."""
    bodies = [body(mail) for mail in read_outbox(api) if mail["To"] == email and "Sign in" in mail["Subject"]]
    return [re.findall(rf"{HOST}({LINK}\?t=\S+)", text)[0] for text in bodies]


def ask_for_link(api: Api, email: str) -> Shown:
    browser = Browser.at(api)
    return Shown(browser.submit(browser.open(SIGN_IN), SIGN_IN, email=email))


# ── with a key ──


def test_a_key_signs_in(shared: Api, key: dict[str, str]) -> None:
    browser = Browser.at(shared)
    assert not browser.is_signed_in
    answer = browser.submit(browser.open(SIGN_IN), SIGN_IN, key=f"  {key['key']}\n")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert browser.is_signed_in
    assert browser.get(SIGN_IN).headers["location"] == "/dashboard"  # nothing to do there any more
    assert key["key"] not in browser.get("/dashboard").text


@pytest.mark.parametrize("text", ["", "img_live_" + "x" * 32, "Bearer x", "é", "\x00", "x" * 3000])
def test_a_key_that_does_not_work(shared: Api, text: str) -> None:
    browser = Browser.at(shared)
    page = Shown(browser.submit(browser.open(SIGN_IN), SIGN_IN, key=text), 422)
    assert "This key does not work here." in page.text
    assert not browser.is_signed_in


def test_the_cookie(shared: Api, start: ApiFactory) -> None:
    """What a browser is told about it: for nobody's scripts, and for no other site's forms."""
    for base, name, path, ending in (
        ("https://img.example", "__Host-imgpro-session", "/", "; Secure"),
        ("https://img.example/pics", "__Secure-imgpro-session", "/pics", "; Secure"),
        ("http://img.example/pics", COOKIE, "/pics", ""),
    ):
        api = start(server={"public_url": base})
        (cookie,) = Browser.at(api, base).get(SIGN_IN).headers.get_list("set-cookie")
        pattern = rf"{name}=[\w.-]+; HttpOnly; Max-Age=2592000; Path={path}; SameSite=lax{ending}"
        assert re.fullmatch(pattern, cookie), cookie


@pytest.mark.parametrize(
    "target",
    [
        *("/dashboard/sign-out", "/dashboard/keys/revoke", "/dashboard/nothing", "/dashboard/sign-in"),
        *("/dashboard/sign-in?next=/dashboard/sign-in", "/v1/usage", "/v1/media?limit=1", "/oembed?url=x", "/healthz"),
        *("/nothing", "/static/x", "/dashboard/"),
    ],
)
def test_only_to_pages_that_can_be_shown(shared: Api, key: dict[str, str], target: str) -> None:
    page = Shown(Browser.at(shared).get(SIGN_IN, params={"next": target}))
    assert page.form(SIGN_IN)["next"] == "/dashboard"


@pytest.mark.parametrize(
    "target", ["/", "/api", "/api/quick-start", "/pricing", "/a1b2c3d4e5f6g7", "/upgrade/pro?t=x.y-z"]
)
def test_to_any_page(shared: Api, key: dict[str, str], target: str) -> None:
    browser = Browser.at(shared)
    page = Shown(browser.get(SIGN_IN, params={"next": target}))
    assert browser.submit(page, SIGN_IN, key=key["key"]).headers["location"] == target


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/keys", "/dashboard?tags=a%2Cb&tag_mode=any"])
def test_back_to_where_it_began(shared: Api, key: dict[str, str], path: str) -> None:
    browser = Browser.at(shared)
    there = browser.get(path)
    assert there.status_code == 303
    page = browser.open(there.headers["location"])
    assert browser.submit(page, SIGN_IN, key=key["key"]).headers["location"] == path


@pytest.mark.parametrize(
    "target",
    [
        *("https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example"),
        *("/\t/evil.example", "/ /evil.example", "javascript:alert(1)", "/%2f/evil.example", "/%5cevil.example"),
        *("/dashboard\r\nSet-Cookie: x=1", "/dashboard#//x", "/.//evil.example", "/@evil.example", "x", "/é", ""),
    ],
)
def test_never_to_another_site(shared: Api, key: dict[str, str], target: str) -> None:
    browser = Browser.at(shared)
    page = Shown(browser.get(SIGN_IN, params={"next": target}))
    assert page.form(SIGN_IN)["next"] == "/dashboard"
    answer = browser.submit(page, SIGN_IN, key=key["key"], next=target)
    assert answer.headers["location"] == "/dashboard"
    assert browser.get(SIGN_IN, params={"next": target}).headers["location"] == "/dashboard"


def test_a_path_prefix(start: ApiFactory) -> None:
    base = "https://example.com/img"
    api = start(server={"public_url": base})
    key = make_key(api.data_dir, "--verified")
    browser = Browser.at(api, base)
    there = browser.get(f"{base}/dashboard/keys")
    assert there.headers["location"].startswith("/img/dashboard/sign-in?")
    page = Shown(browser.get(f"https://example.com{there.headers['location']}"))
    sent = browser.client.post(f"{base}/dashboard/sign-in", data={**page.form(SIGN_IN), "key": key["key"]})
    assert sent.headers["location"] == "/img/dashboard/keys"
    assert 'href="/img/dashboard/settings"' in browser.get(f"{base}/dashboard/keys").text


# ── with a mailed link ──


def test_a_mailed_link_signs_in_once(shared: Api) -> None:
    email = new_email()
    key = make_key(shared.data_dir, "--verified", email=email)
    assert email in ask_for_link(shared, email.upper()).text
    (link,) = mailed_links(shared, email)
    browser = Browser.at(shared)
    page = browser.open(link)
    assert not browser.is_signed_in  # looking signs nobody in
    assert (page.heading, email in page.text) == ("Sign in", True)
    answer = browser.submit(page, LINK)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert email in browser.open("/dashboard/settings").text
    assert browser.ask_api("GET", "/v1/usage").status_code == 200

    other = Browser.at(shared)
    assert other.open(link, 410).heading == "This link has been used"
    sent = {"csrf": other.open(SIGN_IN).form(SIGN_IN)["csrf"], "t": link.partition("t=")[2]}
    assert Shown(other.client.post(LINK, data=sent), 410).heading == "This link has been used"
    assert not other.is_signed_in
    # A second one is another link: each is good for itself.
    ask_for_link(shared, email)
    assert other.submit(other.open(mailed_links(shared, email)[-1]), LINK).status_code == 303
    run_keys(shared.data_dir, "revoke", key["key_id"])
    assert other.is_signed_in  # it does not hang on any key that somebody has


def test_other_spellings_of_a_used_link(shared: Api) -> None:
    """One use is keyed by what the link says and not by its letters."""
    email = new_email()
    make_key(shared.data_dir, "--verified", email=email)
    ask_for_link(shared, email)
    (link,) = mailed_links(shared, email)
    browser = Browser.at(shared)
    assert browser.submit(browser.open(link), LINK).status_code == 303
    other = Browser.at(shared)
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=":
        assert other.get(link[:-1] + last).status_code in (404, 410)


def test_the_link_ends_after_a_quarter_of_an_hour(shared: Api) -> None:
    email = new_email()
    make_key(shared.data_dir, "--verified", email=email)
    ask_for_link(shared, email)
    (link,) = mailed_links(shared, email)
    browser = Browser.at(shared)
    shared.clock.advance(seconds=15 * 60)
    page = browser.open(link)
    shared.clock.advance(seconds=1)
    answer = browser.submit(page, LINK)
    assert answer.status_code == 410
    assert "Links to sign in work for 15 minutes." in answer.text
    assert browser.get(link).status_code == 410
    assert not browser.is_signed_in


@pytest.mark.parametrize("kind", ["unknown", "unverified"])
def test_nobody_learns_whether_an_address_is_known(shared: Api, kind: str) -> None:
    """The same answer, and the same work: a row in the queue, whose mail is then not written."""
    known, other = new_email(), new_email()
    make_key(shared.data_dir, "--verified", email=known)
    if kind == "unverified":
        shared.new_key(other)
    pages = [ask_for_link(shared, email).text.replace(email, "…") for email in (known, other)]
    assert pages[0] == pages[1]
    with connect(shared.data_dir) as conn:
        rows = conn.execute("SELECT recipient FROM mail_queue WHERE kind = 'sign_in'").fetchall()
    assert {known, other} >= {recipient for (recipient,) in rows}
    assert len(mailed_links(shared, known)) == 1
    assert mailed_links(shared, other) == []


def test_what_is_no_address(shared: Api) -> None:
    browser = Browser.at(shared)
    for email in ("", "x", "a@b@c", "a@example.com\r\nBcc: b@example.com", "x" * 400 + "@example.com"):
        page = Shown(browser.submit(browser.open(SIGN_IN), SIGN_IN, email=email), 422)
        assert "This is not an e-mail address." in page.text


def sign_in_from(api: Api, address: str, **fields: str) -> Any:
    """The answer to the form that signs in, from an address."""
    browser = Browser.at(api, address=address)
    return browser.submit(browser.open(SIGN_IN), SIGN_IN, **fields)


def test_links_are_rationed(start: ApiFactory) -> None:
    """From one place: 2 for an e-mail address and 3 in all, in an hour."""
    api = start(limits={"keys_per_email_per_hour": 2, "keys_per_ip_per_hour": 3})

    def ask(email: str, address: str) -> int:
        return int(sign_in_from(api, address, email=email).status_code)

    assert [ask("a@example.com", "192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert [ask(f"{name}@example.com", "192.0.2.9") for name in "bcde"] == [200, 200, 200, 429]
    assert api.new_key("a@example.com")  # counted apart
    api.clock.advance(seconds=3600)
    assert ask("a@example.com", "192.0.2.1") == 200


def test_wrong_keys_and_links_are_counted_apart(start: ApiFactory) -> None:
    """Whoever mistypes a key can still have a link mailed, and the other way round."""
    api = start(limits={"keys_per_ip_per_hour": 2})
    for address, fields, others in (
        ("192.0.2.1", {"key": "x"}, {"email": "a@example.com"}),
        ("192.0.2.2", {"email": "b@example.com"}, {"key": make_key(api.data_dir)["key"]}),
    ):
        for _ in range(2):
            assert sign_in_from(api, address, **fields).status_code in (200, 422)
        assert sign_in_from(api, address, **fields).status_code == 429
        assert sign_in_from(api, address, **others).status_code in (200, 303)


def test_strangers_cannot_use_up_an_owners_links(start: ApiFactory) -> None:
    """However many ask in somebody's name: the mailbox is spared, and one of its links always works."""
    api = start(limits={"keys_per_email_per_hour": 5, "keys_per_ip_per_hour": 20})
    owner, nobody = "a@example.com", "b@example.com"
    make_key(api.data_dir, "--verified", email=owner)

    def ask(email: str, number: int) -> Shown:
        return Shown(sign_in_from(api, f"192.0.2.{number}", email=email))

    api.clock.advance(seconds=900 - api.clock.now() % 900)  # when a quarter of an hour begins
    api.clock.advance(seconds=60)
    pages = {email: [ask(email, number) for number in range(1, 9)] for email in (owner, nobody)}
    assert ["is mailed no more" in page.text for page in pages[owner]] == [False, False, *[True] * 6]
    assert "in 14 minutes" in pages[owner][-1].text
    # Whether there is such an account is not told by it.
    for one, other in zip(pages[owner], pages[nobody], strict=True):
        assert one.text.replace(owner, "") == other.text.replace(nobody, "")
    links, none = mailed_links(api, owner), mailed_links(api, nobody)
    assert (len(links), none) == (2, [])
    api.clock.advance(seconds=14 * 60 - 1)  # up to the end of the quarter of an hour the links are good
    browser = Browser.at(api)
    assert browser.submit(browser.open(links[0]), LINK).status_code == 303
    assert "is mailed no more" in ask(owner, 9).text
    api.clock.advance(seconds=1)  # and from then on there are new ones
    assert "is mailed no more" not in ask(owner, 9).text


def test_a_mail_that_nobody_waits_for_any_more(start: ApiFactory) -> None:
    api = start(mail={"host": "127.0.0.1", "port": 1})
    make_key(api.data_dir, "--verified")
    ask_for_link(api, "ops@example.com")
    api.clock.advance(seconds=3601)
    again = start()
    until(lambda: queued_mail(again) == [])
    assert read_outbox(again) == []


# ── how long it lasts ──


def test_signing_in_anew_ends_the_session_before(shared: Api) -> None:
    """With a key or a link, as the same account or another: nobody would know any more how to sign out of it."""
    email = new_email()
    browser, key = signed_in(shared, email=email)
    ask_for_link(shared, email)
    (link,) = mailed_links(shared, email)
    form = {"csrf": browser.open("/dashboard").csrf, "next": "/dashboard"}
    for path, fields in (
        (SIGN_IN, {"key": key["key"]}),
        (LINK, {"t": link.partition("t=")[2]}),
        (SIGN_IN, {"key": key["key"]}),
    ):
        before = Browser.at(shared)
        before.client.cookies.set(COOKIE, browser.client.cookies[COOKIE], domain="localhost.local", path="/")
        assert before.is_signed_in
        form["csrf"] = browser.open("/dashboard").csrf
        assert browser.client.post(path, data={**form, **fields}).status_code == 303
        assert browser.is_signed_in
        assert not before.is_signed_in
    assert "Signed in by mail" not in browser.get("/dashboard/keys").text  # nor is the key of the link left over


def test_a_session_ends_when_it_is_not_used(shared: Api) -> None:
    browser, _ = signed_in(shared, email=new_email())
    for _ in range(3):
        shared.clock.advance(days=7)
        assert browser.is_signed_in  # which begins the week anew
    shared.clock.advance(days=7, seconds=1)
    assert not browser.is_signed_in


def test_a_session_ends_after_a_month(shared: Api) -> None:
    email = new_email()
    browser, key = signed_in(shared, email=email)
    ask_for_link(shared, email)
    by_mail = Browser.at(shared)
    by_mail.submit(by_mail.open(mailed_links(shared, email)[0]), LINK)
    for _ in range(29):
        shared.clock.advance(days=1)
        assert browser.is_signed_in
        assert by_mail.is_signed_in
    assert "Signed in by mail" in browser.get("/dashboard/keys").text
    shared.clock.advance(days=1)
    assert not browser.is_signed_in
    assert not by_mail.is_signed_in
    assert "Signed in by mail" not in browser.sign_in(key["key"]).get("/dashboard/keys").text
    # The next one sweeps up what it left.
    ask_for_link(shared, email)
    by_mail.submit(by_mail.open(mailed_links(shared, email)[-1]), LINK)
    with connect(shared.data_dir) as conn:
        sql = "SELECT count(*) FROM api_keys JOIN teams ON teams.id = team_id WHERE email = ? AND session_ends_at > 0"
        assert conn.execute(sql, (email,)).fetchone() == (1,)


def test_a_session_ends_with_its_key(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    csrf = browser.open("/dashboard").csrf
    run_keys(shared.data_dir, "revoke", key["key_id"])
    assert browser.ask_api("GET", "/v1/usage", csrf).status_code == 401
    assert not browser.is_signed_in


def test_signing_out_ends_it_for_good(shared: Api) -> None:
    """Also for a copy of the cookie; the key itself, and its other sessions, stay."""
    browser, key = signed_in(shared, email=new_email())
    copy, elsewhere = Browser.at(shared), Browser.at(shared).sign_in(key["key"])
    copy.client.cookies.set(COOKIE, browser.client.cookies[COOKIE], domain="localhost.local", path="/")
    assert copy.is_signed_in
    page = browser.open("/dashboard")
    answer = browser.submit(page, "/dashboard/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, SIGN_IN)
    assert not browser.is_signed_in
    assert not copy.is_signed_in
    assert copy.ask_api("GET", "/v1/usage", page.csrf).status_code == 401
    assert elsewhere.is_signed_in
    assert shared.client.get("/v1/usage", headers=authorization(key)).status_code == 200


def test_signing_out_of_a_mailed_session_ends_its_key(shared: Api) -> None:
    email = new_email()
    _, key = signed_in(shared, email=email)
    ask_for_link(shared, email)
    browser = Browser.at(shared)
    browser.submit(browser.open(mailed_links(shared, email)[0]), LINK)
    keys = Browser.at(shared).sign_in(key["key"])
    assert "Signed in by mail" in keys.get("/dashboard/keys").text
    browser.submit(browser.open("/dashboard"), "/dashboard/sign-out")
    assert "Signed in by mail" not in keys.get("/dashboard/keys").text
