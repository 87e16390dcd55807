"""Rules in words, in both languages."""

from __future__ import annotations

from hypothesis import given

from aimwell.core.text import Text, say
from aimwell.engine.describe import describe_rule
from aimwell.engine.rule import All, Between, Compare, EventRule, IsEmpty, Not, OneOf, Rule
from aimwell.engine.rule import Any as AnyOne
from tests.engine.test_compile import RULES

TITLES = {"recency_days": say("Days since the last order"), "is_best_20": say("Best 20 %")}
VALUES = {"lifecycle_stage": {"lost": say("Lost")}}


def test_a_rule_reads_as_a_sentence_in_both_languages() -> None:
    rule = All(
        (
            Compare("recency_days", ">", 30),
            AnyOne((Compare("is_best_20", "=", True), OneOf("lifecycle_stage", ("lost", "new")))),
            EventRule("Coupon Redeemed", 2, 90),
        )
    )
    text = describe_rule(rule, TITLES, VALUES)
    assert text.render("en") == (
        "Days since the last order is more than 30 and (Best 20 %: yes or lifecycle_stage is one of Lost, new)"
        " and 'Coupon Redeemed' at least 2 × in the last 90 days"
    )
    assert text.render("zh") == (
        "距上次下单天数大于 30，且（最佳 20 % 客户：是，或lifecycle_stage为 流失、new 之一），"
        "且最近 90 天“Coupon Redeemed”至少 2 次"
    )
    assert Text.from_json(text.to_json()) == text


def test_edges_have_words_too() -> None:
    words = {
        describe_rule(rule).render("en")
        for rule in (
            All(()),
            AnyOne(()),
            OneOf("city", ()),
            Not(IsEmpty("city")),
            Not(Compare("city", "=", "{x}")),
            Between("age", 1, 2.5),
        )
    }
    assert words == {"everybody", "nobody", "city is known", "not (city is {x})", "age is from 1 to 2.5"}


@given(RULES)
def test_every_rule_has_words(rule: Rule) -> None:
    text = describe_rule(rule)
    assert text.render("en")
    assert text.render("zh")
