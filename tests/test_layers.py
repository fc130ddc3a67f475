"""Imports only point down, and only the workers touch pixels: what keeps the architecture in the README true."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "imgpro_lite"
ROOT = Path(__file__).parent.parent / PACKAGE

# From the bottom up. A module may import its own layer and those below it; a new one has to be put somewhere.
LAYERS: dict[str, set[str]] = {
    "floor": {
        "imgpro_lite",
        "background",
        "backlog",
        "bodies",
        "byte_budget",
        "clock",
        "errors",
        "fields",
        "formats",
        "hot_answers",
        "ids",
        "links",
        "logs",
        "models",
        "options",
        "plans",
        "rate_windows",
        "remembered",
        "setting_types",
        "settings",
        "single_flight",
        "strict_json",
        "tally",
    },
    "doers": {"authorities", "client", "fetching", "imaging", "licenses", "mail", "store", "testing"},
    "runtime": {"runtime"},
    "services": {"services"},
    "web": {"web"},
    "dev": {"dev"},
    "app": {"app", "connections", "metrics_server", "notify", "server"},
    "top": {"__main__", "cli", "config", "config_problems", "frozen", "settings_docs"},
}
RANKS = {component: rank for rank, components in enumerate(LAYERS.values()) for component in components}

_INPUT_OUTPUT = {"aiosqlite", "http", "httpx", "os", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "urllib3"}
_FRAMEWORKS = {"click", "jinja2", "rich_click", "starlette", "uvicorn"}
_PIXELS = {"PIL", "pillow_heif", "pyvips", "tinycss2"}

# What a layer must not import from outside of the package.
BANNED = {
    "floor": _INPUT_OUTPUT | _FRAMEWORKS | _PIXELS,
    "runtime": _FRAMEWORKS | _PIXELS,
    "services": _FRAMEWORKS | _PIXELS,
    "web": {"aiosqlite", "sqlite3"} | _PIXELS,
    "dev": {"aiosqlite", "sqlite3"} | _PIXELS,
    "app": {"aiosqlite", "sqlite3"} | _PIXELS,
    "top": _PIXELS,
    "mail": {"aiosqlite", "sqlite3"} | _FRAMEWORKS - {"jinja2"} | _PIXELS,
    "authorities": {"aiosqlite", "sqlite3"} | _FRAMEWORKS | _PIXELS,
    "licenses": {"aiosqlite", "sqlite3"} | _FRAMEWORKS | _PIXELS,
    "client": {"aiosqlite", "sqlite3"} | _FRAMEWORKS | _PIXELS,
    "testing": {"aiosqlite", "httpx2", "sqlite3"} | _FRAMEWORKS | _PIXELS,
    "fetching": {"aiosqlite", "sqlite3"} | _FRAMEWORKS | _PIXELS,
    "store": _FRAMEWORKS | _PIXELS,
    "imaging": {"aiosqlite", "sqlite3"} | _FRAMEWORKS,
}


@dataclass(frozen=True)
class Import:
    """One import: who, in which line, and what, as a full module name."""

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def find_modules(root: Path) -> dict[str, Path]:
    """Every module below a package directory, by full name."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def find_imports(modules: dict[str, Path]) -> Iterator[Import]:
    """Every import in them, those inside of functions included."""
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for imported in _imported_names(node, package, modules):
                yield Import(name, getattr(node, "lineno", 0), imported)


def _imported_names(node: ast.AST, package: str, modules: dict[str, Path]) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parent = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
        base = f"{parent}.{base}".rstrip(".")
    submodules = [f"{base}.{alias.name}" for alias in node.names]
    return [submodule if submodule in modules else base for submodule in submodules]


def component_of(module: str) -> str:
    """The first name below the package: `store` for `imgpro_lite.store.db`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def layer_of(component: str) -> str:
    return next(layer for layer, components in LAYERS.items() if component in components)


def find_violations(root: Path) -> list[str]:
    """What breaks the rules, one line each."""
    modules = find_modules(root)
    violations = [f"{name} is in no layer" for name in modules if component_of(name) not in RANKS]
    for import_ in find_imports({name: path for name, path in modules.items() if component_of(name) in RANKS}):
        importer, imported = component_of(import_.importer), component_of(import_.imported)
        top_level = import_.imported.split(".")[0]
        if top_level != PACKAGE:
            banned = BANNED.get(importer) or BANNED[layer_of(importer)]
            if top_level in banned:
                violations.append(str(import_))
        elif imported in RANKS and (
            RANKS[imported] > RANKS[importer] or {importer, imported} == {"imaging", "store"}  # side by side
        ):
            violations.append(str(import_))
    return violations


def test_imports_only_point_down() -> None:
    assert find_violations(ROOT) == []


def test_the_rules_cover_the_package() -> None:
    """The checks above have something to check."""
    components = {component_of(name) for name in find_modules(ROOT)}
    assert components >= {"settings", "errors", "store", "imaging", "services", "web", "cli"}
    assert len(list(find_imports(find_modules(ROOT)))) > 100


@pytest.mark.parametrize(
    ("module", "source", "violation"),
    [
        ("store/db.py", "def f():\n    from imgpro_lite.services import media", "imports imgpro_lite.services.media"),
        ("store/db.py", "from imgpro_lite import services", "imports imgpro_lite.services"),
        ("store/db.py", "from ..services.media import get", "imports imgpro_lite.services.media"),
        ("store/db.py", "from imgpro_lite.imaging import pool", "imports imgpro_lite.imaging.pool"),
        ("imaging/pool.py", "import imgpro_lite.store.db", "imports imgpro_lite.store.db"),
        ("services/media.py", "from starlette.requests import Request", "imports starlette.requests"),
        ("services/media.py", "import imgpro_lite.web.api", "imports imgpro_lite.web.api"),
        ("web/api.py", "import sqlite3", "imports sqlite3"),
        ("web/api.py", "if True:\n    import pyvips as v", "imports pyvips"),
        ("formats.py", "import os.path", "imports os.path"),
        ("settings.py", "from imgpro_lite.config import load", "imports imgpro_lite.config"),
        ("new_idea.py", "", "imgpro_lite.new_idea is in no layer"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, module: str, source: str, violation: str) -> None:
    root = tmp_path / PACKAGE
    for name in ("store/db.py", "services/media.py", "imaging/pool.py", "web/api.py", "config.py", module):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).parent.joinpath("__init__.py").touch()
        (root / name).touch()
    (root / module).write_text(source)
    (found,) = find_violations(root)
    assert found.endswith(violation)


def server_modules() -> list[str]:
    """What the server process may load: everything but the command line and the workers' side of imaging."""
    roots = [name for name in find_modules(ROOT) if component_of(name) not in ("__main__", "cli", "frozen", "imaging")]
    return [*roots, "imgpro_lite.imaging.pool", "imgpro_lite.imaging.jobs"]


def test_the_server_never_loads_a_decoder() -> None:
    """A decoder that crashes or hangs must not be able to take the server along, so it is not even imported."""
    statements = "".join(f"import {name}\n" for name in server_modules())
    check = f"import sys; print(sorted({_PIXELS!r} & set(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", statements + check], capture_output=True, text=True, timeout=60, check=False
    )
    assert output.stderr == ""
    assert output.stdout.strip() == "[]"


def test_nothing_in_the_server_imports_a_decoder_later() -> None:
    """The same for imports inside of functions, which loading does not show."""
    modules = find_modules(ROOT)
    imports = list(find_imports(modules))
    reached, waiting = set[str](), server_modules()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [import_.imported for import_ in imports if import_.importer == name]
    assert "imgpro_lite.imaging.process" in reached
    assert {name.split(".")[0] for name in reached} & _PIXELS == set()
    assert {import_.imported.split(".")[0] for import_ in imports} >= {"pyvips", "PIL"}  # the workers do
