"""The page that uploads in a real browser: every way in, what each file is told, and what people take away."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import needs_browser, open_browser
from commands import authorization, make_key
from images import encode, make_photo
from running import Running, servers, until
from uploading import PICTURE, WATCH, Origin, Uploader

from imgpro_lite.errors import Action, Overloaded, QuotaExceeded, RateLimited, Unauthorized

pytestmark = needs_browser

HOSTILE = '"><img src=x onerror=hacked()><svg onload=hacked()>.png'
# What the page says was left after each of some answers.
TELL_ALLOWANCES = """async (answers) => {
  const scripts = performance.getEntriesByType("resource").map((one) => one.name);
  const { Allowance } = await import(scripts.find((name) => name.includes("/allowance.")));
  const left = new Allowance(document.createElement("p"));
  return answers.map(([reset, remaining]) => {
    const header = { Reset: reset, Remaining: remaining, Limit: 20 };
    left.show((name) => String(header[name.replace("X-RateLimit-", "")] ?? ""));
    return left.element.textContent;
  });
}"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Another site with a picture."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_address[1]}"
        site.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, origin: str) -> Iterator[Running]:
    config = f"""
        [limits]
        anonymous_uploads_per_hour = 1000
        anonymous_uploads_per_day = 2000
        anonymous_file_mb = 1
        [import]
        allow_networks = ["127.0.0.1"]
        ports = [{origin.rpartition(":")[2]}]
    """
    with servers(tmp_path_factory.mktemp("server")) as start:
        yield start(config=config)


@pytest.fixture(scope="module")
def uploader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploader]:
    with open_browser() as browser:
        browser.call("DOM.enable")
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        browser.call("Emulation.setFocusEmulationEnabled", enabled=True)
        browser.show(width_px=1280, dark=False)
        yield Uploader(browser, tmp_path_factory.mktemp("files"))


@pytest.fixture
def page(uploader: Uploader, server: Running) -> Iterator[Uploader]:
    """The page, opened anew; afterwards nothing must have been wrong with it."""
    uploader.open(server)
    yield uploader
    uploader.check_quiet()


def test_a_picked_file_is_uploaded_and_its_link_is_on_the_clipboard(page: Uploader, server: Running) -> None:
    page.pick(page.put("holiday.jpg", encode(make_photo(900, 600), "jpeg")))
    (row,) = page.wait(1)
    shown = server.get(f"/v1/media/{row['text'].rpartition('/')[2]}").json()
    assert (row["name"], row["text"]) == ("holiday.jpg", shown["url"])
    assert row["says"].startswith("900 × 600, ")
    assert ", kept until " in row["says"]
    assert row["picture"].endswith(".jpeg?size=s")
    until(lambda: page.text("status") == "holiday.jpg is uploaded. Its link is on the clipboard.")
    assert page.copied() == shown["url"]
    assert page.text("allowance").startswith("999 of 1,000 uploads left this hour, 1,999 of 2,000 uploads left today")
    until(lambda: page.browser.run("document.querySelector('.thumb img').naturalWidth") == 480)
    page.browser.click(".name a")
    assert page.browser.run("location.pathname") == f"/{shown['id']}"
    page.open(server)


def test_many_at_once_with_a_broken_one_among_them(page: Uploader) -> None:
    broken = page.put("broken.png", b"\x89PNG\r\n\x1a\n and no more")
    page.pick(*(page.put(f"{number}.png", PICTURE) for number in range(5)), broken)
    rows = page.wait(6)
    assert [row["name"] for row in rows] == [*(f"{number}.png" for number in range(5)), "broken.png"]
    assert [row["state"] for row in rows] == ["done"] * 5 + ["failed"]
    assert rows[-1]["problem"].startswith("The file could not be decoded")
    assert not rows[-1]["again"]
    page.click("[data-part=copy-all]")
    until(lambda: page.text("copy-all") == "Copied")
    assert page.copied() == "\n".join(row["text"] for row in rows[:5])


def test_the_texts_to_copy_are_those_of_the_picture_s_page(page: Uploader, server: Running) -> None:
    page.hand_over("drop", {HOSTILE: PICTURE})
    (row,) = page.wait(1)
    page.browser.click(".name a")
    fields = "Object.fromEntries([...document.querySelectorAll('.copy input')].map(f => [f.id.slice(5), f.value]))"
    expected = page.browser.run(fields)
    page.open(server)
    page.hand_over("drop", {HOSTILE: PICTURE})
    (row,) = page.wait(1)
    media_id = row["text"].rpartition("/")[2]
    for notation, name in (("image", "link"), ("markdown", "markdown"), ("html", "html"), ("bbcode", "bbcode")):
        page.click(f"input[value={notation}]")
        own = expected["page"].rpartition("/")[2]
        assert page.rows()[0]["text"] == expected[name].replace(own, media_id)


def test_a_button_copies_without_a_clipboard_and_keeps_the_focus(page: Uploader) -> None:
    """As without TLS on another host."""
    page.browser.run("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    page.pick(page.put("copied.png", PICTURE), page.put("other.png", PICTURE))
    row, _ = page.wait(2)
    page.browser.run("document.querySelector('[data-part=copy]').focus()")
    page.click("[data-part=copy]")
    until(lambda: page.text("copy") == "Copied")
    assert page.browser.run("document.activeElement.dataset.part") == "copy"
    page.browser.run("Reflect.deleteProperty(navigator, 'clipboard')")
    assert page.copied() == row["text"]


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_files_are_dropped_and_pasted_and_their_names_run_nothing(page: Uploader, event: str) -> None:
    page.hand_over(event, {HOSTILE: PICTURE, "second.png": PICTURE})
    rows = page.wait(2)
    assert [row["name"] for row in rows] == [HOSTILE, "second.png"]
    assert {row["state"] for row in rows} == {"done"}


def test_a_picture_is_fetched_from_an_address(page: Uploader, origin: str) -> None:
    page.type_into("url", f"  {origin}/dir/far%20away.png ")
    page.click(".import button")
    page.hand_over("drop", {}, **{"text/uri-list": f"{origin}/dropped.png"})
    page.type_into("url", "127.0.0.1:9/x.png")  # a port that may not be fetched from
    page.click(".import button")
    first, second, refused = page.wait(3)
    assert (first["name"], second["name"]) == ("far away.png", "dropped.png")
    assert (refused["name"], refused["state"]) == ("https://127.0.0.1:9/x.png", "failed")
    assert refused["problem"].startswith("The image could not be fetched.")
    assert refused["again"]


def test_a_pasted_address_is_not_sent_by_itself(page: Uploader, origin: str) -> None:
    page.hand_over("paste", {}, **{"text/plain": f"{origin}/a.png"})
    assert page.browser.run("document.activeElement.value") == f"{origin}/a.png"
    page.hand_over("paste", {}, **{"text/plain": "some words"})
    assert page.rows() == []


def test_what_would_be_refused_is_not_sent(page: Uploader) -> None:
    too_large = page.put("large.jpg", b"\xff\xd8\xff" * 400_000)
    page.pick(too_large, page.put("empty.png", b""), page.put("notes.pdf", b"%PDF"))
    rows = page.wait(3)
    problems = ["The file exceeds the limit of 1 MB.", "The file is empty.", "The file is not a picture."]
    assert [row["problem"] for row in rows] == problems
    assert not any(row["again"] for row in rows)
    assert [url for _, url, _ in page.browser.requests() if "/v1/" in url] == []


@pytest.mark.parametrize(
    "refusal",
    [RateLimited("Too many uploads from your address.", 2), pytest.param(Overloaded(2), marks=pytest.mark.slow)],
)
def test_a_wait_is_counted_down_and_then_it_goes_on(page: Uploader, refusal: RateLimited | Overloaded) -> None:
    with page.refusing(refusal):
        page.pick(page.put("patient.png", PICTURE))
    until(lambda: page.rows()[0]["says"] == "Next try in 0:01")
    assert page.rows()[0]["problem"] == refusal.message
    assert page.text("status") == f"{refusal.message} The next try is in 0:02."
    (row,) = page.wait(1)
    assert (row["state"], row["problem"]) == ("done", "")


def test_a_long_wait_and_other_ways_out_are_shown(page: Uploader) -> None:
    with page.refusing(RateLimited("Too many uploads from your address.", 7200)):
        page.pick(page.put("late.png", PICTURE))
    (row,) = page.wait(1)
    assert re.fullmatch(r"Too many uploads from your address\. Try again after \d+ \w+ at \d\d:\d\d\.", row["problem"])
    upgrade = Action("upgrade", url=f"{page.url}/upgrade/pro?t=x", label="Upgrade to Pro")
    with page.refusing(QuotaExceeded("Monthly upload limit reached.", action=upgrade)):
        page.click("[data-part=again]")
    until(lambda: page.rows()[0]["link"] == upgrade.url)
    assert page.text("action") == "Upgrade to Pro"
    page.click("[data-part=again]")
    assert page.wait(1)[0]["state"] == "done"


def test_a_key_is_tried_and_used_with_every_option(page: Uploader, server: Running) -> None:
    made = make_key(server.data_dir, "--plan", "free", "--verified")
    page.type_into("key", "img_live_wrong")
    until(lambda: page.text("key-state") == "The server does not know this key.")
    page.type_into("key", "zwölf")
    until(lambda: page.text("key-state").startswith("This is no API key"))
    page.type_into("key", made["key"])
    until(lambda: page.text("key-state") == "This key works.")
    assert page.text("allowance") == "100 of 100 uploads left this month, 5 GB of 5 GB of storage left."
    for part, text in (("tags", " One, two "), ("namespace", "Not one"), ("ttl", "1d")):
        page.type_into(part, text)
    page.click("[data-part=private]")
    page.pick(page.put("private.png", PICTURE))
    assert "namespace: must be 2 to 64" in page.wait(1)[0]["problem"]
    page.type_into("namespace", "mine")
    page.click("[data-part=again]")
    (row,) = page.wait(1)
    shown = server.get(f"/v1/media/{row['text'].rpartition('/')[2]}", headers=authorization(made)).json()
    assert (shown["tags"], shown["namespace"], shown["public"]) == (["one", "two"], "mine", False)
    assert shown["expires_at"] - shown["created_at"] == 86_400
    assert page.text("allowance").startswith("99 of 100")


def test_a_key_is_kept_only_when_asked_to_and_only_in_the_tab(page: Uploader, server: Running) -> None:
    for keep in (False, True):
        if keep:
            page.click("[data-part=keep-key]")
        page.type_into("key", "img_live_kept")
        until(lambda: page.text("key-state"))
        page.open(server)
        assert page.browser.run("document.querySelector('[data-part=key]').value") == ("img_live_kept" if keep else "")
    assert page.browser.run("localStorage.length + document.cookie.length") == 0
    page.click("[data-part=keep-key]")
    assert page.browser.run("sessionStorage.length") == 0


def test_what_was_uploaded_is_there_again_until_it_is_cleared(page: Uploader, server: Running) -> None:
    page.pick(page.put("first.png", PICTURE), page.put("bad.png", b"bad"), page.put("second.png", PICTURE))
    rows = page.wait(3)
    page.browser.click(".name a")
    page.browser.goto(page.url + "/")
    until(lambda: len(page.rows()) == 2)
    assert page.rows() == [rows[0], rows[2]]
    for part in ("total", "copy-all", "clear"):
        assert page.browser.run(f"document.querySelector('[data-part={part}]').checkVisibility()")
    page.click("[data-part=copy-all]")
    until(lambda: page.text("copy-all") == "Copied")
    assert page.copied() == f"{rows[0]['text']}\n{rows[2]['text']}"
    page.click("[data-part=clear]")
    assert page.rows() == []
    page.browser.goto(page.url + "/")
    until(lambda: page.browser.run("document.getElementById('upload-files').multiple"))
    assert page.rows() == []
    assert page.browser.run("sessionStorage.length") == 0


def test_nothing_is_sent_before_the_key_is_known_to_work(page: Uploader, server: Running) -> None:
    page.type_into("key", "img_live_mistyped")
    page.pick(page.put("one.png", PICTURE), page.put("two.png", PICTURE))
    until(lambda: page.text("key-state") == "The server does not know this key.")
    assert [row["says"] for row in page.rows()] == ["Waits for an API key that works"] * 2
    assert page.browser.run("document.querySelector('[data-part=key]').checkVisibility()")
    assert [url for _, url, _ in page.browser.requests() if url.endswith("/v1/upload")] == []
    page.type_into("key", make_key(server.data_dir)["key"])
    assert [row["state"] for row in page.wait(2)] == ["done"] * 2


def test_a_key_that_is_revoked_in_the_middle_stops_the_others(page: Uploader, server: Running) -> None:
    page.type_into("key", make_key(server.data_dir)["key"])
    until(lambda: page.text("key-state") == "This key works.")
    with page.refusing(Unauthorized()):
        page.pick(page.put("one.png", PICTURE))
    until(lambda: page.text("key-state") == "The server does not know this key.")
    assert page.rows()[0]["says"] == "Waits for an API key that works"
    page.type_into("key", "")
    assert page.wait(1)[0]["state"] == "done"


def test_many_are_tried_again_and_cancelled_together(page: Uploader, server: Running) -> None:
    page.browser.call("Network.setBlockedURLs", urls=["*/v1/upload"])
    page.pick(*(page.put(f"{number}.png", PICTURE) for number in range(4)))
    page.wait(4)
    assert page.text("total") == "0 of 4 uploaded, 4 failed"
    page.browser.call("Network.setBlockedURLs", urls=[])
    server.process.send_signal(signal.SIGSTOP)
    try:
        page.click("[data-part=again-all]")
        until(lambda: [row["state"] for row in page.rows()] == ["sending"] * 3 + ["waiting"])
        assert re.fullmatch(r"0 of 4 uploaded, .+ of \d+ KB sent", page.text("total"))
        page.click("[data-part=cancel-all]")
        assert page.rows() == []
    finally:
        server.process.send_signal(signal.SIGCONT)
    page.browser.events.clear()  # the browser complains of what was blocked


def test_what_is_left_is_told_by_the_latest_answer(page: Uploader) -> None:
    """Of one hour it is the answer with the least left, in whatever order they arrive."""
    answers = [(7200, 18), (7200, 19), (3600, 1), (10800, 20), (7200, 17)]
    told = page.browser.call(
        "Runtime.evaluate",
        expression=f"({TELL_ALLOWANCES})({json.dumps(answers)})",
        awaitPromise=True,
        returnByValue=True,
    )["result"]["value"]
    shown = [18, 18, 18, 20, 20]
    assert told == [f"{number} of 20 uploads left this hour." for number in shown]


def test_a_drop_without_pictures_is_answered(page: Uploader) -> None:
    page.hand_over("drop", {}, **{"text/uri-list": ""})
    until(lambda: page.text("trouble") == "There is no picture in what was dropped.")
    assert page.browser.run("document.querySelector('[data-part=trouble]').checkVisibility()")
    page.pick(page.put("one.png", PICTURE))
    page.wait(1)
    assert page.text("trouble") == ""


@pytest.mark.slow  # a server of its own, as the next one
def test_without_anonymous_uploads_the_page_asks_for_a_key(uploader: Uploader, tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start(config="[anonymous]\nenabled = false\n")
        uploader.open(server)
        uploader.hand_over("drop", {"a.png": PICTURE})
        (row,) = uploader.wait(1)
        assert row["problem"].startswith("Uploads here need an API key.")
        assert uploader.browser.run("document.activeElement.id") == "upload-key"
        uploader.type_into("key", make_key(server.data_dir)["key"])
        until(lambda: uploader.text("key-state") == "This key works.")
        uploader.click("[data-part=again]")
        assert uploader.wait(1)[0]["state"] == "done"
        uploader.check_quiet()


@pytest.mark.slow
def test_the_server_goes_away_in_the_middle_and_comes_back(uploader: Uploader, tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start()
        uploader.open(server)
        server.process.send_signal(signal.SIGSTOP)
        uploader.pick(uploader.put("interrupted.png", PICTURE))
        until(lambda: uploader.rows()[0]["state"] == "sending")
        server.end(signal.SIGKILL)
        (row,) = uploader.wait(1)
        assert row["problem"].startswith("It did not get through")
        start(args=("--port", str(server.port)))
        uploader.click("[data-part=again]")
        assert uploader.wait(1)[0]["state"] == "done"
        assert uploader.browser.run("window.wrongs") == []


def test_uploads_are_cancelled(page: Uploader, server: Running) -> None:
    server.process.send_signal(signal.SIGSTOP)
    try:
        page.pick(*(page.put(f"{number}.png", PICTURE) for number in range(4)))
        until(lambda: [row["state"] for row in page.rows()] == ["sending"] * 3 + ["waiting"])
        for _ in range(3):
            page.click(".rows li [data-part=away]")
        assert [(row["name"], row["state"]) for row in page.rows()] == [("3.png", "sending")]
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert page.wait(1)[0]["state"] == "done"


def test_without_scripts_the_form_uploads(uploader: Uploader, server: Running) -> None:
    browser = uploader.browser
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.goto(f"{server.url}/")
        for selector in (".import", ".drop"):
            assert browser.run(f"document.querySelector('{selector}').checkVisibility()") is False
        uploader.pick(uploader.put("plain.png", PICTURE))
        browser.click("noscript button")
        assert browser.run("document.querySelector('h1').textContent") == "plain.png"
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_who_is_signed_in_uploads_without_a_key(uploader: Uploader, server: Running) -> None:
    browser, key = uploader.browser, make_key(server.data_dir, "--verified", email="signed.in@example.com")["key"]
    browser.goto(f"{server.url}/dashboard/sign-in?next=/")
    browser.run(f"document.getElementById('key').value = '{key}'")
    browser.click("form:has(#key) button")
    uploader.open(server)
    csrf = browser.run("document.querySelector('meta[name=csrf-token]').content")
    uploader.pick(uploader.put("mine.png", PICTURE))
    assert uploader.wait(1)[0]["state"] == "done"
    (sent,) = [headers for method, url, headers in browser.requests() if url.endswith("/v1/upload")]
    assert sent["X-CSRF-Token"] == csrf
    assert "Authorization" not in sent
    uploader.check_quiet()
    assert "You are signed in" in browser.run("document.querySelector('main').textContent")
    browser.call("Network.clearBrowserCookies")
    browser.goto(f"{server.url}/")
    until(lambda: browser.run("document.getElementById('upload-files').multiple"))
    assert uploader.rows() == []
    assert browser.run("sessionStorage.length") == 0
    listed = server.get("/v1/media", headers={"Authorization": f"Bearer {key}"}).json()
    assert [item["name"] for item in listed["items"]] == ["mine.png"]


@pytest.mark.slow
def test_a_key_ends_the_wait_of_those_without(page: Uploader, server: Running) -> None:
    with page.refusing(RateLimited("Too many uploads from your address.", 1800)):
        page.pick(page.put("patient.png", PICTURE))
    until(lambda: page.rows()[0]["says"].startswith("Next try in 29:"))
    page.type_into("key", make_key(server.data_dir)["key"])
    assert page.wait(1)[0]["state"] == "done"
    until(lambda: page.text("key-state") == "This key works.")
    assert page.text("allowance") == ""  # it is the operator's
