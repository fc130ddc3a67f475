"""Stored SVG in a real browser: no program in it runs, and nobody outside is asked for anything."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import hostile_svg
import pytest
from browser import Browser, needs_browser, open_browser
from running import Running, servers

from imgpro_lite.web.cdn import SVG_POLICY

pytestmark = needs_browser

# Long enough for a program that waits for the document, and for what it asks for.
SETTLE_SECONDS = 0.2

# What a program of a document does: mark its window, tell those around it, and ask the canary.
PROGRAM = (
    "(function(n){document.documentElement.setAttribute('data-ran',n);top.postMessage(n,'*');"
    "new Image().src='%s/ran-'+n})"
)

PAGE = """<!doctype html><title>Somebody else's page</title>
<script>window.ran = []; addEventListener("message", (event) => ran.push(event.data));</script>%s"""


class OtherSite(ThreadingHTTPServer):
    """A site of another origin, which is also the canary: it remembers every address that it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _OtherSiteHandler)
        self.files: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.hits: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def publish(self, path: str, content: bytes, **headers: str) -> str:
        """Put a file there: its address."""
        self.files[path] = content, {name.replace("_", "-"): value for name, value in headers.items()}
        return self.url + path


class _OtherSiteHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, OtherSite)
        content, headers = self.server.files.get(self.path, (b"", {}))
        if self.path not in self.server.files:
            self.server.hits.append(self.path)
        self.send_response(200 if content else 404)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        with contextlib.suppress(ConnectionError):  # the browser may have turned away from the page
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is http.server's)
        """Nothing, where the tests' own output is."""


@dataclass
class Place:
    """Our server, somebody else's site, and a browser."""

    server: Running
    site: OtherSite
    browser: Browser

    def harm_of(self, url: str) -> list[str]:
        """What a document does to those who open it, and to pages that show it in each of the three ways."""
        self.site.hits.clear()
        self.browser.goto(url)
        time.sleep(SETTLE_SECONDS)
        ran = [self.browser.run("document.documentElement.getAttribute('data-ran')")]
        shown = f'<img src="{url}"><object data="{url}"></object><iframe src="{url}"></iframe>'
        self.browser.goto(self.site.publish("/page", (PAGE % shown).encode(), Content_Type="text/html"))
        time.sleep(SETTLE_SECONDS)
        ran += self.browser.run("window.ran")
        return [name for name in ran if name] + [hit for hit in self.site.hits if hit != "/favicon.ico"]

    def raw(self, name: str) -> bytes:
        return hostile_svg.document(name, self.site.url, PROGRAM % self.site.url)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with OtherSite() as site, servers(tmp_path_factory.mktemp("place")) as start, open_browser() as browser:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        config = "[limits]\nanonymous_uploads_per_hour = 0\n"  # there are more attacks than that
        yield Place(start(config=config), site, browser)
        site.shutdown()


def test_a_stored_drawing_does_nothing(place: Place) -> None:
    """Also where somebody keeps it elsewhere, without the policy it is served with."""
    for name in hostile_svg.DOCUMENTS:
        made = place.server.upload(place.raw(name))
        assert made.status_code == 201, made.text
        src = made.json()["src"]
        served = place.server.get(src)
        assert place.harm_of(src) == [], name
        assert place.harm_of(place.site.publish(f"/{name}.svg", served.content, Content_Type="image/svg+xml")) == []


def test_the_policy_alone_keeps_a_hostile_drawing_quiet(place: Place) -> None:
    """The second lock, without the first: a document that was never sanitised."""
    headers = {"Content_Type": "image/svg+xml", "Content_Security_Policy": SVG_POLICY}
    assert place.harm_of(place.site.publish("/locked.svg", place.raw("all"), **headers)) == []


@pytest.mark.slow
def test_without_both_it_does_harm(place: Place) -> None:
    """The test of the test: the canary sings."""
    harm = place.harm_of(place.site.publish("/open.svg", place.raw("all"), Content_Type="image/svg+xml"))
    assert {"script", "script-cdata", "/script-href", "/sheet-import", "/image"} <= set(harm)
