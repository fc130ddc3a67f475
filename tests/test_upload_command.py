"""`imgpro-lite upload`: files and folders to a server that really listens, and run again."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from commands import authorization, make_key
from images import make_image
from library import new_email, picture, upload_by_command
from running import Running, run, servers

from imgpro_lite.errors import OperatorError

NO_LIMITS = "[limits]\nanonymous_uploads_per_hour = 0\nanonymous_uploads_per_day = 0\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("server")) as start:
        yield start(config=NO_LIMITS)


@pytest.fixture
def key(server: Running) -> str:
    """A key of a team of its own."""
    return str(make_key(server.data_dir, "--verified", email=new_email())["key"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images at the top, two further down, and what is none."""
    folder = tmp_path / "photos"
    for name, number in (("a.png", 0), ("b.jpg", 1), ("deep/c", 2), ("deep/er/d.png", 3)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    for name in (".hidden.png", ".git/e.png", "deep/.f.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(9))
    (folder / "notes.png").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return folder


def upload(server: Running, *arguments: str | Path, **env: str) -> Result:
    """`imgpro-lite upload …` to this server."""
    return upload_by_command(*arguments, "--server", server.url, **env)


def images_of(server: Running, key: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = server.get("/v1/media", headers=authorization({"key": key})).json()["items"]
    return items


# ── what it uploads ──


def test_one_file(server: Running, key: str, folder: Path) -> None:
    result = upload(server, folder / "b.jpg", "--key", key)
    assert result.exit_code == 0, result.output
    (image,) = images_of(server, key)
    assert result.stdout.splitlines() == [image["url"]]
    assert "1 uploaded" in result.stderr
    assert (image["name"], image["width"], image["namespace"], image["tags"]) == ("b.jpg", 5, None, [])
    assert server.get(image["src"]).content == picture(1)


def test_the_address_of_the_bytes(server: Running, key: str, folder: Path) -> None:
    result = upload(server, folder / "b.jpg", "--key", key, "--src")
    assert server.get(result.stdout.strip()).content == picture(1)


def test_a_folder(server: Running, key: str, folder: Path) -> None:
    result = upload(server, folder, "--recursive", "--namespace", "holidays", "--tags", "b,a", "--key", key)
    assert result.exit_code == 0, result.output
    items = images_of(server, key)
    assert sorted(item["name"] for item in items) == ["a.png", "b.jpg", "c", "d.png"]
    assert all((item["namespace"], item["tags"]) == ("holidays", ["b", "a"]) for item in items)
    assert sorted(result.stdout.splitlines()) == sorted(item["url"] for item in items)
    assert "4 uploaded" in result.stderr


def test_a_folder_needs_recursive(server: Running, key: str, folder: Path) -> None:
    result = upload(server, folder, folder / "a.png", "--key", key)
    assert result.exit_code == 1
    assert f"{folder}: is a folder; use --recursive" in result.stderr
    assert "1 uploaded, 1 failed" in result.stderr
    assert [item["name"] for item in images_of(server, key)] == ["a.png"]


def test_files_and_folders_that_overlap(server: Running, key: str, folder: Path) -> None:
    result = upload(server, "-r", folder, folder / "a.png", folder / "deep", folder / ".hidden.png", "--key", key)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 5
    assert sorted(item["name"] for item in images_of(server, key)) == [".hidden.png", "a.png", "b.jpg", "c", "d.png"]


def test_running_again_uploads_nothing(server: Running, key: str, folder: Path) -> None:
    first = upload(server, folder, "-r", "--key", key)
    (folder / "a.png").rename(folder / "renamed.png")
    (folder / "new.png").write_bytes(picture(7))
    second = upload(server, folder, "-r", "--key", key)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "1 uploaded, 4 already there" in second.stderr
    assert set(first.stdout.splitlines()) < set(second.stdout.splitlines())
    assert len(images_of(server, key)) == 5


def test_the_same_bytes_under_two_names_are_one_image(server: Running, key: str, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(picture())
    result = upload(server, tmp_path / "one.png", tmp_path / "two.png", "--key", key)
    assert result.exit_code == 0
    assert "1 uploaded, 1 already there" in result.stderr
    assert len(set(result.stdout.splitlines())) == 1


def test_without_a_key(server: Running, folder: Path) -> None:
    result = upload(server, folder / "a.png")
    assert result.exit_code == 0
    media_id = Path(result.stdout.strip()).stem
    assert server.get(f"/v1/media/{media_id}").json()["editable"] is False


# ── where to, and with what ──


def test_the_environment(server: Running, key: str, folder: Path) -> None:
    result = upload_by_command(folder / "a.png", IMGPRO_URL=server.url + "/", IMGPRO_KEY=key)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    assert len(images_of(server, key)) == 1


def test_options_win_over_the_environment(server: Running, key: str, folder: Path) -> None:
    result = upload(server, folder / "a.png", "--key", key, IMGPRO_URL="http://127.0.0.1:9", IMGPRO_KEY="wrong")
    assert result.exit_code == 0, result.output
    assert len(images_of(server, key)) == 1


def test_the_local_server_is_the_one_of_the_configuration(server: Running, key: str, folder: Path) -> None:
    result = upload_by_command(folder / "a.png", "--key", key, IMGPRO_SERVER_PUBLIC_URL=server.url)
    assert result.exit_code == 0, result.output
    assert len(images_of(server, key)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("address", ["localhost:4647", "ftp://localhost", "//x", "http://", "http://host:abc"])
def test_an_address_that_is_none(tmp_path: Path, folder: Path, address: str) -> None:
    ended = run(tmp_path, "upload", str(folder / "a.png"), "--server", address)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "http://" in ended.stderr
    assert ended.stderr.startswith("imgpro-lite: ")


@pytest.mark.slow
def test_a_server_that_cannot_be_reached(tmp_path: Path, folder: Path) -> None:
    ended = run(tmp_path, "upload", str(folder / "a.png"), "--server", "http://127.0.0.1:9", "--key", "k")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"{folder / 'a.png'}: http://127.0.0.1:9 cannot be reached" in ended.stderr
    assert "1 failed" in ended.stderr
    assert "Traceback" not in ended.stderr


# ── what it says ──


def test_lines_of_json(server: Running, key: str, folder: Path) -> None:
    upload(server, folder / "b.jpg", "--key", key)
    result = upload(server, folder / "a.png", folder / "b.jpg", folder / "notes.png", "--json", "--key", key)
    assert result.exit_code == 1
    lines = {Path(line["path"]).name: line for line in map(json.loads, result.stdout.splitlines())}
    by_name = {item["name"]: item for item in images_of(server, key)}
    assert all(set(line) == {"path", "outcome", "error", "media"} for line in lines.values())
    for name, outcome in (("a.png", "uploaded"), ("b.jpg", "already there")):
        assert (lines[name]["outcome"], lines[name]["error"]) == (outcome, None)
        assert {field: lines[name]["media"][field] for field in by_name[name]} == by_name[name]
    assert (lines["notes.png"]["outcome"], lines["notes.png"]["media"]) == ("failed", None)
    assert "supported type" in lines["notes.png"]["error"]


def test_failures_are_told_with_their_reason(server: Running, key: str, folder: Path) -> None:
    (folder / "cut.png").write_bytes(make_image("png", 200, 100)[:-500])
    missing = folder / "missing.png"
    files = [folder / name for name in ("a.png", "notes.png", "cut.png")]
    result = upload(server, *files, missing, "--key", key)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    for path in (*files[1:], missing):
        (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"{path}: ")]
        assert len(line) > len(f"{path}: ") + 10
    assert f"{missing}: there is no such file" in result.stderr
    assert "1 uploaded, 3 failed" in result.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--key", "img_live_wrong"], "Invalid or missing API key"),
        (["--namespace", "Not One"], "namespace"),
        (["--tags", ",".join("abcdefghijk")], "tags"),
    ],
)
def test_what_the_server_refuses(server: Running, folder: Path, options: list[str], reason: str) -> None:
    result = upload(server, folder / "a.png", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr


@pytest.mark.parametrize("key", ["é", "a\nb", "a b", "\udcff", "\0"])
def test_a_key_that_can_be_none(server: Running, folder: Path, key: str) -> None:
    """It is told as such, and not tried again and again."""
    result = upload(server, folder / "a.png", "--key", key)
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit | OperatorError), result.exception
    told = result.stderr + str(result.exception)
    assert "key" in told
    assert "cannot be reached" not in told


def test_a_folder_without_images(server: Running, tmp_path: Path) -> None:
    ended = run(tmp_path, "upload", "-r", str(tmp_path), "--server", server.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no image" in ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that even root cannot read")
def test_a_file_that_cannot_be_read(server: Running, folder: Path) -> None:
    (folder / "broken.png").symlink_to("/proc/self/mem")
    for arguments in ([folder / "a.png", folder / "broken.png"], ["-r", folder]):
        result = upload(server, *arguments)
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 1
        assert f"{folder / 'broken.png'}: Input/output error" in result.stderr
        assert result.stdout.count("http://") == (1 if "-r" not in arguments else 4)


def test_a_file_name_of_any_bytes(server: Running, key: str, tmp_path: Path) -> None:
    names = ["caf\udce9.png", 'a"b.png', "a\nb.png", "größe.png", "-x.png", "[b].png", " .png"]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(picture(number))
    for options in ([], ["--json"]):
        result = upload(server, "-r", tmp_path, "--key", key, *options)
        assert result.exit_code == 0, result.exception
        assert len(result.stdout.splitlines()) == len(names)
    assert {"größe.png", 'a"b.png', "-x.png", "ab.png", "[b].png"} <= {item["name"] for item in images_of(server, key)}
