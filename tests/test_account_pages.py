"""Keys and settings on the pages: what is made, shown once, revoked and closed."""

from collections.abc import Iterator

import pytest
from commands import authorization, fail_keys
from conftest import Api, ApiFactory
from library import new_email, show_team
from pages import everything, queued_mail
from shared import serve
from signing_in import POLICY, Browser, Shown, signed_in
from wire import check_refusal

ERROR_POLICY = POLICY.replace("; script-src 'self'; connect-src 'self'", "")  # no script on it
KEYS, REVOKE, SETTINGS = "/dashboard/keys", "/dashboard/keys/revoke", "/dashboard/settings"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def make(browser: Browser, name: str, *abilities: str) -> str:
    """Make a key on the page: the key itself, as it is shown."""
    fields = {"name": name, **dict.fromkeys(abilities, "on")}
    page = Shown(browser.submit(browser.open(KEYS), KEYS, **fields))
    (shown,) = [str(one["value"]) for one in page.attributes("input") if one.get("id") == "copy-key"]
    return shown


def revoke(browser: Browser, key_id: str) -> int:
    csrf = browser.open(KEYS).csrf
    return int(browser.client.post(REVOKE, data={"csrf": csrf, "key_id": key_id}).status_code)


@pytest.mark.parametrize(
    ("abilities", "reads", "writes"), [(["read"], 200, 403), (["write"], 403, 400), (["read", "write"], 200, 400)]
)
def test_a_key_with_abilities(shared: Api, abilities: list[str], reads: int, writes: int) -> None:
    browser, own = signed_in(shared, email=new_email())
    key = make(browser, "Camera", *abilities)
    headers = {"Authorization": f"Bearer {key}"}
    assert shared.client.get("/v1/usage", headers=headers).status_code == reads
    assert shared.client.post("/v1/upload", headers=headers).status_code == writes
    shown = browser.get(KEYS).text
    assert key not in shown  # a second time
    assert all(text in shown for text in ("Camera", own["key_id"], " and ".join(abilities)))
    assert Browser.at(shared).sign_in(key).get("/dashboard").status_code == 200


def test_a_key_needs_an_ability(shared: Api) -> None:
    browser, _ = signed_in(shared, email=new_email())
    before = everything(shared)
    page = Shown(browser.submit(browser.open(KEYS), KEYS, name="None"), 422)
    assert "Choose at least one." in page.text
    assert [one["value"] for one in page.attributes("input") if one.get("id") == "name"] == ["None"]
    assert everything(shared) == before


def test_a_form_makes_one_key(shared: Api) -> None:
    """Also where its answer is loaded anew, for which a browser sends the form again."""
    browser, _ = signed_in(shared, email=new_email())
    form = browser.open(KEYS)
    assert browser.submit(form, KEYS, name="Once", read="on").status_code == 200
    before = everything(shared)
    again = browser.submit(form, KEYS, name="Once", read="on")
    assert (again.status_code, again.headers["location"]) == (303, f"{KEYS}?again=1")
    assert "has made its key already" in browser.open(again.headers["location"]).text
    assert everything(shared) == before
    assert browser.client.post(KEYS, data={"csrf": form.csrf, "read": "on", "form_id": "x"}).status_code == 400


def test_no_key_makes_one_that_may_more(shared: Api) -> None:
    browser, _ = signed_in(shared, email=new_email())
    secrets = {ability: make(browser, ability, ability) for ability in ("read", "write")}
    before = everything(shared)
    for secret in secrets.values():
        lesser = Browser.at(shared).sign_in(secret)
        for path in (KEYS, REVOKE, SETTINGS):
            sent = {"csrf": lesser.open("/dashboard").csrf, "read": "on", "write": "on", "registration": "closed"}
            assert lesser.client.post(path, data=sent).status_code == 403
    assert everything(shared) == before
    # Through the API it may make more of its own kind.
    writer = {"Authorization": f"Bearer {secrets['write']}"}
    made = shared.client.post("/v1/keys", json={}, headers=writer)
    by_page = Browser.at(shared).sign_in(secrets["write"]).ask_api("POST", "/v1/keys", json={})
    for answer in (made, by_page):
        assert answer.status_code == 201
        check_refusal(shared.client.get("/v1/media", headers=authorization(answer.json())), 403, "forbidden")
        assert shared.client.post("/v1/upload", headers=authorization(answer.json())).status_code == 400


@pytest.mark.parametrize("ability", ["read", "write"])
def test_who_may_not_do_both_sees_nothing_of_the_account(shared: Api, ability: str) -> None:
    """A key that only reads may be published: no address, no keys and where they were made, no way to another plan."""
    email = new_email()
    browser, own = signed_in(shared, "--plan", "free", email=email)
    lesser = Browser.at(shared).sign_in(make(browser, "Published", ability))
    for path in (KEYS, SETTINGS):
        page = Shown(lesser.get(path), 403, ERROR_POLICY)
        assert "Your key may not" in page.text
        assert own["key_id"] not in page.text
        assert email not in page.text
    for path in ("/dashboard", "/"):
        text = lesser.get(path).text
        assert email not in text
        assert not any(told in text for told in (KEYS, SETTINGS, "/upgrade/", "/verify/"))
    page = browser.open("/dashboard")
    assert {f"/dashboard{path}" for path in ("", "/keys", "/settings")} <= set(page.links)
    assert any("/upgrade/" in link for link in page.links)


def test_a_reader_cannot_have_the_address_confirmed(shared: Api) -> None:
    key = shared.new_key(new_email())["Authorization"].removeprefix("Bearer ")
    browser = Browser.at(shared).sign_in(key)
    for path in ("/dashboard", KEYS):
        assert any("/verify/" in link for link in browser.open(path).links)
    reader = Browser.at(shared).sign_in(make(browser, "Reader", "read"))
    page = reader.open("/dashboard")
    assert "images are kept for 30 days" in page.text
    assert not any("/verify/" in link for link in page.links)


def test_revoking(shared: Api) -> None:
    browser, own = signed_in(shared, email=new_email())
    other_browser, other = signed_in(shared, email=new_email())
    spare = make(browser, "Spare", "read", "write")
    ids = [form.hidden["key_id"] for form in browser.open(KEYS).forms if "key_id" in form.hidden]
    (spare_id,) = set(ids) - {own["key_id"]}
    used = Browser.at(shared).sign_in(spare)
    assert revoke(browser, spare_id) == 303
    assert not used.is_signed_in
    check_refusal(shared.client.get("/v1/usage", headers={"Authorization": f"Bearer {spare}"}), 401, "unauthorized")
    for key_id in (spare_id, other["key_id"], "key_nothing", "", "\x00"):
        assert revoke(browser, key_id) == 404
    assert other_browser.is_signed_in
    assert revoke(browser, own["key_id"]) == 303  # its own: which signs it out
    assert not browser.is_signed_in
    code, told = fail_keys(shared.data_dir, "revoke", own["key_id"])
    assert (code, "already revoked" in told) == (1, True)


def test_where_a_key_was_made(shared: Api) -> None:
    _, own = signed_in(shared, email=new_email())
    for address, shown in {"::1": "from ::1", "2001:db8::1": "from 2001:db8::/64"}.items():
        browser = Browser.at(shared, address=address).sign_in(own["key"])
        make(browser, address, "read")
        assert shown in browser.open(KEYS).text


def test_names_are_only_shown(shared: Api) -> None:
    browser, _ = signed_in(shared, email=new_email())
    make(browser, "<script>alert(1)</script>\u202e", "read")
    make(browser, "", "read")
    shown = browser.get(KEYS).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>alert" not in shown
    assert "\u202e" not in shown
    assert "Default" in shown


def test_new_keys_are_rationed(start: ApiFactory) -> None:
    api = start(limits={"keys_per_email_per_hour": 2, "keys_per_ip_per_hour": 9})
    browser, key = signed_in(api)
    make(browser, "one", "read")
    assert api.client.post("/v1/keys", json={}, headers=authorization(key)).status_code == 201
    page = browser.submit(browser.open(KEYS), KEYS, name="two", read="on")
    assert page.status_code == 429
    assert int(page.headers["retry-after"]) > 0


def test_keys_of_an_address_that_is_not_confirmed(start: ApiFactory) -> None:
    api = start(mail={"host": "127.0.0.1", "port": 1})
    browser = Browser.at(api).sign_in(api.new_key()["Authorization"].removeprefix("Bearer "))
    for _ in range(2):
        make(browser, "more", "read", "write")
    assert [kind for kind, _, _ in queued_mail(api)] == ["verify"] * 3
    assert browser.submit(browser.open(KEYS), KEYS, name="four", read="on").status_code == 403


def test_closing_the_registration(shared: Api) -> None:
    email = new_email()
    browser, key = signed_in(shared, email=email)
    answer = browser.submit(browser.open(SETTINGS), SETTINGS, registration="closed")
    assert answer.headers["location"] == f"{SETTINGS}?saved=1"
    assert "Saved." in browser.get(answer.headers["location"]).text
    assert show_team(shared.data_dir, email)["registration_closed"] is True
    refused = check_refusal(shared.client.post("/v1/keys", json={"email": email}), 403, "registration_closed")
    leads = refused["action"]["url"].removeprefix("http://localhost:4647")
    assert browser.get(leads).status_code == 200
    assert make(browser, "still", "read")  # here its owner asks
    browser.submit(browser.open(SETTINGS), SETTINGS, registration="open")
    assert shared.client.post("/v1/keys", json={}, headers=authorization(key)).status_code == 201
    assert browser.submit(browser.open(SETTINGS), SETTINGS, registration="ajar").status_code == 400
