"""The live day of one process: its decider, and many questions answered in one transaction.

Everything here may block, and runs in a thread of ``service.gathering``; ``decide_in_loop`` does not, and runs in its
loop. Reads and writes what ``strategy.live`` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aimwell.core.errors import AimwellError, NotReady
from aimwell.engine.in_loop import can_run_in_loop, run_in_loop
from aimwell.engine.store_errors import BUSY
from aimwell.engine.workspace import Workspace
from aimwell.strategy.live.answer import Moment, explain_decision
from aimwell.strategy.live.decide import LiveDecider, Taken
from aimwell.strategy.live.profiles import check_context, read_profile
from aimwell.strategy.live.requests import Decision, Visit
from aimwell.strategy.live.settle import Outcome, Settlement
from aimwell.strategy.live.status import find_live_plan, find_open_plan

FRESH_SECONDS, MOST_SECONDS = 0.9, 5.0
"""So old may be what is known of the open day before somebody looks again, and before nobody decides by it any more. A
closed one decides nothing all the same."""
_MOST_DECIDERS = 4


class Question(NamedTuple):
    """Who is here, and what is known now."""

    customer_id: str
    request_id: str
    context: Mapping[str, Any]
    explain: bool = False
    plan_id: str | None = None


class Decided(NamedTuple):
    """The decision, of which day, and why where that was asked."""

    plan_id: str
    decision: Decision
    confirm_until_ms: int | None
    explanation: Mapping[str, Any] | None = None


class LiveDay:
    """Decides by the day that is open, and by another where the question names one."""

    def __init__(self, workspace: Workspace, *, clock: Callable[[], float] = time.time) -> None:
        self._workspace = workspace
        self._clock = clock
        self._deciders: dict[str, LiveDecider] = {}
        self._open: tuple[float, str] | None = None

    async def decide_in_loop(self, questions: Sequence[Question]) -> list[Decided | Exception] | None:
        """As ``decide``, by a day that is at hand, without stopping the loop; None, and nothing, where that cannot be.

        In SQLite, which waits for nobody but the disk, where nobody else writes just now.
        """
        if any(one.explain or one.plan_id for one in questions):
            return None
        store = self._workspace.store
        if store.is_sqlite:
            return self._decide_at_once(questions)
        if not can_run_in_loop() or not store.has_connection:
            return None
        return await run_in_loop(lambda: self._decide_at_once(questions))

    def _decide_at_once(self, questions: Sequence[Question]) -> list[Decided | Exception] | None:
        at, opened = self._clock(), self._open
        if opened is None or not self._is_open(opened, at, MOST_SECONDS):
            return None
        decider = self._deciders.get(opened[1])
        try:
            return None if decider is None else self._decide_by(decider, questions, wait=False)
        except Taken:
            return None
        except NotReady as problem:
            # On a server the lock was waited for already.
            if problem.code != BUSY or not self._workspace.store.is_sqlite:
                raise
            return None

    def look_after(self) -> None:
        """What is to be done once a second, so that it keeps no question waiting."""
        # Without an open day, or without the store, questions are told so.
        with suppress(NotReady):
            self._open_decider(self._find_open()).release_some()

    def decide(self, questions: Sequence[Question]) -> list[Decided | Exception]:
        """For each question its decision, durable, or what is wrong with it."""
        answers: list[Decided | Exception | None] = [None] * len(questions)
        plans: dict[str | None, list[int]] = {}
        for place, question in enumerate(questions):
            if question.explain:
                answers[place] = _try(self._explain, question)
            else:
                plans.setdefault(question.plan_id, []).append(place)
        for plan_id, places in plans.items():
            some = [questions[place] for place in places]
            for place, answer in zip(places, self._decide_some(plan_id, some), strict=True):
                answers[place] = answer
        return [answer for answer in answers if answer is not None]

    def settle(self, outcomes: Sequence[tuple[Outcome, str | None]]) -> list[Settlement | Exception]:
        """For each outcome (and the day that it is of, if told) what stands, or what is wrong with it."""
        answers: list[Settlement | Exception | None] = [None] * len(outcomes)
        by_plan: dict[str | None, list[int]] = {}
        for place, (_, plan_id) in enumerate(outcomes):
            by_plan.setdefault(plan_id, []).append(place)
        for plan_id, places in by_plan.items():
            self._settle_some(plan_id, places, outcomes, answers)
        return [answer for answer in answers if answer is not None]

    def _decide_some(
        self, plan_id: str | None, questions: Sequence[Question]
    ) -> Sequence[Decided | Exception]:
        try:
            decider = self._find_decider(plan_id)
        except AimwellError as problem:
            return [problem] * len(questions)
        return self._decide_by(decider, questions)

    def _decide_by(
        self, decider: LiveDecider, questions: Sequence[Question], *, wait: bool = True
    ) -> list[Decided | Exception]:
        now_ms = int(self._clock() * 1000)
        visits = [(one.customer_id, Visit(one.request_id, one.context, now_ms)) for one in questions]
        name, until = decider.plan.plan_id, decider.plan.hold_ms
        return [_pack(name, answer, now_ms, until) for answer in decider.meet(visits, wait=wait)]

    def _explain(self, question: Question) -> Decided:
        """One question by itself: what was used before it is known for certain."""
        decider = self._find_decider(question.plan_id)
        plan, store = decider.plan, self._workspace.store
        profile = read_profile(store, plan.plan_id, question.customer_id)
        now_ms = int(self._clock() * 1000)
        visit = Visit(question.request_id, question.context, now_ms)
        answer = decider.meet([(question.customer_id, visit)])[0]
        if isinstance(answer, AimwellError):
            raise answer
        used = decider.read_used() if answer.repeated else decider.before
        currency = self._workspace.settings.business.currency
        moment = Moment(answer, profile, check_context(plan, question.context), used, now_ms, currency)
        decided = _pack(plan.plan_id, answer, now_ms, plan.hold_ms)
        assert isinstance(decided, Decided)
        return Decided(
            decided.plan_id, answer, decided.confirm_until_ms, explain_decision(store, plan, moment)
        )

    def _settle_some(
        self,
        plan_id: str | None,
        places: Sequence[int],
        outcomes: Sequence[tuple[Outcome, str | None]],
        answers: list[Settlement | Exception | None],
    ) -> None:
        try:
            decider = self._open_decider(plan_id or find_live_plan(self._workspace.store))
        except AimwellError as problem:
            for place in places:
                answers[place] = problem
            return
        others: dict[str, list[int]] = {}
        for place, answer in zip(
            places, decider.settle([outcomes[place][0] for place in places]), strict=True
        ):
            answers[place] = answer
            if plan_id is None and isinstance(answer, AimwellError) and answer.code == _OTHER_PLAN:
                # Shown after midnight, it is of yesterday's day.
                others.setdefault(str(answer.where["value"]), []).append(place)
        for other, theirs in others.items():
            self._settle_some(other, theirs, outcomes, answers)

    def _find_decider(self, plan_id: str | None) -> LiveDecider:
        if plan_id is not None:
            return self._open_decider(find_live_plan(self._workspace.store, plan_id))
        return self._open_decider(self._find_open())

    def _find_open(self) -> str:
        """The plan of the open day; a question to the store once a second."""
        at, opened = self._clock(), self._open
        if opened is None or not self._is_open(opened, at, FRESH_SECONDS):
            try:
                opened = self._open = (at, find_open_plan(self._workspace.store, int(at * 1000)))
            except NotReady:
                self._open = None
                raise
        return opened[1]

    def _is_open(self, opened: tuple[float, str], at: float, seconds: float) -> bool:
        """Whether a day that was found so long ago is still taken for open: not after its own end."""
        decider = self._deciders.get(opened[1])
        return (
            0 <= at - opened[0] < seconds
            and decider is not None
            and decider.plan.starts_ms <= at * 1000 < decider.plan.ends_ms
        )

    def _open_decider(self, plan_id: str) -> LiveDecider:
        found = self._deciders.get(plan_id)
        if found is None:
            if len(self._deciders) >= _MOST_DECIDERS:
                self._deciders.pop(next(iter(self._deciders)))
            found = LiveDecider(self._workspace.store, plan_id, clock=self._clock)
            self._deciders[plan_id] = found
        return found


_OTHER_PLAN = "strategy.other_live_plan"


def _try(act: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return act(*arguments)
    except AimwellError as problem:
        return problem


def _pack(
    plan_id: str, answer: Decision | AimwellError, now_ms: int, hold_ms: int | None
) -> Decided | Exception:
    if isinstance(answer, AimwellError):
        return answer
    until = None if hold_ms is None or answer.action_id is None else now_ms + hold_ms
    return Decided(plan_id, answer, until)
