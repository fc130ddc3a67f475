"""Seeds: what is loaded of them, what a server in dev mode does with one, and what is wrong with others."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Api
from images import make_image
from library import add, check_counts, connect, list_page, run_media
from seeds import ANN, BOB, load, write_readme_seed, write_seed
from shared import serve

from imgpro_lite.dev.mode import DevMode
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.seed_file import SeedProblems

KEY = "img_live_0000000000000000000000000000000A"
TEAM = '[[team]]\nemail = "t@example.com"\nverified = true\n'
IMAGE = '[[image]]\nfile = "a.png"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = write_readme_seed(tmp_path_factory.mktemp("seed"))
    with serve(tmp_path_factory.mktemp("data") / "data", dev=DevMode(seed_folder=folder)) as api:
        yield api


@pytest.fixture
def dev(server: Api) -> Api:
    assert server.client.post("/_dev/reset").status_code == 200
    return server


def usage(api: Api, key: dict[str, str]) -> dict[str, Any]:
    answer = api.client.get("/v1/usage", headers=key)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


# ── what is there ──


def test_the_example_of_the_readme(dev: Api) -> None:
    lighthouse, anchor = list_page(dev, ANN)["items"]
    assert lighthouse["id"] == "lighthouse0001"
    assert (lighthouse["name"], lighthouse["width"], lighthouse["namespace"]) == ("lighthouse.jpg", 40, "holidays")
    assert (lighthouse["tags"], lighthouse["external_id"]) == (["sea", "tower"], "IMG_4711")
    assert lighthouse["date"] == 1_749_945_600
    assert "expires_at" not in lighthouse
    assert (anchor["name"], anchor["public"]) == ("Anchor", False)
    assert anchor["expires_at"] == anchor["created_at"] + 7 * 86_400
    shown = dev.client.get("/v1/media/lighthouse0001").json()
    assert (shown["author"], shown["licence"]) == ("Ann", "CC0")
    assert dev.fetch(f"{lighthouse['src']}?size=s").status_code == 200
    assert usage(dev, ANN) | {"resets_at": 0} == {
        "plan": "pro",
        "uploads_used": 2,
        "uploads_limit": 1000,
        "uploads_remaining": 998,
        "storage_used_bytes": lighthouse["filesize"] + anchor["filesize"],
        "storage_limit_bytes": 50 * 1024**3,
        "resets_at": 0,
        "verified": True,
    }
    check_counts(dev.data_dir)


def test_the_second_team_and_its_key(dev: Api) -> None:
    assert [usage(dev, BOB)[name] for name in ("plan", "uploads_used", "verified")] == ["free", 99, False]
    assert list_page(dev, BOB)["items"] == []
    assert dev.upload(make_image("png", 5, 5), BOB).status_code == 403


def test_an_image_without_a_team(dev: Api) -> None:
    with connect(dev.data_dir) as conn:
        ((media_id,),) = conn.execute("SELECT id FROM media WHERE name = 'bottle.png'").fetchall()
    shown = dev.client.get(f"/v1/media/{media_id}").json()
    assert not shown["editable"]
    assert shown["expires_at"] == shown["created_at"] + 30 * 86_400


def test_resets_lead_to_the_seed_or_to_nothing(dev: Api) -> None:
    before = list_page(dev, ANN)
    assert dev.client.delete("/v1/media/lighthouse0001", headers=ANN).status_code == 200
    add(dev, ANN)
    assert dev.client.post("/_dev/reset").json()["images"] == 3
    assert list_page(dev, ANN) == before
    assert dev.client.post("/_dev/reset", json={"seed": False}).json()["images"] == 0
    assert dev.client.get("/v1/usage", headers=ANN).status_code == 401


def test_loading_again_changes_nothing(dev: Api, tmp_path: Path) -> None:
    before = list_page(dev, ANN), usage(dev, ANN)
    loaded = load(dev, write_readme_seed(tmp_path / "seed"))
    assert (loaded.teams, loaded.keys, loaded.images, loaded.present, loaded.problems) == (0, 0, 0, 3, {})
    assert (list_page(dev, ANN), usage(dev, ANN)) == before


# ── more into a library that is there ──


def test_images_come_in_the_order_of_the_file(dev: Api, tmp_path: Path) -> None:
    """Also where the first takes the longest to decode."""
    key = f'{TEAM}keys = ["{KEY}"]\n'
    files = {f"{number}.png": make_image("png", 1200 // number, 900 // number) for number in range(1, 9)}
    entries = [f'[[image]]\nfile = "{name}"\nteam = "t@example.com"\n' for name in files]
    assert load(dev, write_seed(tmp_path / "seed", key + "".join(entries), **files)).images == 8
    items = list_page(dev, {"Authorization": f"Bearer {KEY}"})["items"]
    assert [item["name"] for item in items] == list(reversed(files))


def test_quotas_and_limits_do_not_hold(dev: Api, tmp_path: Path) -> None:
    text = f'[[team]]\nemail = "full@example.com"\nuploads_used = 100\nkeys = ["{KEY}"]\n'
    folder = write_seed(tmp_path / "seed", text + IMAGE + 'team = "full@example.com"\n')
    assert load(dev, folder).images == 1
    full = {"Authorization": f"Bearer {KEY}"}
    assert usage(dev, full)["uploads_used"] == 100
    assert dev.upload(make_image("png", 5, 5), full).json()["error"] == "quota_exceeded"


def test_an_address_that_has_a_team(dev: Api, tmp_path: Path) -> None:
    """Its verified team gets what is missing, and stays as it is."""
    folder = write_seed(tmp_path / "seed", TEAM.replace("t@", "ann@") + IMAGE + 'team = "ANN@example.com"\n')
    assert load(dev, folder).teams == 0
    assert usage(dev, ANN)["plan"] == "pro"
    assert len(list_page(dev, ANN)["items"]) == 3


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('id = "lighthouse0001"', "id: is that of another image"),
        ('id = "newone00000001"\nexternal_id = "IMG_4711"', "external_id: is that of the image lighthouse0001"),
        ('file = "words.txt"', "The file is not an image of a supported type"),
    ],
)
def test_images_that_cannot_be_loaded(dev: Api, tmp_path: Path, lines: str, reason: str) -> None:
    """The others are."""
    image = IMAGE if "file" not in lines else "[[image]]\n"
    text = TEAM.replace("t@", "ann@") + f'{image}team = "ann@example.com"\n{lines}\n{IMAGE}'
    loaded = load(dev, write_seed(tmp_path / "seed", text, **{"words.txt": b"words"}))
    assert loaded.images == 1
    (problem,) = loaded.list_problems()
    assert problem.startswith("[[image]] 1 (")
    assert f"): {reason}" in problem
    assert not list((dev.data_dir / "tmp").iterdir())


def test_a_deleted_image_is_not_made_anew(dev: Api, tmp_path: Path) -> None:
    dev.client.delete("/v1/media/lighthouse0001", headers=ANN)
    loaded = load(dev, write_readme_seed(tmp_path / "seed"))
    assert (loaded.present, loaded.images) == (2, 0)
    assert "media restore lighthouse0001" in loaded.problems[1]


def test_what_is_blocked_stays_out(dev: Api, tmp_path: Path) -> None:
    folder = write_seed(tmp_path / "seed", IMAGE)
    run_media(dev.data_dir, "block", hashlib.sha256((folder / "a.png").read_bytes()).hexdigest())
    assert "is not accepted" in load(dev, folder).problems[1]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            TEAM + 'plan = "gold"\n',
            ["[[team]] 1: There is no plan 'gold'. The plans are: owner, free, pro, scale, max."],
        ),
        (
            TEAM + f'keys = ["{KEY}", "{ANN["Authorization"].removeprefix("Bearer ")}"]\n',
            ["[[team]] 1: keys: the 2. of them is that of another team, or was revoked"],
        ),
        (TEAM.replace("t@", "ann@") + 'hash = "aaaa1"\n', ["[[team]] 1: hash: the team of ann@example.com has "]),
    ],
)
def test_teams_that_cannot_be(dev: Api, tmp_path: Path, text: str, problems: list[str]) -> None:
    """Then nothing is changed."""
    before = dev.client.get("/_dev/teams").json()
    with pytest.raises(SeedProblems) as refusal:
        load(dev, write_seed(tmp_path / "seed", text + TEAM.replace("t@", "other@") + IMAGE))
    for found, expected in zip(refusal.value.problems, problems, strict=True):
        assert found.startswith(expected)
    assert dev.client.get("/_dev/teams").json() == before


def test_a_server_does_not_start_with_half_a_seed(tmp_path: Path) -> None:
    folder = write_seed(tmp_path / "seed", IMAGE + '[[image]]\nfile = "words.txt"\n', **{"words.txt": b"words"})
    with (
        pytest.raises(OperatorError, match=r"\[\[image\]\] 2 \(words.txt\): The file is not an image"),
        serve(tmp_path / "data", dev=DevMode(seed_folder=folder)),
    ):
        pass
