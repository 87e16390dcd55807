"""What if: the same audience under other budgets, limits or channels, side by side, and who would change.

Every scenario is a plan of its own that keeps all its limits, with its certificate; each starts from the prices of
the base. What is compared is everybody chosen, as if all were treated, before exploration. Reads and writes no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.estimate import Estimate
from aimwell.core.lists import join_list
from aimwell.core.money import show_money, to_cents
from aimwell.core.text import Text, say
from aimwell.strategy.actions import name_channel
from aimwell.strategy.explain import describe_use, show_signed
from aimwell.strategy.inputs import Limit, LimitUse, PlanInputs
from aimwell.strategy.joint import SummedErrors, find_own_shares, sum_errors
from aimwell.strategy.limits import retitle_conflict
from aimwell.strategy.optimiser import Effort, Solution
from aimwell.strategy.planner import Z, estimate_pairs, split_audience
from aimwell.strategy.problem import Integers, Reals
from aimwell.strategy.scale import optimise_inputs

BUDGET = "budget"
FEW = 5_000
DIFFERENCE = "difference of two plans on the same effects, errors correlated within an action"
JOINT_DIFFERENCE = (
    "difference of two plans on the same effects, errors as the model's coefficients share them"
)


@dataclass(frozen=True)
class Scenario:
    """One question: the inputs of a plan, and what is other about them in words."""

    name: str
    title: Text
    inputs: PlanInputs


@dataclass(frozen=True)
class Solved:
    """The best plan for some inputs: ``customer`` and ``action`` are parallel, the customers who were chosen."""

    inputs: PlanInputs
    considered: Integers
    solution: Solution
    customer: Integers
    action: Integers

    @property
    def chosen(self) -> Integers:
        """The action of each of the inputs' customers; −1: none."""
        full = np.full(len(self.inputs.customers), -1, dtype=np.int64)
        full[self.customer] = self.action
        return full

    @property
    def profit(self) -> Estimate:
        """Expected profit of all chosen; money."""
        return estimate_pairs(self.inputs, self.customer, self.action)

    @property
    def upper_bound(self) -> float:
        """No plan is expected to earn more; money. With a handicap the certificate is about what competed."""
        bound = self.solution.upper_bound
        return bound if self.inputs.handicap is None else max(bound, self.profit.estimate)

    @property
    def cost(self) -> float:
        """Expected cost of contacts and offers; money."""
        return float(self.inputs.cost_cents[self.customer, self.action].sum()) / 100

    @property
    def errors(self) -> SummedErrors:
        """The error of the expected profit: what moves together, and what is single customers' own; money."""
        error = self.inputs.error[self.customer, self.action]
        return sum_errors(self.inputs.joint, error, self.customer, self.action, len(self.inputs.actions))

    @property
    def rounding(self) -> float:
        """The most by which a better plan could earn more; money. Smaller differences say nothing."""
        return max(0.0, self.upper_bound - self.profit.estimate)

    def list_uses(self) -> tuple[LimitUse, ...]:
        """What each limit is used, and its shadow price, in its own unit."""
        uses = []
        for limit, used, price in zip(
            self.inputs.limits, self.solution.used, self.solution.prices, strict=True
        ):
            own = self.inputs.express_use(limit, float(used), self.customer, self.action)
            worth = self.inputs.express_price(limit, float(price), self.action)
            uses.append(LimitUse(limit, own, own, worth, True))
        return tuple(uses)


def solve(inputs: PlanInputs, *, start: Reals | None = None, effort: Effort | None = None) -> Solved:
    """The plan that is expected to earn most; Conflict when the limits contradict each other.

    ``effort``: None decides near-ties exactly where there are few customers, of whom each weighs more.
    """
    considered, _ = split_audience(inputs)
    effort = effort or ("full" if len(considered) <= FEW else "quick")
    try:
        solution = optimise_inputs(inputs, considered, start=start, effort=effort)
    except Conflict as conflict:
        raise retitle_conflict(conflict, inputs.limits, inputs.currency) from conflict
    place = np.flatnonzero(solution.action >= 0)
    return Solved(inputs, considered, solution, considered[place], solution.action[place])


def measure_difference(base: Solved, other: Solved) -> Estimate:
    """Expected profit of ``other`` less that of ``base``, on the same effects.

    Customers who keep their action take their errors out of the difference. The others' move together as the model
    says, beside what is each one's own. Where it does not say it, they are taken to move together within an action,
    and, since some come and some go under the same action, each customer's own error is added once more: towards the
    wide end.
    """
    one, two = base.chosen, other.chosen
    moved = np.flatnonzero(one != two)
    own = 0.0
    for chosen in (one, two):
        picked = moved[chosen[moved] >= 0]
        own += _sum_own(base.inputs, picked, chosen[picked])
    spread = float(np.sqrt(np.sum((other.errors.common - base.errors.common) ** 2) + own))
    difference = other.profit.estimate - base.profit.estimate
    method = DIFFERENCE if base.inputs.joint is None else JOINT_DIFFERENCE
    return Estimate(
        difference, difference - Z * spread, difference + Z * spread, len(base.considered), method
    )


def _sum_own(inputs: PlanInputs, customer: Integers, action: Integers) -> float:
    """Variance of what is each pair's own; all of it where no model says what is shared."""
    variance = inputs.error[customer, action] ** 2
    if inputs.joint is None:
        return float(variance.sum())
    return float(variance @ find_own_shares(inputs.joint, inputs.joint.find_cells(customer, action)))


def set_budget(inputs: PlanInputs, budget: float | None) -> PlanInputs:
    """The same inputs with another overall budget; None: without one."""
    others = tuple(limit for limit in inputs.limits if limit.limit_id != BUDGET)
    if budget is None:
        return replace(inputs, limits=others)
    title = next((limit.title for limit in inputs.limits if limit.limit_id == BUDGET), say("Budget"))
    return replace(inputs, limits=(Limit(BUDGET, title, "money", budget), *others))


def read_budget(inputs: PlanInputs) -> float | None:
    """The overall budget; None where there is none."""
    return next((limit.limit for limit in inputs.limits if limit.limit_id == BUDGET), None)


def change_budget(inputs: PlanInputs, budget: float) -> Scenario:
    """Another overall budget; money, rounded to cents."""
    amount = to_cents(round(budget, 2)) / 100 if np.isfinite(budget) else budget
    shown = show_money(amount, inputs.currency) if np.isfinite(budget) else str(budget)
    title = say("Budget {amount}", amount=shown)
    return Scenario(f"budget={amount:.2f}", title, set_budget(inputs, amount))


def leave_out_channel(inputs: PlanInputs, channel: str) -> Scenario:
    """Without a channel; BadInput when no action uses it."""
    uses = np.array([action.channel == channel for action in inputs.actions])
    if not uses.any():
        raise _refuse_part(inputs, channel)
    eligible = inputs.eligible & ~uses[None, :]
    title = say("Without {part}", part=name_channel(channel))
    return Scenario(f"without={channel}", title, replace(inputs, eligible=eligible))


def leave_out_limit(inputs: PlanInputs, limit_id: str) -> Scenario:
    """Without one constraint; BadInput when there is none of that name."""
    found = next((limit for limit in inputs.limits if limit.limit_id == limit_id), None)
    if found is None:
        raise _refuse_part(inputs, limit_id)
    limits = tuple(limit for limit in inputs.limits if limit is not found)
    title = say("Without the limit: {limit}", limit=found.title)
    return Scenario(f"free={limit_id}", title, replace(inputs, limits=limits))


def ask_minimum(inputs: PlanInputs, part: str, count: int) -> Scenario:
    """At least ``count`` customers by a channel, an offer or an action; BadInput when no action is of it."""
    same = tuple(a for a in inputs.actions if part in (a.action_id, a.offer, a.channel))
    if not same:
        raise _refuse_part(inputs, part)
    name = same[0].title if part == same[0].action_id else _name_part(part, same[0].channel)
    title = say("At least {count} customers: {part}", count=count, part=name)
    limit = Limit(
        f"minimum:{part}",
        say("Minimum: {part}", part=name),
        "contacts",
        float(count),
        "at_least",
        tuple(action.action_id for action in same),
    )
    others = tuple(other for other in inputs.limits if other.limit_id != limit.limit_id)
    return Scenario(f"minimum={part}:{count}", title, replace(inputs, limits=(*others, limit)))


def _name_part(part: str, channel: str) -> Text | str:
    return name_channel(channel) if part == channel else part


def _refuse_part(inputs: PlanInputs, part: str) -> BadInput:
    known = sorted({a.channel for a in inputs.actions} | {limit.limit_id for limit in inputs.limits})
    return BadInput(
        "strategy.unknown_part",
        say("There is no channel, offer, action or limit '{part}' in this plan.", part=part),
        remedy=say("Known are: {names}. Actions: aimwell strategy actions", names=join_list(known)),
        where={"column": "part", "value": part},
    )


def list_usual_scenarios(inputs: PlanInputs) -> tuple[Scenario, ...]:
    """A fifth less and more budget, and the plan without each of its channels (where others remain)."""
    budget = read_budget(inputs)
    found = [change_budget(inputs, budget * factor) for factor in (0.8, 1.2)] if budget else []
    channels = list(dict.fromkeys(action.channel for action in inputs.actions))
    if len(channels) > 1:
        found += [leave_out_channel(inputs, channel) for channel in channels]
    return tuple(found)


def compare_scenarios(inputs: PlanInputs, scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
    """The base, then each scenario against it: money, customers, prices, who changes; JSON-able, texts in both.

    A scenario whose limits contradict each other says so, with the limits that conflict; a base of that kind raises
    Conflict.
    """
    # The base is the plan itself, with the same effort.
    base = solve(inputs, effort="full")
    rows = [_describe(Scenario("base", say("As it is"), inputs), base, base)]
    for scenario in scenarios:
        try:
            solved = solve(scenario.inputs, start=_carry_prices(base, scenario.inputs))
        except Conflict as conflict:
            rows.append(_describe_conflict(scenario, conflict))
            continue
        rows.append(_describe(scenario, solved, base))
    return rows


def _carry_prices(base: Solved, inputs: PlanInputs) -> Reals:
    """The base's prices of the limits that are still there; 0 for the others."""
    known = dict(
        zip((limit.limit_id for limit in base.inputs.limits), base.solution.prices.tolist(), strict=True)
    )
    return np.array([known.get(limit.limit_id, 0.0) for limit in inputs.limits])


def _describe(scenario: Scenario, solved: Solved, base: Solved) -> dict[str, Any]:
    one, two = base.chosen, solved.chosen
    entered, left = (one < 0) & (two >= 0), (one >= 0) & (two < 0)
    switched = (one >= 0) & (two >= 0) & (one != two)
    difference = measure_difference(base, solved)
    counts = (int(entered.sum()), int(left.sum()), int(switched.sum()))
    currency = scenario.inputs.currency
    return {
        "name": scenario.name,
        "title": scenario.title.both(),
        "possible": True,
        "expected_profit": solved.profit.to_dict(),
        "difference": None if solved is base else difference.to_dict(),
        "upper_bound": solved.upper_bound,
        "gap": solved.solution.gap,
        "cost": round(solved.cost, 2),
        "chosen": len(solved.customer),
        "entered": counts[0],
        "left": counts[1],
        "switched": counts[2],
        "by_channel": _count_channels(solved),
        "by_tier": _count_tiers(scenario.inputs, entered, left, switched),
        "constraints": [describe_use(use, currency) for use in solved.list_uses()],
        "sentence": _say_base(solved).both()
        if solved is base
        else _say_change(difference, counts, currency, base.rounding + solved.rounding).both(),
        "rounding": base.rounding + (0.0 if solved is base else solved.rounding),
    }


def _describe_conflict(scenario: Scenario, conflict: Conflict) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "title": scenario.title.both(),
        "possible": False,
        "code": conflict.code,
        "sentence": conflict.message.both(),
    }


def _count_channels(solved: Solved) -> list[dict[str, Any]]:
    channel = np.array([action.channel for action in solved.inputs.actions])
    cost = solved.inputs.cost_cents[solved.customer, solved.action] / 100
    profit = solved.inputs.profit[solved.customer, solved.action]
    rows = []
    for name in dict.fromkeys(channel.tolist()):
        mine = channel[solved.action] == name
        rows.append(
            {
                "channel": name,
                "title": name_channel(name).both(),
                "customers": int(mine.sum()),
                "cost": round(float(cost[mine].sum()), 2),
                "expected_profit": float(profit[mine].sum()),
            }
        )
    return rows


def _count_tiers(inputs: PlanInputs, *changes: np.ndarray[Any, np.dtype[np.bool_]]) -> list[dict[str, Any]]:
    tiers = np.array(inputs.tiers)
    names = ("entered", "left", "switched")
    return [
        {
            "tier": str(tier),
            **{
                name: int((change & (tiers == tier)).sum())
                for name, change in zip(names, changes, strict=True)
            },
        }
        for tier in np.unique(tiers)
    ]


def _say_base(solved: Solved) -> Text:
    currency = solved.inputs.currency
    return say(
        "{count} customers for {cost}, expected to earn {profit}.",
        count=len(solved.customer),
        cost=show_money(solved.cost, currency),
        profit=show_money(solved.profit.estimate, currency),
    )


def _say_change(difference: Estimate, counts: tuple[int, int, int], currency: str, rounding: float) -> Text:
    entered, left, switched = counts
    if not any(counts):
        return say("Nothing changes: nobody would get another action.")
    shown = say(
        "{difference} of profit ({lower} to {upper}); {entered} customers come in, {left} drop out, {switched} get "
        "another action.",
        difference=show_signed(difference.estimate, currency),
        lower=show_signed(difference.lower, currency),
        upper=show_signed(difference.upper, currency),
        entered=entered,
        left=left,
        switched=switched,
    )
    if abs(difference.estimate) <= rounding:
        return say(
            "{sentence} That is no more than the two plans' gaps to the best possible.", sentence=shown
        )
    return shown if difference.proven else say("{sentence} The difference is not proven.", sentence=shown)
