"""The gallery as it comes from the server, which is all that is needed to read it; scripts are tested in a browser."""

from collections.abc import Iterator
from typing import Any

import pytest
from commands import authorization
from conftest import Api, ApiFactory
from library import add, add_rows, new_email, picture
from pages import Page
from shared import serve
from signing_in import Browser, Shown, signed_in
from viewing import ImagePage

HOSTILE = "\"><script>alert(1)</script>{{7*7}}'</title>"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def tiles(page: Shown) -> list[str]:
    """The ids of the images on a page, in order. The last one is empty: the script's pattern."""
    found = [str(values.get("data-id")) for tag, values in page.tags if tag == "li" and values.get("class") == "tile"]
    assert found.pop() == ""
    return found


def more(page: Shown) -> str | None:
    """Where the next page is."""
    return next((str(link["href"]) for link in page.attributes("a") if link.get("id") == "more"), None)


def test_an_empty_gallery(shared: Api) -> None:
    browser, _ = signed_in(shared, email=new_email())
    page = browser.open("/dashboard")
    assert (page.heading, tiles(page), more(page)) == ("Images", [], None)
    assert "There are no images yet." in page.text


def test_every_page_of_a_long_gallery(shared: Api) -> None:
    """Without scripts, by its links: each image once, the newest first, as the API lists them."""
    browser, key = signed_in(shared, email=new_email())
    ids = add_rows(shared.data_dir, authorization(key), 120)
    seen, path = [], "/dashboard"
    for count in (50, 50, 20):
        page = browser.open(path)
        assert len(tiles(page)) == count
        seen += tiles(page)
        path = more(page) or ""
    assert path == ""
    assert sorted(seen) == sorted(ids)
    listed = browser.ask_api("GET", "/v1/media?limit=100").json()["items"]
    assert [item["id"] for item in listed] == seen[:100]


def test_a_script_goes_on_where_the_page_ends(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    add_rows(shared.data_dir, authorization(key), 60, tags='["a"]', namespace="ns")
    page = browser.open("/dashboard?namespace=ns&tags=a,b&tag_mode=any")
    (grid,) = [values for values in page.attributes("ul") if values.get("id") == "gallery"]
    wanted = {name: str(grid[f"data-{name.replace('_', '-')}"]) for name in ("namespace", "tags", "tag_mode", "cursor")}
    answer = browser.ask_api("GET", "/v1/media", params=wanted).json()
    assert (len(answer["items"]), answer["has_more"]) == (10, False)
    assert not set(tiles(page)) & {item["id"] for item in answer["items"]}


def test_filters(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    headers = authorization(key)
    first = add(shared, headers, tags="red,blue", namespace="one")["id"]
    second = add(shared, headers, tags="red", namespace="two")["id"]
    third = add(shared, headers)["id"]
    for query in ("", "?namespace=&tags=&tag_mode=all"):  # as an empty form sends it
        page = browser.open(f"/dashboard{query}")
        assert (tiles(page), "Show all" in page.text) == ([third, second, first], False)
    for query, expected in {
        "?namespace=one": [first],
        "?tags=red": [second, first],
        "?tags=red,blue": [first],
        "?tags=red,blue&tag_mode=any": [second, first],
        "?tags=red&namespace=two": [second],
        "?tags=green": [],
    }.items():
        page = browser.open(f"/dashboard{query}")
        assert tiles(page) == expected, query
        assert "No image matches this filter." in page.text
        (empty,) = [one for one in page.attributes("div") if one.get("id") == "empty"]
        assert ("hidden" in empty) == bool(expected)
        assert "Show all" in page.text
    assert [values["value"] for values in page.attributes("option")][-2:] == ["one", "two"]


@pytest.mark.parametrize(
    "query", ["namespace=A", "tags=" + "x" * 51, "tag_mode=some", "cursor=x", "tags=1,2,3,4,5,6,7,8,9,10,11"]
)
def test_what_cannot_be_filtered_by(shared: Api, query: str) -> None:
    browser, key = signed_in(shared, email=new_email())
    add(shared, authorization(key))
    page = browser.open(f"/dashboard?{query}", 422)
    assert tiles(page) == []
    assert "Show all" in page.text


def test_only_what_is_ones_own(shared: Api) -> None:
    browser, _ = signed_in(shared, email=new_email())
    _, other = signed_in(shared, email=new_email())
    add(shared, authorization(other))
    assert tiles(browser.open("/dashboard")) == []


def test_usage(shared: Api) -> None:
    browser, key = signed_in(shared, "--plan", "free", email=new_email())
    add(shared, authorization(key))
    page = browser.open("/dashboard")
    assert "1 of 100 uploads this month" in page.text
    assert "of 5 GB storage" in page.text
    assert "Plan Free. Uploads count anew from 1 December 2023." in page.text
    (upgrade,) = [link for link in page.links if "/upgrade/pro?t=" in link]
    assert browser.get(upgrade).status_code == 200
    uploads, storage = (one for one in page.attributes("progress") if "value" in one)
    assert (uploads["value"], uploads["max"], storage["max"]) == ("1", "100", str(5 * 1024**3))
    owner, _ = signed_in(shared, email=new_email())
    assert "<progress value=" not in owner.get("/dashboard").text  # of the plan without limits


def test_an_address_that_is_not_confirmed(shared: Api) -> None:
    headers = shared.new_key(new_email())
    browser = Browser.at(shared).sign_in(headers["Authorization"].removeprefix("Bearer "))
    page = browser.open("/dashboard")
    assert "images are kept for 30 days" in page.text
    (link,) = {link for link in page.links if "/verify/resend?t=" in link}
    (key_id,) = {form.hidden["key_id"] for form in browser.open("/dashboard/keys").forms if "key_id" in form.hidden}
    asked = Page(browser.get(link).text).text  # there is no mail server
    assert f"imgpro-lite keys verify {key_id}" in asked
    assert all(word in asked for word in ("--data-dir", "outbox"))
    stranger, _ = signed_in(shared, email=new_email())
    for other in (stranger, Browser.at(shared)):
        assert "imgpro-lite keys verify KEY_ID" in Page(other.get(link).text).text


def test_what_a_key_may_not_do_is_not_offered(shared: Api) -> None:
    reader, _ = signed_in(shared, "--read-only", email=new_email())
    page = reader.open("/dashboard")
    assert {str(one["src"]).split("/")[-1].split(".")[0] for one in page.attributes("script")} == {
        "dashboard",
        "gallery",
        "keyboard",
        "place",
    }
    assert "You are signed in with a key that only reads" in page.text
    assert [one["class"] for one in page.attributes("ul") if one.get("id") == "gallery"] == ["gallery"]  # no boxes
    assert "Make private" not in page.text


def test_what_strangers_typed_is_only_shown(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    add(shared, authorization(key), name=HOSTILE, tags=HOSTILE[:50].replace(",", ""))
    for path in ("/dashboard", "/dashboard?tags=" + "%22%3E%3Cscript%3E", "/dashboard?namespace=%22%3E%3Cscript%3E"):
        shown = browser.get(path).text
        assert "<script>" not in shown
        assert "{{7*7}}" in shown or "tags" in path or "namespace" in path


# ── the page of a private image ──


def test_the_team_sees_its_private_images(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    stranger, _ = signed_in(shared, email=new_email())
    path = "/" + add(shared, authorization(key), public="false", name="Mine")["id"]
    answer = browser.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert "etag" not in answer.headers
    assert '<span class="mark">Private</span>' in answer.text
    assert "Link to this page, for your team only" in answer.text
    for other in (stranger, Browser.at(shared)):
        assert other.get(path).status_code == 404
    browser.submit(browser.open("/dashboard"), "/dashboard/sign-out")
    assert browser.get(path).status_code == 404


def test_the_page_of_a_public_image_is_the_same_for_everybody(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    path = "/" + add(shared, authorization(key))["id"]
    answers: list[Any] = [browser.get(path), Browser.at(shared).get(path)]
    assert [ImagePage(one).heading for one in answers] == ["photo.jpg"] * 2
    assert answers[0].text == answers[1].text


def test_the_interactive_documentation_asks_as_the_one_who_is_signed_in(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    add(shared, authorization(key))

    def csrf(visitor: Browser) -> str:
        (place,) = [one for one in Page(visitor.get("/api").text).attributes("div") if one.get("id") == "viewer"]
        return str(place["data-csrf-token"])

    assert csrf(Browser.at(shared)) == ""
    assert len(browser.ask_api("GET", "/v1/media", csrf(browser)).json()["items"]) == 1


def test_the_first_page_uploads_as_the_one_who_is_signed_in(shared: Api) -> None:
    browser, _ = signed_in(shared, email=new_email())
    reader, _ = signed_in(shared, "--read-only", email=new_email())
    csrf = Shown(browser.get("/")).csrf
    stored = browser.ask_api("POST", "/v1/upload", csrf, files={"file": ("x.png", picture())})
    assert (stored.status_code, "upgrade" in stored.json()) == (201, False)
    for other in (reader, Browser.at(shared)):  # a key that may not upload is no better than none
        page = Page(other.get("/").text)
        assert "csrf-token" not in [one.get("name") for one in page.attributes("meta")]
        assert [one for one in page.attributes("input") if one.get("id") == "upload-key"]


# ── over plain http ──


def test_where_the_browser_does_not_say_where_from(shared: Api) -> None:
    """Pages offer nothing that the API would refuse, and say why; what needs no script is as ever."""
    browser, key = signed_in(shared, email=new_email())
    ids = add_rows(shared.data_dir, authorization(key), 51)
    why = "Browsers tell a server where requests come from only over https://"
    for path, told in (
        ("/dashboard", "you can look at your images, but neither upload pictures nor change any"),
        ("/", "uploads from here only count as yours with an API key"),
    ):
        page = Page(browser.get_untold(path).text)
        assert told in page.text
        assert why in page.text
        assert why not in browser.get(path).text
    first = Shown(browser.get_untold("/dashboard"))
    assert first.attributes("script") == []
    assert "upload-files" not in [one.get("id") for one in first.attributes("input")]
    rest = Shown(browser.get_untold(more(first) or ""))
    assert sorted(tiles(first) + tiles(rest)) == sorted(ids)

    upload = Page(browser.get_untold("/").text)
    assert "csrf-token" not in [one.get("name") for one in upload.attributes("meta")]
    assert [one for one in upload.attributes("input") if one.get("id") == "upload-key"]
    assert 'data-csrf-token=""' in browser.get_untold("/api").text
    (box,) = [label for label in upload.attributes("label") if label.get("class") == "check" and "data-part" in label]
    assert "hidden" in box  # "Keep its page to myself"


def test_who_would_sign_in_for_little_is_told_before(shared: Api, start: ApiFactory) -> None:
    told = "Signed in here, you can look at your images and manage your keys, but neither upload"
    assert told in Shown(Browser.at(shared).get_untold("/dashboard/sign-in")).text
    assert told not in Browser.at(shared).open("/dashboard/sign-in").text
    api = start(server={"public_url": "https://img.example"})
    page = Shown(Browser.at(api, "http://192.0.2.7:4647").get_untold("/dashboard/sign-in"))
    assert "https://img.example/dashboard" in page.links
