"""/verify/resend: mails an address the links of the keys that wait for it, and tells nothing about them."""

import pytest
from conftest import Api, ApiFactory
from pages import EMAIL, MAIL, answer, ask, check_page, everything, queued_mail, resend_link, token_of

SAME_WORDS = f"If keys wait for this address, we have mailed their links to {EMAIL}."


@pytest.fixture
def mailing(start: ApiFactory) -> Api:
    """A server that has a mail server, and an operator with an address."""
    return start(mail=MAIL, server={"contact": "ops@example.com"})


def test_it_says_whom_it_would_mail(mailing: Api) -> None:
    url = resend_link(mailing)
    page = check_page(mailing.client.get(url))
    assert EMAIL in page.text
    (form,) = page.forms
    assert (form.method, form.action, form.hidden) == ("post", "/verify/resend", {"t": token_of(url)})
    assert form.buttons == [(None, None, f"Mail the links to {EMAIL}")]


def test_get_and_head_mail_nothing(mailing: Api) -> None:
    url = resend_link(mailing)
    before = everything(mailing)
    for _ in range(7):
        assert mailing.client.get(url).status_code == 200
        assert mailing.client.head(url).status_code == 200
    assert everything(mailing) == before


def test_the_button_mails_the_links_of_every_key_that_waits(mailing: Api) -> None:
    confirmed, disowned, waiting = (ask(mailing) for _ in range(3))
    url = resend_link(mailing)
    answer(mailing, confirmed.token, "confirm")
    answer(mailing, disowned.token, "disown")
    page = check_page(mailing.client.post("/verify/resend", data={"t": token_of(url)}))
    assert SAME_WORDS in page.text
    assert queued_mail(mailing)[-1] == ("verify", EMAIL, {"key_ids": [waiting.key_id]})


def test_no_key_that_waits_is_no_mail_and_the_same_words(mailing: Api) -> None:
    keys = [ask(mailing) for _ in range(3)]
    url = resend_link(mailing)
    for key in keys:
        answer(mailing, key.token, "confirm")
    before = queued_mail(mailing)
    page = check_page(mailing.client.post("/verify/resend", data={"t": token_of(url)}))
    assert SAME_WORDS in page.text
    assert queued_mail(mailing) == before


def test_five_an_hour_then_a_page_that_says_how_long(mailing: Api) -> None:
    token = token_of(resend_link(mailing))  # four attempts
    sent = len(queued_mail(mailing))
    check_page(mailing.client.post("/verify/resend", data={"t": token}))
    refused = mailing.client.post("/verify/resend", data={"t": token})
    page = check_page(refused, 429)
    assert refused.headers["retry-after"] == "2800"  # the clock hour ends
    assert "47 minutes" in page.text
    assert len(queued_mail(mailing)) == sent + 1
    check_page(mailing.client.get(f"/verify/resend?t={token}"))  # to look is no attempt
    mailing.clock.advance(seconds=2800)
    check_page(mailing.client.post("/verify/resend", data={"t": token}))


@pytest.mark.parametrize("contact", ["", "ops@example.com"])
def test_without_a_mail_server_it_names_the_command(start: ApiFactory, contact: str) -> None:
    api = start(server={"contact": contact})
    key = ask(api)
    url = resend_link(api)
    for shown in (api.client.get(url), api.client.post("/verify/resend", data={"t": token_of(url)})):
        page = check_page(shown)
        assert "imgpro-lite keys verify KEY_ID" in page.text
        assert contact in page.text
        assert [link for link in page.links if "mailto" in link] == ["mailto:ops@example.com"] * 2 * bool(contact)
        assert page.forms == []
        assert key.key_id not in page.text
