"""Logging to standard error: one line a record as text or JSON, never a key or a token, never a forged line.

Redaction is done by the formatters and not by a filter, because a filter sees neither the traceback nor the arguments
in the form in which they are written. It comes before escaping: in `\\nt=…` a token would no longer be recognised.
"""

import asyncio
import json
import logging
import re
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote

from imgpro_lite.settings import LogSettings

ACCESS_LOGGER = "imgpro_lite.access"

# How long the lines of requests wait to be written together.
WRITE_SECONDS = 0.05

# A path may have 64 KB; a log line need not.
_MAX_PATH_CHARS = 500

# API keys (also with a percent-encoded underscore), bearer credentials of any shape, and the `t` parameter of signed
# links, which may itself be percent-encoded inside another address.
_SECRETS = re.compile(
    r"(?P<key>img(?:_|%5F)live(?:_|%5F))[A-Za-z0-9%]+"
    r"|(?P<bearer>\bBearer\s+)[^\s\"',;]+"
    r"|(?P<token>(?:(?<![A-Za-z0-9_])|(?<=%3F)|(?<=%26))t(?:=|%3D))[^\s\"'&#<>]+",
    re.IGNORECASE,
)

# What every record has; anything else came in through `extra`. uvicorn adds a coloured copy of the message.
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


def configure(settings: LogSettings, *, at_once: bool = False) -> None:
    """Send everything that is logged to standard error, in the format and from the level of the settings.

    `at_once`: every line of a request as soon as it is known, for those who look at one request after the other.
    Only our own loggers go below WARNING: at debug level some libraries log their data, aiosqlite every SQL parameter.
    """
    handler = _Handler(sys.stderr, at_once=at_once)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[settings.level.upper()]))
    logging.getLogger("imgpro_lite").setLevel(settings.level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # warns of every broken form, which strangers send
    logging.getLogger("uvicorn.access").disabled = True  # we write our own request lines
    logging.captureWarnings(capture=True)


def log_request(
    *,
    request_id: str,
    client: str,
    method: str,
    path: str,
    status: int,
    response_bytes: int,
    seconds: float,
) -> None:
    """Write the line of one answered request. `path` is the path alone: a query may hold a token."""
    shown_path = quote(path, safe="/%:@!$&'()*+,;=~")  # no spaces, so that nobody can append a status of his own
    if len(shown_path) > _MAX_PATH_CHARS:
        shown_path = shown_path[:_MAX_PATH_CHARS] + "…"
    fields = {
        "method": method,
        "path": shown_path,
        "status": status,
        "bytes": response_bytes,
        "seconds": round(seconds, 4),
        "client": client,
        "request_id": request_id,
    }
    logger = logging.getLogger(ACCESS_LOGGER)
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], _Handler) and logger.isEnabledFor(logging.INFO):
        handlers[0].write_request(fields)
    else:
        logger.info("%s %s %d", method, shown_path, status, extra=fields)


def redact(text: str) -> str:
    """The text with the secret part of every API key, bearer credential and signed token replaced by dots."""
    return _SECRETS.sub(lambda match: f"{match['key'] or match['bearer'] or match['token']}…", text)


def escape(text: str) -> str:
    """The text with line breaks, terminal escapes, bidi marks and lone surrogates made visible."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class TextFormatter(logging.Formatter):
    """`2026-11-23T02:30:00Z INFO    GET /abc 200  bytes=512 client=192.0.2.1`; a traceback follows, indented."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._time = ""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, or more with a traceback; only its first begins at the margin."""
        if record.name == ACCESS_LOGGER:
            return self.format_request(record.created, record.__dict__)
        line = f"{self._time_of(record.created)} {record.levelname:<7} {escape(_message(record))}"
        pairs = " ".join(f"{key}={_value(value)}" for key, value in _extra(record).items())
        if pairs:
            line += f"  {pairs}"
        # Indented, because an exception's message is often a stranger's text: no line of it can pass for a record.
        for traceback_line in _traceback(record).split("\n"):
            if traceback_line:
                line += f"\n    {escape(traceback_line)}"
        return line

    def format_request(self, created: float, fields: dict[str, Any]) -> str:
        """A request's line. The general way takes five times as long, and more than it takes to answer a hot request.
        `log_request` has quoted the path; the id is ours, and the rest are numbers."""
        return (
            f"{self._time_of(created)} INFO    {escape(fields['method'])} {redact(fields['path'])} "
            f"{fields['status']}  bytes={fields['bytes']} seconds={fields['seconds']} "
            f"client={_value(fields['client'])} request_id={fields['request_id']}"
        )

    def _time_of(self, created: float) -> str:
        if int(created) != self._second:
            self._second = int(created)
            self._time = datetime.fromtimestamp(self._second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._time


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the record's extra fields, and `exception` if any."""

    def format_request(self, created: float, fields: dict[str, Any]) -> str:
        """A request's line: the same as of a record."""
        message = f"{fields['method']} {fields['path']} {fields['status']}"
        record = logging.LogRecord(ACCESS_LOGGER, logging.INFO, "", 0, message, None, None)
        record.created = created
        record.__dict__.update(fields)
        return self.format(record)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII, which no control character can break."""
        fields = _extra(record) | {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if traceback_text := _traceback(record):
            fields["exception"] = traceback_text
        first = ("time", "level", "logger", "message")
        ordered = {key: fields.pop(key) for key in first} | fields
        return json.dumps(ordered)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream. Lines of requests are put together without a record and written in groups, because a record
    and a write of its own take longer than a hot request: 30 against 20 us. A kill -9 loses WRITE_SECONDS of them."""

    def __init__(self, stream: TextIO, *, at_once: bool) -> None:
        super().__init__(stream)
        self._at_once = at_once
        self._lines: list[str] = []

    def write_request(self, fields: dict[str, Any]) -> None:
        """Have the line of a request written soon; at once where there is no event loop."""
        assert isinstance(self.formatter, TextFormatter | JsonFormatter)
        assert self.lock is not None
        with self.lock:
            self._lines.append(self.formatter.format_request(time.time(), fields))
            is_first = len(self._lines) == 1
        if self._at_once:
            self.flush()
        elif is_first:
            try:
                asyncio.get_running_loop().call_later(WRITE_SECONDS, self.flush)
            except RuntimeError:
                self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the requests before it."""
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits."""
        assert self.lock is not None
        with self.lock:
            lines, self._lines = self._lines, []
            try:
                if lines:
                    self.stream.write("\n".join(lines) + "\n")
                super().flush()
            except (OSError, ValueError):
                pass  # standard error is gone, or closed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Standard error is gone. The original would write the record's raw arguments there."""


def _message(record: logging.LogRecord) -> str:
    """The message; when it does not fit its arguments, both as they are, because a log line must never be lost."""
    try:
        return redact(record.getMessage())
    except Exception as error:
        return redact(f"{record.msg!s} {record.args!r} (this log message does not fit its arguments: {error})")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """What came in through `extra`: numbers and None as they are, everything else as text."""
    extra = {key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}
    return {key: value if isinstance(value, int | float | None) else redact(str(value)) for key, value in extra.items()}


def _traceback(record: logging.LogRecord) -> str:
    """Traceback and stack, as far as the record has them."""
    parts = ["".join(traceback.format_exception(*record.exc_info)) if record.exc_info else "", record.stack_info or ""]
    return redact("\n".join(part.rstrip("\n") for part in parts if part))


def _value(value: object) -> str:
    """A value of key=value, quoted when it would not be one word."""
    text = escape(str(value))
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)
