"""Where settings come from: `imgpro.toml`, then the environment, then flags. Every problem of all three at once.

Two things that pydantic-settings does not do are why this reads the sources itself: its environment source stops at the
first value that it cannot parse, and no source of it tells where a value came from or notices a variable nobody knows.
The checking itself is pydantic's.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from imgpro_lite.config_problems import Keys, Source, environment_name, explain, file_name, nearest
from imgpro_lite.errors import ConfigError
from imgpro_lite.logs import escape
from imgpro_lite.options import ENV_PREFIX, all_options
from imgpro_lite.settings import Settings

DEFAULT_PATHS = (Path("imgpro.toml"), Path("/etc/imgpro-lite/imgpro.toml"))
MAX_FILE_BYTES = 1024 * 1024  # an honest file has a few kilobytes; --config /dev/zero has no end

# For clients (decision 52), for the single-file build before it starts, and for the tests.
_RESERVED = re.compile(r"IMGPRO_(URL|KEY|FAR_KEY|CONTROL_URL|UNPACK_DIR|TEST_.*)")
# Kubernetes and Docker tell every container about services; one that is called "imgpro…" looks like a setting.
_INJECTED_NAME = re.compile(r".*_SERVICE_(HOST|PORT(_\w+)?)|.*_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://.*")  # of IMGPRO_PORT, and of IMGPRO_SERVER_PORT for "imgpro-server"


@dataclass(frozen=True)
class Configuration:
    """The settings, the file that they came from, if there was one, and whether the environment said something too."""

    settings: Settings
    path: Path | None
    is_from_environment: bool


def load(config_path: Path | None, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Configuration:
    """The settings from file, environment and flags, the later ones winning.

    `flags` maps "data_dir" or "server.port" to a value, None for a flag that was not given. Without `config_path` the
    first of DEFAULT_PATHS is read that exists, if any. Raises ConfigError with every problem found.
    """
    problems: list[str] = []
    path, file_tree = _read_file(config_path, problems)
    environment = _environment_tree(environ, problems)
    sources = [
        Source(file_tree, lambda keys: f"{escape(str(path))}: {file_name(keys)}", strict=True),
        Source(environment, environment_name),
        Source(_flag_tree(flags, problems), lambda keys: "--" + str(keys[-1]).replace("_", "-")),
    ]
    settings = Settings()
    # On top of all defaults, so that [plans.pro] may change one field of a plan and keep the others.
    tree: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    errors: list[ErrorDetails] = []
    told: set[Keys] = set()
    for source in sources:
        tree, errors = _merge(tree, source.tree), []
        try:
            settings = Settings.model_validate_json(json.dumps(tree, default=str), strict=source.strict)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            problems += explain(errors, source, told)
    # What no source says, or an earlier one whose value only a later one makes wrong: a setting that another needs.
    problems += explain([error for error in errors if error["loc"] not in told], Source(tree, file_name), told)
    if errors and not problems:  # `settings` are not those of the operator then
        raise AssertionError(f"the configuration was refused without words: {errors}")
    if problems:
        raise ConfigError(problems)
    return Configuration(settings, path, is_from_environment=bool(environment))


def _read_file(named: Path | None, problems: list[str]) -> tuple[Path | None, dict[str, Any]]:
    """The file that counts and what it says."""
    for path in (named,) if named else DEFAULT_PATHS:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            if not named and not path.is_symlink():  # a dangling link was meant to be read
                continue
            problems.append(f"{escape(str(path))}: there is no such file")
            return path, {}
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            problems.append(f"{escape(str(path))}: cannot be read: {reason}")
            return path, {}
        return path, _parse_toml(path, content, problems)
    return None, {}


def _parse_toml(path: Path, content: bytes, problems: list[str]) -> dict[str, Any]:
    name = escape(str(path))
    if len(content) > MAX_FILE_BYTES:
        problems.append(f"{name}: is larger than 1 MB, so it cannot be a configuration file")
        return {}
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # Windows editors begin with a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(f"{name}: is not UTF-8 text (line {line})")
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of thousands of digits
        problems.append(f"{name}: is not valid TOML: {escape(str(error))}")
    return {}


def _environment_tree(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """The IMGPRO_ variables. An empty one counts as not set: that is what `${NAME:-}` in a compose file makes."""
    known = {option.env_name: option for option in all_options()}
    plans_name = ENV_PREFIX + "PLANS"
    tree: dict[str, Any] = {}
    for name, raw in sorted(environ.items()):
        value = raw.strip()
        if not name.startswith(ENV_PREFIX) or _is_not_ours(name, value):
            continue
        if name not in known and name != plans_name:
            problems.append(f"{escape(name)}: unknown variable, {nearest(name, [*known, plans_name])}")
        elif not _is_utf8(value):
            problems.append(f"{name}: is not UTF-8 text")
        elif name == plans_name and value:
            tree["plans"] = _parse_plans(name, value, problems)
        elif value:
            _put(tree, known[name].path, _split(value) if known[name].is_list else value)
    return tree


def _is_not_ours(name: str, value: str) -> bool:
    injected = _INJECTED_NAME.fullmatch(name) or (name.endswith("_PORT") and _INJECTED_VALUE.fullmatch(value))
    return bool(_RESERVED.fullmatch(name) or injected)


def _parse_plans(name: str, value: str, problems: list[str]) -> dict[str, Any]:
    try:
        plans = _parse_json(value)
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}: is not valid JSON: {escape(str(error))}")
        return {}
    if isinstance(plans, dict):
        return plans
    problems.append(f'{name}: must be a JSON object of plans, like {{"pro": {{"storage_mb": 1024}}}}')
    return {}


def _parse_json(value: str) -> object:
    """What the text says. Raises ValueError, also for \\ud800 and its like, which no UTF-8 text can hold."""
    parsed = json.loads(value)
    json.dumps(parsed, ensure_ascii=False).encode()
    return parsed


def _split(value: str) -> object:
    """The items of a list: JSON, or separated by commas."""
    if value.startswith("["):
        try:
            return _parse_json(value)
        except (ValueError, RecursionError):
            return value  # refused as "must be a list"
    return [item.strip() for item in value.split(",") if item.strip()]


def _flag_tree(flags: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flags.items():
        keys = tuple(name.split("."))
        if isinstance(value, str | Path) and not _is_utf8(str(value)):
            problems.append(f"--{keys[-1].replace('_', '-')}: is not UTF-8 text")
        elif value is not None:
            _put(tree, keys, str(value) if isinstance(value, Path) else value)
    return tree


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: object) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _is_utf8(text: str) -> bool:
    """False for the bytes that Python smuggles in as lone surrogates."""
    return all(not "\ud800" <= character <= "\udfff" for character in text)
