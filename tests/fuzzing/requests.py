"""Requests to every route: right ones, wrong ones, and right ones with an accident."""

import dataclasses
import random
import re
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_from_bytes

from fuzzing import corpus, values
from fuzzing.http1 import Answer, Request

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
PATHS = [
    "/", "/healthz", "/v1", "/v1/", "/v1/keys", "/v1/keys/", "/v1/upload", "/v1/import", "/v1/media", "/v1/media/",
    "/v1/media/batch", "/v1/usage", "/v1/namespaces", "/v1/nothing", "/verify", "/verify/resend", "/upgrade/pro",
    "/upgrade/none", "/static/style.css", "/static/..%2fx", "//v1/keys", "/v1/../v1/keys", "/v1/%2e%2e/keys",
    "/v1/media/%00", "/abcd1/abcdefghijklm1.png", "/%F0%9F%98%80", "/v1/media/abcdefghijklm1", "/*", "/.",
    "/abcdefghijklm1", "/abcdefghijklm1/", "/oembed", "/oembed/",
]  # fmt: skip
# Nothing here is ever dialled but loopback; texts made at random are never addresses.
URLS = [
    None, "", 1, "x", "file:///etc/passwd", "http://127.0.0.1:9/a.png", "http://[::1]:9/a", "http://localhost:0/",
    "//",
]  # fmt: skip
EXTENSIONS = ["jpeg", "jpg", "png", "webp", "avif", "gif", "svg", "heic", "bmp", "tiff", "JPG", "php", "x" * 9, "%00"]
HEADERS = [
    "Host", "Range", "If-None-Match", "If-Modified-Since", "If-Range", "Content-Type", "Content-Length", "Accept",
    "X-Forwarded-For", "X-Forwarded-Host", "Origin", "Access-Control-Request-Method", "Expect", "Cookie",
    "Access-Control-Request-Headers", "Authorization", "Content-Encoding", "Accept-Encoding", "X-Request-Id",
    "X-HTTP-Method-Override", "Upgrade", "TE", "X" * 300,
]  # fmt: skip
HEADER_VALUES = [
    "bytes=0-", "bytes=5-2", "bytes=-0", "bytes=0-0,2-3" + ",5-6" * 50, "bytes=99999999999999999999-", "*", 'W/"x"',
    '"', "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 31 Feb 0000 99:99:99 +9999", "multipart/form-data",
    "multipart/form-data; boundary=x", "application/json; charset=utf-16", "PATCH", "100-continue", "x" * 5000,
    "null", "https://evil.example", "127.0.0.1, ::1, x", "[::1]:80", "gzip", "a=b; a=c", "websocket", "Bearer",
    "Bearer  ", "Basic eDp5", "Bearer img_live_" + "a" * 32, "0", "5", "-1",
]  # fmt: skip
KEPT = 300  # of ids, addresses and tokens: enough to hit some that were deleted meanwhile

_LEARNT = {
    "ids": re.compile(rb'"id":"([a-z0-9]{14})"'),
    "images": re.compile(rb'"src":"http://localhost:[0-9]+(/[^"]+)"'),
    "pages": re.compile(rb'"url":"(http://localhost:[0-9]+/[a-z0-9]{14})"'),
    "cursors": re.compile(rb'"cursor":"([^"]+)"'),
    "tokens": re.compile(rb"[?&;]t=([\w.-]+)"),
    "keys": re.compile(rb'"key":"(img_live_\w{32})"'),
    "etags": re.compile(rb'("[0-9a-f]{16,}[^"]*")'),
}


class Known:
    """What answers have told: names of real images, pages and keys."""

    def __init__(self, keys: list[bytes]) -> None:
        self.found = {name: deque[bytes](maxlen=KEPT) for name in _LEARNT}
        self.owner_keys = keys

    def learn(self, answer: Answer) -> None:
        """Remember what an answer names."""
        text = answer.body[:5000] if "json" in answer.headers.get("content-type", "") else b""
        for name, pattern in _LEARNT.items():
            self.found[name].extend(pattern.findall(text))
        if etag := answer.headers.get("etag"):
            self.found["etags"].append(etag.encode())

    def pick(self, rng: random.Random, name: str, otherwise: bytes) -> bytes:
        """One of what was found."""
        return rng.choice(self.found[name]) if self.found[name] and rng.random() < 0.95 else otherwise


class Generator:
    """Makes one request after the other. The same seed and the same answers give the same requests."""

    def __init__(self, seed: str, known: Known, pictures: list[bytes]) -> None:
        self._rng = random.Random(seed)
        self._known = known
        self._pictures = pictures
        self._kinds: dict[Callable[[], Request], int] = {
            self._upload: 16,
            self._image: 16,
            self._list: 14,
            self._media: 14,
            self._batch: 8,
            self._create_key: 8,
            self._page: 8,
            self._viewer: 6,
            self._import: 3,
            self._anything: 13,
        }

    def next(self) -> Request:
        """Any request."""
        rng = self._rng
        make = rng.choices(list(self._kinds), list(self._kinds.values()))[0]
        request = make()
        if rng.random() < 0.2:
            request = self._with_accident(request)
        if request.body and rng.random() < 0.01:
            request = dataclasses.replace(request, chunked=True)
        return self._break(request) if rng.random() < 0.01 else request

    def _request(self, method: str, target: bytes, body: bytes = b"", *headers: tuple[bytes, bytes]) -> Request:
        kind = f"{method} {target.partition(b'?')[0].decode()}"
        return Request(kind, method, target, (*self._authorization(), *headers), body)

    def _authorization(self) -> list[tuple[bytes, bytes]]:
        rng = self._rng
        if rng.random() < 0.1:
            return []
        key = rng.choices(self._known.owner_keys, [8, 8, 1, 4])[0]
        if rng.random() < 0.1:
            key = self._known.pick(rng, "keys", b"img_live_x")
        return [(b"Authorization", b"Bearer " + key)]

    def _json(self, method: str, target: bytes, value: Any) -> Request:
        body = values.json_bytes(self._rng, value)
        return self._request(method, target, body, (b"Content-Type", b"application/json"))

    def _fields(self, names: str) -> dict[str, Any]:
        """Some of these fields, with right or wrong values, and now and then another."""
        rng = self._rng
        known = {
            "name": ["a", "Photo"], "tags": ["a,b", ["a", "c"]], "namespace": ["one", "two"], "public": [True, "false"],
            "external_id": [f"e{rng.randrange(50)}"], "date": ["2025-06-15", 5], "ttl": [3600, "7d"],
            "metadata": [{"author": "x"}, {"author": None}], "email": [f"u{rng.randrange(40)}@example.com"],
            "tag_mode": ["add", "remove", "replace"], "url": URLS,
        }  # fmt: skip
        chosen = [name for name in names.split() if rng.random() < 0.4]
        fields = {name: rng.choice(known[name]) for name in chosen}
        if rng.random() < 0.3:
            fields[values.field(rng)] = values.json_value(rng)
        return fields

    def _create_key(self) -> Request:
        fields = {"email": f"u{self._rng.randrange(40)}@example.com", **self._fields("email name")}
        return self._json("POST", b"/v1/keys", fields)

    def _import(self) -> Request:
        fields = {
            "url": self._rng.choice(URLS),
            **self._fields("name tags namespace public external_id date ttl metadata"),
        }
        if not isinstance(fields["url"], str) or fields["url"] not in URLS:
            fields["url"] = None
        return self._json("POST", b"/v1/import", fields)

    def _upload(self) -> Request:
        rng = self._rng
        picture = rng.choice(self._pictures)
        if rng.random() < 0.2:
            picture = corpus.damage(rng, picture)
        parts = [_part(b"file", picture, values.raw(rng) if rng.random() < 0.4 else b"a.png")]
        for name, value in self._fields("name tags namespace public external_id date ttl metadata").items():
            content = (
                value.encode("utf-8", "surrogatepass") if isinstance(value, str) else values.json_bytes(rng, value)
            )
            parts.append(_part(name.encode("utf-8", "surrogatepass"), content))
        rng.shuffle(parts)
        if rng.random() < 0.02:
            parts *= rng.choice([2, 120])
        boundary = b"cut" if rng.random() < 0.97 else values.raw(rng)[:80]
        end = b"--\r\n" if rng.random() < 0.95 else rng.choice([b"", b"--", b"\r\n", b"--\r\nmore" * 30])
        body = b"".join(b"--" + boundary + b"\r\n" + part for part in parts) + b"--" + boundary + end
        content_type = b"multipart/form-data; boundary=" + _header_value(boundary)
        return self._request("POST", b"/v1/upload", body, (b"Content-Type", content_type))

    def _list(self) -> Request:
        rng = self._rng
        fields = {"namespace": "one", "tags": "a,b", "tag_mode": "any", "limit": str(rng.choice([1, 2, 100]))}
        query = [(name.encode(), value.encode()) for name, value in fields.items() if rng.random() < 0.3]
        if rng.random() < 0.4:
            query.append((b"cursor", self._known.pick(rng, "cursors", b"x")))
        if rng.random() < 0.4:
            query.append((values.field(rng).encode("utf-8", "surrogatepass"), values.raw(rng)))
        path = rng.choice([b"/v1/media", b"/v1/media", b"/v1/usage", b"/v1/namespaces"])
        return self._request(rng.choice(["GET", "GET", "HEAD"]), path + _query(query))

    def _media(self) -> Request:
        rng = self._rng
        path = b"/v1/media/" + self._known.pick(rng, "ids", b"abcdefghijklm1")
        method = rng.choice(["GET"] * 4 + ["PATCH"] * 6 + ["DELETE"])
        if method != "PATCH":
            return self._request(method, path)
        return self._json(method, path, self._fields("name tags tag_mode namespace public date external_id metadata"))

    def _batch(self) -> Request:
        rng = self._rng
        ids: list[Any] = [
            self._known.pick(rng, "ids", b"x").decode() for _ in range(rng.choice([0, 1, 2, 5, 100, 101]))
        ]
        if ids and rng.random() < 0.2:
            ids[0] = values.json_value(rng)
        body: dict[str, Any] = {"ids": ids} if rng.random() < 0.9 else {}
        if rng.random() < 0.2:
            query = [(values.field(rng).encode("utf-8", "surrogatepass"), values.raw(rng)), (b"ids", b"a,b")]
            return self._request("DELETE", b"/v1/media/batch" + _query(query[: rng.randint(0, 2)]))
        if rng.random() < 0.05:
            return self._json("DELETE", b"/v1/media/batch", body | self._fields("namespace"))
        body["update"] = self._fields("tags tag_mode namespace public")
        return self._json("PATCH", b"/v1/media/batch", body if rng.random() < 0.9 else values.json_value(rng))

    def _page(self) -> Request:
        rng = self._rng
        token = self._known.pick(rng, "tokens", b"x")
        if rng.random() < 0.3:
            token = corpus.damage(rng, token)
        path = rng.choice([b"/verify", b"/verify", b"/verify/resend", b"/upgrade/pro", b"/upgrade/scale"])
        if rng.random() < 0.5:
            return self._request(rng.choice(["GET", "HEAD"]), path + _query([(b"t", token)] * rng.choice([1, 1, 1, 2])))
        fields = [(b"t", token), (b"answer", rng.choice([b"confirm", b"disown", values.raw(rng)]))]
        body = _query(fields[: rng.randint(0, 2)])[1:] if rng.random() < 0.9 else values.raw(rng)
        return self._request("POST", path, body, (b"Content-Type", b"application/x-www-form-urlencoded"))

    def _viewer(self) -> Request:
        rng = self._rng
        page = b"/" + self._known.pick(rng, "ids", b"abcdefghijklm1")
        if rng.random() < 0.6:
            query = [(b"size", rng.choice([b"s", b"full", values.raw(rng)]))] * rng.choice([0, 1, 2])
            query += [(b"format", rng.choice([b"webp", b"jpg", values.raw(rng)]))] * rng.choice([0, 1, 2])
            etag = (b"If-None-Match", self._known.pick(rng, "etags", b'"x"'))
            return self._request(rng.choice(["GET", "HEAD"]), page + _query(query), b"", etag)
        url = self._known.pick(rng, "pages", b"http://localhost:4647/abcdefghijklm1")
        query = [(b"url", rng.choice([url, url, corpus.damage(rng, url), values.raw(rng)]))]
        for name in (b"maxwidth", b"maxheight", b"format"):
            query += [(name, rng.choice([b"640", b"xml", b"json", values.raw(rng)]))] * rng.choice([0, 0, 1, 2])
        return self._request(rng.choice(["GET", "HEAD"]), b"/oembed" + _query(query))

    def _image(self) -> Request:
        rng = self._rng
        path = self._known.pick(rng, "images", b"/abcd1/abcdefghijklm1.png")
        if rng.random() < 0.5:
            path = path.rpartition(b".")[0] + b"." + rng.choice(EXTENSIONS).encode()
        query = [(b"size", rng.choice([b"s", b"m", b"l", b"S", b"xxl", values.raw(rng)]))] * rng.choice([0, 0, 1, 2])
        headers = []
        if rng.random() < 0.3:
            headers.append((b"If-None-Match", self._known.pick(rng, "etags", b'"x"')))
        if rng.random() < 0.3:
            name = rng.choice([b"Range", b"If-Range", b"If-Modified-Since"])
            headers.append((name, rng.choice(HEADER_VALUES).encode()))
        request = self._request(rng.choice(["GET", "GET", "HEAD"]), path + _query(query), b"", *headers)
        return dataclasses.replace(request, kind="an image")

    def _anything(self) -> Request:
        rng = self._rng
        path = rng.choice(PATHS).encode()
        if rng.random() < 0.2:
            path += b"/" + quote_from_bytes(values.raw(rng)).encode()[:3000]
        query = [(values.field(rng).encode("utf-8", "surrogatepass"), values.raw(rng))] * rng.choice([0, 1, 3])
        body = rng.choice([b"", b"", values.json_bytes(rng, values.json_value(rng)), rng.randbytes(50)])
        return self._request(rng.choice(METHODS), path + _query(query), body)

    def _with_accident(self, request: Request) -> Request:
        """The same request with one thing changed; it stays HTTP."""
        rng = self._rng
        match rng.randrange(4):
            case 0:
                return dataclasses.replace(request, method=rng.choice(METHODS))
            case 1 if request.target.partition(b"?")[0] != b"/v1/import":
                return dataclasses.replace(request, body=corpus.damage(rng, request.body))
            case 2:
                path, mark, query = request.target[1:].partition(b"?")
                path, query = quote_from_bytes(corpus.damage(rng, path), "/%").encode(), query
                return dataclasses.replace(request, target=b"/" + path + mark + query)
            case _:
                value = rng.choice(HEADER_VALUES).encode() if rng.random() < 0.7 else _header_value(values.raw(rng))
                name = rng.choice(HEADERS).encode()
                # A length that is wrong ends a connection, and another version of the same: below, in `_break`.
                if name in (b"Content-Length", b"Upgrade"):
                    return request
                return dataclasses.replace(request, headers=(*request.headers, (name, value)))

    def _break(self, request: Request) -> Request:
        """No HTTP any more, or HTTP that says two things."""
        rng = self._rng
        headers = list(request.headers)
        match rng.randrange(6):
            case 0:
                headers.append((b"Content-Length", rng.choice([b"5", b"-1", b"0", b"9" * 30, b"1_0", b"", b"\xb2"])))
            case 1:
                headers.append(
                    (b"Transfer-Encoding", rng.choice([b"chunked", b"identity", b"gzip", b"chunked, chunked"]))
                )
            case 2:
                headers.append((rng.randbytes(5), rng.randbytes(10)))
            case 3:
                headers += [(b"X-%d" % number, b"x" * 50) for number in range(2000)]
            case 4:
                return dataclasses.replace(request, target=rng.randbytes(20), broken=True)
            case _:
                return dataclasses.replace(
                    request, method=rng.choice(["", "G\0T", "get", "PRI", "CONNECT"]), broken=True
                )
        return dataclasses.replace(request, headers=tuple(headers), broken=True)


def _part(name: bytes, content: bytes, filename: bytes | None = None) -> bytes:
    file = b'; filename="' + filename + b'"' if filename is not None else b""
    return b'Content-Disposition: form-data; name="' + name + b'"' + file + b"\r\n\r\n" + content + b"\r\n"


def _query(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A query string; "" when there is nothing in it. Not beyond what fits into a request line."""
    joined = b"&".join(
        quote_from_bytes(name).encode() + b"=" + quote_from_bytes(value).encode() for name, value in pairs
    )
    return b"?" + joined[:8000] if joined else b""


def _header_value(text: bytes) -> bytes:
    """Bytes that HTTP allows in the value of a header."""
    return bytes(byte for byte in text if byte >= 0x20 and byte != 0x7F).strip()
