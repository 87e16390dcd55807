"""The live decision as journeys ask for it: which action is best for this customer now, at the day's prices.

What it decides is reserved of the open live plan's limits, and logged, as for everybody who asks (``strategy.live``).
The transaction that moves the customer hands the reservation over to the delivery that the action's way leads to,
which counts the contact from then on; a way that reaches no message before it waits gives it back. When the delivery
ends the decision is settled: sent or not. Without an open live plan, for a customer whom it does not know, and where
the plan refuses, there is no action.

Reads the store's ``deliveries``; reads and writes ``journey_decisions`` and what ``strategy.live`` does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import AimwellError, NotReady
from aimwell.deployment.journeys.enrolments import among
from aimwell.deployment.journeys.knowledge import Answer, Question
from aimwell.engine.journey_tables import JOURNEY_DECISIONS
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.live_tables import LIVE_PLANS
from aimwell.engine.workspace import Workspace
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.exposures import publish_exposures
from aimwell.strategy.live.plan import LivePlan
from aimwell.strategy.live.requests import Decision, Meeting, Visit
from aimwell.strategy.live.settle import Handing, Outcome
from aimwell.strategy.live.status import find_open_plan

_NOTHING = Answer(None)
_SENT, _NOT_SENT = ("sent",), ("failed", "skipped")
_MOST_SETTLED = 5_000
_MOST_DECIDERS = 4
_D = JOURNEY_DECISIONS.c


@dataclass(frozen=True)
class LiveReservations:
    """Reservations of one live plan in the transaction that moves people."""

    standing: frozenset[str]
    _connection: sa.Connection
    _plan_id: str
    _handing: Handing

    def hand_over(self, carried: Mapping[str, str], unused: Collection[str]) -> None:
        """The deliveries carry what they were decided for; the rest is given back."""
        self._handing.hand_over(carried.keys(), unused)
        rows = [
            {"delivery_id": delivery, "plan_id": self._plan_id, "request_id": name}
            for name, delivery in carried.items()
        ]
        if rows:
            self._connection.execute(sa.insert(JOURNEY_DECISIONS), rows)


class JourneyDecisions:
    """Answers the questions of a workspace's journeys, and settles what was answered; remembers the days."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._deciders: dict[str, LiveDecider] = {}
        self._decider: LiveDecider | None = None

    def ask(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """One answer per question, in order; asked again under the same request id, the same answer."""
        if not questions:
            return []
        try:
            decider = self._find_decider(max(question.at_ms for question in questions))
        except NotReady:
            return [_NOTHING] * len(questions)
        asked: dict[int, Meeting] = {}
        for place, question in enumerate(questions):
            possible = [action for action in question.actions if action in decider.plan.actions]
            if possible:
                visit = Visit(question.request_id, {"actions": possible}, question.at_ms)
                asked[place] = (question.customer_id, visit)
        found = dict(zip(asked, decider.meet(list(asked.values())), strict=True))
        return [_read(found.get(place)) for place in range(len(questions))]

    def open(self, connection: sa.Connection, request_ids: Sequence[str]) -> LiveReservations:
        """What was reserved under these ids, and still is."""
        assert self._decider is not None
        handing = self._decider.open_handing(connection)
        standing = handing.find_reserved(request_ids)
        return LiveReservations(standing, connection, self._decider.plan.plan_id, handing)

    def settle(self) -> int:
        """Say of each decision whose delivery has ended whether it was sent; how many those were. Safe to repeat.

        One in doubt stays reserved until somebody finds out.
        """
        ended: dict[str, dict[str, Outcome]] = defaultdict(dict)
        for row in _list_ended(self._workspace):
            ended[row.plan_id][row.delivery_id] = Outcome(row.request_id, row.state in _SENT)
        for plan_id, outcomes in ended.items():
            decider = self._open_decider(plan_id)
            # What was forgotten or erased meanwhile has nothing left to settle.
            decider.settle(list(outcomes.values()))
            with self._workspace.store.begin() as connection:
                mine = among(connection, _D.delivery_id, list(outcomes))
                connection.execute(sa.delete(JOURNEY_DECISIONS).where(mine))
            _publish_late(self._workspace, decider.plan)
        return sum(map(len, ended.values()))

    def find_due(self) -> datetime | None:
        """At once, when a delivery that carries a decision has ended."""
        return datetime.fromtimestamp(0, UTC) if _list_ended(self._workspace, 1) else None

    def _find_decider(self, now_ms: int) -> LiveDecider:
        self._decider = self._open_decider(find_open_plan(self._workspace.store, now_ms))
        return self._decider

    def _open_decider(self, plan_id: str) -> LiveDecider:
        found = self._deciders.get(plan_id)
        if found is None:
            if len(self._deciders) >= _MOST_DECIDERS:
                self._deciders.pop(next(iter(self._deciders)))
            found = self._deciders[plan_id] = LiveDecider(self._workspace.store, plan_id)
        return found


def _read(answer: Decision | AimwellError | None) -> Answer:
    if not isinstance(answer, Decision):
        return _NOTHING
    reserved = None if answer.action_id is None else answer.request_id
    return Answer(answer.action_id, answer.probability, reserved)


def _list_ended(workspace: Workspace, most: int = _MOST_SETTLED) -> Sequence[Any]:
    state = DELIVERIES.c.state
    query = (
        sa.select(_D.delivery_id, _D.plan_id, _D.request_id, state)
        .outerjoin(DELIVERIES, DELIVERIES.c.delivery_id == _D.delivery_id)
        .where(state.is_(None) | state.in_((*_SENT, *_NOT_SENT)))
        .limit(most)
    )
    with workspace.store.snapshot() as connection:
        return connection.execute(query).all()


def _publish_late(workspace: Workspace, plan: LivePlan) -> None:
    """A day that was closed before the last of its deliveries ended is handed over once more."""
    left = sa.select(_D.delivery_id).where(_D.plan_id == plan.plan_id).limit(1)
    closed = sa.select(LIVE_PLANS.c.closed_at).where(LIVE_PLANS.c.plan_id == plan.plan_id)
    with workspace.store.snapshot() as connection:
        if connection.execute(left).first() is not None or connection.execute(closed).scalar() is None:
            return
    publish_exposures(workspace, plan)
