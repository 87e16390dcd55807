"""A plan that is a designed test: its rule, its metrics as they stand on a day, and the looks that are kept.

Reads plan_designs, looks, and what the metrics read. Writes looks (through the step's run).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from aimwell.core.tables import LOOKS
from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Run
from aimwell.evaluation.experiment import Array, Experiment
from aimwell.evaluation.looks import Look, Seen, Test
from aimwell.evaluation.method import Comparison, Method, compare
from aimwell.evaluation.plan import Plan
from aimwell.goals.metrics import bind_window, find_metric
from aimwell.goals.test_rule import TestRule
from aimwell.stats.effect import Effect

PROFIT = "profit_per_customer"
"""Of a test: less what contacts and redeemed offers cost."""
_OWN = {"revenue_per_customer": "revenue", "orders_per_customer": "orders"}
_LOOKS = """
SELECT * FROM looks WHERE plan_id = $plan_id
ORDER BY look, CASE WHEN role = 'primary' THEN 0 ELSE 1 END, metric, looked_on, run_id
"""
_LATE = 3
"""Days without any order before a day, above which orders are taken to be missing rather than none."""


def read_test(reader: Queryable, plan: Plan) -> Test | None:
    """The plan's test with the looks taken so far; None for a plan without a design. Conflict for a changed rule."""
    wanted = {"plan_id": plan.plan_id}
    rows = reader.query("SELECT * FROM plan_designs WHERE plan_id = $plan_id", wanted).to_pylist()
    if not rows:
        return None
    kept: dict[tuple[int, str], Look] = {}
    for row in reader.query(_LOOKS, wanted).to_pylist():
        # Two evaluations at one moment may both have looked: the first counts.
        kept.setdefault((row["look"], row["metric"]), Look.from_row(row))
    return Test(TestRule.from_row(rows[0]), plan.start, tuple(kept.values()))


def find_known_day(reader: Queryable, plan: Plan, as_of: date) -> date:
    """Up to which day, exclusive, outcomes are known: ``as_of``, unless orders end days earlier."""
    day = min(as_of, plan.window.end)
    sql = "SELECT MAX(ordered_on) AS last FROM order_lines WHERE ordered_on < $day"
    last: date | None = reader.query(sql, {"day": day})["last"][0].as_py()
    if last is None:
        return plan.start
    known = last + timedelta(days=1)
    return day if (day - known).days <= _LATE else known


def look(
    reader: Queryable,
    test: Test,
    experiment: Experiment,
    *,
    today: date,
    method: Method,
    margin_rate: float,
) -> Test:
    """The test with a look at ``experiment``, which holds what is known before ``today``."""
    window = Window(test.start, today)

    def see(name: str) -> Seen:
        return _see(reader, experiment, name, window, test.rule.days, method, margin_rate)

    guards = [(guard, see(guard.metric)) for guard in test.rule.guards]
    return test.look(today, see(test.rule.metric), guards)


def keep_looks(run: Run, plan: Plan, looks: tuple[Look, ...], *, simulated: bool) -> None:
    """Append new looks: what was looked at is never taken back."""
    if looks:
        marks = {"plan_id": plan.plan_id, "simulated": simulated, "run_id": run.id}
        run.append("looks", LOOKS.build([{**found.to_row(), **marks} for found in looks]))


def find_profit_so_far(found: Comparison, contact_total: float, share: float) -> Effect:
    """Profit of all treated when the ``share`` of the window has passed, tested against 0.

    Contacts are paid at once, what they bring comes over the window. So the profit is shown only where what came pays
    all contacts, and a loss only where it does not pay their share; between the two nothing is shown (p = 1). At the
    end of the window both are the same.
    """
    paid, fair = found.find_profit(contact_total), found.find_profit(contact_total * share)
    if paid.estimate >= 0 or share >= 1:
        return paid
    return fair if fair.estimate < 0 else replace(paid, p_value=1.0)


def _see(
    reader: Queryable,
    experiment: Experiment,
    name: str,
    window: Window,
    days: int,
    method: Method,
    margin_rate: float,
) -> Seen:
    if name == PROFIT:
        values = experiment.outcomes["contribution"]
        found = compare(experiment, values, method=method, name=name)
        profit = find_profit_so_far(found, experiment.contact_total, window.days / days)
        return Seen(profit.scale(1 / experiment.n_treatment), _find_level(experiment, values))
    values = (
        experiment.outcomes[_OWN[name]]
        if name in _OWN
        else _read_values(reader, experiment, name, window, days, margin_rate)
    )
    known = ~np.isnan(values)
    part = experiment if known.all() else experiment.keep(known)
    effect = compare(part, values[known], method=method, name=name).effect
    return Seen(effect, _find_level(part, values[known]))


def _read_values(
    reader: Queryable, experiment: Experiment, name: str, window: Window, days: int, margin_rate: float
) -> Array:
    """The KPI of each customer; NaN for whoever it is not about, which was settled before the test began."""
    metric = find_metric(name)
    bound = bind_window(metric, window, margin_rate)
    settled = "before" in bound
    if settled:
        # The same people at each look, however much of the window has passed.
        bound["before"] = window.start - timedelta(days=days)
    table = reader.query(metric.sql, bound)
    found = dict(zip(table["customer_id"].to_pylist(), table["value"].to_pylist(), strict=True))
    # Where buying in the window decides whom a KPI is about, those who did not buy count as 0: treatment moves them.
    missing = np.nan if settled else 0.0
    return np.array([found.get(customer, missing) for customer in experiment.customer_id.tolist()])


def _find_level(experiment: Experiment, values: Array) -> float:
    control = values[~experiment.treated]
    return float(control.mean()) if len(control) else 0.0
