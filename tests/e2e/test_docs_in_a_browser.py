"""The interactive documentation in a real browser: the viewer works under the policy of the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from browser import Browser, needs_browser, open_browser
from running import Running, servers, until

pytestmark = needs_browser


@dataclass
class Site:
    """A server and a browser."""

    server: Running
    browser: Browser

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.server.port}"

    def goto(self, path: str) -> None:
        # Under the server's own name, which is that of its addresses: the viewer may ask no other.
        self.browser.goto(self.origin + path)

    def check_page(self, width_px: int) -> None:
        assert self.browser.faults(self.origin) == []
        assert self.browser.run("document.documentElement.scrollWidth") == width_px
        assert {method for method, _, _ in self.browser.requests()} == {"GET"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with servers(tmp_path_factory.mktemp("site")) as start, open_browser() as browser:
        yield Site(start(), browser)


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
