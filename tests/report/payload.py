"""A payload as ``aimwell demo`` writes it, in the shapes that the steps agreed on, with its awkward cases."""

from __future__ import annotations

from typing import Any

from tests.report.payload_future import make_deployment, make_evaluation, make_strategy
from tests.report.payload_past import make_analysis, make_data, make_goal, make_models
from tests.report.shapes import effect, text


def make_rounds() -> list[dict[str, Any]]:
    """Two rounds of two waves."""
    rounds = []
    for number, scale in ((1, 0.41), (2, 1.0)):
        waves = [
            {
                "wave": wave,
                "plan_id": f"r{number}-{wave}",
                "as_of": f"2017-{6 + 3 * number - (wave == 'pilot'):02d}-01",
                "strategy": make_strategy(scale * part, f"r{number}-{wave}"),
                "deployment": make_deployment(),
                "evaluation": make_evaluation(scale * part),
                "truth": {"incremental_profit": 3620.0 * scale * part, "covered": True, "expected": 3500.0},
            }
            for wave, part in (("pilot", 0.2), ("rollout", 1.0))
        ]
        profit = effect(4693.0 * scale, 2610.0)
        rounds.append(
            {
                "round": number,
                "waves": waves,
                "incremental_profit": profit,
                "true_incremental_profit": 4344.0 * scale,
                "cost": 2991.0,
                "roi": effect(1.57 * scale, 0.87),
            }
        )
    return rounds


def make_truth() -> dict[str, Any]:
    """Estimates beside the planted truth."""
    rows = [
        ("incremental_orders", "Incremental orders", "增量订单", 402.0, 261.0, 377.0),
        ("incremental_revenue", "Incremental revenue", "增量收入", 14820.0, 7011.0, 13777.0),
        ("incremental_profit", "Incremental profit", "增量利润", 3911.0, 2204.0, 3620.0),
        ("roi", "ROI", "投资回报率", 1.57, 0.88, 2.61),
    ]
    metrics = [
        {
            "metric": name,
            "title": text(en, zh),
            "truth": truth,
            "estimate": value,
            "lower": value - half,
            "upper": value + half,
            "n": 1480,
            "covered": abs(truth - value) <= half,
        }
        for name, en, zh, value, half, truth in rows
    ]
    every = [
        {**metric, "round": number, "wave": wave, "plan_id": f"r{number}-{wave}"}
        for number in (1, 2)
        for wave in ("pilot", "rollout")
        for metric in metrics[:3]
    ]
    return {
        "simulated": True,
        "metrics": metrics,
        "all": every,
        "covered": False,
        "covered_share": 0.9375,
        "n_checked": 16,
    }


def make_experiment() -> dict[str, Any]:
    """Cai 2015."""

    def unit(estimate: float, lower: float, upper: float) -> dict[str, Any]:
        return {
            "estimate": estimate,
            "lower": lower,
            "upper": upper,
            "n": 1255,
            "method": "difference in shares",
            "proven": lower > 0,
        }

    return {
        "source": "Cai, de Janvry & Sadoulet (2015), causaldata",
        "n": 1410,
        "default": unit(0.106, 0.054, 0.158),
        "default_clustered": unit(0.106, 0.031, 0.181),
        "intensive": unit(0.141, 0.088, 0.194),
        "intensive_clustered": unit(0.141, 0.062, 0.22),
        "sentence": text(
            "Making insurance the default raised take-up by 10.6 percentage points.",
            "将投保设为默认选项使投保率提高 10.6 个百分点。",
        ),
    }


def make_payload() -> dict[str, Any]:
    """The whole payload."""
    return {
        "goal": make_goal(),
        "data": make_data(),
        "analysis": make_analysis(),
        "models": make_models(),
        "strategy": make_strategy(),
        "deployment": make_deployment(),
        "evaluation": make_evaluation(),
        "truth": make_truth(),
        "real_experiment": make_experiment(),
        "rounds": make_rounds(),
        "business": {"name": "Complete Journey", "zone": "America/New_York", "currency": "USD"},
        "generated_at": "2026-03-02T08:00:00+00:00",
        "simulated": True,
    }
