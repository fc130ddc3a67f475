"""Changes of a file, collected first and written in one go, so that a file of any size takes little memory."""

import mmap
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Data = bytes | bytearray | mmap.mmap

# Written or looked at in one piece, where a place is filled.
_FILL_BYTES = 64 * 1024


class Edit(NamedTuple):
    """Bytes `start` to `end` are replaced by `content`; or, with `fill`, each of them by that byte, so that all else
    stays where it is."""

    start: int
    end: int
    content: bytes = b""
    fill: bytes | None = None


def normal(data: Data, edits: Iterable[Edit]) -> list[Edit]:
    """The edits in order, without those that change nothing. Where two overlap, which only happens in broken files and
    those that are made to confuse, the one that starts first counts there."""
    kept: list[Edit] = []
    end = 0
    for edit in sorted(edits, key=lambda edit: edit[:2]):
        clipped = _from(edit, end)
        end = max(end, edit.end)
        if clipped.start < clipped.end and not _is_idle(data, clipped):
            kept.append(clipped)
    return kept


def _from(edit: Edit, start: int) -> Edit:
    """The part of an edit that starts there or later."""
    skipped_bytes = start - edit.start
    if skipped_bytes <= 0:
        return edit
    is_in_place = edit.fill is not None or len(edit.content) == edit.end - edit.start
    return edit._replace(start=start, content=edit.content[skipped_bytes:] if is_in_place else b"")


def _is_idle(data: Data, edit: Edit) -> bool:
    if edit.fill is None:
        same_length = edit.end - edit.start == len(edit.content)
        return same_length and data[edit.start : edit.end] == edit.content
    return is_filled(data, edit.start, edit.end, edit.fill)


def is_filled(data: Data, start: int, end: int, fill: bytes = b"\0") -> bool:
    """Whether there is nothing but that byte."""
    pieces = (data[at : min(at + _FILL_BYTES, end)] for at in range(start, end, _FILL_BYTES))
    return all(piece.count(fill) == len(piece) for piece in pieces)


def write(data: Data, edits: list[Edit], target: int) -> None:
    """Write the changed file. The edits are those of `normal`."""
    with memoryview(data) as view:
        for piece in _pieces(view, edits):
            with piece:
                written = 0
                while written < len(piece):  # a write may be short: on a disk that is nearly full the first one is
                    with piece[written:] as rest:
                        written += os.write(target, rest)


def apply(data: Data, edits: list[Edit]) -> bytes:
    """The changed bytes, of something small."""
    with memoryview(data) as view:
        return b"".join(_pieces(view, edits))


def _pieces(view: memoryview, edits: list[Edit]) -> Iterator[memoryview]:
    at = 0
    for edit in edits:
        yield view[at : edit.start]
        if edit.fill is None:
            yield memoryview(edit.content)
        else:
            for start in range(edit.start, edit.end, _FILL_BYTES):
                yield memoryview(edit.fill * (min(start + _FILL_BYTES, edit.end) - start))
        at = edit.end
    yield view[at:]


def gaps(ranges: Iterable[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What lies between start and end and in none of the ranges."""
    at = start
    for first, last in sorted(ranges):
        if first > at:
            yield at, min(first, end)
        at = max(at, last)
        if at >= end:
            return
    if at < end:
        yield at, end
