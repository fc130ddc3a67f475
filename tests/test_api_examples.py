"""The examples of the documentation run: as the document has them, and as the code that people copy."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import Api
from images import make_image
from library import owner
from origins import ORIGIN_ADDRESS, FakeInternet, Origin, answer, origin
from running import Running, servers
from shared import serve
from test_api_document import resolve, validator

from imgpro_lite.settings import Settings
from imgpro_lite.web import api_document, samples

PHOTO = make_image("jpeg", 32, 24)
EXAMPLE_IDS = ("k3f9x2m7q1b8n5", "p8w2j6t4c9d1h7", "z5r7v3y8g2s6a4")
DOCUMENT = api_document.build(Settings())
EXAMPLES = [
    pytest.param(operation, name, id=f"{operation.id}-{name}")
    for operation in api_document.operations(DOCUMENT)
    for content in (operation.details.get("requestBody") or {"content": {"": {}}})["content"].values()
    for name in content.get("examples", {None: None})
]


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    with origin() as site:
        site.pages["/photo.jpg"] = answer(PHOTO, content_type="image/jpeg")
        yield site


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, site: Origin) -> Iterator[Api]:
    allowed = {"allow_networks": [ORIGIN_ADDRESS], "ports": [site.port]}
    internet = FakeInternet()
    with serve(tmp_path_factory.mktemp("shared"), internet=internet.internet, **{"import": allowed}) as api:
        yield api


@pytest.fixture
def real(shared: Api, site: Origin) -> dict[str, str]:
    """What stands in examples, and what there is instead: a team with three images."""
    key = owner(shared)
    images = [shared.upload(PHOTO, key, namespace="my-project", tags="hero,homepage").json() for _ in EXAMPLE_IDS]
    return {
        f"x4b2k/{EXAMPLE_IDS[0]}": images[0]["src"].split("4647/")[1].partition(".")[0],
        **{example: image["id"] for example, image in zip(EXAMPLE_IDS, images, strict=True)},
        "https://example.com/photo.jpg": site.url("/photo.jpg"),
        samples.API_KEY: key["Authorization"].removeprefix("Bearer "),
        "photo-42": f"photo-{images[0]['id']}",  # each once in a team
        "ext-": f"ext-{images[1]['id']}-",
    }


def make_real(value: Any, real: dict[str, str]) -> Any:
    if isinstance(value, str):
        for example, instead in real.items():
            value = value.replace(example, instead)
        return value
    if isinstance(value, dict):
        return {name: make_real(one, real) for name, one in value.items()}
    return [make_real(one, real) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("operation", "example"), EXAMPLES)
def test_an_example_runs(
    shared: Api, real: dict[str, str], operation: api_document.Operation, example: str | None
) -> None:
    """It gives the status that it is documented with, and the answer and its headers are as the document says."""
    call = samples.call(DOCUMENT, operation.method, operation.path, operation.details, samples.API_KEY, example)
    form = make_real(call.form, real) if call.form else None
    sent = shared.client.request(
        call.method,
        make_real(call.url, real),
        headers=make_real(dict(call.headers), real),
        json=make_real(call.json, real),
        data={name: value for name, value in form.items() if name != "file"} if form else None,
        files={"file": (form["file"], PHOTO)} if form else None,
    )
    status, response = next(iter(operation.details["responses"].items()))
    assert str(sent.status_code) == status, sent.text
    contents = resolve(DOCUMENT, response)["content"]
    kind = sent.headers["content-type"].partition(";")[0]
    assert kind in contents
    if kind == "application/json":
        schema = contents[kind]["schema"]
        assert [error.message for error in validator(DOCUMENT, schema).iter_errors(sent.json())] == []
        unknown = set(sent.json()) - set(resolve(DOCUMENT, schema)["properties"])
        given = {**(call.form or {}), **(call.json or {})}
        assert unknown <= set(given) | set(given.get("metadata") or ()) | {"license"}  # its metadata
    for name in ("X-Request-Id", *operation.details.get("x-headers", ())):
        assert name.lower() in sent.headers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("server")) as start:
        yield start()


def run_sample(server: Running, operation_id: str, label: str, real: dict[str, str]) -> None:
    """Run the code as somebody would who copies it from the page. It must succeed."""
    document = server.get("/openapi.json").json()
    (operation,) = [one for one in api_document.operations(document) if one.id == operation_id]
    (code,) = [one["source"] for one in operation.details["x-codeSamples"] if one["label"] == label]
    code = make_real(code.replace("//localhost", "//127.0.0.1"), real)
    commands = {
        "curl": ["sh", "-c", code.replace("curl ", "curl --fail --noproxy '*' ", 1)],
        "Python": [sys.executable, "-W", "ignore", "-c", code],
        "JavaScript": ["node", "--no-warnings", "--input-type=module", "-e", code + "\nif (!answer.ok) throw answer;"],
    }
    done = subprocess.run(
        commands[label], cwd=server.directory, capture_output=True, text=True, timeout=30, env={"PATH": PATH}
    )
    assert done.returncode == 0, (code, done.stdout, done.stderr)
    assert '"error"' not in done.stdout
    assert "'error'" not in done.stdout


PATH = "/usr/local/bin:/usr/bin:/bin"
PROGRAMS = {"curl": "curl", "Python": sys.executable, "JavaScript": "node"}


@pytest.mark.slow
@pytest.mark.parametrize("label", PROGRAMS)
def test_the_code_of_an_example_runs(server: Running, label: str) -> None:
    if shutil.which(PROGRAMS[label]) is None:
        pytest.skip(f"there is no {PROGRAMS[label]} on this machine")
    Path(server.directory / "photo.jpg").write_bytes(PHOTO)
    key = owner_key(server, label)
    image = server.upload(PHOTO, headers={"Authorization": f"Bearer {key}"}).json()
    src = image["src"].split("/")
    real = {
        "x4b2k": src[3],
        EXAMPLE_IDS[0]: image["id"],
        samples.API_KEY: key,
        "you@company.com": f"{label.lower()}@company.com",
    }
    operations = [one.id for one in api_document.operations(DOCUMENT) if one.id != "import"]  # which leads elsewhere
    for operation_id in sorted(operations, key=lambda one: one.startswith("delete")):
        run_sample(server, operation_id, label, real)
    if label != "JavaScript":
        assert (server.directory / "photo.webp").read_bytes()[:4] == b"RIFF"


def owner_key(server: Running, label: str) -> str:
    made = httpx2.post(f"{server.url}/v1/keys", json={"email": f"{label.lower()}@example.com"}, trust_env=False)
    return str(made.json()["key"])
