"""What is asked of a live decision and what is answered, and many requests as the arrays that kernels read.

Reads and writes no tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import AimwellError, BadInput, Conflict
from aimwell.core.seeds import draw_uniforms
from aimwell.core.text import Text, say
from aimwell.engine.seen_ids import Digests, digest_ids
from aimwell.strategy.design import draw_holdout
from aimwell.strategy.live.kernels import CHOSEN, HOLDOUT
from aimwell.strategy.live.plan import MOST_UNITS, LivePlan
from aimwell.strategy.problem import Integers, Reals

_LONGEST_REQUEST = 128
_LONGEST_CUSTOMER = 255
REASONS: dict[str, Text] = {
    "chosen": say("It earns the most at the prices of what it uses"),
    "explored": say("Drawn among near-best actions in order to learn"),
    "not_worth": say("No action earns more than what it uses is worth elsewhere"),
    "limit": say("What would be worth it no longer fits into a limit"),
    "cap": say("The contact cap is reached"),
    "holdout": say("The customer is held out of all marketing"),
    "forbidden": say("The customer is suppressed, or no consent is known"),
}
"""Why a decision came out as it did, by code; in the order of the kernels' numbers."""
CODES = tuple(REASONS)


class Context(NamedTuple):
    """What is known when a customer comes: one number for each action of the plan, in its order."""

    request_id: str
    """The caller's name for this question, at most 128 characters: asked again, it is answered the same."""
    values: Reals
    """Expected profit of each action for this customer now, money; −infinity: not allowed."""
    costs: Integers
    """What each would cost, whole cents."""
    segment: int = 0
    at_ms: int | None = None
    """When the customer came, ms since 1970 in UTC; None: now."""
    prior_contacts: int = 0
    """Contacts by other systems in the cap's window: they count towards the cap."""


class Visit(NamedTuple):
    """The same, where the customer's numbers are those of the day's profile, which the decision's transaction reads."""

    request_id: str
    given: Mapping[str, Any]
    """What is known only now (``profiles.check_context``)."""
    at_ms: int | None = None


class Decision(NamedTuple):
    """The answer, durable when it is given."""

    request_id: str
    customer_id: str
    action_id: str | None
    """None: no action."""
    probability: float
    """Of this action, given all decisions before it."""
    choices: int
    """How many near-best actions there were, the best included."""
    reason: str
    """A code; ``REASONS`` has the words."""
    expected_profit: float
    cost_cents: int
    repeated: bool = False
    """Whether the request had been decided before."""


Answer: TypeAlias = Decision | AimwellError
Request: TypeAlias = tuple[str, Context]
"""A customer's id and the context."""
Meeting: TypeAlias = tuple[str, Visit]
"""A customer's id and the visit."""


@dataclass(frozen=True)
class Batch:
    """Requests that can be read, as arrays; parallel to ``places``."""

    places: list[int]
    """Where each stands among those that were handed over."""
    request_ids: list[str]
    customers: list[str]
    digests: Digests
    value: Reals
    cost: Integers
    segment: Integers
    at: Integers
    people: list[str]
    """The customers, each once."""
    person: Integers
    """The place of each request's customer among ``people``."""
    people_digests: Digests
    prior: Integers
    """By person: contacts by other systems."""
    held: NDArray[np.int8]
    draws: Reals

    def __len__(self) -> int:
        return len(self.places)

    def take(self, some: Integers) -> Batch:
        """Some of the requests, in order; the people stay all."""
        if len(some) == len(self):
            return self
        which = some.tolist()
        return replace(
            self,
            places=[self.places[place] for place in which],
            request_ids=[self.request_ids[place] for place in which],
            customers=[self.customers[place] for place in which],
            digests=self.digests[some],
            value=self.value[some],
            cost=self.cost[some],
            segment=self.segment[some],
            at=self.at[some],
            person=self.person[some],
            held=self.held[some],
            draws=self.draws[some],
        )


def check_request(plan: LivePlan, customer_id: str, context: Context) -> AimwellError | None:
    """What is wrong with the form of a request, if anything."""
    shape = (len(plan.actions),)
    # As objects: what a caller brings need not be what the annotations say.
    values: object = context.values
    costs: object = context.costs
    if not (isinstance(values, np.ndarray) and values.shape == shape and values.dtype.kind == "f"):
        return _refuse("values", say("A live decision needs one value for each action of its plan."))
    if not (isinstance(costs, np.ndarray) and costs.shape == shape and costs.dtype.kind == "i"):
        return _refuse("costs", say("A live decision needs one cost in whole cents for each action."))
    try:
        check_ids(customer_id, context.request_id)
    except BadInput as problem:
        return problem
    return None


def check_ids(customer_id: str, request_id: str) -> None:
    """BadInput where the ids of a request are empty or longer than the store keeps."""
    if not 0 < len(request_id) <= _LONGEST_REQUEST or not 0 < len(customer_id) <= _LONGEST_CUSTOMER:
        raise _refuse("request_id", say("A live decision needs ids of usual length."))


def prepare(plan: LivePlan, requests: Sequence[Request], answers: list[Answer | None]) -> Batch | None:
    """The requests as arrays; what is wrong with the others goes into ``answers``. None when none are left."""
    places = list(range(len(requests)))
    if not _look_alright(plan, requests):
        places = []
        for place, (customer, context) in enumerate(requests):
            error = check_request(plan, customer, context)
            if error is None:
                places.append(place)
            else:
                answers[place] = error
    if not places:
        return None
    some = requests if len(places) == len(requests) else [requests[place] for place in places]
    customers, contexts = zip(*some, strict=True)
    ids, values, costs, segments, at, contacts = zip(*contexts, strict=True)
    value, cost = np.concatenate(values), np.concatenate(costs)
    return arrange(plan, Columns(places, customers, ids, value, cost, segments, at, contacts), answers)


def _look_alright(plan: LivePlan, requests: Sequence[Request]) -> bool:
    """Whether the form of all requests is right, by a glance at all: each by itself would cost a tenth of the time."""
    if not requests:
        return False
    customers, contexts = zip(*requests, strict=True)
    try:
        forms = set(map(_FORM, contexts))
        lengths = list(map(len, map(_ID, contexts)))
        names = list(map(len, customers))
    except (AttributeError, TypeError):
        return False
    shape = (len(plan.actions),)
    return (
        forms == {(shape, "f", shape, "i")}
        and min(lengths) > 0
        and max(lengths) <= _LONGEST_REQUEST
        and min(names) > 0
        and max(names) <= _LONGEST_CUSTOMER
    )


_FORM = attrgetter("values.shape", "values.dtype.kind", "costs.shape", "costs.dtype.kind")
_ID = attrgetter("request_id")


class Columns(NamedTuple):
    """Requests by what they hold, parallel to ``places``; ``value`` and ``cost`` one action after the other."""

    places: list[int]
    customers: Sequence[str]
    request_ids: Sequence[str]
    value: Reals
    cost: Integers
    segments: Sequence[int]
    at: Sequence[int | None]
    prior_contacts: Sequence[int]


def arrange(plan: LivePlan, columns: Columns, answers: list[Answer | None]) -> Batch | None:
    """The columns as a batch; what cannot be used of them is told in ``answers``. None when none are left."""
    places, customers, ids, value, cost, segments, at, contacts = columns
    people = list(dict.fromkeys(customers))
    index = dict(zip(people, range(len(people)), strict=True))
    person = np.array(list(map(index.__getitem__, customers)), dtype=np.int64)
    held = np.full(len(places), CHOSEN, dtype=np.int8)
    prior = np.zeros(len(people), dtype=np.int64)
    if any(contacts):
        np.maximum.at(prior, person, np.array(contacts, dtype=np.int64))
    if plan.holdout:
        out = draw_holdout(people, salt=plan.salt, share=plan.holdout)
        held[out[person]] = HOLDOUT
    shape = (len(places), len(plan.actions))
    batch = Batch(
        places,
        list(ids),
        list(customers),
        digest_ids(ids),
        value.reshape(shape).astype(np.float64, copy=False),
        cost.reshape(shape).astype(np.int64, copy=False),
        np.array(segments, dtype=np.int64),
        np.array(at, dtype=np.int64),
        people,
        person,
        digest_ids(people),
        prior,
        held,
        _draw(plan, ids),
    )
    return _drop_unusable(plan, batch, answers)


def _drop_unusable(plan: LivePlan, batch: Batch, answers: list[Answer | None]) -> Batch | None:
    """Leave out those whose numbers cannot be used."""
    # Nearly always all can be, which is told by far less than which of them.
    if (
        batch.value.max() < np.inf
        and batch.cost.min() >= 0
        and batch.cost.max() <= MOST_UNITS
        and batch.segment.min() >= 0
        and batch.segment.max() < plan.segments
    ):
        return batch
    bad_value = ~np.all(batch.value < np.inf, axis=1)
    bad_cost = np.any((batch.cost < 0) | (batch.cost > MOST_UNITS), axis=1)
    bad_segment = (batch.segment < 0) | (batch.segment >= plan.segments)
    bad = bad_value | bad_cost | bad_segment
    for index in np.flatnonzero(bad):
        name = "values" if bad_value[index] else "costs" if bad_cost[index] else "segment"
        problem = say("'{name}' holds a number that cannot be used.", name=name)
        answers[batch.places[index]] = _refuse(name, problem)
    return batch.take(np.flatnonzero(~bad)) if not bad.all() else None


def _draw(plan: LivePlan, ids: Sequence[str]) -> Reals:
    """Whether and which: two uniform numbers for each request, the second only where it is needed."""
    draws = np.ones((len(ids), 2))
    if plan.exploration:
        salt = f"{plan.salt}:{plan.plan_id}:live"
        draws[:, 0] = draw_uniforms(f"{salt}:explore", ids)
        some = np.flatnonzero(draws[:, 0] < plan.exploration)
        if len(some):
            draws[some, 1] = draw_uniforms(f"{salt}:which", [ids[place] for place in some.tolist()])
    return draws


def refuse_reuse() -> Conflict:
    """One request id for two customers."""
    return Conflict(
        "strategy.request_reused",
        say("This request id was used for another customer."),
        remedy=say("Give every request an id of its own."),
    )


def refuse_erased() -> Conflict:
    """A request that was decided for somebody who was erased since."""
    return Conflict(
        "strategy.decision_erased",
        say("The decision of this request was erased together with its customer."),
        remedy=say("Give every request an id of its own."),
    )


def refuse_closed() -> Conflict:
    """A request by a plan that was closed."""
    return Conflict(
        "strategy.live_plan_closed",
        say("The live plan was closed: nothing is decided by it any more."),
        remedy=say("Open the plan of this day."),
    )


def refuse_halted() -> Conflict:
    """A request while all contacts are halted."""
    return Conflict(
        "strategy.live_halted",
        say("All contacts are halted: nothing is decided."),
        remedy=say("Let them go on with: aimwell deployment continue"),
    )


def refuse_hour() -> Conflict:
    """A request outside the plan's day."""
    return Conflict(
        "strategy.live_plan_over",
        say("The live plan is for another day than this."),
        remedy=say("Open the plan of this day."),
    )


def _refuse(name: str, problem: Text) -> BadInput:
    return BadInput(
        "strategy.bad_live_request",
        problem,
        remedy=say("Correct the request; nothing was decided or reserved."),
        where={"column": name},
    )
