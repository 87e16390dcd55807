"""Texts are shown in the reader's language, now or after years in a table."""

from __future__ import annotations

import json
from contextvars import Context, copy_context
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.text import Text, current_language, match_language, say, set_language

ENGLISH = "The time zone '{zone}' is not known."
parameters = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.builds(lambda value: Text("around {value}", (("value", value),)), inner),
    max_leaves=4,
)


def test_english_is_the_message_itself() -> None:
    assert (
        Text(ENGLISH, (("zone", "Mars/Olympus"),)).render("en")
        == "The time zone 'Mars/Olympus' is not known."
    )


def test_chinese_comes_from_the_catalogue() -> None:
    chinese = Text(ENGLISH, (("zone", "Mars/Olympus"),)).render("zh")
    assert "Mars/Olympus" in chinese
    assert "时区" in chinese


def test_a_message_without_chinese_is_shown_in_english() -> None:
    assert Text("nobody has translated this").render("zh") == "nobody has translated this"


def test_braces_without_values_are_only_braces() -> None:
    assert Text('{"json": true}').render("en") == '{"json": true}'


def test_formats_belong_to_the_places() -> None:
    assert Text("{share:.1%} of them", (("share", 0.256),)).render("en") == "25.6% of them"


def test_a_text_within_a_text_is_in_the_same_language() -> None:
    outer = Text("Because: {why}", (("why", Text(ENGLISH, (("zone", "X"),))),))
    assert "时区" in outer.render("zh")
    assert outer.both() == {"en": outer.render("en"), "zh": outer.render("zh")}


@given(st.text(), st.dictionaries(st.text(min_size=1), parameters, max_size=3))
def test_a_kept_text_comes_back(message: str, values: dict[str, str | int | float | Text | None]) -> None:
    text = Text(message, tuple(values.items()))
    assert Text.from_json(text.to_json()) == text


def test_decimals_are_kept_exactly() -> None:
    kept = Text("{amount}", (("amount", Decimal("12.30")),)).to_json()
    assert json.loads(kept)["parameters"] == {"amount": "12.30"}
    assert Text.from_json(kept).render("en") == "12.30"


def test_say_takes_its_values_by_name() -> None:
    assert say("The window from {start} to {end} holds no day.", start="a", end="b").render("en") == (
        "The window from a to b holds no day."
    )


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "AIMWELL_LANGUAGE": "en"}, "en"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_environment_chooses_the_language(
    variables: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AIMWELL_LANGUAGE", "LC_ALL", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # In a context of its own, so that a language which another test chose does not matter here.
    assert _ask_in_fresh_context() == language


def test_a_command_chooses_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMWELL_LANGUAGE", "en")

    def choose() -> str:
        set_language("zh")
        return current_language()

    assert copy_context().run(choose) == "zh"


def _ask_in_fresh_context() -> str:
    return Context().run(current_language)


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("zh_Hans_CN", "zh"),
        ("EN-gb", "en"),
        ("fr", None),
        ("english", None),
        ("", None),
    ],
)
def test_a_language_is_known_by_the_first_part_of_its_tag(tag: str, language: str | None) -> None:
    assert match_language(tag) == language
