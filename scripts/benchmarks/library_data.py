"""A database with very many images, made through the schema's own triggers."""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imgpro_lite.store.sqlite_file import connect_file

NAMESPACES = 200
TAGS = 500
TAGS_OF_AN_IMAGE = 3
FIRST_CREATED_AT = 1_600_000_000


def fill(data_dir: Path, images: int) -> None:
    """Give the one team of a library this many images, with namespaces and tags as skewed as people's are.

    The most common tag is on a fifth of the images, the rarest on some hundred. Every image is also `even` or `odd`:
    two common tags that share no image.
    """
    conn = connect_file(data_dir / "imgpro.db")
    conn.execute("PRAGMA synchronous = OFF")
    (team_id, team_hash) = conn.execute("SELECT id, hash FROM teams WHERE kind = 'verified'").fetchone()
    with conn:
        conn.execute("BEGIN")
        conn.executemany(
            "INSERT INTO media (id, team_id, team_hash, sha256, format, width_px, height_px, frames, has_alpha, "
            "filesize_bytes, name, namespace, tags, public, metadata, created_at) "
            f"VALUES (?, {team_id}, '{team_hash}', ?, 'jpeg', 1920, 1080, 1, 0, 200000, ?, ?, ?, 1, '{{}}', ?)",
            _rows(images),
        )
        conn.execute("COMMIT")
    conn.execute("PRAGMA optimize")
    conn.close()
    file = data_dir / "blobs" / "00" / "00" / ("0" * 64)  # without a single one no server would start
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def _rows(images: int) -> Iterator[tuple[Any, ...]]:
    random.seed(1)
    namespaces = [f"namespace-{number}" for number in range(NAMESPACES)]
    tags = [f"tag{number}" for number in range(TAGS)]
    of_namespaces, of_tags = _skewed(NAMESPACES), _skewed(TAGS)
    for number in range(images):
        chosen = dict.fromkeys(random.choices(tags, cum_weights=of_tags, k=TAGS_OF_AN_IMAGE))
        own_tags = [*chosen, "odd" if number % 2 else "even"]
        (namespace,) = random.choices(namespaces, cum_weights=of_namespaces)
        created_at = FIRST_CREATED_AT + number // 3  # several in one second, as bulk uploads have
        name = f"photo{number}.jpg"
        yield f"{number:014d}", random.randbytes(32), name, namespace, json.dumps(own_tags), created_at


def _skewed(count: int) -> list[float]:
    """Cumulative weights after Zipf: the second is half as common as the first, and so on."""
    return list(itertools.accumulate(1 / (rank + 1) for rank in range(count)))


def add_namespace(data_dir: Path, namespace: str, images: int) -> None:
    """Put many of the images into one more namespace."""
    conn = connect_file(data_dir / "imgpro.db")
    conn.execute("UPDATE media SET namespace = ? WHERE seq <= ?", (namespace, images))
    conn.close()


def expire_newest(data_dir: Path, images: int, expires_at: int) -> list[bytes]:
    """Let the newest of the images end at a time: the hashes of their bytes. Lists meet them first."""
    conn = connect_file(data_dir / "imgpro.db")
    conn.execute("PRAGMA synchronous = OFF")
    rows = conn.execute(
        "UPDATE media SET ttl_expires_at = ? WHERE seq > (SELECT max(seq) FROM media) - ? RETURNING sha256",
        (expires_at, images),
    ).fetchall()
    conn.close()
    return [digest for (digest,) in rows]


def query_plans(data_dir: Path, filters: dict[str, Any]) -> dict[str, list[str]]:
    """How SQLite goes about each list, in its own words."""
    from imgpro_lite.store import media_lists

    conn = connect_file(data_dir / "imgpro.db", read_only=True)
    (team_id,) = conn.execute("SELECT id FROM teams WHERE kind = 'verified'").fetchone()
    plans = {}
    for name, filter_ in filters.items():
        walk = media_lists.plan_walk(conn, team_id, filter_)
        assert walk is not None
        values = {**walk.values, "after_at": 2**62, "after_seq": 2**62, "limit": 51, "now": 0}
        plans[name] = [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {walk.sql}", values)]
    conn.close()
    return plans
