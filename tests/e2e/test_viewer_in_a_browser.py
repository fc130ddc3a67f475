"""The page of an image in a real browser: what it loads, that nothing moves or runs, copying, the keyboard."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browser import Browser, needs_browser, open_browser
from images import encode, make_image, make_photo
from running import Running, servers, until
from viewing import ImagePage

pytestmark = needs_browser

# Reports what moved on the page, and what ran of the texts of strangers.
WATCH = """
  window.moved = 0;
  window.alert = window.hacked = () => { window.wasHacked = true; };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.moved += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
"""
SLOW_MILLISECONDS = 100  # enough that the page is laid out before its picture is there


@dataclass
class Gallery:
    """A server and a browser that watches its pages."""

    server: Running
    browser: Browser

    def put(self, content: bytes, **fields: str) -> str:
        """Upload a picture: the address of its page, as the browser reaches it."""
        answer = self.server.upload(content, data=fields)
        assert answer.status_code == 201, answer.text
        return f"{self.server.url}/{answer.json()['id']}"

    def wait_for_picture(self) -> str:
        """Wait until the picture is there: the address that the browser has chosen."""
        until(lambda: self.browser.run("document.querySelector('.stage img').complete"))
        assert self.browser.run("document.querySelector('.stage img').naturalWidth") > 0
        return str(self.browser.run("document.querySelector('.stage img').currentSrc"))

    def fields(self) -> dict[str, str]:
        """The texts to copy, as they are on the page now."""
        values = "Object.fromEntries([...document.querySelectorAll('.copy input')].map(f => [f.id.slice(5), f.value]))"
        found: dict[str, str] = self.browser.run(values)
        return found

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    with servers(tmp_path_factory.mktemp("gallery")) as start, open_browser() as browser:
        made = Gallery(start(), browser)
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        browser.call("Emulation.setFocusEmulationEnabled", enabled=True)
        yield made


@pytest.fixture(scope="module")
def page(gallery: Gallery) -> str:
    return gallery.put(encode(make_photo(900, 700), "jpeg"), name='A "photo" & more.jpg', tags="one")


@pytest.mark.slow
def test_a_browser_loads_what_suits_its_screen_and_nothing_moves(gallery: Gallery, page: str) -> None:
    browser = gallery.browser
    conditions = {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.call("Network.emulateNetworkConditions", latency=SLOW_MILLISECONDS, **conditions)
    for width_px, chosen in ((360, ".avif?size=s"), (800, ".avif?size=m"), (1280, ".avif")):
        browser.show(width_px=width_px, dark=width_px == 800)
        browser.goto(page)
        assert gallery.wait_for_picture().endswith(chosen)
        assert browser.run("window.moved") == 0
        width, height = browser.run("(({width, height}) => [width, height])(document.querySelector('.stage img'))")
        assert abs(width / height - 900 / 700) < 0.01
        assert browser.faults(gallery.server.url) == []
    browser.call("Network.emulateNetworkConditions", latency=0, **conditions)


@pytest.mark.parametrize("size", [(600, 1000), (300, 1200), (40, 30)])
def test_pictures_of_every_shape_fit(gallery: Gallery, size: tuple[int, int]) -> None:
    url = gallery.put(make_image("png", *size))
    for width_px in (360, 1280):
        gallery.browser.show(width_px=width_px, dark=False)
        gallery.browser.goto(url)
        gallery.wait_for_picture()
        assert gallery.browser.run("window.moved") == 0
        assert gallery.browser.run("document.documentElement.scrollWidth") == width_px


def test_all_of_a_long_picture_is_shown_on_the_page(gallery: Gallery) -> None:
    gallery.browser.show(width_px=1280, dark=False)
    gallery.browser.goto(gallery.put(make_image("png", 300, 3000)))
    gallery.wait_for_picture()
    height = "document.querySelector('.stage').getBoundingClientRect().height"
    shown = "[...document.querySelectorAll('.stage .second')].filter((one) => one.checkVisibility())[0].textContent"
    for words, is_whole in (("Show the whole picture", False), ("Show less", True), ("Show the whole picture", False)):
        assert gallery.browser.run(shown) == words
        assert (gallery.browser.run(height) > 3000) is is_whole
        assert gallery.browser.run(height) < 900 or is_whole
        gallery.browser.run("[...document.querySelectorAll('.stage .second')].find((a) => a.checkVisibility()).click()")


def test_a_choice_shows_what_the_server_would_show(gallery: Gallery, page: str) -> None:
    gallery.browser.goto(page)
    for size in ("s", "m", "full"):
        for format_ in ("webp", "jpeg"):
            for name, value in (("size", size), ("format", format_)):
                gallery.browser.run(f"document.querySelector('input[name={name}][value={value}]').click()")
            answer = httpx2.get(f"{page}?size={size}&format={format_}", trust_env=False)
            expected = ImagePage(answer)
            assert gallery.fields() == expected.copied()
            download = "(a => [a.pathname + a.search, a.textContent])(document.getElementById('download'))"
            address, text = gallery.browser.run(download)
            assert address in expected.links
            assert text in expected.text


def copied_text(browser: Browser) -> Any:
    read = {"expression": "navigator.clipboard.readText()", "awaitPromise": True, "returnByValue": True}
    return browser.call("Runtime.evaluate", **read)["result"].get("value")


def test_a_button_copies(gallery: Gallery, page: str) -> None:
    gallery.browser.goto(page)
    for name, text in gallery.fields().items():
        button = f"document.querySelector('#copy-{name} + button')"
        gallery.browser.run(f"{button}.click()")
        until(lambda button=button: gallery.browser.run(f"{button}.textContent").startswith("Copied"))
        assert copied_text(gallery.browser) == text


def test_a_button_copies_without_a_clipboard(gallery: Gallery, page: str) -> None:
    """As without TLS on another host."""
    gallery.browser.goto(page)
    gallery.browser.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    gallery.browser.run("document.querySelector('#copy-markdown + button').click()")
    button = "document.querySelector('#copy-markdown + button').textContent"
    until(lambda: gallery.browser.run(button).startswith("Copied"))
    assert gallery.browser.run("getSelection().toString()") == gallery.fields()["markdown"]


def test_the_keyboard_reaches_everything(gallery: Gallery, page: str) -> None:
    gallery.browser.show(width_px=1280, dark=False)
    gallery.browser.goto(page)
    reached = []
    for _ in range(17):
        gallery.press("Tab", 9)
        # The keys of a choice are drawn beside the radio button that has the focus.
        focused = "document.activeElement"
        drawn = f"({focused}.type === 'radio' ? {focused}.nextElementSibling : {focused})"
        assert "3px" in gallery.browser.run(f"getComputedStyle({drawn}).outline")
        reached.append(gallery.browser.run(f"{focused}.name || {focused}.id || {focused}.textContent.trim()"))
    assert reached[2:6] == ["Upload", "Images", "Documentation", "Pricing"]
    assert reached[6] == ""  # the picture, which has no text
    assert reached[7:13] == [
        "copy-page",
        "Copy Link to this page",
        "size",
        "format",
        "copy-link",
        "Copy Link to the picture",
    ]
    gallery.browser.run("document.querySelector('input[name=size]:checked').focus()")
    gallery.press("ArrowLeft", 37)
    assert gallery.fields()["link"].endswith(".jpeg?size=m")


def test_without_scripts_the_addresses_are_there_and_a_button_chooses(gallery: Gallery, page: str) -> None:
    browser = gallery.browser
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.goto(page)
        gallery.wait_for_picture()
        assert browser.run("getComputedStyle(document.querySelector('.copy button')).display") == "none"
        browser.run("document.querySelector('input[name=size][value=s]').checked = true")
        browser.click("noscript button")
        assert gallery.fields()["link"].endswith(".jpeg?size=s")
        assert browser.run("location.hash") == "#share"
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.slow
def test_pictures_from_a_host_of_their_own(gallery: Gallery, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pages, pictures = f"http://localhost:{port}", f"http://127.0.0.1:{port}"
    config = f'[server]\npublic_url = "{pages}"\nsrc_url = "{pictures}"'
    with servers(tmp_path) as start:
        start(config=config, args=("--port", str(port)))
        files = {"file": ("photo.png", make_image("png", 400, 400))}
        made = httpx2.post(f"{pages}/v1/upload", files=files, trust_env=False).json()
        gallery.browser.goto(made["url"])
        assert gallery.wait_for_picture().startswith(f"{pictures}/")
        gallery.browser.run("document.querySelector('input[value=webp]').click()")
        download = gallery.browser.run("document.getElementById('download').href")
        assert download == f"{made['src'].removesuffix('png')}webp?download"
        assert gallery.browser.complaints() == []
