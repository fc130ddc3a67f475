"""The dashboard in a real browser: signing in by mail, scrolling, choosing, changing, and that nothing else happens."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from browser import needs_browser
from dashboard_site import Site, open_site, sign_in_by_mail
from images import make_image
from library import add_rows
from running import until

pytestmark = needs_browser

HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site")) as shown:
        for number in range(5):
            shown.add(number, tags="old", **({"author": "Jane"} if number == 4 else {}))
        sign_in_by_mail(shown)
        yield shown


@pytest.mark.slow
def test_choosing_with_mouse_and_keyboard(site: Site) -> None:
    site.open("/dashboard")
    boxes = [f".tile:nth-child({number}) .choose input" for number in range(1, 6)]
    site.mouse(boxes[0])
    site.mouse(boxes[2], shift=True)
    assert site.count(".choose input:checked") == 3
    assert site.browser.run("document.getElementById('selected').textContent") == "3 images selected"
    site.press("Escape", 27)
    assert site.count(".choose input:checked") == 0
    assert site.browser.run("document.getElementById('selection').hidden")
    site.browser.run(f"document.querySelector('{boxes[1]}').focus()")
    site.press(" ", 32, " ")
    site.press("ArrowRight", 39)
    site.press("ArrowRight", 39)
    site.press(" ", 32, " ", shift=True)
    assert site.browser.run(f"[...document.querySelectorAll('{', '.join(boxes)}')].map(one => one.checked)") == [
        *(False, True, True, True, False)
    ]


def test_many_at_once(site: Site) -> None:
    site.open("/dashboard")
    ids = site.browser.run("[...document.querySelectorAll('.tile')].slice(0, 2).map(one => one.dataset.id)")
    for number in (1, 2):
        site.mouse(f".tile:nth-child({number}) .choose input")
    site.fill("#batch-tags", "new")
    site.mouse("[data-change=tags] button[value=add]")
    site.wait_until_told("2 images changed")
    site.mouse("[data-change=public] button[value=false]")
    until(lambda: site.count(".badge:not([hidden])") == 2)
    site.fill("#batch-namespace", "No Namespace")
    site.mouse("[data-change=namespace] button")
    site.wait_until_told("must be 2 to 64 lowercase letters")
    site.fill("#batch-namespace", "moved")
    site.mouse("[data-change=namespace] button")
    site.wait_until_told("2 images changed")
    for media_id in ids:
        shown = site.api("GET", f"/media/{media_id}")
        assert (shown["tags"], shown["namespace"], shown["public"]) == (["old", "new"], "moved", False)
    site.open("/dashboard?namespace=moved&tags=new")
    assert site.count("#gallery .tile") == 2
    site.mouse("#select-all")
    site.mouse("[data-change=public] button[value=true]")
    site.wait_until_told("2 images changed")


def test_deleting_asks_first(site: Site) -> None:
    gone = site.add(50)
    site.open("/dashboard")
    site.mouse(f"[data-id='{gone}'] .choose input")
    site.mouse("#delete-selected")
    assert site.browser.run("document.activeElement.textContent") == "Keep"
    site.press("Escape", 27)
    until(lambda: site.count("dialog[open]") == 0)
    assert site.api("GET", f"/media/{gone}")["id"] == gone
    site.mouse("#delete-selected")
    until(lambda: site.count("#confirm[open]"))
    site.mouse("#confirm button[value=delete]")
    site.wait_until_told("1 image deleted")
    assert site.count(f"[data-id='{gone}']") == 0
    assert site.api("GET", f"/media/{gone}")["error"] == "not_found"


def test_uploading(site: Site, tmp_path: Path) -> None:
    """The box of the first page, but as the one who is signed in: what it has stored is shown at once."""
    picture = tmp_path / "holiday.png"
    picture.write_bytes(make_image("png", 77, 33))
    site.open("/dashboard")
    before = site.count("#gallery .tile")
    site.mouse(".upload-here summary")
    site.choose_file("#upload-files", picture)
    until(lambda: site.count("#gallery .tile") == before + 1)
    (media_id,) = site.browser.run("[document.querySelector('#gallery .tile').dataset.id]")
    shown = site.api("GET", f"/media/{media_id}")
    assert (shown["name"], shown["width"], "expires_at" in shown) == ("holiday.png", 77, False)
    assert site.faults() == []
    site.api("DELETE", f"/media/{media_id}")


def test_editing_one(site: Site) -> None:
    edited = site.add(60, author="Jane", name=HOSTILE, camera=HOSTILE)
    site.open("/dashboard")
    site.mouse(f"[data-id='{edited}'] img")
    until(lambda: site.count("#editor[open]"))
    assert site.browser.run("document.querySelector('#editor h2').textContent") == HOSTILE
    until(lambda: site.browser.run("document.querySelector('#editor img').naturalWidth") == 100)
    site.fill("#edit-name", "Renamed")
    site.fill("#edit-tags", "one, Two")
    site.fill("#edit-date", "2024-05-06T07:08:09")
    site.fill("#edit-namespace", "No")
    site.browser.run("document.querySelector('#editor [name=public]').click()")
    site.fill(".metadata li:first-child .value", "Joan")
    site.browser.run("document.querySelector('.metadata li:nth-child(2) button').click()")
    site.mouse("#add-detail")
    site.browser.run("document.activeElement.value = 'place'")
    site.fill(".metadata li:last-child .value", "Hamburg")
    site.mouse("#editor button[value=save]")
    until(lambda: "lowercase" in site.browser.run("document.getElementById('problem-namespace').textContent"))
    assert site.browser.run("document.activeElement.id") == "edit-namespace"
    site.fill("#edit-namespace", "sea")
    site.mouse("#editor button[value=save]")
    until(lambda: site.count("#editor[open]") == 0)
    shown = site.api("GET", f"/media/{edited}")
    assert (shown["name"], shown["tags"]) == ("Renamed", ["one", "two"])
    assert (shown["namespace"], shown["public"]) == ("sea", False)
    seconds = site.browser.run("Date.parse('2024-05-06T07:08:09') / 1000")
    assert (shown["date"], shown["author"], shown["place"], "camera" in shown) == (seconds, "Joan", "Hamburg", False)
    assert site.browser.run(f"document.querySelector('[data-id=\"{edited}\"] .name').textContent") == "Renamed"
    assert site.faults(refused=True) == []
    site.open(f"/{edited}")  # private, and still a page for its owner
    assert site.browser.run("document.querySelector('h1').textContent") == "Renamed"
    site.api("DELETE", f"/media/{edited}")


def test_what_is_counted_and_filtered_follows(site: Site, tmp_path: Path) -> None:
    """After an upload, a change and a deletion, as if the page had been loaded again."""
    picture = tmp_path / "counted.png"
    picture.write_bytes(make_image("png", 78, 34))
    site.open("/dashboard?tags=wanted")
    number = "Number(document.querySelector('#uploads strong').textContent)"
    storage = "document.querySelector('#storage strong').textContent"
    before, stored_before = site.browser.run(number), site.browser.run(storage)
    is_empty = "document.querySelector('.empty').checkVisibility()"
    assert site.browser.run(is_empty)
    site.mouse(".upload-here summary")
    site.fill("#upload-tags", "wanted")
    site.choose_file("#upload-files", picture)
    until(lambda: site.count("#gallery .tile") == 1)  # the filter finds it
    assert not site.browser.run(is_empty)
    until(lambda: site.browser.run(number) == before + 1)
    assert site.browser.run(storage) != stored_before
    site.mouse(".tile .choose input")
    site.fill("#batch-namespace", "fresh")
    site.mouse("form[data-change=namespace] button")
    suggested = "[...document.querySelectorAll('#namespaces option')].map((one) => [one.value, one.textContent])"
    until(lambda: ["fresh", "1 image"] in site.browser.run(suggested))
    assert site.count("#gallery .tile") == 1
    site.fill("#batch-tags", "Wanted ")
    site.mouse("form[data-change=tags] button[value=remove]")
    until(lambda: site.count("#gallery .tile") == 0)  # and now it does not
    assert site.browser.run(is_empty)
    assert not site.browser.run("document.getElementById('selection').checkVisibility()")
    site.open("/dashboard?namespace=fresh")
    site.mouse(".tile .choose input")
    site.mouse("#delete-selected")
    site.mouse("#confirm button[value=delete]")
    until(lambda: ["fresh", "1 image"] not in site.browser.run(suggested))
    assert (site.browser.run(number), site.browser.run(storage)) == (before + 1, stored_before)
    assert site.faults() == []


def test_without_scripts(site: Site, tmp_path: Path) -> None:
    """It reads, filters and uploads, as the one who is signed in."""
    picture = tmp_path / "plain.png"
    picture.write_bytes(make_image("png", 79, 35))
    site.browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        site.open("/dashboard")
        site.choose_file("#upload-files", picture)
        site.browser.click(".upload-here noscript button")
        assert site.browser.run("document.querySelector('h1').textContent") == "plain.png"
        media_id = site.browser.run("location.pathname").removeprefix("/")
        site.open("/dashboard")
        site.fill("#tags", "old")
        site.browser.click(".filter button")
        assert site.browser.run("location.search") == "?namespace=&tags=old&tag_mode=all"
        shown = site.browser.run("[...document.querySelectorAll('.tile')].map((one) => one.dataset.id)")
        assert shown
        assert media_id not in shown
        site.browser.click(".tile a")
        assert site.browser.run("location.pathname") == f"/{shown[0]}"
        assert site.faults() == []
    finally:
        site.browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert site.api("DELETE", f"/media/{media_id}") == {"deleted": True}


def test_a_new_key_is_copied(site: Site) -> None:
    site.open("/dashboard/keys")
    site.fill("#name", "Copied")
    site.browser.click("form:has(#name) button")
    site.mouse(".copy button")
    until(lambda: "Copied" in site.browser.run("document.querySelector('.copy button').textContent"))
    assert site.faults() == []
    key = site.browser.run("document.querySelector('.copy input').value")
    answer = httpx2.get(f"{site.server.url}/v1/usage", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
    assert answer.status_code == 200
    site.mouse("#keep-key")
    assert site.browser.run("sessionStorage.getItem('imgpro-key')") == key
    site.mouse("#keep-key")
    assert site.browser.run("sessionStorage.getItem('imgpro-key')") is None


def test_scrolling_on_and_on(site: Site) -> None:
    digest = hashlib.sha256(make_image("png", 40, 30)).digest()  # of the first picture, so that they have a file
    add_rows(site.server.data_dir, site.headers, 120, namespace="many", sha256=digest)
    site.open("/dashboard?namespace=many")
    assert site.count("#gallery .tile") >= 50
    deadline = time.monotonic() + 30
    while site.count("#more"):
        site.browser.run("scrollTo(0, document.body.scrollHeight)")
        assert time.monotonic() < deadline
    assert site.count("#gallery .tile") == 120
    ids = site.browser.run("[...document.querySelectorAll('#gallery .tile')].map(one => one.dataset.id)")
    assert len(set(ids)) == 120
    site.browser.goto("about:blank")  # so that no picture is still on its way
    site.api("DELETE", "/media/batch", params={"namespace": "many"})


def test_a_session_that_has_ended_is_told(site: Site) -> None:
    site.open("/dashboard")
    page = "location.href"
    site.browser.call("Network.clearBrowserCookies")
    site.mouse(".tile img")
    site.wait_until_told("You are not signed in any more.")
    assert site.browser.run(page) == f"{site.url}/dashboard"
    site.open("/dashboard")
    site.fill("#key", site.key)
    site.browser.click("form:has(#key) button")
    assert site.browser.run(page) == f"{site.url}/dashboard"
    site.browser.click("nav form button")
    assert "/dashboard/sign-in" in site.browser.run(page)
