"""Step 6: evaluate a plan whose window has ended.

Reads plans, plan_designs, plan_items, assignments, deliveries, actions, customers, order_lines, products, events,
segments, segment_members. Writes outcomes, looks, results, lessons. A plan that is a designed test is looked at before
its window has ended, too (``interim``), and decided by its own rule.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.steps import StepResult
from aimwell.core.tables import LESSONS, RESULTS
from aimwell.core.text import Text, say
from aimwell.engine.workspace import Run, Workspace
from aimwell.evaluation.breakdown import break_down
from aimwell.evaluation.decision import decide, describe_profit
from aimwell.evaluation.designed import find_known_day, keep_looks, look, read_test
from aimwell.evaluation.experiment import Experiment, build_experiment
from aimwell.evaluation.increment import measure_increments
from aimwell.evaluation.interim import look_early
from aimwell.evaluation.lesson import Lesson, draw_lessons
from aimwell.evaluation.looks import Test
from aimwell.evaluation.method import choose_method
from aimwell.evaluation.outcomes import find_contribution_cap, keep_outcomes, query_outcomes
from aimwell.evaluation.plan import Periods, Plan, find_last_day, find_periods, find_plan, say_not_ended
from aimwell.evaluation.programme import measure_programme
from aimwell.evaluation.promise import read_promise
from aimwell.evaluation.result_rows import list_results
from aimwell.evaluation.rule_words import decide_by_rule, summarise_test
from aimwell.evaluation.summary import Findings
from aimwell.evaluation.validity import check_validity, find_obstacle, list_warnings


def evaluate(workspace: Workspace, *, plan_id: str | None = None, as_of: date) -> StepResult:
    """Measure what ``plan_id`` (the newest ended plan when omitted) caused, and keep it for the next round.

    Skipped, with what is lacking, when no window has ended by ``as_of`` or nothing can be compared; a designed test
    may be looked at before. BadInput when the plan is unknown, Conflict when a test's rule was changed after launch.
    Evaluating again replaces the earlier rows of the same plan, but no look at a test.
    """
    with workspace.read() as reader:
        plan = find_plan(reader, plan_id=plan_id, as_of=as_of)
        if isinstance(plan, Text):
            return _skip(plan)
        test = read_test(reader, plan)
        ended = plan.window.end <= as_of
        periods = find_periods(reader, plan) if ended else say_not_ended(plan)
    if test is not None and not ended:
        return look_early(workspace, plan, test, as_of=as_of)
    if isinstance(periods, Text):
        return _skip(periods)
    with workspace.run("evaluation", as_of=as_of, parameters={"plan_id": plan.plan_id}) as run:
        return _evaluate_plan(run, workspace, plan, periods, test)


def _skip(reason: Text) -> StepResult:
    return StepResult("evaluation", "skipped", {"lacks": [reason.both()]}, (reason,))


def _evaluate_plan(
    run: Run, workspace: Workspace, plan: Plan, periods: Periods, test: Test | None
) -> StepResult:
    business = workspace.settings.business
    observed = query_outcomes(run, plan, periods=periods, margin_rate=business.margin_rate)
    simulated = plan.simulated or bool(pc.any(observed.column("simulated")).as_py())
    keep_outcomes(run, plan, observed, simulated=simulated)
    experiment = build_experiment(observed, treatment=("treatment",), control=("control",))
    obstacle = find_obstacle(experiment)
    if obstacle is not None:
        summary = _summarise_obstacle(plan, periods, simulated, obstacle)
        return StepResult("evaluation", "partial", summary, (obstacle,))
    cap = find_contribution_cap(
        run, plan, periods=periods, margin_rate=business.margin_rate, customers=observed.num_rows
    )
    findings = _find(run, plan, periods, experiment, observed, cap, simulated, business.currency)
    if test is not None:
        test = _look_last(run, test, findings, experiment, business.margin_rate)
        findings = _decide_by_rule(findings, test, experiment, business.currency)
    _keep(run, findings, looks=1 if test is None else max(1, len(test.primary)))
    summary = findings.summarise()
    summary["test"] = None if test is None else summarise_test(test, business.currency)
    return StepResult("evaluation", "partial" if findings.lacks else "done", summary, findings.lacks)


def _look_last(run: Run, test: Test, findings: Findings, experiment: Experiment, margin_rate: float) -> Test:
    """The test with its last look, if it is still to be taken, can be believed, and the orders are there."""
    plan = findings.plan
    today = find_known_day(run, plan, plan.window.end)
    if not test.is_due(today) or today < plan.window.end or not findings.validity.ok:
        return test
    seen = look(run, test, experiment, today=today, method=findings.method, margin_rate=margin_rate)
    keep_looks(run, plan, seen.looks[len(test.looks) :], simulated=findings.simulated)
    return seen


def _decide_by_rule(findings: Findings, test: Test, experiment: Experiment, currency: str) -> Findings:
    """The verdict is the rule's; an experiment that cannot be believed stays a no-go."""
    if not findings.validity.ok:
        return findings
    decision = decide_by_rule(test, currency, customers=experiment.n)
    profit = describe_profit(findings.increments.totals["profit"], currency)
    return replace(findings, decision=replace(decision, reasons=(*decision.reasons, profit)))


def _find(
    run: Run,
    plan: Plan,
    periods: Periods,
    experiment: Experiment,
    observed: pa.Table,
    cap: float | None,
    simulated: bool,
    currency: str,
) -> Findings:
    has_before = periods.before is not None
    method = choose_method(experiment, has_before=has_before, seed=run.seed)
    increments = measure_increments(experiment, method=method, cap=cap)
    contribution, profit = increments.per_customer["contribution"], increments.totals["profit"]
    validity = check_validity(experiment)
    breakdown = break_down(run, experiment, contribution, plan=plan, method=method)
    programme = measure_programme(observed, has_before=has_before, seed=run.seed)
    promised = read_promise(plan)
    lacks = list_warnings(
        experiment, method=method, plan=plan, periods=periods, last=find_last_day(run, plan)
    )
    if increments.roi is None:
        lacks.append(say("There is no ROI: nothing was spent on the treated customers."))
    return Findings(
        plan=plan,
        periods=periods,
        simulated=simulated,
        method=method,
        increments=increments,
        validity=validity,
        breakdown=breakdown,
        programme=programme,
        promised=promised,
        decision=decide(plan, profit, validity=validity, actions=breakdown.actions, currency=currency),
        lessons=draw_lessons(
            experiment,
            profit,
            promised=promised,
            breakdown=breakdown,
            residuals=contribution.residuals,
            currency=currency,
        ),
        lacks=tuple(lacks),
    )


def _summarise_obstacle(plan: Plan, periods: Periods, simulated: bool, obstacle: Text) -> dict[str, Any]:
    return {
        "plan_id": plan.plan_id,
        "wave": plan.wave,
        "window": {"start": periods.window.start.isoformat(), "days": periods.window.days},
        "simulated": simulated,
        "decision": {
            "go": False,
            "sentence": say("No-go: nothing could be measured.").both(),
            "reasons": [obstacle.both()],
        },
        "lessons": [],
        "lacks": [obstacle.both()],
    }


def _keep(run: Run, findings: Findings, *, looks: int) -> None:
    marks = {"plan_id": findings.plan.plan_id, "simulated": findings.simulated, "run_id": run.id}
    rows = list_results(
        findings.increments,
        breakdown=findings.breakdown,
        validity=findings.validity,
        programme=findings.programme,
    )
    # Results are about the whole window; the looks before its end are in ``looks``.
    made = RESULTS.build([{**row, **marks, "look": looks} for row in rows])
    run.put("results", made, column="plan_id", value=findings.plan.plan_id)
    lessons = LESSONS.build([{**_make_lesson_row(lesson), **marks} for lesson in findings.lessons])
    run.put("lessons", lessons, column="plan_id", value=findings.plan.plan_id)


def _make_lesson_row(lesson: Lesson) -> dict[str, Any]:
    return {
        "action_id": lesson.action_id,
        "promised": lesson.promised,
        "realised": lesson.realised.estimate,
        "standard_error": lesson.realised.standard_error,
        "n_treatment": lesson.realised.n_treatment,
        "n_control": lesson.realised.n_control,
        "lesson": lesson.text.to_json(),
    }
