"""What a specification may say: columns, tags and types are checked, and the nearest names are offered."""

from __future__ import annotations

import pytest

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.engine.rule import (
    All,
    Between,
    Compare,
    Not,
    OneOf,
    Rule,
    did,
    list_rule_tags,
)
from aimwell.engine.rule_check import validate_rule
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    Expression,
    Measure,
    TagSpec,
    TopValue,
    Trend,
    Value,
    Window,
    find_tag_type,
    validate_tag,
)

TYPES = {"recency_days": Type.INTEGER, "city": Type.TEXT, "is_best_20": Type.BOOLEAN, "born_on": Type.DATE}


def refuse_rule(rule: Rule) -> BadInput:
    with pytest.raises(BadInput) as caught:
        validate_rule(rule, TYPES)
    return caught.value


def test_an_unknown_tag_is_refused_with_the_nearest_names() -> None:
    error = refuse_rule(All((Not(Compare("recency_day", ">", 30)),)))
    assert error.code == "engine.unknown_tag"
    assert "recency_days" in error.render("en")
    assert "recency_days" in error.render("zh")


@pytest.mark.parametrize(
    ("tag", "operator", "value"),
    [
        ("recency_days", ">", "30"),
        ("recency_days", ">", True),
        ("recency_days", ">", float("nan")),
        ("recency_days", ">", 2**63),
        ("recency_days", ">", -(10**400)),
        ("city", "=", "\ud83d"),
        ("city", "=", 3),
        ("city", "<", "Bonn"),
        ("is_best_20", "=", 1),
        ("is_best_20", ">", True),
        ("born_on", "=", "yesterday"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(tag: str, operator: str, value: Value) -> None:
    assert refuse_rule(Compare(tag, operator, value)).code == "engine.wrong_type"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rule",
    [
        Compare("recency_days", ">=", 2.5),
        OneOf("city", ("Bonn", "北京")),
        Between("born_on", "2000-01-01", "2001-01-01"),
        did("Coupon Redeemed", 2, 30),
        All(()),
    ],
)
def test_rules_that_fit_are_accepted(rule: Rule) -> None:
    validate_rule(rule, TYPES)
    assert set(list_rule_tags(rule)) <= set(TYPES)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (Measure(Aggregate("orderlines", "count")), "engine.unknown_source"),
        (Measure(Aggregate("orders", "sum", "revenu")), "engine.unknown_column"),
        (Measure(Aggregate("orders", "sum")), "engine.aggregate_without_column"),
        (Measure(Aggregate("orders", "sum", "store_id")), "engine.wrong_type"),
        (Measure(Aggregate("orders", "count", None, (Condition("hour", "=", "9"),))), "engine.wrong_type"),
        (TopValue("orders", "store_id", "order_id"), "engine.wrong_type"),
        (Expression("no_such_tag + 1", Type.REAL), "engine.unknown_tag"),
        (Expression("1; DROP TABLE tags", Type.REAL), "engine.bad_expression"),
        (Expression("1 -- rest", Type.REAL), "engine.bad_expression"),
    ],
)
def test_a_tag_that_cannot_be_is_refused(spec: TagSpec, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        validate_tag(spec, TYPES)
    assert caught.value.code == code


def test_a_trend_needs_two_windows() -> None:
    with pytest.raises(BadInput, match="two windows"):
        Trend(Aggregate("orders", "count"), Aggregate("orders", "count", None, (), Window(30)))


def test_types_follow_from_what_is_measured() -> None:
    assert find_tag_type(Measure(Aggregate("orders", "count"))) is Type.INTEGER
    assert find_tag_type(Measure(Aggregate("orders", "max", "revenue"))) is Type.REAL
    assert find_tag_type(Measure(Aggregate("orders", "min", "hour"))) is Type.INTEGER
    assert find_tag_type(TopValue("order_lines", "brand")) is Type.TEXT
    assert find_tag_type(TopValue("order_lines", "brand", output="share")) is Type.REAL


def test_an_expression_reads_the_tags_that_it_names() -> None:
    spec = Expression('CASE WHEN a_tag > 1 THEN "odd name" ELSE COALESCE(b_tag, 0) END', Type.REAL)
    assert spec.inputs == ("a_tag", "odd name", "b_tag")
