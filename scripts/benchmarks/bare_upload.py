"""What the upload is measured against: Starlette and python-multipart, the file hashed, written and synced, no more."""

import hashlib
import os
import sys
import tempfile

import uvicorn
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

folder = sys.argv[2]


async def upload(request: Request) -> JSONResponse:
    """Write the file part as it arrives."""
    _, options = parse_options_header(request.headers["content-type"])
    digest = hashlib.sha256()
    descriptor, _ = tempfile.mkstemp(dir=folder)

    def write(data: bytes, start: int, end: int) -> None:
        chunk = data[start:end]
        digest.update(chunk)
        os.write(descriptor, chunk)

    parser = MultipartParser(options[b"boundary"], {"on_part_data": write})
    async for chunk in request.stream():
        parser.write(chunk)
    os.fsync(descriptor)
    os.close(descriptor)
    return JSONResponse({"sha256": digest.hexdigest()}, 201)


async def healthz(_: Request) -> PlainTextResponse:
    """Ready."""
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/v1/upload", upload, methods=["POST"]), Route("/healthz", healthz)])
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
