"""The fixture `imgpro` as a test suite has it: the control plane as methods, and every test begins anew."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import httpx2
import pytest
from running import until
from shared import serve

from imgpro_lite.dev.mode import DevMode, enter_dev_mode
from imgpro_lite.errors import OperatorError
from imgpro_lite.settings import Settings
from imgpro_lite.testing.control_plane import ControlError, ControlPlane
from imgpro_lite.testing.server_process import ServerProcess, find_seed_key
from imgpro_lite.testing.stand_in import DEFAULT_EMAIL, Snapshot, StandIn

DAY_SECONDS = 86_400


def usage(imgpro: StandIn, key: str = "") -> httpx2.Response:
    return httpx2.get(f"{imgpro.base_url}/v1/usage", headers={"Authorization": f"Bearer {key or imgpro.key}"})


def test_a_key_of_a_verified_team(imgpro: StandIn) -> None:
    answer = usage(imgpro)
    assert answer.status_code == 200
    assert answer.json() | {"plan": "free", "verified": True, "uploads_used": 0} == answer.json()


@pytest.mark.parametrize("name", ["one", "other"])
def test_every_test_begins_anew(imgpro: StandIn, name: str) -> None:
    """Whichever comes second would meet what the first has left."""
    assert [team["email"] for team in imgpro.teams()] == [DEFAULT_EMAIL]
    assert imgpro.faults() == []
    assert imgpro.control.get("/clock")["offset_seconds"] == 0
    imgpro.new_key(f"{name}@example.com")
    imgpro.fail_next("/v1/usage", status=503, times=None)
    imgpro.advance(days=400)


def test_the_clock(imgpro: StandIn) -> None:
    before = imgpro.now
    assert 0 <= imgpro.advance(days=1, hours=1, minutes=1, seconds=1) - before - DAY_SECONDS - 3661 <= 60


@pytest.mark.parametrize(
    "moment",
    [
        1_893_456_000,
        "2030-01-01",
        date(2030, 1, 1),
        datetime(2030, 1, 1, tzinfo=UTC),
        datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        datetime(2030, 1, 1, 0, 0, 0, 999),  # noqa: DTZ001
    ],
)
def test_a_moment(imgpro: StandIn, moment: date | int | str) -> None:
    assert 0 <= imgpro.set_time(moment) - 1_893_456_000 <= 60


def test_faults(imgpro: StandIn) -> None:
    imgpro.fail_next("/v1/usage", status=429, retry_after_seconds=7)
    refused = usage(imgpro)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
    assert usage(imgpro).status_code == 200
    imgpro.fail_next("/v1/*", code="overloaded", times=None)
    assert [usage(imgpro).status_code, usage(imgpro).status_code] == [503, 503]
    assert [fault["used"] for fault in imgpro.faults()] == [1, 2]
    imgpro.clear_faults()
    assert usage(imgpro).status_code == 200


def test_snapshots(imgpro: StandIn) -> None:
    snapshot, named = imgpro.snapshot(), imgpro.snapshot("pro")
    imgpro.change_team(DEFAULT_EMAIL, plan="pro")
    time = imgpro.advance(days=10)
    imgpro.snapshot("pro")
    snapshot.restore(clock=False)
    assert usage(imgpro).json()["plan"] == "free"
    assert imgpro.now >= time
    named.restore()
    assert usage(imgpro).json()["plan"] == "pro"
    snapshot.delete()
    with pytest.raises(ControlError) as error:
        snapshot.restore()
    assert error.value.status == 404


@pytest.fixture(scope="module")
def kept(imgpro_server: ServerProcess) -> Iterator[Snapshot]:
    """A snapshot for several tests, made before the first of them."""
    control = ControlPlane(imgpro_server.facts["control_url"])
    control.request("PUT", "/snapshots/kept")
    snapshot = Snapshot(control, "kept")
    yield snapshot
    snapshot.delete()


@pytest.mark.parametrize("name", ["one", "other"])
def test_a_snapshot_ends_with_its_test(kept: Snapshot, imgpro: StandIn, name: str) -> None:
    """Whichever comes second would meet what the first has left. What is for several tests stays."""
    assert [snapshot.name for snapshot in imgpro.snapshots()] == [kept.name]
    imgpro.snapshot(name)
    imgpro.snapshot()
    imgpro.reset()
    assert len(imgpro.snapshots()) == 3


def test_teams_and_keys(imgpro: StandIn) -> None:
    new = imgpro.new_key("else@example.com", name="reader", plan="scale", abilities=["read"])
    assert usage(imgpro, new["key"]).json()["plan"] == "scale"
    assert imgpro.change_team(new["key_id"], uploads_used=9)["uploads_used"] == 9
    imgpro.reset()
    assert usage(imgpro, new["key"]).status_code == 401


def test_the_key_works_after_every_reset(imgpro: StandIn) -> None:
    for seed in (True, False, True):
        imgpro.reset(seed=seed)
        assert usage(imgpro).json()["verified"] is True
        assert len(imgpro.teams()) == 1


def test_a_refusal_names_every_wrong_field(imgpro: StandIn) -> None:
    with pytest.raises(ControlError, match=r"(?s)422.*email: .*plan: must be one of") as error:
        imgpro.new_key("nobody", plan="gold")
    assert str(error.value).count("must be one of") == 1
    assert error.value.answer["error"] == "validation_error"


def test_a_server_of_a_key_that_was_there_before(tmp_path: Path) -> None:
    """As after a restart on a data directory that stays."""
    key = "img_live_" + "k" * 32
    for _ in range(2):
        with serve(tmp_path, dev=DevMode(key=key)) as api:
            for _ in range(2):
                answer = api.client.get("/v1/usage", headers={"Authorization": f"Bearer {key}"})
                assert answer.json()["verified"] is True
                assert api.client.post("/_dev/reset").status_code == 200


def test_a_key_that_is_none() -> None:
    with pytest.raises(OperatorError, match="--with-key must be"):
        enter_dev_mode(Settings(), None, key="img_live_short")


def test_the_server_has_a_directory_of_its_own(imgpro_server: ServerProcess) -> None:
    assert "imgpro-lite-dev-" in imgpro_server.facts["data_dir"]
    imgpro_server.check()


def test_the_log_says_why_mail_is_not_sent(imgpro: StandIn, imgpro_server: ServerProcess) -> None:
    httpx2.post(f"{imgpro.base_url}/v1/keys", json={"email": "new@example.com"}).raise_for_status()
    imgpro.outbox.wait_for(to="new@example.com")
    lines: list[str] = []
    until(lambda: lines.append(imgpro_server.log.read_new()) or "mail written to outbox/" in "".join(lines))
    assert ".eml, as always in dev mode" in "".join(lines)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", None),
        ("[[team", None),
        ("team = 1", None),
        ('[[team]]\nemail = "a@example.com"\n[[team]]\nkeys = ["img_live_b", "img_live_c"]\n', "img_live_b"),
        ('[[team]]\nkeys = [{ key = "img_live_d", name = "d" }]\n', "img_live_d"),
    ],
)
def test_the_key_of_a_seed(tmp_path: Path, text: str, key: str | None) -> None:
    (tmp_path / "seed.toml").write_text(text)
    assert find_seed_key(tmp_path) == key
