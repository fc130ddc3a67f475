"""The pages and texts of the documentation: what they say, with which addresses and limits, and where links lead."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import pytest
import yaml
from conftest import Api, ApiFactory
from pages import OWN_URL, POLICY, SCRIPTS, Page, check_page, path_links
from shared import serve
from wire import check_refusal

from imgpro_lite.web import api_document

PAGES = ["/api/quick-start", "/api/reference", "/api/errors", "/api/ai-agents", "/pricing"]
TEXTS = {
    "/openapi.yaml": "application/yaml",
    "/openapi.json": "application/json",
    "/llms.txt": "text/plain; charset=utf-8",
    "/llms-full.txt": "text/plain; charset=utf-8",
    **{f"{path}.md": "text/markdown; charset=utf-8" for path in PAGES},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def anchors(page: Page) -> set[str]:
    return {str(values["id"]) for _, values in page.tags if "id" in values}


@pytest.mark.parametrize("path", PAGES)
def test_a_page(shared: Api, path: str) -> None:
    page = check_page(shared.client.get(path), policy=POLICY + SCRIPTS)
    # In the documentation, and in the header where that leads to this page.
    current = {values["href"] for values in page.attributes("a") if values.get("aria-current") == "page"}
    assert current == {path}
    assert "YOUR_API_KEY" in page.text or path in ("/api/errors", "/pricing")
    assert "{{" not in page.text
    assert "**" not in page.text
    # What is wider than a phone scrolls in itself, and the keyboard reaches it.
    assert all(values.get("tabindex") == "0" for values in page.attributes("pre"))
    assert len(page.attributes("table")) == len([one for one in page.attributes("div") if one.get("class") == "scroll"])


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_somewhere(shared: Api, path: str) -> None:
    page = check_page(shared.client.get(path), policy=POLICY + SCRIPTS)
    assert len(set(page.links)) >= 7
    linked = {urldefrag(link) for link in page.links}
    pages = {"": page}
    for target in {target for target, _ in linked if target}:
        assert not target.startswith("http"), target
        shown = shared.client.get(target)
        assert shown.status_code == 200, target
        pages[target] = Page(shown.text)
    for target, anchor in linked:
        assert not anchor or anchor in anchors(pages[target]), (target, anchor)


@pytest.mark.parametrize("path", TEXTS)
def test_a_text(shared: Api, path: str) -> None:
    got = shared.client.get(path)
    assert (got.status_code, got.headers["content-type"]) == (200, TEXTS[path])
    assert got.headers["access-control-allow-origin"] == "*"
    assert got.headers["cache-control"] == "public, max-age=300"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "{{" not in got.text
    assert "{%" not in got.text
    for link in re.findall(rf"{OWN_URL}/(?:api|pricing|llms|openapi)[\w./-]*[\w]", got.text):
        assert shared.client.get(link.removeprefix(OWN_URL)).status_code == 200, link


def test_the_document_is_the_same_in_both_forms(shared: Api) -> None:
    read = yaml.load(shared.client.get("/openapi.yaml").text, Loader=yaml.CSafeLoader)
    assert (
        read == shared.client.get("/openapi.json").json() == api_document.build(shared.client.app.state.docs.settings)
    )


def test_the_text_for_language_models_has_the_form_that_they_know(shared: Api) -> None:
    """A title, a summary and lists of links (https://llmstxt.org)."""
    title, _, summary, *_ = lines = shared.client.get("/llms.txt").text.splitlines()
    assert title == "# localhost:4647"
    assert summary.startswith("> ")
    assert [line for line in lines if line.startswith("#")][1:] == ["## Docs", "## Optional"]
    links = [line for line in lines if line.startswith("- ")]
    assert all(re.fullmatch(r"- \[[^]]+\]\(http://localhost:4647/[\w./-]+\): .+", line) for line in links)
    full = shared.client.get("/llms-full.txt").text
    assert full.startswith(f"{title}\n")
    for path in PAGES:
        assert shared.client.get(f"{path}.md").text in full


def test_the_reference_and_the_errors_are_whole(shared: Api) -> None:
    document = shared.client.get("/openapi.json").json()
    reference, told = (shared.client.get(f"/api/{name}.md").text for name in ("reference", "errors"))
    for operation in api_document.operations(document):
        part = reference.split(f"### {operation.details['summary']}\n")[1].split("\n### ")[0]
        assert f"{operation.method} {operation.path}\n" in part
        for sample in operation.details["x-codeSamples"]:
            assert sample["source"] in part
        for code in operation.details["x-errors"]:
            assert f"[`{code}`]" in part
        for content in operation.details.get("requestBody", {}).get("content", {}).values():
            assert [name for name in content["schema"]["properties"] if f"| `{name}` |" not in part] == []
    for code, error in document["x-errors"].items():
        part = told.split(f"## {code}\n")[1].split("\n## ")[0]
        assert error["then"] in part
        assert json.loads(part.split("```json")[1].split("```")[0]) == error["example"]


def test_the_interactive_page(shared: Api) -> None:
    got = shared.client.get("/api")
    page = Page(got.text)
    policy = got.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert policy.endswith("base-uri 'none'; frame-ancestors 'none'")
    assert "needs JavaScript" in page.text
    scripts = [str(values["src"]) for values in page.attributes("script")]
    assert len(scripts) == 2
    for path in scripts:
        script = shared.client.get(path)
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert [name for _, values in page.tags for name in values if name.startswith("on") or name == "style"] == []


@pytest.mark.parametrize(
    "path", ["/api/", "/api/x", "/api/quick-start/", "/api/quick-start.txt", "/api/pricing", "/pricing/", "/api/.md"]
)
def test_there_is_nothing_beside_the_pages(shared: Api, path: str) -> None:
    assert "There is nothing at this address." in check_page(shared.client.get(path), 404).text


@pytest.mark.parametrize("path", ["/openapi.yaml", "/llms.txt"])
def test_errors_of_texts_are_json(shared: Api, path: str) -> None:
    check_refusal(shared.client.post(path), 405, "method_not_allowed")


def test_the_link_of_an_anonymous_upload_leads_to_the_first_step(shared: Api) -> None:
    upgrade = shared.upload(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>").json()["upgrade"]
    page = check_page(shared.client.get(upgrade["url"].removeprefix(OWN_URL)), policy=POLICY + SCRIPTS)
    assert page.heading == "Quick start"
    assert "1. Create an API key" in page.text


OTHERS: dict[str, Any] = {
    "server": {
        "public_url": "https://pics.example/a",
        "api_url": "https://api.pics.example",
        "src_url": "https://src.pics.example/b",
        "contact": "ops@example.com",
        "registration_closed": True,
    },
    "anonymous": {"enabled": False},
    "limits": {"file_mb": 33, "retention_days": 9},
    "plans": {
        "free": {"label": "Small | <b>{{ 7*7 }}</b>", "uploads_per_month": 12, "storage_mb": 512},
        "hidden": {"label": "Secret", "uploads_per_month": 0, "storage_mb": 0, "offered": False},
        "big": {"label": "Big", "uploads_per_month": 0, "storage_mb": 3072, "price_usd_per_month": 1200},
    },
}


def test_everything_comes_from_the_settings(start: ApiFactory) -> None:
    """Addresses with a prefix and on hosts of their own, limits, plans, and doors that are closed."""
    api = start(**OTHERS)
    base = "https://pics.example/a"
    for path in PAGES:
        shown = api.client.get(base + path)
        page = check_page(shown, policy=POLICY + SCRIPTS)
        assert {link.split("/")[1] for link in path_links(shown.text) if not link.startswith("mailto:")} == {"a"}
        assert not re.search(r"localhost|4647|20 MB|70 MB|30 days|100 uploads", page.text)
    started = Page(api.client.get(f"{base}/api/quick-start").text).text
    assert "curl https://api.pics.example/v1/upload" in started
    assert "curl -o photo.webp 'https://src.pics.example/b/x4b2k/" in started
    assert "ask ops@example.com for one" in started
    assert "Without a key" not in started
    refused = check_refusal(api.client.post("https://api.pics.example/v1/upload"), 401, "unauthorized")
    assert refused["message"].endswith("Ask the owner of this server for a key.")  # POST /v1/keys would be a 403
    assert 'href="mailto:ops@example.com"' in api.client.get(f"{base}/pricing").text
    policy = api.client.get(f"{base}/api").headers["content-security-policy"]
    assert "connect-src 'self' https://api.pics.example https://src.pics.example;" in policy
    assert (
        api.client.get("https://api.pics.example/api/quick-start").status_code == 404
    )  # pages have a host of their own


@pytest.mark.parametrize("base", ["https://pics.example", "https://pics.example/img"])
def test_an_api_below_the_address_of_its_own_documentation(start: ApiFactory, base: str) -> None:
    api = start(server={"public_url": base, "api_url": f"{base}/api"})
    for path in ("/api", "/api/quick-start", "/api/v1/media/aaaaaaaaaaaaa1", "/v1/media/aaaaaaaaaaaaa1", "/healthz"):
        got = api.client.get(base + path)
        assert got.status_code == (404 if "/v1/" in path else 200), path
        if "/v1/" in path:
            assert got.json()["message"].startswith("There is no such image")
    assert api.client.get(f"{base}/api/healthz").status_code == 200


def test_the_plans_in_force(start: ApiFactory) -> None:
    api = start(**OTHERS)
    shown = api.client.get("https://pics.example/a/pricing")
    page = check_page(shown, policy=POLICY + SCRIPTS)
    for expected in ("Small | <b>{{ 7*7 }}</b>", "12 uploads a month", "512 MB of storage", "$1,200 a month", "3 GB"):
        assert expected in page.text
    assert "unlimited uploads" in page.text
    assert not re.search("Secret|Owner|Pro|Scale|Unverified", page.text)
    assert "Small \\| <b>" in api.client.get("https://pics.example/a/pricing.md").text


def test_the_viewer_is_the_one_that_its_licence_names(shared: Api) -> None:
    pages = shared.client.app.state.pages
    (bundle,) = [file for name, file in pages.static.items() if name.startswith("swagger-ui-bundle.")]
    licence = Path(api_document.__file__).with_name("static") / "swagger-ui.LICENSE.txt"
    (version,) = re.findall(r"^swagger-ui-dist ([0-9.]+), unchanged", licence.read_text("utf-8"))
    assert f'PACKAGE_VERSION:"{version}"'.encode() in bundle.content
