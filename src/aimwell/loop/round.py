"""One round is two waves, each one pass through the six steps: a pilot that learns, then the rollout that earns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput, NotAllowed, NotReady
from aimwell.core.steps import StepResult
from aimwell.core.text import Text, say
from aimwell.data.step import check
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.step import decide, launch
from aimwell.engine.workspace import Workspace
from aimwell.evaluation.step import evaluate
from aimwell.goals.step import set_goal
from aimwell.loop.clock import find_as_of
from aimwell.loop.record import Progress, Record, Wave, WaveName, is_launched, list_waves, load_results
from aimwell.models.step import learn, train
from aimwell.strategy.step import plan

Launcher = Callable[[Workspace, Wave, Progress], StepResult]


class Market(Protocol):
    """Who answers a campaign: nobody yet (time must pass), or the simulator of the demo."""

    def answer(self, workspace: Workspace, wave: Wave) -> None:
        """Bring what customers did in the wave's window into the warehouse."""
        ...


def run_wave(
    workspace: Workspace, wave: Wave, *, send: Launcher, market: Market | None, progress: Progress
) -> dict[str, Any]:
    """The six steps of one wave, in their order; steps that were done for the same inputs are read back."""
    record = Record(workspace, wave, progress)
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
    launch_now: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Go on with the workspace's round on the data that it has; says what is lacking for more.

    BadInput when ``wave`` is neither pilot nor rollout.
    """
    day = as_of or find_as_of(workspace)
    chosen = _choose_wave(workspace, day, budget, _check_wave_name(wave))
    send = launch_plan if launch_now else hold_plan
    results = run_wave(workspace, chosen, send=send, market=None, progress=progress)
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
    workspace: Workspace, wave: Wave, progress: Progress, *, channels: Mapping[str, Channel] | None
) -> StepResult:
    """``launch_plan`` with other ways out than the workspace's own."""
    try:
        return launch(workspace, plan_id=wave.plan_id, as_of=wave.as_of, progress=progress, channels=channels)
    except (NotAllowed, NotReady) as error:
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


def _choose_wave(workspace: Workspace, day: date, budget: Decimal | None, name: WaveName | None) -> Wave:
    """The newest wave while it is open, else the next one."""
    waves = list_waves(workspace)
    if not waves:
        return Wave(1, name or "pilot", day, budget=budget)
    newest = waves[-1]
    evaluation = load_results(workspace, newest.round_number, newest.name).get("evaluation")
    if evaluation is None or evaluation["status"] == "skipped":
        launched = is_launched(workspace, newest.plan_id)
        return Wave(newest.round_number, newest.name, newest.as_of if launched else day, budget=budget)
    if newest.name == "pilot":
        return Wave(newest.round_number, "rollout", day, budget=budget)
    return Wave(newest.round_number + 1, name or "pilot", day, budget=budget)


def _show_result(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("status", "summary", "lacks")}
