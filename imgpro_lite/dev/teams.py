"""Teams and keys of dev mode: shown, changed and made, without mail, rate limits or a key."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request

from imgpro_lite.bodies import Fields, optional, parse
from imgpro_lite.fields import check_abilities, check_api_key, check_email, check_name
from imgpro_lite.models import Ability, ApiKey
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import limits, team_changes
from imgpro_lite.services.accounts import ALL_ABILITIES, DEFAULT_KEY_NAME, NewKey
from imgpro_lite.services.team_changes import TeamAndKeys, TeamChange, WantedKey
from imgpro_lite.web.requests import read_json_object, runtime
from imgpro_lite.web.responses import JsonAnswer

MAX_UPLOADS = 10**9  # far beyond any plan, and far from what SQLite cannot hold
MAX_STORAGE_BYTES = 10**15  # a petabyte: as above


class TeamFields(Fields):
    """The body of PATCH /_dev/teams/{team}. What is left out stays as it is."""

    plan: str = ""
    verified: bool = False
    uploads_used: int = Field(0, ge=0, le=MAX_UPLOADS)
    storage_used_bytes: int = Field(0, ge=0, le=MAX_STORAGE_BYTES)
    registration_closed: bool = False


class NewKeyFields(Fields):
    """The body of POST /_dev/keys."""

    email: Annotated[str, BeforeValidator(check_email)]
    name: Annotated[str, BeforeValidator(check_name)] = DEFAULT_KEY_NAME
    plan: str | None = None
    verified: bool = False
    abilities: Annotated[frozenset[Ability], BeforeValidator(check_abilities)] = ALL_ABILITIES
    key: Annotated[str | None, optional(check_api_key)] = None


async def list_teams(request: Request) -> JsonAnswer:
    """GET /_dev/teams"""
    return JsonAnswer({"teams": await show_teams(runtime(request))})


async def show_teams(rt: Runtime) -> list[dict[str, Any]]:
    """Every team with its usage and keys, oldest first."""
    return [_present(rt, team) for team in await rt.db.read(team_changes.list_teams_and_keys)]


async def change_team(request: Request) -> JsonAnswer:
    """PATCH /_dev/teams/{team}"""
    rt = runtime(request)
    body = await read_json_object(request)
    given = parse(TeamFields, body, _plan_problems(rt, body)).model_dump(exclude_unset=True)
    storage_used_bytes = given.pop("storage_used_bytes", None)
    changed = await rt.db.write(team_changes.change_team, request.path_params["team"], TeamChange(**given))
    if storage_used_bytes is not None:
        # Beside the images and not in the counters of the database, which must always equal a recount.
        rt.extra_storage_bytes[changed.team.hash] = storage_used_bytes - changed.team.storage_bytes
    return JsonAnswer(_present(rt, changed))


async def create_key(request: Request) -> JsonAnswer:
    """POST /_dev/keys"""
    rt = runtime(request)
    body = await read_json_object(request)
    fields = parse(NewKeyFields, body, _plan_problems(rt, body))
    wanted = WantedKey(fields.email, fields.name, fields.plan, fields.verified, fields.abilities, fields.key)
    return JsonAnswer(_present_new_key(rt, await rt.db.write(team_changes.insert_wanted_key, rt.plans, wanted)), 201)


def _plan_problems(rt: Runtime, body: dict[str, Any]) -> dict[str, list[str]]:
    plan = body.get("plan")
    if not isinstance(plan, str) or rt.plans.has(plan):
        return {}
    return {"plan": [f"must be one of {', '.join(known.name for known in rt.plans.plans)} or owner"]}


def _present(rt: Runtime, found: TeamAndKeys) -> dict[str, Any]:
    team, usage = found.team, limits.usage_of(rt, found.team)
    return {
        "team": team.hash,
        "email": team.email,
        "plan": team.plan,
        "verified": team.verified,
        "registration_closed": team.registration_closed,
        "uploads_used": usage.uploads_used,
        "storage_used_bytes": usage.storage_used_bytes,
        "keys": [_present_key(key) for key in found.keys],
    }


def _present_key(key: ApiKey) -> dict[str, Any]:
    return {"key_id": key.key_id, "name": key.name, "abilities": sorted(key.abilities)}


def _present_new_key(rt: Runtime, new: NewKey) -> dict[str, Any]:
    shown = {
        "key": new.secret,
        **_present_key(new.key),
        "team": new.team.hash,
        "email": new.team.email,
        "plan": new.team.plan,
        "verified": new.team.verified,
    }
    if not new.team.verified:
        shown["verify_url"] = limits.verify_url(rt, new.team.email or "", new.key.key_id)
    return shown
