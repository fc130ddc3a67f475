"""A real browser at a host without TLS, where it does not say which site asks: what the pages offer there."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_browser, open_browser
from commands import authorization, make_key
from images import make_image
from running import Running, servers, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or find_browser() is None, reason="there is no Chromium on this machine"
    ),
]

HOST = "pics.test"  # as `http://192.168.1.5` or `http://nas`: no secure context. Nothing else has an address at all.
RULES = f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
# A request as our scripts send it, with the token of the page: its status and message, once they are there.
ASK = """
globalThis.told = null;
(async () => {
  const form = new FormData();
  form.append("public", "false");
  form.append("file", new Blob([new Uint8Array([1])]), "x.png");
  const token = document.querySelector("meta[name=csrf-token]").content;
  const answer = await fetch("/v1/upload", { method: "POST", body: form, headers: { "X-CSRF-Token": token } });
  globalThis.told = [answer.status, (await answer.json()).message];
})();
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("server")) as start:
        yield start()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser(RULES) as one:
        one.show(width_px=1280, dark=False)
        yield one


def test_pages_over_plain_http(browser: Browser, server: Running, tmp_path: Path) -> None:
    base, key = f"http://{HOST}:{server.port}", make_key(server.data_dir, "--verified")
    assert server.upload(make_image("png", 60, 40), headers=authorization(key)).status_code == 201
    text = "document.querySelector('main').innerText"

    browser.goto(f"{base}/dashboard/sign-in")
    assert browser.run("isSecureContext") is False
    assert "neither upload pictures nor change any" in browser.run(text)
    browser.run(f"document.querySelector('[name=key]').value = {json.dumps(key['key'])}")
    browser.click("form:has([name=key]) button")
    assert browser.run("location.pathname") == "/dashboard"
    assert "you can look at your images" in browser.run(text)
    until(lambda: browser.run("document.querySelector('.gallery img').naturalWidth") > 0)
    assert browser.run("document.scripts.length") == 0
    assert browser.run("getComputedStyle(document.querySelector('.choose')).display") == "none"
    assert [
        told for told in browser.complaints() if "Cross-Origin-Opener-Policy" not in told
    ] == []  # TLS alone has that

    # What a page would send all the same is refused, in words that help.
    browser.run(ASK)
    until(lambda: browser.run("told"))
    status, message = browser.run("told")
    assert (status, "Open the page over https://" in message) == (401, True)

    # The page that uploads is a stranger's, and says so: it offers nothing that only a team has.
    browser.goto(f"{base}/")
    assert "uploads from here only count as yours with an API key" in browser.run(text)
    assert browser.run("document.querySelector('[data-part=private]').closest('label').hidden") is True
    path = tmp_path / "x.png"
    path.write_bytes(make_image("png", 30, 20))
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#upload-files")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
    until(lambda: "kept until" in browser.run(text))
    # With the key it is the team's.
    browser.run("document.querySelector('.options').open = true")
    browser.run(f"document.querySelector('#upload-key').value = {json.dumps(key['key'])}")
    browser.run("document.querySelector('#upload-key').dispatchEvent(new Event('change', {bubbles: true}))")
    until(lambda: "This key works." in browser.run(text))
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
    until(lambda: len(server.get("/v1/media", headers=authorization(key)).json()["items"]) == 2)
