"""What a plan asks of the optimiser, posed for few customers or for many. Reads and writes no tables.

Up to ``MANY`` customers the question is a dense ``Problem``. For more it is an ``Instance`` of ``strategy.large``:
limits are tables, values are rounded to single precision, and what that rounding can hide is added to the bound.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aimwell.core.money import to_cents
from aimwell.core.seeds import generator
from aimwell.strategy.certificate import measure_gap
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.large.audience import LocalAudience
from aimwell.strategy.large.instance import LARGEST_WHOLE, Instance, TableRow
from aimwell.strategy.large.solve import allocate, certify
from aimwell.strategy.optimiser import Effort, Solution
from aimwell.strategy.problem import Flags, Integers, Problem, Reals
from aimwell.strategy.ties import TRACE, has_ties, optimise_apart

MANY = 20_000


def optimise_inputs(
    inputs: PlanInputs, considered: Integers, *, start: Reals | None = None, effort: Effort = "full"
) -> Solution:
    """The best actions of ``considered`` at all limits; Conflict when the limits contradict each other."""
    if len(considered) > MANY and float(inputs.cost_cents[considered].max(initial=0.0)) <= LARGEST_WHOLE:
        return _optimise_many(inputs, considered, start)
    return optimise_apart(build_problem(inputs, considered), start=start, effort=effort)


def build_problem(inputs: PlanInputs, considered: Integers) -> Problem:
    """The optimisation over ``considered``: expected profit, less ``caution`` standard errors."""
    value, allowed = _value_pairs(inputs, considered)
    rows = tuple(replace(row, usage=row.usage[considered]) for row in inputs.build_rows())
    return Problem(value, rows, allowed)


def build_instance(inputs: PlanInputs, considered: Integers) -> Instance:
    """The same for many customers, in single precision: whole cents up to 167,772.16 are exact."""
    value, allowed = _value_pairs(inputs, considered)
    return Instance(
        np.where(allowed, value, -np.inf).astype(np.float32),
        tuple(_build_row(inputs, limit) for limit in inputs.limits),
        np.zeros(len(considered), dtype=np.int32),
        inputs.cost_cents[considered].astype(np.float32),
    )


def _value_pairs(inputs: PlanInputs, considered: Integers) -> tuple[Reals, Flags]:
    value = inputs.profit - inputs.caution * inputs.error
    return value[considered], (inputs.eligible & inputs.known)[considered]


def _build_row(inputs: PlanInputs, limit: Limit) -> TableRow:
    counted = [limit.actions is None or action.action_id in limit.actions for action in inputs.actions]
    minutes = limit.unit == "minutes"
    each = [action.minutes if minutes else 1.0 for action in inputs.actions]
    money = limit.unit == "money"
    most = float(to_cents(limit.limit)) if money else float(limit.limit)
    return TableRow(limit.limit_id, (np.array(counted) * np.array(each))[None, :], most, limit.sense, money)


def _optimise_many(inputs: PlanInputs, considered: Integers, start: Reals | None) -> Solution:
    value, allowed = _value_pairs(inputs, considered)
    instance = build_instance(inputs, considered)
    asked = instance
    if has_ties(value, allowed):
        trace = 1.0 + TRACE * generator(0, "strategy.ties", len(value)).random((len(value), 1))
        asked, start = replace(instance, value=(instance.value * trace).astype(np.float32)), None
    found = allocate(asked, start=start)
    slots = found.chosen.astype(np.int64)
    place = np.flatnonzero(slots[:, 0] >= 0)
    objective = float(value[place, slots[place, 0]].sum())
    hidden = np.where(allowed, value - instance.value, 0.0).max(axis=1, initial=0.0)
    audience = LocalAudience.of(instance)
    bounds = [certify(audience, prices) for prices in (found.prices, np.zeros_like(found.prices))]
    upper = max(objective, min(bounds) + float(hidden.sum()))
    return Solution(slots, objective, upper, measure_gap(objective, upper), found.used, found.prices)
