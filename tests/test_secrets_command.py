"""`imgpro-lite secrets rotate`: a new secret signs, and older ones verify until their links have ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Api
from library import add, list_ids, list_page, somebody
from running import until
from wire import check_refusal

from imgpro_lite import links
from imgpro_lite.cli.main import cli
from imgpro_lite.errors import OperatorError
from imgpro_lite.links import LINK_SECONDS, UPGRADE, InvalidLink, Links, Secret
from imgpro_lite.store.data_dir import load_secrets, read_secrets, rotate_secrets

NOW = 1_700_000_000
PAYLOAD = {"team": 2, "plan": "pro"}

# What a command does over and over, until it is killed.
ROTATE_FOREVER = """
import sys
from pathlib import Path
from imgpro_lite.store.data_dir import rotate_secrets
print("begun", flush=True)
while True:
    rotate_secrets(Path(sys.argv[1]), 1_700_000_000, forget_old=False)
"""


def rotate(data_dir: Path, *options: str) -> str:
    """The command, which must succeed: what it prints."""
    arguments = ["secrets", "rotate", "--data-dir", str(data_dir), *options]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def links_of(api: Api) -> Links:
    """How the running server makes and checks links."""
    app: Any = api.client.app
    found: Links = app.state.runtime.links
    return found


def is_good(checker: Links, token: str) -> bool:
    try:
        return checker.load(UPGRADE, token) == PAYLOAD
    except InvalidLink:
        return False


def file_of(data_dir: Path) -> list[str]:
    return (data_dir / "secret").read_text("ascii").splitlines()


@pytest.fixture
def api(api: Api) -> Api:
    """A server whose clock shows the time that commands have, which are outside of it."""
    api.clock.at = int(time.time())
    return api


# ── beside a running server ──


def test_the_running_server_signs_with_the_new_secret_and_takes_links_of_the_old(api: Api) -> None:
    before = links_of(api).sign(UPGRADE, PAYLOAD)
    told = rotate(api.data_dir)
    assert "still verifies, until" in told
    old, new = read_secrets(api.data_dir)
    after = links_of(api).sign(UPGRADE, PAYLOAD)  # the command waits until the server has noticed
    assert is_good(links_of(api), before)
    assert is_good(links_of(api), after)
    assert is_good(Links([Secret(new.text)], api.clock), after)
    assert not is_good(Links([Secret(old.text)], api.clock), after)


def test_an_old_link_is_good_until_it_ends_and_then_the_old_secret_is_not(api: Api) -> None:
    rotate(api.data_dir)
    old, _ = read_secrets(api.data_dir)
    assert old.retired_at is not None
    whoever_has_it = Links([Secret(old.text)], api.clock)
    api.clock.at = old.retired_at
    link = whoever_has_it.sign(UPGRADE, PAYLOAD)
    api.clock.at = old.retired_at + LINK_SECONDS
    assert is_good(links_of(api), link)
    assert is_good(links_of(api), whoever_has_it.sign(UPGRADE, PAYLOAD))
    api.clock.advance(seconds=1)
    assert not is_good(links_of(api), link)
    # A link that claims to be new, by somebody who has found the old secret.
    assert not is_good(links_of(api), whoever_has_it.sign(UPGRADE, PAYLOAD))
    assert is_good(links_of(api), links_of(api).sign(UPGRADE, PAYLOAD))


def test_a_cursor_of_before(api: Api) -> None:
    headers = somebody(api)
    ids = [add(api, headers)["id"] for _ in range(3)][::-1]
    cursor = list_page(api, headers, limit=1)["cursor"]
    rotate(api.data_dir)
    page = list_page(api, headers, limit=2, cursor=cursor)
    assert [item["id"] for item in page["items"]] == ids[1:]
    assert list_ids(api, headers, limit=1) == ids  # pages that the new secret signs
    api.clock.advance(seconds=LINK_SECONDS + 60)
    answer = api.client.get("/v1/media", headers=headers, params={"cursor": cursor})
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == ["cursor"]


def test_two_rotations(api: Api) -> None:
    first = links_of(api).sign(UPGRADE, PAYLOAD)
    rotate(api.data_dir)
    second = links_of(api).sign(UPGRADE, PAYLOAD)
    rotate(api.data_dir)
    third = links_of(api).sign(UPGRADE, PAYLOAD)
    assert len(file_of(api.data_dir)) == 3
    assert [is_good(links_of(api), link) for link in (first, second, third)] == [True, True, True]


def test_a_leaked_secret_is_forgotten_at_once(api: Api) -> None:
    headers = somebody(api)
    for _ in range(2):
        add(api, headers)
    rotate(api.data_dir)
    link, cursor = links_of(api).sign(UPGRADE, PAYLOAD), list_page(api, headers, limit=1)["cursor"]
    assert "no longer good" in rotate(api.data_dir, "--forget-old")
    assert len(file_of(api.data_dir)) == 1
    assert not is_good(links_of(api), link)
    answer = api.client.get("/v1/media", headers=headers, params={"cursor": cursor})
    check_refusal(answer, 422, "validation_error")
    assert is_good(links_of(api), links_of(api).sign(UPGRADE, PAYLOAD))
    assert len(list_ids(api, headers, limit=1)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"x retired soon\n", b"\xff\xfe \x00\n", None])
def test_a_file_that_breaks_changes_nothing_for_the_running_server(api: Api, content: bytes | None) -> None:
    link = links_of(api).sign(UPGRADE, PAYLOAD)
    path = api.data_dir / "secret"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        with pytest.raises(OperatorError, match="Restore it from a backup"):
            load_secrets(api.data_dir)
    time.sleep(0.5)  # longer than it takes to notice
    assert is_good(links_of(api), link)
    other = Links([Secret("another")], api.clock).sign(UPGRADE, PAYLOAD)
    path.write_bytes(whole + b"another\n")
    until(lambda: is_good(links_of(api), other))
    assert is_good(links_of(api), link)


# ── the file ──


def test_the_file_of_earlier_versions(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("first\nsecond\n")
    assert load_secrets(tmp_path) == [Secret("first"), Secret("second")]
    rotated = rotate_secrets(tmp_path, NOW, forget_old=False)
    assert rotated[:2] == [Secret("first", NOW), Secret("second", NOW)]
    assert read_secrets(tmp_path) == rotated
    assert file_of(tmp_path)[:2] == [f"first retired {NOW}", f"second retired {NOW}"]
    assert len(bytes.fromhex(rotated[2].text)) == 32


def test_a_rotation_removes_what_has_ended(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"gone retired {NOW - LINK_SECONDS - 1}\nkept retired {NOW - LINK_SECONDS}\nnow\n")
    rotated = rotate_secrets(tmp_path, NOW, forget_old=False)
    assert rotated[:2] == [Secret("kept", NOW - LINK_SECONDS), Secret("now", NOW)]
    assert len(file_of(tmp_path)) == 3


def test_a_file_whose_last_secret_is_retired_still_signs_with_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("only retired 1\n")
    assert load_secrets(tmp_path) == [Secret("only")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    load_secrets(tmp_path)
    before = os.umask(0)
    try:
        rotate_secrets(tmp_path, NOW, forget_old=False)
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_command_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    (first,) = load_secrets(tmp_path)
    for kill in range(4):
        with subprocess.Popen([sys.executable, "-c", ROTATE_FOREVER, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(0.01 * kill)
            process.send_signal(signal.SIGKILL)
        found = read_secrets(tmp_path)
        assert found[0].text == first.text
        assert all(len(bytes.fromhex(secret.text)) == 32 for secret in found)
        assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "secret.new").write_text("half")  # as a kill may leave it
    assert len(rotate_secrets(tmp_path, NOW, forget_old=True)) == 1
    assert not (tmp_path / "secret.new").exists()


def test_without_a_library(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["secrets", "rotate", "--data-dir", str(tmp_path / "none")])
    assert isinstance(result.exception, OperatorError)
    assert list(tmp_path.iterdir()) == []


def test_the_purposes_differ() -> None:
    """So that a link for one can never serve another."""
    purposes = [value for name, value in vars(links).items() if isinstance(value, str) and name.isupper()]
    assert len(set(purposes)) == len(purposes) >= 4
