"""One round is two waves, each one pass through the six steps: a pilot that learns, then the rollout that earns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput, Conflict, NotAllowed, NotReady
from aimwell.core.money import to_money
from aimwell.core.steps import StepResult
from aimwell.core.text import Text, say
from aimwell.data.step import check
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.step import decide, launch
from aimwell.engine.workspace import Workspace
from aimwell.evaluation.step import evaluate
from aimwell.goals.step import set_goal
from aimwell.loop.clock import find_as_of
from aimwell.loop.record import (
    Progress,
    Record,
    Wave,
    WaveName,
    is_launched,
    is_stopped,
    list_waves,
    load_results,
)
from aimwell.models.step import learn, train
from aimwell.strategy.experiment.saved import load_design
from aimwell.strategy.step import plan

Launcher = Callable[[Workspace, Wave, Progress], StepResult]


class Market(Protocol):
    """Who answers a campaign: nobody yet (time must pass), or the simulator of the demo."""

    def answer(self, workspace: Workspace, wave: Wave) -> None:
        """Bring what customers did in the wave's window into the warehouse."""
        ...


def run_wave(
    workspace: Workspace,
    wave: Wave,
    *,
    send: Launcher,
    market: Market | None,
    progress: Progress,
    keep_plan: bool = False,
) -> dict[str, Any]:
    """The six steps of one wave, in their order; steps that were done for the same inputs are read back.

    ``keep_plan``: the recorded plan is taken as it is, whatever the inputs are now.
    """
    record = Record(workspace, wave, progress, frozen=keep_plan)
    record.step("goals", lambda: set_goal(workspace, as_of=wave.as_of, days=wave.days, budget=wave.budget))
    record.step("data", lambda: check(workspace, as_of=wave.as_of))
    record.step("analysis", lambda: describe(workspace, as_of=wave.as_of))
    record.step("models", lambda: _train_and_learn(workspace, wave, progress))
    record.step("strategy", lambda: _plan(workspace, wave, simulated=market is not None))
    record.step("deployment", lambda: send(workspace, wave, progress))
    record.step("evaluation", lambda: _evaluate(workspace, wave, market))
    return {str(step): result for step, result in record.results.items()}


def continue_round(
    workspace: Workspace,
    *,
    as_of: date | None = None,
    budget: Decimal | None = None,
    wave: str | None = None,
    design: str | None = None,
    launch_now: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Go on with the workspace's round on the data that it has; says what is lacking for more.

    ``design``: a saved design of a test for the plan; one that was shown keeps its own. BadInput when ``wave`` is
    neither pilot nor rollout, or when there is no such design.
    """
    chosen, planned = _choose_wave(workspace, as_of, budget, _check_wave_name(wave), launch_now=launch_now)
    if design is not None and not is_launched(workspace, chosen.plan_id):
        chosen = replace(chosen, design=design, days=load_design(workspace, design).rule.days)
    send = launch_plan if launch_now else hold_plan
    # What is sent is the plan that was shown, not one made anew from data that came since.
    keep = launch_now and planned and as_of is None and budget is None and design is None
    results = run_wave(workspace, chosen, send=send, market=None, progress=progress, keep_plan=keep)
    return {
        "round": chosen.round_number,
        "wave": chosen.name,
        "plan_id": chosen.plan_id,
        "as_of": chosen.as_of.isoformat(),
        **{step: _show_result(result) for step, result in results.items()},
    }


def launch_plan(workspace: Workspace, wave: Wave, progress: Progress) -> StepResult:
    """Send what the wave planned; a rollout whose pilot was a no-go is not sent, and says so."""
    return launch_through(workspace, wave, progress, channels=None)


def launch_through(
    workspace: Workspace,
    wave: Wave,
    progress: Progress,
    *,
    channels: Mapping[str, Channel] | None,
    clock: Callable[[], float] = time.time,
) -> StepResult:
    """``launch_plan`` with other ways out than the workspace's own, and by another clock."""
    try:
        return launch(
            workspace,
            plan_id=wave.plan_id,
            as_of=wave.as_of,
            progress=progress,
            channels=channels,
            clock=clock,
        )
    except (Conflict, NotAllowed, NotReady) as error:
        reasons = (error.message,) if error.remedy is None else (error.message, error.remedy)
        return StepResult("deployment", "skipped", {"plan_id": wave.plan_id, "wave": wave.name}, reasons)


def hold_plan(workspace: Workspace, wave: Wave, progress: Progress) -> StepResult:
    """Send nothing: messages to customers leave only when somebody says so."""
    if is_launched(workspace, wave.plan_id):
        return launch_plan(workspace, wave, progress)
    with workspace.read() as reader:
        sql = "SELECT chosen FROM plans WHERE plan_id = $plan_id"
        chosen = reader.query(sql, {"plan_id": wave.plan_id})["chosen"].to_pylist()
    summary = {"plan_id": wave.plan_id, "wave": wave.name}
    if not any(chosen):
        nobody = say("The plan contacts nobody, so there is nothing to send.")
        return StepResult("deployment", "skipped", summary, (nobody,))
    waits = say(
        "Nothing was sent: the plan {plan} waits for your word. Look at it with: aimwell strategy show; send it "
        "with: aimwell round --launch",
        plan=wave.plan_id,
    )
    return StepResult("deployment", "partial", summary, (waits,))


def _train_and_learn(workspace: Workspace, wave: Wave, progress: Progress) -> StepResult:
    trained = train(workspace, as_of=wave.as_of, progress=progress)
    learnt = learn(workspace, as_of=wave.as_of)
    summary = {**trained.summary, **learnt.summary}
    summary["cards"] = [*trained.summary.get("cards", []), *learnt.summary.get("cards", [])]
    # A first round has no experiment to learn from: that is its normal start, not a fault of the step.
    status = trained.status if trained.status != "skipped" else learnt.status
    return StepResult("models", status, summary, (*trained.lacks, *learnt.lacks))


def _plan(workspace: Workspace, wave: Wave, *, simulated: bool) -> StepResult:
    return plan(
        workspace,
        as_of=wave.as_of,
        wave=wave.name,
        goal="round",
        round_number=wave.round_number,
        days=wave.days,
        budget=wave.budget,
        simulated=simulated,
        plan_id=wave.plan_id,
        design=wave.design,
    )


def _evaluate(workspace: Workspace, wave: Wave, market: Market | None) -> StepResult:
    if market is not None:
        market.answer(workspace, wave)
    if not is_launched(workspace, wave.plan_id):
        return _skip(say("Nothing was sent, so there is nothing to evaluate."))
    today = find_as_of(workspace)
    if today < wave.end:
        waits = say(
            "The window ends on {day}: add the orders up to then, and run the round again.",
            day=wave.end.isoformat(),
        )
        return _skip(waits)
    result = evaluate(workspace, plan_id=wave.plan_id, as_of=wave.end)
    decide(workspace, wave.plan_id, result.summary)
    return result


def _skip(reason: Text) -> StepResult:
    return StepResult("evaluation", "skipped", {}, (reason,))


def _check_wave_name(name: str | None) -> WaveName | None:
    if name == "pilot":
        return "pilot"
    if name == "rollout":
        return "rollout"
    if name is None:
        return None
    raise BadInput(
        "loop.unknown_wave",
        say("There is no wave called '{wave}'.", wave=name),
        remedy=say("Use pilot or rollout."),
        where={"value": name},
    )


def _choose_wave(
    workspace: Workspace,
    day: date | None,
    budget: Decimal | None,
    name: WaveName | None,
    *,
    launch_now: bool,
) -> tuple[Wave, bool]:
    """The newest wave while it is open, else the next one; and whether it has a plan already."""
    waves = list_waves(workspace)
    newest = waves[-1] if waves else None
    today = day or find_as_of(workspace)
    if newest is None:
        return Wave(1, name or "pilot", today, budget=budget), False
    results = load_results(workspace, newest.round_number, newest.name)
    if is_stopped(workspace, newest.plan_id):
        return Wave(newest.round_number + 1, name or "pilot", today, budget=budget), False
    if results.get("evaluation", {"status": "skipped"})["status"] == "skipped":
        planned = bool(results.get("strategy", {}).get("summary", {}).get("chosen"))
        money = _read_budget(results) if budget is None else budget
        # A plan that was shown keeps its first day when it is sent; until then newer data move it.
        kept = is_launched(workspace, newest.plan_id) or (launch_now and planned and day is None)
        return replace(newest, as_of=newest.as_of if kept else today, budget=money), planned
    if newest.name == "pilot":
        return Wave(newest.round_number, "rollout", today, budget=budget), False
    return Wave(newest.round_number + 1, name or "pilot", today, budget=budget), False


def _read_budget(results: dict[str, dict[str, Any]]) -> Decimal | None:
    found = results.get("goals", {}).get("summary", {}).get("budget")
    return None if found is None else to_money(found)


def _show_result(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("status", "summary", "lacks")}
