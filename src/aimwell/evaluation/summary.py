"""The summary of an evaluation: plain numbers, and texts in both languages, for the report and ``--json``.

Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aimwell.core.text import Text
from aimwell.evaluation.breakdown import Breakdown, Part, Promise
from aimwell.evaluation.decision import Decision
from aimwell.evaluation.increment import Increments
from aimwell.evaluation.lesson import Lesson, choose_spoken
from aimwell.evaluation.method import Method
from aimwell.evaluation.plan import Periods, Plan
from aimwell.evaluation.programme import Programme
from aimwell.evaluation.promise import Promised
from aimwell.evaluation.validity import Validity
from aimwell.stats.effect import Effect


@dataclass(frozen=True)
class Findings:
    """Everything that an evaluation found."""

    plan: Plan
    periods: Periods
    simulated: bool
    method: Method
    increments: Increments
    validity: Validity
    breakdown: Breakdown
    programme: Programme | Text | None
    """The programme against the holdout, or why it cannot be told."""
    promised: Promised
    decision: Decision
    lessons: list[Lesson]
    lacks: tuple[Text, ...]

    def summarise(self) -> dict[str, Any]:
        """The shape that the report renders."""
        increments, profit = self.increments, self.increments.totals["profit"]
        return {
            "plan_id": self.plan.plan_id,
            "wave": self.plan.wave,
            "window": _show_periods(self.periods),
            "simulated": self.simulated,
            "method": self.method.describe().both(),
            "arms": {"treatment": profit.n_treatment, "control": profit.n_control},
            "incremental_orders": _show_declared(increments, "orders"),
            "incremental_revenue": _show_declared(increments, "revenue"),
            "incremental_contribution": show_effect(increments.totals["contribution"]),
            "incremental_profit": _show_declared(increments, "profit"),
            "roi": increments.roi.to_dict() if increments.roi else None,
            "relative_revenue": increments.relative_revenue.to_dict()
            if increments.relative_revenue
            else None,
            "per_customer": {
                name: show_effect(found.effect) for name, found in increments.per_customer.items()
            },
            "capped": _show_capped(increments),
            "cost": increments.cost,
            "contact_cost": increments.contact_cost,
            "offer_cost": increments.offer_cost,
            "sample_ratio": _show_sample_ratio(self.validity),
            "cuped": {"variance_removed": increments.per_customer["contribution"].variance_removed},
            "expected_buyers": self.method.expected_buyers,
            "needed_customers": self.method.needed_customers,
            **self._summarise_promise(),
            "segments": [show_part(part) for part in (*self.breakdown.tiers, *self.breakdown.segments)],
            "by_action": [
                show_action(part, self.breakdown.promises.get(part.name)) for part in self.breakdown.actions
            ],
            "programme": _show_programme(self.programme),
            "decision": self.decision.to_dict(),
            "lessons": [text.both() for text in choose_spoken(self.lessons)],
            "lacks": [text.both() for text in self.lacks],
        }

    def _summarise_promise(self) -> dict[str, Any]:
        profit = self.increments.totals["profit"]
        lower, upper = self.promised.interval
        promised = {"estimate": self.promised.profit, "lower": lower, "upper": upper}
        return {
            "promised": promised if self.promised.made else None,
            "realised": show_effect(profit),
            "promise_ratio": self.promised.find_ratio(profit),
            "promise_verdict": self.promised.judge(profit),
        }


def show_effect(effect: Effect) -> dict[str, Any]:
    """An effect as JSON: the estimate's shape with its p-value."""
    return {**effect.to_estimate().to_dict(), "p_value": effect.p_value}


def show_part(part: Part) -> dict[str, Any]:
    """A segment's effect on contribution per customer, proven only if it stands among all that were looked
    at.
    """
    effect = {**show_effect(part.effect), "proven": part.proven, "p_adjusted": part.p_adjusted}
    return {"segment": part.name, "title": part.title.both(), "effect": effect}


def show_action(part: Part, promise: Promise | None) -> dict[str, Any]:
    """An action's profit per treated customer, beside what was promised per treated customer."""
    profit = part.profit_per_customer
    proven = profit.proven and part.p_adjusted < 0.05
    treated = part.profit.n_treatment
    return {
        "action_id": part.name,
        "title": part.title.both(),
        "effect": {**show_effect(profit), "proven": proven, "p_adjusted": part.p_adjusted},
        "promised": promise.profit / treated if promise and promise.profit else None,
        "total": show_effect(part.profit),
        "promised_total": promise.profit if promise and promise.profit else None,
        "n_treatment": treated,
        "n_control": part.profit.n_control,
    }


def _show_declared(increments: Increments, name: str) -> dict[str, Any]:
    return {**show_effect(increments.totals[name]), "p_holm": increments.holm[name]}


def _show_periods(periods: Periods) -> dict[str, Any]:
    return {
        "start": periods.window.start.isoformat(),
        "end": periods.window.end.isoformat(),
        "days": periods.window.days,
        "days_before": periods.before.days if periods.before else 0,
    }


def _show_capped(increments: Increments) -> dict[str, Any] | None:
    if increments.capped is None:
        return None
    return {"cap": increments.cap, "contribution_per_customer": show_effect(increments.capped)}


def _show_sample_ratio(validity: Validity) -> dict[str, Any]:
    ratio = validity.sample_ratio
    return {
        "p_value": ratio.p_value,
        "ok": ratio.ok,
        "expected": ratio.expected,
        "observed": ratio.observed,
        "contaminated": validity.contaminated,
        "reached": validity.reached,
    }


def _show_programme(programme: Programme | Text | None) -> dict[str, Any] | None:
    if programme is None:
        return None
    if isinstance(programme, Text):
        return {"lack": programme.both()}
    totals = programme.increments.totals
    return {
        "n_programme": programme.experiment.n_treatment,
        "n_holdout": programme.experiment.n_control,
        **{f"incremental_{name}": show_effect(totals[name]) for name in ("revenue", "profit")},
    }
