"""The delivery ledger: intent → attempt → acknowledgement, under a lease with a fence.

``queued → leased(owner, until) → intent committed (still owner, lease alive) → handover → sent | failed | queued``.
A row is reserved in the transaction that checks policy. Recovery touches only expired leases; an intent that a
crash left behind is repeated where the provider rejects repeats, asked about where it can be asked, and *in
doubt* otherwise: counted, shown, never repeated. The audience is always the sum of the states.

Writes the store's ``deliveries``, ``consent_states``, ``suppressions`` and ``contact_gate``; ``policy`` reads
``live_turns``, too. The statements are portable (SQLite, PostgreSQL). Every transaction that reserves takes the gate's
next turn first: that serialises the contact cap over all plans and gives the fence its number.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from aimwell.deployment.calendar import place_evenly
from aimwell.deployment.channels.channel import Outcome, Promise, Receipt
from aimwell.deployment.coupons import issue_reserved, take_back
from aimwell.deployment.ledger_rows import (
    SETTLE_OTHERS,
    SETTLED_COLUMNS,
    Intended,
    Queue,
    close_intent,
    enqueue_in,
    intend_rows,
    lease_rows,
    move_on,
    read_attempts,
    read_candidates,
    read_ended,
    read_queued,
    record_verdicts,
    settle_sent,
    split,
)
from aimwell.deployment.policy import Candidate, ContactRules, LiveMemory, Verdict, judge
from aimwell.deployment.sources import read_sources, write_meters
from aimwell.engine.ledger_tables import DELIVERIES, HELD
from aimwell.engine.permissions import (
    ConsentState,
    Suppression,
    add_suppression,
    remember_consents,
    take_turn,
)


class TransactionSource(Protocol):
    """What the ledger needs of the store (``engine.store.Store``)."""

    def begin(self, *, gated: bool = False) -> AbstractContextManager[sa.Connection]:
        """A transaction: committed at the end, rolled back on an exception; ``gated`` ones run side by side."""
        ...

    def snapshot(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads, and waits for no writer."""
        ...


_LONGEST_DELAY = 24 * 3600.0
"""Seconds; a provider that asks for more is tried nevertheless."""


@dataclass(frozen=True)
class Terms:
    """How long a lease lasts, and how failed attempts are repeated (seconds).

    The wait doubles each time, up to ``longest``, and is longer by up to the share ``jitter`` of itself, which the
    delivery's id decides: what failed together does not come back together.
    """

    lease: float = 30.0
    retry: float = 60.0
    attempts: int = 5
    jitter: float = 0.2
    longest: float = 6 * 3600.0
    costs: Mapping[str, int] = field(default_factory=dict)
    """What a message costs on a channel, in cents: for deliveries that move on to another one."""

    def find_wait(self, delivery_id: str, attempts: int) -> float:
        """Seconds until a delivery that failed for the ``attempts``-th time is tried again."""
        wait = min(self.retry * 2 ** min(attempts - 1, 40), self.longest)
        longer: float = wait * (1 + self.jitter * place_evenly(f"{delivery_id}:{attempts}"))
        return longer


@dataclass(frozen=True)
class Reservation:
    """Rows that this worker holds. ``held`` says why nothing may be reserved now (paused, stopped, halted).

    ``next_ms``: when a campaign whose rate has no place now has one again.
    """

    fence: int
    rows: tuple[Candidate, ...]
    examined: int
    held: str | None = None
    next_ms: int | None = None


class Ledger:
    """The ledger as one worker sees it. ``clock`` gives seconds since 1970.

    ``without``: beginnings of the names of sources for which this worker can make no messages; they are left alone.
    """

    def __init__(
        self,
        store: TransactionSource,
        *,
        rules: ContactRules,
        terms: Terms | None = None,
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
        without: Iterable[str] = (),
    ) -> None:
        self._store = store
        self._without = tuple(without)
        self._rules = rules
        self.terms = terms or Terms()
        self.owner = owner or f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._clock = clock
        self._live = LiveMemory()

    def now_ms(self) -> int:
        """The worker's clock in milliseconds."""
        return int(self._clock() * 1000)

    def enqueue(self, intended: Sequence[Intended]) -> int:
        """Queue what is not in the ledger yet; returns how many rows are new. Safe to repeat at any time."""
        added = 0
        for chunk in split(intended):
            with self._store.begin() as connection:
                added += enqueue_in(connection, chunk, self.now_ms())
        return added

    def remember_consents(self, consents: Iterable[tuple[str, str, bool, int] | ConsentState]) -> None:
        """Bring consents up to date; an older instant never replaces a newer one."""
        for chunk in split([ConsentState(*consent) for consent in consents]):
            with self._store.begin() as connection:
                take_turn(connection)
                remember_consents(connection, chunk)

    def suppress(self, customer_id: str, *, channel: str = "all", source: str = "cli") -> bool:
        """Never contact the customer (on ``channel``) again; False when that stood already."""
        with self._store.begin() as connection:
            return add_suppression(connection, Suppression(customer_id, channel, source, self.now_ms()))

    def reserve(self, source: str | None, channel: str, *, limit: int) -> Reservation:
        """Lease up to ``limit`` queued rows that policy allows; what it forbids becomes skipped, with the reason.

        Of one source, or of all (None): then the most valuable go first, whoever queued them.
        """
        with self._store.begin(gated=True) as connection:
            fence, now = take_turn(connection), self.now_ms()
            sources = read_sources(connection, now)
            held = sources.find_hold(source)
            if held is not None:
                return Reservation(fence, (), 0, held)
            closed = sources.list_closed(now)
            foreign = self._without if source is None else ()
            queue = Queue(source, channel, closed, foreign)
            candidates = read_queued(connection, queue, now, limit)
            verdicts = judge(connection, candidates, self._rules, now, live=self._live, held=sources.held)
            granted = sources.cut([row for row in candidates if verdicts[row.delivery_id].granted], now)
            short = issue_reserved(connection, granted, now)
            verdicts |= {delivery: Verdict("no_coupon") for delivery in short}
            granted = [row for row in granted if row.delivery_id not in short]
            if granted:
                ids = [row.delivery_id for row in granted]
                lease_rows(connection, ids, self.owner, fence, self._until())
            write_meters(connection, sources, granted, now)
            record_verdicts(connection, verdicts, now)
            skipped = {key for key, verdict in verdicts.items() if verdict.reason and not verdict.waits}
            self._end(connection, [row.delivery_id for row in candidates if row.delivery_id in skipped])
            return Reservation(fence, tuple(granted), len(candidates), None, sources.find_next(source, now))

    def advance(
        self,
        fence: int,
        *,
        settled: Sequence[tuple[str, Receipt]] = (),
        intended: Sequence[str] = (),
        waiting: Sequence[str] = (),
        promise: Promise = Promise.BLIND,
    ) -> set[str]:
        """In one transaction: record receipts, commit the next intents, keep the lease of what waits.

        Returns the ids whose intent this worker holds; only those may be handed over. A row whose lease ran out,
        or that somebody reserved since, is not among them.
        """
        with self._store.begin(gated=True) as connection:
            self._settle(connection, fence, settled, promise)
            now = self.now_ms()
            if waiting:
                held = self._hold(fence, waiting) & (DELIVERIES.c.lease_until_ms > now)
                connection.execute(sa.update(DELIVERIES).where(held).values(lease_until_ms=self._until()))
            if not intended:
                return set()
            return intend_rows(connection, intended, fence, now, self._until())

    def release(self, fence: int, delivery_ids: Sequence[str]) -> None:
        """Give back leased rows that were not tried."""
        if delivery_ids:
            with self._store.begin(gated=True) as connection:
                connection.execute(
                    sa.update(DELIVERIES).where(self._hold(fence, delivery_ids)).values(state="queued")
                )

    def fail(self, fence: int, delivery_ids: Sequence[str], reason: str) -> None:
        """Close leased rows for which no message could be made."""
        if delivery_ids:
            with self._store.begin(gated=True) as connection:
                held = self._hold(fence, delivery_ids)
                values = {"state": "failed", "reason": reason, "finished_at_ms": self.now_ms()}
                connection.execute(sa.update(DELIVERIES).where(held).values(**values))
                self._end(connection, delivery_ids)

    def recover(self, source: str | None, channel: str, *, promise: Promise) -> Reservation:
        """Take up what dead workers left: expired leases only.

        Leased rows are queued again. Intents are queued again (A), closed as in doubt (C), or get a new lease (B);
        those of which this worker had the lease before are to be asked about: the reservation holds them.
        """
        with self._store.begin(gated=True) as connection:
            fence = take_turn(connection)
            ours = DELIVERIES.c.channel == channel
            if source is not None:
                ours &= DELIVERIES.c.plan_id == source
            ours &= HELD
            leased = ours & (DELIVERIES.c.state == "leased") & self._find_expired(Promise.BLIND)
            intents = ours & (DELIVERIES.c.state == "intent") & self._find_expired(promise)
            connection.execute(sa.update(DELIVERIES).where(leased).values(state="queued"))
            if promise is Promise.CAN_BE_ASKED:
                # Its owner may live after all: clocks differ, and are moved. An own lease is past by the own clock.
                rows = read_candidates(connection, intents & (DELIVERIES.c.owner == self.owner))
                values = {"owner": self.owner, "fence": fence, "lease_until_ms": self._until()}
                connection.execute(sa.update(DELIVERIES).where(intents).values(**values))
                return Reservation(fence, tuple(rows), len(rows))
            connection.execute(
                sa.update(DELIVERIES).where(intents).values(**close_intent(promise, self.now_ms()))
            )
            return Reservation(fence, (), 0)

    def find_next_expiry(self, source: str | None, channel: str) -> float | None:
        """Seconds until the first lease on this channel that somebody holds runs out; None when nobody holds one."""
        query = sa.select(sa.func.min(DELIVERIES.c.lease_until_ms)).where(
            DELIVERIES.c.channel == channel, HELD
        )
        if source is not None:
            query = query.where(DELIVERIES.c.plan_id == source)
        with self._store.snapshot() as connection:
            first = connection.execute(query).scalar()
        return None if first is None else max(0.0, (first - self.now_ms()) / 1000)

    def stop(self, plan_id: str) -> int:
        """Skip all that was not handed over yet, at once; returns how many.

        What a worker has only leased goes, too: it asks for each row again before it speaks.
        """
        waiting = (DELIVERIES.c.plan_id == plan_id) & DELIVERIES.c.state.in_(("queued", "leased"))
        return self._skip_all(waiting, "stopped")

    def skip_channel(self, channel: str, source: str | None = None) -> int:
        """Skip what is due on a channel that is not connected, or move it on; returns how many were skipped."""
        foreign = self._without if source is None else ()
        queue = Queue(source, channel, (), foreign)
        return self._skip_all(queue.select(self.now_ms()), "no_channel")

    def _skip_all(self, which: sa.ColumnElement[bool], reason: str) -> int:
        values = {"state": "skipped", "reason": reason, "finished_at_ms": self.now_ms()}
        with self._store.begin(gated=True) as connection:
            take_turn(connection)
            # Only these may hold a coupon, or name another channel.
            special = DELIVERIES.c.fallback.is_not(None) | DELIVERIES.c.detail.is_not(None)
            ids = list(
                connection.execute(sa.select(DELIVERIES.c.delivery_id).where(which, special)).scalars()
            )
            skipped = connection.execute(sa.update(DELIVERIES).where(which).values(**values)).rowcount
            return skipped - len(self._end(connection, ids))

    def count_states(self, plan_id: str) -> dict[tuple[str, str, str | None], tuple[int, int]]:
        """(channel, state, reason) → (rows, cents of their unit costs)."""
        columns = (DELIVERIES.c.channel, DELIVERIES.c.state, DELIVERIES.c.reason)
        query = (
            sa.select(*columns, sa.func.count(), sa.func.sum(DELIVERIES.c.unit_cost_cents))
            .where(DELIVERIES.c.plan_id == plan_id)
            .group_by(*columns)
        )
        with self._store.snapshot() as connection:
            return {(row[0], row[1], row[2]): (int(row[3]), int(row[4])) for row in connection.execute(query)}

    def read_rows(self, plan_id: str | None = None) -> list[dict[str, Any]]:
        """The rows as they stand, of one plan or of all, in order of their id."""
        query = sa.select(DELIVERIES).order_by(DELIVERIES.c.delivery_id)
        if plan_id is not None:
            query = query.where(DELIVERIES.c.plan_id == plan_id)
        with self._store.snapshot() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def _until(self) -> int:
        return self.now_ms() + int(self.terms.lease * 1000)

    def _hold(self, fence: int, ids: Sequence[str]) -> sa.ColumnElement[bool]:
        return sa.and_(
            DELIVERIES.c.delivery_id.in_(list(ids)),
            DELIVERIES.c.fence == fence,
            DELIVERIES.c.state == "leased",
        )

    def _settle(
        self, connection: sa.Connection, fence: int, settled: Sequence[tuple[str, Receipt]], promise: Promise
    ) -> None:
        now = self.now_ms()
        sent = {
            delivery: receipt.provider_id for delivery, receipt in settled if receipt.outcome is Outcome.SENT
        }
        if sent:
            settle_sent(connection, sent, fence, now)
        others = [item for item in settled if item[1].outcome is not Outcome.SENT]
        if not others:
            return
        attempts = read_attempts(connection, [delivery for delivery, _ in others])
        rows = [
            self._resolve(delivery, attempts.get(delivery, 1), receipt, promise)
            | {"which": delivery, "mine": fence}
            for delivery, receipt in others
        ]
        kept = [row for row in rows if row["new_state"] != "intent"]
        if kept:
            connection.execute(SETTLE_OTHERS, kept)
        self._end(connection, [row["which"] for row in kept if row["new_state"] == "failed"])

    def _end(self, connection: sa.Connection, ids: Sequence[str]) -> set[str]:
        """Of what surely did not arrive: the next channel is tried, else its coupon goes back; which ones move on."""
        if not ids:
            return set()
        moved = move_on(connection, ids, self.terms.costs)
        ended = read_ended(connection, [delivery for delivery in ids if delivery not in moved])
        if ended:
            take_back(connection, ended)
        return moved

    def _find_expired(self, promise: Promise) -> sa.ColumnElement[bool]:
        now, until = self.now_ms(), DELIVERIES.c.lease_until_ms
        if promise is Promise.CAN_BE_ASKED:
            # Its owner may live and be speaking at this moment: asking now might be too early.
            return until <= now
        # A lease that would last longer than any was made before somebody put the clock back.
        return (until <= now) | (until > now + int(2 * self.terms.lease * 1000))

    def _resolve(self, delivery_id: str, attempts: int, receipt: Receipt, promise: Promise) -> dict[str, Any]:
        now = self.now_ms()
        state, reason, not_before = "failed", receipt.code, 0
        if receipt.outcome is Outcome.UNKNOWN and promise is Promise.BLIND:
            state = "in_doubt"
        elif receipt.outcome is Outcome.UNKNOWN and promise is Promise.CAN_BE_ASKED:
            # Not yet: the provider may still be taking it in. Recovery asks once the lease has run out.
            state = "intent"
        elif receipt.code in ("connection_failed", "rate_limited"):
            # Nothing was said to the provider: no attempt.
            state, attempts, not_before = "queued", attempts - 1, now + _find_delay(receipt)
        elif receipt.outcome is not Outcome.PERMANENT:
            state, reason, not_before = self._plan_retry(delivery_id, attempts, receipt, now)
        values = (
            state,
            reason,
            attempts,
            not_before,
            receipt.provider_id,
            None if state == "queued" else now,
        )
        return {f"new_{name}": value for name, value in zip(SETTLED_COLUMNS, values, strict=True)}

    def _plan_retry(
        self, delivery_id: str, attempts: int, receipt: Receipt, now: int
    ) -> tuple[str, str | None, int]:
        if attempts < self.terms.attempts:
            wait = self.terms.find_wait(delivery_id, attempts)
            return "queued", receipt.code, now + max(int(wait * 1000), _find_delay(receipt))
        return (
            ("in_doubt", receipt.code, 0) if receipt.outcome is Outcome.UNKNOWN else ("failed", "gave_up", 0)
        )


def _find_delay(receipt: Receipt) -> int:
    """For how long (ms) the provider wants to be left alone with this delivery."""
    return int(min(receipt.retry_after or 0.0, _LONGEST_DELAY) * 1000)
