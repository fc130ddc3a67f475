"""The documentation in a real browser: on phones and in the dark, and the viewer under its policy."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from browser import Browser, find_browser, open_browser
from commands import make_key
from running import Running, servers, until
from test_pages_in_a_browser import LOWEST_CONTRAST, SMALLEST_TEXT_CONTRAST

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or find_browser() is None, reason="there is no Chromium on this machine"
)

PAGES = ["/api/quick-start", "/api/reference", "/api/errors", "/api/ai-agents", "/pricing"]


@dataclass
class Site:
    """A server and a browser."""

    server: Running
    browser: Browser

    def goto(self, path: str) -> None:
        # Under the server's own name, which is that of its addresses: the viewer may ask no other.
        self.browser.goto(f"http://localhost:{self.server.port}{path}")

    def check_page(self, width_px: int) -> None:
        assert self.browser.complaints() == []
        assert self.browser.run("document.documentElement.scrollWidth") == width_px
        for method, url, _ in self.browser.requests():
            assert method == "GET"
            assert url.startswith((f"http://localhost:{self.server.port}/", "data:")), url


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with servers(tmp_path_factory.mktemp("site")) as start, open_browser() as browser:
        yield Site(start(), browser)


def check_on_every_screen(site: Site, pages: list[str]) -> None:
    for width_px in (360, 1280):
        for dark in (False, True):
            site.browser.show(width_px=width_px, dark=dark)
            for path in pages:
                site.goto(path)
                site.check_page(width_px)
                site.browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
                contrast, text = site.browser.run(LOWEST_CONTRAST)
                assert contrast >= SMALLEST_TEXT_CONTRAST, (path, text, dark)


@pytest.mark.slow
def test_pages_on_every_screen(site: Site) -> None:
    check_on_every_screen(site, PAGES)


def viewer(site: Site, script: str) -> Any:
    """What a script gives once it gives anything: the viewer draws when it has read the document."""
    return until(lambda: site.browser.run(script))


def test_the_viewer_sends_a_request(site: Site) -> None:
    site.browser.show(width_px=360, dark=True)
    site.goto("/api")
    assert viewer(site, "document.querySelectorAll('.opblock').length") == 14
    site.check_page(360)
    assert site.browser.run("document.documentElement.className") == "dark-mode"
    operation = "document.querySelector('#operations-Server-getHealth')"
    button = f"{operation}.querySelector('.opblock-summary-control')"
    viewer(site, f"{button} && ({button}.click(), true)")
    # Its parts come one after the other, and the button does nothing before the last of them.
    viewer(site, f"{operation}.querySelectorAll('.responses-table .response').length > 3")
    site.browser.run(f"{operation}.querySelector('.execute').click()")
    assert '"status": "ok"' in viewer(site, f"{operation}.querySelector('.live-responses-table')?.textContent")
    site.check_page(360)


@pytest.mark.slow
def test_the_viewer_shows_commands_that_work_elsewhere(site: Site) -> None:
    """Who is signed in sends a token of this browser; the command to copy has a place for a key instead."""
    key = make_key(site.server.data_dir, "--verified", email="signed.in@example.com")["key"]
    site.goto("/dashboard/sign-in?next=/api")
    site.browser.run(f"document.getElementById('key').value = '{key}'")
    site.browser.click("form:has(#key) button")
    operation = "document.querySelector('#operations-Usage-getUsage')"
    viewer(site, f"{operation} && ({operation}.querySelector('.opblock-summary-control').click(), true)")
    viewer(site, f"{operation}.querySelectorAll('.responses-table .response').length > 3")
    site.browser.run(f"{operation}.querySelector('.execute').click()")
    answer = viewer(site, f"{operation}.querySelector('.live-responses-table .highlight-code')?.textContent")
    assert '"uploads_used": 0' in answer
    command = viewer(site, f"{operation}.querySelector('.curl')?.textContent")
    assert 'Authorization: Bearer YOUR_API_KEY"' in command
    assert "csrf" not in command.lower()
    (sent,) = [headers for _, url, headers in site.browser.requests() if url.endswith("/v1/usage")]
    assert sent["X-CSRF-Token"]
    assert site.browser.complaints() == []
    site.browser.call("Network.clearBrowserCookies")
