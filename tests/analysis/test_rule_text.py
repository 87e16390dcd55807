"""Rules as people type them: read safely, written back, and errors that name the position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.rule_writing import write_rule
from aimwell.core.errors import BadInput
from aimwell.engine.rule import (
    All,
    Any,
    Between,
    Compare,
    InSegment,
    IsEmpty,
    Measured,
    Not,
    OneOf,
    Rule,
    Sequence,
    Step,
    bought,
    did,
)
from aimwell.engine.specification import Aggregate, Condition, DaysSince, Window
from tests.engine.rule_world import LINKED

LATE = Compare("recency_days", ">", 30)
OFTEN = Compare("orders_90d", ">=", 3)
BEST = Compare("is_best_20", "=", True)
APP = Condition("channel", "=", "app")
TEA = Condition("category", "=", "TEA")


def step(name: str, within: int | None = None, *more: Condition) -> Step:
    return Step("events", (Condition("name", "=", name), *more), within)


def purchase(within: int | None = None, *more: Condition) -> Step:
    return Step("order_lines", (Condition("is_return", "=", False), *more), within)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("recency_days > 30 and orders_90d >= 3", All((LATE, OFTEN))),
        ("recency_days > 30 or orders_90d >= 3 and is_best_20", Any((LATE, All((OFTEN, BEST))))),
        ("(recency_days > 30 or orders_90d >= 3) AND is_best_20", All((Any((LATE, OFTEN)), BEST))),
        ("not recency_days > 30", Not(LATE)),
        ("recency_days > 30 and not (orders_90d >= 3)", All((LATE, Not(OFTEN)))),
        ("city = 'O''Brien'", Compare("city", "=", "O'Brien")),
        ("city <> '北京'", Compare("city", "!=", "北京")),
        ("weekend_share >= 50%", Compare("weekend_share", ">=", 0.5)),
        ("revenue_trend between -1 and -.25", Between("revenue_trend", -1, -0.25)),
        ("stage in ('lost', 'dormant')", OneOf("stage", ("lost", "dormant"))),
        ("stage not in ('lost')", Not(OneOf("stage", ("lost",)))),
        ("email is empty", IsEmpty("email")),
        ("email is not null", Not(IsEmpty("email"))),
        ("event('Coupon Redeemed')", did("Coupon Redeemed")),
        ("event('Coupon Redeemed') >= 2 in 30 days", did("Coupon Redeemed", 2, 30)),
        ("（recency_days ＞ 30）and orders_90d ≥ 3", All((LATE, OFTEN))),
        ("city = ‘（上海）’", Compare("city", "=", "(上海)")),
        ("city = '（上海）'", Compare("city", "=", "（上海）")),
        ('"attribute_odd name" = true', Compare("attribute_odd name", "=", True)),
        ("everybody", All(())),
        ("customers.city = '上海'", Compare("customers.city", "=", "上海")),
        ("did 'View' 3 times in 30 days where channel = 'app'", did("View", 3, 30, (APP,))),
        ("did 'X' where channel = 'app' and is_best_20", All((did("X", 1, None, (APP,)), BEST))),
        ("did 'X' where (channel = 'app' and category = 'TEA') 1 time", did("X", 1, None, (APP, TEA))),
        ("did not 'X' in 7 days", Not(did("X", 1, 7))),
        ("bought 2 times in 1 day", bought(2, 1)),
        ("not bought where category = 'TEA'", Not(bought(1, None, (TEA,)))),
        (
            "sum(order_lines.revenue where category = 'TEA' in 90 days) > 500",
            Measured(Aggregate("order_lines", "sum", "revenue", (TEA,), Window(90)), ">", 500),
        ),
        (
            "count(orders in 30 days ending 30 days ago) = 0",
            Measured(Aggregate("orders", "count", None, (), Window(30, 30)), "=", 0),
        ),
        (
            "days_since_last(events where channel = 'app') > 7",
            Measured(DaysSince("events", "last", (APP,)), ">", 7),
        ),
        ("in segment loyal or not in segment new", Any((InSegment("loyal"), Not(InSegment("new"))))),
        (
            "did 'A' then 'B' within 3 days without 'C' within 7 days",
            Sequence((step("A"), step("B", 3)), step("C", 7)),
        ),
        (
            "did 'A' where channel = 'app' then bought within 3 days where category = 'TEA' in 30 days",
            Sequence((step("A", None, APP), purchase(3, TEA)), None, Window(30)),
        ),
        ("bought without 'Complaint' within 0 days", Sequence((purchase(),), step("Complaint", 0))),
        (
            "做过 '浏览' 3 次 近 30 天 其中 channel = 'app' 且 属于 loyal 或 非 city 为空",
            Any((All((did("浏览", 3, 30, (APP,)), InSegment("loyal"))), Not(IsEmpty("city")))),
        ),
        ('"did" = 1 and "and.or" = 2', All((Compare("did", "=", 1), Compare("and.or", "=", 2)))),
    ],
)
def test_what_is_typed_becomes_the_rule(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("recency_days >", 15),
        ("recency_days > 30 and", 22),
        ("recency_days > 30 orders_90d", 19),
        ("(recency_days > 30", 19),
        ("recency_days > 30)", 18),
        ("recency_days > thirty", 16),
        ("recency_days ; DROP TABLE tags", 14),
        ("stage in ('lost'", 17),
        ("stage in 'lost'", 10),
        ("x is full", 6),
        ("event(3)", 7),
        ("event('x') >= 1.5", 15),
        ("event('x') in 30", 17),
        ("and", 1),
        ("x = 'open", 5),
        ("did 'x' 3", 10),
        ("did 'x' 0 times in 30 days", 9),
        ("did 'x' in 3", 13),
        ("did 'x' where channel", 22),
        ("did x", 5),
        ("did 'x' 2 times then 'y'", 5),
        ("did 'x' within 3 days", 5),
        ("sum(order_lines.revenue)", 25),
        ("sum(order_lines.revenue in 3)", 29),
        ("in segment", 11),
        ("in loyal", 4),
        ("nearest(1)", 10),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_position(text: str, position: int) -> None:
    with pytest.raises(BadInput) as caught:
        parse_rule(text)
    assert caught.value.code == "analysis.rule_unreadable"
    assert caught.value.where["column"] == position
    assert str(position) in caught.value.render("zh")


def test_brackets_without_end_are_refused() -> None:
    with pytest.raises(BadInput, match="fewer brackets"):
        parse_rule("(" * 5000 + "x" + ")" * 5000)


@given(LINKED)
def test_what_is_written_reads_the_same(rule: Rule) -> None:
    text = write_rule(rule)
    assert write_rule(parse_rule(text)) == write_rule(parse_rule(write_rule(parse_rule(text))))
    assert simplify(parse_rule(text)) == simplify(rule)


def test_at_least_no_times_is_not_written_as_a_number_of_times() -> None:
    rule = did("Seen", 0, 30)
    assert parse_rule(write_rule(rule)) == rule


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_rule(text)
    except BadInput as error:
        assert error.code == "analysis.rule_unreadable"
    else:
        assert simplify(parse_rule(write_rule(parsed))) == simplify(parsed)


def simplify(rule: Rule) -> Rule:
    """A list of one rule is that rule."""
    match rule:
        case All(rules=(only,)) | Any(rules=(only,)):
            return simplify(only)
        case All(rules=parts):
            return All(tuple(simplify(part) for part in parts))
        case Any(rules=parts):
            return Any(tuple(simplify(part) for part in parts))
        case Not(rule=inner):
            return Not(simplify(inner))
        case Sequence(steps=(only,), without=None, window=window):
            return Measured(Aggregate(only.table, "count", None, only.conditions, window), ">=", 1)
        case _:
            return rule
