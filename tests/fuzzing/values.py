"""Values that have broken programs before, as text and as JSON."""

import json
import random
from typing import Any

TEXTS = [
    "", "a", "photo.jpg", "hero,homepage", "my-project", "true", "0", "-1", "50", "3600", "7d", "all", "2025-06-15",
    "1704067200", "{}", "[]", "null", '{"a": 1}', '{"a": ' * 70, "[" * 5000, "9" * 5000, "1e999", "NaN", "inf",
    "1e18", "0001-01-01", "9999-12-31T23:59:59+14:00", str(2**63), str(-(2**63)), "3_600", " 3600 ", "٣٦٠٠", "\0",
    "a\0b", "\ud800", "\udfff,\ud800", "\u202egpj.exe", "%_'\";--", "' OR 1=1 --", "../../etc/passwd", "..\\x", "CON",
    "a\r\nb: c", "\"><script>alert(1)</script>", "{{7*7}}", "${7*7}", "%s%n", "x" * 300, "x," * 200, "é" * 400,
    "e\u0301" * 200, "😀" * 60, "\u2028", "__proto__", "id", "dev@example.com", "DEV@EXAMPLE.COM ", "a@b@c",
    "a" * 400 + "@example.com", "@", "dev@localhost", "dev@[127.0.0.1]", "jörg@bücher.example", "add", "replace",
    "any", ",", " , ", "a--b", "-a",
]  # fmt: skip
NUMBERS = [0, 1, -1, 50, 3600, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308, 1e18, 1_704_067_200]
FIELDS = [
    "name", "tags", "namespace", "public", "external_id", "date", "ttl", "metadata", "email", "url", "ids", "update",
    "tag_mode", "cursor", "limit", "size", "t", "answer", "file", "id", "src", "author", "__proto__", "error", "",
]  # fmt: skip


def text(rng: random.Random) -> str:
    """One of the texts, or any characters at all."""
    if rng.random() < 0.85:
        return rng.choice(TEXTS)
    return "".join(
        chr(rng.choice([rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x110000)])) for _ in range(9)
    )


def raw(rng: random.Random) -> bytes:
    """A text as bytes, now and then no UTF-8."""
    return text(rng).encode("utf-8", "surrogatepass") if rng.random() < 0.95 else rng.randbytes(12)


def json_value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    match rng.randrange(8 if depth < 3 else 5):
        case 0:
            return rng.choice([None, True, False])
        case 1:
            return rng.choice(NUMBERS)
        case 2 | 3 | 4:
            return text(rng)
        case 5:
            return [json_value(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 12]))]
        case _:
            return {field(rng): json_value(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 5]))}


def field(rng: random.Random) -> str:
    """The name of a field, known or not."""
    return rng.choice(FIELDS) if rng.random() < 0.9 else text(rng)


def json_bytes(rng: random.Random, value: Any) -> bytes:
    """A JSON document, now and then one that only looks like it."""
    document = json.dumps(value, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
    if rng.random() < 0.9:
        return document
    bad = [b"\xef\xbb\xbf" + document, document + b"x", document[: len(document) // 2], document.replace(b'"', b"'")]
    bad += [b'{"a":NaN}', b'{"a":1,"a":1}', b"[" * 200_000, b'{"a":' + b"9" * 5000 + b"}", b"", b"\xff\xfe", b"null"]
    return rng.choice(bad)
