"""Every page of a server in every state, as a browser gets there."""

from collections.abc import Callable

import httpx2
from attacks import ATTACKS, EMAIL
from running import until
from site_of_attacks import PICTURE, LongAgo, Site

from imgpro_lite import links


def _fill_in_and_send(path: str, field_id: str, value: str) -> Callable[[Site], None]:
    def send(site: Site) -> None:
        site.open(path)
        site.fill(field_id, value)
        site.browser.click(f"form:has({field_id}) button")

    return send


def _press_button(link: Callable[[Site], str], button: str, *, again: bool = False) -> Callable[[Site], None]:
    """The page that a button of a signed link leads to; or the link's own, when it is used again."""

    def press(site: Site) -> None:
        path = link(site)
        site.open(path)
        site.browser.click(button)
        if again:
            site.open(path)

    return press


def _upload_some(site: Site) -> None:
    site.open("/")
    until(lambda: site.browser.run("document.getElementById('upload-files').multiple"))
    site.press("summary")
    site.uploader.hand_over("drop", {ATTACKS[0]: PICTURE, "broken.png": b"broken", "long" * 50 + ".png": PICTURE})
    site.uploader.wait(3)


def _gallery(site: Site) -> None:
    site.open("/dashboard", "owner")
    site.wait_for("#gallery .tile")


def _edit(site: Site) -> None:
    _gallery(site)
    site.press(f"[data-id='{site.images[0]}'] a")
    site.wait_for("#editor[open]")


def _edit_wrongly(site: Site) -> None:
    _edit(site)
    site.fill("#edit-namespace", ATTACKS[0])
    site.press("#editor button[value=save]")
    site.wait_for("#problem-namespace")


def _choose(site: Site) -> None:
    _gallery(site)
    for _ in range(2):
        site.press(".choose input:not(:checked)")
    site.wait_for("#selection")


def _delete(site: Site) -> None:
    _choose(site)
    site.press("#delete-selected")
    site.wait_for("#confirm[open]")


def _open_upload_box(site: Site) -> None:
    _gallery(site)
    site.press(".upload-here summary")
    site.press(".upload-here .options summary")


def _make_key(site: Site) -> None:
    site.open("/dashboard/keys", "owner")
    site.fill("#name", ATTACKS[0])
    site.browser.click("form:has(#name) button")


def _make_helper(site: Site) -> None:
    site.open("/dashboard/helpers", "owner")
    site.browser.click("main form button")


def _save_settings(site: Site) -> None:
    site.open("/dashboard/settings", "owner")
    site.browser.click("form:has(fieldset) button")


def _try_out(site: Site) -> None:
    site.open("/api", "owner")
    until(lambda: site.browser.run("document.querySelectorAll('.opblock').length"))


def _ask_for_upgrade(site: Site) -> None:
    path = site.upgrade_link("scale")
    address, _, token = path.partition("?t=")
    httpx2.post(site.server.url + address, data={"t": token}, trust_env=False)
    site.open(path)


def _read(path: str, who: str = "") -> Callable[[Site], None]:
    def read(site: Site) -> None:
        site.open(path, who)
        site.browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")

    return read


def _at(path: str, who: str = "") -> Callable[[Site], None]:
    return lambda site: site.open(path, who)


def _follow(link: Callable[[Site], str]) -> Callable[[Site], None]:
    return lambda site: site.open(link(site))


# What is only tried with the slow tests: states that differ little from others, and long pages like the quick start.
SLOW = {
    *("image", "sign in, wrong key", "sign in, mailed", "sign in, used link", "sign in, old link"),
    *("verify, disowned", "verify, old link", "resent", "upgrade, asked", "upgrade, done", "upgrade, old link"),
    *(
        "gallery",
        "gallery, only to read",
        "gallery, none found",
        "gallery, wrong filter",
        "gallery, editor with problems",
    ),
    *("gallery, deletion", "gallery, upload box", "keys, a new one", "helpers, a new key", "settings, saved"),
    *("documentation", "reference", "errors", "agents"),
}
# How to get to each page, and the status that it has.
SCENES: dict[str, tuple[int, Callable[[Site], None]]] = {
    "upload": (200, _at("/")),
    "uploaded": (200, _upload_some),
    "image": (200, lambda site: site.open(f"/{site.upload()['id']}")),
    "image with everything": (200, lambda site: site.open(f"/{site.images[0]}")),
    "no image": (404, _at("/abcdefghijkl12")),
    "sign in": (200, _at("/dashboard/sign-in")),
    "sign in, wrong key": (422, _fill_in_and_send("/dashboard/sign-in", "#key", ATTACKS[0])),
    "sign in, mailed": (200, _fill_in_and_send("/dashboard/sign-in", "#email", EMAIL)),
    "sign in, link": (200, _follow(Site.sign_in_link)),
    "sign in, used link": (410, _press_button(Site.sign_in_link, "main button", again=True)),
    "sign in, old link": (410, _follow(lambda site: site.sign_in_link(LongAgo()))),
    "verify": (200, _follow(Site.verify_link)),
    "verify, confirmed": (200, _press_button(Site.verify_link, "button[value=confirm]")),
    "verify, disowned": (200, _press_button(Site.verify_link, "button[value=disown]")),
    "verify, old link": (410, _follow(lambda site: site.verify_link(LongAgo()))),
    "resend": (200, _follow(lambda site: site.link("/verify/resend", links.VERIFY_RESEND, {"email": EMAIL}))),
    "resent": (
        200,
        _press_button(lambda site: site.link("/verify/resend", links.VERIFY_RESEND, {"email": EMAIL}), "main button"),
    ),
    "upgrade": (200, _follow(lambda site: site.upgrade_link("pro"))),
    "upgrade, asked": (200, _ask_for_upgrade),
    "upgrade, done": (200, _follow(lambda site: site.upgrade_link("free"))),
    "upgrade, old link": (410, _follow(lambda site: site.upgrade_link("pro", LongAgo()))),
    "gallery": (200, _gallery),
    "gallery of a newcomer": (200, _at("/dashboard", "newcomer")),
    "gallery, only to read": (200, _at("/dashboard", "reader")),
    "gallery, none found": (200, _at("/dashboard?tags=nothing", "owner")),
    "gallery, wrong filter": (422, _at("/dashboard?namespace=%3Cscript%3E", "owner")),
    "gallery, editor": (200, _edit),
    "gallery, editor with problems": (200, _edit_wrongly),
    "gallery, selection": (200, _choose),
    "gallery, deletion": (200, _delete),
    "gallery, upload box": (200, _open_upload_box),
    "keys": (200, _at("/dashboard/keys", "owner")),
    "keys, a new one": (200, _make_key),
    "helpers": (200, _at("/dashboard/helpers", "owner")),
    "helpers, a new key": (200, _make_helper),
    "settings": (200, _at("/dashboard/settings", "owner")),
    "settings, saved": (200, _save_settings),
    "documentation": (200, _try_out),
    "quick start": (200, _read("/api/quick-start", "owner")),
    "reference": (200, _read("/api/reference")),
    "errors": (200, _read("/api/errors")),
    "agents": (200, _read("/api/ai-agents")),
    "pricing": (200, _read("/pricing")),
}
