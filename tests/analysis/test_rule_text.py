"""Rules as people type them: read safely, written back, and errors that name the position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.rule_text import parse_rule, write_rule
from aimwell.core.errors import BadInput
from aimwell.engine.rule import All, Any, Between, Compare, EventRule, IsEmpty, Not, OneOf, Rule
from tests.engine.test_compile import RULES

LATE = Compare("recency_days", ">", 30)
OFTEN = Compare("orders_90d", ">=", 3)
BEST = Compare("is_best_20", "=", True)


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
        ("event('Coupon Redeemed')", EventRule("Coupon Redeemed")),
        ("event('Coupon Redeemed') >= 2 in 30 days", EventRule("Coupon Redeemed", 2, 30)),
        ("（recency_days ＞ 30）and orders_90d ≥ 3", All((LATE, OFTEN))),
        ("city = ‘（上海）’", Compare("city", "=", "(上海)")),
        ("city = '（上海）'", Compare("city", "=", "（上海）")),
        ('"attribute_odd name" = true', Compare("attribute_odd name", "=", True)),
        ("everybody", All(())),
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


@given(RULES)
def test_what_is_written_reads_the_same(rule: Rule) -> None:
    text = write_rule(rule)
    assert write_rule(parse_rule(text)) == write_rule(parse_rule(write_rule(parse_rule(text))))
    assert simplify(parse_rule(text)) == simplify(rule)


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
        case _:
            return rule
