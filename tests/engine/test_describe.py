"""Rules in words, in both languages."""

from __future__ import annotations

import pytest
from hypothesis import given

from aimwell.core.text import Text, say
from aimwell.engine.describe import describe_rule
from aimwell.engine.rule import (
    All,
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
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.specification import Aggregate, Condition, DaysSince, Window
from tests.engine.rule_world import LINKED

TITLES = {"recency_days": say("Days since the last order"), "is_best_20": say("Best 20 %")}
VALUES = {"lifecycle_stage": {"lost": say("Lost")}}


def test_a_rule_reads_as_a_sentence_in_both_languages() -> None:
    rule = All(
        (
            Compare("recency_days", ">", 30),
            AnyOne((Compare("is_best_20", "=", True), OneOf("lifecycle_stage", ("lost", "new")))),
            did("Coupon Redeemed", 2, 90),
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


@given(LINKED)
def test_every_rule_has_words(rule: Rule) -> None:
    text = describe_rule(rule)
    assert text.render("en")
    assert text.render("zh")


APP = (Condition("channel", "=", "app"),)
TEA = (Condition("category", "=", "TEA"),)


@pytest.mark.parametrize(
    ("rule", "english", "chinese"),
    [
        (
            did("Product Viewed", 3, 30, APP),
            "'Product Viewed' where channel is app at least 3 × in the last 30 days",
            "最近 30 天“Product Viewed”（渠道为 app）至少 3 次",
        ),
        (
            Measured(Aggregate("order_lines", "sum", "revenue", TEA, Window(90)), ">", 500),
            "sum of revenue of order lines where category is TEA in the last 90 days is more than 500",
            "最近 90 天订单明细（类别为 TEA）的收入合计大于 500",
        ),
        (bought(2, 30), "at least 2 × a purchase in the last 30 days", "最近 30 天至少 2 次购买"),
        (
            Measured(DaysSince("events", "last", APP), ">", 7),
            "days since the last of events where channel is app is more than 7",
            "距最近一次事件（渠道为 app）的天数大于 7",
        ),
        (
            Sequence(
                (
                    Step("events", (Condition("name", "=", "Seen"),)),
                    Step("events", (Condition("name", "=", "Added"),), 3),
                ),
                Step("order_lines", (Condition("is_return", "=", False),), 7),
                Window(30),
            ),
            "'Seen', then 'Added' within 3 days, and no purchase within 7 days after, begun in the last 30 days",
            "最近 30 天内开始：“Seen”，随后 3 天内“Added”，此后 7 天内没有购买",
        ),
        (Not(InSegment("loyal")), "not in the segment Loyal ones", "不属于分群 Loyal ones"),
    ],
)
def test_what_was_done_reads_as_a_sentence(rule: Rule, english: str, chinese: str) -> None:
    text = describe_rule(rule, segments={"loyal": say("{words}", words="Loyal ones")})
    assert (text.render("en"), text.render("zh")) == (english, chinese)
