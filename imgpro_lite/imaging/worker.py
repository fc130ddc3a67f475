"""A worker: read a job, do it, answer, until the server closes the pipe.

It decodes what strangers sent, and is built to be killed at any moment: one thread, no state, no access to anything but
the files that came with the job. Jobs come as lines of JSON on standard input, the answers go to standard output. On
POSIX the files of a job come as open descriptors through a socket; elsewhere as paths.
"""

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import chain, repeat
from typing import IO, Any

from imgpro_lite.formats import Format
from imgpro_lite.imaging import sandbox
from imgpro_lite.imaging.jobs import Damaged, Limits, Refused, Transform
from imgpro_lite.models import Strip

Message = dict[str, Any]


def main(argument: str) -> None:
    """Serve jobs until the parent goes. `argument` is what `process.worker_command` puts on the command line."""
    start: Message = json.loads(argument)
    limits = Limits(**start["limits"])
    sandbox.step_back(limits.niceness)
    in_force = sandbox.enter(limits.memory_mb)
    answers = _take_over_stdout()
    files = socket.socket(fileno=start["socket"]) if start["socket"] is not None else None

    from imgpro_lite.imaging import loaders  # loads libvips, which the sandbox must come before

    loaders.set_up()
    _send(answers, {"ready": in_force})
    for line in sys.stdin.buffer:
        job: Message = json.loads(line)
        for answer in _answer(job, files, limits):
            _send(answers, answer)


def _answer(job: Message, files: socket.socket | None, limits: Limits) -> Iterator[Message]:
    """The answers to a job, whatever becomes of it. All but the last have `more`; before that the files are closed."""
    last: Message = {}
    try:
        with _files_of(job, files) as descriptors:
            for answer in _run(job, descriptors, limits):
                if answer.get("more"):
                    yield answer
                else:
                    last = answer
        yield last
    except Refused as refusal:
        yield {"refused": str(refusal)}
    except Damaged as damage:
        yield {"damaged": str(damage)}
    except Exception as error:  # anything a decoder does: the server tells the client no more than "could not"
        yield {"failed": f"{type(error).__name__}: {error}"[:2000]} | _faults_of_the_system(str(error))


def _faults_of_the_system(words: str) -> Message:
    """What an error is when it is not the picture's: libvips has no number for it, only the system's words."""
    from imgpro_lite.errors import StorageFull  # here: it brings every error and record along, and few jobs fail

    return {
        "is_full": any(os.strerror(number) in words for number in StorageFull.ERRNOS),
        "has_no_threads": os.strerror(errno.EAGAIN) in words or "can't start new thread" in words,
    }


def _run(job: Message, descriptors: list[int], limits: Limits) -> Iterator[Message]:
    """Do one job. Its code is imported here, after the sandbox is shut, and only that: a worker that draws no SVG and
    is not asked for its libraries is ready for its first job some 30 ms sooner."""
    match job["do"]:
        case "ping":
            yield {"done": {}}
        case "probe":
            from imgpro_lite.imaging.probe import probe

            source, *targets = descriptors
            if job["strip"] is not None:
                from imgpro_lite.imaging.strip import strip

                if strip(source, targets.pop(), Format(job["format"]), Strip(job["strip"])):
                    yield {"done": None}
                    return
                yield {"kept": True, "more": True}
            probed, intermediates = probe(Format(job["format"]), limits, source, targets, job["intermediates_px"])
            yield {"done": asdict(probed), "more": True}
            for edge_px in intermediates:
                yield {"made": edge_px, "more": True}
            yield {}
        case "transform":
            from imgpro_lite.imaging.transform import transform

            fields = job["transform"]
            fields |= {"source": Format(fields["source"]), "target": Format(fields["target"])}
            yield {"done": asdict(transform(Transform(**fields), limits, *descriptors))}
        case "inspect":
            from imgpro_lite.imaging.inspection import inspect

            yield {"done": asdict(inspect(Format(job["format"]), limits, *descriptors))}
        case "libraries":
            from imgpro_lite.imaging.inspection import list_libraries

            yield {"done": {"libraries": [asdict(library) for library in list_libraries()]}}
        case unknown:
            raise ValueError(f"unknown job {unknown!r}")


@contextmanager
def _files_of(job: Message, files: socket.socket | None) -> Iterator[list[int]]:
    """The open files of a job: first the one to read, then those to write, if any."""
    if files is not None:
        descriptors = sandbox.receive_descriptors(files, job["files"]) if job["files"] else []
    else:
        binary = getattr(os, "O_BINARY", 0)
        modes = chain([os.O_RDONLY], repeat(os.O_RDWR))
        descriptors = [os.open(path, mode | binary) for path, mode in zip(job["paths"], modes, strict=False)]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def _take_over_stdout() -> IO[bytes]:
    """The way to the parent. What a library prints goes to standard error from now on, not between the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _send(answers: IO[bytes], message: Message) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
