"""`imgpro-lite pull` from a server that says and sends whatever may do harm: nothing of it does."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore2
import pytest
from click.testing import Result
from facade import Ask, Facade, Reply, facade
from library import picture
from transfers import Site, refusal, run_transfer, site

from imgpro_lite.client.transfer.errors import Unusable
from imgpro_lite.client.transfer.images import parse_image
from imgpro_lite.client.transfer.reach import Reach
from imgpro_lite.errors import FetchFailed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("near")) as server:
        yield server


@pytest.fixture
def near(server: Site) -> Site:
    return server.team()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgpro_lite.client.transfer.patience.FIRST_PAUSE_SECONDS", 0.001)


USAGE = {"plan": "free", "verified": True, "uploads_remaining": None}
PNG = picture(0)


class Hostile:
    """A source that may say anything of its images, and send anything as their bytes."""

    def __init__(self, front: Facade) -> None:
        self.front = front
        self.images: dict[str, dict[str, Any]] = {}
        self.bytes: dict[str, Reply] = {}
        self.page: Any = None
        front.before = self.answer

    def add(self, reply: Reply | None = None, **fields: Any) -> str:
        """An image, as it should be but for these fields: its id."""
        number = len(self.images)
        media_id = f"abc{number}"
        src = f"{self.front.url}/t0000/{media_id}.png"
        self.images[media_id] = {
            "id": media_id,
            "name": "photo.png",
            "url": "",
            "src": src,
            "width": 4,
            "height": 3,
            "public": True,
            "filesize": len(PNG),
            "tags": [],
            "namespace": None,
            "created_at": 1_700_000_000 + number,
            **fields,
        }
        self.bytes[src.removeprefix(self.front.url)] = reply or Reply(200, PNG, {"Content-Type": "image/png"})
        return media_id

    def answer(self, ask: Ask) -> Reply:
        path = ask.path.partition("?")[0]
        if path == "/v1/usage":
            return Reply(200, USAGE)
        if path == "/v1/media":
            items = [{"id": media_id, "created_at": 1, "filesize": 3} for media_id in self.images]
            return Reply(200, self.page or {"items": items, "cursor": None, "has_more": False})
        if image := self.images.get(path.removeprefix("/v1/media/")):
            return Reply(200, image)
        return self.bytes.get(path) or Reply(404, {"error": "not_found"})


@pytest.fixture
def evil() -> Iterator[Facade]:
    with facade() as front:
        yield front


def pull_from(evil: Facade, near: Site, state: Path, *arguments: str) -> Result:
    where = ("--from", evil.url, "--key", "img_live_far", "--server", near.url, "--server-key", near.key)
    return run_transfer("pull", *where, *arguments, state=state)


def test_a_source_that_behaves(evil: Facade, near: Site, tmp_path: Path) -> None:
    """So that the cases below fail for what is wrong with each."""
    Hostile(evil).add(name="\x1b[31m\u202ered", tags=None)
    result = pull_from(evil, near, tmp_path)
    assert (result.exit_code, near.names()) == (0, ["[31mred"])
    for ask in evil.asked:
        assert ("Authorization" in ask.headers) == ask.path.startswith("/v1/")


def test_what_ends_within_the_hour_is_left_out(evil: Facade, near: Site, tmp_path: Path) -> None:
    source = Hostile(evil)
    ends = source.add(expires_at=int(time.time()) + 1800)
    source.add(name="stays")
    result = pull_from(evil, near, tmp_path)
    assert (result.exit_code, near.names()) == (0, ["stays"])
    assert f"{ends}: skipped: it ends within the hour" in result.stderr


# What a source says of an image, and what is said of that.
NO_IMAGES: list[tuple[dict[str, Any], str]] = [
    ({"src": "file:///etc/passwd"}, "not http or https"),
    ({"src": "http://user:word@127.0.0.1/a.png"}, "user name or password"),
    ({"src": "/t0000/abc123.png"}, "not http or https"),
    ({"src": 7}, "a src that is none"),
    ({"src": "http://127.0.0.1:9/a\r\nX: y.png"}, "control characters"),
    ({"filesize": 2**60}, "filesize that is no whole number"),
    ({"filesize": 2**40}, "no size of an image"),
    ({"filesize": -1}, "no size of an image"),
    ({"filesize": len(PNG) + 1}, "cannot be had"),
    ({"filesize": "12"}, "filesize that is no whole number"),
    ({"name": ["x"]}, "a name that is none"),
    ({"name": "x" * 100_000}, "a name that is none"),
    ({"tags": [1]}, "tags that are none"),
    ({"public": "false"}, "whether the image is public"),
    ({"created_at": True}, "created_at that is no whole number"),
    ({"id": "abc/../123"}, "usable id"),
    ({"id": "another"}, "another image"),
    ({"x": float("nan")}, "cannot be sent on"),
    ({"x": "\ud800"}, "cannot be sent on"),
    ({"x": "y" * 20_000}, "metadata"),
    ({"name": "\ud800"}, "cannot be sent on"),
]

# What is at the address of an image.
NO_BYTES = [
    (Reply(200, b"<html>no picture</html>"), "cannot be had"),
    (Reply(200, b"x" * len(PNG)), "no png"),
    (Reply(200, PNG + b"x"), "cannot be had"),
    (Reply(404, b""), "answers 404"),
    (Reply(302, b"", {"Location": "file:///etc/passwd"}), "not http or https"),
    (Reply(302, b"", {"Location": "/t0000/again.png"}), "redirects"),
    (Reply(503, b"", {"Retry-After": "99999"}), "answers 503"),
    (Reply(500, b""), "answers 500"),
    (Reply(0), "cannot be fetched"),
]


def test_images_that_are_none(evil: Facade, near: Site, tmp_path: Path) -> None:
    """Each is told with its reason, and the one that is as it should be is copied."""
    source = Hostile(evil)
    told = {source.add(**fields): words for fields, words in NO_IMAGES}
    told |= {source.add(reply): words for reply, words in NO_BYTES}
    source.bytes["/t0000/again.png"] = Reply(302, b"", {"Location": "/t0000/again.png"})
    source.add(name="good")
    result = pull_from(evil, near, tmp_path)
    assert isinstance(result.exception, SystemExit), result.exception
    assert f"1 copied, {len(told)} failed" in result.stderr
    for media_id, words in told.items():
        (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"{media_id}: failed: ")]
        assert words in line
        assert len(line) < 500
    assert near.names() == ["good"]


def test_fields_that_turn_bad(evil: Facade, near: Site, tmp_path: Path) -> None:
    source = Hostile(evil)
    media_id, other = source.add(), source.add()
    assert pull_from(evil, near, tmp_path).exit_code == 0
    source.images[media_id]["x"], source.images[other]["x"] = float("nan"), "\ud800"
    result = pull_from(evil, near, tmp_path, "--update")
    assert (result.stderr.count("cannot be sent on"), "2 failed" in result.stderr) == (2, True)


def test_what_browsers_are_shown_instead_of_an_original(evil: Facade, near: Site, tmp_path: Path) -> None:
    """Only where it is asked for, and only where the original cannot be had."""
    source = Hostile(evil)
    source.add(filesize=len(PNG) + 1, name="IMG_1.HEIC")
    source.add(name="2.heic")
    assert "1 copied, 1 failed" in pull_from(evil, near, tmp_path).stderr
    assert "1 copied, 1 already there" in pull_from(evil, near, tmp_path, "--take-converted").stderr
    assert [image["filesize"] for image in near.images()] == [len(PNG), len(PNG)]


def item(number: int) -> dict[str, Any]:
    return {"id": f"abc{number}", "created_at": 1, "filesize": 1}


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ({"items": [item(1)], "cursor": "same", "has_more": True}, "without an end"),
        (b"x" * (5 * 1024 * 1024), "an answer without end"),
        ({"items": [{"id": "a/b"}], "cursor": None}, "usable id"),
        *[
            pytest.param(page, told, marks=pytest.mark.slow)
            for page, told in (
                ({"items": [], "cursor": "next", "has_more": True}, "without an end"),
                ({"items": [item(1)], "cursor": ["x"], "has_more": True}, "without an end"),
                ({"items": "none"}, "does not list"),
                (["x"], "does not list"),
                (b"[" * 100_000, "does not list"),
                ({"items": [{"id": None}], "cursor": None}, "usable id"),
            )
        ],
    ],
)
def test_a_list_that_is_none(evil: Facade, near: Site, tmp_path: Path, page: Any, told: str) -> None:
    Hostile(evil).page = page
    assert told in refusal(pull_from(evil, near, tmp_path))
    assert near.images() == []


@pytest.mark.parametrize(("has_new", "told"), [(False, "without an end"), (True, "only 5 images on 5 pages")])
def test_pages_without_an_end(
    evil: Facade, near: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_new: bool, told: str
) -> None:
    """Another cursor each time, and always the same image, or one more."""
    monkeypatch.setattr("imgpro_lite.client.transfer.sides.MAX_THIN_PAGES", 4)
    source = Hostile(evil)
    numbers = iter(range(100))

    def before(ask: Ask) -> Reply:
        number = next(numbers)
        source.page = {"items": [item(number * has_new)], "cursor": f"c{number}", "has_more": True}
        return source.answer(ask)

    evil.before = before
    assert told in refusal(pull_from(evil, near, tmp_path))


def test_a_redirect_of_the_api_gets_no_key(evil: Facade, near: Site, tmp_path: Path) -> None:
    with facade() as other:
        evil.before = lambda ask: Reply(301, b"", {"Location": f"{other.url}/v1/usage"})
        assert f"a redirect to {other.url}/v1/usage" in refusal(pull_from(evil, near, tmp_path))
        assert other.asked == []


def test_a_site_that_is_no_api(evil: Facade, near: Site, tmp_path: Path) -> None:
    evil.before = lambda ask: Reply(200, b"<html>")
    assert "does not answer as a server of this API" in refusal(pull_from(evil, near, tmp_path))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "10.0.0.1", "169.254.169.254"])
def test_a_public_server_cannot_lead_inside(host: str) -> None:
    """Nothing is dialled: addresses are numbers, and that of the API is only looked at."""
    with pytest.raises(FetchFailed) as failed:
        Reach("https://8.8.8.8").connect_tcp(host, 9, timeout=1)
    assert "not on the public internet" in failed.value.reason


def test_a_server_inside_may_name_another_one_there() -> None:
    for api in ("http://127.0.0.1:4647", "http://localhost"):
        with pytest.raises((httpcore2.ConnectError, httpcore2.ConnectTimeout)):
            Reach(api).connect_tcp("localhost", 9, timeout=1)


def test_fields_that_are_metadata() -> None:
    body = {"id": "a", "width": 1, "height": 1, "filesize": 1, "created_at": 1, "upgrade": {}, "status": 1, "mine": 2}
    assert parse_image(body).metadata == {"mine": 2}
    with pytest.raises(Unusable):
        parse_image({**body, "id": "a" * 65})
