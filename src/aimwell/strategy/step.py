"""Step 4 战略: from effects and limits to a plan with its experiment.

Reads ``customers``, ``consents``, ``events``, ``order_lines``, ``products``, ``tags``, ``scores``, ``effects``,
``lessons``, ``model_cards``, ``plans``, ``actions`` and saved designs; writes ``actions`` (when there are none),
``constraints``, ``plans``, ``plan_items``, ``assignments`` and ``plan_designs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.steps import StepResult
from aimwell.core.tables import PLAN_DESIGNS
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.settings import Settings
from aimwell.engine.workspace import Run, Workspace
from aimwell.stats.power import find_smallest_effect
from aimwell.strategy.actions import Action, build_action_rows, make_actions
from aimwell.strategy.asked_limits import build_asked_limits, list_columns
from aimwell.strategy.basis import read_basis
from aimwell.strategy.eligibility import read_conditions
from aimwell.strategy.experiment.saved import (
    SavedDesign,
    bind_arms,
    describe_bound,
    find_lack,
    load_design,
)
from aimwell.strategy.explain import explain_plan
from aimwell.strategy.five_w import tell_five_w
from aimwell.strategy.frontier import trace_frontier
from aimwell.strategy.handover import Launch, build_assignments, build_constraints, build_items, build_plan
from aimwell.strategy.inputs import PlanInputs, PlanResult, Shares
from aimwell.strategy.launched import is_launched
from aimwell.strategy.limits import build_limits, build_test_minimums
from aimwell.strategy.load import (
    read_audience,
    read_effects,
    read_pressure,
    read_propensity,
    read_spread,
    read_tag,
    read_traits,
    read_value,
)
from aimwell.strategy.offers import measure_stock, propose_offers
from aimwell.strategy.planner import make_pilot, make_rollout
from aimwell.strategy.quadrants import divide_quadrants
from aimwell.strategy.summary import summarise_plan

SEGMENT_TAGS = ("value_tier", "lifecycle_stage")
UNKNOWN_TIER = "unknown"
DAYS = 28
"""Length of the window in which outcomes count, unless told."""


def plan(
    workspace: Workspace,
    *,
    as_of: date,
    wave: Literal["pilot", "rollout"],
    goal: str,
    round_number: int,
    days: int | None = None,
    budget: Decimal | None = None,
    simulated: bool = False,
    plan_id: str | None = None,
    design: str | None = None,
) -> StepResult:
    """Plan one wave and draw its arms; a rollout without any effect becomes the pilot that would find them.

    ``budget``: money of this wave (the settings' when None). ``design``: a saved design of a test, whose arms, days
    and rule the plan takes. A plan of the same name that was not launched gives way. Raises NotReady without
    customers or anything to offer, Conflict when the plan was launched or its limits contradict each other, BadInput
    for an unusable argument.
    """
    test = None if design is None else load_design(workspace, design)
    days = _choose_days(days, test)
    _check_arguments(days, round_number)
    name = plan_id or f"r{round_number}-{wave}-{as_of.isoformat()}"
    parameters = {"wave": wave, "goal": goal, "round": round_number, "days": days, "plan_id": name}
    bound = (
        {} if test is None else {"design": test.rule.design, "design_fingerprint": test.rule.fingerprint()}
    )
    asked = {**parameters, **bound, "budget": str(budget)}
    with workspace.run("strategy", as_of=as_of, parameters=asked) as run:
        _check_unlaunched(workspace, run, name)
        actions = keep_actions(run, workspace.settings)
        inputs = read_inputs(
            run, workspace.settings, actions, as_of=as_of, plan_id=name, budget=budget, days=days
        )
        if test is not None:
            inputs = bind_arms(run, workspace.settings, test, inputs, as_of=as_of)
        basis = read_basis(run, workspace.settings, inputs)
        inputs = basis.inputs
        untried = wave == "rollout" and not inputs.has_effects
        result = make_pilot(inputs) if wave == "pilot" or untried else make_rollout(inputs)
        launch = Launch(run.id, goal, round_number, as_of, days, simulated, basis.to_dict())
        summary = _hand_over(run, inputs, result, launch)
        _keep_rule(run, name, test)
        summary |= {
            # Why the plan is careful is said among what it lacks.
            "basis": {**basis.to_dict(), "careful": []},
            "design": None if test is None else describe_bound(test, result, as_of=as_of),
            "five_w": tell_five_w(inputs, result, as_of=as_of, days=days),
            "experiment": _measure_power(run, workspace.settings, result, as_of, days),
            "lessons": _read_lessons(run),
            "kept_share": basis.kept_share if inputs.has_effects else None,
        }
    small = None if test is None else find_lack(test, result)
    lacks = [
        *([_explain_fallback()] if untried else []),
        *basis.careful,
        *result.lacks,
        *([small] if small else []),
    ]
    return StepResult("strategy", "partial" if lacks else "done", summary, tuple(lacks))


def keep_actions(run: Run, settings: Settings) -> tuple[Action, ...]:
    """The workspace's actions; proposed from the data and kept when there are none yet."""
    actions = read_actions(run)
    if not actions:
        actions = propose_actions(run, settings, as_of=run.as_of)
        run.replace("actions", build_action_rows(actions, run.id))
    return actions


@dataclass(frozen=True)
class SavedActions:
    """How many actions were new and changed, and how many there are now."""

    new: int
    changed: int
    count: int


def save_actions(workspace: Workspace, actions: Sequence[Action], *, as_of: date) -> SavedActions:
    """Keep ``actions``: those that are there already are replaced, all others stay. The audit log says who did it."""
    with workspace.run("strategy", as_of=as_of, parameters={"actions": len(actions)}) as run:
        kept = {action.action_id: action for action in read_actions(run)}
        new = [action.action_id for action in actions if action.action_id not in kept]
        changed = [
            action.action_id
            for action in actions
            if action.action_id in kept and kept[action.action_id] != action
        ]
        kept.update({action.action_id: action for action in actions})
        run.replace("actions", build_action_rows([kept[name] for name in sorted(kept)], run.id))
    workspace.store.audit("actions.saved", run.id, {"new": new, "changed": changed})
    return SavedActions(len(new), len(changed), len(kept))


def read_actions(queryable: Queryable) -> tuple[Action, ...]:
    """The actions that are kept, in their fixed order."""
    rows = queryable.query("SELECT * FROM actions ORDER BY action_id").to_pylist()
    return tuple(Action.from_row(row) for row in rows)


def propose_actions(queryable: Queryable, settings: Settings, *, as_of: date) -> tuple[Action, ...]:
    """Offers from the data × the settings' channels; NotReady when nothing was sold before ``as_of``."""
    offers = propose_offers(queryable, as_of=as_of, margin_rate=settings.business.margin_rate)
    if not offers or not settings.channels:
        raise NotReady(
            "strategy.nothing_to_offer",
            say(
                "There is nothing to offer: no sale of the year before {day}, or no channel.",
                day=as_of.isoformat(),
            ),
            remedy=say(
                "Add order lines (aimwell data add FILE --as order_lines), or channels in the settings."
            ),
        )
    return tuple(sorted(make_actions(offers, settings.channels), key=lambda action: action.action_id))


def read_inputs(
    queryable: Queryable,
    settings: Settings,
    actions: tuple[Action, ...],
    *,
    as_of: date,
    plan_id: str,
    budget: Decimal | None = None,
    days: int = 28,
) -> PlanInputs:
    """Everything that a plan of ``days`` days is made from, as known before ``as_of``."""
    audience = read_audience(queryable, settings, as_of=as_of)
    if not audience.customers:
        raise NotReady(
            "strategy.no_customers",
            say("There are no customers yet."),
            remedy=say("Add a customer or order file first: aimwell data add FILE --as order_lines"),
        )
    known = read_effects(queryable, audience.customers, actions, as_of=as_of)
    # An action that gives nothing away needs no stock.
    given = {a.offer: a.department for a in actions if a.redemption_cost > 0}
    stock = measure_stock(queryable, given, as_of=as_of)
    wanted = settings.strategy.budget if budget is None else budget
    tiers = read_tag(queryable, "value_tier", audience.customers)
    asked = settings.strategy.limits
    traits = read_traits(queryable, list_columns(asked), audience.customers, as_of=as_of)
    limits = build_limits(actions, budget=wanted, call_minutes=settings.strategy.call_minutes, stock=stock)
    conditions = read_conditions(queryable, actions, audience.customers, as_of=as_of, days=days)
    return PlanInputs(
        customers=audience.customers,
        actions=actions,
        eligible=audience.find_eligible(actions) & conditions.offered,
        limits=(*limits, *build_asked_limits(asked, actions, traits), *build_test_minimums(actions)),
        plan_id=plan_id,
        salt=str(settings.seed),
        strata=tuple(UNKNOWN_TIER if tier is None else str(tier) for tier in tiers),
        estimate=known.estimate,
        standard_error=known.standard_error,
        redemption=known.redemption,
        shares=read_shares(settings),
        caution=settings.strategy.caution,
        exploring=settings.strategy.exploration,
        measured=known.measured,
        currency=settings.business.currency,
        traits=traits,
        pressure=read_pressure(queryable, settings, audience.customers, as_of=as_of),
    )


def read_shares(settings: Settings) -> Shares:
    """How the settings split the audience."""
    contact = settings.contact
    return Shares(
        contact.holdout_share, contact.control_share, contact.exploration_share, settings.strategy.pilot_share
    )


def _hand_over(run: Run, inputs: PlanInputs, result: PlanResult, launch: Launch) -> dict[str, Any]:
    reasons = explain_plan(inputs, result)
    run.put("constraints", build_constraints(inputs, result, launch), column="plan_id", value=inputs.plan_id)
    run.put("plans", build_plan(inputs, result, launch), column="plan_id", value=inputs.plan_id)
    run.put(
        "plan_items", build_items(inputs, result, reasons, launch), column="plan_id", value=inputs.plan_id
    )
    run.put("assignments", build_assignments(inputs, result, launch), column="plan_id", value=inputs.plan_id)
    propensity = read_propensity(run, inputs.customers, as_of=launch.as_of)
    value = read_value(run, inputs.customers, as_of=launch.as_of)
    return summarise_plan(
        inputs,
        result,
        reasons,
        frontier=trace_frontier(inputs) if result.method == "lagrangian" else (),
        quadrants=divide_quadrants(propensity, value, result.customer, result.profit),
        segments={tag: read_tag(run, tag, inputs.customers) for tag in SEGMENT_TAGS},
    )


def _keep_rule(run: Run, plan_id: str, test: SavedDesign | None) -> None:
    """Hand the test's rule over with the plan; a plan made anew without a design has none any more."""
    rows = [] if test is None else [{**test.rule.to_row(plan_id), "run_id": run.id}]
    sql = "SELECT plan_id FROM plan_designs WHERE plan_id = $plan_id"
    if rows or run.query(sql, {"plan_id": plan_id}).num_rows:
        run.put("plan_designs", PLAN_DESIGNS.build(rows), column="plan_id", value=plan_id)


def _measure_power(
    run: Run, settings: Settings, result: PlanResult, as_of: date, days: int
) -> dict[str, Any]:
    treated = int(result.treated.sum())
    control = len(result.treated) - treated
    spread = read_spread(run, as_of=as_of, days=days, margin_rate=settings.business.margin_rate)
    smallest = (
        find_smallest_effect(sd=spread, n_treatment=treated, n_control=control) if spread and control else 0.0
    )
    known = bool(spread and treated and control)
    return {
        "n_treatment": treated,
        "n_control": control,
        "standard_deviation": spread,
        "smallest_effect": smallest if known else None,
        "unit": settings.business.currency,
    }


def _read_lessons(queryable: Queryable) -> list[dict[str, Any]]:
    sql = """
    SELECT plan_id, action_id, promised, realised, standard_error, lesson
    FROM lessons
    ORDER BY plan_id, action_id, lesson
    """
    rows = queryable.query(sql).to_pylist()
    return [{**row, "lesson": Text.from_json(row["lesson"]).both()} for row in rows]


def _choose_days(given: int | None, test: SavedDesign | None) -> int:
    if test is None:
        return DAYS if given is None else given
    if given not in (None, test.rule.days):
        raise BadInput(
            "strategy.days_of_design",
            say(
                "The design {design} watches for {days} days, not {given}.",
                design=test.rule.design,
                days=test.rule.days,
                given=given,
            ),
            remedy=say("Leave --days out, or design again with --days."),
            where={"column": "days", "value": given},
        )
    return test.rule.days


def _check_arguments(days: int, round_number: int) -> None:
    for name, value in (("days", days), ("round", round_number)):
        if value < 1:
            raise BadInput(
                "strategy.bad_argument",
                say("'{name}' must be at least 1, not {value}.", name=name, value=value),
                remedy=say("Give a whole number from 1."),
                where={"column": name, "value": value},
            )


def _check_unlaunched(workspace: Workspace, run: Run, plan_id: str) -> None:
    if is_launched(workspace, run, plan_id):
        raise Conflict(
            "strategy.plan_launched",
            say("The plan {plan} was launched; its arms are drawn and must not change.", plan=plan_id),
            remedy=say("Plan another day, round or wave, or give the plan another name."),
            where={"table": "plans", "value": plan_id},
        )


def _explain_fallback() -> Text:
    return say(
        "No experiment exists yet; the plan proposes the pilot that will find out what each action causes."
    )
