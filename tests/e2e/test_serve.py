"""`imgpro-lite serve` as an operator meets it: how it starts, how it ends, and what it says when it cannot."""

import contextlib
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from images import make_image
from running import WAIT_SECONDS, Running, Start, command, form, is_alive, run, servers, until

from imgpro_lite.clock import Clock
from imgpro_lite.store.sqlite_file import open_for_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    with servers(tmp_path) as start:
        yield start


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def count_rows(server: Running) -> int:
    with closing(sqlite3.connect(server.data_dir / "imgpro.db")) as conn:
        return int(conn.execute("SELECT count(*) FROM media").fetchone()[0])


def test_it_says_where_it_listens_and_what_to_type(serve: Start, tmp_path: Path) -> None:
    server = serve()
    assert f"ready at http://localhost:{server.port}\n" in server.stdout
    assert str(server.data_dir) in server.stdout
    assert str(tmp_path / "imgpro.toml") in server.stdout
    (line,) = re.findall(r"^\s*(curl .*)$", server.stdout, re.MULTILINE)
    program, *args = shlex.split(line)
    (tmp_path / "photo.jpg").write_bytes(make_image("jpeg", 60, 40))
    if shutil.which(program):
        answer = subprocess.run([program, "-sS", *args], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert '"width":60,"height":40' in answer.stdout
    assert args[:2] == ["-F", "file=@photo.jpg"]
    assert args[2:] == [f"http://localhost:{server.port}/v1/upload"]
    assert server.get("/healthz").json() == {"status": "ok"}


@pytest.mark.slow
def test_where_uploads_need_a_key_what_it_says_to_type_has_a_place_for_one(serve: Start) -> None:
    server = serve(config="[anonymous]\nenabled = false\n")
    assert 'curl -H "Authorization: Bearer YOUR_API_KEY" -F file=@photo.jpg ' in server.stdout


def test_the_installed_command_is_the_module() -> None:
    installed = Path(sys.executable).parent / "imgpro-lite"
    if not installed.exists():
        pytest.skip("imgpro-lite is not installed beside this Python")
    texts = {
        subprocess.run([*start, "--version"], capture_output=True, text=True, check=True).stdout
        for start in ([str(installed)], command())
    }
    assert len(texts) == 1
    assert "imgpro-lite" in texts.pop()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_quiet_server_ends_cleanly(serve: Start, number: int) -> None:
    server = serve()
    workers = server.workers()
    assert len(workers) == 1
    idle = server.connect()
    idle.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert idle.read_json()[0] == 200
    assert server.end(number) == 0
    assert idle.read_to_end() == b""  # kept open until then
    assert not any(is_alive(pid) for pid in workers)
    assert "Traceback" not in server.stderr
    assert files_in(server.data_dir / "tmp") == []


@pytest.mark.parametrize(
    "variants",
    [
        ("avif?size=l",),
        pytest.param(
            ("avif?size=l", "avif?size=m", "webp?size=l", "png?size=l", "jpeg?size=l"), marks=pytest.mark.slow
        ),
    ],
    ids=len,
)
def test_a_server_that_is_told_to_stop_finishes_what_is_in_flight(serve: Start, variants: tuple[str, ...]) -> None:
    server = serve()
    src = server.upload(make_image("jpeg", 5000, 4000)).json()["src"]
    workers = server.workers()
    bodies = [form(make_image("png", 40 + number, 30)) for number in range(2 + len(variants))]
    uploads = [server.connect() for _ in bodies]
    for upload, body in zip(uploads, bodies, strict=True):
        upload.send_upload_head(f"Content-Length: {len(body)}")
        upload.send(body[:100])
    until(lambda: len(files_in(server.data_dir / "tmp")) == len(bodies))
    sockets = count_sockets(server)
    with ThreadPoolExecutor(len(variants)) as threads:
        views = [threads.submit(server.get, src.replace("jpeg", variant)) for variant in variants]
        until(lambda: count_sockets(server) >= sockets + len(variants))
        until(lambda: list((server.data_dir / "cache").rglob("*.tmp")))
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(server))
        for upload, body in zip(uploads, bodies, strict=True):
            upload.send(body[100:])
        for number, upload in enumerate(uploads):
            status, shown = upload.read_json()
            assert (status, shown["width"]) == (201, 40 + number)
        assert {view.result(WAIT_SECONDS).status_code for view in views} == {200}
    assert server.process.wait(WAIT_SECONDS) == 0
    assert not any(is_alive(pid) for pid in workers)
    assert "Traceback" not in server.stderr
    assert count_rows(server) == 1 + len(bodies)


@pytest.mark.slow
def test_a_client_that_never_ends_does_not_keep_a_server_from_stopping(serve: Start) -> None:
    server = serve(config="[server]\nshutdown_seconds = 1\n")
    workers = server.workers()
    body = form(make_image("png", 40, 30) + b"\0" * 100_000)
    upload = server.connect()
    upload.send_upload_head(f"Content-Length: {len(body)}")
    upload.send(body[:50_000])
    until(lambda: files_in(server.data_dir / "tmp"))
    assert server.end() == 0
    status, answer = upload.read_json()
    assert (status, answer["error"]) == (503, "overloaded")
    assert "Traceback" not in server.stderr
    assert not any(is_alive(pid) for pid in workers)
    assert files_in(server.data_dir / "tmp") == files_in(server.data_dir / "blobs") == []


def count_sockets(server: Running) -> int:
    links = Path(f"/proc/{server.process.pid}/fd").iterdir()
    with contextlib.suppress(FileNotFoundError):  # one was closed in this moment
        return sum(str(link.readlink()).startswith("socket:") for link in links)
    return 0


def refuses_connections(server: Running) -> bool:
    try:
        server.connect().close()
    except OSError:
        return True
    return False


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_server(serve: Start) -> None:
    server = serve()
    src = server.upload(make_image("jpeg", 5000, 4000)).json()["src"]
    (idle,) = server.workers()
    asking = server.connect()
    path = src.removeprefix(f"http://localhost:{server.port}").replace(".jpeg", ".avif?size=l")
    asking.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    until(lambda: list((server.data_dir / "cache").rglob("*.tmp")))
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not is_alive(idle))
    restarted = serve()
    assert list((server.data_dir / "cache").rglob("*.tmp")) == []
    assert restarted.get(path).status_code == 200


def test_a_restart_keeps_everything(serve: Start) -> None:
    server = serve()
    content = make_image("jpeg", 500, 400)
    shown = server.upload(content).json()
    path = shown["src"].removeprefix(f"http://localhost:{server.port}")
    variant = server.get(path.replace(".jpeg", ".webp?size=s"))
    assert server.end() == 0
    server = serve()
    assert server.get(path).content == content
    again = server.get(path.replace(".jpeg", ".webp?size=s"))
    assert (again.content, again.headers["etag"]) == (variant.content, variant.headers["etag"])
    media = server.get(f"/v1/media/{shown['id']}").json()
    assert (media["id"], media["expires_at"]) == (shown["id"], shown["expires_at"])


def test_an_upload_that_a_crash_cuts_short_leaves_nothing(serve: Start) -> None:
    server = serve()
    kept = server.upload(make_image("png", 40, 30)).json()
    body = form(make_image("png", 30, 40) + b"\0" * 2_000_000)
    upload = server.connect()
    upload.send_upload_head(f"Content-Length: {len(body)}")
    upload.send(body[:1_500_000])
    until(lambda: any(path.stat().st_size for path in files_in(server.data_dir / "tmp")))
    server.end(signal.SIGKILL)
    assert len(files_in(server.data_dir / "tmp")) == 1
    server = serve()
    assert files_in(server.data_dir / "tmp") == []
    assert server.get(f"/v1/media/{kept['id']}").status_code == 200
    assert count_rows(server) == len(files_in(server.data_dir / "blobs")) == 1


def refusal(directory: Path, *args: str) -> tuple[int, str]:
    """The exit code and the message of a server that cannot start."""
    ended = run(directory, "serve", *args)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "Exception in thread" not in ended.stderr
    assert "ready at" not in ended.stdout
    paragraph = ended.stderr.strip()
    assert paragraph
    assert "\n\n" not in paragraph
    return ended.returncode, " ".join(paragraph.split())


def test_a_second_server_on_the_same_directory(serve: Start, tmp_path: Path) -> None:
    server = serve()
    code, message = refusal(tmp_path, "--port", "0", "--data-dir", str(server.data_dir))
    assert code == 1
    assert "already running" in message
    assert str(server.data_dir) in message
    assert server.get("/healthz").status_code == 200


def test_a_port_in_use(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        code, message = refusal(tmp_path, "--port", port, "--data-dir", "data")
    assert code == 1
    assert f"port {port}" in message
    assert "--port" in message
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, ["imgpro.toml"]),
        ("[server\nport = 1", ["imgpro.toml", "TOML"]),
        ("[server]\nprot = 1\nhost = 5\n[limits]\nfile_mb = -1", ["prot", "port", "host", "file_mb"]),
        ("[server]\nport = 70000", ["port", "65535"]),
        ('[server]\npublic_url = "images.example.com"', ["public_url", "https://"]),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, config: str | None, says: list[str]) -> None:
    path = tmp_path / "imgpro.toml"
    path.mkdir() if config is None else path.write_text(config, encoding="utf-8")
    code, message = refusal(tmp_path, "--config", str(path), "--data-dir", "data")
    assert code == 2
    for word in says:
        assert word in message
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("args", [("--port", "x"), ("--config", "no-such-file.toml"), ("--nonsense",)])
def test_a_wrong_command_line(tmp_path: Path, args: tuple[str, ...]) -> None:
    ended = run(tmp_path, "serve", *args)
    assert ended.returncode == 2
    assert args[-1] in ended.stderr
    assert "Traceback" not in ended.stderr


def newer_database(data: Path) -> None:
    with open_for_command(data / "imgpro.db", Clock()) as conn:
        conn.execute("PRAGMA user_version = 9999")


def no_database(data: Path) -> None:
    (data / "imgpro.db").write_bytes(b"my diary, which is not a database at all. " * 200)


def in_the_way(name: str) -> Callable[[Path], None]:
    def put(data: Path) -> None:
        (data / name).write_text("mine")

    return put


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (newer_database, "newer imgpro-lite"),
        (no_database, "imgpro.db"),
        (in_the_way("blobs"), "data directory"),
        (in_the_way("cache"), "data directory"),
        (in_the_way("tmp"), "data directory"),
    ],
    ids=["newer database", "no database", "blobs", "cache", "tmp"],
)
def test_a_data_directory_that_cannot_be_used(tmp_path: Path, prepare: Callable[[Path], None], says: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    prepare(data)
    before = {path.name: path.read_bytes() for path in files_in(data)}
    code, message = refusal(tmp_path, "--port", "0", "--data-dir", "data")
    assert code == 1
    assert says in message
    assert {name: (data / name).read_bytes() for name in before} == before


def test_a_data_directory_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, message = refusal(tmp_path, "--port", "0", "--data-dir", "file/data")
    assert code == 1
    assert "--data-dir" in message


def test_a_wider_address_without_public_url_prints_what_to_set(serve: Start) -> None:
    assert "public_url" in serve(args=("--host", "0.0.0.0")).stdout
