"""The gallery and its editor in a real browser, by keyboard and over Back: nothing is lost, damaged or out of reach."""

import hashlib
import json
from collections.abc import Iterator

import pytest
from browser import needs_browser
from dashboard_site import Site, open_site, sign_in_by_key
from images import make_image
from library import add_rows
from running import until

pytestmark = needs_browser

TAB, ENTER, ESCAPE, SPACE, RIGHT, DOWN, END = 9, 13, 27, 32, 39, 40, 35
# What an input of one line, or a text that is read back, would lose.
METADATA = {"note": "line 1\nline 2\r\nline 3", "size": 5, "nested": {"a": [1, 2]}, " spaced ": " x "}
COVERED = """
[...document.querySelectorAll("#selection button, #selection input")].filter((one) => {
  const box = one.getBoundingClientRect();
  return !one.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
}).map((one) => one.outerHTML)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site")) as shown:
        digest = hashlib.sha256(make_image("png", 40, 30)).digest()
        shown.add(0, namespace="first", tags="old")
        add_rows(shown.server.data_dir, shown.headers, 230, namespace="many", sha256=digest)
        sign_in_by_key(shown)
        yield shown


def open_editor(site: Site, media_id: str) -> None:
    site.mouse(f"[data-id='{media_id}'] img")
    until(lambda: site.count("#editor[open]"))


def wait_until_closed(site: Site) -> None:
    until(lambda: site.count("dialog[open]") == 0)
    until(lambda: not site.browser.run("history.state.editor"))


def load(site: Site, images: int) -> None:
    """Scroll until so many are there."""
    until(lambda: site.browser.run(f"scrollTo(0, 1e6), document.querySelectorAll('.tile').length >= {images}"))


def focused(site: Site, selector: str) -> bool:
    return bool(site.browser.run(f"document.activeElement.matches({json.dumps(selector)})"))


def test_enter_saves_and_only_what_was_changed(site: Site) -> None:
    edited = site.add(1, metadata=json.dumps(METADATA), date="0999-06-15", namespace="edited")
    site.open("/dashboard?namespace=edited")
    open_editor(site, edited)
    assert site.browser.run("changes()") == {}
    site.fill("#edit-name", "By Enter")
    site.browser.run("document.getElementById('edit-name').focus()")
    site.press("Enter", ENTER, "\r")
    wait_until_closed(site)
    shown = site.api("GET", f"/media/{edited}")
    assert (shown["name"], {key: shown[key] for key in METADATA}) == ("By Enter", METADATA)
    open_editor(site, edited)
    site.browser.run("details.querySelector('textarea').value += '\\nline 4'")
    site.browser.run("details.children[1].querySelector('.value').value = '6'")
    site.mouse("#editor button[value=save]")
    wait_until_closed(site)
    shown = site.api("GET", f"/media/{edited}")
    assert (shown["note"], shown["size"]) == ("line 1\nline 2\nline 3\nline 4", 6)
    site.api("DELETE", f"/media/{edited}")


def test_edits_are_not_dropped_unasked(site: Site) -> None:
    edited = site.add(2)
    site.open("/dashboard")
    for leave in ("document.getElementById('close-editor').click()", "history.back()"):
        open_editor(site, edited)
        site.fill("#edit-name", "Half done")
        site.browser.run(leave)
        until(lambda: site.count("#confirm[open]"))
        site.mouse("#confirm-no")
        until(lambda: site.browser.run("history.state.editor") and site.count("#confirm[open]") == 0)
        assert site.browser.run("document.getElementById('edit-name').value") == "Half done"
        site.press("Escape", ESCAPE)
        until(lambda: site.count("#confirm[open]"))
        site.mouse("#confirm-yes")
        wait_until_closed(site)
    open_editor(site, edited)
    site.browser.run("history.back()")  # nothing was changed: nothing is asked
    wait_until_closed(site)
    assert site.browser.run("location.pathname") == "/dashboard"
    assert site.api("GET", f"/media/{edited}")["name"] == "picture 2"
    site.api("DELETE", f"/media/{edited}")


def test_a_question_right_after_another_is_heard(site: Site) -> None:
    """Browsers tell late that a dialog was closed: by then the next question may be there."""
    site.open("/dashboard")
    answer = site.browser.run(
        """(async () => {
             ask("First?", "", "Yes", "No");
             document.getElementById("confirm-no").click();
             const answer = ask("Second?", "", "Yes", "No");
             await new Promise((done) => setTimeout(done, 100));
             document.getElementById("confirm-yes").click();
             return answer;
           })()"""
    )
    assert answer is True


def test_what_is_told_aside_hides_nothing(site: Site) -> None:
    """Images that come as others go are told while what was done is read."""
    site.open("/dashboard")
    site.browser.run("tell('Told'), tell('50 images more', 'aside')")
    assert site.told() == "Told"


def test_the_keyboard_reaches_everything(site: Site) -> None:
    gone = [site.add(number, tags="gone") for number in (3, 4, 5)]
    site.open("/dashboard")
    assert site.count("#gallery [tabindex='0']") == 2
    site.browser.run("document.querySelector('.tile a').focus()")
    site.press(" ", SPACE, " ")
    site.press("ArrowRight", RIGHT)
    site.press("ArrowRight", RIGHT)
    site.press(" ", SPACE, " ", shift=True)
    assert site.browser.run("document.getElementById('selected').textContent") == "3 images selected"
    site.press("End", END)
    edges = "[document.activeElement.getBoundingClientRect().bottom, dock.getBoundingClientRect().top]"
    bottom, edge = until(lambda: site.browser.run(edges))
    assert bottom <= edge
    site.press("Tab", TAB)
    site.press("Tab", TAB)
    assert site.browser.run("document.activeElement.closest('#selection') !== null")
    site.browser.run("document.getElementById('delete-selected').focus()")
    site.press("Enter", ENTER, "\r")
    until(lambda: site.count("#confirm[open]"))
    site.browser.run("document.getElementById('confirm-yes').click()")
    site.wait_until_told("3 images deleted")
    assert focused(site, ".tile a")
    assert site.api("GET", f"/media/{gone[0]}")["error"] == "not_found"


def test_a_batch_that_fails_half_way(site: Site) -> None:
    site.open("/dashboard?namespace=many")
    load(site, 230)
    site.mouse("#select-all")
    site.browser.run(
        "(() => { const ask = fetch; let asked = 0; window.fetch = (...args) =>"
        "++asked === 2 ? Promise.reject(new TypeError('cut')) : ask(...args) })()"
    )
    site.fill("#batch-tags", "half")
    site.mouse("[data-change=tags] button[value=add]")
    site.wait_until_told("100 of 230 images changed. The server cannot be reached.")
    assert site.count(".choose input:checked") == 130
    site.mouse("#status-close")
    assert (site.told(), site.count(".toast")) == ("", 0)
    site.mouse("[data-change=tags] button[value=add]")
    site.wait_until_told("130 images changed")
    site.open("/dashboard?namespace=many&tags=half")
    load(site, 230)


def test_back_leads_to_where_one_was(site: Site) -> None:
    site.open("/dashboard?namespace=many")
    load(site, 150)
    chosen = site.browser.run("document.querySelectorAll('.tile')[140].dataset.id")
    open_editor(site, chosen)
    top = site.browser.run("scrollY")
    site.browser.click("#editor a.page")
    site.browser.run("history.back()")
    until(lambda: site.browser.run("document.getElementById('editor')?.open"))
    until(lambda: site.browser.run("scrollY") == top)
    assert site.count("#gallery .tile") >= 150
    site.browser.run("document.getElementById('close-editor').click()")
    wait_until_closed(site)
    assert site.browser.run("location.search") == "?namespace=many"


def test_the_bar_does_nothing_by_accident(site: Site) -> None:
    site.browser.show(width_px=360, dark=False)
    site.open("/dashboard?namespace=first")
    (media_id,) = [one["id"] for one in site.api("GET", "/media?namespace=first")["items"]]
    site.mouse(".choose input")
    site.browser.run("document.getElementById('batch-namespace').focus()")
    site.press("Enter", ENTER, "\r")
    site.press("Escape", ESCAPE)
    assert site.count(".choose input:checked") == 1
    site.fill("#batch-tags", "x" * 60)
    site.mouse("[data-change=tags] button[value=add]")
    site.wait_until_told("Tags must have at most 50 characters each.")
    assert site.browser.run(COVERED) == []
    assert site.api("GET", f"/media/{media_id}")["namespace"] == "first"
    site.mouse("[data-change=namespace] button[value=none]")
    site.wait_until_told("1 image changed")
    assert site.api("GET", f"/media/{media_id}")["namespace"] is None
    shown = "['empty', 'gallery-hint'].filter((id) => !document.getElementById(id).hidden)"
    assert site.browser.run(shown) == ["empty"]  # it is no longer what was asked for
    stored = site.api("PATCH", f"/media/{media_id}", json={"namespace": "first"})
    event = f"new CustomEvent('imgpro:uploaded', {{ detail: {json.dumps(stored)} }})"
    site.browser.run(f"document.dispatchEvent({event})")  # as the upload box tells it
    until(lambda: site.browser.run(shown) == ["gallery-hint"])
    site.browser.show(width_px=1280, dark=False)


@pytest.mark.slow
def test_signing_in_again_leads_to_where_one_was(site: Site) -> None:
    site.open("/dashboard?namespace=many")
    load(site, 100)
    chosen = site.browser.run("document.querySelectorAll('.tile')[70].dataset.id")
    site.mouse(f"[data-id='{chosen}'] .choose input")
    site.browser.call("Network.clearBrowserCookies")
    site.mouse("[data-change=public] button[value=true]")
    site.wait_until_told("You are not signed in any more.")
    site.browser.click("#sign-in-again")
    site.fill("#key", site.key)
    site.browser.click("form:has(#key) button")
    until(lambda: site.browser.run("pickedTiles().map((tile) => tile.dataset.id)") == [chosen])
