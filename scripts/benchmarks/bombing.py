"""Clients that send bombs in a loop, from a process of their own.

python -m benchmarks.bombing PORT FOLDER CLIENTS SECONDS KEY uploads the files of the folder again and again, views what
was accepted, sends JSON with the key, and writes FOLDER/answers.json: how often each file was answered with which
status.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from pathlib import Path

BOUNDARY = b"a-boundary-that-is-in-no-bomb"
SLOW = "a slow body"
SLOW_CHUNK_BYTES = 512
ANSWER_SECONDS = 60  # longer than the server ever takes
PAUSE_SECONDS = 0.02  # after an answer, so that the bombs and not their packing take the processor


async def _ask(port: int, head: bytes, body: bytes, pace_seconds: float = 0) -> tuple[int, bytes]:
    """The status and the body of the answer; status 0 when there was none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(head + b"Host: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
            step = SLOW_CHUNK_BYTES if pace_seconds else len(body) or 1
            for start in range(0, len(body), step):
                writer.write(body[start : start + step])
                await asyncio.sleep(pace_seconds)
            answer = await reader.read()
    except (OSError, TimeoutError):
        return 0, b""
    finally:
        writer.close()
    first, _, content = answer.partition(b"\r\n\r\n")
    return int(first.split()[1]) if first else 0, content


def _form(name: str, content: bytes) -> tuple[bytes, bytes]:
    part = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    body = b"--" + BOUNDARY + b"\r\n" + part + content + b"\r\n--" + BOUNDARY + b"--\r\n"
    return b"POST /v1/upload HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n", body


async def _bomb(port: int, name: str, content: bytes, answers: "Counter[str]", numbers: "itertools.count[int]") -> None:
    """Send one bomb, different from all others so that nothing remembers it, and view what became of it."""
    if name.endswith(".svg"):
        content += b"<!--%d-->" % next(numbers)
    head, body = _form(name, content)
    status, answer = await _ask(port, head, body)
    answers[f"{name} {status}"] += 1
    if status == 201 and name.startswith("view-"):
        path = json.loads(answer)["src"].partition("/")[2].partition("/")[2].partition("/")[2].rpartition(".")[0]
        for variant in ("png?size=l", "webp?size=s"):
            status, _ = await _ask(port, f"GET /{path}.{variant} HTTP/1.1\r\n".encode(), b"")
            answers[f"{name} viewed {status}"] += 1


async def _bomb_again_and_again(
    port: int,
    bombs: list[tuple[str, bytes]],
    until: float,
    answers: "Counter[str]",
    numbers: "itertools.count[int]",
    key: str,
) -> None:
    for name, content in itertools.cycle(bombs):
        if time.monotonic() >= until:
            return
        if name == SLOW:
            head, body = _form(name, content)
            status, _ = await _ask(port, head, body, pace_seconds=0.4)
            answers[f"{name} {status}"] += 1
        elif name.endswith(".json"):
            head = f"PATCH /v1/media/batch HTTP/1.1\r\nAuthorization: Bearer {key}\r\n"
            status, _ = await _ask(port, head.encode(), content)
            answers[f"{name} {status}"] += 1
        else:
            await _bomb(port, name, content, answers, numbers)
        await asyncio.sleep(PAUSE_SECONDS)


async def _bomb_all(
    port: int, bombs: list[tuple[str, bytes]], clients: int, seconds: float, key: str
) -> dict[str, int]:
    until, answers, numbers = time.monotonic() + seconds, Counter[str](), itertools.count()
    async with asyncio.TaskGroup() as tasks:
        for client in range(clients):
            start = client % len(bombs)  # each begins with another
            turn = bombs[start:] + bombs[:start]
            tasks.create_task(_bomb_again_and_again(port, turn, until, answers, numbers, key))
    return dict(sorted(answers.items()))


def _main() -> None:
    port, folder, clients, seconds, key = sys.argv[1:]
    bombs = [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    bombs.append((SLOW, b"x" * 20 * SLOW_CHUNK_BYTES))
    answers = asyncio.run(_bomb_all(int(port), bombs, int(clients), float(seconds), key))
    Path(folder, "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    _main()
