"""The addresses of the control plane."""

from starlette.routing import BaseRoute, Route

from imgpro_lite.dev import clock, snapshots


def dev_routes() -> list[BaseRoute]:
    """What is served in dev mode only."""
    return [
        Route("/_dev/clock", clock.get_clock, methods=["GET"]),
        Route("/_dev/clock", clock.set_clock, methods=["PUT"]),
        Route("/_dev/clock/advance", clock.advance_clock, methods=["POST"]),
        Route("/_dev/reset", snapshots.reset, methods=["POST"]),
        Route("/_dev/snapshots", snapshots.get_snapshots, methods=["GET"]),
        Route("/_dev/snapshots/{name}", snapshots.put_snapshot, methods=["PUT"]),
        Route("/_dev/snapshots/{name}", snapshots.delete_snapshot, methods=["DELETE"]),
        Route("/_dev/snapshots/{name}/restore", snapshots.restore_snapshot, methods=["POST"]),
    ]
