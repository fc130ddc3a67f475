"""Nobody who knows only an address can see, change, block or take over anything of its owner."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import Api, ApiFactory
from images import make_image
from pages import (
    EMAIL,
    MAIL,
    NAVIGATION,
    Asked,
    answer,
    ask,
    check_page,
    everything,
    path_of,
    queued_mail,
    resend_link,
    sign,
    token_of,
)
from wire import check_refusal, client_at

from imgpro_lite import links

PICTURE = make_image("png", 8, 6)
OTHER = make_image("png", 9, 6)
HOUR_SECONDS = 3600
STRANGER = "203.0.113.9"


@dataclass
class Scene:
    """Somebody with a confirmed key and a private image, and a stranger's three keys in the name of that address."""

    api: Api
    owner: Asked
    image: dict[str, Any]
    strangers: list[Asked]


@pytest.fixture
def scene(start: ApiFactory) -> Scene:
    api = start(mail=MAIL)
    owner = ask(api, name="the owner's")
    answer(api, owner.token, "confirm")
    fields = {"public": "false", "namespace": "mine", "external_id": "one", "tags": "secret"}
    image = api.upload(PICTURE, owner.headers, **fields).json()
    api.clock.advance(seconds=HOUR_SECONDS)
    return Scene(api, owner, image, [ask(api, name=f"stranger's {number}") for number in range(3)])


def usable(api: Api, key: Asked) -> bool:
    """Whether a key works."""
    return bool(api.client.get("/v1/usage", headers=key.headers).status_code == 200)


def state_of(api: Api, owner: Asked, image: dict[str, Any]) -> list[Any]:
    """All that the owner has."""
    shown = [api.client.get(path, headers=owner.headers) for path in ("/v1/usage", "/v1/media", "/v1/namespaces")]
    assert [one.status_code for one in shown] == [200, 200, 200]
    return [*(one.json() for one in shown), api.fetch(image["src"]).content]


def test_a_stranger_sees_nothing_of_the_owner(scene: Scene) -> None:
    api, image, strangers = scene.api, scene.image, scene.strangers
    for key in strangers:
        check_refusal(api.client.get(f"/v1/media/{image['id']}", headers=key.headers), 404, "not_found")
        for query in ("", "?namespace=mine", "?tags=secret"):
            assert api.client.get(f"/v1/media{query}", headers=key.headers).json()["items"] == []
        assert api.client.get("/v1/namespaces", headers=key.headers).json() == {"namespaces": []}
        usage = api.client.get("/v1/usage", headers=key.headers).json()
        assert (usage["uploads_used"], usage["storage_used_bytes"], usage["verified"]) == (0, 0, False)


def test_a_stranger_changes_nothing_of_the_owner(scene: Scene) -> None:
    api, owner, image, strangers = scene.api, scene.owner, scene.image, scene.strangers
    before = state_of(api, owner, image)
    for key in strangers:
        path = f"/v1/media/{image['id']}"
        check_refusal(api.client.patch(path, json={"name": "x"}, headers=key.headers), 404, "not_found")
        check_refusal(api.client.delete(path, headers=key.headers), 404, "not_found")
        batch = {"ids": [image["id"]], "update": {"public": True}}
        assert api.client.patch("/v1/media/batch", json=batch, headers=key.headers).json() == {"updated": 0}
        deleted = api.client.request("DELETE", "/v1/media/batch", json={"namespace": "mine"}, headers=key.headers)
        assert deleted.json() == {"deleted": 0}
        # The owner's external_id is free to a stranger, who so learns nothing of it, and takes nothing away.
        assert api.upload(OTHER, key.headers, external_id="one").status_code == 201
    assert state_of(api, owner, image) == before


def test_an_owner_who_does_nothing_stays_untouched(scene: Scene) -> None:
    api, owner, image, strangers = scene.api, scene.owner, scene.image, scene.strangers
    before = state_of(api, owner, image)
    foreign = api.upload(OTHER, strangers[0].headers).json()
    for key in strangers:
        api.client.get(key.url)  # as a scanner of mail does
    assert state_of(api, owner, image) == before
    api.clock.advance(days=31)
    assert api.fetch(foreign["src"]).status_code == 404
    check_refusal(api.client.get(f"/v1/media/{image['id']}", headers=strangers[0].headers), 404, "not_found")
    assert api.client.get(f"/v1/media/{image['id']}", headers=owner.headers).json()["id"] == image["id"]


def test_confirming_is_the_owners_choice_and_told_in_full(scene: Scene) -> None:
    api, owner, image, key = scene.api, scene.owner, scene.image, scene.strangers[0]
    page = check_page(client_at(api, STRANGER).get(key.url))
    assert "can read, change and delete your 1 image" in page.text
    for fact in (key.key_id, "stranger's 0", "testclient"):
        assert fact in page.text
    check_page(answer(api, key.token, "disown"))
    assert not usable(api, key)
    assert usable(api, owner)
    assert api.client.get(f"/v1/media/{image['id']}", headers=owner.headers).status_code == 200


def test_disowning_one_leaves_the_others_and_the_owners_own(scene: Scene) -> None:
    api, owner, strangers = scene.api, scene.owner, scene.strangers
    answer(api, strangers[1].token, "disown")
    assert [usable(api, key) for key in (owner, *strangers)] == [True, True, False, True]


def test_an_owner_without_a_team_is_not_kept_from_getting_a_key(start: ApiFactory) -> None:
    """Three keys of a stranger fill the limit. The mail about them has the way out."""
    api = start(mail=MAIL)
    strangers = [ask(api) for _ in range(3)]
    refused = check_refusal(api.client.post("/v1/keys", json={"email": EMAIL}), 403, "key_limit_reached")
    token = token_of(refused["action"]["url"])
    check_page(api.client.post("/verify/resend", data={"t": token}))
    kind, recipient, details = queued_mail(api)[-1]
    assert (kind, recipient) == ("verify", EMAIL)
    assert details == {"key_ids": sorted(key.key_id for key in strangers)}
    for key in strangers:
        answer(api, key.token, "disown")
    api.clock.advance(seconds=HOUR_SECONDS)
    mine = ask(api)
    check_page(answer(api, mine.token, "confirm"))
    assert [usable(api, key) for key in (mine, *strangers)] == [True, False, False, False]


def test_an_owner_makes_keys_whatever_a_stranger_does(scene: Scene) -> None:
    """A stranger who asks for keys all the time uses up the attempts of the address, not those of its owner."""
    api, owner = scene.api, scene.owner
    stranger = client_at(api, STRANGER)
    assert [stranger.post("/v1/keys", json={"email": EMAIL}).status_code for _ in range(3)] == [403, 403, 429]
    made = api.client.post("/v1/keys", json={}, headers=owner.headers)
    assert made.status_code == 201
    assert made.json()["verified"] is True


def test_who_reads_the_mail_gets_it_again_whatever_a_stranger_does(scene: Scene) -> None:
    api, key = scene.api, scene.strangers[0]
    api.clock.advance(days=8)
    resend = token_of(resend_link(api))
    while client_at(api, STRANGER).post("/verify/resend", data={"t": resend}).status_code == 200:
        pass
    (form,) = check_page(api.client.get(key.url), 410).forms  # an old mail of the owner's
    check_page(api.client.post(form.action, data=form.hidden))
    assert len(queued_mail(api)[-1][2]["key_ids"]) == 3


def test_a_stranger_with_the_resend_link_learns_nothing(scene: Scene) -> None:
    api, owner, image, strangers = scene.api, scene.owner, scene.image, scene.strangers
    before = state_of(api, owner, image)
    url = resend_link(api)
    for shown in (api.client.get(url), api.client.post("/verify/resend", data={"t": token_of(url)})):
        page = check_page(shown)
        assert EMAIL in page.text
        for secret in (owner.key_id, *(key.key_id for key in strangers), "stranger's", "the owner's", "images"):
            assert secret not in page.text
        assert set(page.links) == {"#content", *NAVIGATION}
    assert state_of(api, owner, image) == before


def test_the_resend_link_is_no_other_link(scene: Scene) -> None:
    """A stranger who has it can neither confirm nor end a key, nor change a plan."""
    api, strangers = scene.api, scene.strangers
    token = token_of(resend_link(api))
    before = everything(api)
    check_page(api.client.get(f"/verify?t={token}"), 404)
    check_page(api.client.get(f"/upgrade/pro?t={token}"), 404)
    for choice in ("confirm", "disown"):
        check_page(answer(api, token, choice), 404)
        for key in strangers:  # the key's id is known to who made it
            made_up = {"t": token, "answer": choice, "key": key.key_id, "key_id": key.key_id, "email": EMAIL}
            check_page(api.client.post("/verify", data=made_up), 404)
    check_page(api.client.post("/upgrade/pro", data={"t": token}), 404)
    assert everything(api) == before


def test_the_link_of_a_strangers_own_address_is_not_for_the_owners_keys(start: ApiFactory) -> None:
    api = start(mail=MAIL)
    target, own = ask(api), ask(api, "stranger@example.com")
    for email, key in (("stranger@example.com", target), (EMAIL, own)):
        token = sign(api, links.VERIFY, {"key": key.key_id, "email": email})  # only the server could sign it
        check_page(api.client.get(f"/verify?t={token}"), 404)
        check_page(answer(api, token, "disown"), 404)
    assert usable(api, target)
    page = check_page(api.client.get(own.url))
    assert target.key_id not in page.text


def told_by(answer: Any) -> tuple[int, list[str], str]:
    """What an answer tells a stranger: without what is new in each, such as a key, a token or the request's id."""
    headers = sorted(set(answer.headers) - {"content-length"})
    text = re.sub(r'"(key|key_id)":"[^"]*"|value="[^"]*"|t=[^"]*', "", answer.text)
    return answer.status_code, headers, text


def test_a_stranger_cannot_learn_whether_an_address_has_an_account(start: ApiFactory) -> None:
    """Neither from making keys, nor from the limits, nor from the page that mails it again."""
    api = start(mail=MAIL, limits={"keys_per_ip_per_hour": 0})
    owner = ask(api, "with-account@example.com")
    answer(api, owner.token, "confirm")
    api.upload(PICTURE, owner.headers)
    stranger, told = client_at(api, STRANGER), {}
    for email in ("with-account@example.com", "nobody-there@example.com"):
        api.clock.advance(seconds=HOUR_SECONDS)
        answers = [stranger.post("/v1/keys", json={"email": email}) for _ in range(6)]
        link = path_of(answers[3].json()["action"]["url"])
        api.clock.advance(seconds=HOUR_SECONDS)
        answers += [stranger.get(link)]
        answers += [stranger.post("/verify/resend", data={"t": token_of(link)}) for _ in range(6)]
        told[email] = [told_by(one) for one in answers]
    with_account, without = told.values()
    assert [status for status, *_ in with_account] == [201, 201, 201, 403, 403, 429, 200, *[200] * 5, 429]
    assert str(with_account).replace("with-account", "nobody-there") == str(without)
