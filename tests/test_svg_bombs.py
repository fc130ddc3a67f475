"""SVG that takes for ever to draw: given up after the deadline, remembered, and nobody else waits for it."""

from collections.abc import Iterator

import pytest
from conftest import Api
from images import make_image
from shared import serve

# So that a test does not take 5 seconds for each. What is harmless here is drawn in a hundredth of it.
DEADLINE_SECONDS = 0.5
REMEMBERED_SECONDS = 600


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    imaging = {"workers": 1, "refine_avif": False, "svg_deadline_seconds": DEADLINE_SECONDS}
    with serve(tmp_path_factory.mktemp("data"), imaging=imaging) as api:
        yield api


def svg(body: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="4000" height="4000">{body}</svg>'.encode()


def filtered(primitives: str) -> str:
    """Nothing at 64 px, as which an upload is drawn, but much in a variant."""
    return (
        f'<filter id="f" x="0" y="0" width="1" height="1">{primitives}</filter>'
        '<rect width="4000" height="4000" filter="url(#f)"/>'
    )


def tenfold(element: str, levels: int) -> str:
    """Ten times ten times ten…"""
    groups = "".join(
        f'<{element} id="n{level}">{f"""<use href="#n{level - 1}" x="1"/>""" * 10}</{element}>'
        for level in range(1, levels + 1)
    )
    return f'<defs><rect id="n0" width="9" height="9"/>{groups}</defs><use href="#n{levels}"/>'


def masked(levels: int) -> str:
    masks = "".join(
        f'<mask id="m{level}">{f"""<rect width="4000" height="4000" mask="url(#m{level - 1})"/>""" * 4}</mask>'
        for level in range(levels)
    )
    return f'{masks}<rect width="4000" height="4000" mask="url(#m{levels - 1})"/>'


def selected(rules: int) -> str:
    sheet = "".join(f"g:not(.a{number}) g g g g g g *{{fill:red}}" for number in range(rules))
    return f"<style>{sheet}</style>{'<g>' * 200}{'<rect/>' * 2000}{'</g>' * 200}"


SLOW_TO_DRAW = filtered("".join(f'<feMorphology operator="dilate" radius="{radius}"/>' for radius in range(100, 130)))
REFUSED = {
    "use": tenfold("g", 9),
    "masks": masked(12),
    "selectors": selected(20_000),
    "dashes": f'<path d="M0 0{"L4000 4000L0 4000L4000 0" * 9000}" stroke="red" stroke-dasharray="0.1 0.1"/>',
    "path": f'<path stroke="red" stroke-width="99" d="M0 0{"C 9 4000 4000 9 5 5" * 200_000}"/>',
    "text": f'<text font-size="4000">{"<tspan>W</tspan>" * 49_000}</text>',
    "gradients": "".join(f'<linearGradient id="g{n}" href="#g{n - 1}"/>' for n in range(1, 40_000))
    + '<rect fill="url(#g39999)" width="9" height="9"/>' * 99,
}


def check_refused(api: Api, name: str) -> None:
    """Some of them would take hours."""
    refused = api.upload(svg(REFUSED[name]))
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_format")
    assert api.upload(make_image("png", 8, 6)).status_code == 201


def test_a_bomb_is_refused(shared: Api) -> None:
    check_refused(shared, "use")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REFUSED if name != "use"])
def test_other_bombs_are_refused(shared: Api, name: str) -> None:
    check_refused(shared, name)


def test_a_drawing_that_is_given_up_is_not_tried_again_at_once(shared: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Three views, of which the second comes too soon: each that is tried is killed, and the log says so."""
    made = shared.upload(svg(SLOW_TO_DRAW))
    assert made.status_code == 201, made.text
    address = made.json()["src"].replace(".svg", ".png?size=l")
    caplog.set_level("INFO", logger="imgpro_lite.imaging")
    for wait_seconds, killed in ((0, 1), (REMEMBERED_SECONDS - 60, 1), (120, 2)):
        shared.clock.advance(seconds=wait_seconds)
        answer = shared.fetch(address)
        assert (answer.status_code, answer.json()["error"]) == (422, "transform_failed")
        assert answer.headers["Cache-Control"] == "no-store"
        assert caplog.text.count("killed after 0.5 s") == killed
    assert shared.fetch(made.json()["src"]).status_code == 200
