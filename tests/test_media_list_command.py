"""`imgpro-lite media list`: every image of every team, for people and for programs."""

import hashlib
import re
import time

import pytest
from click.testing import CliRunner
from conftest import Api, FakeClock
from library import add, list_media_by_command, owner, picture, run_media, sweep_now

from imgpro_lite.cli.main import cli

SHA256 = hashlib.sha256(picture()).hexdigest()
OTHER_SHA256 = hashlib.sha256(picture(1)).hexdigest()


@pytest.fixture
def clock() -> FakeClock:
    """The operator's commands use the machine's clock, so the server begins at the same time."""
    return FakeClock(int(time.time()))


def test_the_list_as_json(api: Api) -> None:
    headers = owner(api)
    plain = add(api, {}, name="a stranger's")
    fields = {"namespace": "ns", "tags": "b,a", "public": "false", "external_id": "e", "ttl": "1h", "name": "Größe"}
    full = api.upload(picture(1), headers, **fields).json()
    first, second = list_media_by_command(api.data_dir)
    assert first == {
        "id": full["id"],
        "email": "ops@example.com",
        "name": "Größe",
        "path": full["src"].removeprefix("http://localhost:4647"),
        "format": "png",
        "width": 5,
        "height": 3,
        "filesize": len(picture(1)),
        "sha256": OTHER_SHA256,
        "namespace": "ns",
        "tags": ["b", "a"],
        "public": False,
        "external_id": "e",
        "created_at": full["created_at"],
        "expires_at": full["created_at"] + 3600,
        "deleted_at": None,
    }
    assert (second["id"], second["email"], second["sha256"]) == (plain["id"], None, SHA256)
    assert (second["namespace"], second["tags"], second["external_id"]) == (None, [], None)


def test_the_list_for_people(api: Api) -> None:
    shown = add(api, owner(api), name="[b]x[/b]\u200f y", namespace="ns", ttl="1h")
    anonymous = add(api, {})
    table = run_media(api.data_dir, "list")
    mine, theirs = (next(line for line in table.splitlines() if one["id"] in line) for one in (shown, anonymous))
    minute = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"ops@example.com +\[b\]x\[/b\] y +png +4x3 +0 +ns +{minute} +{minute} +{SHA256}", mine)
    assert re.search(rf"\(anonymous\) +photo.jpg +png +4x3 +0 +{minute} +{minute} +{SHA256}", theirs)
    assert table.index(anonymous["id"]) < table.index(shown["id"])


def test_the_filters_of_the_list(api: Api) -> None:
    headers, other = owner(api), owner(api, email="other@example.com")
    one, two = (add(api, headers, namespace=name)["id"] for name in ("one", "two"))
    theirs, anonymous = add(api, other, namespace="one")["id"], add(api, {})["id"]
    gone, expired = add(api, headers)["id"], add(api, headers, ttl="1h")["id"]
    assert api.client.delete(f"/v1/media/{gone}", headers=headers).status_code == 200
    api.clock.advance(seconds=3600)
    sweep_now(api)

    def ids(*arguments: str) -> list[str]:
        return [item["id"] for item in list_media_by_command(api.data_dir, *arguments)]

    assert ids() == [anonymous, theirs, two, one]
    assert ids("--limit", "2") == [anonymous, theirs]
    assert ids("--email", "ops@example.com") == [two, one]
    assert ids("--namespace", "one") == [theirs, one]
    assert ids("--namespace", "one", "--email", "other@example.com") == [theirs]
    assert ids("--email", "nobody@example.com") == ids("--namespace", "nobody") == []
    assert ids("--deleted") == [expired, gone]
    assert ids("--deleted", "--email", "other@example.com") == []
    deleted = list_media_by_command(api.data_dir, "--deleted")
    assert [item["deleted_at"] for item in deleted] == [api.clock.at, api.clock.at - 3600]


def test_the_owner_is_found_however_the_address_is_spelt(api: Api) -> None:
    shown = add(api, owner(api))
    assert [item["id"] for item in list_media_by_command(api.data_dir, "--email", " OPS@Example.com")] == [shown["id"]]


def test_no_images(api: Api) -> None:
    assert list_media_by_command(api.data_dir) == []
    assert "SHA-256" in run_media(api.data_dir, "list")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--email", "--namespace"])
@pytest.mark.parametrize("text", ["", "%", "'; --", "\udcff"])
def test_a_filter_that_nothing_can_match(api: Api, option: str, text: str) -> None:
    add(api, owner(api), namespace="ns")
    assert list_media_by_command(api.data_dir, option, text) == []


def test_an_unknown_option_or_limit() -> None:
    for arguments in (["--limit", "0"], ["--limit", "x"], ["--team", "1"], ["surplus"]):
        assert CliRunner().invoke(cli, ["media", "list", *arguments]).exit_code == 2
