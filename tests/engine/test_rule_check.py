"""What a rule may say: names, types, circles of segments, depth; and the nearest names are offered."""

from __future__ import annotations

import pytest

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.engine.rule import (
    All,
    Axis,
    Compare,
    InSegment,
    Measured,
    Nearest,
    Not,
    OneOf,
    Rule,
    Sequence,
    Step,
    did,
)
from aimwell.engine.rule_check import validate_rule
from aimwell.engine.specification import Aggregate, Condition

TYPES = {"recency_days": Type.INTEGER, "city": Type.TEXT, "customers.age": Type.TEXT}
SEEN = Step("events", (Condition("name", "=", "Seen"),))
MISSPELT = (Condition("chanel", "=", "app"),)


def refuse(rule: Rule, **known: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        validate_rule(rule, TYPES, **known)  # type: ignore[arg-type]
    assert caught.value.render("zh") != caught.value.render("en")
    return caught.value


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (did(""), "engine.bad_event_rule"),
        (Measured(Aggregate("event", "count"), ">", 1), "engine.unknown_source"),
        (Measured(Aggregate("events", "sum", "channel"), ">", 1), "engine.wrong_type"),
        (Measured(Aggregate("events", "count"), ">", "1"), "engine.wrong_type"),
        (Measured(Aggregate("events", "count", None, MISSPELT), ">", 1), "engine.unknown_column"),
        (Sequence(()), "engine.bad_sequence"),
        (Sequence((Step("orders"), SEEN)), "engine.unknown_source"),
        (Sequence((Step("events"), SEEN)), "engine.bad_event_rule"),
        (Sequence((SEEN, Step("events", SEEN.conditions, -1))), "engine.bad_wait"),
        (Sequence((Step("events", SEEN.conditions, 3), SEEN)), "engine.bad_wait"),
        (OneOf("customers.age", ("12", 13)), "engine.mixed_values"),
        (Compare("customers.aeg", "=", "12"), "engine.unknown_tag"),
        (Nearest((Axis("city", 0, 1),), ((0.0,),), 0), "engine.wrong_type"),
        (Nearest((Axis("recency_days", 0, 1),), ((0.0,), (1.0, 2.0)), 0), "engine.bad_points"),
        (Nearest((Axis("recency_days", 0, 0),), ((0.0,),), 0), "engine.bad_points"),
        (did("Seen", 10**400), "engine.wrong_type"),
        (InSegment("loyal"), "engine.unknown_segment"),
    ],
)
def test_what_does_not_fit_is_refused(rule: Rule, code: str) -> None:
    assert refuse(rule).code == code


def test_the_nearest_segment_and_event_are_named() -> None:
    assert "loyal" in refuse(InSegment("loyl"), segments={"loyal": All(())}).render("zh")
    error = refuse(Not(did("Product View")), events={"Product Viewed", "Cart"})
    assert (error.code, "Product Viewed" in error.render("en")) == ("engine.unknown_event", True)
    validate_rule(did("Cart"), TYPES, events={"Cart"})


def test_a_circle_of_segments_is_named_in_its_order() -> None:
    segments: dict[str, Rule] = {
        "a": All((InSegment("b"),)),
        "b": Not(InSegment("c")),
        "c": All((Compare("recency_days", ">", 1), InSegment("a"))),
    }
    error = refuse(InSegment("b"), segments=segments)
    assert error.code == "engine.segment_circle"
    assert "b → c → a → b" in error.render("zh")
    assert refuse(InSegment("d"), segments={"d": InSegment("d")}).code == "engine.segment_circle"


def test_what_a_named_segment_says_is_checked_too() -> None:
    assert refuse(InSegment("a"), segments={"a": Compare("gone", "=", 1)}).code == "engine.unknown_tag"


def test_trees_have_an_end() -> None:
    rule: Rule = Compare("recency_days", ">", 1)
    for _ in range(5_000):
        rule = Not(rule)
    assert refuse(rule).code == "engine.rule_too_deep"
    wide = All(tuple(Compare("recency_days", "=", number) for number in range(3_000)))
    assert refuse(wide).code == "engine.rule_too_large"
    chain: dict[str, Rule] = {"s0": All(())}
    for number in range(1, 200):
        chain[f"s{number}"] = InSegment(f"s{number - 1}")
    assert refuse(InSegment("s199"), segments=chain).code == "engine.rule_too_deep"


def test_attributes_are_compared_as_text_or_as_numbers() -> None:
    validate_rule(Compare("customers.age", "=", "12"), TYPES)
    validate_rule(Compare("customers.age", ">", 12), TYPES)
    assert refuse(Compare("customers.age", ">", "12")).code == "engine.wrong_type"
