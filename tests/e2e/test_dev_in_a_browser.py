"""The pages of the control plane in a real browser: every screen, the buttons past the guard, and a mail's links."""

import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from browser import LOWEST_CONTRAST, Browser, find_browser, open_browser
from running import Running, servers

pytestmark = [
    pytest.mark.slow,  # 5 seconds, most of them for the browser
    pytest.mark.skipif(
        sys.platform != "linux" or find_browser() is None, reason="there is no Chromium on this machine"
    ),
]

EMAIL = "somebody.with.a.long.name@department.example.com"
SMALLEST_TEXT_CONTRAST = 4.5  # WCAG 2.2, 1.4.3 (AA)
SMALLEST_TARGET_PX = 44  # of what a finger hits (WCAG 2.2, 2.5.5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("dev")) as start:
        yield start(args=("--dev",))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as made:
        yield made


def ask(server: Running, method: str, path: str, body: Any = None) -> Any:
    answer = httpx2.request(method, f"{server.url}{path}", json=body, trust_env=False)
    assert answer.is_success, answer.text
    return answer.json()


def heading(browser: Browser) -> str:
    return str(browser.run("document.querySelector('h1').textContent"))


def click_in_frame(browser: Browser) -> None:
    """Click the button of the mail in the frame, as a hand does, and wait for where it leads."""
    browser.run("document.querySelector('iframe').scrollIntoView()")
    frame = "document.querySelector('iframe').getBoundingClientRect()"
    left, top = browser.run(f"[{frame}.left, {frame}.top]")
    tree = browser.call("Page.getFrameTree")["frameTree"]["childFrames"][0]["frame"]
    world = browser.call("Page.createIsolatedWorld", frameId=tree["id"])["executionContextId"]
    where = (
        "(() => { const b = document.querySelector('a').getBoundingClientRect(); return [b.left + 9, b.top + 9]; })()"
    )
    found = browser.call("Runtime.evaluate", expression=where, contextId=world, returnByValue=True)
    x, y = found["result"]["value"]
    browser.events.clear()
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=left + x, y=top + y, button="left", clickCount=1)
    browser.wait_for("Page.loadEventFired")


def test_the_control_plane(server: Running, browser: Browser) -> None:
    ask(server, "POST", "/v1/keys", {"email": EMAIL, "name": "<b>x</b> " + "long" * 30})
    ask(server, "POST", "/_dev/faults", {"path": "/v1/" + "long" * 30, "status": 429})
    ask(server, "PUT", "/_dev/snapshots/" + "long" * 16)
    mail = ask(server, "GET", "/_dev/outbox")["mails"][0]
    pages = [f"{server.url}{path}" for path in ("/_dev", "/_dev/outbox", f"/_dev/outbox/{mail['id']}")]
    for width_px in (320, 1280):
        for dark in (False, True):
            browser.show(width_px=width_px, dark=dark)
            for url in pages:
                browser.goto(url)
                assert browser.complaints() == []
                assert browser.run("document.documentElement.scrollWidth") == width_px
                contrast, text = browser.run(LOWEST_CONTRAST)
                assert contrast >= SMALLEST_TEXT_CONTRAST, (text, dark)
                targets = "[...document.querySelectorAll('button, nav a, summary')].filter(b => b.checkVisibility())"
                assert min(browser.run(f"{targets}.map(b => b.getBoundingClientRect().height)")) >= SMALLEST_TARGET_PX
    browser.goto(pages[0])
    browser.click("button[value='2678400']")
    assert heading(browser) == "Control plane"
    assert browser.complaints() == []
    assert ask(server, "GET", "/_dev/clock")["offset_seconds"] == 2_678_400
    browser.run("document.querySelector('details').open = true")
    browser.run("document.querySelector('#name').value = 'later'")
    browser.click(".keep button")
    names = [snapshot["name"] for snapshot in ask(server, "GET", "/_dev/snapshots")["snapshots"]]
    assert "later" in names


def test_the_links_of_a_mail_work_where_they_are(server: Running, browser: Browser) -> None:
    ask(server, "POST", "/_dev/reset")
    key = ask(server, "POST", "/v1/keys", {"email": EMAIL})
    mail = ask(server, "GET", "/_dev/outbox")["mails"][0]
    browser.show(width_px=1280, dark=False)
    browser.goto(f"http://localhost:{server.port}/_dev/outbox/{mail['id']}")  # as the server's addresses name it
    click_in_frame(browser)
    assert heading(browser) == "The key is confirmed"
    assert [team["verified"] for team in ask(server, "GET", "/_dev/teams")["teams"]] == [True]
    assert key["verified"] is False
