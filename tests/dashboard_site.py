"""The dashboard as somebody has it in a real browser: a server with a team on it, and hands that click and type."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import httpx2
from browser import Browser, open_browser
from commands import make_key
from images import make_image
from mailing import body
from running import Running, servers, until

EMAIL = "ops@example.com"
SHIFT = 8  # of the keys that are held (Input.dispatchKeyEvent)


@dataclass
class Site:
    """A server with a team on it, and the browser of its owner."""

    server: Running
    browser: Browser
    key: str

    @property
    def url(self) -> str:
        """As cookies and policies know it: by its name."""
        return f"http://localhost:{self.server.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def open(self, path: str) -> None:
        """As a link does: the same address again would be a reload, which keeps what was selected."""
        self.browser.goto("about:blank")
        self.browser.goto(self.url + path)

    def api(self, method: str, path: str, **options: Any) -> Any:
        url = f"{self.server.url}/v1{path}"
        return httpx2.request(method, url, headers=self.headers, trust_env=False, **options).json()

    def add(self, number: int, **fields: str) -> str:
        """Upload a picture: its id."""
        picture = make_image("png", 40 + number, 30)
        answer = self.server.upload(picture, headers=self.headers, data={"name": f"picture {number}", **fields})
        return str(answer.json()["id"])

    def count(self, selector: str) -> int:
        return int(self.browser.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def told(self) -> str:
        return str(self.browser.run("document.getElementById('status').textContent"))

    def wait_until_told(self, text: str) -> None:
        until(lambda: text in self.told())

    def mouse(self, selector: str, *, shift: bool = False) -> None:
        """Click the middle of an element, as a hand does."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.browser.run(f"{place}.scrollIntoView({{block: 'center'}})")
        middle = "(box) => [box.x + box.width / 2, box.y + box.height / 2]"
        x, y = self.browser.run(f"({middle})({place}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            about = {"x": x, "y": y, "button": "left", "clickCount": 1, "modifiers": SHIFT if shift else 0}
            self.browser.call("Input.dispatchMouseEvent", type=kind, **about)

    def press(self, key: str, code: int, text: str = "", *, shift: bool = False) -> None:
        for kind in ("keyDown", "keyUp"):
            self.browser.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key if text != " " else "Space",
                windowsVirtualKeyCode=code,
                modifiers=SHIFT if shift else 0,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def fill(self, selector: str, value: str) -> None:
        self.browser.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}")

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.browser.call("DOM.getDocument")["root"]["nodeId"]
        node = self.browser.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def faults(self, *, refused: bool = False) -> list[str]:
        """What was wrong with the last page; `refused`: beside what the server says no to, as it is to."""
        return self.browser.faults(self.url, refused=refused)


def make_owner(server: Running) -> str:
    """A key of a verified team that was made by the operator."""
    return str(make_key(server.data_dir, "--verified", email=EMAIL)["key"])


def sign_in_by_mail(site: Site) -> None:
    """As people do it: ask for the link, find it in the mail, press the button."""
    site.open("/dashboard")
    assert "/dashboard/sign-in" in site.browser.run("location.href")
    site.fill("#email", EMAIL)
    site.browser.click("form:has(#email) button")
    (path,) = until(lambda: list((site.server.data_dir / "outbox").glob("*.eml")))
    text = body(message_from_bytes(path.read_bytes(), policy=policy.default))  # type: ignore[arg-type]
    (link,) = [word for word in text.split() if "/sign-in/link?t=" in word]
    site.browser.goto(link)
    site.browser.click("main button")
    assert site.browser.run("document.querySelector('h1').textContent") == "Images"
    assert site.browser.run("document.cookie") == ""  # no script reads it
    assert site.faults() == []


def sign_in_by_key(site: Site) -> None:
    """Without a mail, for tests of what comes after."""
    site.open("/dashboard/sign-in")
    site.fill("#key", site.key)
    site.browser.click("form:has(#key) button")


@contextmanager
def open_site(directory: Path) -> Iterator[Site]:
    """A server with an owner, and a browser in which nobody is signed in yet."""
    with servers(directory) as start, open_browser() as browser:
        server = start()
        yield Site(server, browser, make_owner(server))
