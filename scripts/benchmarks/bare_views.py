"""What further views are measured against: the same bytes from memory, by a Starlette endpoint or by plain ASGI.

python -m benchmarks.bare_views PORT starlette|asgi FILE
"""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

content = Path(sys.argv[3]).read_bytes()
MEDIA_TYPE = "image/webp"


async def view(_: Request) -> Response:
    """The bytes, whatever was asked for."""
    return Response(content, media_type=MEDIA_TYPE)


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """The same without Starlette."""
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


APPS: dict[str, ASGIApp] = {
    "starlette": Starlette(routes=[Route("/{team_hash}/{media_id}.{extension}", view), Route("/healthz", view)]),
    "asgi": plain,
}
uvicorn.run(APPS[sys.argv[2]], port=int(sys.argv[1]), access_log=False, log_level="warning", lifespan="off")
