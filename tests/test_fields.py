"""Fields on their own: whatever comes in, they give a value that can be stored and sent, or words for the caller."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imgpro_lite import fields
from imgpro_lite.bodies import KeyFields, UploadFields, parse, upload_fields
from imgpro_lite.errors import ValidationFailed
from imgpro_lite.strict_json import parse_json

EXAMPLES = settings(deadline=None)

any_text = st.text(st.characters())  # with lone surrogates
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)
CHECKS: list[Callable[[Any], Any]] = [
    fields.check_email,
    fields.check_name,
    fields.check_tags,
    fields.check_namespace,
    fields.check_public,
    fields.check_external_id,
    fields.check_date,
    fields.check_ttl,
    fields.check_metadata,
]
NAMES = st.sampled_from([*UploadFields.model_fields, *KeyFields.model_fields, "id", "author", ""]) | any_text
HARD_VALUES = [
    True,
    -1,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "\ud800",
    "\0",
    "9" * 5000,
    "[" * 9000,
    "{}",
    "",
]


def try_to(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None]:
    """What a function gives, or how it refuses."""
    try:
        return function(*arguments), None
    except (ValueError, ValidationFailed) as error:
        return None, error


def sendable(value: Any) -> bool:
    """Whether a value survives being stored and sent as JSON."""
    return bool(json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode()) == value)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@EXAMPLES
@given(value=json_values)
def test_a_check_gives_what_can_be_sent_or_says_why_not(check: Callable[[Any], Any], value: Any) -> None:
    for one in (value, *HARD_VALUES):
        checked, error = try_to(check, one)
        if error is None:
            assert sendable(list(checked) if isinstance(checked, tuple) else checked)
        else:
            assert type(error) is ValueError
            assert 0 < len(str(error)) < 200
            assert sendable(str(error))


@EXAMPLES
@given(values=st.dictionaries(NAMES, json_values, max_size=5))
def test_parse_raises_nothing_but_validation_failed(values: dict[str, Any]) -> None:
    for model in (KeyFields, UploadFields):
        parsed, error = try_to(parse, model, values)
        if error is None:
            assert isinstance(parsed, model)
        else:
            assert isinstance(error, ValidationFailed)
            assert error.errors
            assert error.errors.keys() <= values.keys() | {"body"}


@EXAMPLES
@given(form=st.dictionaries(NAMES, st.text(st.characters(codec="utf-8")), max_size=5))
def test_any_form_gives_fields_or_errors_of_its_own(form: dict[str, str]) -> None:
    parsed, error = try_to(lambda values: upload_fields(values, {}, anonymous=False), form)
    if error is None:
        assert form.keys() - UploadFields.model_fields <= (parsed.metadata or {}).keys()
    else:
        assert isinstance(error, ValidationFailed)
        assert error.errors.keys() <= form.keys() | {"metadata"}


# ── JSON ──


@EXAMPLES
@given(text=any_text | json_values.map(json.dumps))
def test_parse_json_gives_what_can_be_sent_or_a_value_error(text: str) -> None:
    try:
        value = parse_json(text)
    except ValueError:
        return
    json.dumps(value, allow_nan=False)
    assert value == json.loads(text)


@pytest.mark.parametrize("depth", [1, 63])
def test_json_may_be_this_deep(depth: int) -> None:
    assert parse_json("[" * depth + "]" * depth) is not None
    assert parse_json('{"a":' * depth + "1" + "}" * depth) is not None


@pytest.mark.parametrize(
    "text", ["[" * 66 + "]" * 66, "[" * 200_000 + "]" * 200_000, "NaN", "[1e999]", '{"a":1,"a":1}']
)
def test_json_that_python_would_let_pass(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


# ── names and addresses ──


@EXAMPLES
@given(name=any_text)
@example(name="a" * 254 + " b")
@example(name=" \u202e \u0085a\u2028 ")
def test_a_clean_name_stays_as_it_is(name: str) -> None:
    clean = fields.clean_name(name)
    assert fields.clean_name(clean) == clean
    assert len(clean) <= 255
    assert clean == clean.strip()
    clean.encode()


@EXAMPLES
@given(path=any_text)
def test_a_base_name_has_no_path(path: str) -> None:
    assert not set("/\\\0\r\n") & set(fields.base_name(path))


@EXAMPLES
@given(email=st.emails())
@example(email="Dev@EXAMPLE.com")
@example(email="jörg@MÜLLER.de")
@example(email="İ@example.com")
def test_an_address_stays_as_it_is(email: str) -> None:
    try:
        checked = fields.check_email(f" {email}\n")
    except ValueError:
        return  # an address of RFC 5321 that no public mail server has
    assert fields.check_email(checked) == checked == checked.lower()


# ── dates and durations ──


@EXAMPLES
@given(at=st.integers(-62_135_596_800, 253_402_300_799))
@example(at=-62_135_596_800)
@example(at=253_402_300_799)
@example(at=0)
def test_a_time_in_seconds_stays_as_it_is(at: int) -> None:
    assert fields.check_date(at) == fields.check_date(str(at)) == at
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    assert fields.check_date(date.isoformat()) == at
    assert fields.check_date(date.replace(tzinfo=None).isoformat()) == at


@EXAMPLES
@given(at=st.integers(-62_135_596_801 - 10**6, 253_402_300_800 + 10**6))
def test_a_time_is_in_the_years_1_to_9999(at: int) -> None:
    if -62_135_596_800 <= at <= 253_402_300_799:
        assert fields.check_date(at) == at
    else:
        with pytest.raises(ValueError):
            fields.check_date(at)


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@EXAMPLES
@given(text=st.builds(lambda date, zone: date.replace(tzinfo=zone).isoformat(), st.datetimes(), offsets))
@example(text="0001-01-01T00:00:00+01:00")
@example(text="9999-12-31T23:59:59-01:00")
def test_a_date_that_was_accepted_can_be_sent_back(text: str) -> None:
    try:
        at = fields.check_date(text)
    except ValueError:
        return  # before year 1 or after 9999 in UTC
    assert fields.check_date(at) == at


@EXAMPLES
@given(seconds=st.integers(-10, 4 * 10**9))
@example(seconds=3599)
@example(seconds=3600)
@example(seconds=3_153_600_000)
@example(seconds=3_153_600_001)
def test_a_ttl_is_an_hour_to_100_years(seconds: int) -> None:
    if 3600 <= seconds <= 3_153_600_000:
        assert fields.check_ttl(seconds) == fields.check_ttl(str(seconds)) == seconds
    else:
        with pytest.raises(ValueError):
            fields.check_ttl(seconds)


# ── tags and metadata ──


@EXAMPLES
@given(tags=st.lists(st.text(st.characters(codec="utf-8", exclude_characters=","), max_size=60), max_size=12))
def test_tags_stay_as_they_are(tags: list[str]) -> None:
    try:
        checked = fields.check_tags(tags)
    except ValueError:
        return
    assert fields.check_tags(list(checked)) == checked
    assert len(checked) <= 10
    assert len(set(checked)) == len(checked)
    assert all(0 < len(tag) <= 50 for tag in checked)


@EXAMPLES
@given(metadata=st.dictionaries(any_text, json_values, max_size=4))
def test_metadata_stays_as_it_is(metadata: dict[str, Any]) -> None:
    try:
        checked = fields.check_metadata(metadata)
    except ValueError:
        return
    assert checked == metadata
    assert fields.check_metadata(json.dumps(checked)) == checked


# ── values as JSON has them ──


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        (fields.check_public, True, True),
        (fields.check_public, 0, False),
        (fields.check_public, "False", False),
        (fields.check_tags, ["Hero", " a,b ", "hero", ""], ("hero", "a,b")),
        (fields.check_tags, [], ()),
        (fields.check_date, 1_749_945_600, 1_749_945_600),
        (fields.check_ttl, 3600, 3600),
        (fields.check_metadata, {"a": None}, {"a": None}),
    ],
)
def test_a_json_value(check: Callable[[Any], Any], value: Any, expected: Any) -> None:
    assert check(value) == expected


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (fields.check_public, 1.0),
        (fields.check_public, None),
        (fields.check_public, 2),
        (fields.check_tags, [1]),
        (fields.check_tags, {"a": 1}),
        (fields.check_tags, [["a"]]),
        (fields.check_date, True),
        (fields.check_date, 1.5),
        (fields.check_date, 2**63),
        (fields.check_ttl, True),
        (fields.check_ttl, 3600.0),
        (fields.check_ttl, 2**63),
        (fields.check_external_id, 1),
        (fields.check_metadata, [1]),
    ],
)
def test_a_wrong_json_value(check: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ValueError):
        check(value)
