"""The clients of the crash loop: what each does until the server is gone, and what it was told."""

import contextlib
import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from images import make_image

# A request that takes longer has met a server that hangs.
REQUEST_SECONDS = 20


@dataclass
class Kept:
    """An image that was acknowledged."""

    sha256: str
    name: str
    src: str


@dataclass
class Writer:
    """One client, with a key of its own, and what the server has told it."""

    headers: dict[str, str]
    random: random.Random
    kept: dict[str, Kept] = field(default_factory=dict)
    unsure: dict[str, Kept] = field(default_factory=dict)
    """Images that a request without an answer may have deleted."""
    unsure_names: dict[str, str] = field(default_factory=dict)
    """What a request without an answer may have renamed an image to."""
    deleted: set[str] = field(default_factory=set)
    checked: set[str] = field(default_factory=set)
    """Images that nothing has happened to since they were last read and compared."""
    done: Counter[str] = field(default_factory=Counter)

    def work(self, url: str, stop: threading.Event) -> None:
        """Do one thing after the other until the server is gone."""
        weighted: dict[Callable[[httpx2.Client], None], int] = {
            self._upload: 6,
            self._view: 4,
            self._delete: 2,
            self._delete_batch: 1,
            self._rename: 2,
            self._list: 1,
        }
        actions = self.random.choices(list(weighted), list(weighted.values()), k=100_000)
        with (
            contextlib.suppress(httpx2.TransportError),
            httpx2.Client(base_url=url, headers=self.headers, trust_env=False, timeout=REQUEST_SECONDS) as client,
        ):
            for action in actions:
                if stop.is_set():
                    return
                action(client)

    def _upload(self, client: httpx2.Client) -> None:
        # Every fourth has the bytes of somebody else's, which may be purged just now.
        seed = self.random.randrange(20) if self.random.random() < 0.25 else self.random.randrange(2**31)
        content = picture(seed)
        answer = self._send(client, "POST", "/v1/upload", files={"file": (f"{seed}.png", content)})
        if answer.status_code == 503:
            return
        assert answer.status_code == 201, answer.text
        shown = answer.json()
        src = "/" + shown["src"].split("/", 3)[3]
        self.kept[shown["id"]] = Kept(hashlib.sha256(content).hexdigest(), shown["name"], src)

    def _view(self, client: httpx2.Client) -> None:
        if not self.kept:
            return
        kept = self.kept[self.random.choice(list(self.kept))]
        stem = kept.src.rpartition(".")[0]
        extension = self.random.choice(["webp", "jpeg", "png"])
        answer = self._send(client, "GET", f"{stem}.{extension}?size={self.random.choice('sml')}")
        assert answer.status_code in (200, 503), answer.text
        # A whole variant, whatever was killed while it was made.
        assert answer.status_code == 503 or len(answer.content) > 20

    def _delete(self, client: httpx2.Client) -> None:
        self._forget(1, lambda ids: self._send(client, "DELETE", f"/v1/media/{ids[0]}"))

    def _delete_batch(self, client: httpx2.Client) -> None:
        self._forget(4, lambda ids: self._send(client, "DELETE", "/v1/media/batch", json={"ids": ids}))

    def _forget(self, count: int, delete: Callable[[list[str]], Any]) -> None:
        if len(self.kept) < count + 2:
            return
        ids = self.random.sample(list(self.kept), count)
        self.unsure |= {media_id: self.kept.pop(media_id) for media_id in ids}
        answer = delete(ids)
        if answer.status_code == 200:
            self.deleted |= set(ids)
        else:
            assert answer.status_code == 503, answer.text
            self.kept |= {media_id: self.unsure[media_id] for media_id in ids}
        for media_id in ids:
            del self.unsure[media_id]

    def _rename(self, client: httpx2.Client) -> None:
        if not self.kept:
            return
        media_id = self.random.choice(list(self.kept))
        self.checked.discard(media_id)
        name = f"renamed {self.random.randrange(10**6)}"
        self.unsure_names[media_id] = name
        answer = self._send(
            client, "PATCH", f"/v1/media/{media_id}", json={"name": name, "tags": name.replace(" ", ",")}
        )
        del self.unsure_names[media_id]
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 200:
            self.kept[media_id].name = name

    def _list(self, client: httpx2.Client) -> None:
        assert self._send(client, "GET", "/v1/media?limit=20").status_code in (200, 503)

    def _send(self, client: httpx2.Client, method: str, path: str, **options: Any) -> Any:
        answer = client.request(method, path, **options)
        self.done[method] += 1
        assert answer.status_code != 500, answer.text
        return answer


def picture(seed: int) -> bytes:
    """A small picture of its own; what follows its end is stored too."""
    tail = random.Random(seed).randbytes(random.Random(seed).choice([0, 100, 5000, 300_000]))
    return make_image("png", 24, 16) + seed.to_bytes(4, "big") + tail
