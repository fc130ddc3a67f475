"""Who may call which route: a table with every /v1 route of the application, so that a new one must be put into it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api
from library import add, connect, owner
from shared import serve
from starlette.routing import Route
from wire import check_refusal, stored_blobs

from imgpro_lite.web.routes import routes


@dataclass(frozen=True)
class Access:
    """What a route demands of its caller."""

    ability: str
    without_key: int = 401
    """The status of a right request without a key: 401, unless the route works without one."""


READ, WRITE = Access("read"), Access("write")

# By method and path (decisions 12 and 13): GET routes read, all others write.
ACCESS = {
    "POST /v1/keys": Access("write", without_key=400),  # the body is missing
    "POST /v1/upload": Access("write", without_key=400),  # the file is missing
    "POST /v1/import": Access("write", without_key=400),  # the body is missing
    "GET /v1/media": READ,
    "HEAD /v1/media": READ,
    "PATCH /v1/media/batch": WRITE,
    "DELETE /v1/media/batch": WRITE,
    "GET /v1/media/{media_id:media_id}": Access("read", without_key=200),
    "HEAD /v1/media/{media_id:media_id}": Access("read", without_key=200),
    "PATCH /v1/media/{media_id:media_id}": WRITE,
    "DELETE /v1/media/{media_id:media_id}": WRITE,
    "GET /v1/usage": READ,
    "HEAD /v1/usage": READ,
    "GET /v1/namespaces": READ,
    "HEAD /v1/namespaces": READ,
}


def api_routes() -> list[str]:
    """Every method and path below /v1."""
    found = [route for route in routes() if isinstance(route, Route) and route.path.startswith("/v1")]
    return sorted(f"{method} {route.path}" for route in found for method in route.methods or ())


def send(api: Api, route: str, media_id: str, headers: dict[str, str] | None) -> Any:
    method, path = route.split(" ")
    return api.client.request(method, path.replace("{media_id:media_id}", media_id), headers=headers)


def check_refused(answer: Any, status: int, code: str) -> None:
    if answer.request.method == "HEAD":
        assert (answer.status_code, answer.text) == (status, "")
    else:
        check_refusal(answer, status, code)


def test_every_route_is_in_the_table() -> None:
    assert api_routes() == sorted(ACCESS)
    assert not [route for route in routes() if not isinstance(route, Route) and "/v1" in getattr(route, "path", "")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("abilities") / "data") as api:
        yield api


@pytest.fixture(scope="module")
def keys(shared: Api) -> dict[str, dict[str, str]]:
    """A key with each ability alone, and one with both, of the same team."""
    made = {name: make_key(shared.data_dir, "--verified") for name in ("write", "both")}
    made["read"] = make_key(shared.data_dir, "--verified", "--read-only")
    with connect(shared.data_dir) as conn:  # no command makes such a key
        conn.execute("UPDATE api_keys SET can_read = 0 WHERE key_id = ?", (made["write"]["key_id"],))
    return {name: authorization(key) for name, key in made.items()}


@pytest.mark.parametrize("route", sorted(ACCESS))
def test_a_route_demands_its_ability(shared: Api, keys: dict[str, dict[str, str]], route: str) -> None:
    access = ACCESS[route]
    shown = add(shared, keys["both"])
    blobs = stored_blobs(shared)
    lacking = keys["write" if access.ability == "read" else "read"]
    check_refused(send(shared, route, shown["id"], lacking), 403, "forbidden")
    check_refused(send(shared, route, shown["id"], {"Authorization": "Bearer img_live_x"}), 401, "unauthorized")
    without = send(shared, route, shown["id"], None)
    assert without.status_code == access.without_key
    # Whoever has the ability is let in: what is refused then, is refused because of an empty body.
    for allowed in (keys[access.ability], keys["both"]):
        assert send(shared, route, shown["id"], allowed).status_code not in (401, 403)
    assert stored_blobs(shared) == blobs


def test_an_ability_that_is_missing_is_told_before_anything_else(shared: Api) -> None:
    """Neither whose image it is, nor whether there is one, nor what is wrong with the body."""
    theirs = add(shared, owner(shared, email="else@example.com"))["id"]
    reader = owner(shared, "--read-only")
    for media_id in (theirs, "a1b2c3d4e5f6g7"):
        for method in ("PATCH", "DELETE"):
            answer = shared.client.request(method, f"/v1/media/{media_id}", headers=reader, content="no json")
            assert check_refusal(answer, 403, "forbidden") == {
                "error": "forbidden",
                "message": "Insufficient permissions",
            }
    assert shared.client.get(f"/v1/media/{theirs}").status_code == 200
