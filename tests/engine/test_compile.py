"""Specifications as SQL: the same answers as plain Python, one scan per table, nothing of the user in the text."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.core.tables import TABLES, Type
from aimwell.engine.compile_rules import compile_rule, compile_rules
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.rule import All, Between, Compare, EventRule, IsEmpty, Not, OneOf, Rule
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.specification import (
    OPERATORS,
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Measure,
    Ratio,
    TopValue,
    Trend,
    Window,
)
from aimwell.engine.sql_text import quote_name, show_sql
from tests.engine.scratch import AS_OF, Scratch, build_events, build_lines

TYPES = {"age": Type.INTEGER, "spend": Type.REAL, "city": Type.TEXT, "vip": Type.BOOLEAN, "born": Type.DATE}
ARROW = {
    "age": pa.int64(),
    "spend": pa.float64(),
    "city": pa.string(),
    "vip": pa.bool_(),
    "born": pa.date32(),
}
DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(5)]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "age": st.integers(-2, 4),
    "spend": st.sampled_from([-1.5, 0.0, 0.5, 2.0]),
    "city": st.sampled_from(["", "Bonn", "O'Brien", "北京", "$p1"]),
    "vip": st.booleans(),
    "born": st.sampled_from([day.isoformat() for day in DAYS]),
}
EVENTS = ("Seen", "Bought")


def days_ago(days: int) -> date:
    return AS_OF - timedelta(days=days)


# ---------------------------------------------------------------- rules


@st.composite
def draw_leaf(draw: st.DrawFn) -> Rule:
    tag = draw(st.sampled_from(sorted(TYPES)))
    value = VALUES[tag]
    ordered = tag in ("age", "spend", "born")
    kinds = ["compare", "one_of", "is_empty", "event"] + (["between"] if ordered else [])
    match draw(st.sampled_from(kinds)):
        case "compare":
            return Compare(tag, draw(st.sampled_from(OPERATORS if ordered else OPERATORS[:2])), draw(value))
        case "one_of":
            return OneOf(tag, tuple(draw(st.lists(value, max_size=3))))
        case "between":
            return Between(tag, draw(value), draw(value))
        case "is_empty":
            return IsEmpty(tag)
        case _:
            days = draw(st.sampled_from([None, 1, 7, 30]))
            return EventRule(draw(st.sampled_from(EVENTS)), draw(st.integers(1, 2)), days)


RULES: st.SearchStrategy[Rule] = st.recursive(
    draw_leaf(),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOne, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
ROWS = st.lists(
    st.fixed_dictionaries({tag: st.none() | value for tag, value in VALUES.items()}), min_size=1, max_size=6
)
HAPPENED = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(EVENTS), st.sampled_from([-1, 0, 1, 2, 7, 8, 30, 31])),
    max_size=8,
)
SIGNS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def decide(rule: Rule, row: Mapping[str, Any], events: list[tuple[str, date]]) -> bool:
    """The meaning of a rule, written a second time in plain Python."""
    match rule:
        case All(rules=parts):
            return all(decide(part, row, events) for part in parts)
        case AnyOne(rules=parts):
            return any(decide(part, row, events) for part in parts)
        case Not(rule=inner):
            return not decide(inner, row, events)
        case IsEmpty(tag=tag):
            return row[tag] is None
        case Compare(tag=tag, operator=sign, value=value):
            return row[tag] is not None and bool(SIGNS[sign](row[tag], value))
        case OneOf(tag=tag, values=values):
            return row[tag] is not None and row[tag] in values
        case Between(tag=tag, low=low, high=high):
            return row[tag] is not None and bool(low <= row[tag] <= high)
        case EventRule(name=name, at_least=at_least, days=days):
            first = date.min if days is None else days_ago(days)
            return sum(name == what and first <= when < AS_OF for what, when in events) >= at_least


def build_tags(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {"customer_id": pa.array([f"c{number}" for number in range(len(rows))])}
    for name, kind in ARROW.items():
        values = [row[name] for row in rows]
        dates = (
            [None if value is None else date.fromisoformat(value) for value in values]
            if name == "born"
            else values
        )
        columns[name] = pa.array(dates, kind)
    return pa.table(columns)


@given(st.lists(RULES, min_size=1, max_size=3), ROWS, HAPPENED)
def test_sql_and_plain_python_agree_on_every_rule(
    rules: list[Rule], rows: list[dict[str, Any]], happened: list[tuple[int, str, int]]
) -> None:
    events = [(f"c{number}", name, days_ago(days)) for number, name, days in happened]
    scratch = Scratch({"tags": build_tags(rows), "events": build_events(*events)})
    named = {f"rule_{number}": rule for number, rule in enumerate(rules)}
    query = compile_rules(named, TYPES, as_of=AS_OF)
    found = scratch.run_by_customer(query)
    for number, row in enumerate(rows):
        own = [(name, day) for customer, name, day in events if customer == f"c{number}"]
        expected = {name: decide(rule, row, own) for name, rule in named.items()}
        assert found[f"c{number}"] == expected
    # What people read is what was run.
    assert scratch.query(show_sql(query)).equals(scratch.run(query))


@given(RULES, ROWS)
def test_a_rule_and_its_opposite_share_everybody_out(rule: Rule, rows: list[dict[str, Any]]) -> None:
    scratch = Scratch({"tags": build_tags(rows)})
    inside = scratch.run(compile_rule(rule, TYPES, as_of=AS_OF)).column("customer_id").to_pylist()
    outside = scratch.run(compile_rule(Not(rule), TYPES, as_of=AS_OF)).column("customer_id").to_pylist()
    assert sorted(inside + outside) == [f"c{number}" for number in range(len(rows))]


def test_a_comparison_with_an_empty_tag_is_false_and_its_opposite_true() -> None:
    scratch = Scratch({"tags": build_tags([dict.fromkeys(TYPES)])})
    rules: dict[str, Rule] = {
        "is": Compare("age", "=", 1),
        "is_not": Compare("age", "!=", 1),
        "not_is": Not(Compare("age", "=", 1)),
    }
    assert scratch.run_by_customer(compile_rules(rules, TYPES, as_of=AS_OF)) == {
        "c0": {"is": False, "is_not": False, "not_is": True}
    }


def test_events_are_read_once_for_all_rules_and_values_are_bound() -> None:
    rules: dict[str, Rule] = {
        "a": EventRule("Seen'; DROP TABLE tags; --", 1, 7),
        "b": All((EventRule("Bought", 2, 30), Compare("city", "=", "x' OR '1'='1"))),
    }
    query = compile_rules(rules, TYPES, as_of=AS_OF)
    assert query.sql.count("FROM events") == 1
    assert "DROP" not in query.sql
    assert "OR '1'" not in query.sql
    assert "DROP TABLE" in show_sql(query)


def test_names_are_quoted_where_they_could_mean_something_else() -> None:
    assert quote_name("recency_days") == "recency_days"
    assert quote_name("order") == '"order"'
    assert quote_name("current_date") == '"current_date"'
    assert quote_name('a "b"') == '"a ""b"""'


# ---------------------------------------------------------------- tags


def measure(tags: Mapping[str, Any], scratch: Scratch) -> dict[str, dict[str, Any]]:
    return scratch.run_by_customer(compile_tags(tags, as_of=AS_OF))


def test_a_window_holds_the_day_exactly_n_days_before_and_not_today() -> None:
    days = (0, 1, 29, 30, 31, 60, 61)
    scratch = Scratch(
        {"order_lines": build_lines(*({"customer_id": f"d{n}", "ordered_on": days_ago(n)} for n in days))}
    )
    count = {
        "last_30": Measure(Aggregate("orders", "count", None, (), Window(30))),
        "before": Measure(Aggregate("orders", "count", None, (), Window(30, ending=30))),
        "ever": Measure(Aggregate("orders", "count")),
    }
    found = measure(count, scratch)
    assert "d0" not in found
    assert {name: row["last_30"] for name, row in found.items()} == {
        **dict.fromkeys(("d1", "d29", "d30"), 1),
        **dict.fromkeys(("d31", "d60", "d61"), 0),
    }
    assert {name for name, row in found.items() if row["before"]} == {"d31", "d60"}
    assert all(row["ever"] == 1 for row in found.values())


def make_shop() -> Scratch:
    buys = [
        ("o1", 40, "P1", 2.0, "10.00", "1.00", 9),
        ("o1", 40, "P2", 1.0, "5.00", "0.00", 9),
        ("o2", 10, "P2", 1.0, "5.50", "0.50", 20),
        ("o3", 5, "P2", -1.0, "-5.50", "0.00", 20),
    ]
    lines = build_lines(
        *(
            {
                "customer_id": "ann",
                "order_id": order,
                "ordered_on": days_ago(days),
                "product_id": product,
                "quantity": quantity,
                "revenue": Decimal(revenue),
                "discount": Decimal(discount),
                "ordered_hour": hour,
                "store_id": "S1",
            }
            for order, days, product, quantity, revenue, discount, hour in buys
        )
    )
    products = TABLES["products"].build(
        [
            {"product_id": "P1", "department": "FOOD", "category": "BREAD", "brand": "X", "source": "t"},
            {"product_id": "P2", "department": "TOYS", "category": "BALLS", "brand": "X", "source": "t"},
        ]
    )
    customers = TABLES["customers"].build([{"customer_id": "bob", "source": "t"}])
    return Scratch({"order_lines": lines, "products": products, "customers": customers})


def test_every_kind_of_tag_on_a_table_made_by_hand() -> None:
    sold = Condition("is_return", "=", False)
    revenue = Aggregate("order_lines", "sum", "revenue")
    tags = {
        "revenue_all": Measure(revenue),
        "revenue_sold": Measure(Aggregate("order_lines", "sum", "revenue", (sold,))),
        "products_all": Measure(Aggregate("order_lines", "count_distinct", "product_id")),
        "dearest_line": Measure(Aggregate("order_lines", "max", "revenue")),
        "mean_line": Measure(Aggregate("order_lines", "average", "revenue")),
        "orders_all": Measure(Aggregate("orders", "count")),
        "per_order": Ratio(Aggregate("orders", "sum", "revenue"), Aggregate("orders", "count")),
        "trend_of_orders": Trend(
            Aggregate("orders", "count", None, (), Window(30)),
            Aggregate("orders", "count", None, (), Window(60, 30)),
        ),
        "days_last": DaysSince("orders"),
        "days_first": DaysSince("orders", "first"),
        "top_department": TopValue("order_lines", "department", "revenue"),
        "top_department_share": TopValue("order_lines", "department", "revenue", output="share"),
        "doubled": Expression("revenue_all * 2", Type.REAL),
        "doubled_again": Expression("doubled * 2", Type.REAL),
    }
    found = measure(tags, make_shop())
    assert found["ann"] == pytest.approx(
        {
            "revenue_all": 15.0,
            "revenue_sold": 20.5,
            "products_all": 2,
            "dearest_line": 10.0,
            "mean_line": 15.0 / 4,
            # The order that holds nothing but a return is no purchase.
            "orders_all": 2,
            "per_order": 10.25,
            "trend_of_orders": (1 / 30 - 1 / 60) / (1 / 30 + 1 / 60),
            "days_last": 10,
            "days_first": 40,
            "top_department": "FOOD",
            "top_department_share": 10 / 15,
            "doubled": 30.0,
            "doubled_again": 60.0,
        }
    )
    counted = {"revenue_all", "revenue_sold", "products_all", "orders_all", "doubled", "doubled_again"}
    assert found["bob"] == {name: 0 if name in counted else None for name in tags}


def test_a_favourite_in_a_tie_is_the_value_that_sorts_first() -> None:
    rows = [
        {"customer_id": "c", "ordered_on": days_ago(1), "store_id": store} for store in ("S2", "S1", "S3")
    ]
    scratch = Scratch({"order_lines": build_lines(*rows)})
    tags = {
        "top_store": TopValue("orders", "store_id"),
        "top_share": TopValue("orders", "store_id", output="share"),
    }
    assert measure(tags, scratch)["c"] == pytest.approx({"top_store": "S1", "top_share": 1 / 3})


def test_each_source_is_scanned_once_whatever_the_number_of_tags() -> None:
    windows = [Window(days) for days in (7, 30, 90, 365)]
    tags: dict[str, Any] = {
        f"orders_{window.days}": Measure(Aggregate("orders", "count", None, (), window)) for window in windows
    }
    tags |= {
        f"revenue_{window.days}": Measure(Aggregate("order_lines", "sum", "revenue", (), window))
        for window in windows
    }
    tags |= {
        f"seen_{window.days}": Measure(
            Aggregate("events", "count", None, (Condition("name", "=", "Seen"),), window)
        )
        for window in windows
    }
    tags["top_brand"] = TopValue("order_lines", "brand", "revenue")
    query = compile_tags(tags, as_of=AS_OF)
    assert query.sql.count("FROM order_lines AS l") == 1
    assert query.sql.count("FROM events AS e") == 1
    assert query.sql.count("JOIN products") == 1
    assert query.parameters == {"p1": "Seen"}
    assert "SELECT *" not in query.sql


LINE = st.fixed_dictionaries(
    {
        "customer_id": st.sampled_from(["a", "b"]),
        "order_id": st.sampled_from(["o1", "o2", "o3"]),
        "ordered_on": st.integers(-1, 40).map(days_ago),
        "revenue": st.none() | st.integers(-500, 2000).map(lambda cents: Decimal(cents) / 100),
    }
)


@given(st.lists(LINE, min_size=1, max_size=12), st.integers(1, 35), st.integers(0, 5))
def test_sums_counts_and_extremes_equal_plain_python(
    rows: list[dict[str, Any]], days: int, ending: int
) -> None:
    window = Window(days, ending)
    tags = {
        "total": Measure(Aggregate("order_lines", "sum", "revenue", (), window)),
        "lines_seen": Measure(Aggregate("order_lines", "count", None, (), window)),
        "big_lines": Measure(
            Aggregate("order_lines", "count", None, (Condition("revenue", ">", 5),), window)
        ),
        "orders_seen": Measure(Aggregate("order_lines", "count_distinct", "order_id", (), window)),
        "dearest": Measure(Aggregate("order_lines", "max", "revenue", (), window)),
    }
    found = measure(tags, Scratch({"order_lines": build_lines(*rows)}))
    assert set(found) == {row["customer_id"] for row in rows if row["ordered_on"] < AS_OF}
    for customer, values in found.items():
        kept = [
            row
            for row in rows
            if row["customer_id"] == customer
            and days_ago(days + ending) <= row["ordered_on"] < days_ago(ending)
        ]
        paid = [row["revenue"] for row in kept if row["revenue"] is not None]
        assert values == {
            "total": float(sum(paid)),
            "lines_seen": len(kept),
            "big_lines": sum(amount > 5 for amount in paid),
            "orders_seen": len({row["order_id"] for row in kept}),
            "dearest": float(max(paid)) if paid else None,
        }


def test_expressions_that_wait_for_each_other_are_refused() -> None:
    tags = {"a_tag": Expression("b_tag + 1", Type.REAL), "b_tag": Expression("a_tag + 1", Type.REAL)}
    with pytest.raises(BadInput) as caught:
        compile_tags(tags, as_of=AS_OF)
    assert caught.value.code == "engine.circular_tags"
