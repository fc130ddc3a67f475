"""Browsers in tests: what they keep in their cookies, the forms that they send, and what scripts of our pages ask."""

import re
from dataclasses import dataclass
from typing import Any

from commands import make_key
from conftest import Api
from pages import Page
from starlette.testclient import TestClient

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; script-src 'self'; connect-src 'self'"
)
HOST = "http://localhost:4647"
COOKIE = "imgpro-session"


class Shown(Page):
    """A page of the dashboard, with the headers that it must have."""

    def __init__(self, answer: Any, status: int = 200, policy: str = POLICY) -> None:
        assert answer.status_code == status, answer.text
        headers = answer.headers
        # The gallery shows pictures before they are uploaded.
        assert headers["content-security-policy"].replace(" blob:", "") == policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        super().__init__(answer.text)
        assert [name for _, values in self.tags for name in values if name.startswith("on") or name == "style"] == []
        for script in self.attributes("script"):
            assert re.search(r"/static/[a-z_]+\.[0-9a-f]{12}\.js$", str(script["src"]))

    @property
    def csrf(self) -> str:
        """What its scripts send."""
        (found,) = [one for one in self.attributes("meta") if one.get("name") == "csrf-token"]
        return str(found["content"])

    def form(self, action: str) -> dict[str, str]:
        """The hidden fields of the first form that leads to a path."""
        return next(form.hidden for form in self.forms if form.action.endswith(action))


@dataclass
class Browser:
    """Somebody's browser, with cookies of its own."""

    client: TestClient

    @classmethod
    def at(cls, api: Api, base: str = HOST, address: str = "192.0.2.1") -> "Browser":
        client = TestClient(
            api.client.app,
            base_url=base,
            raise_server_exceptions=False,
            client=(address, 50_000),
            follow_redirects=False,
        )
        client.portal = api.client.portal
        return cls(client)

    def get(self, path: str, **options: Any) -> Any:
        """A page, as a browser asks for it over https or on this machine."""
        headers = {"Sec-Fetch-Site": "same-origin", **options.pop("headers", {})}
        return self.client.get(path, headers=headers, **options)

    def get_untold(self, path: str) -> Any:
        """A page, as a browser asks for it over plain http: it does not say where from."""
        return self.client.get(path)

    def open(self, path: str, status: int = 200) -> Shown:
        return Shown(self.get(path), status)

    def submit(self, page: Shown, action: str, **fields: str) -> Any:
        """Fill in and send the first form of a page that leads to a path."""
        return self.client.post(action, data={**page.form(action), **fields}, headers={"Sec-Fetch-Site": "same-origin"})

    def sign_in(self, key: str) -> "Browser":
        """Sign in with an API key."""
        answer = self.submit(self.open("/dashboard/sign-in"), "/dashboard/sign-in", key=key)
        assert answer.status_code == 303, answer.text
        return self

    def ask_api(self, method: str, path: str, csrf: str | None = None, **options: Any) -> Any:
        """What a script of our pages asks the API. `headers` are put over those that it and the browser send."""
        csrf = csrf if csrf is not None else self.open("/dashboard").csrf
        sent = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": csrf, **options.pop("headers", {})}
        sent = {name: value for name, value in sent.items() if value is not None}
        return self.client.request(method, path, headers=sent, **options)

    @property
    def is_signed_in(self) -> bool:
        """Whether the dashboard lets it in."""
        answer = self.get("/dashboard")
        assert answer.status_code in (200, 303), answer.text
        return bool(answer.status_code == 200)


def signed_in(api: Api, *options: str, email: str = "ops@example.com") -> tuple[Browser, dict[str, Any]]:
    """A browser that is signed in with a new key of a team, and the key."""
    key = make_key(api.data_dir, "--verified", *options, email=email)
    return Browser.at(api).sign_in(key["key"]), key
