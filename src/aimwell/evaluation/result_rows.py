"""The rows of ``results``: one per metric and part of an experiment. Writes results (through the step)."""

from __future__ import annotations

from typing import Any

from aimwell.core.estimate import Estimate
from aimwell.core.text import Text
from aimwell.evaluation.breakdown import Breakdown, Part
from aimwell.evaluation.increment import Increments
from aimwell.evaluation.programme import Programme
from aimwell.evaluation.validity import Validity
from aimwell.stats.effect import Effect

_UNITS = {"orders": "orders", "revenue": "money", "contribution": "money", "profit": "money"}


def list_results(
    increments: Increments, *, breakdown: Breakdown, validity: Validity, programme: Programme | Text | None
) -> list[dict[str, Any]]:
    """Rows without plan, look and run, which the step adds."""
    rows = [
        *(
            make_row(f"incremental_{name}", effect, unit=_UNITS[name])
            for name, effect in increments.totals.items()
        ),
        *(
            make_row(f"{name}_per_customer", comparison.effect, unit=_UNITS[name])
            for name, comparison in increments.per_customer.items()
        ),
        _make_ratio_row("sample_ratio_p_value", validity),
    ]
    profit = increments.totals["profit"]
    if increments.capped is not None:
        rows.append(make_row("contribution_per_customer_capped", increments.capped, unit="money"))
    for name, estimate in (("roi", increments.roi), ("relative_revenue", increments.relative_revenue)):
        if estimate is not None:
            rows.append(make_estimate_row(name, estimate, like=profit, unit="ratio"))
    for kind, parts in (
        ("action", breakdown.actions),
        ("tier", breakdown.tiers),
        ("segment", breakdown.segments),
    ):
        rows += [row for part in parts for row in _list_part_rows(kind, part)]
    if isinstance(programme, Programme):
        rows += [
            make_row(f"programme_{name}", effect, unit=_UNITS[name])
            for name, effect in programme.increments.totals.items()
        ]
    return rows


def make_row(metric: str, effect: Effect, *, unit: str, segment: str = "all") -> dict[str, Any]:
    """One effect as a row."""
    return {
        "metric": metric,
        "segment": segment,
        "estimate": effect.estimate,
        "lower": effect.lower,
        "upper": effect.upper,
        "p_value": effect.p_value,
        "n_treatment": effect.n_treatment,
        "n_control": effect.n_control,
        "unit": unit,
        "method": effect.method,
    }


def make_estimate_row(metric: str, estimate: Estimate, *, like: Effect, unit: str) -> dict[str, Any]:
    """One estimate without a test, on the customers of ``like``."""
    return make_row(metric, like, unit=unit) | {
        "estimate": estimate.estimate,
        "lower": estimate.lower,
        "upper": estimate.upper,
        "p_value": None,
        "method": estimate.method,
    }


def _make_ratio_row(metric: str, validity: Validity) -> dict[str, Any]:
    p_value = validity.sample_ratio.p_value
    return {
        "metric": metric,
        "segment": "all",
        "estimate": p_value,
        "lower": p_value,
        "upper": p_value,
        "p_value": p_value,
        "n_treatment": validity.n_treatment,
        "n_control": validity.n_control,
        "unit": "share",
        "method": "chi-square over strata",
    }


def _list_part_rows(kind: str, part: Part) -> list[dict[str, Any]]:
    segment = f"{kind}:{part.name}"
    rows = [make_row("contribution_per_customer", part.effect, unit="money", segment=segment)]
    if kind == "action":
        rows.append(make_row("incremental_profit", part.profit, unit="money", segment=segment))
    return rows
