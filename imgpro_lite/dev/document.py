"""What dev mode adds to the OpenAPI document: the control plane, and what answers carry there only."""

from imgpro_lite.dev import fault_answers, faults, outbox, teams
from imgpro_lite.web.api_overlay import Overlay


def dev_overlay() -> Overlay:
    """The files of `api_document/` beside this one, and the limits that they name."""
    return Overlay(
        package="imgpro_lite.dev",
        names=("library.yaml", "outbox.yaml", "requests.yaml"),
        facts={
            "mail_kinds": list(outbox.KINDS),
            "max_wait_seconds": outbox.MAX_WAIT_SECONDS,
            "fault_codes": list(fault_answers.CODES),
            "fault_statuses": list(fault_answers.STATUSES),
            "max_fault_path_chars": faults.MAX_PATH_CHARS,
            "max_fault_times": faults.MAX_TIMES,
            "max_delay_ms": faults.MAX_DELAY_MS,
            "max_retry_after_seconds": faults.MAX_RETRY_AFTER_SECONDS,
            "max_uploads": teams.MAX_UPLOADS,
            "max_storage_bytes": teams.MAX_STORAGE_BYTES,
        },
    )
