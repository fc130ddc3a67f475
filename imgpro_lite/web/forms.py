"""The multipart form of an upload, taken in as it arrives: the file goes to disk and is hashed, fields stay in memory.

python-multipart finds the parts; the limits are ours. Its traps: a missing closing boundary is silent, and nothing
bounds the size of a file part. So the form counts as whole only when `on_end` came, and bytes are counted here.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from imgpro_lite.errors import FileTooLarge, MissingFile, ValidationFailed
from imgpro_lite.settings import BYTES_PER_MB
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.spool import Spool, SpooledFile, open_spool
from imgpro_lite.web.requests import body_chunks

FILE_FIELD = "file"
MAX_FIELDS = 100
MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS_BYTES = 128 * 1024  # of all fields together; metadata ends at 16 KB
MAX_FIELD_NAME_CHARS = 200
# What boundaries and part headers may add to the file and the fields.
OVERHEAD_BYTES = 64 * 1024

_NO_FILE = "No file in the request. Send it as multipart/form-data in a field named `file` that has a filename."

# Called with the size so far and the first bytes; raises FileTooLarge.
SizeCheck = Callable[[int, bytes], None]


@dataclass(frozen=True)
class UploadForm:
    """A form that arrived whole. `problems` are the fields that it is wrong about already, with the words for them."""

    file: SpooledFile
    filename: str
    fields: dict[str, str]
    problems: dict[str, list[str]]


@contextlib.asynccontextmanager
async def receive_upload(
    request: Request, blobs: BlobStore, limit_bytes: int, check_size: SizeCheck
) -> AsyncIterator[UploadForm]:
    """The form of an upload; its file is gone after the block unless it was adopted.

    Raises MissingFile, FileTooLarge, ValidationFailed, BadRequest, StorageFull.
    """
    async with open_spool(blobs) as spool:
        reader = _FormReader(_boundary(request), spool)
        await _read(request, reader, spool, limit_bytes, check_size)
        yield await reader.finish()


def _boundary(request: Request) -> bytes:
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if content_type != b"multipart/form-data" or not boundary:
        raise MissingFile(_NO_FILE)
    return boundary


async def _read(request: Request, reader: "_FormReader", spool: Spool, limit_bytes: int, check_size: SizeCheck) -> None:
    """Feed the body to the reader, and stop at the first byte that is too many."""
    most_bytes = limit_bytes + OVERHEAD_BYTES  # and the fields
    too_large = FileTooLarge(f"The file exceeds the limit of {limit_bytes // BYTES_PER_MB} MB.")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > most_bytes + MAX_FIELDS_BYTES:
        raise too_large
    received_bytes = 0
    async for chunk in body_chunks(request):
        received_bytes += len(chunk)
        reader.write(chunk)
        if received_bytes - reader.fields_bytes > most_bytes:
            raise too_large
        check_size(spool.size_bytes, spool.head)
        await spool.flush_if_needed()


@dataclass
class _Part:
    """The part that is being read."""

    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    name: str = ""
    filename: str | None = None
    is_the_file: bool = False
    text: bytearray = field(default_factory=bytearray)


class _FormReader:
    """Sorts the parts of a form into the file and the fields."""

    def __init__(self, boundary: bytes, spool: Spool) -> None:
        self._spool = spool
        self._part = _Part()
        self._fields: dict[str, str] = {}
        self._fields_bytes = 0
        self._parts = 0
        self._filename: str | None = None
        self._complete = False
        self._problems: dict[str, list[str]] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise MissingFile(_NO_FILE) from error

    @property
    def fields_bytes(self) -> int:
        """The text of all fields so far, as far as it is kept."""
        return self._fields_bytes + min(len(self._part.text), MAX_FIELD_BYTES)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Raises MissingFile for what is no form, ValidationFailed."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MissingFile(f"The form is broken. {_NO_FILE}") from error

    async def finish(self) -> UploadForm:
        """The form, at the end of the body. Raises MissingFile when its last boundary never came."""
        if not self._complete:
            raise MissingFile("The form ended too early: its closing boundary is missing. Please send it again.")
        if self._filename is None:
            raise MissingFile(_NO_FILE)
        return UploadForm(await self._spool.finish(), self._filename, self._fields, self._problems)

    def _on_part_begin(self) -> None:
        self._part = _Part()
        self._parts += 1
        if self._parts > MAX_FIELDS + 1:  # and the file
            raise _too_many_fields()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _on_header_end(self) -> None:
        part = self._part
        if bytes(part.header_name).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(part.header_value))
            part.name = _decode(options.get(b"name", b""))
            part.filename = _decode(options[b"filename"]) if b"filename" in options else None
        part.header_name.clear()
        part.header_value.clear()

    def _on_headers_finished(self) -> None:
        part = self._part
        if part.filename is None:
            return
        # Browsers send an empty file input as a part with an empty name and no bytes.
        if part.name == FILE_FIELD and self._filename is None and part.filename:
            part.is_the_file = True
            self._filename = part.filename
        elif part.filename:
            self._problems.setdefault(part.name, []).append("only one file is possible, in the field `file`")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.is_the_file:
            self._spool.feed(data[start:end])
        elif part.filename is None and len(part.text) <= MAX_FIELD_BYTES:
            part.text += data[start:end]

    def _on_part_end(self) -> None:
        part = self._part
        if part.filename is not None:
            return
        self._fields_bytes += len(part.text)
        self._part = _Part()
        if problem := self._field_problem(part):
            # The name itself may be what is wrong, so it is not repeated when it is long.
            self._problems.setdefault(part.name[:MAX_FIELD_NAME_CHARS], []).append(problem)
        elif part.name == "tags" and part.name in self._fields:
            self._fields["tags"] += "," + part.text.decode()
        else:
            self._fields[part.name] = part.text.decode()

    def _field_problem(self, part: _Part) -> str | None:
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise _too_many_fields()
        if not 1 <= len(part.name) <= MAX_FIELD_NAME_CHARS:
            return f"the name of a field has 1 to {MAX_FIELD_NAME_CHARS} characters"
        if len(part.text) > MAX_FIELD_BYTES:
            return f"may have at most {MAX_FIELD_BYTES // 1024} KB"
        if part.name in self._fields and part.name != "tags":
            return "was sent more than once"
        try:
            part.text.decode()
        except UnicodeDecodeError:
            return "must be valid UTF-8"
        return None

    def _on_end(self) -> None:
        self._complete = True


def _too_many_fields() -> ValidationFailed:
    limits = f"{MAX_FIELDS} fields and {MAX_FIELDS_BYTES // 1024} KB of text"
    return ValidationFailed({"form": [f"may have at most {limits}"]})


def _decode(raw: bytes) -> str:
    """A name from a part's header. Old clients send Latin-1 or worse; what is no UTF-8 is replaced.

    Browsers write quotes and line breaks as %22, %0D and %0A (HTML standard, "multipart/form-data encoding algorithm").
    """
    text = raw.decode("utf-8", "replace")
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
