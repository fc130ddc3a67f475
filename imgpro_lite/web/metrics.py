"""GET /metrics: on the server's own port for who has the token, and on an address of its own."""

import hmac
import logging

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from imgpro_lite.errors import ImgProError, NotFound
from imgpro_lite.services.metrics.expose import CONTENT_TYPE, expose
from imgpro_lite.settings import MetricsSettings
from imgpro_lite.web.health import healthz
from imgpro_lite.web.requests import client_address, runtime

log = logging.getLogger("imgpro_lite.metrics")

PATH = "/metrics"


def metrics_routes(settings: MetricsSettings) -> list[BaseRoute]:
    """The route among those of the pages, if there is a token that opens it."""
    return [Route(PATH, _ForTokens(settings.token))] if settings.token else []


class _ForTokens:
    """Answers who has the token. To all others, and to any other method, nothing is there: a 401 would tell strangers
    that there is something to look for. The log tells the operator what went wrong."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method not in ("GET", "HEAD") or not _has_token(request, self._token):
            raise NotFound("There is nothing at this address.")
        await (await _answer(request))(scope, receive, send)


def own_app(settings: MetricsSettings, main: Starlette) -> Starlette:
    """What is answered on an address of its own: the metrics of the main application, and its health."""

    async def show(request: Request) -> Response:
        if settings.token and not _has_token(request, settings.token):
            return PlainTextResponse(
                "Send the token: Authorization: Bearer TOKEN\n", 401, {"WWW-Authenticate": "Bearer"}
            )
        try:
            return await _answer(request)
        except ImgProError as error:
            return PlainTextResponse(f"{error.message}\n", error.status)

    app = Starlette(routes=[Route(PATH, show), Route("/healthz", healthz)])
    app.router.redirect_slashes = False  # it would go where the request's Host header says
    app.state.runtime = main.state.runtime
    return app


def _has_token(request: Request, token: str) -> bool:
    """Whether the request has the token. One that is wrong is told to the operator."""
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if not sent:
        return False
    is_right = hmac.compare_digest(sent.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not is_right:
        # Who it was; not a warning, of which strangers could write as many as they like.
        told = {"client": client_address(request, runtime(request))}
        if "request_id" in request.scope.get("state", {}):  # the address of its own gives none
            told["request_id"] = request.state.request_id
        log.info("metrics were asked for with a wrong token; it is [metrics] token that must be sent", extra=told)
        return False
    return True


async def _answer(request: Request) -> Response:
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(await expose(runtime(request)), headers=headers)
