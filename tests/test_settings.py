"""Where settings come from, which source wins, and what the operator is told about mistakes."""

import os
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpro_lite.cli.serve import _sources
from imgpro_lite.config import Configuration, load
from imgpro_lite.errors import ConfigError
from imgpro_lite.options import all_options
from imgpro_lite.settings import Settings

WriteFile = Callable[[str | bytes], Path]


@pytest.fixture
def write_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteFile:
    """Writes ./imgpro.toml of a new current directory."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> Path:
        path = Path("imgpro.toml")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def load_settings(environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    return load(None, flags or {}, environ or {}).settings


def problems_of(
    environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None, config: Path | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config, flags or {}, environ or {})
    return caught.value.problems


# --- sources and their order ---


def test_an_empty_file_gives_the_defaults(write_file: WriteFile) -> None:
    path = write_file("")
    assert load(None, {}, {}) == Configuration(Settings(), path, is_from_environment=False)


def test_later_sources_win(write_file: WriteFile) -> None:
    write_file('data_dir = "from-file"\n[server]\nport = 1\nhost = "file"\ncontact = "file@example.com"\n')
    settings = load_settings(
        {"IMGPRO_SERVER_PORT": "2", "IMGPRO_SERVER_HOST": "environment"}, {"server.port": 3, "data_dir": None}
    )
    assert (settings.server.port, settings.server.host, settings.server.contact) == (
        3,
        "environment",
        "file@example.com",
    )
    assert settings.data_dir == Path("from-file")


def test_a_named_file_is_read_instead_of_the_one_in_the_current_directory(write_file: WriteFile) -> None:
    write_file("[server]\nport = 1\n")
    Path("other.toml").write_text("[server]\nport = 2\n")
    configuration = load(Path("other.toml"), {}, {})
    assert configuration.path == Path("other.toml")
    assert configuration.settings.server.port == 2


def test_flags_take_paths(write_file: WriteFile) -> None:
    write_file("")
    assert load_settings(flags={"data_dir": Path("elsewhere")}).data_dir == Path("elsewhere")


def test_every_option_can_be_set_in_the_environment(write_file: WriteFile) -> None:
    """The default, written as text, is understood under each option's own name."""
    write_file("")
    environ = {}
    for option in all_options():
        value = Settings().model_dump(mode="json", by_alias=True)
        for key in option.path:
            value = value[key]
        environ[option.env_name] = str(value)
    assert len(environ) > 35
    assert load_settings(environ) == Settings()


def test_every_option_is_read_from_its_variable(write_file: WriteFile) -> None:
    """No option takes a control character, so each that is read is refused."""
    write_file("")
    names = [option.env_name for option in all_options()]
    said = problems_of(dict.fromkeys(names, "a\x01b"))
    assert sorted(problem.split(":")[0].removesuffix(", item 1") for problem in said) == sorted(names)


def test_environment_values_get_their_types(write_file: WriteFile) -> None:
    write_file("")
    settings = load_settings(
        {
            "IMGPRO_ANONYMOUS_IMPORT": "off",
            "IMGPRO_LIMITS_ANONYMOUS_UPLOADS_PER_HOUR": " 7 ",
            "IMGPRO_IMAGING_QUEUE_SECONDS": "2.5",
            "IMGPRO_DATA_DIR": "~/images",
        }
    )
    assert settings.anonymous.import_ is False
    assert settings.limits.anonymous_uploads_per_hour == 7
    assert settings.imaging.queue_seconds == 2.5
    assert settings.data_dir == Path.home() / "images"


@pytest.mark.parametrize("text", ["10.0.0.0/8, ::1", '["10.0.0.0/8", "::1"]', "10.0.0.0/8,::1,"])
def test_lists_in_the_environment(write_file: WriteFile, text: str) -> None:
    write_file("")
    networks = load_settings({"IMGPRO_SERVER_TRUSTED_PROXIES": text}).server.trusted_proxies
    assert networks == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_an_empty_variable_counts_as_not_set(write_file: WriteFile) -> None:
    write_file("[server]\nport = 1\n")
    assert load_settings({"IMGPRO_SERVER_PORT": ""}).server.port == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMGPRO_URL", "https://api.example.com"),
        ("IMGPRO_KEY", "img_live_abc"),
        ("IMGPRO_TEST_IMAGES", "/images"),
        ("IMGPRO_PORT", "tcp://10.0.0.1:4647"),
        ("IMGPRO_SERVER_PORT", "tcp://10.0.0.1:4647"),
        ("IMGPRO_SERVICE_HOST", "10.0.0.1"),
        ("IMGPRO_LITE_SERVICE_PORT_HTTP", "4647"),
        ("IMGPRO_PORT_4647_TCP", "tcp://10.0.0.1:4647"),
        ("IMGPRO_LITE_PORT_4647_TCP_ADDR", "10.0.0.1"),
        ("PATH", "/usr/bin"),
    ],
)
def test_variables_that_are_not_settings_are_left_alone(write_file: WriteFile, name: str, value: str) -> None:
    write_file("")
    assert load_settings({name: value}) == Settings()


# --- plans ---


def test_a_plan_in_the_file_changes_only_the_fields_it_names(write_file: WriteFile) -> None:
    write_file("[plans.pro]\nstorage_mb = 7\n[plans.team]\nlabel = 'Team'\nuploads_per_month = 5\nstorage_mb = 6\n")
    plans = load_settings({"IMGPRO_PLANS": '{"pro": {"label": "Professional"}}'}).plans
    default = Settings().plans
    assert plans["pro"] == default["pro"].model_copy(update={"storage_mb": 7, "label": "Professional"})
    assert plans["free"] == default["free"]
    assert (plans["team"].uploads_per_month, plans["team"].offered) == (5, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[plans.team]\nlabel = 'Team'\nstorage_mb = 1\n", "[plans.team] uploads_per_month: is missing"),
        ("[plans.pro]\nstorage = 1\n", '[plans.pro] storage: unknown, did you mean "storage_mb"?'),
        ("[plans.Pro]\n", "[plans.Pro]: a plan's name is 1 to 32 characters of a-z, 0-9 and -"),
        ("[plans.owner]\n", '[plans.owner]: the plan "owner" is built in'),
        ("plans = 5\n", "[plans]: must be a table, not 5"),
        ("plans.pro = 5\n", "[plans.pro]: must be a table, not 5"),
    ],
)
def test_wrong_plans(write_file: WriteFile, content: str, words: str) -> None:
    write_file(content)
    assert any(problem.startswith(f"imgpro.toml: {words}") for problem in problems_of())


@pytest.mark.parametrize("text", ["{", "[1]", "5", "[" * 100_000, '{"pro": {"label": "\\ud800"}}'])
def test_plans_in_the_environment_must_be_an_object(write_file: WriteFile, text: str) -> None:
    write_file("")
    (problem,) = problems_of({"IMGPRO_PLANS": text})
    assert problem.startswith("IMGPRO_PLANS: ")


# --- what is said about mistakes ---


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[server]\nprot = 1\n", 'imgpro.toml: [server] prot: unknown, did you mean "port"?'),
        ("[sever]\nport = 1\n", 'imgpro.toml: sever: unknown section, did you mean "server"?'),
        ("port = 1\n", "imgpro.toml: port: unknown here, did you mean [server] port?"),
        (
            "[server]\ndata_dir = 'x'\n",
            "imgpro.toml: [server] data_dir: unknown here, did you mean data_dir above the first [section]?",
        ),
        ("[server]\nxyzzy = 1\n", 'imgpro.toml: [server] xyzzy: unknown, the nearest known name is "'),
        ("[server]\nport = 99999\n", "imgpro.toml: [server] port: must be a whole number from 0 to 65535, not 99999 ("),
        ("[server]\nport = true\n", "imgpro.toml: [server] port: must be a whole number from 0 to 65535, not true ("),
        ('[server]\nport = "80"\n', 'imgpro.toml: [server] port: must be a whole number from 0 to 65535, not "80" ('),
        (
            "[limits]\nfile_mb = 1.5\n",
            "imgpro.toml: [limits] file_mb: must be a whole number from 1 to 1024, not 1.5 (",
        ),
        ("server = 5\n", "imgpro.toml: [server]: must be a table, not 5"),
        ("[[server]]\nport = 1\n", "imgpro.toml: [server]: must be a table, not a list"),
        ('[server]\ntrusted_proxies = "::1"\n', "imgpro.toml: [server] trusted_proxies: must be a list like ["),
        (
            '[server]\ntrusted_proxies = ["::1", "x"]\n',
            "imgpro.toml: [server] trusted_proxies, item 2: must be an addr",
        ),
        ('[server]\ntrusted_proxies = ["10.0.0.1/8"]\n', "imgpro.toml: [server] trusted_proxies, item 1: must be an a"),
        ('[log]\nformat = "xml"\n', 'imgpro.toml: [log] format: must be one of "text", "json", not "xml" ('),
        ("[anonymous]\nenabled = 1\n", "imgpro.toml: [anonymous] enabled: must be true or false, not 1 ("),
        ("[imaging]\nqueue_seconds = nan\n", "imgpro.toml: [imaging] queue_seconds: must be a number above 0 and up"),
        (
            "[imaging]\nworker_memory_mb = 20\n",
            "imgpro.toml: [imaging] worker_memory_mb: must be 0 or at least 400: its libraries take 300",
        ),
        ('data_dir = ""\n', "imgpro.toml: data_dir: must not be empty"),
        ('data_dir = "~nobody-of-this-name/x"\n', "imgpro.toml: data_dir: names a home directory that does not exist"),
        ('data_dir = "a\\u0000b"\n', "imgpro.toml: data_dir: must not contain line breaks or other control"),
        ('[server]\n"a\\nb" = 1\n', "imgpro.toml: [server] a\\nb: unknown, "),
        ("[server]\nport = \n", "imgpro.toml: is not valid TOML: Invalid value (at line 2, column 8)"),
        (b"[server]\nhost = '\xe9'\n", "imgpro.toml: is not UTF-8 text (line 2)"),
        ("[server]\nport = 1\n".encode("utf-16"), "imgpro.toml: is not UTF-8 text (line 1)"),
        ("[server]\nport = " + "9" * 5000, "imgpro.toml: is not valid TOML: "),
        ("a = " + "[" * 100_000, "imgpro.toml: is not valid TOML: "),
        ("#" * (1024 * 1024 + 1), "imgpro.toml: is larger than 1 MB"),
    ],
)
def test_a_mistake_in_the_file_is_explained(write_file: WriteFile, content: str | bytes, problem: str) -> None:
    write_file(content)
    (said,) = problems_of()
    assert said.startswith(problem)
    assert said.isprintable()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("IMGPRO_SERVER_PROT", "1", 'IMGPRO_SERVER_PROT: unknown variable, did you mean "IMGPRO_SERVER_PORT"?'),
        ("IMGPRO_PORT", "1", 'IMGPRO_PORT: unknown variable, did you mean "IMGPRO_SERVER_PORT"?'),
        ("IMGPRO_PLANS_PRO_LABEL", "x", 'IMGPRO_PLANS_PRO_LABEL: unknown variable, did you mean "IMGPRO_PLANS"?'),
        ("IMGPRO_", "1", "IMGPRO_: unknown variable, the nearest known name is "),
        ("IMGPRO_SERVER_PORT", "99999", 'IMGPRO_SERVER_PORT: must be a whole number from 0 to 65535, not "99999" ('),
        ("IMGPRO_SERVER_TRUSTED_PROXIES", "::1,x", "IMGPRO_SERVER_TRUSTED_PROXIES, item 2: must be an address"),
        ("IMGPRO_SERVER_TRUSTED_PROXIES", "[1", "IMGPRO_SERVER_TRUSTED_PROXIES: must be a list like ["),
        ("IMGPRO_SERVER_TRUSTED_PROXIES", '["\\ud800"]', "IMGPRO_SERVER_TRUSTED_PROXIES: must be a list like ["),
        ("IMGPRO_SERVER_HOST", "a\nb", "IMGPRO_SERVER_HOST: must not contain line breaks"),
        ("IMGPRO_SERVER_HOST", "\udcff", "IMGPRO_SERVER_HOST: is not UTF-8 text"),
        ("IMGPRO_PLANS", '{"pro": {"storage_mb": -1}}', "IMGPRO_PLANS: pro.storage_mb: must be a whole number of at"),
        ("IMGPRO_LIMITS_FILE_MB", "x" * 9999, 'IMGPRO_LIMITS_FILE_MB: must be a whole number from 1 to 1024, not "xx'),
    ],
)
def test_a_mistake_in_the_environment_is_explained(write_file: WriteFile, name: str, value: str, problem: str) -> None:
    write_file("")
    (said,) = problems_of({name: value})
    assert said.startswith(problem)
    assert len(said) < 300


def test_a_mistake_in_a_flag_is_explained(write_file: WriteFile) -> None:
    write_file("")
    said = problems_of(flags={"server.port": 99999, "data_dir": Path("\udcff")})
    assert said[0] == "--data-dir: is not UTF-8 text"
    assert said[1].startswith("--port: must be a whole number from 0 to 65535, not 99999 (")


def test_all_problems_of_all_sources_are_told_at_once(write_file: WriteFile) -> None:
    """Also a wrong value that a later source replaces, and an unknown section beside a wrong value."""
    write_file("[server]\nport = 99999\n[sever]\n[plans.pro]\nstorage_mb = 'x'\n")
    said = problems_of({"IMGPRO_SERVER_PORT": "x", "IMGPRO_HOTS": "1"}, {"server.port": -1})
    assert sorted(problem.split(":")[0] for problem in said) == [
        "--port",
        "IMGPRO_HOTS",
        "IMGPRO_SERVER_PORT",
        "imgpro.toml",
        "imgpro.toml",
        "imgpro.toml",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "images.example.com",
        "/img",
        "ftp://example.com",
        "https://",
        "https://example.com?x=1",
        "https://example.com/#x",
        "https://example.com:99999",
        "https://exa mple.com",
        "https://example.com/\u00e9",
        "https://bob:hunter2@example.com",
    ],
)
def test_addresses_must_be_absolute_and_plain(write_file: WriteFile, url: str) -> None:
    write_file("")
    for name in ("PUBLIC_URL", "API_URL", "SRC_URL"):
        (said,) = problems_of({f"IMGPRO_SERVER_{name}": url})
        assert said.startswith(f"IMGPRO_SERVER_{name}: must be an address like https://")
        assert "hunter2" not in said


def test_addresses(write_file: WriteFile) -> None:
    write_file("[server]\npublic_url = 'https://example.com/img/'\nsrc_url = 'http://[::1]:8080'\n")
    settings = load_settings()
    assert (settings.public_url, settings.api_url) == ("https://example.com/img", "https://example.com/img")
    assert settings.src_url == "http://[::1]:8080"


@pytest.mark.parametrize("value", ["img_live_" + "a1B2" * 8, "https://bob:a1B2@example.com"])
def test_secrets_in_the_wrong_place_are_not_repeated(write_file: WriteFile, value: str) -> None:
    write_file(f"[server]\nport = '{value}'\n")
    assert "a1B2" not in str(problems_of({"IMGPRO_LIMITS_FILE_MB": value, "IMGPRO_LOG_LEVEL": value}))


# --- files ---


def test_a_byte_order_mark_and_windows_line_ends_are_fine(write_file: WriteFile) -> None:
    write_file(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
    assert load_settings().server.port == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert problems_of(config=missing) == [f"{missing}: there is no such file"]
    assert problems_of(config=tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert problems_of(config=Path("a\0b")) == ["a\\x00b: cannot be read: embedded null byte"]


def test_a_file_without_permission(write_file: WriteFile) -> None:
    path = write_file("")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert problems_of() == ["imgpro.toml: cannot be read: Permission denied"]


def test_a_dangling_link_is_not_taken_for_no_file(write_file: WriteFile) -> None:
    write_file("").unlink()
    Path("imgpro.toml").symlink_to("missing")
    assert problems_of() == ["imgpro.toml: there is no such file"]


def test_an_unreadable_file_does_not_hide_the_other_sources(write_file: WriteFile) -> None:
    write_file("=")
    assert len(problems_of({"IMGPRO_SERVER_PORT": "x"})) == 2


@given(content=st.binary(max_size=200), value=st.text(st.characters(exclude_characters="\0"), max_size=50))
def test_nothing_but_settings_or_a_config_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(content)
    names = [option.env_name for option in all_options()] + ["IMGPRO_PLANS", f"IMGPRO_{value}"]
    problems: list[str] = []
    try:
        load(path, {"server.port": value, "data_dir": value}, dict.fromkeys(names, value))
    except ConfigError as error:
        problems = error.problems
    assert all(problem.isprintable() for problem in problems)


@pytest.mark.parametrize(
    ("content", "environ", "told"),
    [
        (None, {}, "defaults (no imgpro.toml)"),
        (None, {"IMGPRO_SERVER_PORT": "5000"}, "IMGPRO_ variables and defaults (no imgpro.toml)"),
        (None, {"IMGPRO_SERVER_PORT": "", "IMGPRO_KEY": "x"}, "defaults (no imgpro.toml)"),
        ("", {}, "{}/imgpro.toml"),
        ("", {"IMGPRO_SERVER_PORT": "5000"}, "{}/imgpro.toml and IMGPRO_ variables"),
    ],
)
def test_the_operator_is_told_where_settings_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, environ: dict[str, str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "imgpro.toml").write_text(content)
    assert _sources(load(None, {}, environ)) == told.format(Path.cwd())


# --- settings that need each other ---

NO_URL = "[upgrade] url: must be set in mode redirect, like https://pay.example.com/?plan={plan}&team={team}"
REDIRECT = '[upgrade]\nmode = "redirect"\n'


@pytest.mark.parametrize(
    ("content", "environ"),
    [
        (f'data_dir = "elsewhere"\n[server]\nport = 24796\n{REDIRECT}', {}),
        ("", {"IMGPRO_UPGRADE_MODE": "redirect", "IMGPRO_SERVER_PORT": "24796"}),
        ('[upgrade]\nurl = ""\n', {"IMGPRO_UPGRADE_MODE": "redirect"}),
        (REDIRECT, {"IMGPRO_UPGRADE_URL": ""}),
    ],
)
def test_a_setting_that_is_missing_because_of_another(
    write_file: WriteFile, content: str, environ: dict[str, str]
) -> None:
    write_file(content)
    assert problems_of(environ) == [NO_URL]


def test_what_is_missing_is_told_once_and_beside_other_mistakes(write_file: WriteFile) -> None:
    write_file(f'{REDIRECT}url = ""\n[server]\nport = "x"\n')
    said = problems_of({"IMGPRO_SERVER_PORTS": "1"}, {"server.port": 3})
    assert [problem.partition(": must")[0].partition(": unknown")[0] for problem in said] == [
        "IMGPRO_SERVER_PORTS",
        "imgpro.toml: [server] port",
        "imgpro.toml: [upgrade] url",
    ]


def test_a_later_source_may_give_what_is_missing(write_file: WriteFile) -> None:
    write_file(REDIRECT)
    url = "https://pay.example.com/?plan={plan}&team={team}"
    assert load_settings({"IMGPRO_UPGRADE_URL": url}).upgrade.url == url
