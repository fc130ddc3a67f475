"""/upgrade/{plan}: what is offered, and what its button does in each of its modes."""

import re
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from images import make_image
from pages import EMAIL, MAIL, POLICY, Asked, answer, ask, check_page, everything, path_of, queued_mail, sign, token_of

from imgpro_lite import links

PICTURE = make_image("png", 8, 6)
SMALL_PLANS = {
    "free": {"label": "Free", "uploads_per_month": 1, "storage_mb": 5},
    "pro": {
        "label": "Pro & <b>more</b>",
        "uploads_per_month": 1_000,
        "storage_mb": 50 * 1024,
        "price_usd_per_month": 10,
    },
    "max": {"label": "Max", "uploads_per_month": 0, "storage_mb": 0, "price_usd_per_month": 1_299},
}
PAYMENT = {"mode": "redirect", "url": "https://pay.example.com/buy?plan={plan}&team={team}&email={email}"}


def plan_of(api: Api, headers: dict[str, str]) -> str:
    return str(api.client.get("/v1/usage", headers=headers).json()["plan"])


def exhausted(api: Api, headers: dict[str, str]) -> str:
    """The upgrade link of a refused upload, as a path."""
    while (refused := api.upload(PICTURE, headers)).status_code == 201:
        pass
    assert refused.status_code == 413, refused.text
    return path_of(refused.json()["action"]["url"])


def link_to(api: Api, headers: dict[str, str], plan: str) -> str:
    """A link to any plan, as an answer would have had it."""
    team = api.upload(PICTURE, headers).json()["src"].split("/")[3]
    return f"/upgrade/{plan}?t=" + sign(api, links.UPGRADE, {"team": team, "plan": plan})


def press(api: Api, url: str) -> Any:
    path = url.partition("?")[0]
    return api.client.post(path, data={"t": token_of(url)}, follow_redirects=False)


def with_quota(start: ApiFactory, **sections: Any) -> tuple[Api, Asked, str]:
    """A server with small plans, a key that has used up its own, and the link that it was given."""
    api = start(plans=SMALL_PLANS, mail=MAIL, **sections)
    key = ask(api)
    return api, key, exhausted(api, key.headers)


def test_it_says_what_is_offered_and_what_there_is(start: ApiFactory) -> None:
    api, _, url = with_quota(start)
    page = check_page(api.client.get(url))
    assert page.heading == "Upgrade to Pro & <b>more</b>"
    for fact in ("1,000 uploads a month", "50 GB of storage", "$10 a month"):
        assert fact in page.text
    for fact in ("Free (your plan now)", "1 upload a month", "5 MB of storage", "free of charge"):
        assert fact in page.text
    assert "not verified yet" in page.text
    (form,) = page.forms
    assert (form.method, form.action, form.hidden) == ("post", "/upgrade/pro", {"t": token_of(url)})
    assert len(form.buttons) == 1


def test_get_and_head_change_nothing(start: ApiFactory) -> None:
    for upgrade in ({"mode": "ask"}, {"mode": "apply"}, PAYMENT):
        api, _, url = with_quota(start, upgrade=upgrade, server={"contact": "ops@example.com"})
        before = everything(api)
        for method in ("GET", "HEAD"):
            assert api.client.request(method, url, follow_redirects=False).status_code == 200
        assert everything(api) == before


def test_ask_asks_the_operator_once(start: ApiFactory) -> None:
    api, key, url = with_quota(start, server={"contact": "ops@example.com"})
    (form,) = check_page(api.client.get(url)).forms
    assert form.buttons[0][2] == "Ask the operator for Pro & <b>more</b>"
    for _ in range(3):
        page = check_page(press(api, url))
        assert page.heading == "The operator was asked"
        assert "14 November 2023, 22:13 UTC" in page.text
        assert page.forms == []
        api.clock.advance(days=1)
    assert check_page(api.client.get(url)).heading == "The operator was asked"
    asked = [mail for mail in queued_mail(api) if mail[0] == "upgrade_request"]
    assert [(recipient, details["plan"]) for _, recipient, details in asked] == [("ops@example.com", "pro")]
    assert plan_of(api, key.headers) == "free"


def test_ask_without_an_operators_address_is_only_noted(start: ApiFactory) -> None:
    api, _, url = with_quota(start)
    assert check_page(press(api, url)).heading == "The operator was asked"
    assert [mail for mail in queued_mail(api) if mail[0] == "upgrade_request"] == []
    assert len(everything(api)[-1]) == 1


def test_apply_gives_the_plan_at_once(start: ApiFactory) -> None:
    api, key, url = with_quota(start, upgrade={"mode": "apply"})
    (form,) = check_page(api.client.get(url)).forms
    assert form.buttons[0][2] == "Switch to Pro & <b>more</b> now"
    for _ in range(2):
        assert check_page(press(api, url)).heading == "You are on Pro & <b>more</b>"
        assert plan_of(api, key.headers) == "pro"
    assert check_page(api.client.get(url)).forms == []
    assert api.upload(PICTURE, key.headers).status_code == 201


def test_redirect_leads_to_the_payment(start: ApiFactory) -> None:
    api, key, url = with_quota(start, upgrade=PAYMENT)
    policy = POLICY.replace("form-action 'self'", "form-action 'self' https://pay.example.com https:")
    (form,) = check_page(api.client.get(url), policy=policy).forms
    assert form.buttons[0][2] == "Go on to payment at pay.example.com"
    before = everything(api)
    sent = press(api, url)
    assert sent.status_code == 303
    location = re.fullmatch(r"(.*)team=([a-z0-9]{5})(&.*)", sent.headers["location"])
    assert location
    assert (location[1], location[3]) == ("https://pay.example.com/buy?plan=pro&", "&email=dev%40example.com")
    (image, *_) = api.client.get("/v1/media", headers=key.headers).json()["items"]
    assert f"/{location[2]}/" in image["src"]
    assert sent.headers["cache-control"] == "no-store"
    assert sent.headers["referrer-policy"] == "no-referrer"
    assert everything(api) == before
    assert plan_of(api, key.headers) == "free"


def test_what_fills_in_a_payment_address_cannot_change_it(start: ApiFactory) -> None:
    api = start(mail=MAIL, upgrade={"mode": "redirect", "url": "https://pay.example.com/{email}?{email}&done=0"})
    key = ask(api, "a&done=1?#/%{plan}@example.com")
    sent = press(api, link_to(api, key.headers, "pro"))
    filled = "a%26done%3D1%3F%23%2F%25%7Bplan%7D%40example.com"
    assert sent.headers["location"] == f"https://pay.example.com/{filled}?{filled}&done=0"


def test_a_plan_that_the_team_has_already(start: ApiFactory) -> None:
    for upgrade in ({"mode": "ask"}, {"mode": "apply"}, PAYMENT):
        api = start(mail=MAIL, upgrade=upgrade)
        headers = authorization(make_key(api.data_dir, "--plan", "pro", email=f"{upgrade['mode']}@example.com"))
        url = link_to(api, headers, "pro")
        before = everything(api)
        for shown in (api.client.get(url), press(api, url)):
            page = check_page(shown)
            assert page.heading == "You are on Pro"
            assert page.forms == []
        assert everything(api) == before


@pytest.mark.parametrize("plan", ["max", "owner"])
def test_an_old_link_never_takes_anything_away(start: ApiFactory, plan: str) -> None:
    api = start(mail=MAIL, upgrade={"mode": "apply"})
    headers = authorization(make_key(api.data_dir, "--plan", plan))
    assert check_page(press(api, link_to(api, headers, "pro"))).forms == []
    assert plan_of(api, headers) == plan


def test_a_plan_that_is_gone(start: ApiFactory) -> None:
    api, key, url = with_quota(start, upgrade={"mode": "apply"})
    for plans in (
        {name: plan for name, plan in SMALL_PLANS.items() if name != "pro"},
        SMALL_PLANS | {"pro": SMALL_PLANS["pro"] | {"offered": False}},
    ):
        api = start(plans=plans, mail=MAIL, upgrade={"mode": "apply"})
        for shown in (api.client.get(url), press(api, url)):
            assert "not on offer any more. Take a new link" in check_page(shown, 404).text
        assert plan_of(api, key.headers) == "free"


def test_a_team_that_was_joined_to_another(start: ApiFactory) -> None:
    """Its row may be another team's by now, which must not get what was offered to it."""
    api = start(plans=SMALL_PLANS, mail=MAIL, upgrade={"mode": "apply"})
    owner, joining = ask(api), ask(api)
    url = exhausted(api, joining.headers)
    answer(api, owner.token, "confirm")
    answer(api, joining.token, "confirm")
    newcomer = ask(api, "newcomer@example.com")
    for shown in (api.client.get(url), press(api, url)):
        assert "part of another account. Take a new link" in check_page(shown, 404).text
    assert [plan_of(api, key.headers) for key in (owner, joining, newcomer)] == ["free"] * 3


def test_an_expired_link_says_where_a_new_one_comes_from(start: ApiFactory) -> None:
    api, key, url = with_quota(start, upgrade={"mode": "apply"})
    api.clock.advance(days=7, seconds=1)
    for shown in (api.client.get(url), press(api, url)):
        page = check_page(shown, 410)
        assert "next answer of the API" in page.text
        assert page.forms == []
    assert plan_of(api, key.headers) == "free"
    check_page(api.client.get(exhausted(api, key.headers)))


def test_a_confirmed_account_is_not_told_to_verify(start: ApiFactory) -> None:
    api, key, url = with_quota(start)
    answer(api, key.token, "confirm")
    assert "not verified yet" not in check_page(api.client.get(url)).text
    assert EMAIL not in check_page(api.client.get(url)).text  # whoever is shown the link need not know whose it is


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://pay.example.com/", "must be an address like"),
        ("javascript:alert(1)", "must be an address like"),
        ("https://pay.example.com;script-src *", "must be an address like"),
        ("https://pay.example.com, evil/", "must be an address like"),
        ("//pay.example.com/", "must be an address like"),
        ("https://", "must be an address like"),
        ("https://pay.example.com/?p={plan}&u={user}", r"has \{user\}, which nothing fills in"),
    ],
)
def test_a_payment_address_that_cannot_be(start: ApiFactory, url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        start(upgrade={"mode": "redirect", "url": url})
