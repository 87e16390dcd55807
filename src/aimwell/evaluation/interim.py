"""A look at a designed test whose window has not ended: what its rule says by now, and nothing else.

Reads what evaluation reads. Writes looks. Outcomes, results and lessons wait for the end of the window, also where the
test stops early: they are about the whole of it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow.compute as pc

from aimwell.core.steps import StepResult
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Run, Workspace
from aimwell.evaluation.decision import Decision
from aimwell.evaluation.designed import find_known_day, keep_looks, look
from aimwell.evaluation.experiment import Experiment, build_experiment
from aimwell.evaluation.looks import Test
from aimwell.evaluation.method import choose_method
from aimwell.evaluation.outcomes import query_outcomes
from aimwell.evaluation.plan import Periods, Plan, find_periods
from aimwell.evaluation.rule_words import decide_by_rule, describe_test_rule, summarise_test
from aimwell.evaluation.validity import check_validity, find_obstacle, list_reasons_against

IN_TEST_SQL = (
    "SELECT COUNT(*) AS n FROM assignments WHERE plan_id = $plan_id AND arm IN ('treatment', 'control')"
)


def look_early(workspace: Workspace, plan: Plan, test: Test, *, as_of: date) -> StepResult:
    """Take the look that is due on ``as_of``, if one is; else say until when it is too early."""
    with workspace.read() as reader:
        customers = count_customers(reader, plan)
        today = find_known_day(reader, plan, as_of)
        so_far = replace(plan, days=(today - plan.start).days) if today > plan.start else None
        periods = None if so_far is None else find_periods(reader, so_far)
    if so_far is None or not test.is_due(today):
        decision = decide_by_rule(test, workspace.settings.business.currency, customers=customers)
        return _answer(workspace, plan, test, decision, ())
    if isinstance(periods, Text):
        return _hold(workspace, plan, test, periods)
    assert periods is not None
    with workspace.run("evaluation", as_of=as_of, parameters={"plan_id": plan.plan_id, "early": True}) as run:
        return _take_look(run, workspace, plan, so_far, test, periods, customers)


def count_customers(reader: Queryable, plan: Plan) -> int:
    """Customers in the test's arms."""
    return int(reader.query(IN_TEST_SQL, {"plan_id": plan.plan_id})["n"][0].as_py())


def _take_look(
    run: Run, workspace: Workspace, plan: Plan, so_far: Plan, test: Test, periods: Periods, customers: int
) -> StepResult:
    business = workspace.settings.business
    observed = query_outcomes(run, so_far, periods=periods, margin_rate=business.margin_rate)
    simulated = plan.simulated or bool(pc.any(observed.column("simulated")).as_py())
    experiment = build_experiment(observed, treatment=("treatment",), control=("control",))
    obstacle = _find_obstacle(experiment, plan)
    if obstacle is not None:
        return _hold(workspace, plan, test, obstacle)
    against = list_reasons_against(check_validity(experiment))
    if against:
        sentence = say("No-go: the experiment cannot be believed, whatever its result looks like.")
        return _answer(
            workspace, plan, test, Decision(False, sentence, tuple(against), describe_test_rule(test)), ()
        )
    method = choose_method(experiment, has_before=periods.before is not None, seed=run.seed)
    seen = look(
        run,
        test,
        experiment,
        today=periods.window.end,
        method=method,
        margin_rate=business.margin_rate,
    )
    keep_looks(run, plan, seen.looks[len(test.looks) :], simulated=simulated)
    decision = decide_by_rule(seen, business.currency, customers=customers)
    return _answer(workspace, plan, seen, decision, (), simulated=simulated)


def _find_obstacle(experiment: Experiment, plan: Plan) -> Text | None:
    found = find_obstacle(experiment)
    if found is None and not experiment.reached[experiment.treated].any():
        return say(
            "Nothing of plan {plan} is recorded as sent yet, so a look would see nothing and spend error. Send it "
            "with: aimwell deployment launch {plan}",
            plan=plan.plan_id,
        )
    return found


def _hold(workspace: Workspace, plan: Plan, test: Test, reason: Text) -> StepResult:
    """No look is taken and no error is spent."""
    decision = Decision(False, say("No look was taken."), (), describe_test_rule(test))
    return _answer(workspace, plan, test, decision, (reason,))


def _answer(
    workspace: Workspace,
    plan: Plan,
    test: Test,
    decision: Decision,
    lacks: tuple[Text, ...],
    *,
    simulated: bool | None = None,
) -> StepResult:
    summary: dict[str, Any] = {
        "plan_id": plan.plan_id,
        "wave": plan.wave,
        "window": {"start": plan.start.isoformat(), "end": plan.window.end.isoformat(), "days": plan.days},
        "simulated": plan.simulated if simulated is None else simulated,
        "test": summarise_test(test, workspace.settings.business.currency),
        "decision": decision.to_dict(),
        "lessons": [],
        "lacks": [text.both() for text in lacks],
    }
    return StepResult("evaluation", "partial", summary, lacks)
