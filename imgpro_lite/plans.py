"""Plans and calendar months: what a team may use, and until when."""

from dataclasses import dataclass
from datetime import UTC, datetime

from imgpro_lite.settings import BYTES_PER_MB, PlanSettings

OWNER = "owner"


@dataclass(frozen=True)
class Plan:
    """Limits of a plan. None is no limit."""

    name: str
    label: str
    uploads_limit: int | None
    storage_limit_bytes: int | None
    price_usd_per_month: int
    offered: bool

    @property
    def upgrade_label(self) -> str:
        """Text of a button that leads to this plan."""
        uploads = "unlimited" if self.uploads_limit is None else f"{self.uploads_limit:,}"
        return f"Upgrade to {self.label} (${self.price_usd_per_month}/mo) for {uploads} uploads"

    def gives_more_than(self, other: "Plan") -> bool:
        """Whether it has more uploads or more storage than another plan, so that changing to it is an upgrade."""
        return _uploads(self) > _uploads(other) or _storage(self) > _storage(other)


@dataclass(frozen=True)
class PlanTable:
    """The plans in force, cheapest first."""

    plans: tuple[Plan, ...]

    @classmethod
    def from_settings(cls, settings: dict[str, PlanSettings]) -> "PlanTable":
        """The plans of the configuration in the order of their limits."""
        plans = [
            Plan(
                name=name,
                label=plan.label,
                uploads_limit=plan.uploads_per_month or None,
                storage_limit_bytes=plan.storage_mb * BYTES_PER_MB or None,
                price_usd_per_month=plan.price_usd_per_month,
                offered=plan.offered,
            )
            for name, plan in settings.items()
        ]
        return cls(tuple(sorted(plans, key=_rank)))

    def get(self, name: str) -> Plan:
        """A plan by name. One that the configuration no longer has is the smallest plan, never an unlimited one."""
        if name == OWNER:
            return OWNER_PLAN
        return next((plan for plan in self.plans if plan.name == name), self.plans[0])

    def find(self, name: str) -> Plan | None:
        """A plan of the configuration by name, or None."""
        return next((plan for plan in self.plans if plan.name == name), None)

    def has(self, name: str) -> bool:
        """Whether a team may be put on this plan."""
        return name == OWNER or any(plan.name == name for plan in self.plans)

    def more_uploads_than(self, plan: Plan) -> Plan | None:
        """The next plan on offer with more uploads, or None."""
        return next((other for other in self.plans if other.offered and _uploads(other) > _uploads(plan)), None)

    def more_storage_than(self, plan: Plan) -> Plan | None:
        """The next plan on offer with more storage and at least as many uploads, or None."""
        larger = (other for other in self.plans if other.offered and _uploads(other) >= _uploads(plan))
        return next((other for other in larger if _storage(other) > _storage(plan)), None)


# Keys that the operator makes by command (decision 14): no limits, never listed, never an upgrade.
OWNER_PLAN = Plan(OWNER, "Owner", None, None, 0, offered=False)


def _rank(plan: Plan) -> tuple[float, float]:
    """Order of plans: uploads, then storage."""
    return (_uploads(plan), _storage(plan))


def _uploads(plan: Plan) -> float:
    return float("inf") if plan.uploads_limit is None else plan.uploads_limit


def _storage(plan: Plan) -> float:
    return float("inf") if plan.storage_limit_bytes is None else plan.storage_limit_bytes


def month_number(now: int) -> int:
    """The UTC calendar month of a Unix time as one growing number."""
    date = datetime.fromtimestamp(now, UTC)
    return date.year * 12 + date.month - 1


def month_ends_at(now: int) -> int:
    """Unix time at which the UTC calendar month ends and quotas reset."""
    year, month = divmod(month_number(now) + 1, 12)
    return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp())
