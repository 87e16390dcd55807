"""What DuckDB answers, and so the others, is what counting by hand in plain Python gives: part of the questions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from aimwell.core.time import Window
from aimwell.engine.compile_tags import compile_tags, find_spans
from aimwell.engine.specification import Aggregate, Condition, DaysSince, Measure, Ratio, TopValue
from aimwell.engine.specification import Window as Days
from aimwell.engine.workspace import Reader
from aimwell.goals.metrics import METRICS, bind_window
from tests.conformance.random_tags import draw_tags
from tests.conformance.world import AS_OF, CUSTOMERS, JOINED, build_world

YEAR = AS_OF - timedelta(days=365)
TAGS = {
    "orders": Measure(Aggregate("orders", "count", None, (), Days(365))),
    "revenue": Measure(Aggregate("orders", "sum", "revenue", (), Days(365))),
    "lines": Measure(Aggregate("order_lines", "count", None, (), Days(365))),
    "stores": Measure(Aggregate("order_lines", "count_distinct", "store_id")),
    "smallest": Measure(Aggregate("order_lines", "min", "revenue")),
    "recency": DaysSince("orders", "last"),
    "returns": Ratio(
        Aggregate("order_lines", "count", None, (Condition("is_return", "=", True),)),
        Aggregate("order_lines", "count", None),
    ),
    "category": TopValue("order_lines", "category", None, None),
    "weekend": Measure(Aggregate("orders", "count", None, (Condition("weekday", ">=", 6),))),
    "last_store": Measure(Aggregate("order_lines", "latest", "store_id")),
    "first_category": Measure(Aggregate("order_lines", "earliest", "category", (), Days(365))),
}


def read_lines() -> dict[str, list[dict[str, Any]]]:
    """The lines before today of each customer, joined records under their customer, with their category."""
    world = build_world()
    categories = {row["product_id"]: row["category"] for row in world["products"].to_pylist()}
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in world["order_lines"].to_pylist():
        if row["ordered_on"] < AS_OF:
            row["category"] = categories.get(row["product_id"])
            row["is_return"] = (row["quantity"] or 0) < 0 or (row["revenue"] or 0) < 0
            lines[JOINED.get(row["customer_id"], row["customer_id"])].append(row)
    return lines


def list_values(lines: list[dict[str, Any]], column: str) -> list[tuple[datetime, str]]:
    """The values of ``column`` that are there, each after its instant."""
    return [(line["ordered_at"], line[column]) for line in lines if line[column] is not None]


def count_by_hand(lines: list[dict[str, Any]]) -> dict[str, Any]:
    orders: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        orders[line["order_id"]].append(line)
    # An order of returns only is no purchase.
    kept = [found for found in orders.values() if not all(line["is_return"] for line in found)]
    days = [min(line["ordered_on"] for line in found) for found in kept]
    recent = [found for found, day in zip(kept, days, strict=True) if day >= YEAR]
    paid = [line["revenue"] for found in recent for line in found if line["revenue"] is not None]
    categories = Counter(line["category"] for line in lines if line["category"] is not None)
    revenues = [line["revenue"] for line in lines if line["revenue"] is not None]
    return {
        "orders": len(recent),
        "revenue": float(sum(paid, Decimal(0))),
        "lines": sum(line["ordered_on"] >= YEAR for line in lines),
        "stores": len({line["store_id"] for line in lines} - {None}),
        "smallest": float(min(revenues)) if revenues else None,
        "recency": (AS_OF - max(days)).days if days else None,
        "returns": sum(line["is_return"] for line in lines) / len(lines) if lines else None,
        "category": min(categories, key=lambda name: (-categories[name], name.encode()))
        if categories
        else None,
        "weekend": sum(day.isoweekday() >= 6 for day in days),
        "last_store": max(list_values(lines, "store_id"), default=(None, None))[1],
        "first_category": min(
            list_values([line for line in lines if line["ordered_on"] >= YEAR], "category"),
            default=(None, None),
        )[1],
    }


def test_tags(on_duckdb: Reader) -> None:
    query = compile_tags(TAGS, as_of=AS_OF)
    found = {row.pop("customer_id"): row for row in on_duckdb.query(query.sql, query.parameters).to_pylist()}
    lines = read_lines()
    everybody = {name for name in CUSTOMERS if name not in JOINED} | set(lines)
    assert set(found) == everybody
    for customer in everybody:
        expected = count_by_hand(lines.get(customer, []))
        for name, value in expected.items():
            if isinstance(value, float) and found[customer][name] is not None:
                assert math.isclose(found[customer][name], value, rel_tol=1e-12), (customer, name)
            else:
                assert found[customer][name] == value, (customer, name)


@pytest.mark.parametrize(
    "window", [Window(date(2024, 2, 1), AS_OF), Window(date(2023, 2, 28), date(2024, 2, 29))]
)
def test_metrics(window: Window, on_duckdb: Reader) -> None:
    def measure(name: str) -> dict[str, float]:
        table = on_duckdb.query(METRICS[name].sql, bind_window(METRICS[name], window, 0.3))
        return dict(zip(table["customer_id"].to_pylist(), table["value"].to_pylist(), strict=True))

    lines = read_lines()
    inside = {
        customer: [line for line in found if window.start <= line["ordered_on"] < window.end]
        for customer, found in lines.items()
    }
    orders = {
        customer: len({line["order_id"] for line in found}) for customer, found in inside.items() if found
    }
    known = [name for name in CUSTOMERS if name not in JOINED]
    assert measure("orders_per_customer") == {customer: float(orders.get(customer, 0)) for customer in known}
    assert measure("repeat_rate") == {customer: float(count >= 2) for customer, count in orders.items()}
    before = window.start - timedelta(days=window.days)
    earlier = {
        customer
        for customer, found in lines.items()
        if any(before <= line["ordered_on"] < window.start for line in found)
    }
    assert measure("retention_rate") == {customer: float(customer in orders) for customer in earlier}
    firsts = Counter(min(line["ordered_on"] for line in found) for found in lines.values())
    assert measure("new_customers_per_day") == {
        day.isoformat(): float(firsts[day])
        for day in (window.start + timedelta(days=number) for number in range(window.days))
    }


@pytest.mark.parametrize("history", [1, 7, 28, 29, 30, 31, 60, 90, 180, 364, 365, 366, 500])
def test_knowing_how_long_the_history_is_changes_no_tag(history: int, on_duckdb: Reader) -> None:
    first = on_duckdb.query("SELECT MIN(ordered_on) AS day FROM order_lines")["day"][0].as_py()
    as_of = first + timedelta(days=history)
    spans = find_spans(on_duckdb.query, as_of)
    assert spans["order_lines"] == history
    tags = {**TAGS, **draw_tags(history, 25)}
    for days in (7, 30, 90, 365):
        tags[f"stores_{days}"] = Measure(
            Aggregate("order_lines", "count_distinct", "store_id", (), Days(days))
        )
        tags[f"events_{days}"] = Measure(Aggregate("events", "count", None, (), Days(days)))
    plain, knowing = (compile_tags(tags, as_of=as_of, spans=known) for known in (None, spans))
    assert on_duckdb.query(plain.sql, plain.parameters).equals(
        on_duckdb.query(knowing.sql, knowing.parameters)
    )
