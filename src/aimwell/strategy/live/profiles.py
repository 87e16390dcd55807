"""What a live decision needs of a customer, one row of the store: which actions are possible and what each is worth.

Made when a live day is opened (``opening``), read when the customer comes. Reads and writes the store's
``live_profiles``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import Text, say
from aimwell.engine.live_tables import LIVE_PROFILES
from aimwell.engine.store import Store
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.live.asking import Asked
from aimwell.strategy.live.plan import LivePlan
from aimwell.strategy.live.requests import Answer, Batch, Columns, Meeting, arrange, check_ids

_CHUNK = 1_000
_KEYS = ("channels", "actions", "profit")


class Pair(NamedTuple):
    """What one action is worth for the customer; money."""

    profit: float
    """Expected, after all costs."""
    error: float
    """Its standard error."""
    cost_cents: int
    handicap: float
    """What is taken off before it competes, for caution and contact pressure."""


class Profile(NamedTuple):
    """One customer on a live day. An action without a pair is not possible, or nothing is known of it."""

    customer_id: str
    segment: int
    prior_contacts: int
    pairs: Mapping[str, Pair]


PROFILES = Asked("live_profiles", Profile._fields, "plan_id = :plan")
"""What asks for the profiles of people."""
_PROFILES = msgspec.json.Decoder(list[Profile])


def build_profiles(
    plan_id: str, inputs: PlanInputs, prior: Mapping[str, int]
) -> Iterator[list[dict[str, Any]]]:
    """The rows of all customers, in parts; ``prior``: contacts by other systems in the cap's window."""
    possible = inputs.eligible & inputs.known
    profit, error, cost = inputs.profit, inputs.error, inputs.cost_cents
    taken = (
        np.zeros(profit.shape) if inputs.handicap is None else np.broadcast_to(inputs.handicap, profit.shape)
    )
    segment = inputs.segments.number.tolist()
    names = [action.action_id for action in inputs.actions]
    for start in range(0, len(inputs.customers), _CHUNK):
        rows = []
        for place in range(start, min(start + _CHUNK, len(inputs.customers))):
            pairs = {
                names[a]: [
                    _round(profit[place, a]),
                    _round(error[place, a]),
                    int(cost[place, a]),
                    _round(taken[place, a]),
                ]
                for a in np.flatnonzero(possible[place]).tolist()
            }
            customer = inputs.customers[place]
            rows.append(
                {
                    "plan_id": plan_id,
                    "customer_id": customer,
                    "segment": segment[place],
                    "prior_contacts": int(prior.get(customer, 0)),
                    "pairs": pairs,
                }
            )
        yield rows


def _round(amount: float) -> float:
    return round(float(amount), 6)


def decode_profiles(found: str) -> dict[str, Profile]:
    """What ``PROFILES`` brought, by customer."""
    return {profile.customer_id: profile for profile in _PROFILES.decode(found)}


def meet(
    plan: LivePlan, profiles: Mapping[str, Profile], visits: Sequence[Meeting], answers: list[Answer | None]
) -> Batch | None:
    """The visits with their customers' numbers; what is wrong with one goes into ``answers``. None when none are left.

    As ``requests.prepare`` does it of contexts, for all of them in one go.
    """
    places: list[int] = []
    met: list[Profile] = []
    pairs: list[Pair] = []
    for place, (customer, visit) in enumerate(visits):
        profile = profiles.get(customer)
        try:
            if profile is None:
                raise refuse_unknown(customer)
            theirs = list_pairs(plan, profile, visit.given)
            check_ids(customer, visit.request_id)
        except BadInput as problem:
            answers[place] = problem
            continue
        pairs += theirs
        places.append(place)
        met.append(profile)
    if not places:
        return None
    columns = Columns(
        places,
        [profile.customer_id for profile in met],
        [visits[place][1].request_id for place in places],
        np.array([profit - handicap for profit, _, _, handicap in pairs], dtype=np.float64),
        np.array([cost for _, _, cost, _ in pairs], dtype=np.int64),
        [profile.segment for profile in met],
        [visits[place][1].at_ms for place in places],
        [profile.prior_contacts for profile in met],
    )
    return arrange(plan, columns, answers)


def refuse_unknown(customer_id: str) -> BadInput:
    """A customer whom the day does not know."""
    return BadInput(
        "strategy.unknown_live_customer",
        say("The customer '{customer}' was not known when the live day was opened.", customer=customer_id),
        remedy=say("Check the customer's number; new customers are known to the next day that is opened."),
        where={"column": "customer_id", "value": customer_id},
    )


def read_profile(store: Store, plan_id: str, customer_id: str) -> Profile:
    """The customer's profile; BadInput where the day was opened without the customer, NotReady without profiles."""
    columns = LIVE_PROFILES.c
    query = sa.select(LIVE_PROFILES).where(columns.plan_id == plan_id, columns.customer_id == customer_id)
    with store.snapshot() as connection:
        row = connection.execute(query).first()
        unknown = row is None and is_empty(connection, plan_id)
    if unknown:
        raise refuse_empty(plan_id)
    if row is None:
        raise refuse_unknown(customer_id)
    pairs = {name: Pair(*numbers) for name, numbers in row.pairs.items()}
    return Profile(row.customer_id, row.segment, row.prior_contacts, pairs)


def is_empty(connection: sa.Connection, plan_id: str) -> bool:
    """Whether the day was opened without any customer."""
    some = sa.select(LIVE_PROFILES.c.customer_id).where(LIVE_PROFILES.c.plan_id == plan_id).limit(1)
    return connection.execute(some).first() is None


def refuse_empty(plan_id: str) -> NotReady:
    """A day that knows nobody at all."""
    return NotReady(
        "strategy.no_live_profiles",
        say("The live plan '{name}' knows no customers.", name=plan_id),
        remedy=say("Open the day from the workspace's plan: aimwell strategy live open"),
        where={"value": plan_id},
    )


def list_pairs(plan: LivePlan, profile: Profile, given: Mapping[str, Any]) -> list[Pair]:
    """What each action of the plan is worth for the customer now; BadInput where ``given`` cannot be read."""
    known = profile.pairs.get
    pairs = [known(action, _IMPOSSIBLE) for action in plan.actions]
    return _apply(plan, check_context(plan, given), pairs) if given else pairs


_IMPOSSIBLE = Pair(-math.inf, 0.0, 0, 0.0)


def _apply(plan: LivePlan, told: Told, pairs: Sequence[Pair]) -> list[Pair]:
    return [
        pair._replace(profit=told.profit.get(action, pair.profit))
        if pair is not _IMPOSSIBLE and told.allows(plan, place)
        else _IMPOSSIBLE
        for place, (action, pair) in enumerate(zip(plan.actions, pairs, strict=True))
    ]


@dataclass(frozen=True)
class Told:
    """What the caller knows of this moment; None: nothing is left out."""

    channels: frozenset[str] | None
    actions: frozenset[str] | None
    profit: Mapping[str, float]

    def allows(self, plan: LivePlan, place: int) -> bool:
        """Whether the action is possible at this moment."""
        return (self.channels is None or plan.channels[place] in self.channels) and (
            self.actions is None or plan.actions[place] in self.actions
        )


def check_context(plan: LivePlan, given: Mapping[str, Any]) -> Told:
    """What is known only now, checked; BadInput where it cannot be read.

    ``channels`` and ``actions`` (lists: no others are possible), ``profit`` (action → expected profit, money, in place
    of the profile's).
    """
    for key in given:
        if key not in _KEYS:
            raise _refuse(str(key), say("The context has no '{key}'.", key=str(key)))
    channels = _read_names(given, "channels", [str(channel) for channel in plan.channels])
    actions = _read_names(given, "actions", plan.actions)
    profit = given.get("profit", {})
    if not isinstance(profit, Mapping):
        raise _refuse("profit", say("'{key}' must be an object of actions and amounts.", key="profit"))
    for action, amount in profit.items():
        if action not in plan.actions:
            raise _refuse("profit", say("The live plan has no '{value}'.", value=str(action)))
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not abs(amount) < 1e12:
            raise _refuse("profit", say("'{value}' is not an amount of money.", value=str(amount)))
    return Told(channels, actions, {action: float(amount) for action, amount in profit.items()})


def _read_names(given: Mapping[str, Any], key: str, known: Sequence[str]) -> frozenset[str] | None:
    names = given.get(key)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refuse(key, say("'{key}' must be a list of names.", key=key))
    for name in names:
        if name not in known:
            raise _refuse(key, say("The live plan has no '{value}'.", value=name))
    return frozenset(names)


def _refuse(key: str, problem: Text) -> BadInput:
    return BadInput(
        "strategy.bad_live_context",
        problem,
        remedy=say("The context may hold channels and actions (lists of names) and profit (action: amount)."),
        where={"column": key},
    )
