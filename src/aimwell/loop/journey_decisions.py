"""The live decision as journeys ask for it: which action is best for this customer now, at the day's prices.

A journey takes the advice: what the decision reserved is given back at once, because the ledger counts the message
itself when it is sent. Without an open live day, or for a customer whom it does not know, there is no advice. Reads and
writes what ``strategy.live`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from aimwell.core.errors import AimwellError, NotReady
from aimwell.deployment.journeys.knowledge import Answer, Question
from aimwell.engine.workspace import Workspace
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.profiles import make_context, read_profiles
from aimwell.strategy.live.requests import Decision, Request
from aimwell.strategy.live.settle import Outcome
from aimwell.strategy.live.status import find_open_plan

_NOTHING = Answer(None)


class JourneyDecisions:
    """Answers the questions of a workspace's journeys; remembers the day that is open."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._decider: LiveDecider | None = None

    def __call__(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """One answer per question, in order; asked again under the same request id, the same answer."""
        if not questions:
            return []
        try:
            decider = self._find_decider(max(question.at_ms for question in questions))
        except NotReady:
            return [_NOTHING] * len(questions)
        store, plan = self._workspace.store, decider.plan
        profiles = read_profiles(store, plan.plan_id, [question.customer_id for question in questions])
        asked: dict[int, Request] = {}
        for place, question in enumerate(questions):
            profile = profiles.get(question.customer_id)
            possible = [action for action in question.actions if action in plan.actions]
            if profile is not None and possible:
                given = {"actions": possible}
                context = make_context(plan, profile, question.request_id, given, at_ms=question.at_ms)
                asked[place] = (question.customer_id, context)
        found = dict(zip(asked, decider.decide_together(list(asked.values())), strict=True))
        _give_back(decider, [answer for answer in found.values() if isinstance(answer, Decision)])
        return [_read(found.get(place)) for place in range(len(questions))]

    def _find_decider(self, now_ms: int) -> LiveDecider:
        plan_id = find_open_plan(self._workspace.store, now_ms)
        if self._decider is None or self._decider.plan.plan_id != plan_id:
            self._decider = LiveDecider(self._workspace.store, plan_id)
        return self._decider


def _give_back(decider: LiveDecider, decisions: Sequence[Decision]) -> None:
    outcomes = [Outcome(one.request_id, False) for one in decisions if one.action_id is not None]
    if outcomes:
        decider.settle(outcomes)


def _read(answer: Decision | AimwellError | None) -> Answer:
    if not isinstance(answer, Decision):
        return _NOTHING
    return Answer(answer.action_id, answer.probability)
