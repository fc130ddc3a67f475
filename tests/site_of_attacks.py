"""A server full of what strangers type, with a browser in which people are signed in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
from attacks import ATTACKS, EMAIL, TAGS, WATCH
from browser import Browser, open_browser
from commands import authorization, make_key
from images import make_image
from running import Running, servers, until
from uploading import Origin, Uploader

from imgpro_lite import ids, links
from imgpro_lite.clock import Clock
from imgpro_lite.store.data_dir import load_secrets

# People who are signed in, and what their keys are made with.
PEOPLE = {
    "owner": ("--verified", "--plan", "free"),
    "reader": ("--verified", "--read-only"),
    "newcomer": ("--plan", "free"),
}
PICTURE = make_image("png", 64, 48)


class LongAgo(Clock):
    """The time at which a link was made that is too old now."""

    def now(self) -> int:
        return super().now() - links.LINK_SECONDS - 60


@dataclass
class Site:
    """A server, a browser, and people with keys."""

    server: Running
    origin: str
    uploader: Uploader
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    """Ids of the owner's images, one for each of the attacks."""
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def browser(self) -> Browser:
        return self.uploader.browser

    @property
    def url(self) -> str:
        """As cookies and policies know it: by its name."""
        return f"http://localhost:{self.server.port}"

    def open(self, path: str, who: str = "") -> None:
        """Open a page as somebody who is signed in, or as nobody."""
        self.browser.call("Network.clearBrowserCookies")
        if who:
            if who not in self.cookies:
                self._sign_in(who)
            self.browser.call("Network.setCookie", url=self.url, **self.cookies[who])
        self.browser.goto("about:blank")  # or it may be a reload, which keeps an open editor
        self.browser.goto(self.url + path)

    def _sign_in(self, who: str) -> None:
        self.open("/dashboard/sign-in")
        self.fill("#key", self.keys[who]["key"])
        self.browser.click("form:has(#key) button")
        (cookie,) = self.browser.call("Network.getCookies")["cookies"]
        self.cookies[who] = {"name": cookie["name"], "value": cookie["value"]}

    def fill(self, selector: str, value: str) -> None:
        self.browser.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}")

    def press(self, selector: str) -> None:
        """Click what stays on the page."""
        self.browser.run(f"document.querySelector({json.dumps(selector)}).click()")

    def wait_for(self, selector: str) -> None:
        """Wait until something is there and seen."""
        until(lambda: self.browser.run(f"document.querySelector({json.dumps(selector)})?.checkVisibility()"))

    def post(self, path: str, who: str = "", **options: Any) -> dict[str, Any]:
        """What the API answers to something that it does."""
        headers = authorization(self.keys[who]) if who else {}
        answer = httpx2.post(f"{self.server.url}/v1{path}", headers=headers, trust_env=False, **options)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def upload(self, who: str = "", **fields: Any) -> dict[str, Any]:
        return self.post("/upload", who, files={"file": ("photo.png", PICTURE)}, data=fields)

    def link(self, path: str, purpose: str, payload: dict[str, str], clock: Clock | None = None) -> str:
        """A signed link, as a path."""
        token = links.Links(load_secrets(self.server.data_dir), clock or Clock()).sign(purpose, payload)
        return f"{path}?t={token}"

    def verify_link(self, clock: Clock | None = None) -> str:
        """The link that is mailed about a new key."""
        made = self.post("/keys", json={"email": EMAIL, "name": ATTACKS[0]})
        return self.link("/verify", links.VERIFY, {"key": made["key_id"], "email": EMAIL}, clock)

    def sign_in_link(self, clock: Clock | None = None) -> str:
        payload = {"team": self.team("owner"), "id": ids.new_token_id()}
        return self.link("/dashboard/sign-in/link", links.SIGN_IN, payload, clock)

    def upgrade_link(self, plan: str, clock: Clock | None = None) -> str:
        return self.link(f"/upgrade/{plan}", links.UPGRADE, {"team": self.team("owner"), "plan": plan}, clock)

    def team(self, who: str) -> str:
        return str(self.upload(who, ttl="1h")["src"].split("/")[3])


@contextmanager
def open_site(directory: Path) -> Iterator[Site]:
    """A server that knows every attack: as names, tags, details, ids and labels of keys."""
    (directory / "files").mkdir()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Origin) as origin,
        servers(directory) as start,
        open_browser() as browser,
    ):
        Thread(target=origin.serve_forever, daemon=True).start()
        port = origin.server_address[1]
        config = f"""
            [server]
            contact = "{EMAIL}"
            [mail]
            host = "127.0.0.1"
            port = 1
            [limits]
            anonymous_uploads_per_hour = 0
            anonymous_uploads_per_day = 0
            keys_per_email_per_hour = 0
            keys_per_ip_per_hour = 0
            unverified_keys_per_email = 0
            [import]
            allow_networks = ["127.0.0.1"]
            ports = [{port}]
            [plans.free]
            label = "Free {{{{7*7}}}} <b>plan</b>"
            uploads_per_month = 1000
            storage_mb = 5120
            [plans.pro]
            label = "Pro & <script>xss()</script>"
            uploads_per_month = 10000
            storage_mb = 51200
        """
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        site = Site(start(config=config), f"http://127.0.0.1:{port}", Uploader(browser, directory / "files"))
        _fill(site)
        yield site
        origin.shutdown()


def _fill(site: Site) -> None:
    for who, options in PEOPLE.items():
        email = EMAIL if who == "owner" else f"{who}@example.com"
        site.keys[who] = make_key(site.server.data_dir, "--name", ATTACKS[0], *options, email=email)
    for attack, tag in zip(ATTACKS, TAGS, strict=True):
        details = json.dumps({attack: attack, "deep": {attack: [attack]}})
        made = site.upload(
            "owner",
            name=attack,
            tags=json.dumps([tag, "long" * 12]),
            external_id=attack,
            metadata=details,
            namespace="a-project",
            date="2024-05-06T07:08:09Z",
            ttl="30d",
        )
        site.images.append(made["id"])
        site.post("/keys", "owner", json={"name": attack})
