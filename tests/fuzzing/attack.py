"""The attack as a whole: a server, some connections, and what must be true after it."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from commands import make_key
from library import check_counts, check_files
from mailing import parse, tokens
from running import WAIT_SECONDS, Running, until

from fuzzing import corpus
from fuzzing.checks import find_faults
from fuzzing.http1 import Connection, Request
from fuzzing.requests import Generator, Known

MAX_SERVER_MB = 250.0  # what the server promises under strangers' input
SHOWN_FAULTS = 20
SHOWN_BYTES = 1500

# No windows for strangers, so that most requests get past them; bodies that stand still are given up soon.
CONFIG = """
[server]
body_idle_seconds = 2
[limits]
anonymous_uploads_per_hour = 0
anonymous_uploads_per_day = 0
keys_per_email_per_hour = 0
keys_per_ip_per_hour = 0
[plans.free]
uploads_per_month = 20  # soon used up, so that there are links to upgrade
"""
MAILED_KEYS = 8


@dataclass
class Report:
    """What was asked, what was answered, and what was wrong."""

    asked: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    server_mb: float = 0.0


def attack(directory: Path, requests: int, seed: int, connections: int) -> Report:
    """Start a server in an empty directory, send it so many requests, and look at what is left."""
    report = Report()
    server = Running.start(directory, config=CONFIG)
    try:
        _attack(server, requests, seed, connections, report)
    finally:
        server.close()
    return report


def _attack(server: Running, requests: int, seed: int, connections: int, report: Report) -> None:
    keys = [["--verified"], ["--verified", "--plan", "scale"], ["--read-only"], ["--plan", "free"]]
    made = [make_key(server.data_dir, *options, email=f"ops{n}@example.com") for n, options in enumerate(keys)]
    known = Known([str(key["key"]).encode() for key in made])
    known.found["tokens"].extend(_mailed_tokens(server))
    workers = len(server.workers())
    asyncio.run(_send_all(server.port, requests, seed, connections, known, report))
    report.server_mb = peak_mb(server.process.pid)
    alive = server.process.poll() is None
    _require(report, alive, "the server ended")
    if alive:  # a worker that drew an SVG is replaced, which takes a moment
        until(lambda: len(server.workers()) == workers)
    _require(report, report.server_mb <= MAX_SERVER_MB, f"the server took {report.server_mb:.0f} MB")
    _require(report, server.end() == 0, "the server did not end well")
    _require(report, "Traceback" not in server.stderr, "the log has a stack trace")
    secrets = [*known.owner_keys, *known.found["keys"]]
    _require(report, not any(key.decode() in server.stderr for key in secrets), "the log has a key")
    for check in (check_counts, check_files):
        try:
            check(server.data_dir)
        except AssertionError as error:
            report.faults.append(f"{check.__name__}: {error}")


def _mailed_tokens(server: Running) -> list[bytes]:
    """Tokens of links that confirm an address."""
    for number in range(MAILED_KEYS):
        body = {"email": f"u{number}@example.com"}
        httpx2.post(f"{server.url}/v1/keys", json=body, timeout=WAIT_SECONDS, trust_env=False).raise_for_status()
    files = until(lambda: len(found := list((server.data_dir / "outbox").glob("*.eml"))) >= MAILED_KEYS and found)
    return [token.encode() for path in files for token in tokens(parse(path.read_bytes()))]


def _require(report: Report, holds: bool, fault: str) -> None:
    if not holds:
        report.faults.append(fault)


async def _send_all(port: int, requests: int, seed: int, connections: int, known: Known, report: Report) -> None:
    pictures = corpus.pictures()
    numbers = iter(range(requests))

    async def send_some(number: int) -> None:
        generator, connection = Generator(f"{seed}.{number}", known, pictures), Connection(port)
        for _ in numbers:  # one iterator for all connections
            await _send(generator.next(), connection, known, report)
        connection.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(connections):
            tasks.create_task(send_some(number))


async def _send(request: Request, connection: Connection, known: Known, report: Report) -> None:
    kind = re.sub(r"/[a-z0-9]{14}\b", "/ID", request.kind)
    report.asked["broken" if request.broken else kind] += 1
    try:
        answer = await connection.ask(request)
    except TimeoutError:
        connection.close()
        report.faults.append(f"no answer in time to {request.encoded()[:SHOWN_BYTES]!r}")
        return
    report.statuses[answer.status] += 1
    known.learn(answer)
    for fault in find_faults(request, answer):
        sent, got = request.encoded()[:SHOWN_BYTES], answer.body[:SHOWN_BYTES]
        report.faults.append(f"{fault}: {request.kind}\n  sent {sent!r}\n  got {answer.status} {got!r}")


def peak_mb(pid: int) -> float:
    """The most memory that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else 0.0
