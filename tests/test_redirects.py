"""Nothing that a request says leads a visitor to another site: no parameter, no header and no path."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from commands import make_key
from conftest import Api
from images import make_image
from pages import MAIL, Page, sign
from shared import serve
from signing_in import Browser

from imgpro_lite import ids, links

EVIL = "evil.example"
TARGETS = [
    *(f"https://{EVIL}/", f"//{EVIL}", f"/\\{EVIL}", f"\\\\{EVIL}", f"https:{EVIL}", f"///{EVIL}/"),
    *(
        f"%2f%2f{EVIL}",
        f"/%2f{EVIL}",
        f"/%5c{EVIL}",
        f"/\t/{EVIL}",
        f"\x01//{EVIL}",
        f"/img//{EVIL}",
        f"/../..//{EVIL}",
    ),
    *(f"http://localhost:4647@{EVIL}", f"http://localhost:4647.{EVIL}", f"/dashboard\r\nLocation: //{EVIL}"),
    *(f"//{EVIL}/dashboard", f"/dashboard@{EVIL}", "javascript:alert(1)", "data:text/html,x", f"/?next=//{EVIL}"),
]
NAMES = ("next", "redirect", "return_to", "url", "continue")
FORGED = {
    "Host": EVIL,
    "X-Forwarded-Host": EVIL,
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Prefix": f"//{EVIL}",
    "X-Original-URL": f"//{EVIL}/",
    "X-Rewrite-URL": f"//{EVIL}/",
    "Forwarded": f"host={EVIL};proto=gopher",
    "Referer": f"https://{EVIL}/",
}
FEW = 8  # are tried each time
BASES = ["http://localhost:4647", "https://example.com/img"]


class Visitor:
    """Somebody who does everything that a page offers, where each request asks to be led elsewhere."""

    def __init__(self, api: Api, base: str) -> None:
        self.api, self.base = api, base
        self.origin = urljoin(base, "/").rstrip("/")
        self.prefix = urlsplit(base).path
        self.key = make_key(api.data_dir, "--verified")
        headers = {"Authorization": f"Bearer {self.key['key']}"}
        uploaded = api.upload(make_image("png", 3, 2), headers)
        self.team = uploaded.json()["src"].split("/")[-2]

    def tour(self, target: str, headers: dict[str, str]) -> Iterator[Any]:
        """The answer to everything that there is to do."""
        asked = dict.fromkeys(NAMES, target)
        client = Browser.at(self.api, self.origin).client

        def get(path: str, **parameters: str) -> Any:
            return client.get(self.base + path, params={**asked, **parameters}, headers=headers)

        def post(path: str, page: Any = None, **fields: str) -> Any:
            form = {"csrf": Page(page.text).forms[-1].hidden["csrf"]} if page else {}
            few = {"next": target, "url": target}  # no form has so many fields as `asked`
            sent = client.post(self.base + path, params=asked, data={**few, **form, **fields}, headers=headers)
            assert sent.status_code in (200, 303), sent.text
            return sent

        yield get("/dashboard")
        yield get("/dashboard/keys")
        sign_in = get("/dashboard/sign-in")
        yield sign_in
        yield post("/dashboard/sign-in", sign_in, key=self.key["key"])
        yield get("/dashboard/sign-in")
        settings = get("/dashboard/settings")
        yield settings
        yield post("/dashboard/settings", settings, registration="open")
        yield post("/dashboard/sign-out", settings)
        mailed = {"t": sign(self.api, links.SIGN_IN, {"team": self.team, "id": ids.new_token_id()})}
        page = get("/dashboard/sign-in/link", **mailed)
        yield page
        yield post("/dashboard/sign-in/link", page, **mailed)
        verify = {"t": sign(self.api, links.VERIFY, {"key": self.key["key_id"], "email": "ops@example.com"})}
        yield get("/verify", **verify)
        yield post("/verify", answer="confirm", **verify)
        resend = {"t": sign(self.api, links.VERIFY_RESEND, {"email": "ops@example.com"})}
        yield get("/verify/resend", **resend)
        yield post("/verify/resend", **resend)
        upgrade = {"t": sign(self.api, links.UPGRADE, {"team": self.team, "plan": "pro"})}
        yield get("/upgrade/pro", **upgrade)
        yield post("/upgrade/pro", **upgrade)

    def check(self, answer: Any) -> None:
        """Wherever it leads, as a browser understands it, is ours."""
        places = [answer.headers["location"]] if "location" in answer.headers else []
        if answer.headers.get("content-type", "").startswith("text/html"):
            page = Page(answer.text)
            places += [form.action for form in page.forms]
            places += [link for link in page.links if not link.startswith("mailto:")]
            places += [str(one.get("href")) for one in page.attributes("link")]
            assert [one for one in page.attributes("meta") if "http-equiv" in one] == []
        for place in places:
            # Browsers take \ for /, and leave control characters out.
            as_read = "".join(char for char in place if char > " ").replace("\\", "/")
            reached = urlsplit(urljoin(f"{self.base}/dashboard", as_read))
            assert f"{reached.scheme}://{reached.netloc}" == self.origin, place
            assert f"{reached.path}/".startswith(f"{self.prefix}/"), place
        assert "refresh" not in answer.headers
        assert "content-location" not in answer.headers


@pytest.fixture(scope="module")
def visitors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Visitor]]:
    with ExitStack() as stack:

        def start(base: str, folder: Path) -> Visitor:
            return Visitor(stack.enter_context(serve(folder, mail=MAIL, server={"public_url": base})), base)

        yield [start(base, tmp_path_factory.mktemp("server")) for base in BASES]


@pytest.mark.parametrize(
    "number", [*range(FEW), *(pytest.param(number, marks=pytest.mark.slow) for number in range(FEW, len(TARGETS)))]
)
def test_no_parameter_and_no_header_leads_elsewhere(visitors: list[Visitor], number: int) -> None:
    visitor = visitors[number // 2 % len(visitors)]
    redirects = 0
    for answer in visitor.tour(TARGETS[number], FORGED if number % 2 else {}):
        visitor.check(answer)
        redirects += answer.status_code == 303
    assert redirects == 7


def test_a_form_that_uploads_leads_to_the_picture(visitors: list[Visitor]) -> None:
    for visitor in visitors:
        sent = Browser.at(visitor.api, visitor.origin).client.post(
            visitor.base + "/",
            params={"next": TARGETS[0]},
            data={"next": TARGETS[1], "name": TARGETS[2]},
            files={"file": (TARGETS[1], make_image("png", 5, 4))},
            headers=FORGED,
        )
        assert sent.status_code == 303
        visitor.check(sent)


@pytest.mark.parametrize("target", TARGETS)
def test_no_path_leads_elsewhere(visitors: list[Visitor], target: str) -> None:
    """Servers that add or remove a slash answer `//evil.example` with a redirect to it."""
    for visitor in visitors:
        client = Browser.at(visitor.api, visitor.origin).client
        for path in (target, f"/dashboard/{target}", f"/dashboard{target}", f"/upgrade/{target}", f"{target}/.."):
            answer = client.get(f"{visitor.base}/{quote(path, safe='/%@')}".replace("%5C", "\\"))
            assert answer.status_code in (200, 303, 404), answer.text
            visitor.check(answer)
