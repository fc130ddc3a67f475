"""README, example file and scripts say what is true: generated parts are fresh, nothing is undocumented."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from imgpro_lite import errors, settings_docs
from imgpro_lite.cli.main import cli
from imgpro_lite.config import load
from imgpro_lite.options import all_options, plan_options
from imgpro_lite.services.fsck.checkup import Kind
from imgpro_lite.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE = (ROOT / "imgpro.toml.example").read_text("utf-8")
UNCOMMENTED = re.sub(r"^#(?=[a-z])", "", EXAMPLE, flags=re.MULTILINE)


def test_the_generated_files_are_up_to_date() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "imgpro_lite.settings_docs", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (check.stderr, check.returncode) == ("", 0)


def test_drift_is_found_and_mended(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README.replace("`4647`", "`80`"), "utf-8")
    (tmp_path / "imgpro.toml.example").write_text("", "utf-8")
    assert settings_docs.main(tmp_path, check=True) == 1
    assert settings_docs.main(tmp_path, check=False) == 0
    assert settings_docs.main(tmp_path, check=True) == 0
    assert (tmp_path / "README.md").read_text("utf-8") == README


@pytest.mark.parametrize("content", [EXAMPLE, UNCOMMENTED], ids=["as it is", "uncommented"])
def test_the_example_is_exactly_the_defaults(tmp_path: Path, content: str) -> None:
    path = tmp_path / "imgpro.toml"
    path.write_text(content, "utf-8")
    assert load(path, {}, {}).settings == Settings()


def test_the_example_has_every_option() -> None:
    values = tomllib.loads(UNCOMMENTED)
    plans = values.pop("plans")
    written = {(section, key) for section, table in values.items() if isinstance(table, dict) for key in table} | {
        (key,) for key, value in values.items() if not isinstance(value, dict)
    }
    assert written == {option.path for option in all_options()}
    assert all(set(plan) == {option.key for option in plan_options()} for plan in plans.values())
    assert all(option.env_name in EXAMPLE for option in all_options())


def test_every_option_says_what_it_is_for() -> None:
    options = all_options() + plan_options()
    assert len(options) > 40
    assert [option.path for option in options if not (option.field.description or "").endswith((".", "img"))] == []


def test_every_option_is_in_the_readme() -> None:
    missing = [option.env_name for option in all_options() if f"`{option.env_name}`" not in README]
    assert missing == []


def error_classes(base: type[errors.ImgProError] = errors.ImgProError) -> list[type[errors.ImgProError]]:
    return [found for child in base.__subclasses__() for found in (child, *error_classes(child))]


def test_the_error_table_of_the_readme() -> None:
    """It has every error that the code knows, with its status, and no other."""
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", README, re.MULTILINE))
    ours = [error for error in error_classes() if error.__module__ == errors.__name__]
    assert documented == {error.code: str(error.status) for error in ours}
    assert len(documented) > 15


def command_lines(command: click.Command, path: str) -> dict[str, list[str]]:
    """Every command below this one with its flags."""
    if isinstance(command, click.Group):
        lines: dict[str, list[str]] = {}
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            lines |= command_lines(child, f"{path} {name}")
        return lines
    flags = [flag for parameter in command.params if isinstance(parameter, click.Option) for flag in parameter.opts]
    return {path: [flag for flag in flags if flag.startswith("--") and flag != "--help"]}


def test_every_command_and_flag_is_in_the_readme() -> None:
    lines = command_lines(cli, "imgpro-lite")
    assert {"imgpro-lite serve", "imgpro-lite keys create"} <= set(lines)
    operation = README.split("## Operation")[1].split("**Logs**")[0]
    for path, flags in lines.items():
        (row,) = [line for line in operation.splitlines() if line.startswith(f"| `{path}")]
        common = operation.split("Each takes")[1]
        assert [flag for flag in flags if flag not in row and flag not in common] == [], path


def test_every_kind_of_problem_of_fsck_is_in_the_readme() -> None:
    told = README.split("**`imgpro-lite fsck`**")[1].split("**Bit rot.**")[0]
    assert [kind for kind in Kind if f"`{kind}`" not in told] == []


def readme_command(after: str) -> str:
    """The one line of shell after some words of the README."""
    match = re.search(re.escape(after) + r".*?```sh\n(.*?)\n```", README, re.DOTALL)
    assert match
    return match[1]


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    command = readme_command("**Test it:**")
    assert "\n" not in command
    assert "pytest" in command
    assert command in (ROOT / ".ci/run").read_text("utf-8").splitlines()


def test_the_command_of_the_readme_starts_the_server() -> None:
    command = readme_command("**Run it**")
    assert "\n" not in command
    assert command.endswith("/imgpro-lite serve")


def test_every_file_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`((?:scripts|imgpro_lite|\.ci)/[\w.]+|imgpro\.toml\.example)`", README))
    assert {"scripts/check", "scripts/format", "scripts/docs", "imgpro.toml.example"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "path",
    [
        "scripts/check",
        "scripts/format",
        "scripts/docs",
        "scripts/bench",
        "scripts/fuzz",
        "scripts/crash-test",
        "scripts/lock",
        "scripts/build-binary",
        "scripts/check-binary",
        "scripts/viewer",
        ".ci/run",
    ],
)
def test_scripts_are_executable_and_valid(path: str) -> None:
    script = ROOT / path
    assert script.stat().st_mode & 0o111
    interpreter = "bash" if "bash" in script.read_text("utf-8").splitlines()[0] else "sh"
    assert subprocess.run([interpreter, "-n", str(script)], timeout=10, check=False).returncode == 0
