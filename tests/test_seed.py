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
from imgpro_lite.services.seed_file import SeedProblems, read_seed

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


# ── what is wrong with a seed.toml ──


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[[images]]\n", ["images: is not known; there are [[team]] and [[image]]"]),
        ('team = "t"\n', ["team: must be written as [[team]]"]),
        ("[image]\n", ["image: must be written as [[image]]"]),
        ("[[image]]\n", ["[[image]] 1: file: is required"]),
        ("[[image]]\nfile = 1\n", ["[[image]] 1: file: Input should be a valid string"]),
        ('[[image]]\nfile = ""\n', ["[[image]] 1 (): file: must be the name of a file"]),
        ('[[image]]\nfile = "b.png"\n', ["[[image]] 1 (b.png): file: there is no such file"]),
        ('[[image]]\nfile = "."\n', ["[[image]] 1 (.): file: is not a file"]),
        ('[[image]]\nfile = "../seed/a.png"\n', []),
        ('[[image]]\nfile = "../a.png"\n', ["[[image]] 1 (../a.png): file: must not lead out of the folder"]),
        ('[[image]]\nfile = "link.png"\n', ["[[image]] 1 (link.png): file: must not lead out of the folder"]),
        ('[[image]]\nfile = "/etc/passwd"\n', ["[[image]] 1 (/etc/passwd): file: must be relative to the folder"]),
        ('[[image]]\nfile = "a\\u0000"\n', ["[[image]] 1 (a\0): file: must be the name of a file"]),
        (IMAGE + "ttl = 3600\n", ["[[image]] 1 (a.png): ttl: needs a team, as it needs an API key"]),
        (IMAGE + 'team = "x@example.com"\n', ["[[image]] 1 (a.png): team: there is no [[team]] x@example.com"]),
        (IMAGE + 'author = "x"\n', ["[[image]] 1 (a.png): author: is not a known field"]),
        (IMAGE + "metadata = {id = 1}\n", ["[[image]] 1 (a.png): metadata: may not have the reserved names id"]),
        (
            IMAGE + 'id = "abcdefghijklmn"\nnamespace = "A"\n',
            [
                "[[image]] 1 (a.png): namespace: must be 2 to 64 lowercase letters",
                "[[image]] 1 (a.png): id: must be 14 small letters and digits, with at least one digit",
            ],
        ),
        (
            IMAGE + IMAGE,
            ["[[image]] 2 (a.png): file, team and name, without an id or external_id of its own: is the same"],
        ),
        (IMAGE + IMAGE + 'name = "other"\n', []),
        (
            IMAGE + 'id = "aaaaaaaaaaaaa1"\n' + IMAGE + 'id = "aaaaaaaaaaaaa1"\n',
            ["[[image]] 2 (a.png): id: is the same"],
        ),
        (TEAM + f'colour = "red"\n{IMAGE}team = "t@example.com"\n', ["[[team]] 1: colour: is not a known field"]),
        (TEAM + TEAM, ["[[team]] 2: email: is the same as that of entry 1"]),
        (TEAM + TEAM.replace("true", "false"), []),
        (TEAM + f'keys = ["{KEY}", "{KEY}"]\n', ["[[team]] 1: keys: is the same as that of entry 1"]),
        (
            TEAM + 'keys = ["img_live_1"]\n',
            ["[[team]] 1: keys: the 1. of them: key must be img_live_ and 32 letters and di"],
        ),
        (TEAM + "keys = [{}]\n", ["[[team]] 1: keys: the 1. of them: key is required"]),
        (TEAM + "uploads_used = -1\n", ["[[team]] 1: uploads_used: Input should be greater than or equal to 0"]),
        (
            TEAM + TEAM.replace("true", "false") + IMAGE + 'team = "t@example.com"\n',
            ["[[image]] 1 (a.png): team: several [[team]] have the address t@example.com; name the hash of one"],
        ),
    ],
)
def test_wrong_seeds(tmp_path: Path, text: str, problems: list[str]) -> None:
    folder = write_seed(tmp_path / "seed", text)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "outside.png").write_bytes(b"")
    found = []
    try:
        read_seed(folder)
    except SeedProblems as refusal:
        found = refusal.problems
    for line, expected in zip(found, problems, strict=True):
        assert line.startswith(expected)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = f'{TEAM}colour = "red"\n{IMAGE}date = "soon"\n[[image]]\nfile = "none.png"\npublic = "maybe"\n'
    with pytest.raises(SeedProblems) as refusal:
        read_seed(write_seed(tmp_path / "seed", text))
    assert [line.partition(": ")[0] for line in refusal.value.problems] == [
        "[[team]] 1",
        "[[image]] 1 (a.png)",
        "[[image]] 2 (none.png)",
    ]
    assert str(refusal.value).startswith(f"The seed in {tmp_path / 'seed'} cannot be used:\n  [[team]] 1: colour")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[[team", "is not valid TOML"), (b"\xff", "is not valid TOML"), (b"a = " + b"[" * 10_000, "is not valid TOML")],
)
def test_what_is_not_toml(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_seed(tmp_path / "seed", "")
    (folder / "seed.toml").write_bytes(content)
    with pytest.raises(OperatorError, match=message):
        read_seed(folder)


def test_a_folder_without_a_seed(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"There is no seed.toml"):
        read_seed(tmp_path)


@pytest.mark.parametrize(
    ("date", "at"),
    [
        ("2025-06-15", 1_749_945_600),
        ("2025-06-15T12:00:00+02:00", 1_749_981_600),
        ("2025-06-15 10:00:00", 1_749_981_600),
        ('"2025-06-15"', 1_749_945_600),
        ("1749945600", 1_749_945_600),
    ],
)
def test_dates(tmp_path: Path, date: str, at: int) -> None:
    (image,) = read_seed(write_seed(tmp_path / "seed", f"{IMAGE}date = {date}\n")).images
    assert image.date == at


def test_dates_in_metadata_are_text(tmp_path: Path) -> None:
    (image,) = read_seed(write_seed(tmp_path / "seed", f"{IMAGE}metadata = {{at = 2025-06-15, n = [1]}}\n")).images
    assert image.metadata == {"at": "2025-06-15", "n": [1]}
