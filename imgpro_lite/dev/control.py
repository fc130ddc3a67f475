"""What the control plane turns, and how its handlers find it."""

from dataclasses import dataclass, field

from starlette.requests import Request

from imgpro_lite.clock import MovableClock
from imgpro_lite.dev.fault_table import FaultTable
from imgpro_lite.dev.mails import MailMemory
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.dev.traffic import Traffic


@dataclass(frozen=True)
class Control:
    """Everything that is there in dev mode only."""

    mode: DevMode
    clock: MovableClock
    traffic: Traffic = field(default_factory=Traffic)
    faults: FaultTable = field(default_factory=FaultTable)
    mails: MailMemory = field(default_factory=MailMemory)


def control(request: Request) -> Control:
    """The server's control plane, as app.py put it there."""
    found: Control = request.app.state.control
    return found
