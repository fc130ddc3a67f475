"""What a `seed.toml` may say, and what is told of one that is wrong."""

from pathlib import Path

import pytest
from seeds import write_seed

from imgpro_lite.errors import OperatorError
from imgpro_lite.services.seed_file import SeedProblems, read_seed

KEY = "img_live_0000000000000000000000000000000A"
TEAM = '[[team]]\nemail = "t@example.com"\nverified = true\n'
IMAGE = '[[image]]\nfile = "a.png"\n'


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[[images]]\n", ["images: is not known; there are [[team]] and [[image]]"]),
        ('team = "t"\n', ["team: must be written as [[team]]"]),
        ("[image]\n", ["image: must be written as [[image]]"]),
        ("[[image]]\n", ["[[image]] 1: file: is required"]),
        ("[[image]]\nfile = 1\n", ["[[image]] 1: file: Input should be a valid string"]),
        ('[[image]]\nfile = ""\n', ["[[image]] 1 (): file: must be the name of a file"]),
        ('[[image]]\nfile = "b.png"\n', ["[[image]] 1 (b.png): file: there is no such file"]),
        ('[[image]]\nfile = "."\n', ["[[image]] 1 (.): file: is not a file"]),
        ('[[image]]\nfile = "../seed/a.png"\n', []),
        ('[[image]]\nfile = "../a.png"\n', ["[[image]] 1 (../a.png): file: must not lead out of the folder"]),
        ('[[image]]\nfile = "link.png"\n', ["[[image]] 1 (link.png): file: must not lead out of the folder"]),
        ('[[image]]\nfile = "/etc/passwd"\n', ["[[image]] 1 (/etc/passwd): file: must be relative to the folder"]),
        ('[[image]]\nfile = "a\\u0000"\n', ["[[image]] 1 (a\0): file: must be the name of a file"]),
        (IMAGE + "ttl = 3600\n", ["[[image]] 1 (a.png): ttl: needs a team, as it needs an API key"]),
        (IMAGE + 'team = "x@example.com"\n', ["[[image]] 1 (a.png): team: there is no [[team]] x@example.com"]),
        (IMAGE + 'author = "x"\n', ["[[image]] 1 (a.png): author: is not a known field"]),
        (IMAGE + "metadata = {id = 1}\n", ["[[image]] 1 (a.png): metadata: must not use names that are reserved: id"]),
        (
            IMAGE + 'id = "abcdefghijklmn"\nnamespace = "A"\n',
            [
                "[[image]] 1 (a.png): namespace: must be 2 to 64 lowercase letters",
                "[[image]] 1 (a.png): id: must be 14 small letters and digits, with at least one digit",
            ],
        ),
        (
            IMAGE + IMAGE,
            ["[[image]] 2 (a.png): file, team and name, without an id or external_id of its own: is the same"],
        ),
        (IMAGE + IMAGE + 'name = "other"\n', []),
        (
            IMAGE + 'id = "aaaaaaaaaaaaa1"\n' + IMAGE + 'id = "aaaaaaaaaaaaa1"\n',
            ["[[image]] 2 (a.png): id: is the same"],
        ),
        (TEAM + f'colour = "red"\n{IMAGE}team = "t@example.com"\n', ["[[team]] 1: colour: is not a known field"]),
        (TEAM + TEAM, ["[[team]] 2: email: is the same as that of entry 1"]),
        (TEAM + TEAM.replace("true", "false"), []),
        (TEAM + f'keys = ["{KEY}", "{KEY}"]\n', ["[[team]] 1: keys: is the same as that of entry 1"]),
        (
            TEAM + 'keys = ["img_live_1"]\n',
            ["[[team]] 1: keys: the 1. of them: key must be img_live_ and 32 letters and di"],
        ),
        (TEAM + "keys = [{}]\n", ["[[team]] 1: keys: the 1. of them: key is required"]),
        (TEAM + "uploads_used = -1\n", ["[[team]] 1: uploads_used: Input should be greater than or equal to 0"]),
        (
            TEAM + TEAM.replace("true", "false") + IMAGE + 'team = "t@example.com"\n',
            ["[[image]] 1 (a.png): team: several [[team]] have the address t@example.com; name the hash of one"],
        ),
    ],
)
def test_wrong_seeds(tmp_path: Path, text: str, problems: list[str]) -> None:
    folder = write_seed(tmp_path / "seed", text)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "outside.png").write_bytes(b"")
    found = []
    try:
        read_seed(folder)
    except SeedProblems as refusal:
        found = refusal.problems
    for line, expected in zip(found, problems, strict=True):
        assert line.startswith(expected)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = f'{TEAM}colour = "red"\n{IMAGE}date = "soon"\n[[image]]\nfile = "none.png"\npublic = "maybe"\n'
    with pytest.raises(SeedProblems) as refusal:
        read_seed(write_seed(tmp_path / "seed", text))
    assert [line.partition(": ")[0] for line in refusal.value.problems] == [
        "[[team]] 1",
        "[[image]] 1 (a.png)",
        "[[image]] 2 (none.png)",
    ]
    assert str(refusal.value).startswith(f"The seed in {tmp_path / 'seed'} cannot be used:\n  [[team]] 1: colour")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[[team", "is not valid TOML"), (b"\xff", "is not valid TOML"), (b"a = " + b"[" * 10_000, "is not valid TOML")],
)
def test_what_is_not_toml(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_seed(tmp_path / "seed", "")
    (folder / "seed.toml").write_bytes(content)
    with pytest.raises(OperatorError, match=message):
        read_seed(folder)


def test_a_folder_without_a_seed(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"There is no seed.toml"):
        read_seed(tmp_path)


@pytest.mark.parametrize(
    ("date", "at"),
    [
        ("2025-06-15", 1_749_945_600),
        ("2025-06-15T12:00:00+02:00", 1_749_981_600),
        ("2025-06-15 10:00:00", 1_749_981_600),
        ('"2025-06-15"', 1_749_945_600),
        ("1749945600", 1_749_945_600),
    ],
)
def test_dates(tmp_path: Path, date: str, at: int) -> None:
    (image,) = read_seed(write_seed(tmp_path / "seed", f"{IMAGE}date = {date}\n")).images
    assert image.date == at


def test_dates_in_metadata_are_text(tmp_path: Path) -> None:
    (image,) = read_seed(write_seed(tmp_path / "seed", f"{IMAGE}metadata = {{at = 2025-06-15, n = [1]}}\n")).images
    assert image.metadata == {"at": "2025-06-15", "n": [1]}


def test_a_file_of_a_windows_editor(tmp_path: Path) -> None:
    folder = write_seed(tmp_path / "seed", "\ufeff" + TEAM)
    assert [team.email for team in read_seed(folder).teams] == ["t@example.com"]
