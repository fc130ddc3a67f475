"""`imgpro-lite seed`: loading and exporting, alone and beside a running server, and what comes of both."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from checking import check
from commands import run_main
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from library import add, list_page, owner, picture
from running import WAIT_SECONDS, Running, command, environment, run, servers, until
from seeds import ANN, BOB, write_readme_seed, write_seed
from shared import serve

NASTY_METADATA = {
    "a.b": 'quote " and \\ and \n and \x7f and \u2028',
    "": "empty",
    "emoji 🎈": True,
    "big": 2**60,
    "small": -1.5e-300,
}
NAMES = [
    "photo.jpg",
    "PHOTO.JPG",
    "photo",
    "../../etc/passwd",
    "Übung 1/2: «Bär».jpg",
    "x" * 255,
    ".hidden",
    "-",
    "日本.png",
]


@pytest.fixture
def clock() -> FakeClock:
    """The operator's commands use the machine's clock, so the server begins at the same time."""
    return FakeClock(int(time.time()))


def seed(data_dir: Path, *arguments: str | Path) -> tuple[int, str, str]:
    return run_main("seed", *map(str, arguments), "--data-dir", str(data_dir))


def everything(api: Api, *keys: dict[str, str]) -> list[Any]:
    """What the API tells about the teams, but for the time of creation and what follows from it."""
    shown: list[Any] = []
    for key in keys:
        shown.append(api.client.get("/v1/usage", headers=key).json())
        for item in list_page(api, key)["items"]:
            image = api.client.get(f"/v1/media/{item['id']}", headers=key).json()
            if "expires_at" in image:
                image["expires_at"] -= image["created_at"]
            shown.append({name: value for name, value in image.items() if name != "created_at"})
    return shown


def test_a_running_server_has_it_at_once(api: Api, tmp_path: Path) -> None:
    folder = write_readme_seed(tmp_path / "seed")
    assert seed(api.data_dir, folder) == (0, "2 teams and 2 keys made; 3 loaded, 0 already there, of 3 images.\n", "")
    before = everything(api, ANN, BOB)
    assert api.client.get("/v1/media/lighthouse0001").json()["author"] == "Ann"
    assert seed(api.data_dir, folder) == (0, "0 teams and 0 keys made; 0 loaded, 3 already there, of 3 images.\n", "")
    assert everything(api, ANN, BOB) == before
    assert check(api.data_dir) == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, dict[str, str], Path]]:
    """A server with images of all kinds, the key of its team, and the library as a seed."""
    folder = tmp_path_factory.mktemp("export") / "seed"
    with serve(tmp_path_factory.mktemp("data") / "data") as api:
        api.clock.at = int(time.time())
        key = owner(api, email="all@example.com")
        for number, name in enumerate(NAMES):
            fields = {"external_id": f"e {number}", "public": "false"} if number % 2 else {}
            add_picture(api, key, make_image("jpeg", 8 + number, 8), name=name, **fields)
        add_picture(
            api,
            key,
            make_image(
                "svg",
                20,
                10,
            ),
            "drawing.svg",
            tags='["a,b", "\\"c\\""]',
            namespace="x-1",
        )
        add_picture(api, key, make_image("heic", 64, 64), "IMG_1.HEIC", ttl="2h")
        add_picture(api, key, make_image("jpeg", 8, 8), "again.jpg", metadata=json.dumps(NASTY_METADATA))
        add_picture(api, key, make_image("png", 8, 8), date="1999-12-31T23:59:59Z", metadata='{"a": {"b": [null]}}')
        add_picture(api, key, make_image("png", 9, 8), "deleted.png")
        deleted = list_page(api, key)["items"][0]
        api.client.delete(f"/v1/media/{deleted['id']}", headers=key)
        add_picture(api, {}, make_image("png", 10, 8), "nobody.png")
        add_picture(api, api.new_key("new@example.com"), make_image("png", 11, 8))
        add_picture(api, api.new_key("new@example.com"), make_image("png", 12, 8))
        assert seed(api.data_dir, "--export", folder) == (0, f"16 images and 3 teams written to {folder}.\n", "")
        yield api, key, folder


def add_picture(api: Api, key: dict[str, str], content: bytes, filename: str = "photo.png", **fields: str) -> None:
    answer = api.upload(content, key, filename, **fields)
    assert answer.status_code == 201, answer.text


def test_an_export_is_readable(exported: tuple[Api, dict[str, str], Path]) -> None:
    _, _, folder = exported
    names = {path.name for path in folder.iterdir()}
    assert {"seed.toml", "photo.jpg", "etc-passwd.jpg", "drawing.svg", "IMG_1.heic", "nobody.png"} <= names
    assert {"Übung-1-2-Bär.jpg", "hidden.jpg", "日本.png.jpg", f"{'x' * 50}.jpg"} <= names
    assert len({name.casefold() for name in names}) == len(names) == 16  # one file for the same bytes, and seed.toml
    assert not [name for name in names if name.startswith((".", "-"))]
    text = (folder / "seed.toml").read_text("utf-8")
    assert '# The keys cannot be exported, because only their hashes are stored: "Default" (read, write).' in text
    assert "img_live_0" not in text


def test_an_export_gives_the_same_library(exported: tuple[Api, dict[str, str], Path], tmp_path: Path) -> None:
    api, key, folder = exported
    data_dir = tmp_path / "data"
    assert seed(data_dir, folder) == (0, "3 teams and 0 keys made; 16 loaded, 0 already there, of 16 images.\n", "")
    assert seed(data_dir, "--export", tmp_path / "again")[0] == 0
    assert without_keys(tmp_path / "again") == without_keys(folder)
    with serve(data_dir) as other:
        other.clock.at = int(time.time())
        loaded = owner(other, email="all@example.com")
        assert everything(other, loaded) == everything(api, key)
        for item in list_page(api, key)["items"]:
            assert other.fetch(item["src"]).content == api.fetch(item["src"]).content
    assert check(data_dir) == []


def without_keys(folder: Path) -> str:
    """The `seed.toml`, which has comments about the keys."""
    lines = (folder / "seed.toml").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def test_nothing_is_overwritten(exported: tuple[Api, dict[str, str], Path], tmp_path: Path) -> None:
    (tmp_path / "seed.toml").write_text("mine", "utf-8")
    code, out, err = seed(exported[0].data_dir, "--export", tmp_path)
    assert (code, out) == (1, "")
    assert "is not empty" in err
    assert (tmp_path / "seed.toml").read_text("utf-8") == "mine"


def test_an_original_that_is_missing_is_told(start: ApiFactory, tmp_path: Path) -> None:
    api = start()
    key = owner(api)
    add(api, key, name="kept")
    lost = api.upload(picture(1), key, name="lost").json()
    blobs = {path.stat().st_size: path for path in (api.data_dir / "blobs").rglob("*") if path.is_file()}
    blobs[lost["filesize"]].unlink()
    code, out, err = seed(api.data_dir, "--export", tmp_path / "out")
    assert (code, err) == (1, f"{lost['id']} (lost): its file is missing\n")
    assert out.startswith("1 image and 1 team written")
    assert 'name = "kept"' in (tmp_path / "out" / "seed.toml").read_text("utf-8")


def test_a_library_that_is_not_there(tmp_path: Path) -> None:
    code, out, err = seed(tmp_path / "none", "--export", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "There is no library" in err
    assert not (tmp_path / "out").exists()


def test_a_wrong_seed_changes_nothing(tmp_path: Path) -> None:
    folder = write_seed(tmp_path / "seed", '[[image]]\nfile = "b.png"\nteam = "x"\n')
    code, out, err = seed(tmp_path / "data", folder)
    assert (code, out) == (1, "")
    assert err == (
        f"imgpro-lite: The seed in {folder} cannot be used:\n"
        "  [[image]] 1 (b.png): team: must be a valid e-mail address\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_seed_needs_dev_mode(tmp_path: Path) -> None:
    code, _, err = run_main("serve", "--seed", str(tmp_path), "--data-dir", str(tmp_path / "data"))
    assert code == 1
    assert "--dev" in err


@pytest.mark.slow
def test_a_served_seed(tmp_path: Path) -> None:
    folder = write_readme_seed(tmp_path / "seed")
    with servers(tmp_path) as start:
        server = start(args=("--dev", "--seed", str(folder)))
        assert server.get("/v1/media/lighthouse0001").json()["author"] == "Ann"
        url = f"{server.url}/_dev/reset"
        assert httpx2.post(url, timeout=WAIT_SECONDS, trust_env=False).json()["images"] == 3
        assert server.end() == 0
    (folder / "bottle.png").write_bytes(b"words")
    broken = Running.spawn(tmp_path, args=("--dev", "--seed", str(folder), "--data-dir", str(tmp_path / "other")))
    try:
        assert not broken.is_ready()
        assert broken.process.wait(WAIT_SECONDS) == 1
        assert "[[image]] 3 (bottle.png): The file is not an image" in broken.stderr
        assert "Traceback" not in broken.stderr
    finally:
        broken.close()


@pytest.mark.slow
def test_it_can_be_interrupted_and_run_again(tmp_path: Path) -> None:
    count = 60
    files = {f"{number}.png": make_image("png", 1500 + number, 1000) for number in range(count)}
    text = "".join(f'[[image]]\nfile = "{name}"\n' for name in files)
    folder = write_seed(tmp_path / "seed", text, **files)
    data_dir = tmp_path / "data"
    process = subprocess.Popen(
        command("seed", str(folder), "--data-dir", str(data_dir)),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len([path for path in (data_dir / "blobs").rglob("*") if path.is_file()]) > 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert err == "Interrupted; running it again loads the rest.\n"
    done = int(out.split("; ")[1].split()[0])
    assert 1 < done < count
    again = run(tmp_path, "seed", str(folder), "--data-dir", str(data_dir))
    loaded, present = (int(part.split()[0]) for part in again.stdout.split("; ")[1].split(", ")[:2])
    assert loaded + present == count
    assert present in (done, done + 1)
    assert list((data_dir / "tmp").iterdir()) == []
    assert check(data_dir) == []
