"""`imgpro-lite push` and `pull` when lines break, processes are killed, and servers are busy."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from facade import Ask, Facade, Reply, facade
from images import make_image
from library import picture
from running import command, environment
from transfers import CONTRACT_FIELDS, Site, push, run_transfer, site

from imgpro_lite.client.transfer import journal as journals
from imgpro_lite.errors import OperatorError


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    with site(tmp_path_factory.mktemp("near")) as near, site(tmp_path_factory.mktemp("far")) as far:
        yield near, far


@pytest.fixture
def near(sites: tuple[Site, Site]) -> Site:
    return sites[0].team()


@pytest.fixture
def far(sites: tuple[Site, Site]) -> Site:
    return sites[1].team()


@pytest.fixture
def front(far: Site) -> Iterator[Facade]:
    """What stands between the command and the destination."""
    with facade(far.url) as front:
        yield front


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgpro_lite.client.transfer.patience.FIRST_PAUSE_SECONDS", 0.001)


def add_some(place: Site, count: int, **fields: str) -> list[str]:
    """Images of different sizes: their names, the newest first."""
    return [place.add(picture(number), name=f"{number}", **fields)["name"] for number in range(count)][::-1]


# ── broken lines and kills ──


@pytest.mark.parametrize("lost", [Reply(0), pytest.param(Reply(502, b""), marks=pytest.mark.slow)])
def test_an_upload_that_arrived_without_its_answer(
    near: Site, far: Site, front: Facade, tmp_path: Path, lost: Reply
) -> None:
    """Nothing is doubled, not even one of two pictures that are alike in everything."""
    names = add_some(near, 3)
    near.add(picture(0), name="0")
    near.add(picture(3), name="3", external_id="x")
    replies = iter([None, lost, None, lost, lost])
    front.after = lambda ask, reply: (next(replies, None) if ask.is_upload else None) or reply
    result = push(near, far, tmp_path, url=front.url)
    assert result.exit_code == 0, result.stderr
    assert "5 copied" in result.stderr
    assert far.names() == ["3", "0", *names]


def shrinking(ask: Ask, reply: Reply) -> Reply:
    """A destination that takes metadata out: what it stores is smaller than what was sent."""
    images = [reply.body, *reply.body.get("items", [])] if isinstance(reply.body, dict) else []
    for image in images:
        if "filesize" in image:
            image["filesize"] -= 1
    return reply


def test_a_destination_that_takes_metadata_out(near: Site, far: Site, front: Facade, tmp_path: Path) -> None:
    """What arrived without its answer is known by all else; of two that are alike, none is taken for the other."""
    names = add_some(near, 2, tags="b,a", namespace="ns")
    lost = iter([Reply(0), None])
    front.after = lambda ask, reply: (next(lost, None) if ask.is_upload else None) or shrinking(ask, reply)
    far.add(picture(0), name="0", namespace="ns")  # without its tags
    far.add(picture(0), name="0", namespace="ns", tags="a,b", external_id="x")
    result = push(near, far, tmp_path, url=front.url)
    assert (result.exit_code, "another size" in result.stderr) == (0, True)
    assert far.names() == [*names, "0", "0"]


def test_two_that_may_be_meant(near: Site, far: Site, front: Facade, tmp_path: Path) -> None:
    """Nothing is left out, even where another program has uploaded one that is alike."""
    add_some(near, 1)
    far.add(make_image("png", 4, 3), name="0")
    lost = iter([Reply(0)])
    front.after = lambda ask, reply: (next(lost, None) if ask.is_upload else None) or shrinking(ask, reply)
    assert push(near, far, tmp_path, url=front.url).exit_code == 0
    assert far.names() == ["0", "0", "0"]


def test_an_upload_that_did_not_arrive(near: Site, far: Site, front: Facade, tmp_path: Path) -> None:
    names = add_some(near, 2)
    replies = iter([Reply(0), Reply(0)])
    front.before = lambda ask: next(replies, None) if ask.is_upload else None
    assert push(near, far, tmp_path, url=front.url).exit_code == 0
    assert far.names() == names


def start_push(near: Site, key: str, url: str, state: Path) -> "subprocess.Popen[str]":
    keys = {"IMGPRO_KEY": near.key, "IMGPRO_FAR_KEY": key, "XDG_STATE_HOME": str(state)}
    return subprocess.Popen(
        command("push", "--server", near.url, "--to", url),
        cwd=state,
        env=environment() | keys,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("number", "arrives"),
    [
        (signal.SIGKILL, True),
        pytest.param(signal.SIGKILL, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, True, marks=pytest.mark.slow),
    ],
)
def test_it_is_ended_in_the_middle(
    near: Site, far: Site, front: Facade, tmp_path: Path, number: int, arrives: bool
) -> None:
    """Between the 201 and the line of the journal, or before the upload has arrived."""
    names = add_some(near, 4)
    uploads: list[Ask] = []
    ended: list[int] = []

    def end(ask: Ask) -> None:
        uploads.append(ask)
        if len(uploads) == 3:
            pushing.send_signal(number)
            if number == signal.SIGKILL:
                ended.append(pushing.wait(30))
            else:
                time.sleep(0.2)  # in which Ctrl-C is heard; the upload goes on to its end

    def before(ask: Ask) -> Reply | None:
        if ask.is_upload and not arrives:
            end(ask)
        return Reply(0) if ended else None

    def after(ask: Ask, reply: Reply) -> Reply:
        if ask.is_upload and arrives:
            end(ask)
        return reply

    front.before, front.after = before, after
    pushing = start_push(near, far.key, front.url, tmp_path)
    with pushing:
        assert pushing.stderr is not None
        problems = pushing.stderr.read()
    assert pushing.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in problems
    if number == signal.SIGINT:
        assert "3 copied, 1 not tried" in problems
    front.before, front.after = lambda ask: None, lambda ask, reply: reply
    result = push(near, far, tmp_path, url=front.url)
    assert result.exit_code == 0, result.output
    if number == signal.SIGKILL:
        assert f"when the last run ended: 1; arrived: {int(arrives)}" in result.stderr
    assert far.names() == names


def test_a_journal_that_was_cut_off(near: Site, far: Site, tmp_path: Path) -> None:
    names = add_some(near, 2)
    assert push(near, far, tmp_path).exit_code == 0
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-7])  # within the last line, which says that the second one is there
    result = push(near, far, tmp_path)
    assert "when the last run ended: 1; arrived: 1" in result.stderr
    assert "2 already there" in result.stderr
    assert far.names() == names
    assert all(json.loads(line) for line in path.read_text().splitlines() if not line.startswith('{"done"'))


def test_two_at_the_same_time(tmp_path: Path) -> None:
    first = journals.Journal(tmp_path / "j", "http://a", "http://b")
    with pytest.raises(OperatorError, match="Another transfer"):
        journals.Journal(tmp_path / "j", "http://a", "http://b")
    first.close()
    journals.Journal(tmp_path / "j", "http://a", "http://b").close()
    assert not (tmp_path / "j").exists()  # nothing was noted


# ── busy servers, and the hosted one ──


LIMITED = {"error": "rate_limited", "message": "x", "action": {"type": "wait", "seconds": 1}}


@pytest.mark.parametrize(
    "busy", [Reply(429, LIMITED), pytest.param(Reply(503, b"", {"Retry-After": "1"}), marks=pytest.mark.slow)]
)
def test_a_server_that_asks_to_wait(near: Site, far: Site, front: Facade, tmp_path: Path, busy: Reply) -> None:
    names = add_some(near, 2)
    replies = iter([busy])
    front.before = lambda ask: next(replies, None) if ask.is_upload else None
    result = push(near, far, tmp_path, url=front.url)
    assert (result.exit_code, result.stderr.count("A server asks to wait 1 s.")) == (0, 1)
    assert far.names() == names


QUOTA = {"error": "quota_exceeded", "message": "Full.", "action": {"type": "upgrade", "url": "https://u"}}


@pytest.mark.parametrize(
    ("reply", "told", "not_tried"),
    [
        (Reply(429, {"message": "Come tomorrow", "action": {"seconds": 10**30}}), "Come tomorrow", 1),
        pytest.param(Reply(413, QUOTA), "https://u", 1, marks=pytest.mark.slow),
        pytest.param(Reply(413, b"<html>nginx</html>"), "the server answered 413", 0, marks=pytest.mark.slow),
        pytest.param(Reply(422, {"message": "No\x1b[2J such"}), "No\\x1b[2J such", 0, marks=pytest.mark.slow),
        pytest.param(Reply(201, {"id": "../../x"}), "without a usable id", 0, marks=pytest.mark.slow),
    ],
)
def test_a_destination_that_refuses(
    near: Site, far: Site, front: Facade, tmp_path: Path, reply: Reply, told: str, not_tried: int
) -> None:
    add_some(near, 3)
    front.before = lambda ask: reply if ask.is_upload and b'name="name"\r\n\r\n1\r\n' in ask.body else None
    result = push(near, far, tmp_path, "--parallel", "1", url=front.url)
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (1, True)
    assert told in result.stderr
    assert ("1 not tried" in result.stderr) == bool(not_tried)
    assert far.names() == (["0"] if not_tried else ["2", "0"])
    front.before = lambda ask: None
    assert push(near, far, tmp_path, url=front.url).exit_code == 0
    assert len(far.images()) == 3


def hosted(ask: Ask, reply: Reply) -> Reply:
    """An answer with the contract's fields only, and metadata."""

    def strip(value: dict[str, Any]) -> dict[str, Any]:
        ours = {"date", "external_id", "expires_at"}
        return {name: field for name, field in value.items() if name not in ours}

    if isinstance(reply.body, dict) and "/v1/media" in ask.path and ask.method == "GET":
        reply.body = strip(reply.body)
        if "items" in reply.body:
            reply.body["items"] = [
                {name: value for name, value in item.items() if name in CONTRACT_FIELDS.split()}
                for item in reply.body["items"]
            ]
    return reply


def test_the_hosted_service_and_back(near: Site, far: Site, front: Facade, tmp_path: Path) -> None:
    """Only what the contract promises, and no key for image bytes, which are at a host of their own there."""
    front.after = hosted
    far.add(picture(1), name="1", tags="a,b", namespace="ns", author="A")
    near.add(picture(2), name="2", external_id="x")
    where = ("--server", near.url, "--server-key", near.key, "--key", far.key)
    assert run_transfer("pull", *where, "--from", front.url, state=tmp_path).exit_code == 0
    (image, _) = near.images()
    assert (image["name"], image["tags"], image["namespace"], image["author"]) == ("1", ["a", "b"], "ns", "A")
    front.asked.clear()
    lost = iter([Reply(0)])
    front.after = lambda ask, reply: next(lost, reply) if ask.is_upload else hosted(ask, reply)
    near.ask("DELETE", f"/v1/media/{image['id']}")
    assert run_transfer("push", *where, "--to", front.url, state=tmp_path).exit_code == 0
    assert far.names() == ["2", "1"]
    assert {ask.path.partition("?")[0] for ask in front.asked} <= {"/v1/usage", "/v1/upload", "/v1/media"}


def test_nothing_is_left_in_the_temporary_directory(
    near: Site, far: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    add_some(near, 2)
    assert push(near, far, tmp_path).exit_code == 0
    assert list(folder.iterdir()) == []
