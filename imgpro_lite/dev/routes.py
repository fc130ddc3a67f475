"""The addresses of the control plane."""

from starlette.routing import BaseRoute, Route

from imgpro_lite.dev import clock, faults, teams


def dev_routes() -> list[BaseRoute]:
    """What is served in dev mode only."""
    return [
        Route("/_dev/clock", clock.get_clock, methods=["GET"]),
        Route("/_dev/clock", clock.set_clock, methods=["PUT"]),
        Route("/_dev/clock/advance", clock.advance_clock, methods=["POST"]),
        Route("/_dev/faults", faults.list_faults, methods=["GET"]),
        Route("/_dev/faults", faults.add_fault, methods=["POST"]),
        Route("/_dev/faults", faults.clear_faults, methods=["DELETE"]),
        Route("/_dev/faults/{fault_id}", faults.remove_fault, methods=["DELETE"]),
        Route("/_dev/teams", teams.list_teams, methods=["GET"]),
        Route("/_dev/teams/{team}", teams.change_team, methods=["PATCH"]),
        Route("/_dev/keys", teams.create_key, methods=["POST"]),
    ]
