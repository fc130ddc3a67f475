"""The documentation under settings that are not the defaults: nothing in it is true for another server only."""

import re
from typing import Any

import pytest
from test_api_document import validator

from imgpro_lite.settings import Settings
from imgpro_lite.web.documentation import ENTRIES, Docs

# No value is a default, nor is any like another.
ODD: dict[str, Any] = {
    "server": {
        "public_url": "https://pics.example/a",
        "api_url": "https://api.example",
        "src_url": "https://src.example/b",
        "contact": "ops@example.com",
        "body_idle_seconds": 17,
    },
    "limits": {
        "anonymous_uploads_per_hour": 23,
        "anonymous_uploads_per_day": 123,
        "keys_per_email_per_hour": 7,
        "keys_per_ip_per_hour": 27,
        "requests_per_key_per_minute": 77,
        "unverified_keys_per_email": 13,
        "anonymous_file_mb": 21,
        "file_mb": 71,
        "svg_file_mb": 11,
        "retention_days": 33,
    },
    "import": {"ports": [8443]},
    "cache": {"max_age_seconds": 4321},
    "plans": {
        "free": {"label": "Small", "uploads_per_month": 137, "storage_mb": 3333},
        "big": {"label": "Grand", "uploads_per_month": 2345, "storage_mb": 44_032, "price_usd_per_month": 15},
    },
}
# What such settings say, once in all texts together.
SAID = [
    *("23 an hour and 123 a day", "7 keys an hour", "27 attempts an hour", "77 requests", "13 unverified API keys"),
    *("21 MB", "71 MB", "SVG 11 MB", "33 days", "port 8443", "No data arrived for 17 seconds", "cache_age: 4321"),
    *("137 uploads a month", "Upgrade to Grand ($15/mo) for 2,345 uploads", "43 GB", "uploads_limit: 137"),
    *("storage_mb: 3333", '"uploads": 137', "https://src.example/b/x4b2k/", "curl https://api.example/v1/upload"),
]
DEFAULTS = (
    r"localhost|4647|\b20 (an hour|MB|attempts|seconds)|\b100 (a day|uploads)|\b5 (keys|GB)|\b3 unverified|\b70 MB|"
    r"\b10 MB|\b30 days|\bport 80|86400\b|uploads_limit: 100\b|5120|5368709120|1,000 uploads|\$10\b|\$49|\bPro\b"
)

CLOSED: dict[str, Any] = {
    "server": {"registration_closed": True, "contact": "ops@example.com"},
    "anonymous": {"enabled": False},
}


def texts(sections: dict[str, Any]) -> dict[str, str]:
    """Everything that the documentation says, by the names of its texts."""
    docs = Docs(Settings.model_validate(sections))
    said = {name: docs.text(name) for name in ["llms.txt", *(f"{entry.name}.md" for entry in ENTRIES)]}
    return {name: " ".join(text.split()) for name, text in (said | {"openapi.yaml": docs.openapi_yaml}).items()}


def document(**sections: Any) -> Any:
    return Docs(Settings.model_validate(sections)).document


def test_every_number_is_that_of_the_settings() -> None:
    said = texts(ODD)
    whole = "\n".join(said.values())
    assert [one for one in SAID if one not in whole] == []
    stale = {name: found.group() for name, text in said.items() if (found := re.search(DEFAULTS, text))}
    assert stale == {}
    assert re.search(DEFAULTS, "\n".join(texts({}).values()))  # it would find them


def test_closed_doors_are_not_praised() -> None:
    said = texts(CLOSED)
    for name in ("llms.txt", "quick-start.md", "reference.md", "ai-agents.md", "openapi.yaml"):
        assert "ops@example.com" in said[name], name
    whole = "\n".join(said.values())
    for promise in ("you can upload", "Create a key", "make one with `POST /v1/keys`", "without a browser"):
        assert promise not in whole, promise
    assert "/v1/keys" not in said["quick-start.md"]
    assert "you@company.com" not in whole  # a key is made with a key, or not at all
    assert "Without a key you can only read public images" in said["reference.md"]
    assert "Without a key" not in said["pricing.md"]


def check_said(sections: dict[str, Any], said: list[str], unsaid: list[str]) -> None:
    whole = "\n".join(texts(sections).values())
    assert [one for one in said if one not in whole] == []
    assert [one for one in unsaid if one in whole] == []


def test_what_the_defaults_say() -> None:
    rate = "Too many uploads from your address: at most 20 in an hour are possible."
    said = ["Without a key you can upload and import, and read", rate, "to the next larger plan, if there is one"]
    check_said({}, said, ["only read", "requests with this key", "A key may send"])


def test_what_single_settings_change() -> None:
    limits = {
        "svg_file_mb": 913,  # more than any file may have
        "retention_days": 1,
        "unverified_keys_per_email": 1,
        "requests_per_key_per_minute": 1,
        "anonymous_uploads_per_hour": 0,
    }
    said = ["Without a key you can upload, and read", "up to 70 MB.", "kept for 1 day;", "A key may send 1 request in"]
    unsaid = ["upload and import,", "913", "1 days", "1 unverified API keys", "1 requests"]
    rate = "Too many new keys from your address: at most 20"
    check_said(
        {"anonymous": {"import": False}, "limits": limits}, [*said, rate, "has 1 unverified API key, and"], unsaid
    )


NO_LIMITS = {"label": "All", "uploads_per_month": 0, "storage_mb": 0}


@pytest.mark.parametrize(
    ("plan", "action", "message"),
    [
        ({"label": "Only", "uploads_per_month": 5, "storage_mb": 50}, "wait", "Monthly upload limit reached."),
        ({"label": "Only", "uploads_per_month": 0, "storage_mb": 50}, None, "Storage limit reached."),
        (NO_LIMITS, "verify", "Storage limit reached for unverified API keys on this server."),
    ],
)
def test_the_only_plan_has_no_upgrade(plan: dict[str, Any], action: str | None, message: str) -> None:
    made = document(plans={"only": plan})
    example = made["x-errors"]["quota_exceeded"]["example"]
    assert example.get("action", {}).get("type") == action
    assert example["message"].startswith(message)
    assert list(validator(made, {"$ref": "#/components/schemas/QuotaError"}).iter_errors(example)) == []
    assert "link to the next" not in texts({"plans": {"only": plan}})["pricing.md"]
