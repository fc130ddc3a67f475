"""What is written to standard error: one line a record, without secrets, that no stranger can forge."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from imgpro_lite import logs
from imgpro_lite.settings import LogSettings

KEY = "img_live_" + "a1B2" * 8
TOKEN = "InRlYW0i.aSc-_x.a1B2-secret"
FORMATS: tuple[Literal["text", "json"], ...] = ("text", "json")

Configure = Callable[..., io.StringIO]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Configures logging with the given settings and returns what becomes of standard error."""
    names = [None, "imgpro_lite", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, dict(vars(logger))) for logger in loggers]
    stderr = io.StringIO()

    def configured(**settings: Any) -> io.StringIO:
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.configure(LogSettings(**settings))
        return stderr

    yield configured
    logging.captureWarnings(capture=False)
    for logger, state in before:
        vars(logger).update(state)
        logger.setLevel(state["level"])  # forgets what was cached about levels


def log() -> logging.Logger:
    return logging.getLogger("imgpro_lite.test")


def write_request(**changes: Any) -> None:
    fields: dict[str, Any] = {
        "request_id": "r1",
        "client": "192.0.2.1",
        "method": "GET",
        "path": "/v1/media/abc",
        "status": 200,
        "response_bytes": 512,
        "seconds": 0.01234567,
    }
    logs.log_request(**(fields | changes))


def test_a_request_as_text(configure: Configure) -> None:
    stderr = configure()
    write_request()
    time, rest = stderr.getvalue().split(" ", 1)
    assert len(time) == len("2026-11-23T02:30:00Z")
    assert time.endswith("Z")
    assert rest == "INFO    GET /v1/media/abc 200  bytes=512 seconds=0.0123 client=192.0.2.1 request_id=r1\n"


def test_a_request_as_json(configure: Configure) -> None:
    stderr = configure(format="json")
    write_request()
    record = json.loads(stderr.getvalue())
    assert list(record)[:4] == ["time", "level", "logger", "message"]
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "level": "info",
        "logger": "imgpro_lite.access",
        "message": "GET /v1/media/abc 200",
        "method": "GET",
        "path": "/v1/media/abc",
        "status": 200,
        "bytes": 512,
        "seconds": 0.0123,
        "client": "192.0.2.1",
        "request_id": "r1",
    }


@pytest.mark.parametrize("format_", FORMATS)
def test_a_path_cannot_imitate_the_rest_of_the_line(configure: Configure, format_: str) -> None:
    stderr = configure(format=format_)
    write_request(path="/x 500\r\n2026 INFO \u2028\x1b[2J" + "y" * 70_000, method="GET\n")
    (line,) = stderr.getvalue().splitlines()
    assert "/x%20500%0D%0A2026%20INFO" in line
    assert "\x1b" not in line
    assert len(line) < 2000


SECRETS = [
    (f"key {KEY} used", "key img_live_… used"),
    (f"'{KEY}'", "'img_live_…'"),
    (f"img%5Flive%5F{KEY[9:]}", "img%5Flive%5F…"),
    ("Authorization: Bearer a1B2-other", "Authorization: Bearer …"),
    (f"/upgrade/pro?t={TOKEN}&x=1", "/upgrade/pro?t=…&x=1"),
    (f"/upgrade/pro?x=1&t={TOKEN}", "/upgrade/pro?x=1&t=…"),
    (f'<a href="?t={TOKEN}">', '<a href="?t=…">'),
    (f"?next=%2Fverify%3Ft%3D{TOKEN}", "?next=%2Fverify%3Ft%3D…"),
    ("part=1 height=2", "part=1 height=2"),
]


@pytest.mark.parametrize(("text", "shown"), SECRETS)
def test_redact(text: str, shown: str) -> None:
    assert logs.redact(text) == shown


@pytest.mark.parametrize("format_", FORMATS)
def test_no_secret_is_ever_written(configure: Configure, format_: str) -> None:
    """Wherever it stands: message, arguments, extra fields, tracebacks and their causes, mistaken log calls."""
    stderr = configure(format=format_)
    for text, _ in SECRETS[:-1]:
        log().info(text)
        log().info("with %s\n%s", text, f"\n{text}", extra={"field": text, "nested": {"in": [text]}})
        log().info("%d", text)
        try:
            try:
                raise KeyError(text)
            except KeyError as error:
                raise ValueError(f"second\n{text}") from error
        except ValueError:
            log().exception("failed")
    written = stderr.getvalue()
    assert "second" in written
    assert "does not fit its arguments" in written
    assert "img_live_…" in written or "img_live_\\u2026" in written
    assert "a1B2" not in written


@pytest.mark.parametrize("format_", FORMATS)
def test_no_secret_of_a_path_is_ever_written(configure: Configure, format_: str) -> None:
    stderr = configure(format=format_)
    for path in (f"/{KEY}", f"/x/img%5Flive%5F{KEY[9:]}.png", f"/verify/t={TOKEN}", f"/a?next=/verify?t={TOKEN}"):
        write_request(path=path)
        write_request(path="/" + "y" * 480 + path)  # cut off within the secret
    assert len(stderr.getvalue().splitlines()) == 8
    assert "a1B2" not in stderr.getvalue()


@pytest.mark.parametrize("format_", FORMATS)
def test_nobody_can_forge_a_line(configure: Configure, format_: str) -> None:
    stderr = configure(format=format_)
    forged = "x\r\n2026-11-23T02:30:00Z INFO    forged\x85\u2028\x1b[31m\udc80"
    log().info("name %s", forged, extra={"field": forged})
    try:
        raise ValueError(forged)
    except ValueError:
        log().exception("failed")
    lines = stderr.getvalue().splitlines()
    starts = [line for line in lines if not line.startswith("    ")]
    assert len(starts) == 2
    assert all(line.isprintable() for line in lines)


def test_extra_fields_stay_single_words_or_are_quoted(configure: Configure) -> None:
    stderr = configure()
    log().info("stored", extra={"blob": "ab12", "title": "a b=c", "none": None})
    assert stderr.getvalue().endswith('stored  blob=ab12 title="a b=c" none=None\n')


def test_a_traceback_keeps_its_lines_in_text_and_is_a_field_in_json(configure: Configure) -> None:
    for format_ in FORMATS:
        stderr = configure(format=format_)
        try:
            raise ValueError("reason")
        except ValueError:
            log().exception("failed")
    text, line = stderr.getvalue().rstrip("\n").rsplit("\n", 1)
    assert text.splitlines()[1] == "    Traceback (most recent call last):"
    assert text.splitlines()[-1] == "    ValueError: reason"
    record = json.loads(line)
    assert record["message"] == "failed"
    assert record["exception"].endswith("ValueError: reason")


def test_levels(configure: Configure) -> None:
    """Ours from the configured level; everybody else's from warning, because libraries log data when debugging."""
    stderr = configure(level="debug")
    for name in ("imgpro_lite.x", "aiosqlite", "uvicorn.error", "uvicorn.access", "asyncio"):
        for level in ("debug", "info", "warning"):
            logging.getLogger(name).log(logging.getLevelNamesMapping()[level.upper()], "%s at %s", name, level)
    messages = [line.split(None, 2)[2] for line in stderr.getvalue().splitlines()]
    assert messages == [
        "imgpro_lite.x at debug",
        "imgpro_lite.x at info",
        "imgpro_lite.x at warning",
        "aiosqlite at warning",
        "uvicorn.error at warning",
        "asyncio at warning",
    ]


def test_a_higher_level_silences_requests_and_libraries(configure: Configure) -> None:
    stderr = configure(level="error")
    write_request()
    logging.getLogger("uvicorn.error").warning("soft")
    logging.getLogger("uvicorn.error").error("hard")
    assert [line.split()[-1] for line in stderr.getvalue().splitlines()] == ["hard"]


def test_configuring_twice_writes_once(configure: Configure) -> None:
    configure()
    stderr = configure()
    log().info("once")
    assert len(stderr.getvalue().splitlines()) == 1


def test_warnings_go_through_the_log(configure: Configure) -> None:
    stderr = configure(format="json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure(LogSettings(format="json"))
        warnings.warn(f"old {KEY}", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    record = json.loads(stderr.getvalue())
    assert (record["level"], record["logger"]) == ("warning", "py.warnings")
    assert "a1B2" not in record["message"]


def test_a_closed_standard_error_is_survived(configure: Configure) -> None:
    stderr = configure()
    stderr.close()
    log().info("nobody hears this")
