"""Errors say what was wrong, where, and the remedy, in both languages."""

from __future__ import annotations

import pickle

from aimwell.core.errors import AimwellError, BadInput, Conflict, ContractBroken, NotAllowed, NotReady
from aimwell.core.steps import STEPS, StepResult
from aimwell.core.text import say


def make_error() -> BadInput:
    return BadInput(
        "core.unknown_zone",
        say("The time zone '{zone}' is not known.", zone="X"),
        remedy=say("Use a name such as Asia/Shanghai or Europe/Berlin."),
        where={"value": "X"},
    )


def test_an_error_reads_as_a_paragraph() -> None:
    text = make_error().render("en")
    assert text == "The time zone 'X' is not known. Use a name such as Asia/Shanghai or Europe/Berlin."
    assert str(make_error()) == text
    assert "时区" in make_error().render("zh")


def test_an_error_is_json_too() -> None:
    assert make_error().to_dict("en") == {
        "code": "core.unknown_zone",
        "message": "The time zone 'X' is not known.",
        "remedy": "Use a name such as Asia/Shanghai or Europe/Berlin.",
        "where": {"value": "X"},
    }


def test_an_error_of_another_process_is_the_same_here() -> None:
    again = pickle.loads(pickle.dumps(make_error()))
    assert type(again) is BadInput
    assert again.to_dict("en") == make_error().to_dict("en")
    assert again.render("zh") == make_error().render("zh") and str(again) == str(make_error())


def test_a_remedy_is_not_invented() -> None:
    error = NotReady("core.test", say("The time zone '{zone}' is not known.", zone="X"))
    assert error.to_dict("en")["remedy"] is None
    assert error.where == {}


def test_all_errors_have_one_root() -> None:
    for kind in (BadInput, NotAllowed, NotReady, Conflict, ContractBroken):
        assert issubclass(kind, AimwellError)


def test_a_step_says_what_it_lacked_in_both_languages() -> None:
    lack = say("The time zone '{zone}' is not known.", zone="X")
    result = StepResult("data", "partial", {"rows": 1}, (lack,)).to_dict()
    assert result["lacks"] == [lack.both()]
    assert result["step"] in STEPS
