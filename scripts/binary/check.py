"""Try the single file as a stranger would, where there is no Python: check.py FILE. It ends with 1 if that fails."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from place import Place, make_place

SAMPLES = Path(__file__).parent.parent.parent / "imgpro_lite" / "imaging" / "samples"
WAIT_SECONDS = 60
MAX_MB = 80
READY_SECONDS = 2.5
PAGES = ("/", "/dashboard/sign-in", "/api", "/api/reference", "/openapi.json", "/pricing", "/healthz", "/llms.txt")


def expect(is_so: object, what: str) -> None:
    """Say that it is so, or end."""
    if not is_so:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


def run(place: Place, *arguments: str, variables: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """A command's exit status, and what it prints."""
    process = place.start(*arguments, variables=variables)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    return process.returncode, out, err


class Server:
    """A running server, on a port of its own."""

    def __init__(self, place: Place, *flags: str) -> None:
        begun = time.monotonic()
        data = place.inside(place.work / "data")
        self.process = place.start("serve", "--port", "0", "--print-json", "--data-dir", data, *flags)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready_seconds = time.monotonic() - begun
        if not line:
            sys.exit(f"FAILED: the server starts: {self.process.communicate()[1]}")
        self.port = json.loads(line)["port"]

    def request(self, path: str, body: bytes | None = None, **headers: str) -> tuple[str, bytes]:
        """The type and the body of a good answer."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, names)
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return answer.headers["Content-Type"], answer.read()

    def workers(self) -> list[int]:
        """The processes that decode."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> tuple[int, str]:
        """SIGTERM: the exit status and the log."""
        self.process.terminate()
        log = self.process.communicate(timeout=WAIT_SECONDS)[1]
        return self.process.returncode, log


@contextmanager
def serving(place: Place, *flags: str) -> Iterator[Server]:
    server = Server(place, *flags)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def upload(server: Server, key: str, sample: str) -> dict[str, Any]:
    border = uuid4().hex
    head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{sample}"\r\n\r\n'
    body = head.encode() + (SAMPLES / sample).read_bytes() + f"\r\n--{border}--\r\n".encode()
    given = {"Authorization": f"Bearer {key}", "Content_Type": f"multipart/form-data; boundary={border}"}
    return json.loads(server.request("/v1/upload", body, **given)[1])


def check_size(file: Path) -> None:
    size_mb = file.stat().st_size / 1e6
    expect(size_mb <= MAX_MB, f"{size_mb:.1f} MB")


def check_server(place: Place) -> None:
    with serving(place) as server:
        asked = server.request("/v1/keys", b'{"email": "you@example.com"}', Content_Type="application/json")
        key = json.loads(asked[1])["key"]
        path = upload(server, key, "8-bit.heic")["src"].partition(str(server.port))[2].rpartition(".")[0]
        kind, picture = server.request(f"{path}.avif?size=s")
        expect(kind == "image/avif" and picture[4:12] == b"ftypavif", "a HEIC picture is fetched as AVIF")
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        expect(server.request(f"{path}.webp?size=s")[1][8:12] == b"WEBP", "the next transform works after workers died")
        for sample in ("10-bit.heic", "12-bit.avif", "shapes.svg", "24-bit.bmp", "lzw.tiff", "animated.gif"):
            upload(server, key, sample)
        expect(True, "other formats are taken")
        texts = [server.request(page)[1].decode() for page in PAGES]
        expect(all(texts), f"{', '.join(PAGES)} are served")
        files = {path for text in texts for path in re.findall(r"/static/[\w.-]+", text)}
        expect(
            len(files) > 5 and all(server.request(path)[1] for path in files), f"{len(files)} static files are served"
        )
        check_backup(place)
        status, log = server.stop()
        expect(status == 0 and "stopped" in log and "Traceback" not in log, "SIGTERM ends it with status 0")
    expect(list(place.temporary.iterdir()) == [], "nothing is left in /tmp")


def check_backup(place: Place) -> None:
    if " backup " not in run(place, "--help")[1]:
        return
    done = run(place, "backup", place.inside(place.work / "backup"), "--data-dir", place.inside(place.work / "data"))
    expect(done[0] == 0, f"backup: {done[2]}")


def check_commands(place: Place) -> None:
    expect(run(place, "--version")[:2] == (0, "imgpro-lite, version 0.1.0\n"), "--version")
    names = re.findall(r"^│ (\w+) ", run(place, "--help")[1], re.MULTILINE)
    expect(
        "serve" in names and all(run(place, name, "--help")[0] == 0 for name in names), f"{', '.join(names)}: --help"
    )
    status, out, _ = run(place, "doctor", "--json")
    report = json.loads(out)
    missing = [check["name"] for check in report["protections"] if not check["in_force"]]
    expect(status == 0 and report["ok"] and not missing, f"doctor: every format works, protections missing: {missing}")
    licenses = run(place, "licenses", "--full")[1]
    named = ("libheif", "glibc", "GNU LESSER GENERAL PUBLIC LICENSE")
    expect(all(text in licenses for text in named), "licenses --full")
    dev = run(place, "exec", "--", "/bin/sh", "-c", 'echo "$IMGPRO_KEY|$LD_LIBRARY_PATH"; exit 7')
    expect(dev[0] == 7 and re.fullmatch(r"img_live_\w+\|\n", dev[1]), "exec, whose command does not get our libraries")


def check_unpacking(place: Place) -> None:
    cache = place.home / ".cache" / "imgpro-lite"
    (unpacked,) = cache.glob("imgpro-lite-*")
    expect(
        unpacked.stat().st_mode & 0o77 == 0 and cache.stat().st_mode & 0o77 == 0,
        "only its user may read it",
    )
    (unpacked / "_internal" / "base_library.zip").unlink()
    older = cache / "imgpro-lite-0.0.1-older"
    older.mkdir()
    starting = [place.start("--version") for _ in range(4)]
    ended = [process.communicate(timeout=WAIT_SECONDS) for process in starting]
    expect(all(not err for _, err in ended), "four at once repair what something has cleaned up")
    expect([path.name for path in cache.iterdir() if path.is_dir()] == [unpacked.name], "an older version is removed")
    status, _, err = run(place, "--version", variables={"IMGPRO_UNPACK_DIR": "/dev/null"})
    expect(status == 1 and "IMGPRO_UNPACK_DIR" in err, "without a directory it says what to do")
    place.home.joinpath("open").mkdir()
    place.home.joinpath("open").chmod(0o777)
    status, _, err = run(place, "--version", variables={"IMGPRO_UNPACK_DIR": place.inside(place.home / "open")})
    expect(status == 1 and "somebody else" in err, "it does not unpack where others may write")


def check_kill(place: Place) -> None:
    """After a kill -9 nothing is left but what the next start uses."""
    with serving(place) as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait()
    deadline = time.monotonic() + WAIT_SECONDS
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    expect(not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers die with the server")
    expect(list(place.temporary.iterdir()) == [], "a killed server leaves nothing in /tmp")
    with serving(place) as server:
        expect(server.stop()[0] == 0, "it starts again")


def check_times(place: Place) -> None:
    """How long it takes until the server is ready: the first time, from a disk that has to be read, and again. Last of
    all, because on a machine that is busy this fails, and says nothing of what it can do."""
    for _ in range(3):  # something else may keep the machine busy for a while
        shutil.rmtree(place.home / ".cache")
        times = measure_starts(place)
        if max(times) <= READY_SECONDS:
            break
        print(f"too slow, tried again: {times}", flush=True)
    shown = ", ".join(f"{seconds:.2f} s" for seconds in times)
    said = f"ready within {READY_SECONDS} s: when it unpacks, from the disk, and again: {shown}"
    expect(max(times) <= READY_SECONDS, said)


def measure_starts(place: Place) -> list[float]:
    """Seconds of three starts, before the first two of which nothing of the file is in memory."""
    times = []
    for is_cold in (True, True, False):
        if is_cold and os.geteuid() == 0:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        with serving(place) as server:
            times.append(server.ready_seconds)
            expect(server.stop()[0] == 0, f"started and stopped, {server.ready_seconds:.2f} s")
    return times


def main() -> None:
    file = Path(sys.argv[1])
    with make_place(file) as place:
        check_size(file)
        check_commands(place)
        check_server(place)
        check_unpacking(place)
        check_kill(place)
        check_times(place)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        sys.exit(f"FAILED: {type(error).__name__}: {error}")
