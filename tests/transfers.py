"""Two servers, and images that go from one to the other by command."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from click.testing import CliRunner, Result
from commands import authorization, make_key
from contract_server import listening
from library import new_email, picture

from imgpro_lite.cli.main import cli
from imgpro_lite.errors import OperatorError
from imgpro_lite.fetching.internet import Internet

# What the contract has of an image; dates, external ids and ends are extras of ours.
CONTRACT_FIELDS = (
    "id name url src width height filesize extension editable tags namespace public created_at items cursor has_more"
)


@dataclass
class Site:
    """A server that listens, and a key of a team on it."""

    url: str
    data_dir: Path
    client: httpx2.Client
    key: str = ""

    def team(self, *options: str) -> "Site":
        """The same server for another team."""
        options = options or ("--verified",)
        return self.with_key(str(make_key(self.data_dir, *options, email=new_email())["key"]))

    def with_key(self, key: str) -> "Site":
        """The same server with another key."""
        return Site(self.url, self.data_dir, self.client, key)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """A request with the key; the answer, whatever it is."""
        headers = authorization({"key": self.key})
        return self.client.request(method, self.url + path, headers=headers, **options)

    def add(self, content: bytes | None = None, **fields: str) -> dict[str, Any]:
        """Upload an image: what it is shown as."""
        answer = self.ask("POST", "/v1/upload", data=fields, files={"file": ("photo.jpg", content or picture())})
        assert answer.status_code == 201, answer.text
        shown: dict[str, Any] = self.ask("GET", f"/v1/media/{answer.json()['id']}").json()
        return shown

    def images(self) -> list[dict[str, Any]]:
        """All images, as the list has them in its order, each with its metadata."""
        items = self.ask("GET", "/v1/media?limit=100").json()["items"]
        return [self.ask("GET", f"/v1/media/{item['id']}").json() for item in items]

    def original(self, image: dict[str, Any], extension: str) -> bytes:
        """The bytes at an image's address with an extension."""
        answer = self.client.get(f"{image['src'].rpartition('.')[0]}.{extension}")
        assert answer.status_code == 200
        return bytes(answer.content)

    def names(self) -> list[str]:
        return [image["name"] for image in self.images()]


@contextlib.contextmanager
def site(data_dir: Path, **sections: Any) -> Iterator[Site]:
    """A server in a thread of the test."""
    with listening(data_dir, Internet(), **sections) as url, httpx2.Client(trust_env=False, timeout=30) as client:
        yield Site(url, data_dir, client)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def without_place(image: dict[str, Any]) -> dict[str, Any]:
    """All of it but what is new at the destination."""
    return {name: value for name, value in image.items() if name not in ("id", "url", "src", "created_at")}


def push(near: Site, far: Site, state: Path, *arguments: str | Path, url: str | None = None, **env: str) -> Result:
    """`imgpro-lite push` from one site to another, or to its `url` of a facade; with what it says."""
    where = ("--server", near.url, "--server-key", near.key, "--to", url or far.url, "--key", far.key)
    return run_transfer("push", *where, *arguments, state=state, **env)


def run_transfer(command: str, *arguments: str | Path, state: Path, **env: str) -> Result:
    """`imgpro-lite push …` or `pull …` in this process, with its exit code and what it prints."""
    ours = {"IMGPRO_URL": None, "IMGPRO_KEY": None, "IMGPRO_FAR_KEY": None, "XDG_STATE_HOME": str(state), **env}
    return CliRunner().invoke(cli, [command, *map(str, arguments)], env=ours)


def refusal(result: Result) -> str:
    """What the operator is told by a command that did nothing."""
    assert isinstance(result.exception, OperatorError), result.exception
    assert result.stdout == ""
    return str(result.exception)


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]
