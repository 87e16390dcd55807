"""What a plan is made from and what it is, as plain arrays: no table is read or written here.

The coordinator's simulations call the planner with these hundreds of times; the step fills them from tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from aimwell.core.errors import BadInput
from aimwell.core.estimate import Estimate
from aimwell.core.money import to_cents
from aimwell.core.text import Text, say
from aimwell.strategy.actions import Action
from aimwell.strategy.experiment.assignment import ArmRule
from aimwell.strategy.joint import JointErrors
from aimwell.strategy.problem import Flags, Integers, Reals, Row, Sense
from aimwell.strategy.traits import Segments, Where, number_segments

Unit = Literal["money", "minutes", "offers", "contacts", "percent"]
Method = Literal["lagrangian", "randomised"]
Wave = Literal["pilot", "rollout"]
Exploring = Literal["even", "thompson"]
WHOLE = 10_000
"""Shares are counted in ten-thousandths: whole numbers, so that their sums are exact."""
PRIOR_REDEMPTION = 0.1
"""Share who redeem, as long as no effects say more: a tenth is generous, so that a pilot does not overspend."""


@dataclass(frozen=True)
class Limit:
    """One constraint of a plan, in its own unit; ``actions``: which ones count (None: all).

    ``where``: whose contacts count. In per cent the limit is a share: of all who get one of ``actions``, so many are
    those of ``where``.
    """

    limit_id: str
    title: Text
    unit: Unit
    limit: float
    sense: Sense = "at_most"
    actions: tuple[str, ...] | None = None
    where: Where = ()
    if_room: bool = False
    """A minimum that asks for nothing where fewer customers than that could be counted at all."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.limit) or self.limit < 0 or (self.unit == "percent" and self.limit > 100):
            raise BadInput(
                "strategy.bad_limit",
                say("The limit '{name}' is {value}.", name=self.limit_id, value=str(self.limit)),
                remedy=say("A limit is 0 or more, a share at most 100 %."),
                where={"column": self.limit_id, "value": str(self.limit)},
            )


@dataclass(frozen=True)
class Shares:
    """How the audience is split; each 0 ≤ share < 1."""

    holdout: float = 0.1
    control: float = 0.25
    exploration: float = 0.1
    pilot: float = 0.5

    def __post_init__(self) -> None:
        for name in ("holdout", "control", "exploration"):
            _check_share(name, getattr(self, name), below=1.0)
        _check_share("pilot", self.pilot, below=1.0 + 1e-12)


@dataclass(frozen=True)
class PlanInputs:
    """Customers, actions, what is known of their effects, the limits, and the salt of all draws.

    Matrices are customers × actions. ``estimate`` is incremental contribution (margin less cost of the offer,
    before the contact's unit cost); None: no experiment has been evaluated yet. NaN estimates mean "not known":
    such a pair is not chosen by a rollout.
    """

    customers: tuple[str, ...]
    actions: tuple[Action, ...]
    eligible: Flags
    limits: tuple[Limit, ...]
    plan_id: str
    salt: str
    """The workspace's: the holdout depends on nothing else, so that it is the same in every round."""
    strata: tuple[str, ...] = ()
    """Each customer's value tier; empty: one stratum."""
    estimate: Reals | None = None
    standard_error: Reals | None = None
    redemption: Reals | None = None
    shares: Shares = field(default_factory=Shares)
    caution: float = 0.0
    """Standard errors taken off each effect before it competes; effects are shrunken, so 0 maximises profit."""
    currency: str = "CNY"
    exploring: Exploring = "even"
    """How an explored action is drawn: evenly, or each as often as its posterior may be the best."""
    measured: bool = False
    """Whether the effects are as measured: then they are no beliefs yet (``promise.believe_inputs``)."""
    joint: JointErrors | None = None
    """How the effects' errors move together, where a model says so."""
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column → each customer's value as text, for the columns that limits name in ``where``."""
    arm_rule: ArmRule | None = None
    """How arms are drawn where the plan is a designed test; None: by tier and action."""
    pressure: Reals | None = None
    """By customer: what the contacts of the last days take off every action before it competes; money."""

    def __post_init__(self) -> None:
        shape = (len(self.customers), len(self.actions))
        if self.pressure is not None and (
            self.pressure.shape != shape[:1] or not np.all(np.isfinite(self.pressure) & (self.pressure >= 0))
        ):
            raise refuse_effects("pressure")
        for name in ("eligible", "estimate", "standard_error", "redemption"):
            matrix = getattr(self, name)
            if matrix is not None and matrix.shape != shape:
                raise refuse_effects(name)
        if self.strata and len(self.strata) != len(self.customers):
            raise refuse_effects("strata")
        if (self.estimate is None) != (self.standard_error is None):
            raise refuse_effects("standard_error")
        self._check_effects()

    def _check_effects(self) -> None:
        if self.estimate is None or self.standard_error is None:
            return
        known = ~np.isnan(self.estimate)
        if np.any(np.isinf(self.estimate)) or not np.all(np.isfinite(self.standard_error[known])):
            raise refuse_effects("estimate")
        if np.any(self.standard_error[known] < 0):
            raise refuse_effects("standard_error")
        rates = self.redemption[known] if self.redemption is not None else np.zeros(1)
        if not np.all((rates >= 0) & (rates <= 1)):
            raise refuse_effects("redemption")

    @cached_property
    def known(self) -> Flags:
        """Pairs whose effect is known."""
        return (
            np.zeros(self.eligible.shape, dtype=np.bool_)
            if self.estimate is None
            else ~np.isnan(self.estimate)
        )

    @property
    def has_effects(self) -> bool:
        """Whether any experiment has said anything about an eligible pair."""
        return bool(np.any(self.known & self.eligible))

    @cached_property
    def unit_cost(self) -> Reals:
        """Money of one contact, by action."""
        return np.array([to_cents(action.unit_cost) / 100 for action in self.actions])

    @cached_property
    def redemption_rate(self) -> Reals:
        """Expected share who redeem; the prior where nothing is known."""
        rates = np.full(self.eligible.shape, PRIOR_REDEMPTION) if self.redemption is None else self.redemption
        return np.where(self.known, rates, PRIOR_REDEMPTION) if self.redemption is not None else rates

    @cached_property
    def cost_cents(self) -> Reals:
        """Expected cost of contact and offer in whole cents, rounded up, so that budgets are kept exactly."""
        offer = np.array([to_cents(action.redemption_cost) for action in self.actions])
        contact = np.array([to_cents(action.unit_cost) for action in self.actions])
        return np.asarray(np.ceil(contact + self.redemption_rate * offer - 1e-9))

    @cached_property
    def profit(self) -> Reals:
        """Expected profit: effect (already less the offer's cost) less the unit cost; 0 effect where unknown."""
        effect = (
            np.zeros(self.eligible.shape) if self.estimate is None else np.nan_to_num(self.estimate, nan=0.0)
        )
        return effect - self.unit_cost

    @cached_property
    def error(self) -> Reals:
        """Standard error of the effect; 0 where nothing is known (and nothing is promised)."""
        if self.standard_error is None:
            return np.zeros(self.eligible.shape)
        return np.where(self.known, self.standard_error, 0.0)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Each customer's stratum."""
        return self.strata or ("all",) * len(self.customers)

    @cached_property
    def handicap(self) -> Reals | None:
        """What is taken off each pair's profit before it competes, beyond money spent; None: nothing.

        Caution and contact pressure steer the choice. What a plan promises is measured without them.
        """
        if not self.caution and (self.pressure is None or not np.any(self.pressure)):
            return None
        taken = self.caution * self.error
        return taken if self.pressure is None else taken + self.pressure[:, None]

    @property
    def competing(self) -> Reals:
        """What pairs compete with: expected profit less the handicap; money."""
        return self.profit if self.handicap is None else self.profit - self.handicap

    @cached_property
    def segments(self) -> Segments:
        """The customers by the columns that limits tell them apart by."""
        columns = [name for limit in self.limits for name, _ in limit.where]
        return number_segments(self.traits, columns, len(self.customers))

    def build_rows(self, considered: Integers | None = None) -> tuple[Row, ...]:
        """The limits as rows: money in whole cents, shares in ten-thousandths, the others in their own units.

        The row of a share counts what is above it: those of ``where`` more than 0, all others less. ``considered``:
        among whom minimums look for room; None: everybody.
        """
        return tuple(self._build_row(limit, considered) for limit in self.limits)

    def find_bound(self, limit: Limit, considered: Integers | None = None) -> float:
        """What a row may use at most, or must use at least; see ``build_rows``."""
        if limit.unit == "percent":
            return 0.0
        if limit.unit == "money":
            return float(to_cents(limit.limit))
        if limit.if_room and self.count_room(limit, considered) < limit.limit:
            return 0.0
        return float(limit.limit)

    def count_room(self, limit: Limit, considered: Integers | None = None) -> int:
        """How many of ``considered`` could be counted by a limit: allowed, and with a known effect if any is known."""
        counted = self.build_table(limit)[self.segments.number] > 0
        possible = self.eligible & counted
        reached = np.asarray((possible & self.known if self.has_effects else possible).any(axis=1))
        return int((reached if considered is None else reached[considered]).sum())

    def _build_row(self, limit: Limit, considered: Integers | None) -> Row:
        table = self.build_table(limit)
        usage = np.broadcast_to(table[0], self.eligible.shape)
        if len(table) > 1:
            usage = table[self.segments.number]
        if limit.unit == "money":
            usage = self.cost_cents * usage
        sense = "at_least" if limit.unit == "percent" else limit.sense
        return Row(limit.limit_id, usage, self.find_bound(limit, considered), sense)

    def build_table(self, limit: Limit) -> Reals:
        """Segments × actions: what a pair uses of the limit, in its row's unit; of money: whether its cost counts."""
        counted = np.array(
            [limit.actions is None or a.action_id in limit.actions for a in self.actions], dtype=float
        )
        inside = self.segments.find_inside(limit.where)[:, None]
        if limit.unit == "minutes":
            counted = counted * np.array([a.minutes for a in self.actions])
        if limit.unit != "percent":
            return np.asarray(np.where(inside, counted, 0.0))
        share = float(round(limit.limit * WHOLE / 100))
        # At most so many of these is at least so many of the others.
        least = inside if limit.sense == "at_least" else ~inside
        share = share if limit.sense == "at_least" else WHOLE - share
        return np.asarray(np.where(least, WHOLE - share, -share) * counted)

    def express_use(self, limit: Limit, used: float, customer: Integers, action: Integers) -> float:
        """What the chosen pairs use of a limit, ``used`` by its row, in the limit's own unit."""
        if limit.unit == "percent":
            counted = np.array([limit.actions is None or a.action_id in limit.actions for a in self.actions])
            given = counted[action]
            inside = self.segments.find_inside(limit.where)[self.segments.number[customer]]
            return 100.0 * int((given & inside).sum()) / max(1, int(given.sum()))
        return used / 100 if limit.unit == "money" else used

    def express_price(self, limit: Limit, price: float, action: Integers) -> float:
        """A row's shadow price per unit of the limit; of a share, per percentage point; money."""
        if limit.unit == "percent":
            counted = np.array([limit.actions is None or a.action_id in limit.actions for a in self.actions])
            return price * WHOLE / 100 * int(counted[action].sum())
        return price * 100 if limit.unit == "money" else price


@dataclass(frozen=True)
class LimitUse:
    """One constraint after planning, in its own unit."""

    limit: Limit
    used: float
    """By all who were chosen, as if control were treated too: what is spent is never more."""
    used_treated: float
    shadow_price: float
    kept: bool


@dataclass(frozen=True)
class PlanResult:
    """A plan with its experiment. Parallel arrays over the chosen customers, in the order of the inputs."""

    wave: Wave
    method: Method
    considered: Integers
    """Customers who may be contacted and are not held out (indices into the inputs' customers)."""
    holdout: Integers
    """Customers who may be contacted but are held out of all marketing."""
    customer: Integers
    action: Integers
    probability: Reals
    """With which the customer was given this action (before the draw of the arm)."""
    explored: Flags
    treated: Flags
    arm_probability: Reals
    profit: Reals
    standard_error: Reals
    cost: Reals
    """Expected cost of contact and offer; money."""
    choices: Integers
    """From how many actions each was chosen."""
    uses: tuple[LimitUse, ...]
    expected_profit: Estimate
    """Of the treated."""
    objective: float
    """Expected profit of all chosen as if all were treated, before exploration: what the bound bounds."""
    upper_bound: float | None
    gap: float | None
    prices: Reals
    """Shadow prices by limit, money per unit of the row (cents for money)."""
    lacks: tuple[Text, ...] = ()

    @property
    def treated_cost(self) -> float:
        """Expected cost of the treated; money."""
        return round(float(self.cost[self.treated].sum()), 2)


def _check_share(name: str, share: float, *, below: float) -> None:
    if not 0 <= share < below:
        raise BadInput(
            "strategy.bad_share",
            say("The {name} share is {value}.", name=name, value=str(share)),
            remedy=say("A share is at least 0 and below 1."),
            where={"column": name, "value": str(share)},
        )


def refuse_effects(name: str) -> BadInput:
    """What is said of effects that cannot be used; ``name``: the column."""
    return BadInput(
        "strategy.bad_effects",
        say(
            "The effects' column '{name}' cannot be used: a number is missing, infinite or out of range.",
            name=name,
        ),
        remedy=say("Run the models step again: aimwell models train"),
        where={"table": "effects", "column": name},
    )
