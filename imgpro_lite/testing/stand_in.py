"""A running server in dev mode, with its control plane as methods.

What answers is as README has it under "Developing against it": dictionaries with the fields of the JSON. Every method
raises ControlError when the server refuses, which says why.
"""

import itertools
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from imgpro_lite.testing.control_plane import ControlPlane

__tracebackhide__ = True  # pytest then shows the line of the test, and not ours

DEFAULT_EMAIL = "dev@example.com"

# Mail is there as soon as the request has its answer. What takes longer is a program under test that has yet to ask.
MAIL_SECONDS = 5


@dataclass(frozen=True)
class Mail:
    """One mail of the outbox."""

    id: str
    kind: str
    to: str
    subject: str
    text: str
    html: str
    links: list[str]
    """Every address in it, such as the link that verifies."""
    at: int
    """When it was written, in Unix seconds of the server's clock."""


class Outbox:
    """The mail that the server has sent, as far as it thinks."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    @property
    def messages(self) -> list[Mail]:
        """All of it, the newest last."""
        return self.find()

    def find(self, *, to: str | None = None, subject: str | None = None, kind: str | None = None) -> list[Mail]:
        """Those to an address, with a text in the subject, or of a kind (`verify`, for example); the newest last."""
        return _mails(self._control.get("/outbox", to=to, subject=subject, kind=kind))

    def wait_for(
        self,
        *,
        to: str | None = None,
        subject: str | None = None,
        kind: str | None = None,
        after: Mail | None = None,
        seconds: float = MAIL_SECONDS,
    ) -> Mail:
        """The newest such mail, as soon as there is one, at most a minute later. Raises ControlError when none comes,
        with what there is instead."""
        after_id = after.id if after else None
        asked = {"to": to, "subject": subject, "kind": kind, "after": after_id, "wait_seconds": seconds}
        return _mails(self._control.get("/outbox", **asked))[-1]

    def clear(self) -> None:
        """Remove all mail."""
        self._control.request("DELETE", "/outbox")


def _mails(answer: dict[str, Any]) -> list[Mail]:
    names = Mail.__dataclass_fields__
    return [Mail(**{name: mail[name] for name in names}) for mail in answer["mails"]]


@dataclass(frozen=True)
class Snapshot:
    """The library as it was."""

    control: ControlPlane
    name: str

    def restore(self, *, clock: bool = True) -> None:
        """Have everything be as it was; the time too, unless `clock` is False."""
        self.control.request("POST", f"/snapshots/{self.name}/restore", {"clock": clock})

    def delete(self) -> None:
        """Forget it."""
        self.control.request("DELETE", f"/snapshots/{self.name}")


class StandIn:
    """A server that does as the hosted API does, with its time, mail, plans and faults in the hands of a test."""

    def __init__(self, base_url: str, control_url: str, key: str) -> None:
        self.base_url = base_url
        """Where the API is: requests go to `{base_url}/v1/upload`."""
        self.key = key
        """A key of a verified team on the free plan; of a seed with keys, the first one in it."""
        self.control = ControlPlane(control_url)
        """For requests to the control plane that have no method here."""
        self.outbox = Outbox(self.control)
        self._numbers = itertools.count(1)

    def reset(self, *, seed: bool = True) -> None:
        """Begin anew: as at the start, in the real time, without faults, and with the seed or, if `seed` is False,
        empty. The `key` works either way. Snapshots stay until the end of the test."""
        self.control.request("POST", "/reset", {"seed": seed})
        if not seed:
            self.new_key(DEFAULT_EMAIL, verified=True, key=self.key)

    @property
    def now(self) -> int:
        """The server's time in Unix seconds."""
        return int(self.control.get("/clock")["now"])

    def advance(self, *, days: int = 0, hours: int = 0, minutes: int = 0, seconds: int = 0) -> int:
        """Move the time on; what has become due is done. The new time in Unix seconds."""
        step = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        return int(self.control.request("POST", "/clock/advance", step)["now"])

    def set_time(self, to: date | int | str) -> int:
        """Have the time go on from a moment: a date or datetime, ISO 8601, or Unix seconds. What has no zone is UTC.
        The new time in Unix seconds."""
        moment = to.isoformat() if isinstance(to, date) else to  # a datetime is a date too
        return int(self.control.request("PUT", "/clock", {"now": moment})["now"])

    def fail_next(
        self,
        path: str,
        *,
        method: str | list[str] = "*",
        status: int | None = None,
        code: str | None = None,
        times: int | None = 1,
        delay_ms: int = 0,
        drop: bool | Literal["body"] = False,
        retry_after_seconds: int | None = None,
    ) -> dict[str, Any]:
        """Have the next requests to a path fail: with the error of a status or code, a delay, or no answer (`drop`).

        `times` None is all of them until a reset or `clear_faults`. The fault, with its `id`.
        """
        wanted = {"path": path, "method": method, "status": status, "code": code, "times": times, "drop": drop}
        wanted |= {"delay_ms": delay_ms, "retry_after_seconds": retry_after_seconds}
        return self.control.request("POST", "/faults", wanted)

    def faults(self) -> list[dict[str, Any]]:
        """Those that were asked for, with how often each was `used`."""
        return list(self.control.get("/faults")["faults"])

    def clear_faults(self) -> None:
        """End all faults."""
        self.control.request("DELETE", "/faults")

    def snapshot(self, name: str | None = None) -> Snapshot:
        """Keep everything as it is now, to be restored any number of times."""
        name = name or f"snapshot-{next(self._numbers)}"
        self.control.request("PUT", f"/snapshots/{name}")
        return Snapshot(self.control, name)

    def snapshots(self) -> list[Snapshot]:
        """Those that there are."""
        return [Snapshot(self.control, kept["name"]) for kept in self.control.get("/snapshots")["snapshots"]]

    def new_key(self, email: str, **fields: Any) -> dict[str, Any]:
        """A key at once: `key`, `key_id`, `team`, … No mail is sent, and the limits of how many keys an address can ask
        for do not hold; those of its plan (`free`) do. Also takes `name`, `plan`, `verified`, `abilities` and the `key`
        itself."""
        return self.control.request("POST", "/keys", {"email": email, **fields})

    def teams(self) -> list[dict[str, Any]]:
        """All teams with their plan, usage and keys."""
        return list(self.control.get("/teams")["teams"])

    def change_team(self, team: str, **fields: Any) -> dict[str, Any]:
        """Change the team of an e-mail address, a key id or a hash: `plan`, `verified`, `uploads_used`,
        `storage_used_bytes`, `registration_closed`. The team as it is then."""
        return self.control.request("PATCH", f"/teams/{team}", fields)
