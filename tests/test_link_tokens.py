"""Signed links as strangers may change them: nothing but the link itself opens its page or does anything."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from pages import EMAIL, MAIL, answer, ask, check_page, everything, sign
from running import until
from shared import serve

from imgpro_lite import links
from imgpro_lite.store.data_dir import rotate_secrets

PURPOSES = {"/verify": links.VERIFY, "/verify/resend": links.VERIFY_RESEND, "/upgrade/pro": links.UPGRADE}
PATHS = list(PURPOSES)
NOT_FOUND = "There is nothing at this address. If you followed a link, make sure that you have the whole of it."
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass
class Links:
    """A server with one good token for each page, and what they are made of."""

    api: Api
    payloads: dict[str, dict[str, Any]]
    tokens: dict[str, str]

    def get(self, path: str, token: str) -> Any:
        return self.api.client.get(f"{path}?t={quote(token)}")

    def post(self, path: str, token: str) -> Any:
        return self.api.client.post(path, data={"t": token, "answer": "confirm"})

    def check_useless(self, path: str, token: str) -> None:
        """A page that tells nothing, and nothing done."""
        for answered in (self.get(path, token), self.post(path, token)):
            page = check_page(answered, 404)
            assert (page.heading, NOT_FOUND in page.text) == ("Not found", True)
            assert EMAIL not in answered.text


def make_links(api: Api) -> Links:
    key = ask(api)
    team = api.upload(make_image("png", 4, 3), key.headers).json()["src"].split("/")[3]
    payloads: dict[str, dict[str, Any]] = {
        "/verify": {"key": key.key_id, "email": EMAIL},
        "/verify/resend": {"email": EMAIL},
        "/upgrade/pro": {"team": team, "plan": "pro"},
    }
    return Links(api, payloads, {path: sign(api, PURPOSES[path], payloads[path]) for path in PATHS})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Links]:
    with serve(tmp_path_factory.mktemp("shared"), mail=MAIL) as api:
        yield make_links(api)


@pytest.fixture
def fresh(start: ApiFactory) -> Links:
    return make_links(start(mail=MAIL))


@pytest.mark.parametrize("path", PATHS)
def test_the_good_tokens_are_good(shared: Links, path: str) -> None:
    """Or the tests below would prove nothing."""
    check_page(shared.get(path, shared.tokens[path]))


@pytest.mark.parametrize("path", PATHS)
def test_every_character_counts(shared: Links, path: str) -> None:
    """Of the last one, base64 ignores two bits: four spellings are one token, which means the same."""
    token = shared.tokens[path]
    before = everything(shared.api)
    for place, char in enumerate(token[:-1]):
        other = BASE64[(BASE64.find(char) + 1 + secrets.randbelow(62)) % 64]
        check_page(shared.get(path, token[:place] + other + token[place + 1 :]), 404)
    same = [char for char in BASE64 if shared.get(path, token[:-1] + char).status_code == 200]
    assert token[-1] in same
    assert len(same) == 4
    assert everything(shared.api) == before


@pytest.mark.parametrize("path", PATHS)
def test_tokens_that_are_nearly_right(shared: Links, path: str) -> None:
    token = shared.tokens[path]
    payload, time, signature = token.split(".")
    before = everything(shared.api)
    nearly = [
        "",
        ".",
        "..",
        token[:-1],
        token[1:],
        token + "A",
        token + "\n",
        " " + token,
        token.lower(),
        token.replace(".", "%2E"),
        f"{payload}.{time}",
        f"{payload}..{signature}",
        f".{time}.{signature}",
        f"{payload}.{time}.",
        f"{payload}.{signature}",
        f"{payload}.{time}.{time}.{signature}",
        f"{payload}.AAAAAA.{signature}",
        f".{payload}.{time}.{signature}",
        "\x00",
        "🙂",
        "é" * 300,
        "A" * 3000,
        "' OR 1=1 --",
    ]
    for other in nearly:
        check_page(shared.get(path, other), 404)
        check_page(shared.post(path, other), 404)
    assert everything(shared.api) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_padded_token_does_nothing_that_the_token_does_not(shared: Links, path: str) -> None:
    def told(token: str) -> str:
        return str(shared.get(path, token).text.replace("=", ""))

    for padding in ("=", "==", "==="):
        assert told(shared.tokens[path] + padding) == told(shared.tokens[path])


@pytest.mark.parametrize("path", PATHS)
def test_a_token_of_another_purpose(shared: Links, path: str) -> None:
    before = everything(shared.api)
    for other in PATHS:
        if other != path:
            shared.check_useless(path, shared.tokens[other])
            # The right contents, signed for something else.
            shared.check_useless(path, sign(shared.api, PURPOSES[other], shared.payloads[path]))
    made: links.Links = shared.api.client.app.state.runtime.links
    shared.check_useless(path, sign(shared.api, links.CURSOR, shared.payloads[path]))
    shared.check_useless(path, made.seal(PURPOSES[path], shared.payloads[path]))  # one that would never end
    assert everything(shared.api) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_token_of_another_server(shared: Links, path: str) -> None:
    """Even one that knows how we sign, and everything but the secret."""
    foreign = links.Links([links.Secret(secrets.token_hex(32))], shared.api.clock)
    shared.check_useless(path, foreign.sign(PURPOSES[path], shared.payloads[path]))


def test_a_token_of_another_plan(shared: Links) -> None:
    for path in ("/upgrade/max", "/upgrade/free", "/upgrade/owner", "/upgrade/PRO", "/upgrade/pro%20"):
        shared.check_useless(path, shared.tokens["/upgrade/pro"])


@pytest.mark.parametrize("path", PATHS)
def test_a_token_twice_or_in_the_wrong_place(shared: Links, path: str) -> None:
    token, client = shared.tokens[path], shared.api.client
    before = everything(shared.api)
    check_page(client.get(f"{path}?t={token}&t={token}"), 404)
    check_page(client.get(path, headers={"Authorization": f"Bearer {token}", "Cookie": f"t={token}"}), 404)
    check_page(client.post(f"{path}?t={token}", data={"answer": "confirm"}), 404)  # acts on the form only
    check_page(client.post(path, content=f"t={token}&t={token}&answer=confirm", headers=FORM), 400)
    assert everything(shared.api) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_link_ends_after_seven_days(fresh: Links, path: str) -> None:
    api, token = fresh.api, fresh.tokens[path]
    api.clock.advance(days=7)
    check_page(fresh.get(path, token))
    api.clock.advance(seconds=1)
    before = everything(api)
    for answered in (fresh.get(path, token), fresh.post(path, token)):
        assert check_page(answered, 410).heading == "This link has expired"
    check_page(fresh.get(path, token[:-9] + token[-9:].swapcase()), 404)  # only a good one is told to be old
    assert everything(api) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_link_from_the_future_is_not_good(fresh: Links, path: str) -> None:
    """Nobody can say how old it is, when the clock was set back."""
    fresh.api.clock.advance(seconds=-1)
    fresh.check_useless(path, fresh.tokens[path])
    fresh.api.clock.advance(seconds=1)
    check_page(fresh.get(path, fresh.tokens[path]))


@pytest.mark.parametrize("path", PATHS)
def test_secrets_that_are_rotated(fresh: Links, path: str, clock: FakeClock) -> None:
    def renew(*, forget_old: bool) -> tuple[str, list[links.Secret]]:
        """Rotate, and a token that the server signs once it has noticed, with the secrets that are in force then."""
        secrets_now = rotate_secrets(fresh.api.data_dir, clock.now(), forget_old=forget_old)

        def signed_anew() -> str | None:
            token = sign(fresh.api, PURPOSES[path], fresh.payloads[path])
            return token if is_good(secrets_now[-1], token) else None

        return until(signed_anew), secrets_now

    def is_good(secret: links.Secret, token: str) -> bool:
        try:
            return links.Links([secret], clock).load(PURPOSES[path], token) == fresh.payloads[path]
        except links.InvalidLink:
            return False

    renewed, (old, _) = renew(forget_old=False)
    assert not is_good(old, renewed)
    check_page(fresh.get(path, fresh.tokens[path]))  # given out before
    check_page(fresh.post(path, fresh.tokens[path]))
    latest, _ = renew(forget_old=True)
    check_page(fresh.get(path, latest))
    fresh.check_useless(path, fresh.tokens[path])


def test_a_link_that_is_used_again(fresh: Links) -> None:
    """Confirming and asking are done once, however often, and in whichever spelling, the link is used."""
    token = fresh.tokens["/verify"]
    check_page(fresh.post("/verify", token))
    check_page(fresh.post("/upgrade/pro", fresh.tokens["/upgrade/pro"]))
    before = everything(fresh.api)
    for char in BASE64:
        fresh.post("/verify", token[:-1] + char)
        answer(fresh.api, token[:-1] + char, "disown")
        fresh.post("/upgrade/pro", fresh.tokens["/upgrade/pro"][:-1] + char)
    assert everything(fresh.api) == before
