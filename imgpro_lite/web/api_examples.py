"""Examples of the API's document that depend on the settings, in the words of the server's own functions."""

from dataclasses import replace
from typing import Any

from imgpro_lite.errors import Action, KeyLimitReached, RateLimited
from imgpro_lite.plans import Plan, PlanTable
from imgpro_lite.rate_windows import HOUR_SECONDS, MINUTE_SECONDS, Window, refuse_exceeded
from imgpro_lite.services.accounts import FREE
from imgpro_lite.services.limits import UNVERIFIED_STORAGE_FULL, Usage
from imgpro_lite.settings import BYTES_PER_MB, LimitSettings, Settings

_SECONDS_LEFT = 1260  # of a window or a month, in examples
_SOME_BYTES = 1024**3


def examples(settings: Settings) -> dict[str, Any]:
    """The examples by name. Each is what a server with these settings would answer."""
    plans = PlanTable.from_settings(settings.plans)
    free = plans.get(FREE)
    return {
        "key_limits": {
            "uploads": free.uploads_limit,
            "storage_mb": free.storage_limit_bytes and free.storage_limit_bytes // BYTES_PER_MB,
            "retention_days": settings.limits.retention_days,
        },
        "usage": _whole_usage(_usage(free)),
        "key_limit_reached": _key_limit_reached(settings),
        "quota_exceeded": _quota_exceeded(settings.public_url, plans, free),
        "rate_limited": _rate_limited(settings),
    }


def _usage(plan: Plan) -> Usage:
    """A team that has used some of its plan."""
    uploads_used = 42 if plan.uploads_limit is None else 42 * plan.uploads_limit // 100
    stored_bytes = _SOME_BYTES if plan.storage_limit_bytes is None else plan.storage_limit_bytes // 5
    return Usage(plan.name, uploads_used, plan.uploads_limit, stored_bytes, plan.storage_limit_bytes)


def _whole_usage(usage: Usage) -> dict[str, Any]:
    limit = usage.uploads_limit
    return {
        "plan": usage.plan,
        "uploads_used": usage.uploads_used,
        "uploads_limit": limit,
        "uploads_remaining": None if limit is None else limit - usage.uploads_used,
        "storage_used_bytes": usage.storage_used_bytes,
        "storage_limit_bytes": usage.storage_limit_bytes,
        "resets_at": 1706745600,
        "verified": True,
    }


def _key_limit_reached(settings: Settings) -> dict[str, Any]:
    return KeyLimitReached(settings.limits.unverified_keys_per_email or 1, _verify(settings.public_url)).body()


def _verify(public_url: str) -> Action:
    return Action("verify", url=f"{public_url}/verify/resend?t=eyJ…", label="Verify Email")


def _quota_exceeded(public_url: str, plans: PlanTable, plan: Plan) -> dict[str, Any]:
    """The refusal of a plan that is used up: its uploads, or its storage where only that has a limit. A plan without
    limits can still meet the one that all unverified keys have together."""
    usage, larger, action = _usage(plan), None, None
    if plan.uploads_limit is not None:
        usage, larger = replace(usage, uploads_used=plan.uploads_limit), plans.more_uploads_than(plan)
        message, action = "Monthly upload limit reached.", Action("wait", seconds=_SECONDS_LEFT)
    elif plan.storage_limit_bytes is not None:
        usage, larger = replace(usage, storage_used_bytes=plan.storage_limit_bytes), plans.more_storage_than(plan)
        message = "Storage limit reached."
    else:
        message, action = UNVERIFIED_STORAGE_FULL, _verify(public_url)
    if larger is not None:
        action = Action("upgrade", url=f"{public_url}/upgrade/{larger.name}?t=eyJ…", label=larger.upgrade_label)
    told = {"action": action.as_json()} if action else {}
    return {"error": "quota_exceeded", "message": message, **told, "usage": usage.as_json()}


def _rate_limited(settings: Settings) -> dict[str, Any]:
    limit, window_seconds, what = _some_rate(settings.limits, settings.anonymous.enabled)
    exceeded = Window(limit, window_seconds, limit + 1, min(_SECONDS_LEFT, window_seconds))
    try:
        refuse_exceeded([exceeded], 0, what)
    except RateLimited as error:
        return error.body()
    raise AssertionError("an exceeded window was not refused")


def _some_rate(limits: LimitSettings, anonymous: bool) -> tuple[int, int, str]:
    """The first rate limit that is in force: attempts, seconds, and what is counted."""
    rates = [
        (limits.anonymous_uploads_per_hour * anonymous, HOUR_SECONDS, "uploads from your address"),
        (limits.keys_per_ip_per_hour, HOUR_SECONDS, "new keys from your address"),
        (limits.keys_per_email_per_hour, HOUR_SECONDS, "new keys for this e-mail address"),
        (limits.requests_per_key_per_minute, MINUTE_SECONDS, "requests with this key"),
    ]
    return next((rate for rate in rates if rate[0]), (1, HOUR_SECONDS, "uploads from your address"))
