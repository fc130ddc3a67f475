"""What a caller may still upload: rate limits without a key, quotas with one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imgpro_lite import links
from imgpro_lite.errors import Action, QuotaExceeded, Unauthorized
from imgpro_lite.models import ApiKey, Caller, Team, TeamKind
from imgpro_lite.plans import OWNER, Plan, month_ends_at, month_number
from imgpro_lite.rate_windows import DAY_SECONDS, HOUR_SECONDS, RateLimit, Window, refuse_exceeded
from imgpro_lite.runtime import Runtime
from imgpro_lite.store import account_rows
from imgpro_lite.store.sqlite_file import Tx

UNVERIFIED_STORAGE_FULL = (
    "Storage limit reached for unverified API keys on this server. Verify your e-mail address to go on."
)
MIN_IMAGE_BYTES = 1  # before an upload's size is known: a quota with less than this left is exhausted


@dataclass(frozen=True)
class Usage:
    """What a team has used of its plan this month. A limit of None is none."""

    plan: str
    uploads_used: int
    uploads_limit: int | None
    storage_used_bytes: int
    storage_limit_bytes: int | None

    def as_json(self) -> dict[str, Any]:
        """The `usage` object of a quota error."""
        return dict(vars(self))


@dataclass(frozen=True)
class Standing:
    """How a caller stands with its limits: a quota with a key, rate windows without."""

    usage: Usage | None = None
    hourly: Window | None = None
    daily: Window | None = None


def usage_of(rt: Runtime, team: Team) -> Usage:
    """A team's usage in the current month."""
    plan = rt.plans.get(team.plan)
    month = month_number(rt.clock.now())
    stored_bytes = max(0, team.storage_bytes + rt.extra_storage_bytes.get(team.hash, 0))
    return Usage(plan.name, team.uploads_used_in(month), plan.uploads_limit, stored_bytes, plan.storage_limit_bytes)


def charge_attempt(rt: Runtime, caller: Caller) -> Standing:
    """Count an attempt to upload or import. What it is worth is for `refuse_exhausted` to say."""
    return _standing(rt, caller, rt.rate_windows.charge)


def standing_of(rt: Runtime, caller: Caller) -> Standing:
    """How a caller stands with its limits, without another attempt."""
    return _standing(rt, caller, rt.rate_windows.peek)


def _standing(rt: Runtime, caller: Caller, window: Callable[[RateLimit, str, int], Window]) -> Standing:
    if not caller.anonymous:
        return Standing(usage=usage_of(rt, caller.team))
    limits, now = rt.settings.limits, rt.clock.now()
    hourly = RateLimit("anonymous_uploads_hour", limits.anonymous_uploads_per_hour, HOUR_SECONDS)
    daily = RateLimit("anonymous_uploads_day", limits.anonymous_uploads_per_day, DAY_SECONDS)
    return Standing(hourly=window(hourly, caller.address, now), daily=window(daily, caller.address, now))


def refuse_import(rt: Runtime, caller: Caller) -> None:
    """Raise Unauthorized where imports without a key are off."""
    if caller.anonymous and not rt.settings.anonymous.import_:
        raise Unauthorized(f"Imports without an API key are switched off here. {_how_to_get_a_key(rt)}")


def _how_to_get_a_key(rt: Runtime) -> str:
    closed = rt.settings.server.registration_closed
    return "Ask the owner of this server for a key." if closed else "Create a key with POST /v1/keys."


async def refuse_exhausted(rt: Runtime, caller: Caller, standing: Standing) -> None:
    """Refuse before the body is read when nothing more can be stored.

    Raises Unauthorized where anonymous uploads are off, RateLimited, QuotaExceeded, StorageFull.
    """
    if caller.anonymous and not rt.settings.anonymous.enabled:
        raise Unauthorized(f"Uploads without an API key are switched off here. {_how_to_get_a_key(rt)}")
    windows = [window for window in (standing.hourly, standing.daily) if window is not None]
    refuse_exceeded(windows, rt.clock.now(), "uploads from your address")
    rt.blobs.check_free_space()
    unverified_bytes = 0
    if caller.team.kind is TeamKind.UNVERIFIED:
        unverified_bytes = await rt.db.read(account_rows.get_unverified_storage_bytes)
    _refuse_over_quota(rt, caller.team, caller.key, unverified_bytes, MIN_IMAGE_BYTES)


def charge_upload(tx: Tx, rt: Runtime, team_id: int, key: ApiKey | None, size_bytes: int) -> Team:
    """Spend one upload of a team's quota, if its storage has room too: the team as it was. Raises QuotaExceeded.

    There is one writer, so nobody else can spend the counters between reading and writing them. The storage is counted
    by the image's row itself.
    """
    team = account_rows.get_team(tx.conn, team_id)
    _refuse_over_quota(rt, team, key, account_rows.get_unverified_storage_bytes(tx.conn), size_bytes)
    account_rows.update_team_uploads(tx.conn, team, month_number(tx.now), 1)
    return team


def _refuse_over_quota(rt: Runtime, team: Team, key: ApiKey | None, unverified_bytes: int, size_bytes: int) -> None:
    """Raise QuotaExceeded when one more image of this size is more than the team may store."""
    usage = usage_of(rt, team)
    plan = rt.plans.get(team.plan)
    if team.kind is TeamKind.ANONYMOUS:
        if team.storage_bytes + size_bytes > rt.allowances.anonymous_storage_bytes:
            raise anonymous_storage_full(rt, team.storage_bytes)
        return
    if usage.uploads_limit is not None and usage.uploads_used >= usage.uploads_limit:
        raise uploads_used_up(rt, team, usage)
    if usage.storage_limit_bytes is not None and usage.storage_used_bytes + size_bytes > usage.storage_limit_bytes:
        raise _quota_exceeded("Storage limit reached.", usage, _upgrade(rt, team, rt.plans.more_storage_than(plan)))
    if (
        team.kind is TeamKind.UNVERIFIED
        and plan.name != OWNER
        and unverified_bytes + size_bytes > rt.allowances.unverified_storage_bytes
    ):
        raise _quota_exceeded(
            UNVERIFIED_STORAGE_FULL,
            usage,
            verify_action(rt, team.email or "", key),
        )


def uploads_used_up(rt: Runtime, team: Team, usage: Usage) -> QuotaExceeded:
    """The refusal of a team with a key that has used up the uploads of its month."""
    now = rt.clock.now()
    larger = _upgrade(rt, team, rt.plans.more_uploads_than(rt.plans.get(team.plan)))
    action = larger or Action("wait", seconds=month_ends_at(now) - now)
    refusal = _quota_exceeded("Monthly upload limit reached.", usage, action)
    refusal.quota = "month"
    return refusal


def _quota_exceeded(message: str, usage: Usage, action: Action | None) -> QuotaExceeded:
    headers = {"Retry-After": str(action.seconds)} if action and action.seconds else {}
    return QuotaExceeded(message, action=action, extra={"usage": usage.as_json()}, headers=headers)


def anonymous_storage_full(rt: Runtime, stored_bytes: int) -> QuotaExceeded:
    """The refusal where strangers store as much as they may together."""
    usage = Usage("anonymous", 0, None, stored_bytes, rt.allowances.anonymous_storage_bytes)
    action = Action("upgrade", url=register_url(rt), label="Create API Key")
    message = "Storage limit reached for uploads without an API key. Create a key to go on."
    return _quota_exceeded(message, usage, action)


def next_plan(rt: Runtime, team: Team) -> Action | None:
    """A signed link to the next larger plan, before anything is used up; None where there is none."""
    plan = rt.plans.get(team.plan)
    return _upgrade(rt, team, rt.plans.more_uploads_than(plan) or rt.plans.more_storage_than(plan))


def _upgrade(rt: Runtime, team: Team, target: Plan | None) -> Action | None:
    """A signed link to a larger plan, or None where there is none (decision 17)."""
    if target is None:
        return None
    token = rt.links.sign(links.UPGRADE, {"team": team.hash, "plan": target.name})
    return Action("upgrade", url=f"{rt.public_url}/upgrade/{target.name}?t={token}", label=target.upgrade_label)


def verify_action(rt: Runtime, email: str, key: ApiKey | None) -> Action:
    """What to do about an address that nobody has confirmed. In dev mode the link itself, for a key (decision 9)."""
    url = verify_url(rt, email, key.key_id) if rt.gives_links and key else verify_resend_url(rt, email)
    return Action("verify", url=url, label="Verify Email")


def verify_url(rt: Runtime, email: str, key_id: str) -> str:
    """The link to mail to an address about a key. Only in dev mode may an answer carry it (decision 9)."""
    token = rt.links.sign(links.VERIFY, {"key": key_id, "email": email})
    return f"{rt.public_url}/verify?t={token}"


def verify_resend_url(rt: Runtime, email: str) -> str:
    """A signed page that mails an address its verification link again (decision 9)."""
    return f"{rt.public_url}/verify/resend?t={rt.links.sign(links.VERIFY_RESEND, {'email': email})}"


def register_url(rt: Runtime) -> str:
    """The page that says how to get a key."""
    return f"{rt.public_url}/api/quick-start"
