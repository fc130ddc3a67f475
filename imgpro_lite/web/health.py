"""GET /healthz, for monitors and load balancers."""

from starlette.requests import Request

from imgpro_lite.services.health import find_problem
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.responses import JsonAnswer

RETRY_AFTER_SECONDS = 10


async def healthz(request: Request) -> JsonAnswer:
    """200 when the server can do its work, else 503 with the reason."""
    rt = runtime(request)
    # Checked once however many ask at the same time: each check is a commit.
    problem = await rt.in_flight.run("healthz", lambda: find_problem(rt))
    if problem is None:
        return JsonAnswer({"status": "ok"})
    return JsonAnswer({"status": "unavailable", "reason": problem}, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
