"""Other servers of images, where they are installed: ipx (npm), thumbor (pip) and nginx (Debian)."""

import os
import shlex
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Server, free_port, process

# node and Python take a second or two to start.
START_SECONDS = 30.0

_THUMBOR = """
LOADER = "thumbor.loaders.file_loader"
FILE_LOADER_ROOT_PATH = "{images}"
STORAGE = "thumbor.storages.no_storage"
RESULT_STORAGE = "thumbor.result_storages.file_storage"
RESULT_STORAGE_FILE_STORAGE_ROOT_PATH = "{results}"
RESULT_STORAGE_STORES_UNSAFE = True
"""

# As Debian ships it, but with one process as the others have, and without a log, which is to its advantage.
_NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    access_log off;
    types {{ image/webp webp; image/jpeg jpeg; }}
    client_body_temp_path {folder}/t1;
    proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4;
    scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port};
        root {images};
    }}
}}
"""


def command(name: str) -> list[str] | None:
    """How a peer is started: IMGPRO_BENCH_<NAME>, or the program of that name, or None when it is not installed."""
    if given := os.environ.get(f"IMGPRO_BENCH_{name.upper()}"):
        return shlex.split(given)
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"  # where Debian has nginx, and few users look
    found = shutil.which(name, path=path)
    return [found] if found else None


def missing(*names: str) -> Iterator[str]:
    """A line for each peer that is not installed."""
    for name in names:
        if command(name) is None:
            yield f"{name} is not installed, so it is left out (IMGPRO_BENCH_{name.upper()} may name its command)"


@contextmanager
def ipx(images: Path) -> Iterator[Server | None]:
    """ipx serving a folder of images, or None when it is not installed."""
    if (start := command("ipx")) is None:
        yield None
        return
    port = free_port()
    arguments = ["serve", "--dir", str(images), "--port", str(port), "--host", "127.0.0.1"]
    with _listening([*start, *arguments], port, images) as server:
        yield server


@contextmanager
def thumbor(images: Path, prefix: Sequence[str] = ()) -> Iterator[Server | None]:
    """thumbor with its result storage, serving a folder of images, or None when it is not installed."""
    if (start := command("thumbor")) is None:
        yield None
        return
    port = free_port()
    config = images.parent / f"thumbor-{port}.conf"
    config.write_text(_THUMBOR.format(images=images, results=images.parent / "thumbor-results"))
    arguments = ["--ip", "127.0.0.1", "--port", str(port), "--log-level", "error", "--conf", str(config)]
    with _listening([*prefix, *start, *arguments], port, images) as server:
        yield server


@contextmanager
def nginx(images: Path, prefix: Sequence[str] = ()) -> Iterator[Server | None]:
    """nginx serving a folder of files, or None when it is not installed."""
    if (start := command("nginx")) is None:
        yield None
        return
    port = free_port()
    config = images.parent / "nginx.conf"
    # As root it would read the files as somebody else, who may not.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(user=user, folder=images.parent, images=images, port=port))
    with _listening([*prefix, *start, "-p", str(images.parent), "-c", str(config)], port, images) as server:
        yield server


def ipx_path(format_: str, width: int, height: int, name: str) -> str:
    """The path of a variant at ipx."""
    return f"/f_{format_},s_{width}x{height}/{name}"


def thumbor_path(format_: str, width: int, height: int, name: str) -> str:
    """The path of a variant at thumbor."""
    return f"/unsafe/{width}x{height}/filters:format({format_})/{name}"


@contextmanager
def _listening(start: Sequence[str], port: int, images: Path) -> Iterator[Server]:
    environ: Mapping[str, str] = os.environ
    with process(start, environ, images.parent / "peers.log") as running:
        deadline = time.monotonic() + START_SECONDS
        while not _accepts(port):
            if running.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{start[0]} did not start; see {images.parent / 'peers.log'}")
            time.sleep(0.05)
        yield Server(running.pid, f"http://127.0.0.1:{port}", images, 0)


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
