"""Answers from memory in tests: how to tell that one is, and what it has to equal."""

from typing import Any

from conftest import Api
from views import call, files_below, runtime_of

Answer = tuple[int, dict[str, str], bytes]


def ask(api: Api, address: str, method: str = "GET", **headers: str) -> Answer:
    """Status, all headers but the one that is every answer's own, and body."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = api.client.request(method, address, headers=sent)
    got = {name: value for name, value in answer.headers.multi_items() if name != "x-request-id"}
    assert len(got) + 1 == len(answer.headers.multi_items()), "no header comes twice"
    assert len(answer.headers["x-request-id"]) > 10
    return answer.status_code, got, answer.content


def cool(api: Api) -> None:
    """Have the next request of everything go the long way."""
    call(api, runtime_of(api).hot.clear)


def settle(api: Api) -> None:
    """Have the server notice now what commands have done, and not in a fifth of a second."""
    rt = runtime_of(api)
    call(api, rt.db.has_changed_outside)
    call(api, rt.hot.clear)


def spoil_files(api: Api) -> None:
    """From now on only memory has the right bytes of any image."""
    for folder in ("blobs", "cache", "intermediates"):
        for path in files_below(api.data_dir / folder):
            with path.open("r+b") as file:  # in place and of the same length, so that nothing seems to have changed
                file.write(bytes(path.stat().st_size))


def is_hot(api: Api, address: str) -> bool:
    """Whether memory has this address, which may be without files."""
    path, _, query = address.partition("?")
    found: Any = call(api, runtime_of(api).hot.find, (path.encode(), query.encode()), api.clock.now())
    return found is not None


def hot_count(api: Api) -> int:
    """How many answers memory has."""
    return len(runtime_of(api).hot._answers)
