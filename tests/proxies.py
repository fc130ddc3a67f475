"""nginx and Caddy as the README sets them up: its own text, with the ports, paths and certificates of a test."""

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from running import WAIT_SECONDS, environment, until

ROOT = Path(__file__).parent.parent
CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"

PAGES_HOST, SRC_HOST = "images.example.com", "src.example.com"


def code_blocks(language: str, heading: str) -> list[str]:
    """The README's examples in a language, below a heading."""
    readme = (ROOT / "README.md").read_text("utf-8")
    section = re.split(r"^#{2,3} ", readme.split(f"\n### {heading}\n")[1], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def find_program(name: str) -> str | None:
    """Where nginx or Caddy is installed; /usr/sbin is in the search path of few users."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


@dataclass
class Proxy:
    """A proxy that runs."""

    name: str
    pid: int
    http_port: int
    https_port: int
    directory: Path

    def client(self, host: str = PAGES_HOST, address: str = "127.0.0.1") -> httpx2.Client:
        """A client that asks for a host over TLS, from an address of this machine. Its certificate is not checked."""
        transport = httpx2.HTTPTransport(verify=False, local_address=address, trust_env=False)
        return httpx2.Client(
            transport=_Named(transport, host),
            base_url=f"https://127.0.0.1:{self.https_port}",
            headers={"Host": host},
            timeout=WAIT_SECONDS,
            trust_env=False,
        )

    def plain_client(self) -> httpx2.Client:
        """The same without TLS."""
        return httpx2.Client(
            base_url=f"http://127.0.0.1:{self.http_port}", headers={"Host": PAGES_HOST}, trust_env=False
        )


class _Named(httpx2.BaseTransport):
    """Says in the TLS handshake which host is meant, which the address does not."""

    def __init__(self, transport: httpx2.BaseTransport, host: str) -> None:
        self._transport = transport
        self._host = host

    def handle_request(self, request: Any) -> Any:
        request.extensions = {**request.extensions, "sni_hostname": self._host}
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


def _run(
    name: str, command: list[str], directory: Path, http_port: int, https_port: int, hosts: Sequence[str]
) -> Iterator[Proxy]:
    with (directory / "log").open("wb") as log:
        env = environment() | {
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, env=env)
    try:
        until(lambda: process.poll() is not None or all(_answers(https_port, host) for host in hosts))
        assert process.poll() is None, (directory / "log").read_text("utf-8")
        yield Proxy(name, process.pid, http_port, https_port, directory)
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def _answers(port: int, host: str) -> bool:
    """Whether it speaks TLS for a host: Caddy listens before it has made its certificates."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port)) as sock, context.wrap_socket(sock, server_hostname=host):
            return True
    except OSError:
        return False


_NGINX = """\
{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{recipe}
}}
"""


@contextlib.contextmanager
def nginx(
    directory: Path,
    server_port: int,
    more: str = "",
    *,
    cached_for: str = "60s",
    pages_host: str = PAGES_HOST,
    prefix: Sequence[str] = (),
) -> Iterator[Proxy]:
    """nginx with the README's configuration, in front of a server, with another time for the cache or another host.
    `more` goes into the server of the two hosts; `prefix` is a command that runs nginx."""
    program = find_program("nginx")
    assert program
    http_port, https_port = free_ports(2)
    (recipe,) = code_blocks("nginx", "nginx")
    for pattern, replacement in (
        (r"^ *listen \[::\].*\n", ""),
        (r"listen 80( default_server)?;", rf"listen 127.0.0.1:{http_port}\1;"),
        (r"listen 443 ", f"listen 127.0.0.1:{https_port} "),
        (r"127\.0\.0\.1:4647", f"127.0.0.1:{server_port}"),
        (r"/etc/letsencrypt/live/\S+\.pem", str(CERTIFICATE)),
        (r"/var/lib/nginx", str(directory)),
        (r"proxy_cache_valid 200 60s;", f"proxy_cache_valid 200 {cached_for};"),
        (re.escape(PAGES_HOST), pages_host),
        (r"^( *)server_tokens off;", rf"\1server_tokens off;\n{more}"),
    ):
        recipe, count = re.subn(pattern, replacement, recipe, flags=re.MULTILINE)
        assert count, pattern
    user = "user root;\n" if os.geteuid() == 0 else ""  # it reads the certificate, and writes where only we may
    (directory / "nginx.conf").write_text(_NGINX.format(user=user, directory=directory, recipe=recipe), "utf-8")
    command = [
        *prefix,
        program,
        "-e",
        str(directory / "error.log"),
        "-c",
        str(directory / "nginx.conf"),
        "-p",
        str(directory),
    ]
    yield from _run("nginx", command, directory, http_port, https_port, [pages_host, SRC_HOST])


_CADDY = """\
{{
	admin off
	local_certs
	skip_install_trust
	default_bind 127.0.0.1
	http_port {http_port}
	https_port {https_port}
}}
{recipe}
"""


@contextlib.contextmanager
def caddy(directory: Path, server_port: int) -> Iterator[Proxy]:
    """Caddy with the README's configuration, in front of a server, with certificates that it makes itself."""
    program = find_program("caddy")
    assert program
    http_port, https_port = free_ports(2)
    (recipe,) = code_blocks("caddyfile", "Caddy")
    assert "127.0.0.1:4647" in recipe
    recipe = recipe.replace("127.0.0.1:4647", f"127.0.0.1:{server_port}")
    text = _CADDY.format(http_port=http_port, https_port=https_port, recipe=recipe)
    (directory / "Caddyfile").write_text(text, "utf-8")
    command = [program, "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"]
    yield from _run("caddy", command, directory, http_port, https_port, [PAGES_HOST, SRC_HOST])
