"""``decide(customer, context)``: the live twin of the plan.

A decision is answered once it is durable. Whatever waits is decided together, one request after the other, in one
transaction of the store that checks consent and caps, reserves money and stock, and logs the decisions with their
probabilities (group commit): a commit waits for the disk, whatever it holds. Processes that decide at once take turns,
so no limit is broken, and nothing is reserved by anybody who did not decide. A crash loses requests that were not
answered, and nothing else; asked again under the same id, a request that was decided is answered as it was.

Whoever asked says afterwards whether the action was shown (``settle``); what was not is given back, and so is what
waits for longer than the plan's ``hold_ms``. Reads and writes what ``strategy.live.ledger`` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aimwell.core.errors import AimwellError
from aimwell.engine.driver_statements import run_at_end
from aimwell.engine.live_contacts import note_contacts
from aimwell.engine.permissions import NEXT_TURN, read_turn, take_turn
from aimwell.engine.store import Store
from aimwell.strategy.live.kernels import (
    CHOSEN,
    FORBIDDEN,
    NO_ACTION,
    decide_in_order,
)
from aimwell.strategy.live.ledger import (
    NONE,
    Memory,
    Moment,
    Standing,
    ask_moment,
    read_decision,
    read_moment,
    read_used,
    tell_log,
    tell_turn,
    tell_used,
)
from aimwell.strategy.live.plan import LivePlan, read_plan
from aimwell.strategy.live.profiles import Profile, is_empty, meet, refuse_empty
from aimwell.strategy.live.requests import (
    CODES,
    Answer,
    Batch,
    Context,
    Decision,
    Meeting,
    Request,
    Visit,
    prepare,
    refuse_closed,
    refuse_erased,
    refuse_halted,
    refuse_hour,
    refuse_reuse,
)
from aimwell.strategy.live.rounds import Pending, Rounds
from aimwell.strategy.live.settle import Handing, Outcome, Settled, Settling, find_due
from aimwell.strategy.problem import Integers, Reals

Asking = TypeVar("Asking", Context, Visit)
SWEEP_MS = 1_000
"""How often a process that decides looks for reservations that nobody confirmed."""


class Taken(Exception):
    """Another thread decides by the plan just now, and nobody was to wait for it."""


class LiveDecider:
    """Decides by one plan; threads may share it, and any number of processes may have one each.

    As a context manager it decides what ``decide`` and ``submit`` bring; at its end all that wait are decided.
    """

    def __init__(self, store: Store, plan_id: str, *, clock: Callable[[], float] = time.time) -> None:
        self.plan: LivePlan = read_plan(store, plan_id)
        self._store = store
        self._clock = clock
        self._memory = Memory(store, self.plan)
        self._limits = _LimitArrays(self.plan)
        self._lock = threading.Lock()
        self._swept_ms = 0
        self.before: Integers = np.zeros(len(self.plan.limits), dtype=np.int64)
        """What was used of each limit before the last transaction that decided."""
        self._rounds = Rounds()
        self._writer = threading.Thread(target=self._write, name="live-decisions", daemon=True)
        self._open = False
        self.commits = 0

    def __enter__(self) -> LiveDecider:
        self._writer.start()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._rounds.end()
        self._writer.join()

    def decide(self, customer_id: str, context: Context) -> Decision:
        """The decision for one customer, durable; raises what is wrong with the request, or what the store raised."""
        return self.submit(customer_id, context).result()

    def submit(self, customer_id: str, context: Context) -> Pending:
        """Ask, and go on: ``result`` waits until the decision is durable.

        RuntimeError outside the decider's ``with`` block: nobody would answer.
        """
        if not self._open:
            raise RuntimeError("the decider is not open")
        if context.at_ms is None:
            context = context._replace(at_ms=int(self._clock() * 1000))
        return self._rounds.join((customer_id, context))

    def decide_together(self, requests: Sequence[Request]) -> list[Answer]:
        """Decide in this order, in one transaction; for each request its decision, or what is wrong with it."""
        now_ms = int(self._clock() * 1000)
        own, own_number = _leave_out_twins(requests, now_ms)
        self.release_some()
        answers: list[Answer | None] = [None] * len(own)
        batch = prepare(self.plan, own, answers)
        if batch is not None:
            with self._alone(wait=True):
                self._commit(batch.people, int(batch.at.max()), _Bring(lambda _: batch), answers)
        return _tell_all(answers, own_number, requests)

    def meet(self, visits: Sequence[Meeting], *, wait: bool = True) -> list[Answer]:
        """The same by the profiles of the day, which its transaction reads.

        Where the day knows nobody at all, every answer is NotReady. Without ``wait`` nothing is decided, and Taken or
        NotReady (``store_errors.BUSY``) raised, where somebody else's turn it is just now in this process, or at the
        store (as ``Store.begin`` has it); and ``release_some`` is for others.
        """
        now_ms = int(self._clock() * 1000)
        own, own_number = _leave_out_twins(visits, now_ms)
        if wait:
            self.release_some()
        answers: list[Answer | None] = [None] * len(own)
        if own:
            people = list(dict.fromkeys(customer for customer, _ in own))
            at_ms = max(visit.at_ms or now_ms for _, visit in own)
            bring = _Bring(lambda known: meet(self.plan, known, own, answers), by_profiles=True, wait=wait)
            with self._alone(wait):
                self._commit(people, at_ms, bring, answers)
        return _tell_all(answers, own_number, visits)

    def read_used(self) -> Integers:
        """What all processes have used of each limit by now."""
        with self._store.snapshot() as connection:
            return read_used(connection, self.plan.plan_id)

    def settle(self, outcomes: Sequence[Outcome]) -> list[Settled]:
        """Take down in one transaction what was shown and what was not; for each what stands, or what is wrong.

        Safe to repeat. What was shown too late takes its share of the limits again, where there is still room.
        """
        with self._alone(wait=True):
            with self._store.begin() as connection:
                turn = take_turn(connection)
                self._memory.catch_up(connection, turn)
                found = Settling(connection, self.plan, self._memory, int(self._clock() * 1000))
                answers = found.settle(outcomes)
                found.write(turn)
            self._memory.remember(turn, NONE, found.contacts, found.released)
        return answers

    def open_handing(self, connection: sa.Connection) -> Handing:
        """Reservations become deliveries in this transaction, which takes the gate's turn here."""
        with self._lock:
            turn = take_turn(connection)
            self._memory.catch_up(connection, turn)
        return Handing(turn, Settling(connection, self.plan, self._memory, int(self._clock() * 1000)))

    def release_expired(self) -> int:
        """Give back what waits for longer than it may; how many decisions that ended."""
        hold, now_ms = self.plan.hold_ms, int(self._clock() * 1000)
        if hold is None:
            return 0
        with self._store.snapshot() as connection:
            if find_due(connection, self.plan, now_ms - hold) is None:
                return 0
        with self._alone(wait=True):
            with self._store.begin() as connection:
                turn = take_turn(connection)
                self._memory.catch_up(connection, turn)
                found = Settling(connection, self.plan, self._memory, now_ms)
                ended = found.release_due(now_ms - hold)
                found.write(turn)
            self._memory.remember(turn, NONE, found.contacts, found.released)
        return ended

    def release_some(self) -> None:
        """The same, now and then."""
        # Once a second: it is a transaction of its own, and nobody counts on the very moment.
        now_ms = int(self._clock() * 1000)
        if self.plan.hold_ms is not None and abs(now_ms - self._swept_ms) >= SWEEP_MS:
            self._swept_ms = now_ms
            self.release_expired()

    @contextmanager
    def _alone(self, wait: bool) -> Iterator[None]:
        """No other thread of this process begins a transaction by this plan until the last one is remembered."""
        if not self._lock.acquire(blocking=wait):
            raise Taken
        try:
            yield
        finally:
            self._lock.release()

    def _commit(self, people: list[str], at_ms: int, bring: _Bring, answers: list[Answer | None]) -> None:
        """Decide what is brought, in one transaction."""
        plan = self.plan
        question = ask_moment(
            plan, people, at_ms, is_sqlite=self._store.is_sqlite, profiles=bring.by_profiles
        )
        with self._store.begin_with([NEXT_TURN, question], wait=bring.wait) as (connection, (taken, found)):
            turn, moment = read_turn(connection, taken), read_moment(plan, found)
            self._memory.catch_up(connection, turn)
            if bring.by_profiles and not moment.profiles and is_empty(connection, plan.plan_id):
                answers[:] = [refuse_empty(plan.plan_id)] * len(answers)
                return
            batch = bring.arrange(moment.profiles)
            if batch is None:
                return
            known = self._memory.find_requests(batch.digests)
            for index in np.flatnonzero(known >= 0):
                earlier = read_decision(connection, int(known[index]))
                answers[batch.places[index]] = _tell_known(earlier, batch.customers[index])
            inside = (batch.at >= plan.starts_ms) & (batch.at < plan.ends_ms)
            for index in np.flatnonzero((known < 0) & ~inside):
                answers[batch.places[index]] = refuse_hour()
            refuse = _find_refusal(moment)
            if refuse is not None:
                for index in np.flatnonzero((known < 0) & inside):
                    answers[batch.places[index]] = refuse()
                return
            batch = batch.take(np.flatnonzero((known < 0) & inside))
            if not len(batch):
                return
            before, used = moment.used, moment.used.copy()
            decided = self._decide(moment.find_standing(plan, batch.people), batch, used)
            decisions = decided.describe(plan, batch)
            acted = decided.action != NO_ACTION
            channels = [plan.find_channel(action) for action in decided.action[acted].tolist()]
            contacts = note_contacts(batch.people_digests[batch.person[acted]], channels)
            now_ms = int(self._clock() * 1000)
            log = tell_log(connection, plan, turn, decisions, batch)
            told = tell_turn(plan, turn, now_ms, requests=batch.digests, contacts=contacts)
            run_at_end(connection, [*log, told, *tell_used(plan.plan_id, used, before)])
        # Only what was committed is remembered, and answered.
        self._memory.remember(turn, batch.digests, contacts, NONE)
        self.commits, self.before = self.commits + 1, before
        for place, decision in zip(batch.places, decisions, strict=True):
            answers[place] = decision

    def _decide(self, standing: Standing, batch: Batch, used: Integers) -> _Found:
        """Decide the batch; ``used`` moves on."""
        plan, limits = self.plan, self._limits
        contacts = self._memory.count_contacts(batch.people_digests) + batch.prior
        forbidden, delivered = standing
        contacts += delivered
        value, held = batch.value, batch.held
        if forbidden.any():
            theirs = forbidden[batch.person]
            value = np.where(theirs, -np.inf, value)
            nothing = theirs.any(axis=1) & ~np.isfinite(value).any(axis=1)
            held = np.where(nothing & (held == CHOSEN), FORBIDDEN, held).astype(np.int8)
        found = _Found.make_room(len(batch))
        decide_in_order(
            value, batch.cost, batch.segment, batch.at, batch.person, contacts, plan.cap, held, batch.draws,
            limits.tables, limits.of_cost, limits.signs, limits.bounds, used, limits.base, limits.gains,
            limits.rhythm, plan.starts_ms, plan.ends_ms, plan.exploration, plan.near,
            found.action, found.best, found.probability, found.choices, found.reason,
        )  # fmt: skip
        return found

    def _write(self) -> None:
        while (together := self._rounds.take()) is not None:
            try:
                together.answers = self.decide_together(together.requests)
            except BaseException as error:
                # Nothing was decided, or it is not known: whoever asks again under the same id learns which.
                together.error = error
            together.done.set()


class _Bring(NamedTuple):
    """How the batch of a transaction comes about."""

    arrange: Callable[[Mapping[str, Profile]], Batch | None]
    """From the profiles of the people, where they are wanted."""
    by_profiles: bool = False
    wait: bool = True


def _find_refusal(moment: Moment) -> Callable[[], AimwellError] | None:
    """Why nothing is decided at all, if so."""
    if moment.closed:
        return refuse_closed
    return refuse_halted if moment.halted else None


class _LimitArrays:
    """A plan's limits as kernels read them."""

    def __init__(self, plan: LivePlan) -> None:
        limits = plan.limits
        shape = (len(limits), plan.segments, len(plan.actions))
        self.tables = np.array([limit.table for limit in limits], dtype=np.int64).reshape(shape)
        self.of_cost = np.array([limit.of_cost for limit in limits], dtype=np.bool_)
        self.signs = np.array([limit.sign for limit in limits], dtype=np.int64)
        self.bounds = np.array([limit.bound for limit in limits], dtype=np.int64)
        self.base = np.array([limit.price for limit in limits], dtype=np.float64)
        self.gains = np.array([limit.gain for limit in limits], dtype=np.float64)
        self.rhythm = np.array(plan.rhythm, dtype=np.float64)


@dataclass(frozen=True)
class _Found:
    """What the kernel found; parallel to the batch."""

    action: NDArray[np.int16]
    best: NDArray[np.int16]
    probability: Reals
    choices: Integers
    reason: NDArray[np.int8]

    @classmethod
    def make_room(cls, count: int) -> _Found:
        whole, small = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int16)
        return cls(small, small.copy(), np.empty(count), whole, np.empty(count, dtype=np.int8))

    def describe(self, plan: LivePlan, batch: Batch) -> list[Decision]:
        index, taken = np.arange(len(batch)), np.maximum(self.action, 0)
        acted = self.action != NO_ACTION
        profit = np.where(acted, batch.value[index, taken], 0.0)
        cost = np.where(acted, batch.cost[index, taken], 0)
        names = (*plan.actions, None)
        columns = (
            batch.request_ids,
            batch.customers,
            [names[action] for action in self.action.tolist()],
            self.probability.tolist(),
            self.choices.tolist(),
            [CODES[code] for code in self.reason.tolist()],
            profit.tolist(),
            cost.tolist(),
            [False] * len(batch),
        )
        return list(map(_MAKE, zip(*columns, strict=True)))


_MAKE: Callable[[tuple[object, ...]], Decision] = partial(tuple.__new__, Decision)
"""What ``Decision._make`` does, without a call in Python for each."""


def _leave_out_twins(
    requests: Sequence[tuple[str, Asking]], now_ms: int
) -> tuple[list[tuple[str, Asking]], list[int]]:
    """Each request id once, with an instant; and of all requests which of these they are (empty where all are)."""
    ids = {context.request_id for _, context in requests}
    if len(ids) == len(requests) and not any(context.at_ms is None for _, context in requests):
        return list(requests), []
    numbers: dict[str, int] = {}
    own: list[tuple[str, Asking]] = []
    own_number: list[int] = []
    for customer, context in requests:
        number = numbers.setdefault(context.request_id, len(numbers))
        own_number.append(number)
        if number == len(own):
            stamped = context if context.at_ms is not None else context._replace(at_ms=now_ms)
            own.append((customer, stamped))
    return own, own_number


def _tell_all(
    answers: Sequence[Answer | None], own_number: Sequence[int], requests: Sequence[tuple[str, Asking]]
) -> list[Answer]:
    """The answers to all requests, whose numbers among ``answers`` these are."""
    told = [answer for answer in answers if answer is not None]
    if not own_number:
        return told
    seen: set[int] = set()
    return [
        told[number]
        if number not in seen and not seen.add(number)  # type: ignore[func-returns-value]
        else _tell_again(told[number], customer)
        for number, (customer, _) in zip(own_number, requests, strict=True)
    ]


def _tell_known(found: Decision | None, customer: str) -> Answer:
    if found is None:
        return refuse_erased()
    return found if found.customer_id == customer else refuse_reuse()


def _tell_again(answer: Answer, customer: str) -> Answer:
    """To whoever asked twice at once."""
    if isinstance(answer, AimwellError):
        return answer
    return answer._replace(repeated=True) if answer.customer_id == customer else refuse_reuse()
