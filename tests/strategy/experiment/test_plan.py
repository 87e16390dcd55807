"""A design made from a workspace's past: what it reads, what it asks for, and what it says in both languages."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Workspace
from aimwell.stats.power import ALPHA
from aimwell.strategy.experiment.history import (
    NOT_HOMED,
    name_lone,
    read_clusters,
    read_column,
    read_labels,
    read_members,
    read_metric,
    read_prior,
)
from aimwell.strategy.experiment.holdout import Prior
from aimwell.strategy.experiment.plan import TestDesign, design_test, find_unit_value
from aimwell.strategy.experiment.question import Question, plan_looks
from aimwell.strategy.experiment.words import describe_design, to_payload

DAY = date(2024, 6, 1)
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
CUSTOMERS = 240


def fill(workspace: Workspace) -> None:
    """Each customer buys once in each of the last 8 windows of 7 days, for 1 + its number, in one of 12 stores.

    The last ten never buy. ``spent`` and ``past`` stand in columns, too.
    """
    lines = [
        {
            "line_id": f"l{customer}-{week}",
            "order_id": f"o{customer}-{week}",
            "customer_id": f"c{customer}",
            "product_id": "p",
            "store_id": f"s{customer % 12}",
            "ordered_at": NOON - timedelta(days=7 * week + 1),
            "ordered_on": DAY - timedelta(days=7 * week + 1),
            "quantity": 1.0,
            "revenue": Decimal(1 + customer),
            "source": "test",
            "simulated": False,
        }
        for customer in range(CUSTOMERS - 10)
        for week in range(8)
    ]
    customers = TABLES["customers"].build(
        [{"customer_id": f"c{number}", "source": "test"} for number in range(CUSTOMERS)]
    )
    spent = ["none" if number == 7 else str(number % 5) for number in range(CUSTOMERS)]
    customers = customers.append_column("spent", pa.array(spent))
    customers = customers.append_column(
        "past", pa.array([str(number % 5 + 1) for number in range(CUSTOMERS)])
    )
    customers = customers.append_column("bought", pa.array([str(number % 2) for number in range(CUSTOMERS)]))
    with workspace.run("data", as_of=DAY) as run:
        run.replace("customers", customers)
        run.append("order_lines", TABLES["order_lines"].build(lines))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path_factory.mktemp("shop") / "w", name="shop", zone="UTC", currency="USD")
    fill(opened)
    yield opened
    opened.close()


def make(workspace: Workspace, **asked: Any) -> TestDesign:
    question = Question(**{"metric": "revenue_per_customer", "days": 7, "control_share": 0.5, **asked})
    with workspace.read() as reader:
        return design_test(reader, workspace.settings, question, as_of=DAY)


def test_history_counts_what_happened_in_the_window_and_before(workspace: Workspace) -> None:
    with workspace.read() as reader:
        found = read_metric(reader, "revenue_per_customer", as_of=DAY, days=14, margin_rate=0.3)
        orders = read_metric(reader, "orders_per_customer", as_of=DAY, days=28, margin_rate=0.3)
        short = read_metric(reader, "revenue_per_customer", as_of=DAY, days=49, margin_rate=0.3)
        with pytest.raises(NotReady) as early:
            read_metric(reader, "revenue_per_customer", as_of=DAY, days=80, margin_rate=0.3)
        with pytest.raises(BadInput) as daily:
            read_metric(reader, "new_customers_per_day", as_of=DAY, days=7, margin_rate=0.3)
    values = dict(zip(found.customers, found.outcome.tolist(), strict=True))
    assert values["c10"] == 22.0 and values["c239"] == 0.0 and len(values) == CUSTOMERS
    assert found.before is not None and np.array_equal(found.before, found.outcome)
    assert set(orders.outcome.tolist()) == {0.0, 4.0}
    assert short.before is None
    assert early.value.code == "strategy.no_history" and daily.value.code == "strategy.not_per_customer"
    assert found.keep(np.array([name == "c10" for name in found.customers])).outcome.tolist() == [22.0]


def test_columns_hold_outcomes_and_labels(workspace: Workspace) -> None:
    with workspace.read() as reader:
        spent = read_column(reader, "spent", "past")
        assert read_column(reader, "bought").kind == "share" and spent.kind == "money"
        assert len(spent.customers) == CUSTOMERS - 1 and spent.days is None
        assert spent.before is not None and np.array_equal(spent.before, spent.outcome + 1)
        people = ["c3", "c15", "c239", "nobody"]
        assert read_labels(reader, "store", people, as_of=DAY) == ["s3", "s3", NOT_HOMED, NOT_HOMED]
        assert read_labels(reader, "past", people, as_of=DAY) == ["4", "1", "5", NOT_HOMED]
        lone = [name_lone("c239"), name_lone("nobody")]
        assert read_clusters(reader, "store", people, as_of=DAY) == ["s3", "s3", *lone]
        for name in ("height", 'spent" FROM customers; --'):
            with pytest.raises(BadInput) as unknown:
                read_labels(reader, name, people, as_of=DAY)
            assert unknown.value.code == "strategy.unknown_column"
        with pytest.raises(BadInput) as wordy:
            read_column(reader, "source")
        assert wordy.value.code == "strategy.no_numbers"
        with pytest.raises(BadInput) as empty:
            read_members(reader, "gold", as_of=DAY)
        assert empty.value.code == "strategy.empty_segment"


def test_two_lessons_are_a_prior_and_one_is_none(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "w", name="shop", zone="UTC", currency="USD")
    lesson = {
        "promised": 0.0,
        "standard_error": 10.0,
        "n_treatment": 100,
        "n_control": 100,
        "lesson": "{}",
        "simulated": False,
    }
    for number, realised in enumerate((100.0, 300.0)):
        with shop.run("evaluation", as_of=DAY) as run:
            row = {**lesson, "plan_id": f"p{number}", "realised": realised, "run_id": run.id}
            run.append("lessons", TABLES["lessons"].build([row]))
        with shop.read() as reader:
            found = read_prior(reader)
        assert (found is None) == (number == 0)
    assert isinstance(found, Prior)
    assert found.mean == pytest.approx(2.0) and found.sd > 1.0
    shop.close()


def test_the_design_is_consistent_with_itself(workspace: Workspace) -> None:
    found = make(workspace, guards=("orders_per_customer", "active_rate"), looks=3)
    held = found.held_out
    assert len(found.history.customers) + held == CUSTOMERS and 5 < held < 60
    counts = found.assignment.count()
    assert sum(counts.values()) == len(found.history.customers) == len(found.units)
    assert found.imbalance <= 1 and found.strata > 1
    assert found.spread.mean.estimate == pytest.approx(110, rel=0.1)
    # Everybody spends as before, so that nearly all noise is gone and the smallest target is seen.
    assert found.spread.variance_removed > 0.99 and found.enough
    assert found.stopping.alpha == ALPHA and len(found.stopping.limits) == 3
    assert [guard.name for guard in found.guards] == ["orders_per_customer", "active_rate"]
    assert make(workspace).salt == make(workspace, name="test").salt != make(workspace, name="other").salt


def test_several_treatments_and_guards_share_the_error_out() -> None:
    one, three = plan_looks(Question()), plan_looks(Question(treatments=3))
    assert three.alpha == pytest.approx(ALPHA / 3) and three.limits[-1] > one.limits[-1]
    assert plan_looks(Question(), guards=2).alpha == pytest.approx(ALPHA / 2)
    assert plan_looks(Question(looks=1)).factor == pytest.approx(1.0, abs=1e-6)
    assert 1 < one.factor < plan_looks(Question(shape="pocock")).factor


@pytest.mark.parametrize(
    "asked",
    [
        {"control_share": 0.0},
        {"control_share": float("nan")},
        {"target": 0.0},
        {"days": 0},
        {"treatments": 0},
        {"looks": 61},
        {"per_day": -1.0},
        {"guard_limit": 1.0},
    ],
)
def test_questions_out_of_range_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refused:
        Question(**asked)
    assert refused.value.code == "strategy.bad_design"


def test_stores_are_drawn_as_a_whole(workspace: Workspace) -> None:
    found = make(workspace, cluster="store")
    assert found.spread.clustering is not None and found.spread.clustering.clusters >= 12
    arms: dict[str, set[int]] = {}
    for unit, arm in zip(found.units, found.assignment.arm.tolist(), strict=True):
        arms.setdefault(unit, set()).add(arm)
    assert all(len(inside) == 1 for inside in arms.values())
    assert found.trial is None and to_payload(found, "USD")["clusters"]["by"] == "store"


def test_an_audience_of_nobody_is_refused(workspace: Workspace) -> None:
    with workspace.run("analysis", as_of=DAY) as run:
        members = [
            {"segment": "three", "customer_id": f"c{n}", "entered_on": DAY, "run_id": run.id}
            for n in range(3)
        ]
        run.replace("segment_members", TABLES["segment_members"].build(members))
    with pytest.raises(NotReady) as refused:
        make(workspace, segment="three")
    assert refused.value.code == "strategy.no_audience"


def test_money_is_worth_its_margin_and_other_things_what_is_said(workspace: Workspace) -> None:
    with workspace.read() as reader:
        revenue = read_metric(reader, "revenue_per_customer", as_of=DAY, days=7, margin_rate=0.3)
    assert find_unit_value(revenue, None, 0.3) == 0.3
    assert find_unit_value(replace(revenue, name="profit_per_customer"), None, 0.3) == 1.0
    assert find_unit_value(replace(revenue, kind="orders"), None, 0.3) is None
    assert find_unit_value(replace(revenue, kind="share"), 7.0, 0.3) == 7.0


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, "can be seen"),
        ({"metric": None, "outcome": "spent", "looks": 1}, "One look, at the end"),
        ({"metric": None, "outcome": "bought", "target": 0.01}, "cannot be seen"),
        ({"metric": None, "outcome": "spent", "target": 0.01, "per_day": 5.0}, "becomes visible after"),
        ({"metric": "orders_per_customer", "guards": ("active_rate",)}, "Guard active_rate"),
        ({"expected": -0.5, "doubt": 0.01}, "hold nobody out"),
        ({"expected": 0.01, "doubt": 0.05}, "earns the most"),
    ],
)
def test_every_sentence_is_said_in_both_languages(
    workspace: Workspace, asked: dict[str, Any], wanted: str
) -> None:
    found = make(workspace, **asked)
    texts = describe_design(found, "USD")
    assert any(wanted in text.render("en") for text in texts), [text.render("en") for text in texts]
    for text in texts:
        shown = text.both()
        assert shown["en"] != shown["zh"] and "{" not in shown["en"] + shown["zh"]
    payload = to_payload(found, "USD")
    assert json.loads(json.dumps(payload, allow_nan=False))["sentences"] == [text.both() for text in texts]
    assert not any(customer in json.dumps(payload) for customer in ("c101", "c239"))
    smallest = payload["smallest_effect"]
    assert smallest["lower"] <= smallest["estimate"] <= smallest["upper"] < math.inf
