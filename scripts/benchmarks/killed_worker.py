"""A worker killed in the middle of a transform: the request is answered, the server stays up, the next one works."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

from benchmarks.harness import Row, imgpro, owner_key, photograph, scratch, upload

ROUNDS = 5


def run() -> Iterator[Row]:
    """kill -9 of every worker while a 48 MP picture is made into AVIF, some times."""
    with scratch() as folder:
        photo = photograph(folder / "photo.jpg", 48)
        answered = 0
        with imgpro(folder / "data") as server:
            src = upload(server, owner_key(folder / "data"), photo).removesuffix(".jpeg")
            for extension in ("avif", "webp", "png", "jpeg?size=l", "webp?size=l")[:ROUNDS]:
                command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{src}.{extension}"]
                client = subprocess.Popen(command, stdout=subprocess.PIPE)
                time.sleep(0.15)
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
                answered += client.communicate()[0] == b"200"
                answered += subprocess.check_output([*command[:-1], f"{src}.jpeg?size=s"]) == b"200"
        yield Row("killed worker: requests answered with 200", answered, "", f"= {2 * ROUNDS}", answered < 2 * ROUNDS)
