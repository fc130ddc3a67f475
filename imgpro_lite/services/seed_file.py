"""A seed: a folder with images and one `seed.toml`, which says whose they are and what is known about them."""

import tomllib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field

from imgpro_lite import ids
from imgpro_lite.bodies import Fields, UploadFields, optional, parse
from imgpro_lite.errors import OperatorError, ValidationFailed
from imgpro_lite.fields import base_name, check_abilities, check_api_key, check_email, check_name, is_text
from imgpro_lite.models import Ability
from imgpro_lite.services.accounts import ALL_ABILITIES, DEFAULT_KEY_NAME, FREE

SEED_NAME = "seed.toml"
MAX_UPLOADS = 10**9  # far beyond any plan, and far from what SQLite cannot hold

Entry = TypeVar("Entry", bound=BaseModel)


def _check_hash(value: Any) -> str:
    if not isinstance(value, str) or not ids.is_team_hash(value):
        raise ValueError(f"must be {ids.TEAM_HASH_CHARS} small letters and digits, with at least one digit")
    return value


def _check_id(value: Any) -> str:
    if not isinstance(value, str) or not ids.is_media_id(value):
        raise ValueError(f"must be {ids.MEDIA_ID_CHARS} small letters and digits, with at least one digit")
    return value


def _check_team(value: Any) -> str:
    return value if isinstance(value, str) and ids.is_team_hash(value) else check_email(value)


def _check_keys(value: Any) -> tuple["SeedKey", ...]:
    """Keys as text, or as tables that say more."""
    if not isinstance(value, list):
        raise ValueError("must be an array of keys")
    keys = []
    for number, given in enumerate(value, start=1):
        try:
            keys.append(parse(SeedKey, given if isinstance(given, dict) else {"key": given}))
        except ValidationFailed as failure:
            problems = "; ".join(f"{field} {messages[0]}" for field, messages in failure.errors.items())
            raise ValueError(f"the {number}. of them: {problems}") from None
    return tuple(keys)


class SeedKey(Fields):
    """A key of a team."""

    key: Annotated[str, BeforeValidator(check_api_key)]
    name: Annotated[str, BeforeValidator(check_name)] = DEFAULT_KEY_NAME
    abilities: Annotated[frozenset[Ability], BeforeValidator(check_abilities)] = ALL_ABILITIES


class SeedTeam(Fields):
    """A `[[team]]`. Two of them are about the same team when their `hash` says so, or else their address."""

    email: Annotated[str, BeforeValidator(check_email)]
    hash: Annotated[str | None, optional(_check_hash)] = None
    plan: str = FREE
    verified: bool = False
    registration_closed: bool = False
    uploads_used: int | None = Field(None, ge=0, le=MAX_UPLOADS)
    """This month's uploads, those of the seed among them. None counts those of the seed."""
    keys: Annotated[tuple[SeedKey, ...], BeforeValidator(_check_keys)] = ()


class SeedImage(UploadFields):
    """An `[[image]]`: the fields of an upload, and where it belongs."""

    file: str
    team: Annotated[str | None, optional(_check_team)] = None
    """The address or hash of a `[[team]]`; None is an upload without a key."""
    id: Annotated[str | None, optional(_check_id)] = None
    hash: Annotated[str | None, optional(_check_hash)] = None
    """What its address has in the place of the team's hash, where it is another."""

    @property
    def shown_name(self) -> str:
        """Its display name."""
        return self.name or base_name(self.file)


@dataclass(frozen=True)
class Seed:
    """A seed that has been checked; the pictures themselves have not been looked at."""

    folder: Path
    teams: tuple[SeedTeam, ...]
    images: tuple[SeedImage, ...]
    team_of: tuple[int | None, ...]
    """For each image, the place of its team in `teams`."""


class SeedProblems(OperatorError):
    """A seed that cannot be used as it is. `problems` has a line for each reason, which names the entry."""

    def __init__(self, folder: Path, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join([f"The seed in {folder} cannot be used:", *(f"  {line}" for line in self.problems)]))


def read_seed(folder: Path) -> Seed:
    """The seed of a folder. Raises SeedProblems with everything that is wrong with it."""
    document = _read_toml(folder)
    problems = [f"{name}: is not known; there are [[team]] and [[image]]" for name in document.keys() - _TABLES]
    teams = _parse_all(SeedTeam, "team", document.get("team", []), problems)
    all_teams_are_known = not problems
    images = _parse_all(SeedImage, "image", document.get("image", []), problems)
    problems += _team_conflicts(teams)
    problems += _image_conflicts(images)
    root = folder.resolve()
    team_of = {}
    for number, image in images.items():
        where = label(number, image)
        if reason := _file_problem(root, image.file):
            problems.append(f"{where}: file: {reason}")
        if image.team is None and image.ttl is not None:
            problems.append(f"{where}: ttl: needs a team, as it needs an API key")
        try:
            team_of[number] = _find_team(teams, image.team)
        except ValueError as error:
            if all_teams_are_known:  # else it may be one of those that are told already
                problems.append(f"{where}: team: {error}")
    if problems:
        raise SeedProblems(folder, problems)
    return Seed(folder, tuple(teams.values()), tuple(images.values()), tuple(team_of.values()))


_TABLES = {"team", "image"}


def label(number: int, image: SeedImage) -> str:
    """How an image is called where something is wrong with it; `number` counts from 1."""
    return f"[[image]] {number} ({image.file})"


def _read_toml(folder: Path) -> dict[str, Any]:
    path = folder / SEED_NAME
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # as editors on Windows write it
    except FileNotFoundError:
        raise OperatorError(f"There is no {SEED_NAME} in {folder.absolute()}.") from None
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise OperatorError(f"{path} is not valid TOML: {error}") from None
    plain: dict[str, Any] = _plain(document)
    return plain


def _plain(value: Any) -> Any:
    """A value of TOML as JSON has it: dates become text."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _parse_all(model: type[Entry], table: str, values: Any, problems: list[str]) -> dict[int, Entry]:
    """The entries of a table that are well formed, by number; what is wrong with the others goes to `problems`."""
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        problems.append(f"{table}: must be written as [[{table}]]")
        return {}
    entries = {}
    for number, value in enumerate(values, start=1):
        try:
            entries[number] = parse(model, value)
        except ValidationFailed as failure:
            file = value.get("file")
            where = f"[[{table}]] {number}" + (f" ({file})" if isinstance(file, str) else "")
            problems += [f"{where}: {field}: {text}" for field, texts in failure.errors.items() for text in texts]
    return entries


def _team_conflicts(teams: Mapping[int, SeedTeam]) -> list[str]:
    def named(kind: str) -> Callable[[int], str]:
        return lambda number: f"[[team]] {number}: {kind}"

    problems = _repeated(named("hash"), [(number, team.hash) for number, team in teams.items() if team.hash])
    problems += _repeated(named("keys"), [(number, key.key) for number, team in teams.items() for key in team.keys])
    # An address has one verified team; without a hash nothing tells its unverified spaces apart.
    bare = {team.email for team in teams.values() if not team.verified and team.hash is None}
    single = [(n, team) for n, team in teams.items() if team.verified or team.email in bare]
    return problems + _repeated(named("email"), [(n, (team.email, team.verified)) for n, team in single])


def _image_conflicts(images: Mapping[int, SeedImage]) -> list[str]:
    def named(kind: str) -> Callable[[int], str]:
        return lambda number: f"{label(number, images[number])}: {kind}"

    problems = _repeated(named("id"), [(number, image.id) for number, image in images.items() if image.id])
    problems += _repeated(
        named("external_id"),
        [(n, (image.team, image.external_id)) for n, image in images.items() if image.team and image.external_id],
    )
    alike = [
        (n, (image.file, image.team, image.shown_name))
        for n, image in images.items()
        if not (image.id or (image.team and image.external_id))
    ]
    return problems + _repeated(named("file, team and name, without an id or external_id of its own"), alike)


def _repeated(name: Callable[[int], str], values: Iterable[tuple[int, Hashable]]) -> list[str]:
    """A line for each value that an earlier entry has as well."""
    first: dict[Hashable, int] = {}
    problems = []
    for number, value in values:
        if value in first:
            problems.append(f"{name(number)}: is the same as that of entry {first[value]}")
        first.setdefault(value, number)
    return problems


def _file_problem(root: Path, file: str) -> str | None:
    """Why this is not a file of the folder. None when it is."""
    if not is_text(file) or not file:
        return "must be the name of a file"
    if Path(file).is_absolute():
        return "must be relative to the folder"
    try:
        path = (root / file).resolve()
        if not path.is_relative_to(root):
            return "must not lead out of the folder"
        if not path.exists():
            return "there is no such file"
        return None if path.is_file() else "is not a file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _find_team(teams: Mapping[int, SeedTeam], name: str | None) -> int | None:
    """The place, from 0, of the team that an image names. Raises ValueError."""
    if name is None:
        return None
    found = [place for place, team in enumerate(teams.values()) if name in (team.hash, team.email)]
    if not found:
        raise ValueError(f"there is no [[team]] {name}")
    if len(found) > 1:
        raise ValueError(f"several [[team]] have the address {name}; name the hash of one")
    return found[0]
