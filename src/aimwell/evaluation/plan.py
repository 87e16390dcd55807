"""The plan that is evaluated: which one, and whether its window has ended.

Reads plans, order_lines. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.core.time import Window
from aimwell.engine.session import Queryable

COVARIATE_DAYS = 84
"""How far the period before a plan reaches that explains its outcomes: twelve whole weeks."""
LEAST_COVARIATE_DAYS = 7


@dataclass(frozen=True)
class Plan:
    """What evaluation needs to know of a plan."""

    plan_id: str
    wave: str
    round_number: int
    start: date
    days: int
    expected_profit: float
    expected_profit_se: float
    simulated: bool

    @property
    def window(self) -> Window:
        """The business days in which outcomes count."""
        return Window.after(self.start, self.days)


@dataclass(frozen=True)
class Periods:
    """A plan's window and the covariate period that ends where it starts (None: no data before)."""

    window: Window
    before: Window | None

    @property
    def scale(self) -> float:
        """Window's length ÷ covariate period's length; 0 without one."""
        return self.window.days / self.before.days if self.before else 0.0


_PLANS = """
SELECT plan_id, wave, round_number, as_of AS start, days, expected_profit, expected_profit_se, simulated
FROM plans
ORDER BY as_of DESC, round_number DESC, plan_id DESC
"""


def find_plan(reader: Queryable, *, plan_id: str | None, as_of: date) -> Plan | Text:
    """The plan called ``plan_id``, else the newest whose window ended by ``as_of``, else the one that ends first; or
    why there is none. Its window may not have ended.

    BadInput when no plan is called so.
    """
    plans = [Plan(**row) for row in reader.query(_PLANS).to_pylist()]
    if plan_id is not None:
        return _pick_plan(plans, plan_id)
    if not plans:
        return say("There is no plan to evaluate. Make one with: aimwell strategy plan")
    ended = [plan for plan in plans if plan.window.end <= as_of]
    return ended[0] if ended else min(plans, key=lambda plan: plan.window.end)


def find_periods(reader: Queryable, plan: Plan) -> Periods | Text:
    """The plan's window and what lies before it in the data; or why outcomes cannot be seen."""
    row: dict[str, Any] = reader.query(
        "SELECT MIN(ordered_on) AS first, MAX(ordered_on) AS last FROM order_lines WHERE ordered_on < $end",
        {"end": plan.window.end},
    ).to_pylist()[0]
    if row["last"] is None or row["last"] < plan.start:
        return say(
            "No order of the plan's window ({start} to {end}) has been delivered. Load newer orders with: "
            "aimwell data add FILE --as order_lines",
            start=plan.start.isoformat(),
            end=plan.window.end.isoformat(),
        )
    known = min(COVARIATE_DAYS, (plan.start - row["first"]).days)
    before = Window.before(plan.start, known) if known >= LEAST_COVARIATE_DAYS else None
    return Periods(plan.window, before)


def find_last_day(reader: Queryable, plan: Plan) -> date:
    """The last business day of the plan's window on which anything was bought."""
    query = "SELECT MAX(ordered_on) AS last FROM order_lines WHERE ordered_on < $end"
    last: date = reader.query(query, {"end": plan.window.end}).column("last")[0].as_py()
    return last


def _pick_plan(plans: list[Plan], plan_id: str) -> Plan:
    for plan in plans:
        if plan.plan_id == plan_id:
            return plan
    raise BadInput(
        "evaluation.unknown_plan",
        say("There is no plan '{plan}'.", plan=plan_id),
        remedy=say("Known plans: {plans}.", plans=join_list(plan.plan_id for plan in plans[:5]) or "–"),
        where={"value": plan_id},
    )


def say_not_ended(plan: Plan) -> Text:
    """Why a plan cannot be evaluated yet."""
    return say(
        "The window of plan {plan} ends on {end}: evaluate it from that day on.",
        plan=plan.plan_id,
        end=plan.window.end.isoformat(),
    )
