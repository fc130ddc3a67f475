"""Hot answers: the same as the first, from memory alone, whatever a client asks with."""

from collections.abc import Iterator
from email.utils import formatdate

import pytest
from conftest import Api, ApiFactory
from hot import ask, cool, hot_count, is_hot, spoil_files
from images import make_animation, make_image
from shared import serve
from views import original, put, runtime_of
from wire import check_refusal

PICTURE = make_image("jpeg", 900, 700)
ADDRESSES = [
    "{}.jpeg",
    "{}.jpg",
    "{}.webp",
    "{}.png?size=s",
    "{}.jpeg?size=s",
    "{}.webp?size=s",
    "{}.avif?size=s",
    "{}.jpg?size=m",
]
OTHERS = {
    "png": make_image("png", 330, 325),
    "gif": make_animation("gif", 400, 350, 2),
    "svg": make_image("svg", 40, 30),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all tests here that neither change nor lose anything."""
    with serve(tmp_path_factory.mktemp("hot")) as api:
        yield api


@pytest.fixture(scope="module")
def stem(shared: Api) -> str:
    return put(shared, PICTURE, name="Grüße & mehr.jpg")


def test_the_second_answer_is_the_first_without_any_file(api: Api) -> None:
    addresses = [address.format(put(api, PICTURE)) for address in ADDRESSES]
    for extension, content in OTHERS.items():
        stem = put(api, content)
        addresses += [f"{stem}.{extension}", f"{stem}.{extension}?size=s"]
    first = {address: ask(api, address) for address in addresses}
    assert {status for status, _, _ in first.values()} == {200}
    spoil_files(api)
    for address in addresses:
        assert ask(api, address) == first[address], address
        assert ask(api, address, "HEAD") == (200, first[address][1], b""), address
    cool(api)
    for address in addresses:
        assert ask(api, address) != first[address]  # so there was nothing but memory


def test_a_first_head_is_enough(api: Api) -> None:
    stem = put(api, PICTURE)
    for address in (f"{stem}.jpeg", f"{stem}.webp?size=s"):
        status, headers, body = ask(api, address, "HEAD")
        assert (status, body) == (200, b"")
        got = ask(api, address)
        assert got[:2] == (200, headers)
        assert len(got[2]) == int(headers["content-length"])
        assert is_hot(api, address)


CONDITIONS = [
    {"If_None_Match": condition}
    for condition in (
        *("{etag}", "W/{etag}", '"other", {etag}', 'W/"other",{etag} , "third"', "*", " * "),
        *('"other"', '"other", W/"third"', "{bare}", '"{bare}x"', '"*"', "", '"', "W/" + '"{bare}"' * 3),
    )
]
DATES = ["{same}", "{earlier}", "{later}", "yesterday", ""]


@pytest.mark.parametrize("address", ["{}.jpeg", "{}.webp?size=s"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "sent",
    [
        *CONDITIONS,
        *[{"If_Modified_Since": date} for date in DATES],
        *[{"If_Modified_Since": date, "If_None_Match": tag} for date in DATES[:3] for tag in ("{etag}", '"other"')],
        *[{"Range": span} for span in ("bytes=0-9", "bytes=-5", "bytes=999999999-", "bytes=0-1,5-6", "nonsense")],
        *[{"Range": "bytes=0-9", "If_Range": tag} for tag in ("{etag}", "W/{etag}", '"other"')],
        {"Range": "bytes=0-9", "If_None_Match": "{etag}"},
        {"If_Match": '"other"'},
        {"If_Range": "{etag}"},
        {"Origin": "https://example.org", "Accept-Encoding": "gzip", "Cookie": "a=b", "Accept": "text/html"},
        {"Authorization": "Bearer nonsense"},
        {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "evil.example"},
        {"Content-Length": "0"},
        {"Expect": "100-continue"},
    ],
    ids=str,
)
def test_every_request_gets_what_it_gets_when_cold(
    shared: Api, stem: str, address: str, method: str, sent: dict[str, str]
) -> None:
    address = address.format(stem)
    _, first, _ = ask(shared, address)
    etag = first["etag"]
    dates = {
        name: formatdate(shared.clock.at + by, usegmt=True)
        for name, by in [("same", 0), ("earlier", -60), ("later", 60)]
    }
    headers = {name: value.format(etag=etag, bare=etag.strip('"'), **dates) for name, value in sent.items()}
    cool(shared)
    cold = ask(shared, address, method, **headers)
    ask(shared, address)
    assert is_hot(shared, address)
    assert ask(shared, address, method, **headers) == cold


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_answered_as_when_cold(shared: Api, stem: str, method: str) -> None:
    cool(shared)
    address = f"{stem}.webp?size=s"
    cold = ask(shared, address, method)
    assert cold[0] == (204 if method == "OPTIONS" else 405)
    ask(shared, address)
    assert ask(shared, address, method) == cold


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("if-none-match", ["{etag}", '"other"']),
        ("host", ["src.example.com", "api.example.com"]),
        ("x-forwarded-for", ["203.0.113.7", "nonsense"]),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_of_a_header_that_comes_twice_the_same_one_counts(
    start: ApiFactory, name: str, values: list[str], turn: int
) -> None:
    api = start(server={"src_url": "https://src.example.com", "api_url": "https://api.example.com"})
    src = api.upload(PICTURE).json()["src"]
    address = src.removeprefix("https://src.example.com")
    etag = ask(api, address)[1]["etag"]
    twice = [(name, value.format(etag=etag)) for value in values[::turn]]
    cool(api)
    cold = api.client.get(address, headers=twice)
    ask(api, address)
    assert is_hot(api, address)
    hot = api.client.get(address, headers=twice)
    assert (hot.status_code, hot.content) == (cold.status_code, cold.content)


def test_hosts_keep_to_their_own_part_and_prefix(start: ApiFactory) -> None:
    urls = {
        "public_url": "https://example.com",
        "api_url": "https://api.example.com/i",
        "src_url": "https://src.example.com/img",
    }
    api = start(server=urls)
    src = api.upload(PICTURE, filename="a.jpg").json()["src"]
    for prefix in ("/img", ""):  # some proxies take it off
        path = prefix + src.removeprefix("https://src.example.com/img")
        served = ["src.example.com", "SRC.example.com", "src.example.com.:444", "192.0.2.1", "anything.example", ""]
        refused = ["example.com", "example.com:444", "api.example.com", "API.example.com", "api.example.com."]
        cold = {host: ask(api, path, Host=host) for host in refused}
        first = ask(api, path, Host="src.example.com")
        assert first[0] == 200
        assert is_hot(api, path)
        for host in served:
            assert ask(api, path, Host=host) == first, host
        for host in refused:
            assert cold[host][0] == 404
            assert ask(api, path, Host=host) == cold[host], host


# --- what is kept, and under which names


@pytest.mark.parametrize(
    "query",
    [
        "?size=S",
        "?size=s&x=1",
        "?size=s&size=l",
        "?x=1",
        "?size=%73",
        "?size=",
        "?size",
        "?",
        "?&size=s",
        "?size=s&",
        "?size=xl",
    ],
)
def test_other_queries_mean_the_same_and_are_not_kept(shared: Api, stem: str, query: str) -> None:
    cool(shared)
    meaning = "?size=s" if "s" in query.lower().replace("size", "") or "%73" in query else ""
    plain = ask(shared, f"{stem}.webp{meaning}")
    before = hot_count(shared)
    for number in range(3):
        extra = f"&n={number}" if len(query) > 1 else ""
        assert ask(shared, f"{stem}.webp{query}{extra}") == plain
    assert hot_count(shared) == before


def test_other_spellings_of_a_path_are_not_kept(shared: Api, stem: str) -> None:
    """A path can be percent-encoded in 2^24 ways, each of which would take memory from the others."""
    cool(shared)
    plain = ask(shared, f"{stem}.webp?size=s")
    first = f"/%{ord(stem[1]):02x}{stem[2:]}"
    for path in (f"{first}.webp", f"{stem}.we%62p", f"{stem}%2ewebp", f"{stem}.WEBP", f"{stem}.wEbp"):
        for _ in range(2):
            assert ask(shared, f"{path}?size=s") == plain, path
    assert hot_count(shared) == 1


def test_what_is_not_an_image_is_not_kept(shared: Api, stem: str) -> None:
    cool(shared)
    team, media_id = stem[1:].split("/")
    for path in (f"/{team}/{media_id[::-1]}.png", f"{stem}.exe", f"{stem}.gif", "/healthz", f"/v1/media/{media_id}"):
        for _ in range(2):
            shared.client.get(path)
    assert hot_count(shared) == 0


def test_memory_is_bounded_and_the_least_recently_used_goes(start: ApiFactory) -> None:
    api = start(cache={"memory_mb": 1}, uploads={"strip_location": "never"})  # what pads the pictures stays
    picture = make_image("png", 4, 3) + bytes(100_000)  # ten with 3 KB beside each
    stems = [put(api, picture + bytes([number])) for number in range(12)]
    for stem in stems[:10]:
        ask(api, f"{stem}.png")
    ask(api, f"{stems[0]}.png")
    for stem in stems[10:]:
        ask(api, f"{stem}.png")
    assert [number for number in range(12) if is_hot(api, f"{stems[number]}.png")] == [0, *range(3, 12)]
    hot = runtime_of(api).hot
    assert hot._total_bytes <= 1024 * 1024


def test_large_files_are_not_kept(api: Api) -> None:
    limit_bytes = 256 * 1024
    for size_bytes, kept in [(limit_bytes, True), (limit_bytes + 1, False)]:
        content = PICTURE + bytes(size_bytes - len(PICTURE))
        address = f"{put(api, content)}.jpeg"
        assert ask(api, address)[2] == content
        assert is_hot(api, address) is kept


def test_switched_off(start: ApiFactory) -> None:
    api = start(cache={"memory_mb": 0})
    stem = put(api, PICTURE)
    first = ask(api, f"{stem}.webp?size=s")
    assert ask(api, f"{stem}.webp?size=s") == first
    assert hot_count(api) == 0


def test_what_failed_is_not_kept(api: Api) -> None:
    stem = put(api, PICTURE)
    original(api, PICTURE).unlink()
    for _ in range(2):
        assert ask(api, f"{stem}.webp?size=s")[0] == 422
    assert hot_count(api) == 0
    check_refusal(api.client.get(f"{stem}.exe"), 404, "not_found")
