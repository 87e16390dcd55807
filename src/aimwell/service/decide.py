"""``/v1/decide`` and ``/v1/outcome``: the best action for a customer who is here now, and whether it was shown.

Writes what ``strategy.live`` does.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aimwell.core.errors import AimwellError
from aimwell.core.ids import new_id
from aimwell.core.text import Language
from aimwell.engine.workspace import Workspace
from aimwell.service.bodies import read_form
from aimwell.service.exchange import JSON, Answer, Asked, encode, show_problem
from aimwell.service.gathering import Gathering
from aimwell.service.live_day import Decided, LiveDay, Question
from aimwell.strategy.live.settle import Outcome, Settlement

MOST_BODY = 65_536
MOST_OUTCOMES = 500
Id = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
CustomerId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class Known(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is known only now: no other channels or actions are possible; amounts in place of the profile's."""

    channels: list[str] | None = None
    actions: list[str] | None = None
    profit: dict[str, float] | None = None


class Decide(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a question."""

    customer_id: CustomerId
    request_id: Id | None = None
    context: Known | None = None
    explain: bool = False
    plan_id: Id | None = None


class Told(msgspec.Struct, forbid_unknown_fields=True):
    """Whether the action of a decision was shown."""

    request_id: Id
    shown: bool
    plan_id: Id | None = None


class Outcomes(msgspec.Struct, forbid_unknown_fields=True):
    """Several of these at once."""

    outcomes: Annotated[list[Told], Meta(min_length=1, max_length=MOST_OUTCOMES)]


class Decisions:
    """The routes of live decisions; one thread of the process decides and settles."""

    def __init__(self, workspace: Workspace) -> None:
        day = self._day = LiveDay(workspace)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="live-day")
        self._questions: Gathering[Question, Decided] = Gathering(
            day.decide, self._executor, in_loop=day.decide_in_loop
        )
        self._outcomes: Gathering[tuple[Outcome, str | None], Settlement] = Gathering(
            day.settle, self._executor
        )

    async def look_after(self) -> None:
        """For once a second: what no question should wait for."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._day.look_after)

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._questions.finish()
        await asyncio.to_thread(self._executor.shutdown)

    async def decide(self, asked: Asked) -> Answer:
        """One decision."""
        await asked.admit("decide")
        return self.answer(asked, await self._ask(await asked.read_body(MOST_BODY)))

    def begin(self, asked: Asked, body: bytes) -> asyncio.Future[Decided] | None:
        """As ``decide``, for a key that needs no look into the store; None, and nothing was done, for any other."""
        return self._ask(body) if asked.is_admitted("decide") else None

    def answer(self, asked: Asked, decided: Decided) -> Answer:
        """What was decided, as it is told."""
        asked.doors.metrics.count_decision(decided.decision.reason)
        return Answer(encode(_show(decided)))

    async def settle(self, asked: Asked) -> Answer:
        """What was shown, and what was not."""
        await asked.admit("decide")
        body = await asked.read_body(MOST_BODY)
        try:
            many = msgspec.json.decode(body, type=Outcomes)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            told = read_form(body, Told)
            return Answer(encode(_show_settled(await self._settle(told))))
        found = await asyncio.gather(*map(self._settle, many.outcomes), return_exceptions=True)
        return _answer_settled(found, asked.language)

    def _ask(self, body: bytes) -> asyncio.Future[Decided]:
        form = read_form(body, Decide)
        known = {} if form.context is None else msgspec.to_builtins(form.context)
        request_id = form.request_id or new_id("live")
        return self._questions.ask(Question(form.customer_id, request_id, known, form.explain, form.plan_id))

    def _settle(self, told: Told) -> asyncio.Future[Settlement]:
        return self._outcomes.ask((Outcome(told.request_id, told.shown), told.plan_id))


def _show(decided: Decided) -> dict[str, Any]:
    decision = decided.decision
    answer: dict[str, Any] = {
        "plan_id": decided.plan_id,
        "request_id": decision.request_id,
        "customer_id": decision.customer_id,
        "action_id": decision.action_id,
        "probability": decision.probability,
        "choices": decision.choices,
        "reason": decision.reason,
        "expected_profit": decision.expected_profit,
        "cost": decision.cost_cents / 100,
        "confirm_until_ms": decided.confirm_until_ms,
        "repeated": decision.repeated,
    }
    if decided.explanation is not None:
        answer["explanation"] = decided.explanation
    return answer


def _show_settled(settled: Settlement) -> dict[str, Any]:
    return settled._asdict()


def _answer_settled(found: list[Settlement | BaseException], language: Language) -> Answer:
    shown: list[dict[str, Any]] = []
    for place, one in enumerate(found):
        if isinstance(one, AimwellError):
            shown.append({"index": place, "error": show_problem(one, language)})
        elif isinstance(one, BaseException):
            raise one
        else:
            shown.append({"index": place, **_show_settled(one)})
    failed = any("error" in one for one in shown)
    return Answer(encode({"outcomes": shown}), 207 if failed else 200, JSON)
