"""Make a plan with its experiment from arrays: an optimised rollout, or a randomised pilot.

Limits are kept by all who are chosen, as if control were treated too: what is really spent is at most that, whoever
is drawn into control. No table is read or written here; ``strategy.step`` does that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.estimate import Estimate
from aimwell.core.seeds import draw_uniforms
from aimwell.core.text import Text, say
from aimwell.strategy.certificate import measure_excess, sum_usage
from aimwell.strategy.design import check_design, draw_arms, draw_holdout, explore
from aimwell.strategy.inputs import LimitUse, PlanInputs, PlanResult
from aimwell.strategy.joint import sum_errors
from aimwell.strategy.limits import refuse_pilot, retitle_conflict
from aimwell.strategy.optimiser import Effort, Solution
from aimwell.strategy.pilot import draw_pilot
from aimwell.strategy.problem import Flags, Integers, Reals, Row
from aimwell.strategy.promise import believe_inputs
from aimwell.strategy.scale import optimise_inputs

Z = 1.959963984540054
METHOD = "sum of effects, errors correlated within an action"
JOINT_METHOD = "sum of effects, errors as the model's coefficients share them"


def make_rollout(inputs: PlanInputs, *, start: Reals | None = None, effort: Effort = "full") -> PlanResult:
    """The plan that is expected to earn most, with its certificate and experiment.

    ``start``: shadow prices of an earlier plan with the same limits. Raises BadInput when no effect
    is known, Conflict when the limits contradict each other.
    """
    if not inputs.has_effects:
        raise BadInput(
            "strategy.no_effects",
            say("No effect of any action is known yet, so no plan can be optimised."),
            remedy=say("Run a pilot first: aimwell strategy plan --wave pilot"),
        )
    considered, holdout = split_audience(inputs)
    # Whoever prepared the inputs (``basis``) has done it already, and then this changes nothing.
    inputs = believe_inputs(inputs, considered)
    try:
        solution = optimise_inputs(inputs, considered, start=start, effort=effort)
    except Conflict as conflict:
        raise retitle_conflict(conflict, inputs.limits, inputs.currency) from conflict
    rows = inputs.build_rows(considered)
    place = np.flatnonzero(solution.action >= 0)
    customer, best = considered[place], solution.action[place]
    drawn = explore(inputs, customer, best, rows, salt=f"{inputs.salt}:{inputs.plan_id}")
    allowed = (inputs.eligible & inputs.known)[customer].sum(axis=1).astype(np.int64)
    choices = np.where(drawn.explored, drawn.choices, allowed)
    result = _finish(inputs, rows, considered, holdout, customer, drawn.action, solution.prices)
    steered = inputs.handicap is not None
    objective = float(inputs.profit[customer, best].sum()) if steered else solution.objective
    return replace(
        result,
        probability=drawn.probability,
        explored=drawn.explored,
        choices=choices,
        objective=objective,
        upper_bound=_bound(inputs, solution, objective),
        gap=solution.gap,
    )


def make_pilot(inputs: PlanInputs) -> PlanResult:
    """The small launch before the large one.

    As long as nothing is known, actions are drawn at random: that is how effects are found. Afterwards the
    optimised plan itself is tried, on a random share of the audience: that is how it is checked.
    """
    if inputs.shares.control <= 0:
        raise BadInput(
            "strategy.no_control",
            say("A pilot without a control group can teach nothing."),
            remedy=say("Set contact.control_share above 0, such as 0.25."),
            where={"column": "control_share", "value": "0"},
        )
    return _try_plan(inputs) if inputs.has_effects else _randomise(inputs)


def _try_plan(inputs: PlanInputs) -> PlanResult:
    drawn = draw_uniforms(f"{inputs.salt}:{inputs.plan_id}:pilot", inputs.customers) < inputs.shares.pilot
    return replace(make_rollout(replace(inputs, eligible=inputs.eligible & drawn[:, None])), wave="pilot")


def _randomise(inputs: PlanInputs) -> PlanResult:
    considered, holdout = split_audience(inputs)
    rows = inputs.build_rows(considered)
    drawn = draw_pilot(inputs, considered, inputs.eligible, rows)
    result = _finish(inputs, rows, considered, holdout, drawn.customer, drawn.action, np.zeros(len(rows)))
    broken = [use.limit for use in result.uses if not use.kept]
    if broken:
        raise refuse_pilot(broken, inputs.currency)
    return replace(
        result,
        wave="pilot",
        method="randomised",
        probability=drawn.probability,
        explored=np.ones(len(drawn.customer), dtype=np.bool_),
        choices=drawn.choices,
        objective=float(inputs.profit[drawn.customer, drawn.action].sum()),
    )


def split_audience(inputs: PlanInputs) -> tuple[Integers, Integers]:
    """Who may be contacted: those considered, and those held out."""
    reachable = inputs.eligible.any(axis=1)
    held = draw_holdout(inputs.customers, salt=inputs.salt, share=inputs.shares.holdout)
    return np.flatnonzero(reachable & ~held), np.flatnonzero(reachable & held)


def estimate_profit(profit: Reals, error: Reals, action: Integers) -> Estimate:
    """The sum of ``profit`` with an interval from the marginal standard errors.

    For where only marginal errors are known. Effects of one action come from the same few coefficients, so their
    errors are taken to move together (their standard errors add up: the most that is possible); different actions were
    learnt from different people, so theirs are taken as independent. The truth lies between fully independent
    and fully correlated; this is towards the wide end.
    """
    by_action = np.bincount(action, weights=error) if len(action) else np.zeros(1)
    total, spread = float(profit.sum()), float(np.sqrt(np.sum(by_action**2)))
    return Estimate(total, total - Z * spread, total + Z * spread, len(profit), METHOD)


def estimate_pairs(inputs: PlanInputs, customer: Integers, action: Integers) -> Estimate:
    """Expected profit of pairs, with the errors that they share as far as the model says which."""
    profit, error = inputs.profit[customer, action], inputs.error[customer, action]
    if inputs.joint is None:
        return estimate_profit(profit, error, action)
    total = float(profit.sum())
    spread = Z * sum_errors(inputs.joint, error, customer, action, len(inputs.actions)).spread
    return Estimate(total, total - spread, total + spread, len(profit), JOINT_METHOD)


def _bound(inputs: PlanInputs, solution: Solution, objective: float) -> float | None:
    # With a handicap the certificate is about what competed; in money the same relative gap is shown.
    return solution.upper_bound if inputs.handicap is None else objective / max(1.0 - solution.gap, 1e-9)


def _finish(
    inputs: PlanInputs,
    rows: tuple[Row, ...],
    considered: Integers,
    holdout: Integers,
    customer: Integers,
    action: Integers,
    prices: Reals,
) -> PlanResult:
    """Arms, costs and uses, alike for both waves."""
    control = inputs.shares.control
    treated = draw_arms(inputs, customer, action)
    profit, error = inputs.profit[customer, action], inputs.error[customer, action]
    return PlanResult(
        wave="rollout",
        method="lagrangian",
        considered=considered,
        holdout=holdout,
        customer=customer,
        action=action,
        probability=np.ones(len(customer)),
        explored=np.zeros(len(customer), dtype=np.bool_),
        treated=treated,
        arm_probability=np.where(treated, 1.0 - control, control),
        profit=profit,
        standard_error=error,
        cost=inputs.cost_cents[customer, action] / 100,
        choices=np.ones(len(customer), dtype=np.int64),
        uses=_measure_uses(inputs, rows, customer, action, treated, prices),
        expected_profit=estimate_pairs(inputs, customer[treated], action[treated]),
        objective=0.0,
        upper_bound=None,
        gap=None,
        prices=prices,
        lacks=_list_lacks(inputs, considered, customer, treated),
    )


def _list_lacks(
    inputs: PlanInputs, considered: Integers, customer: Integers, treated: Flags
) -> tuple[Text, ...]:
    return check_design(inputs, considered=len(considered), chosen=len(customer), treated=int(treated.sum()))


def _measure_uses(
    inputs: PlanInputs,
    rows: tuple[Row, ...],
    customer: Integers,
    action: Integers,
    treated: Flags,
    prices: Reals,
) -> tuple[LimitUse, ...]:
    chosen = np.full((len(inputs.customers), 1), -1, dtype=np.int64)
    chosen[customer, 0] = action
    sent = np.full_like(chosen, -1)
    sent[customer[treated], 0] = action[treated]
    uses = []
    for limit, row, price in zip(inputs.limits, rows, prices, strict=True):
        kept = measure_excess(row, chosen) <= 0
        uses.append(
            LimitUse(
                limit,
                inputs.express_use(limit, sum_usage(row, chosen), customer, action),
                inputs.express_use(limit, sum_usage(row, sent), customer[treated], action[treated]),
                inputs.express_price(limit, float(price), action),
                kept,
            )
        )
    return tuple(uses)
