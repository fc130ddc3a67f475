"""Every page in every state: everybody can use it, nothing is wrong with it, and no text of strangers runs in it."""

import json
import re
from collections.abc import Iterator
from importlib import resources
from urllib.parse import quote

import pytest
from attacks import ATTACKS, EMAIL, MADE, SHOWN, TAGS
from browser import LOWEST_CONTRAST, needs_browser
from images import make_image
from markdown_it import MarkdownIt
from running import until
from scenes import SCENES, SLOW
from site_of_attacks import Site, open_site

pytestmark = needs_browser

# Width in pixels, and whether it is dark. 320 is what WCAG asks for (1.4.10), 360 what most phones have.
SCREENS = [(320, False), (1280, True), (360, True), (1280, False)]
SMALLEST_TEXT_CONTRAST = 4.5  # WCAG 2.2, 1.4.3 (AA)
SMALLEST_TARGET_PX = 44  # of what a finger hits (WCAG 2.2, 2.5.5)
TARGETS = """[...document.querySelectorAll(`button, fieldset label, .choose, .button, .second, select, summary,
  nav a:not(.contents a), input:is([type=text], [type=email])`)]
  .filter((one) => !one.closest("#viewer") && one.checkVisibility())
  .map((one) => [one.outerHTML.slice(0, 100), one.getBoundingClientRect().height])"""
GROUNDS = {False: "rgb(244, 246, 249)", True: "rgb(18, 22, 27)"}
SMALL_PICTURE = make_image("png", 3, 2)

# axe-core, of Deque: serious is what keeps some people from a part of a page, critical from the whole.
RUN_AXE = """axe.run(%s, {resultTypes: ["violations"], rules: %s}).then((found) => found.violations
  .filter(({impact}) => ["serious", "critical"].includes(impact))
  .flatMap(({id, nodes}) => nodes.map(({html, failureSummary}) => `${id}: ${html} ${failureSummary}`.slice(0, 500))))"""
# Swagger UI, of whose own markup axe finds: white on pale green and blue, buttons in buttons, a choice without a name.
# The reference has all that it shows, without it.
PAGE = '{exclude: ["#viewer"]}'
# Half of the time goes into the contrast, which is also measured without axe.
QUICK, ALL = '{"color-contrast": {enabled: false}}', "{}"


@pytest.fixture(scope="module")
def axe() -> str:
    """The program. It is put in past the policy of the pages, which would not let it in."""
    pytest.importorskip("axe_playwright_python", reason="it is only there on Linux")
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site")) as made:
        yield made


def problems(site: Site, axe: str, name: str, width_px: int, dark: bool, rules: str = ALL) -> list[str]:
    """Go to a page on a screen: what is wrong there."""
    status, go = SCENES[name]
    site.browser.show(width_px=width_px, dark=dark)
    go(site)
    documents = [
        event["params"]["response"]["status"]
        for event in site.browser.events
        if event.get("method") == "Network.responseReceived" and event["params"]["type"] == "Document"
    ]
    assert documents[-1] == status, (name, site.browser.run("document.body.innerText"))
    assert site.browser.run("getComputedStyle(document.body).backgroundColor") == GROUNDS[dark]
    found = what_runs(site) + what_is_unseemly(site, width_px)
    site.browser.run(axe)
    # On the longest page it would take so much time that a busy machine is thought to hang.
    return found + list(site.browser.run(RUN_AXE % (PAGE, QUICK if name == "reference" else rules)))


def what_runs(site: Site) -> list[str]:
    """Texts that became markup or ran, complaints, requests to others, and those that say where they come from."""
    sent = [(url, headers) for _, url, headers in site.browser.requests() if not url.startswith("data:")]
    told = [f"tells {url} where it is" for url, headers in sent if headers.get("Referer")]
    faults = site.browser.faults(site.url, refused=True)
    return [*told, *faults, *site.browser.run(MADE), *site.browser.run("window.ran")]


def what_is_unseemly(site: Site, width_px: int) -> list[str]:
    """What sticks out, cannot be read, or is too small for a finger."""
    found = [f"too small: {html}" for html, px in site.browser.run(TARGETS) if px < SMALLEST_TARGET_PX]
    shown_px = site.browser.run("document.documentElement.scrollWidth")
    if shown_px != width_px:
        found.append(f"is {shown_px} px wide")
    contrast, text = site.browser.run(LOWEST_CONTRAST)
    if not site.browser.run("Boolean(document.getElementById('viewer'))") and contrast < SMALLEST_TEXT_CONTRAST:
        found.append(f"contrast of {contrast}: {text}")
    return found


def test_every_page_on_one_screen(site: Site, axe: str) -> None:
    """On another screen from page to page, so that every kind of screen is seen."""
    names = [name for name in SCENES if name not in SLOW]
    screens = {name: SCREENS[number % len(SCREENS)] for number, name in enumerate(names)}
    found = {name: problems(site, axe, name, *screen, QUICK) for name, screen in screens.items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_every_page_on_every_screen(site: Site, axe: str, screen: tuple[int, bool]) -> None:
    found = {name: problems(site, axe, name, *screen) for name in SCENES}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


# ── the texts of strangers: where each is typed, and wherever it is shown ──


FEW = 2  # are tried each time
each_attack = pytest.mark.parametrize(
    "number", [*range(FEW), *(pytest.param(number, marks=pytest.mark.slow) for number in range(FEW, len(ATTACKS)))]
)
some_and_all = pytest.mark.parametrize(
    "attacks", [ATTACKS[:4], pytest.param(ATTACKS, marks=pytest.mark.slow)], ids=["some", "all"]
)


def check_shown(site: Site, *texts: str) -> None:
    """The texts are on the page as they were typed, and nothing came of it."""
    shown = site.browser.run(SHOWN)
    assert [text for text in texts if text not in shown] == []
    assert what_runs(site) == []


def base_name(name: str) -> str:
    """What is kept of the name of a file."""
    return re.split(r"[/\\\\]", name)[-1].strip()


@each_attack
def test_texts_on_the_page_of_an_image(site: Site, number: int) -> None:
    attack, media_id = ATTACKS[number], site.images[number]
    site.open(f"/{media_id}")
    check_shown(site, attack, TAGS[number], json.dumps({attack: [attack]}, ensure_ascii=False))
    assert site.browser.run("document.querySelector('.stage img').alt") == attack
    check_snippets(site, "#copy-markdown", "#copy-html", attack)
    answer = site.server.get("/oembed", params={"url": f"{site.url}/{media_id}"})
    assert (answer.json()["title"], answer.headers["content-type"]) == (attack, "application/json")


def check_snippets(site: Site, markdown: str, html: str, name: str) -> None:
    """What is copied is one picture with the name, and nothing else, wherever it is pasted."""
    value = "document.querySelector({}).value"
    rendered = MarkdownIt().render(site.browser.run(value.format(json.dumps(markdown))))
    for text in (rendered, site.browser.run(value.format(json.dumps(html)))):
        made = site.browser.run(f"""[...new DOMParser().parseFromString({json.dumps(text)}, "text/html").body
          .querySelectorAll("*")].filter((one) => one.localName !== "p")
          .map((one) => [one.localName, one.alt, one.getAttributeNames().sort().join(" ")])""")
        assert made in ([["img", name, "alt src"]], [["img", name, "alt height src width"]])


def test_texts_in_the_gallery(site: Site) -> None:
    SCENES["gallery"][1](site)
    check_shown(site, *ATTACKS)
    for attack, tag, media_id in zip(ATTACKS, TAGS, site.images, strict=True):
        site.press(f"[data-id='{media_id}'] a")
        site.wait_for("#editor[open]")
        fields = site.browser.run("[...editor.querySelectorAll('input, textarea')].map((one) => one.value)")
        detail = json.dumps({attack: [attack]}, ensure_ascii=False, separators=(",", ":"))
        assert {attack, f"{tag}, {'long' * 12}", detail} <= set(fields)
        site.press("#close-editor")
        until(lambda: site.browser.run("!editor.open && !history.state.editor"))
    site.press("#select-all")
    site.fill("#batch-namespace", ATTACKS[0])
    site.press("[data-change=namespace] button")
    until(lambda: "must be" in site.browser.run("document.getElementById('status').textContent"))
    check_shown(site, *ATTACKS)


@each_attack
def test_texts_to_filter_by(site: Site, number: int) -> None:
    tag = TAGS[number]
    site.open(f"/dashboard?tags={quote(json.dumps([tag]))}", "owner")
    assert site.browser.run("document.querySelectorAll('#gallery .tile').length") == 1
    check_shown(site, ATTACKS[number])
    for query in (f"tags={quote(tag)}", f"namespace={quote(ATTACKS[number])}"):
        site.open(f"/dashboard?{query}", "owner")
        check_shown(site, tag if "tags" in query else ATTACKS[number])


def test_texts_on_other_pages(site: Site) -> None:
    site.open("/dashboard/keys", "owner")
    check_shown(site, *ATTACKS)
    for name in ("settings", "verify", "resend", "sign in, link", "sign in, mailed"):
        SCENES[name][1](site)
        check_shown(site, EMAIL)


@some_and_all
def test_names_of_files(site: Site, attacks: list[str]) -> None:
    site.uploader.open(site.server, site.url)
    site.uploader.hand_over("drop", dict.fromkeys(attacks, b"broken"))
    assert [row["name"] for row in site.uploader.wait(len(attacks))] == attacks
    check_shown(site, *attacks)
    site.uploader.open(site.server, site.url)
    site.uploader.hand_over("paste", dict.fromkeys(attacks, SMALL_PICTURE))
    rows = site.uploader.wait(len(attacks))
    assert [row["name"] for row in rows] == [base_name(attack) for attack in attacks]
    for notation in ("markdown", "html", "bbcode"):
        site.press(f"input[value={notation}]")
        check_shown(site, *(row["text"] for row in site.uploader.rows()))
    picked = [attack for attack in attacks if "/" not in attack]
    assert picked
    site.uploader.open(site.server, site.url)
    site.uploader.pick(*(site.uploader.put(name, SMALL_PICTURE) for name in picked))
    assert [row["name"] for row in site.uploader.wait(len(picked))] == [base_name(name) for name in picked]
    check_shown(site)


@some_and_all
def test_addresses_to_import(site: Site, attacks: list[str]) -> None:
    site.uploader.open(site.server, site.url)
    for attack in attacks:
        for address in (attack, f"{site.origin}/{quote(attack, safe='')}"):
            site.uploader.type_into("url", address)
            site.press(".import button")
    rows = site.uploader.wait(2 * len(attacks))
    assert [row["state"] for row in rows] == ["failed", "done"] * len(attacks)
    assert [row["name"].removeprefix("https://") for row in rows[::2]] == [attack.strip() for attack in attacks]
    assert [row["name"] for row in rows[1::2]] == [base_name(attack) for attack in attacks]
    check_shown(site)
