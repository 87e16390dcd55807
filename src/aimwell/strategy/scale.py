"""What a plan asks of the optimiser, posed for few customers or for many. Reads and writes no tables.

Up to ``MANY`` customers the question is a dense ``Problem``. For more it is an ``Instance`` of ``strategy.large``:
limits are tables, values are rounded to single precision, and what that rounding can hide is added to the bound.

A limit on a share ("at least 5 % of those contacted are …") takes from some what it gives to others, and the
optimisers count only upwards. So where there is one, *nothing* becomes an action of its own, which everybody may have:
whoever counts against the share and gets nothing gives back what an action would have taken. With one choice for each
customer the two forms are the same sum, shifted by a constant, and the share is kept as exactly as any other limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aimwell.core.seeds import generator
from aimwell.strategy.certificate import EPSILON, measure_gap
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.large.audience import LocalAudience
from aimwell.strategy.large.instance import LARGEST_WHOLE, Instance, TableRow
from aimwell.strategy.large.solve import allocate, certify
from aimwell.strategy.optimiser import Effort, Solution
from aimwell.strategy.problem import Flags, Integers, Problem, Reals, Row
from aimwell.strategy.ties import TRACE, has_ties, optimise_apart

MANY = 20_000
LIFT = 0.25
"""By which part of a usual best value *nothing* is better than no choice at all: who has nothing has chosen it."""


@dataclass(frozen=True)
class _Question:
    """Values, what is allowed, and by how much values were lifted; the last action is *nothing* where ``lift`` > 0."""

    value: Reals
    allowed: Flags
    lift: float


def optimise_inputs(
    inputs: PlanInputs, considered: Integers, *, start: Reals | None = None, effort: Effort = "full"
) -> Solution:
    """The best actions of ``considered`` at all limits; Conflict when the limits contradict each other."""
    if len(considered) > MANY and float(inputs.cost_cents[considered].max(initial=0.0)) <= LARGEST_WHOLE:
        found = _optimise_many(inputs, considered, start)
    else:
        found = optimise_apart(build_problem(inputs, considered), start=start, effort=effort)
    return _take_back(inputs, considered, found)


def build_problem(inputs: PlanInputs, considered: Integers) -> Problem:
    """The optimisation over ``considered``: expected profit, less caution and contact pressure."""
    asked = _ask(inputs, considered)
    rows = tuple(replace(row, usage=row.usage[considered]) for row in inputs.build_rows(considered))
    if asked.lift:
        rows = tuple(_count_upwards(row) for row in rows)
    return Problem(asked.value, rows, asked.allowed)


def build_instance(inputs: PlanInputs, considered: Integers) -> Instance:
    """The same for many customers, in single precision: whole cents up to 167,772.16 are exact."""
    asked = _ask(inputs, considered)
    cost = inputs.cost_cents[considered]
    segment = inputs.segments.number[considered]
    rows = tuple(_build_row(inputs, limit, considered) for limit in inputs.limits)
    if asked.lift:
        cost = np.column_stack([cost, np.zeros(len(considered))])
        rows = tuple(_count_table_upwards(row, segment) for row in rows)
    return Instance(
        np.where(asked.allowed, asked.value, -np.inf).astype(np.float32),
        rows,
        segment.astype(np.int32),
        cost.astype(np.float32),
    )


def _ask(inputs: PlanInputs, considered: Integers) -> _Question:
    value, allowed = inputs.competing[considered], (inputs.eligible & inputs.known)[considered]
    if not _has_shares(inputs):
        return _Question(value, allowed, 0.0)
    best = np.where(allowed, value, -np.inf).max(axis=1, initial=-np.inf)
    usual = float(best[best > 0].mean()) if np.any(best > 0) else 1.0
    # A power of two leaves the values their digits.
    lift = float(2.0 ** np.round(np.log2(LIFT * usual)))
    nothing = np.zeros((len(value), 1))
    return _Question(np.column_stack([value, nothing]) + lift, np.column_stack([allowed, nothing == 0]), lift)


def _has_shares(inputs: PlanInputs) -> bool:
    return any(limit.unit == "percent" for limit in inputs.limits)


def _count_upwards(row: Row) -> Row:
    least = np.minimum(row.usage.min(axis=1, initial=0.0), 0.0)
    usage = np.column_stack([row.usage, np.zeros(len(least))]) - least[:, None]
    return Row(row.name, usage, row.limit - float(least.sum()), row.sense)


def _count_table_upwards(row: TableRow, segment: Integers) -> TableRow:
    least = np.minimum(row.table.min(axis=1, initial=0.0), 0.0)
    table = np.column_stack([row.table, np.zeros(len(least))]) - least[:, None]
    return replace(row, table=table, limit=row.limit - float(least[segment].sum()))


def _build_row(inputs: PlanInputs, limit: Limit, considered: Integers) -> TableRow:
    bound, table = inputs.find_bound(limit, considered), inputs.build_table(limit)
    sense = "at_least" if limit.unit == "percent" else limit.sense
    return TableRow(limit.limit_id, table, bound, sense, limit.unit == "money")


def _optimise_many(inputs: PlanInputs, considered: Integers, start: Reals | None) -> Solution:
    asked = _ask(inputs, considered)
    value, allowed = asked.value, asked.allowed
    instance = build_instance(inputs, considered)
    posed = instance
    if has_ties(value, allowed):
        trace = 1.0 + TRACE * generator(0, "strategy.ties", len(value)).random((len(value), 1))
        posed, start = replace(instance, value=(instance.value * trace).astype(np.float32)), None
    found = allocate(posed, start=start)
    slots = found.chosen.astype(np.int64)
    place = np.flatnonzero(slots[:, 0] >= 0)
    objective = float(value[place, slots[place, 0]].sum())
    hidden = np.where(allowed, value - instance.value, 0.0).max(axis=1, initial=0.0)
    audience = LocalAudience.of(instance)
    bounds = [certify(audience, prices) for prices in (found.prices, np.zeros_like(found.prices))]
    upper = max(objective, min(bounds) + float(hidden.sum()))
    return Solution(slots, objective, upper, measure_gap(objective, upper), found.used, found.prices)


def _take_back(inputs: PlanInputs, considered: Integers, found: Solution) -> Solution:
    """The solution without the action *nothing*: values as they were, and what the shares' rows really count."""
    if not _has_shares(inputs):
        return found
    lift = _ask(inputs, considered).lift
    slots = np.where(found.slots == len(inputs.actions), -1, found.slots)
    place = np.flatnonzero(slots[:, 0] >= 0)
    pairs = (considered[place], slots[place, 0])
    objective = float(inputs.competing[pairs].sum())
    lifted = lift * len(considered)
    upper = max(objective, found.upper_bound - lifted + 4 * EPSILON * lifted)
    used = found.used.copy()
    for index, limit in enumerate(inputs.limits):
        if limit.unit == "percent":
            used[index] = float(inputs.build_table(limit)[inputs.segments.number[pairs[0]], pairs[1]].sum())
    return replace(
        found,
        slots=slots,
        objective=objective,
        upper_bound=upper,
        gap=measure_gap(objective, upper),
        used=used,
    )
