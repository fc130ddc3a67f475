"""The interactive documentation in a real browser: the viewer works under the policy of the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from browser import Browser, needs_browser, open_browser
from commands import make_key
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
    site.goto("/pricing")
    site.browser.run("sessionStorage.setItem('imgpro-key', 'img_live_kept')")
    site.goto("/api")
    assert viewer(site, "document.querySelectorAll('.auth-wrapper .locked').length")  # with the key that the tab keeps
    site.browser.run("sessionStorage.clear()")
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


def shown_keys(site: Site) -> list[str]:
    """What stands in the examples where a key is to be."""
    found = site.browser.run("[...document.querySelectorAll('[data-api-key]')].map((one) => one.textContent)")
    assert len(found) >= 3  # curl, Python and JavaScript
    return sorted(set(found))


def test_the_key_that_a_tab_keeps_is_in_the_examples(site: Site) -> None:
    key, placeholder = "img_live_" + "k" * 32, "YOUR_API_KEY"
    site.browser.show(width_px=360, dark=False)
    site.goto("/api/quick-start")
    assert shown_keys(site) == [placeholder]
    assert not site.browser.run("document.getElementById('kept-key').checkVisibility()")
    site.browser.run(f"sessionStorage.setItem('imgpro-key', '{key}')")
    site.goto("/api/ai-agents")
    assert shown_keys(site) == [key]
    assert site.browser.run("document.getElementById('kept-key').checkVisibility()")
    assert placeholder not in site.browser.run("document.querySelector('.article').textContent")
    site.browser.run("document.getElementById('hide-key').click()")
    assert shown_keys(site) == [placeholder]
    site.goto("/api/reference")  # it stays hidden
    assert shown_keys(site) == [placeholder]
    site.browser.run("document.getElementById('hide-key').click()")
    assert shown_keys(site) == [key]
    site.check_page(360)  # and it was sent to nobody
    assert not [url for _, url, headers in site.browser.requests() if key in url + str(headers)]
    site.browser.run("document.getElementById('forget-key').click()")
    assert shown_keys(site) == [placeholder]
    assert site.browser.run("sessionStorage.getItem('imgpro-key')") is None
    assert not site.browser.run("document.getElementById('kept-key').checkVisibility()")


def test_an_example_is_copied(site: Site) -> None:
    site.browser.show(width_px=360, dark=False)
    site.goto("/api/quick-start")
    site.browser.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    blocks, buttons = (f"document.querySelectorAll('.article .code{inner}')" for inner in ("", " .copy-code"))
    assert site.browser.run(f"{blocks}.length") == site.browser.run(f"{buttons}.length") > 5
    site.browser.run(f"{buttons}[0].click()")
    assert "clipboard" in until(lambda: site.browser.run("document.getElementById('code-status').textContent"))
    assert site.browser.run(f"{buttons}[0].firstElementChild.textContent") == "Copied"
    assert site.browser.run("window.copied") == site.browser.run(f"{blocks}[0].querySelector('code').textContent")
    assert site.browser.run("window.copied").startswith("curl http://localhost")
    assert site.browser.run(f"{buttons}[0].textContent") == "Copied this example"  # as a screen reader names it
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
