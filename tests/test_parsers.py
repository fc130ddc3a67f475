"""Parsers of headers, links, links' forms and queries: they agree with a simple model, and never end in anything but
a value or their own refusal, whatever comes in."""

import asyncio
from datetime import UTC, datetime
from email.utils import formatdate
from ipaddress import IPv6Address, ip_address, ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from conftest import FakeClock
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request

from imgpro_lite import fields, links
from imgpro_lite.bodies import ListFields, merge_metadata, parse
from imgpro_lite.byte_budget import ByteBudget
from imgpro_lite.errors import BadRequest, RangeNotSatisfiable, ValidationFailed
from imgpro_lite.links import LINK_SECONDS, InvalidLink, Links, Secret
from imgpro_lite.rate_windows import RateLimit, RateWindows
from imgpro_lite.settings import ServerSettings, Settings
from imgpro_lite.web.conditions import is_match, is_not_modified, requested_span
from imgpro_lite.web.page_forms import FORM_TYPE, MAX_FORM_FIELDS, read_form
from imgpro_lite.web.requests import client_address, query_values, rate_subject, runtime

header_texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF))  # as Starlette decodes any bytes
texts = st.text(st.characters(codec="utf-8"))
FILE = bytes(range(50))


def request(body: bytes = b"", peer: str = "192.0.2.1", query: str = "", **headers: str | list[str]) -> Request:
    """A request as it comes from the socket; behind it a server that trusts 10.0.0.0/8 and fd00::/8."""
    lines = [
        (name, value) for name, given in headers.items() for value in ([given] if isinstance(given, str) else given)
    ]
    server = ServerSettings(trusted_proxies=["10.0.0.0/8", "fd00::/8"])
    runtime = SimpleNamespace(settings=Settings(server=server), large_bodies=ByteBudget(2**20))
    scope = {
        "type": "http",
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in lines],
        "client": (peer, 50_000),
        "query_string": query.encode(),
        "app": SimpleNamespace(state=SimpleNamespace(runtime=runtime)),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


# ── ranges and conditions ──


def span_of(header: str) -> bytes | None:
    """The bytes that a Range header asks for, None for all; b"" when there are none."""
    try:
        span = requested_span(Headers({"range": header}), "tag", len(FILE))
    except RangeNotSatisfiable:
        return b""
    if span is None:
        return None
    assert 0 <= span.start < span.end <= len(FILE)
    return FILE[span.start : span.end]


@given(first=st.integers(0, 60), last=st.integers(0, 60))
def test_a_range_is_a_slice(first: int, last: int) -> None:
    assert span_of(f"bytes={first}-{last}") == (None if last < first else FILE[first : last + 1])
    assert span_of(f"bytes={first}-") == FILE[first:]
    assert span_of(f"bytes=-{last}") == (FILE[-last:] if last else b"")


@given(text=header_texts | header_texts.map("bytes=".__add__))
@example("bytes=" + "9" * 5000 + "-")
@example("bytes=1-2,3-4")
def test_any_other_range_is_within_the_file(text: str) -> None:
    assert span_of(text) is None or FILE.find(span_of(text) or b"") >= 0


@given(tags=st.lists(st.text("ab-0", max_size=3)), weak=st.booleans(), space=st.sampled_from(["", " ", "\t"]))
def test_an_etag_is_found_in_a_list(tags: list[str], weak: bool, space: str) -> None:
    header = f"{space},{space}".join(('W/"' if weak else '"') + tag + '"' for tag in tags)
    assert is_match(header, "a-0") == ("a-0" in tags)


@given(at=st.integers(0, 4_000_000_000), modified_at=st.integers(0, 4_000_000_000))
def test_a_date_is_compared_in_seconds(at: int, modified_at: int) -> None:
    headers = Headers({"if-modified-since": formatdate(at, usegmt=True)})
    assert is_not_modified(headers, "tag", modified_at) == (modified_at <= at)


@given(text=header_texts | st.builds("Thu, {} Jan {} {}".format, st.integers(), st.integers(), header_texts))
@example("Thu, 01 Jan 0001 00:00:00 +9999")
@example("Fri, 31 Dec 9999 23:59:59 -9999")
def test_any_other_condition_is_no_failure(text: str) -> None:
    assert is_not_modified(Headers({"if-modified-since": text}), "tag", 0) in (True, False)
    assert is_not_modified(Headers({"if-none-match": text}), "tag", 0) == (text.strip() == "*" or '"tag"' in text)


# ── addresses ──

proxies = st.integers(1, 250).map("10.0.0.{}".format) | st.integers(1, 250).map("fd00::{:x}".format)
strangers = st.integers(1, 250).map("203.0.113.{}".format) | st.integers(1, 250).map("2001:db8::{:x}".format)


@given(peer=proxies | strangers, hops=st.lists(proxies | strangers, max_size=5), first_line=st.integers(0, 5))
def test_the_right_most_address_that_is_no_proxy(peer: str, hops: list[str], first_line: int) -> None:
    parts = [hops[:first_line], hops[first_line:]]
    forwarded = [", ".join(part) for part in parts if part]
    chain = [*hops, peer]  # from the client to us
    believed = [hop for hop in chain if not hop.startswith(("10.", "fd00"))]
    asked = request(peer=peer, x_forwarded_for=forwarded)
    assert client_address(asked, runtime(asked)) == (believed[-1] if believed else chain[0])


@given(text=header_texts, peer=proxies)
@example("fe80::1%eth0, [::1", "10.0.0.1")
@example("::ffff:203.0.113.5", "10.0.0.1")
@example("1.2.3.4:99, [2001:db8::1]:99", "10.0.0.1")
def test_any_other_forwarding_gives_an_address(text: str, peer: str) -> None:
    asked = request(peer=peer, x_forwarded_for=text)
    address = client_address(asked, runtime(asked))
    assert ip_address(address)
    assert len(rate_subject(address)) < 60


@given(address=st.ip_addresses(), other=st.integers(0, 2**64 - 1))
def test_limits_count_ipv4_addresses_and_networks_of_ipv6(address: Any, other: int) -> None:
    subject = rate_subject(str(address))
    assert rate_subject(subject) == subject
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        assert address in ip_network(subject)
        neighbour, stranger = int(address) >> 64 << 64 | other, int(address) ^ 1 << 64
        assert rate_subject(str(IPv6Address(neighbour))) == subject
        assert rate_subject(str(IPv6Address(stranger))) != subject
    elif not isinstance(address, IPv6Address):
        assert subject == str(address) == rate_subject(f"::ffff:{address}")


@given(text=header_texts)
def test_an_address_of_any_text_is_counted_as_it_is(text: str) -> None:
    assert isinstance(rate_subject(text), str)


@given(networks=st.lists(st.ip_addresses().map(str) | st.sampled_from(["10.0.0.0/8", "fd00::/8"]), max_size=4))
def test_trusted_proxies_are_addresses_and_networks(networks: list[str]) -> None:
    trusted = ServerSettings(trusted_proxies=networks).trusted_proxies
    assert [ip_network(text) for text in networks] == list(trusted)


@given(text=texts)
@example("10.0.0.1/8")
def test_trusted_proxies_of_any_text_are_refused(text: str) -> None:
    try:
        (network,) = ServerSettings(trusted_proxies=[text]).trusted_proxies
    except ValidationError:
        return
    assert network == ip_network(text.strip(), strict=False)


# ── links and cursors ──

payloads = st.dictionaries(texts, st.none() | st.integers(-(2**63), 2**63) | texts | st.lists(texts), max_size=4)


@given(payload=payloads, age_seconds=st.integers(-10, 2 * LINK_SECONDS))
@example({}, LINK_SECONDS)
@example({}, LINK_SECONDS + 1)
def test_a_link_says_what_was_signed_for_seven_days(payload: dict[str, Any], age_seconds: int) -> None:
    clock = FakeClock()
    signer = Links([Secret("secret")], clock)
    token = signer.sign(links.VERIFY, payload)
    clock.at += age_seconds
    if 0 <= age_seconds <= LINK_SECONDS:
        assert signer.load(links.VERIFY, token) == payload
    else:
        with pytest.raises(InvalidLink):
            signer.load(links.VERIFY, token)
    with pytest.raises(InvalidLink):
        signer.load(links.UPGRADE, token)


@given(payload=payloads, data=st.data())
def test_a_cursor_has_one_spelling(payload: dict[str, Any], data: st.DataObject) -> None:
    signer = Links([Secret("secret")], FakeClock())
    token = signer.seal(links.CURSOR, payload)
    assert signer.unseal(links.CURSOR, token) == payload
    at = data.draw(st.integers(0, len(token)))
    inserted = data.draw(texts)
    altered = token[:at] + inserted + token[data.draw(st.integers(at, len(token))) :]
    if altered != token:
        with pytest.raises(InvalidLink):
            signer.unseal(links.CURSOR, altered)


@given(text=texts)
@example("." * 5000)
@example(".eJwDAAAAAAE.x")
def test_any_other_text_is_no_link(text: str) -> None:
    signer = Links([Secret("secret")], FakeClock())
    for load in (signer.load, signer.unseal):
        with pytest.raises(InvalidLink):
            load(links.CURSOR, text)


# ── forms of pages, and queries ──


def read(body: bytes) -> dict[str, str] | None:
    """The fields of a page's form; None when it is refused."""
    try:
        return asyncio.run(read_form(request(body, content_type=FORM_TYPE)))
    except BadRequest:
        return None


@given(form=st.dictionaries(texts, texts, max_size=MAX_FORM_FIELDS + 2))
def test_a_form_of_a_page(form: dict[str, str]) -> None:
    body = urlencode(form).encode()
    assert read(body) == (form if len(form) <= MAX_FORM_FIELDS and len(body) <= 4096 else None)


@given(body=st.binary(max_size=80) | st.text("a=&%0+;", max_size=30).map(str.encode))
def test_any_other_form_is_fields_or_a_refusal(body: bytes) -> None:
    assert read(body) is None or len(read(body) or {}) <= MAX_FORM_FIELDS


@given(query=st.lists(st.tuples(st.sampled_from(["limit", "tags", "cursor", "x"]), texts), max_size=5))
def test_a_query_gives_the_fields_of_a_list_or_names_what_is_wrong(query: list[tuple[str, str]]) -> None:
    asked = request(query=urlencode(query))
    try:
        found = parse(ListFields, *query_values(asked, ListFields.model_fields, joined="tags"))
    except ValidationFailed as refusal:
        named = refusal.errors.keys()
    else:
        named = set()
        assert 1 <= found.limit <= fields.MAX_PAGE_IMAGES
        assert sum(name == "cursor" and value != "" for name, value in query) <= 1
    assert named <= {name for name, _ in query}


# ── fields by a model ──


@given(text=texts | st.integers(-5, 150).map(str))
def test_a_limit_is_1_to_100(text: str) -> None:
    try:
        assert str(fields.check_limit(text)) == text.lstrip("0")
    except ValueError:
        assert text not in map(str, range(1, 101))


@given(ids=st.lists(st.text("ab ", max_size=2), max_size=110))
def test_ids_are_each_there_once(ids: list[str]) -> None:
    try:
        checked = fields.check_ids(ids)
    except ValueError:
        assert not 1 <= len(ids) <= fields.MAX_BATCH_IDS
    else:
        assert set(checked) == {text.strip() for text in ids}
        assert len(set(checked)) == len(checked)
        assert fields.check_ids(list(checked)) == checked


@given(
    stored=st.dictionaries(st.sampled_from("abc"), st.integers()),
    changes=st.dictionaries(st.sampled_from("abcd"), st.none() | st.text("x")),
)
def test_metadata_is_merged(stored: dict[str, Any], changes: dict[str, Any]) -> None:
    merged = merge_metadata(stored, changes)
    assert merged == {key: value for key, value in (stored | changes).items() if value is not None}
    assert merge_metadata(merged, changes) == merged


@given(attempts=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2000)), max_size=30), limit=st.integers(1, 4))
def test_a_window_counts_the_attempts_of_its_hour(attempts: list[tuple[str, int]], limit: int) -> None:
    windows, rate, now = RateWindows(), RateLimit("x", limit, 3600), int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    counted: dict[tuple[str, int], int] = {}
    for subject, pause_seconds in attempts:
        now += pause_seconds
        hour = (subject, now // 3600)
        counted[hour] = counted.get(hour, 0) + 1
        window = windows.charge(rate, subject, now)
        assert window.exceeded == (counted[hour] > limit)
        assert window.remaining == max(0, limit - counted[hour])
        assert window.resets_at == (now // 3600 + 1) * 3600
