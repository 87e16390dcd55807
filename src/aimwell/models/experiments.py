"""Past randomised plans as rows to learn effects from.

Reads assignments, outcomes, plans, plan_items and actions, and the customers as they were known on each plan's
day (``effect_features``); writes nothing. Customers for whom no action was intended, and the standing holdout
(whose intended action is not known), teach nothing about an action and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimwell.engine.session import Queryable
from aimwell.models.effect_design import ActionSet, CustomerFeatures
from aimwell.models.effect_features import REACH_BITS, CustomerSheet, load_sheet
from aimwell.models.effects import EffectData

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SMALLEST_CELL = 30
"""Fewer customers of one reach than this are too few to read action probabilities from."""
MOST_STRATA = 20

ACTIONS_SQL = """
SELECT action_id, offer, channel, department FROM actions ORDER BY action_id
"""
ROWS_SQL = """
SELECT
    assignment.plan_id,
    plan.as_of AS plan_day,
    plan.method,
    assignment.customer_id,
    assignment.arm,
    assignment.action_id,
    assignment.probability,
    assignment.stratum,
    item.probability AS drawn_with,
    outcome.contribution,
    outcome.redeemed,
    outcome.orders_before,
    outcome.revenue_before,
    outcome.contribution_before,
    outcome.simulated
FROM assignments AS assignment
INNER JOIN outcomes AS outcome
    ON outcome.plan_id = assignment.plan_id AND outcome.customer_id = assignment.customer_id
INNER JOIN plans AS plan ON plan.plan_id = assignment.plan_id
LEFT JOIN plan_items AS item
    ON item.plan_id = assignment.plan_id
    AND item.customer_id = assignment.customer_id
    AND item.action_id = assignment.action_id
WHERE
    plan.as_of + CAST(plan.days AS INTEGER) <= $as_of
    AND assignment.action_id IS NOT NULL AND assignment.action_id <> ''
ORDER BY plan.as_of, assignment.plan_id, assignment.customer_id
"""


@dataclass(frozen=True)
class Catalogue:
    """The actions to learn about, and what each offer (in the order of ``actions.offer_names``) is about."""

    actions: ActionSet
    departments: tuple[str | None, ...]


@dataclass(frozen=True)
class Experiments:
    """All past experiments, ready for ``learn_effects``, and whether the market simulator made any outcome."""

    data: EffectData
    catalogue: Catalogue
    plans: tuple[str, ...]
    simulated: bool


def load_catalogue(source: Queryable, tried: set[str]) -> Catalogue:
    """Today's actions and those ``tried`` before; an old action that is gone is read from "<offer>:<channel>"."""
    rows = source.query(ACTIONS_SQL).to_pylist()
    pairs = {row["action_id"]: (row["offer"], row["channel"]) for row in rows}
    department: dict[str, str | None] = {row["offer"]: row["department"] for row in rows}
    for name in sorted(tried - set(pairs)):
        offer, _, channel = name.rpartition(":")
        pairs[name] = (offer or name, channel)
    actions = ActionSet.from_pairs(pairs)
    return Catalogue(actions, tuple(department.get(offer) for offer in actions.offer_names))


def load_experiments(source: Queryable, *, as_of: date) -> Experiments | None:
    """Everything that was measured of plans whose window had ended by ``as_of``; None when there is nothing."""
    rows: list[dict[str, Any]] = source.query(ROWS_SQL, {"as_of": as_of}).to_pylist()
    if not rows:
        return None
    catalogue = load_catalogue(source, {row["action_id"] for row in rows})
    data = assemble_experiments(rows, _load_sheets(source, rows, catalogue), catalogue)
    plans = tuple(dict.fromkeys(row["plan_id"] for row in rows))
    return Experiments(data, catalogue, plans, any(row["simulated"] for row in rows))


def assemble_experiments(
    rows: list[dict[str, Any]], sheets: Mapping[date, CustomerSheet], catalogue: Catalogue
) -> EffectData:
    """``rows`` (as ROWS_SQL gives them) joined to the customers as known on each plan's day. Reads no table."""
    place = {name: number for number, name in enumerate(catalogue.actions.ids)}
    action = np.array([place[row["action_id"]] for row in rows], dtype=np.int64)
    plans = tuple(dict.fromkeys(row["plan_id"] for row in rows))
    plan = np.array([plans.index(row["plan_id"]) for row in rows], dtype=np.int64)
    features, covariates, reach = _collect(rows, plan, sheets)
    people = {name: number for number, name in enumerate(sorted({row["customer_id"] for row in rows}))}
    drawn = np.array([row["method"] == "randomised" and row["drawn_with"] is not None for row in rows])
    return EffectData(
        actions=catalogue.actions,
        outcome=np.array([row["contribution"] for row in rows], dtype=np.float64),
        treated=np.array([row["arm"] == "treatment" for row in rows]),
        probability=_find_probability(rows),
        action=action,
        features=features,
        covariates=np.column_stack([covariates, _mark_strata(rows), features.affinity]),
        customer=np.array([people[row["customer_id"]] for row in rows], dtype=np.int64),
        redeemed=np.array([row["redeemed"] > 0 for row in rows]),
        draw=_estimate_draws(plan, reach, action, drawn, len(catalogue.actions)),
    )


def _load_sheets(
    source: Queryable, rows: list[dict[str, Any]], catalogue: Catalogue
) -> dict[date, CustomerSheet]:
    days = sorted({row["plan_day"] for row in rows})
    return {day: load_sheet(source, until=day, departments=catalogue.departments) for day in days}


def _collect(
    rows: list[dict[str, Any]], plan: Integers, sheets: Mapping[date, CustomerSheet]
) -> tuple[CustomerFeatures, Floats, Integers]:
    """Features, covariates and reach of each row, as known on its plan's day."""
    places = {day: {name: at for at, name in enumerate(sheet.customer_ids)} for day, sheet in sheets.items()}
    modifiers, affinity, others, reach, sizes = [], [], [], [], []
    for row in rows:
        sheet, at = sheets[row["plan_day"]], places[row["plan_day"]].get(row["customer_id"])
        known = at is not None
        at = at or 0
        modifiers.append(
            sheet.features.modifiers[at] if known else np.full(sheet.features.modifiers.shape[1], np.nan)
        )
        affinity.append(
            sheet.features.affinity[at] if known else np.full(sheet.features.affinity.shape[1], np.nan)
        )
        sizes.append(_read_size(sheet, at) if known else 1.0)
        others.append(sheet.recent_revenue[at] if known else np.zeros(3))
        reach.append(int(sheet.reach[at]) if known else 0)
    before = [[row["orders_before"], row["revenue_before"], row["contribution_before"]] for row in rows]
    marks = np.eye(int(plan.max()) + 1)[plan]
    bits = ((np.array(reach)[:, None] >> np.arange(REACH_BITS)) & 1).astype(float)
    covariates = np.column_stack([before, np.array(others), np.array(modifiers), bits, marks])
    return (
        CustomerFeatures(np.array(modifiers), np.array(affinity), np.array(sizes)),
        covariates,
        np.array(reach, dtype=np.int64),
    )


def _read_size(sheet: CustomerSheet, at: int) -> float:
    return 1.0 if sheet.features.size is None else float(sheet.features.size[at])


def _find_probability(rows: list[dict[str, Any]]) -> Floats:
    """P(treatment) among those who are treated or control, per plan and stratum, from the logged probabilities."""
    logged: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        arms = logged.setdefault((row["plan_id"], row["stratum"]), {"treatment": [], "control": []})
        arms.setdefault(row["arm"], []).append(row["probability"])
    share = {}
    for key, arms in logged.items():
        treatment = float(np.mean(arms["treatment"])) if arms["treatment"] else 0.0
        control = float(np.mean(arms["control"])) if arms["control"] else 1.0 - treatment
        treatment = treatment or 1.0 - control
        share[key] = treatment / max(treatment + control, 1e-9)
    found = np.array([share[row["plan_id"], row["stratum"]] for row in rows])
    return np.asarray(np.clip(found, 0.01, 0.99))


def _mark_strata(rows: list[dict[str, Any]]) -> Floats:
    names = sorted({row["stratum"] for row in rows})
    if not 2 <= len(names) <= MOST_STRATA:
        return np.zeros((len(rows), 0))
    return np.array([[float(row["stratum"] == name) for name in names] for row in rows])


def _estimate_draws(
    plan: Integers, reach: Integers, action: Integers, drawn: NDArray[np.bool_], actions: int
) -> Floats:
    """Probabilities (n × A) with which a pilot drew each action; NaN rows where the action was chosen.

    Customers who can be reached alike were offered the same actions, so the frequencies among them are the
    probabilities. What is left of differences in eligibility is taken out as a covariate (reach, affinity).
    """
    draws = np.full((len(action), actions), np.nan)
    cells = plan * (1 << 16) + reach
    for number in np.unique(plan[drawn]):
        rows = drawn & (plan == number)
        common = np.bincount(action[rows], minlength=actions) / rows.sum()
        draws[rows] = common
        for cell in np.unique(cells[rows]):
            members = rows & (cells == cell)
            if members.sum() >= SMALLEST_CELL:
                draws[members] = np.bincount(action[members], minlength=actions) / members.sum()
    return draws
