"""The addresses of the control plane."""

from starlette.routing import BaseRoute, Route

from imgpro_lite.dev import clock, faults, index_page, outbox, snapshots, teams


def dev_routes() -> list[BaseRoute]:
    """What is served in dev mode only."""
    return [
        Route("/_dev", index_page.show_index, methods=["GET"]),
        Route("/_dev", index_page.act, methods=["POST"]),
        Route("/_dev/clock", clock.get_clock, methods=["GET"]),
        Route("/_dev/clock", clock.set_clock, methods=["PUT"]),
        Route("/_dev/clock/advance", clock.advance_clock, methods=["POST"]),
        Route("/_dev/reset", snapshots.reset, methods=["POST"]),
        Route("/_dev/snapshots", snapshots.get_snapshots, methods=["GET"]),
        Route("/_dev/snapshots/{name}", snapshots.put_snapshot, methods=["PUT"]),
        Route("/_dev/snapshots/{name}", snapshots.delete_snapshot, methods=["DELETE"]),
        Route("/_dev/snapshots/{name}/restore", snapshots.restore_snapshot, methods=["POST"]),
        Route("/_dev/outbox", outbox.list_mails, methods=["GET"]),
        Route("/_dev/outbox", outbox.clear_outbox, methods=["DELETE"]),
        Route("/_dev/outbox/{mail_id}.eml", outbox.get_raw_mail, methods=["GET"]),
        Route("/_dev/outbox/{mail_id}.html", outbox.get_html_of_mail, methods=["GET"]),
        Route("/_dev/outbox/{mail_id}", outbox.get_mail, methods=["GET"]),
        Route("/_dev/outbox/{mail_id}", outbox.delete_mail, methods=["DELETE"]),
        Route("/_dev/faults", faults.list_faults, methods=["GET"]),
        Route("/_dev/faults", faults.add_fault, methods=["POST"]),
        Route("/_dev/faults", faults.clear_faults, methods=["DELETE"]),
        Route("/_dev/faults/{fault_id}", faults.remove_fault, methods=["DELETE"]),
        Route("/_dev/teams", teams.list_teams, methods=["GET"]),
        Route("/_dev/teams/{team}", teams.change_team, methods=["PATCH"]),
        Route("/_dev/keys", teams.create_key, methods=["POST"]),
    ]
