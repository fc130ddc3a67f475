"""100,000 images whose time ends in the same second, and how others are served until they and their files are gone."""

import json
import os
import sqlite3
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.harness import Row, Server, imgpro, owner_key, photograph, scratch, upload
from benchmarks.library import LISTS, Client, percentiles
from benchmarks.library_data import expire_newest, fill

IMAGES = int(os.environ.get("IMGPRO_TEST_BENCH_IMAGES", "300000"))
EXPIRING = IMAGES // 3
QUIET_SECONDS = 20
GONE_WITHIN_SECONDS = 60  # decision 32: counters follow an expiry
GOAL_MS = 250
GIVE_UP_SECONDS = 900


@dataclass
class Watch:
    """What others ask for all the time: milliseconds by kind of request, in the phase that is going on."""

    server: Server
    key: str
    expires_at: float
    phase: str = "before"
    done: bool = False
    shown_too_late: int = 0
    elapsed_ms: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def note(self, kind: str, elapsed_ms: float) -> None:
        """Keep a figure."""
        self.elapsed_ms[self.phase][kind].append(elapsed_ms)

    def lists(self) -> None:
        """Lists with every kind of filter, in turns. None may show what is over."""
        client = Client(self.server, self.key)
        while not self.done:
            for name, query in LISTS.items():
                asked_at = time.time()
                page, elapsed_ms = client.request("GET", f"/v1/media?{urlencode(query)}")
                self.note(f"list, {name}", elapsed_ms)
                items = page["items"]
                assert isinstance(items, list)
                self.shown_too_late += sum(1 for item in items if item.get("expires_at", asked_at) < int(asked_at))

    def small_requests(self) -> None:
        """What is counted, and a change."""
        client = Client(self.server, self.key)
        media_id = f"{1:014d}"
        while not self.done:
            for kind in ("usage", "namespaces"):
                self.note(f"GET /v1/{kind}", client.request("GET", f"/v1/{kind}")[1])
            self.note("PATCH", client.request("PATCH", f"/v1/media/{media_id}", {"name": "x"})[1])

    def bytes_and_uploads(self, photo: Path, src: str) -> None:
        """Image bytes as stored and in a small size, and uploads of one file after the other."""
        content = photo.read_bytes()
        number = 0
        while not self.done:
            number += 1
            for kind, address in (("bytes, original", src), ("bytes, small", f"{src}?size=s")):
                self.note(kind, _timed(urllib.request.Request(address)))
            self.note("upload", _timed(self._upload(content + number.to_bytes(4))))

    def _upload(self, content: bytes) -> urllib.request.Request:
        disposition = b'Content-Disposition: form-data; name="file"; filename="a.jpg"'
        body = b"--x\r\n" + disposition + b"\r\n\r\n" + content + b"\r\n--x--\r\n"
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "multipart/form-data; boundary=x"}
        return urllib.request.Request(f"{self.server.url}/v1/upload", body, headers)


def _timed(request: urllib.request.Request) -> float:
    started_at = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        answer.read()
    return (time.perf_counter() - started_at) * 1000


def run() -> Iterator[Row]:
    """Fill, let it expire, watch."""
    os.environ["IMGPRO_STORAGE_GRACE_DAYS"] = "0"  # so that rows and files go in the same sweep
    with scratch() as folder:
        data_dir = folder / "data"
        with imgpro(data_dir):
            key = owner_key(data_dir)
        fill(data_dir, IMAGES)
        photo = photograph(folder / "photo.jpg", 0.3)
        expires_at = int(time.time()) + QUIET_SECONDS + EXPIRING // 5_000
        _write_blobs(data_dir, expire_newest(data_dir, EXPIRING, expires_at))
        with imgpro(data_dir) as server:
            watch = Watch(server, key, expires_at)
            src = upload(server, key, photo)
            threads = [
                threading.Thread(target=watch.lists),
                threading.Thread(target=watch.small_requests),
                threading.Thread(target=watch.bytes_and_uploads, args=(photo, src)),
            ]
            for thread in threads:
                thread.start()
            yield from _phases(watch)
            watch.done = True
            for thread in threads:
                thread.join()
            yield Row("peak memory of the server", server.peak_rss_mb(), "MB", "<= 250 MB", server.peak_rss_mb() > 250)
    del os.environ["IMGPRO_STORAGE_GRACE_DAYS"]


def _phases(watch: Watch) -> Iterator[Row]:
    """Wait for each to end, and tell how the others were served in it."""
    time.sleep(max(0, watch.expires_at - time.time()))
    started_at = time.perf_counter()
    watch.phase = "expired"
    counted = _wait(watch, "SELECT count(*) FROM media WHERE deleted_at IS NULL AND expires_at IS NOT NULL")
    watch.phase = "purging"
    purged = _wait(watch, "SELECT count(*) FROM media WHERE deleted_at IS NOT NULL")
    watch.phase = "files"
    _wait(watch, "SELECT count(*) FROM purgeable_blobs")
    removed = time.perf_counter() - started_at
    watch.phase = "after"
    late = counted - started_at
    limit = GONE_WITHIN_SECONDS
    yield Row(f"{EXPIRING:,} images out of the counts after", late, "s", f"<= {limit} s", late > limit)
    yield Row("their rows gone after", purged - started_at, "s")
    yield Row("their files gone after", removed, "s")
    yield Row("expired images in lists", watch.shown_too_late, "", "= 0", watch.shown_too_late > 0)
    for phase in ("before", "expired", "purging", "files"):
        kinds = watch.elapsed_ms[phase]
        for kind, figures in kinds.items():
            if phase in ("before", "expired"):
                yield from percentiles(f"{phase}: {kind} ({len(figures)})", figures, GOAL_MS, GOAL_MS)
        together = [figure for figures in kinds.values() for figure in figures]
        if together:
            yield from percentiles(f"{phase}: all requests ({len(together)})", together, GOAL_MS, GOAL_MS)


def _wait(watch: Watch, count: str) -> float:
    """When nothing is left to count."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    with closing(sqlite3.connect(f"file:{watch.server.data_dir}/imgpro.db?mode=ro", uri=True)) as conn:
        while conn.execute(count).fetchone()[0]:
            assert time.monotonic() < give_up_at, json.dumps(count)
            time.sleep(0.2)
    return time.perf_counter()


def _write_blobs(data_dir: Path, digests: list[bytes]) -> None:
    """Files where those of the images would be."""
    for digest in digests:
        name = digest.hex()
        folder = data_dir / "blobs" / name[:2] / name[2:4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
