"""One server for a whole table of cases, where starting one for each case would take most of the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import Api, FakeClock, PoolOnDemand, base_url
from starlette.testclient import TestClient

from imgpro_lite.app import create_app
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.fetching.internet import Internet
from imgpro_lite.settings import Settings

# So that no case is refused because of the ones before it.
NO_RATE_LIMITS = {
    "anonymous_uploads_per_hour": 0,
    "anonymous_uploads_per_day": 0,
    "keys_per_email_per_hour": 0,
    "keys_per_ip_per_hour": 0,
    "unverified_keys_per_email": 0,
}


@contextmanager
def serve(
    data_dir: Path,
    *,
    limits: dict[str, int] | None = None,
    storage: dict[str, int] | None = None,
    internet: Internet | None = None,
    dev: DevMode | None = None,
    **sections: Any,
) -> Iterator[Api]:
    """A running server without rate limits."""
    settings = Settings.model_validate(
        {
            "data_dir": data_dir,
            "imaging": {"workers": 1, "refine_avif": False},
            "limits": {**NO_RATE_LIMITS, **(limits or {})},
            "storage": {"reserve_mb": 0, **(storage or {})},
            **sections,
        }
    )
    clock = FakeClock()
    app = create_app(settings, clock, internet, PoolOnDemand(settings.imaging), dev)
    with TestClient(app, base_url(dev), raise_server_exceptions=False) as client:
        yield Api(client, clock, data_dir)
