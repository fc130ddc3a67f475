"""Answers with small image bytes that are asked for again and again, whole and in memory, under a byte limit."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

# Larger bytes are read from the page cache at hardly any cost beside that of sending them.
MAX_ANSWER_BYTES = 256 * 1024

# What an answer takes beside its body: headers, keys and the objects around them, measured with tracemalloc.
OVERHEAD_BYTES = 3 * 1024

# Then it is read from the disk once more, so that the cache there sees that it is in use.
KEEP_SECONDS = 600

Key = tuple[bytes, bytes]
"""Path and query as they were sent."""


@dataclass(frozen=True, slots=True)
class HotAnswer:
    """A whole answer 200 to a GET, but for what differs between two requests."""

    media_id: str
    etag: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    good_until: int
    """Unix seconds: when the answer would be another, for example because the image has expired."""


class HotAnswers:
    """By path and query, the least recently used out first. Nothing in it outlives a change of its image."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._answers: OrderedDict[Key, HotAnswer] = OrderedDict()
        self._keys_of: dict[str, set[Key]] = {}
        self._total_bytes = 0
        self.generation = 0
        """Counts the changes. An answer that was put together from what was known before one is not taken."""

    @property
    def count(self) -> int:
        """How many answers there are."""
        return len(self._answers)

    @property
    def total_bytes(self) -> int:
        """What they take."""
        return self._total_bytes

    def find(self, key: Key, now: int) -> HotAnswer | None:
        """The answer, marked as used, or None."""
        answer = self._answers.get(key)
        if answer is None:
            return None
        if now >= answer.good_until:
            self._remove(key)
            return None
        self._answers.move_to_end(key)
        return answer

    def put(self, key: Key, answer: HotAnswer, generation: int) -> None:
        """Keep an answer that was put together since this generation."""
        size_bytes = _size_bytes(answer)
        if generation != self.generation or size_bytes > self.max_bytes:
            return
        if key in self._answers:
            self._remove(key)
        self._answers[key] = answer
        self._keys_of.setdefault(answer.media_id, set()).add(key)
        self._total_bytes += size_bytes
        while self._total_bytes > self.max_bytes:
            self._remove(next(iter(self._answers)))

    def forget(self, media_ids: Iterable[str]) -> None:
        """Drop all answers of images that have changed, or are gone."""
        self.generation += 1
        for media_id in media_ids:
            for key in list(self._keys_of.get(media_id, ())):
                self._remove(key)

    def clear(self) -> None:
        """Drop everything, because anything may have changed."""
        self.generation += 1
        self._answers.clear()
        self._keys_of.clear()
        self._total_bytes = 0

    def _remove(self, key: Key) -> None:
        answer = self._answers.pop(key)
        self._total_bytes -= _size_bytes(answer)
        keys = self._keys_of[answer.media_id]
        keys.discard(key)
        if not keys:
            del self._keys_of[answer.media_id]


def _size_bytes(answer: HotAnswer) -> int:
    return len(answer.body) + OVERHEAD_BYTES
