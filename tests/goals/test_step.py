"""Baselines by hand-counted orders; feasibility says what can be seen."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import BadInput
from aimwell.core.tables import CUSTOMERS, ORDER_LINES, PRODUCTS
from aimwell.core.time import Window
from aimwell.engine.workspace import Workspace
from aimwell.goals.metrics import METRICS, bind_window, find_metric
from aimwell.goals.step import load_goal, set_goal

START = date(2026, 3, 1)


def line(number: int, customer: str, day: date, revenue: str, **more: Any) -> dict[str, Any]:
    return {
        "line_id": str(number),
        "order_id": f"o{number}",
        "customer_id": customer,
        "ordered_at": datetime(day.year, day.month, day.day, tzinfo=UTC),
        "ordered_on": day,
        "revenue": Decimal(revenue),
        "source": "test",
        "simulated": False,
        **more,
    }


def fill(workspace: Workspace, lines: list[dict[str, Any]], customers: int) -> None:
    with workspace.run("data", as_of=START) as run:
        people = [{"customer_id": f"c{number}", "source": "test"} for number in range(customers)]
        run.append("customers", CUSTOMERS.build(people))
        run.append("order_lines", ORDER_LINES.build(lines))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


@pytest.fixture
def small(workspace: Workspace) -> Workspace:
    """Four customers. Window [Feb 15, Mar 1): c0 twice, c1 once; before: c0, c2; long before: c3."""
    lines = [
        line(1, "c0", date(2026, 2, 15), "10.00", product_id="p", quantity=2.0),
        line(2, "c0", date(2026, 2, 28), "20.00"),
        line(3, "c1", date(2026, 2, 20), "30.00"),
        line(4, "c0", date(2026, 2, 14), "40.00"),
        line(5, "c2", date(2026, 2, 1), "50.00"),
        line(6, "c3", date(2025, 12, 1), "60.00"),
        line(7, "c3", date(2026, 3, 1), "999.00"),
    ]
    fill(workspace, lines, customers=4)
    with workspace.run("data", as_of=START) as run:
        run.append(
            "products", PRODUCTS.build([{"product_id": "p", "unit_cost": Decimal("4.00"), "source": "t"}])
        )
    return workspace


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("revenue_per_customer", 60 / 4),
        ("profit_per_customer", (10 - 2 * 4 + 0.3 * 50) / 4),
        ("orders_per_customer", 3 / 4),
        ("retention_rate", 1 / 2),
        ("repeat_rate", 1 / 2),
        ("active_rate", 2 / 4),
        ("reactivation_rate", 0 / 1),
        ("new_customers_per_day", 1 / 14),
    ],
)
def test_each_metric_counts_what_it_says(small: Workspace, metric: str, expected: float) -> None:
    window = Window(date(2026, 2, 15), START)
    with small.read() as reader:
        values = reader.query(METRICS[metric].sql, bind_window(METRICS[metric], window, 0.3))[
            "value"
        ].to_pylist()
    assert sum(values) / len(values) == pytest.approx(expected)


def test_the_baseline_ends_before_the_goal_starts(small: Workspace) -> None:
    result = set_goal(small, as_of=START, days=14, metric="revenue_per_customer")
    assert result.status == "done"
    assert result.summary["baseline"]["estimate"] == pytest.approx(15.0)
    assert result.summary["baseline"]["n"] == 4
    assert [row["start"] for row in result.summary["history"]][-2:] == ["2026-02-01", "2026-02-15"]


def test_the_goal_is_kept_and_read_back(small: Workspace) -> None:
    set_goal(small, as_of=START, days=14, budget=Decimal("12.34"), metric="active_rate")
    goal = load_goal(small)
    assert goal is not None
    assert (goal.metric, goal.budget, goal.window.end) == (
        "active_rate",
        Decimal("12.34"),
        START + timedelta(days=14),
    )


def test_without_orders_the_goal_says_what_is_lacking(workspace: Workspace) -> None:
    result = set_goal(workspace, as_of=START)
    assert result.status == "partial"
    assert "data add" in result.lacks[0].render("en")


def test_three_customers_show_nothing(workspace: Workspace) -> None:
    fill(workspace, [line(n, f"c{n}", date(2026, 2, 20), f"{n + 1}.00") for n in range(3)], customers=3)
    feasibility = set_goal(workspace, as_of=START).summary["feasibility"]
    assert feasibility["enough"] is False
    assert "widen" in feasibility["sentence"]["en"].lower()


def test_a_large_regular_audience_can_see_the_target(workspace: Workspace) -> None:
    days = [date(2026, 2, 10), date(2026, 1, 10)]
    lines = [
        line(2 * n + back, f"c{n}", days[back], f"{10 + n % 7}.00") for n in range(2000) for back in range(2)
    ]
    lines.append(line(9999, "c0", date(2025, 12, 1), "1.00"))
    fill(workspace, lines, customers=2000)
    feasibility = set_goal(workspace, as_of=START, days=28).summary["feasibility"]
    # The past explains everything here, so that adjustment leaves no noise at all.
    assert feasibility["enough"] is True
    assert feasibility["smallest_effect"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"metric": "clicks"}, "goals.unknown_metric"),
        ({"days": 0}, "goals.bad_window"),
        ({"budget": Decimal(-1)}, "goals.negative_budget"),
        ({"target": 50.0}, "goals.bad_target"),
    ],
)
def test_wrong_goals_are_refused_with_a_remedy(
    small: Workspace, arguments: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadInput) as caught:
        set_goal(small, as_of=START, **arguments)
    assert caught.value.code == code
    assert caught.value.remedy is not None


def test_find_metric_lists_what_there_is() -> None:
    with pytest.raises(BadInput, match="revenue_per_customer"):
        find_metric("x")
