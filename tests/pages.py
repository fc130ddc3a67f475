"""Pages as people see them in tests: what they say, their forms and links, and the links that are mailed to people."""

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from conftest import Api

from imgpro_lite import links
from imgpro_lite.services import limits

EMAIL = "dev@example.com"
OWN_URL = "http://localhost:4647"
# A mail server that never answers: what is to be mailed stays in the queue.
MAIL = {"host": "127.0.0.1", "port": 1}
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# What every page leads to, in this order, for a server of the default plans.
NAVIGATION = ["/", "/", "/dashboard", "/api/quick-start", "/pricing"]
SCRIPTS = "; script-src 'self'"  # of the policy of pages with scripts of their own


def policy_elsewhere(origin: str) -> str:
    """The policy of an error on another host than that of the pages, whose looks it has."""
    return POLICY.replace("style-src 'self'; img-src 'self'", f"style-src {origin}; img-src {origin}")


_SILENT = {"style", "script", "title"}


@dataclass
class Form:
    """A form: where it leads, its hidden fields, and its buttons as (name, value, label)."""

    method: str
    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str | None, str | None, str]] = field(default_factory=list)


class Page(HTMLParser):
    """A page, parsed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.title, self.heading, self.text = "", "", ""
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        self._open.append(tag)
        if tag == "a" and "href" in values:
            self.links.append(values["href"] or "")
        elif tag == "form":
            self.forms.append(Form(str(values.get("method", "get")), str(values.get("action", ""))))
        elif tag == "input" and values.get("type") == "hidden":
            self.forms[-1].hidden[str(values["name"])] = str(values["value"])
        elif tag == "button" and "form" in self._open:
            self.forms[-1].buttons.append((values.get("name"), values.get("value"), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._open:
            return
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "title" in self._open:
            self.title += data
        if "h1" in self._open:
            self.heading += data
        if "button" in self._open and "form" in self._open:
            name, value, label = self.forms[-1].buttons[-1]
            self.forms[-1].buttons[-1] = (name, value, label + data)
        if not _SILENT & set(self._open):
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [values for name, values in self.tags if name == tag]


def check_page(answer: Any, status: int = 200, policy: str = POLICY, referrer: str = "no-referrer") -> Page:
    """A page with the headers that every page has, and nothing in it that could run but what its policy names."""
    assert answer.status_code == status, answer.text
    headers = answer.headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"] == policy
    assert headers["referrer-policy"] == referrer
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-robots-tag"] == "noindex"
    assert headers["x-request-id"]
    assert "set-cookie" not in headers
    assert "access-control-allow-origin" not in headers
    page = Page(answer.text)
    assert page.attributes("html") == [{"lang": "en"}]
    assert page.title.startswith(page.heading)
    assert page.heading
    assert [tag for tag, _ in page.tags if tag in ("iframe", "object", "embed", "style")] == []
    assert not page.attributes("script") or SCRIPTS in policy
    for script in page.attributes("script"):
        assert re.search(r"/static/[a-z_]+\.[0-9a-f]{12}\.js$", str(script["src"]))
    assert [name for _, values in page.tags for name in values if name.startswith("on") or name == "style"] == []
    return page


def path_links(html: str) -> list[str]:
    """The addresses in a page, but not those within it."""
    return re.findall(r'(?:href|src|action)="([^"#][^"]*)"', html)


def path_of(url: str) -> str:
    """The path and query of one of our addresses."""
    assert url.startswith(OWN_URL + "/"), url
    return url.removeprefix(OWN_URL)


def token_of(url: str) -> str:
    """The token of a signed link."""
    return urlsplit(url).query.removeprefix("t=")


@dataclass
class Asked:
    """A key that an address is asked about."""

    key_id: str
    headers: dict[str, str]
    url: str
    """The link that is mailed, without the server's public address."""

    @property
    def token(self) -> str:
        return token_of(self.url)


def ask(api: Api, email: str = EMAIL, headers: dict[str, str] | None = None, **fields: Any) -> Asked:
    """Make a key, as anybody can, and read the mail that the address gets."""
    answer = api.client.post("/v1/keys", json={"email": email, **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    bearer = {"Authorization": f"Bearer {made['key']}"}
    return Asked(made["key_id"], bearer, mailed_link(api, made["key_id"], email))


def mailed_link(api: Api, key_id: str, email: str = EMAIL) -> str:
    """The link that is mailed to an address about a key, without the server's public address."""
    rt = api.client.app.state.runtime
    url = limits.verify_url(rt, email, key_id)
    assert url.startswith(f"{rt.public_url}/verify?t=")
    return url.removeprefix(rt.public_url)


def answer(api: Api, token: str, choice: str) -> Any:
    """Press a button of the page about a key."""
    return api.client.post("/verify", data={"t": token, "answer": choice})


def resend_link(api: Api, email: str = EMAIL) -> str:
    """The link of an API answer to the page that mails an address again, as a path."""
    while (refusal := api.client.post("/v1/keys", json={"email": email})).status_code == 201:
        pass
    assert refusal.status_code == 403, refusal.text
    return path_of(refusal.json()["action"]["url"])


def sign(api: Api, purpose: str, payload: dict[str, Any]) -> str:
    """A token as the server would make it."""
    made: links.Links = api.client.app.state.runtime.links
    return made.sign(purpose, payload)


def queued_mail(api: Api) -> list[tuple[str, str, dict[str, Any]]]:
    """(kind, recipient, details) of the mail that waits to be sent."""
    with closing(sqlite3.connect(api.data_dir / "imgpro.db")) as conn:
        rows = conn.execute("SELECT kind, recipient, details FROM mail_queue ORDER BY id").fetchall()
    return [(kind, recipient, json.loads(details)) for kind, recipient, details in rows]


def everything(api: Api) -> list[Any]:
    """All that a page could change: every row of teams, keys, images, mail and requests for plans."""
    tables = ("teams", "api_keys", "media", "upgrade_requests")
    with closing(sqlite3.connect(api.data_dir / "imgpro.db")) as conn:
        return [queued_mail(api), *(conn.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables)]
