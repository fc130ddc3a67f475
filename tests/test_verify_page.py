"""/verify: what it says about a key, and what confirming and disowning do."""

from typing import Any

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api, ApiFactory
from images import make_image
from pages import EMAIL, MAIL, NAVIGATION, answer, ask, check_page, everything, mailed_link, queued_mail
from wire import check_refusal

PICTURE = make_image("png", 8, 6)
DAY = 86_400


@pytest.fixture
def mailing(start: ApiFactory) -> Api:
    """A server that has a mail server, and an operator with an address."""
    return start(mail=MAIL, server={"contact": "ops@example.com"})


def image_of(api: Api, headers: dict[str, str], **fields: str) -> dict[str, Any]:
    shown: dict[str, Any] = api.upload(PICTURE, headers, **fields).json()
    return shown


def sees(api: Api, headers: dict[str, str], image: dict[str, Any]) -> bool:
    """Whether a key sees a private image."""
    return bool(api.client.get(f"/v1/media/{image['id']}", headers=headers).status_code == 200)


def is_kept(api: Api, headers: dict[str, str], image: dict[str, Any]) -> bool:
    return "expires_at" not in api.client.get(f"/v1/media/{image['id']}", headers=headers).json()


def test_it_says_which_key_and_what_confirming_does(mailing: Api) -> None:
    key = ask(mailing, name="Laptop")
    image_of(mailing, key.headers)
    page = check_page(mailing.client.get(key.url))
    assert page.title == "Is this API key yours? · localhost:4647"
    for fact in (EMAIL, key.key_id, "Laptop", "14 November 2023, 22:13 UTC", "testclient", "1 image", "30 days"):
        assert fact in page.text, fact
    assert "all of its images" in page.text  # of the account that there is not yet
    (form,) = page.forms
    assert (form.method, form.action, form.hidden) == ("post", "/verify", {"t": key.token})
    assert form.buttons == [
        ("answer", "confirm", "Confirm"),
        ("answer", "disown", "I did not ask for this"),
    ]


def test_a_key_of_an_address_with_images_says_that_it_can_delete_them(mailing: Api) -> None:
    first = ask(mailing)
    for _ in range(3):
        image_of(mailing, first.headers)
    answer(mailing, first.token, "confirm")
    page = check_page(mailing.client.get(ask(mailing).url))
    assert "can read, change and delete your 3 images" in page.text


def test_a_key_that_can_only_read_is_not_said_to_delete(mailing: Api) -> None:
    made = make_key(mailing.data_dir, "--read-only", "--plan", "free", email=EMAIL)
    page = check_page(mailing.client.get(mailed_link(mailing, made["key_id"])))
    assert "can see all" in page.text
    assert "delete" not in page.text
    assert "the operator of this server" in page.text  # who made it


def test_get_and_head_change_nothing(mailing: Api) -> None:
    key = ask(mailing)
    before = everything(mailing)
    for method in ("GET", "HEAD", "OPTIONS"):
        for query in ("", "&answer=confirm", "&confirm=1"):
            assert mailing.client.request(method, key.url + query).status_code in (200, 204)
    assert everything(mailing) == before


def test_confirming_keeps_images_for_good(mailing: Api) -> None:
    key = ask(mailing)
    image, short = image_of(mailing, key.headers), image_of(mailing, key.headers, ttl="60d")
    page = check_page(answer(mailing, key.token, "confirm"))
    assert page.heading == "The key is confirmed"
    assert "keys revoke " + key.key_id in page.text  # what to do when it was a mistake
    assert is_kept(mailing, key.headers, image)
    shown = mailing.client.get(f"/v1/media/{short['id']}", headers=key.headers).json()
    assert shown["expires_at"] == mailing.clock.at + 60 * DAY
    assert mailing.client.get("/v1/usage", headers=key.headers).json()["verified"] is True
    assert [kind for kind, *_ in queued_mail(mailing)] == ["verify"]  # there was no team to join


def test_confirming_joins_the_team_and_is_announced(mailing: Api) -> None:
    first, second = ask(mailing), ask(mailing)
    answer(mailing, first.token, "confirm")
    private = image_of(mailing, first.headers, public="false")
    joining = image_of(mailing, second.headers, public="false")
    assert not sees(mailing, second.headers, private)
    answer(mailing, second.token, "confirm")
    assert sees(mailing, second.headers, private)
    assert sees(mailing, first.headers, joining)
    assert is_kept(mailing, first.headers, joining)
    (joined,) = [mail for mail in queued_mail(mailing) if mail[0] == "joined"]
    assert joined == ("joined", EMAIL, {"key_id": second.key_id, "images": 1})


def test_disowning_ends_the_key_at_once(mailing: Api) -> None:
    key = ask(mailing)
    image = image_of(mailing, key.headers)
    page = check_page(answer(mailing, key.token, "disown"))
    assert page.heading == "The key has ended"
    check_refusal(mailing.client.get("/v1/usage", headers=key.headers), 401, "unauthorized")
    mailing.clock.advance(days=31)
    assert mailing.fetch(image["src"]).status_code == 404


def test_doing_it_again_changes_nothing(mailing: Api) -> None:
    first, second, third = (ask(mailing) for _ in range(3))
    answer(mailing, first.token, "confirm")
    answer(mailing, second.token, "confirm")
    answer(mailing, third.token, "disown")
    before = everything(mailing)
    for key in (first, second):
        for choice in ("confirm", "disown"):
            assert check_page(answer(mailing, key.token, choice)).heading == "The key is confirmed"
        assert check_page(mailing.client.get(key.url)).forms == []
    for choice in ("disown", "confirm"):
        assert check_page(answer(mailing, third.token, choice)).heading == "The key has ended"
    assert check_page(mailing.client.get(third.url)).forms == []
    assert everything(mailing) == before


def test_keys_that_were_made_with_a_key_share_its_fate(mailing: Api) -> None:
    first = ask(mailing, name="first")
    second = ask(mailing, headers=first.headers, name="second")
    page = check_page(mailing.client.get(first.url))
    assert f"{second.key_id} second" in page.text
    assert page.links == ["#content", *NAVIGATION, "mailto:ops@example.com"]  # it is no other question
    answer(mailing, first.token, "disown")
    check_refusal(mailing.client.get("/v1/usage", headers=second.headers), 401, "unauthorized")
    assert check_page(answer(mailing, second.token, "confirm")).heading == "The key has ended"


def test_other_keys_that_wait_have_pages_of_their_own(mailing: Api) -> None:
    keys = [ask(mailing, name=name) for name in ("one", "two", "three")]
    ask(mailing, "somebody@example.com", name="not of this address")
    page = check_page(mailing.client.get(keys[0].url))
    others = [link for link in page.links if "/verify?t=" in link]
    assert len(others) == 2
    assert "not of this address" not in page.text
    second = check_page(mailing.client.get(others[0].removeprefix("http://localhost:4647")))
    assert keys[1].key_id in second.text
    assert second.forms[0].hidden["t"] in others[0]
    # They are still there to answer after this one was.
    assert [
        link for link in check_page(answer(mailing, keys[0].token, "disown")).links if "/verify?t=" in link
    ] == others


def test_a_key_that_the_operator_has_confirmed_or_revoked(mailing: Api) -> None:
    confirmed, revoked = ask(mailing), ask(mailing)
    run_keys(mailing.data_dir, "verify", confirmed.key_id)
    run_keys(mailing.data_dir, "revoke", revoked.key_id)
    assert check_page(mailing.client.get(confirmed.url)).heading == "The key is confirmed"
    assert check_page(answer(mailing, revoked.token, "confirm")).heading == "The key has ended"


def test_an_expired_link_offers_a_new_one(mailing: Api) -> None:
    key = ask(mailing)
    mailing.clock.advance(days=7)
    assert check_page(mailing.client.get(key.url)).heading == "Is this API key yours?"
    mailing.clock.advance(seconds=1)
    before = everything(mailing)
    for expired in (mailing.client.get(key.url), answer(mailing, key.token, "confirm")):
        page = check_page(expired, 410)
        assert "7 days" in page.text
        (form,) = page.forms
        assert (form.method, form.action) == ("post", "/verify/resend")
        assert form.buttons == [(None, None, f"Mail a new link to {EMAIL}")]
    assert everything(mailing) == before
    check_page(mailing.client.post(form.action, data=form.hidden))
    assert queued_mail(mailing)[-1] == ("verify", EMAIL, {"key_ids": [key.key_id]})
    assert check_page(mailing.client.get(mailed_link(mailing, key.key_id))).heading == "Is this API key yours?"


def test_an_expired_link_of_a_server_without_mail_names_the_command(start: ApiFactory) -> None:
    api = start()
    key = ask(api)
    api.clock.advance(days=8)
    page = check_page(api.client.get(key.url), 410)
    assert f"imgpro-lite keys verify {key.key_id}" in page.text
    assert page.forms == []


@pytest.mark.parametrize("choice", ["", "yes", "CONFIRM", "confirm "])
def test_only_the_two_buttons_answer(mailing: Api, choice: str) -> None:
    key = ask(mailing)
    before = everything(mailing)
    check_page(answer(mailing, key.token, choice), 400)
    check_page(mailing.client.post("/verify", data={"t": key.token}), 400)
    assert everything(mailing) == before


def test_what_a_stranger_typed_is_only_text(mailing: Api) -> None:
    name = "\"><script>alert(1)</script>&{{7*7}}<a href='https://evil.example'>x"
    key = ask(mailing, "o'brien+<b>@example.com".replace("<b>", "b"), name=name)
    ask(mailing, "o'brien+b@example.com", name=name)
    for shown in (mailing.client.get(key.url), answer(mailing, key.token, "confirm")):
        page = check_page(shown)
        assert name in page.text
        assert "<script" not in shown.text
        assert [link for link in page.links if "evil" in link] == []


def test_a_key_of_a_verified_team_without_its_mail(mailing: Api) -> None:
    """No such link is ever mailed, and one would have nothing to ask."""
    made = make_key(mailing.data_dir, "--verified", email=EMAIL)
    url = mailed_link(mailing, made["key_id"])
    assert check_page(mailing.client.get(url)).heading == "The key is confirmed"
    answer(mailing, url.partition("t=")[2], "disown")
    assert mailing.client.get("/v1/usage", headers=authorization(made)).status_code == 200
