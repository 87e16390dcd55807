"""Tags as SQL: every kind on a table made by hand, windows, the same answers as plain Python, one reading each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.core.tables import TABLES, Type
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.specification import (
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
from tests.engine.scratch import AS_OF, Scratch, build_events, build_lines


def days_ago(days: int) -> date:
    return AS_OF - timedelta(days=days)


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


def test_a_day_in_a_condition_is_compared_as_a_day() -> None:
    scratch = Scratch(
        {
            "events": build_events(
                ("ann", "Visit", days_ago(3)), ("ann", "Visit", days_ago(9)), ("bob", "Visit", days_ago(9))
            )
        }
    )
    recent = (Condition("occurred_on", ">=", days_ago(3).isoformat()),)
    specs = {
        "visits": Measure(Aggregate("events", "count", None, recent)),
        "share": Ratio(Aggregate("events", "count", None, recent), Aggregate("events", "count")),
        "since": DaysSince("events", "first", recent),
        "usual": TopValue("events", "name", conditions=recent),
    }
    query = compile_tags(specs, as_of=AS_OF)
    assert days_ago(3) in query.parameters.values()
    found = scratch.run_by_customer(query)
    assert found["ann"] == {"visits": 1, "share": 0.5, "since": 3, "usual": "Visit"}
    assert found["bob"] == {"visits": 0, "share": 0.0, "since": None, "usual": None}


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
    # Windows of 7 and 30 days share a reading of 30 days; 90 and 365 have one each.
    assert query.sql.count("FROM events AS s") == 3
    assert query.sql.count("AS s WHERE s.occurred_on < DATE '2024-03-31' AND s.occurred_on >=") == 3
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


def test_the_last_value_is_that_of_the_last_instant_not_the_greatest_of_the_last_day() -> None:
    viewed = (("B", 9), ("A", 21), ("Z", 8))
    events = TABLES["events"].build(
        [
            {
                "event_id": product,
                "customer_id": "ann",
                "name": "Product Viewed",
                "occurred_at": datetime.combine(days_ago(1), time(hour), UTC),
                "occurred_on": days_ago(1),
                "product_id": product,
                "source": "t",
            }
            for product, hour in viewed
        ]
    )
    tags = {
        "viewed_last": Measure(Aggregate("events", "latest", "product_id", (), Window(30))),
        "viewed_first": Measure(Aggregate("events", "earliest", "product_id", (), Window(30))),
    }
    assert measure(tags, Scratch({"events": events}))["ann"] == {"viewed_last": "A", "viewed_first": "Z"}


MOMENTS = st.builds(
    lambda days, hour, microsecond: (
        days_ago(days),
        datetime.combine(days_ago(days), time(hour, 0, 0, microsecond), UTC),
    ),
    # Instants before 1970 and 2001 have fewer digits, or a sign; few of a day, so that some are the same.
    st.integers(-1, 8) | st.sampled_from([9_000, 20_000, 50_000]),
    st.sampled_from([0, 9, 23]),
    st.sampled_from([0, 1]),
)
SALE = st.tuples(
    MOMENTS,
    st.sampled_from(["o1", "o2", "o3"]),
    st.none() | st.sampled_from(["S1", "S10", "店"]),
    st.sampled_from([-1.0, 1.0]),
)
SIGHT = st.tuples(MOMENTS, st.none() | st.sampled_from(["A", "B", "AB"]), st.sampled_from(["Seen", "Other"]))


def pick_edge(rows: list[tuple[datetime, str | None]], which: Literal["latest", "earliest"]) -> str | None:
    known = [(moment, value.encode()) for moment, value in rows if value is not None]
    chosen = (max if which == "latest" else min)(known, default=None)
    return chosen[1].decode() if chosen else None


@given(st.lists(SALE, max_size=10), st.lists(SIGHT, max_size=10), st.sampled_from([None, 3, 9_000]))
def test_first_and_last_values_equal_plain_python(
    sales: list[Any], sights: list[Any], days: int | None
) -> None:
    window = None if days is None else Window(days)
    seen = (Condition("name", "=", "Seen"),)
    lines = build_lines(
        *(
            {"customer_id": "c", "order_id": order, "ordered_on": day, "ordered_at": moment}
            | {"store_id": store, "quantity": quantity}
            for (day, moment), order, store, quantity in sales
        )
    )
    events = TABLES["events"].build(
        [
            {"event_id": str(number), "customer_id": "c", "name": name, "occurred_on": day}
            | {"occurred_at": moment, "product_id": product, "source": "t"}
            for number, ((day, moment), product, name) in enumerate(sights)
        ]
    )
    people = TABLES["customers"].build([{"customer_id": "c", "source": "t"}])
    edges: tuple[Literal["latest", "earliest"], ...] = ("latest", "earliest")
    tags = {
        f"{which}_{table}": Measure(Aggregate(table, which, column, tests, window))
        for which in edges
        for table, column, tests in (
            ("events", "product_id", seen),
            ("order_lines", "store_id", ()),
            ("orders", "store_id", ()),
        )
    }
    found = measure(tags, Scratch({"order_lines": lines, "events": events, "customers": people}))["c"]

    def lies_within(day: date) -> bool:
        return day < AS_OF and (days is None or day >= days_ago(days))

    orders: dict[str, list[Any]] = {}
    for (day, moment), order, store, quantity in sales:
        if day < AS_OF:
            orders.setdefault(order, []).append((day, moment, store, quantity))
    bought = [of for of in orders.values() if any(quantity > 0 for *_, quantity in of)]
    rows = {
        "events": [
            (moment, product)
            for (day, moment), product, name in sights
            if name == "Seen" and lies_within(day)
        ],
        "order_lines": [(moment, store) for (day, moment), _, store, _ in sales if lies_within(day)],
        "orders": [
            (
                min(line[1] for line in of),
                min((line[2] for line in of if line[2]), key=str.encode, default=None),
            )
            for of in bought
            if lies_within(min(line[0] for line in of))
        ],
    }
    assert found == {f"{which}_{table}": pick_edge(rows[table], which) for which in edges for table in rows}


def test_expressions_that_wait_for_each_other_are_refused() -> None:
    tags = {"a_tag": Expression("b_tag + 1", Type.REAL), "b_tag": Expression("a_tag + 1", Type.REAL)}
    with pytest.raises(BadInput) as caught:
        compile_tags(tags, as_of=AS_OF)
    assert caught.value.code == "engine.circular_tags"
