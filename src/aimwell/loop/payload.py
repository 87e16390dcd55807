"""The newest round as one JSON object: what the report draws, and what ``demo/report.json`` holds.

Reads the record of the waves, the company's goal and the definitions of kind ``truth`` and ``real_experiment``.
"""

from __future__ import annotations

from typing import Any

from aimwell.core.estimate import Estimate, EstimateDict
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.workspace import Workspace
from aimwell.goals.overview import describe_company
from aimwell.loop.clock import find_as_of
from aimwell.loop.record import Wave, list_waves, load_results

_SECTIONS = {
    "goal": "goals",
    "data": "data",
    "analysis": "analysis",
    "models": "models",
    "strategy": "strategy",
    "deployment": "deployment",
    "evaluation": "evaluation",
}
_TRUE_METRICS: dict[str, Text] = {
    "incremental_orders": say("Incremental orders"),
    "incremental_revenue": say("Incremental revenue"),
    "incremental_profit": say("Incremental profit"),
}


def compile_payload(workspace: Workspace) -> dict[str, Any]:
    """The sections of the newest wave, and all rounds beside each other."""
    waves = list_waves(workspace)
    found = [(wave, load_results(workspace, wave.round_number, wave.name)) for wave in waves]
    truths = workspace.store.list_definitions("truth")
    newest = found[-1][1] if found else {}
    business = workspace.settings.business
    return {
        **{section: _read_section(newest, step) for section, step in _SECTIONS.items()},
        "company_goal": describe_company(workspace, as_of=find_as_of(workspace)),
        "truth": _compare_truth(found, truths),
        "real_experiment": workspace.store.load_definition("real_experiment", "cai2015") or {},
        "rounds": _list_rounds(found, truths),
        "business": {"name": business.name, "zone": business.zone, "currency": business.currency},
        "generated_at": now().isoformat(),
        "simulated": bool(truths),
    }


def _read_section(results: dict[str, dict[str, Any]], step: str) -> dict[str, Any]:
    result = results.get(step)
    if result is None:
        return {"status": "skipped", "lacks": []}
    return {**result["summary"], "status": result["status"], "lacks": result["lacks"]}


def _compare_truth(
    found: list[tuple[Wave, dict[str, dict[str, Any]]]], truths: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Beside each estimate whether its interval covers the truth; only the simulated market knows it."""
    checks = [
        {"plan_id": wave.plan_id, "round": wave.round_number, "wave": wave.name, **check}
        for wave, results in found
        if wave.plan_id in truths
        for check in _check_wave(results, truths[wave.plan_id])
    ]
    if not checks:
        return {}
    newest = [check for check in checks if check["plan_id"] == checks[-1]["plan_id"]]
    profit = [check["covered"] for check in newest if check["metric"] == "incremental_profit"]
    return {
        "simulated": True,
        "metrics": newest,
        "all": checks,
        "covered": bool(profit) and all(profit),
        "covered_share": sum(check["covered"] for check in checks) / len(checks),
        "n_checked": len(checks),
    }


def _check_wave(results: dict[str, dict[str, Any]], truth: dict[str, Any]) -> list[dict[str, Any]]:
    evaluation = results.get("evaluation", {}).get("summary", {})
    checks = []
    for metric, title in _TRUE_METRICS.items():
        estimate = evaluation.get(metric)
        if estimate:
            covered = estimate["lower"] <= truth[metric] <= estimate["upper"]
            checks.append(
                {
                    "metric": metric,
                    "title": title.both(),
                    "truth": truth[metric],
                    "covered": covered,
                    **estimate,
                }
            )
    return checks


def _list_rounds(
    found: list[tuple[Wave, dict[str, dict[str, Any]]]], truths: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    numbers = sorted({wave.round_number for wave, _ in found})
    return [
        _sum_round(
            number,
            [_read_wave(wave, results, truths) for wave, results in found if wave.round_number == number],
        )
        for number in numbers
    ]


def _read_wave(
    wave: Wave, results: dict[str, dict[str, Any]], truths: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    evaluation = _read_section(results, "evaluation")
    deployment = _read_section(results, "deployment")
    read: dict[str, Any] = {
        "wave": wave.name,
        "title": wave.title.both(),
        "plan_id": wave.plan_id,
        "as_of": wave.as_of.isoformat(),
        "strategy": _read_section(results, "strategy"),
        "deployment": deployment,
        "evaluation": evaluation,
        "cost": float(evaluation.get("cost", deployment.get("cost", 0.0)) or 0.0),
    }
    truth = truths.get(wave.plan_id)
    if truth is not None:
        profit = next((c for c in _check_wave(results, truth) if c["metric"] == "incremental_profit"), None)
        read["truth"] = {**truth, "covered": None if profit is None else profit["covered"]}
    return read


def _sum_round(number: int, waves: list[dict[str, Any]]) -> dict[str, Any]:
    profits = [
        wave["evaluation"]["incremental_profit"]
        for wave in waves
        if wave["evaluation"].get("incremental_profit")
    ]
    cost = sum(wave["cost"] for wave in waves)
    summed: dict[str, Any] = {"round": number, "waves": waves, "cost": cost}
    if profits:
        total = sum_estimates(profits)
        summed["incremental_profit"] = total.to_dict()
        measured = sum(wave["cost"] for wave in waves if wave["evaluation"].get("incremental_profit"))
        summed["roi"] = total.scale(1 / measured).to_dict() if measured > 0 else None
    if waves and all("truth" in wave for wave in waves):
        summed["true_incremental_profit"] = sum(wave["truth"]["incremental_profit"] for wave in waves)
    return summed


def sum_estimates(parts: list[EstimateDict]) -> Estimate:
    """The waves are separate experiments: their errors are independent, so half-widths add in squares."""
    total = sum(part["estimate"] for part in parts)
    below = sum((part["estimate"] - part["lower"]) ** 2 for part in parts) ** 0.5
    above = sum((part["upper"] - part["estimate"]) ** 2 for part in parts) ** 0.5
    return Estimate(
        total, total - below, total + above, sum(part["n"] for part in parts), "sum over the waves"
    )
