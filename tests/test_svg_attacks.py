"""SVG that attacks whoever looks at it: nothing of it is served."""

import re
from collections.abc import Iterator

import hostile_svg
import pytest
from conftest import Api
from shared import serve

from imgpro_lite.web.cdn import SVG_POLICY

CANARY = "http://canary.invalid"
PROGRAM = "gotcha"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.mark.parametrize("name", hostile_svg.DOCUMENTS)
def test_nothing_of_it_is_served(shared: Api, name: str) -> None:
    made = shared.upload(hostile_svg.document(name, CANARY, PROGRAM), filename="x.jpg")
    assert made.status_code == 201, made.text
    served = shared.fetch(made.json()["src"])
    assert hostile_svg.find_harm(served.content) == []
    # Not even where it would be harmless, but for text.
    assert re.findall(r"canary.invalid/([\w-]+)|javascript:", served.text) == []
    assert set(re.findall(r"gotcha\('([\w-]+)'\)", served.text)) <= {"cdata", "title", "attribute", "link-data"}
    assert served.headers["Content-Type"] == "image/svg+xml"
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert served.headers["Content-Security-Policy"] == SVG_POLICY


def test_the_attacks_are_seen_where_they_are_not_removed() -> None:
    """The test of the test."""
    unseen = set()
    for name, part in hostile_svg.PARTS.items():
        whole = hostile_svg.DOCUMENTS["all"].replace("PARTS", hostile_svg.fill(name, part, CANARY, PROGRAM))
        if not hostile_svg.find_harm(whole.encode()):
            unseen.add(name)
    assert unseen == {"title", "attribute"}  # text, for parsers of HTML
