"""`imgpro-lite config`: what it writes does upload, as each program would use it."""

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result
from commands import authorization, make_key
from images import make_image
from running import Running, servers

from imgpro_lite.cli.main import cli
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.upload_helpers import UploadTarget, upload_helpers

TAGS = ["50% {off}", "a|b", "back\\slash", 'it\'s "quoted"', "$(id)`id`"]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("server")) as start:
        yield start()


@pytest.fixture(scope="module")
def key(server: Running) -> str:
    return str(make_key(server.data_dir, "--verified")["key"])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(make_image("png", 30, 20))
    return path


def configure(*arguments: str, **env: str) -> Result:
    """`imgpro-lite config …`"""
    clean: dict[str, str | None] = {"IMGPRO_URL": None, "IMGPRO_KEY": None, **env}
    return CliRunner().invoke(cli, ["config", *arguments], env=clean, catch_exceptions=False)


def text_for(program: str, server: Running, key: str) -> str:
    """The configuration of a program, with all that it may have."""
    given = ["--server", server.url + "/", "--key", key, "--namespace", "shots", "--tags", ",".join(TAGS)]
    result = configure(program, *given)
    assert result.exit_code == 0
    return result.stdout


def check_stored(server: Running, key: str, answer: dict[str, Any], picture: Path) -> None:
    """The picture is there, with what the configuration gives it."""
    assert (answer["namespace"], answer["tags"]) == ("shots", TAGS)
    shown = server.get(f"/v1/media/{answer['id']}", headers=authorization({"key": key})).json()
    assert shown["src"] == answer["src"]
    assert server.get(answer["src"].removeprefix(server.url)).content == picture.read_bytes()


def test_sharex(server: Running, key: str, picture: Path) -> None:
    uploader = json.loads(text_for("sharex", server, key))
    # As its ShareXSyntaxParser reads texts.
    fields = {name: re.sub(r"\\(.)", r"\1", value) for name, value in uploader["Arguments"].items()}
    assert not [value for value in uploader["Arguments"].values() if re.search(r"(?<!\\)[{}|%]", value)]
    assert (uploader["RequestMethod"], uploader["Body"]) == ("POST", "MultipartFormData")
    assert uploader["DestinationType"] == "ImageUploader"
    assert tuple(map(int, uploader["Version"].split("."))) > (13, 7, 1)
    files = {uploader["FileFormName"]: ("photo.png", picture.read_bytes())}
    url, headers = uploader["RequestURL"], uploader["Headers"]
    answer = httpx2.post(url, headers=headers, data=fields, files=files, trust_env=False).json()
    check_stored(server, key, answer, picture)
    small = uploader["ThumbnailURL"].replace("{json:src}", answer[uploader["URL"].strip("{}").removeprefix("json:")])
    assert server.get(small.removeprefix(server.url)).status_code == 200
    refused = httpx2.post(url, headers=headers, trust_env=False).json()
    assert refused[uploader["ErrorMessage"].strip("{}").removeprefix("json:")].startswith("No file")


def test_picgo(server: Running, key: str, picture: Path) -> None:
    configuration = json.loads(text_for("picgo", server, key))
    assert configuration["picgoPlugins"] == {"picgo-plugin-web-uploader": True}
    chosen = configuration["picBed"]["uploader"]
    uploader = configuration["picBed"][chosen]
    answer = httpx2.post(
        uploader["url"],
        headers=json.loads(uploader["customHeader"]),
        data=json.loads(uploader["customBody"]),
        files={uploader["paramName"]: ("photo.png", picture.read_bytes())},
        trust_env=False,
    ).json()
    assert answer[uploader["jsonPath"]].endswith(".png")
    check_stored(server, key, answer, picture)


@needs_curl
def test_curl(server: Running, key: str, picture: Path, tmp_path: Path) -> None:
    path = tmp_path / "imgpro.curlrc"
    path.write_text(text_for("curl", server, key), "utf-8")
    done = subprocess.run(
        ["curl", "-q", "--noproxy", "*", "-K", str(path), "-F", f"file=@{picture}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    check_stored(server, key, json.loads(done.stdout), picture)


def run_script(script: Path, programs: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run the screenshot script where other programs are what is given here."""
    for name, body in programs.items():
        path = script.parent / name
        path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
        path.chmod(0o755)
    env = {"PATH": f"{script.parent}:{os.environ['PATH']}", "HOME": str(script.parent), "NO_PROXY": "*"}
    return subprocess.run([script], capture_output=True, text=True, timeout=30, env=env, check=False)


@needs_curl
def test_flameshot(server: Running, key: str, picture: Path, tmp_path: Path) -> None:
    script = tmp_path / "imgpro-screenshot"
    script.write_text(text_for("flameshot", server, key), "utf-8")
    script.chmod(0o700)
    others = {"xclip": f"cat > {tmp_path}/clipboard", "notify-send": "exit 1"}
    done = run_script(script, {"flameshot": f'[ "$*" = "gui --raw" ] && cat {picture}', **others})
    assert (done.returncode, done.stderr) == (0, "")
    address = (tmp_path / "clipboard").read_text("utf-8")
    assert done.stdout == address + "\n"
    found = server.get(f"/v1/media/{address.split('/')[-1].partition('.')[0]}").json()
    check_stored(server, key, found, picture)
    assert re.fullmatch(r"screenshot-[0-9-]+\.png", found["name"])

    for aborted in ("exit 1", "echo screenshot aborted"):
        assert run_script(script, {"flameshot": aborted}).stdout == ""
    refused = run_script(script, {"flameshot": r"printf '\211PNG and nothing more'"})
    assert refused.returncode == 1
    assert "The screenshot was not uploaded. The file" in refused.stdout


@pytest.mark.parametrize("program", list(upload_helpers()))
def test_without_a_key_there_is_no_trace_of_one(program: str) -> None:
    text = configure(program, "--server", "http://127.0.0.1:4647").stdout
    assert "Authorization" not in text
    assert "http://127.0.0.1:4647/v1/upload" in text
    assert text == upload_helpers()[program].text(UploadTarget("http://127.0.0.1:4647"))


def test_the_address_and_the_key_come_from_the_environment() -> None:
    env = {"IMGPRO_URL": "http://127.0.0.1:1", "IMGPRO_KEY": "img_live_mine"}
    assert "img_live_mine" in configure("curl", **env).stdout
    assert "img_live_mine" not in configure("curl", "--server", "http://127.0.0.1:2", **env).stdout


@pytest.mark.parametrize(("program", "mode"), [("sharex", 0o600), ("flameshot", 0o700)])
def test_a_file_with_a_key_is_its_owners_alone(tmp_path: Path, program: str, mode: int) -> None:
    path = tmp_path / "made"
    path.touch(mode=0o644)
    result = configure(program, "--server", "http://127.0.0.1:1", "--key", "img_live_mine", "--output", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "img_live_mine" in path.read_text("utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(
    "wrong",
    [("--namespace", "Not This"), ("--tags", "x" * 51), ("--key", "two words"), ("--server", "somewhere")],
)
def test_what_the_server_would_refuse_is_refused_at_once(wrong: tuple[str, str]) -> None:
    with pytest.raises(OperatorError):
        configure("curl", "--server", "http://127.0.0.1:1", *wrong)


@pytest.mark.parametrize(
    "address",
    [
        *("http://evil.example#@localhost:1", "http://localhost:1/#x", "http://localhost:1?x=", "http://localhost:1?"),
        *("http://u:p@localhost:1", "http://u@localhost:1", "http://evil.example\\@localhost:1", "http://local host"),
        *("http://", "file:///etc/passwd", "http://localhost:1/\n"),
    ],
)
def test_an_address_that_could_be_read_as_another(address: str) -> None:
    """The key would go to whoever the program takes it for, so it is not written down."""
    for named in ({"IMGPRO_URL": address}, {}):
        with pytest.raises(OperatorError, match="cannot be used as the address of a server") as refused:
            configure("curl", "--key", "img_live_mine", *([] if named else ["--server", address]), **named)
        assert "u:p" not in str(refused.value)  # a password may be in it


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "https://images.example.com/img/", "http://[::1]:4647"])
def test_any_other_address(address: str) -> None:
    assert f"{address.rstrip('/')}/v1/upload" in configure("curl", "--server", address).stdout


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be written"):
        configure("curl", "--server", "http://127.0.0.1:1", "--output", str(tmp_path / "no" / "where"))


def test_without_a_key_it_says_what_becomes_of_uploads(tmp_path: Path) -> None:
    """Beside the configuration, so that a file that it is written to has nothing of it."""
    given = ["sharex", "--server", "http://127.0.0.1:1"]
    result = configure(*given)
    assert "uploads are anonymous" in result.stderr
    assert "anonymous" not in result.stdout
    assert "anonymous" not in configure(*given, "--key", "img_live_mine").stderr
