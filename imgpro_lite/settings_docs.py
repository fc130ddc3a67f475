"""`imgpro.toml.example` and the README's tables of settings and metrics, made from these themselves.

Run `scripts/docs` after changing one; `scripts/docs --check` fails when the files are not up to date.
"""

import inspect
import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imgpro_lite.options import Option, all_options, plan_options, sections
from imgpro_lite.services.metrics import catalogue
from imgpro_lite.settings import Settings

TABLE_BEGIN = "<!-- made by scripts/docs from imgpro_lite/settings.py -->\n"
TABLE_END = "<!-- end of what scripts/docs makes -->\n"
METRICS_BEGIN = "<!-- made by scripts/docs from imgpro_lite/services/metrics/catalogue.py -->\n"

_EXAMPLE_HEAD = """\
# Configuration of imgpro-lite. Nothing here is required: every value below is the default.
# Copy this file to imgpro.toml and remove the # in front of what you want to change.
#
# It is looked for as --config FILE, else ./imgpro.toml, else /etc/imgpro-lite/imgpro.toml.
# An environment variable wins over this file, and a flag wins over both.
# Megabytes are 1,048,576 bytes. This file is made by scripts/docs.
"""

_PLANS_INTRO = """\
Plans: what a team may use. A table changes only the fields that it names. A new name is a new plan, which
needs at least label, uploads_per_month and storage_mb. "owner", without limits, is built in.
Environment, as JSON: IMGPRO_PLANS={"pro": {"storage_mb": 102400}}"""


def render_example() -> str:
    """The example file: every option with purpose, environment variable and default, commented out."""
    blocks = [_EXAMPLE_HEAD, *(_example_option(option) for option in _in_section(""))]
    for section, model in sections().items():
        blocks.append(f"[{section}]\n{_comment(inspect.cleandoc(model.__doc__ or ''))}")
        blocks += [_example_option(option) for option in _in_section(section)]
    fields = [f"  {option.key}: {option.field.description}" for option in plan_options()]
    blocks.append(_comment("\n".join([_PLANS_INTRO, *fields])))
    for name, plan in _defaults()["plans"].items():
        values = [f"#{key} = {_toml(value)}\n" for key, value in plan.items()]
        blocks.append(f"[plans.{name}]\n" + "".join(values))
    return "\n".join(blocks)


def render_table() -> str:
    """The README's tables: one row for each option, then the fields of a plan."""
    lines = ["| Setting | Default | Environment | Meaning |", "|---|---|---|---|"]
    lines += [
        _row(f"`{_place(option)}`", f"`{_toml(_default(option))}`", f"`{option.env_name}`", _meaning(option))
        for option in all_options()
    ]
    lines.append(_row("`[plans.…]`", "the plans above", "`IMGPRO_PLANS` (JSON)", "What teams may use, by plan name."))
    lines += ["", "Every plan has:", "", "| Field | Default | Meaning |", "|---|---|---|"]
    for option in plan_options():
        default = "required" if option.field.is_required() else f"`{_toml(option.field.default)}`"
        lines.append(_row(f"`{option.key}`", default, _meaning(option)))
    return "\n".join(lines) + "\n"


def insert_table(readme: str) -> str:
    """The README with its tables brought up to date. Raises ValueError when the place for one is missing."""
    for begin, table in ((TABLE_BEGIN, render_table()), (METRICS_BEGIN, catalogue.render_table())):
        before, rest = readme.split(begin)
        _, after = rest.split(TABLE_END, 1)
        readme = f"{before}{begin}\n{table}\n{TABLE_END}{after}"
    return readme


def main(root: Path, *, check: bool) -> int:
    """Write the generated files below `root`, or with `check` only compare. 1 when any is out of date."""
    readme, example = root / "README.md", root / "imgpro.toml.example"
    wanted = {example: render_example(), readme: insert_table(readme.read_text("utf-8"))}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(wanted[path], "utf-8")
        sys.stderr.write(f"{path.name} {'is out of date; run scripts/docs' if check else 'written'}\n")
    return 1 if check and stale else 0


def _example_option(option: Option) -> str:
    key_value = f"#{option.key} = {_toml(_default(option))}\n"
    return _comment(f"{_meaning(option)}\nEnvironment: {option.env_name}") + key_value


def _meaning(option: Option) -> str:
    """Purpose and unit; where the type does not show it, also what may be written."""
    choices = f" {option.expected[0].upper()}{option.expected[1:]}." if option.expected.startswith("one of") else ""
    return f"{option.field.description}{choices}"


def _in_section(section: str) -> Iterable[Option]:
    return (option for option in all_options() if option.section == section)


def _place(option: Option) -> str:
    return f"[{option.section}] {option.key}" if option.section else option.key


def _defaults() -> dict[str, Any]:
    return Settings().model_dump(mode="json", by_alias=True)


def _default(option: Option) -> object:
    value: Any = _defaults()
    for key in option.path:
        value = value[key]
    return value


def _toml(value: object) -> str:
    """A default as TOML. For text, numbers, true, false and lists of text JSON writes the same."""
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, 110)]
    return "".join(f"# {line}\n" for line in lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main(Path.cwd(), check="--check" in sys.argv[1:]))
