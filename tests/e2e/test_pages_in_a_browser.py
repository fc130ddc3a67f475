"""The pages behind signed links in a real browser: their buttons, what their policy lets through, the keyboard."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browser import Browser, needs_browser, open_browser
from running import Running, servers

from imgpro_lite import links
from imgpro_lite.clock import Clock
from imgpro_lite.store.data_dir import load_secrets

pytestmark = needs_browser

EMAIL = "somebody.with.a.long.name@department.example.com"


class Payment(ThreadingHTTPServer):
    """The site where an operator's customers pay, which sends them on once; it remembers who came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PaymentHandler)
        self.visits: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _PaymentHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Payment)
        self.server.visits.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(302 if self.path.startswith("/buy") else 200)
        self.send_header("Location", "/till")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>Pay here</title>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is http.server's)
        """Nothing, where the tests' own output is."""


@dataclass
class Site:
    """A server, its payment site, and a browser."""

    server: Running
    payment: Payment
    browser: Browser
    keys: list[dict[str, str]] = field(default_factory=list)

    def link(self, path: str, purpose: str, payload: dict[str, str], clock: Clock | None = None) -> str:
        token = links.Links(load_secrets(self.server.data_dir), clock or Clock()).sign(purpose, payload)
        return f"{self.server.url}{path}?t={token}"

    def ask(self, name: str = "Laptop") -> str:
        """Make a key: the link that is mailed about it."""
        made = httpx2.post(f"{self.server.url}/v1/keys", json={"email": EMAIL, "name": name}, trust_env=False).json()
        self.keys.append(made)
        return self.link("/verify", links.VERIFY, {"key": made["key_id"], "email": EMAIL})

    def upgrade_link(self, plan: str) -> str:
        bearer = {"Authorization": f"Bearer {self.keys[0]['key']}"}
        picture = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
        team = self.server.upload(picture, headers=bearer).json()["src"].split("/")[3]
        return self.link(f"/upgrade/{plan}", links.UPGRADE, {"team": team, "plan": plan})

    def heading(self) -> str:
        return str(self.browser.run("document.querySelector('h1').textContent"))


class LastWeek(Clock):
    """The time at which a link was made that is too old now."""

    def now(self) -> int:
        return super().now() - links.LINK_SECONDS - 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("site")
    with Payment() as payment, servers(directory) as start, open_browser() as browser:
        threading.Thread(target=payment.serve_forever, daemon=True).start()
        config = f"""
            [server]
            contact = "the.operator.of.this.server@department.example.com"
            [mail]
            host = "127.0.0.1"
            port = 1
            [upgrade]
            mode = "redirect"
            url = "{payment.url}/buy?plan={{plan}}&team={{team}}"
        """
        made = Site(start(config=config), payment, browser)
        made.ask('<b>x</b> "' + "long" * 40)
        yield made
        payment.shutdown()


def test_the_buttons_work(site: Site) -> None:
    confirmed, disowned = site.ask("one"), site.ask("two")
    for url, choice, heading in (
        (confirmed, "confirm", "The key is confirmed"),
        (disowned, "disown", "The key has ended"),
    ):
        site.browser.goto(url)
        assert site.heading() == "Is this API key yours?"
        site.browser.click(f"button[value={choice}]")
        assert site.heading() == heading
        assert site.browser.faults(site.server.url) == []
    site.browser.goto(site.link("/verify", links.VERIFY, {"key": site.keys[0]["key_id"], "email": EMAIL}, LastWeek()))
    site.browser.click("button")
    assert EMAIL in site.browser.run("document.querySelector('.result').textContent")


def test_the_payment_is_reached_past_the_policy_and_learns_no_token(site: Site) -> None:
    url = site.upgrade_link("pro")
    site.browser.goto(url)
    site.payment.visits.clear()
    site.browser.click("button")
    assert site.browser.run("document.title") == "Pay here"
    (first, headers), (second, _) = [visit for visit in site.payment.visits if "favicon" not in visit[0]]
    assert first.startswith("/buy?plan=pro&team=")
    assert second == "/till"
    token = url.partition("t=")[2]
    assert token not in str((first, headers))
    assert "referer" not in headers


def test_the_keyboard_reaches_everything_and_shows_where_it_is(site: Site) -> None:
    site.browser.goto(site.ask("keyboard"))
    focused = []
    for _ in range(8):
        for kind in ("keyDown", "keyUp"):
            site.browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        outline = "getComputedStyle(document.activeElement).outline"
        assert "3px" in site.browser.run(outline)
        focused.append(site.browser.run("document.activeElement.textContent"))
    assert focused[0] == "Skip to the content"
    assert focused[2:6] == ["Upload", "Images", "Documentation", "Pricing"]  # after the name of the site
    assert focused[6:] == ["Confirm", "I did not ask for this"]
