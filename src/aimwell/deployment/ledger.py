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
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from aimwell.deployment.channels.channel import Outcome, Promise, Receipt
from aimwell.deployment.ledger_rows import (
    SETTLED_COLUMNS,
    Intended,
    build_row,
    close_intent,
    find_control,
    read_attempts,
    read_candidates,
    read_queued,
    read_states,
    refresh,
    skip,
    split,
)
from aimwell.deployment.policy import Candidate, ContactRules, LiveMemory, judge
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import (
    ConsentState,
    Suppression,
    add_suppression,
    remember_consents,
    take_turn,
)


class TransactionSource(Protocol):
    """What the ledger needs of the store (``engine.store.Store``)."""

    def begin(self) -> AbstractContextManager[sa.Connection]:
        """A transaction: committed at the end, rolled back on an exception."""
        ...


@dataclass(frozen=True)
class Terms:
    """How long a lease lasts, and how failed attempts are repeated (seconds; the wait doubles each time)."""

    lease: float = 30.0
    retry: float = 60.0
    attempts: int = 5


@dataclass(frozen=True)
class Reservation:
    """Rows that this worker holds. ``held`` says why nothing may be reserved now (paused, stopped)."""

    fence: int
    rows: tuple[Candidate, ...]
    examined: int
    held: str | None = None


class Ledger:
    """The ledger as one worker sees it. ``clock`` gives seconds since 1970."""

    def __init__(
        self,
        store: TransactionSource,
        *,
        rules: ContactRules,
        terms: Terms | None = None,
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
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
                take_turn(connection)
                known = read_states(connection, [item.delivery_id for item in chunk])
                fresh = [item for item in chunk if item.delivery_id not in known]
                if fresh:
                    connection.execute(
                        sa.insert(DELIVERIES), [build_row(item, self.now_ms()) for item in fresh]
                    )
                untried = [item for item in chunk if known.get(item.delivery_id) in ("queued", "skipped")]
                refresh(connection, untried, self.now_ms())
                added += len(fresh)
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

    def reserve(self, plan_id: str, channel: str, *, limit: int) -> Reservation:
        """Lease up to ``limit`` queued rows that policy allows; what it forbids becomes skipped, with the reason."""
        with self._store.begin() as connection:
            fence = take_turn(connection)
            held = find_control(connection, plan_id)
            if held is not None:
                return Reservation(fence, (), 0, held)
            candidates = read_queued(connection, plan_id, channel, self.now_ms(), limit)
            verdicts = judge(connection, candidates, self._rules, self.now_ms(), live=self._live)
            granted = [row for row in candidates if verdicts[row.delivery_id] is None]
            self._lease(connection, granted, fence)
            skip(connection, verdicts, self.now_ms())
            return Reservation(fence, tuple(granted), len(candidates))

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
        with self._store.begin() as connection:
            self._settle(connection, fence, settled, promise)
            now = self.now_ms()
            held = self._hold(connection, fence, waiting) & (DELIVERIES.c.lease_until_ms > now)
            if waiting:
                connection.execute(sa.update(DELIVERIES).where(held).values(lease_until_ms=self._until()))
            if not intended:
                return set()
            return self._intend(connection, fence, intended, now)

    def release(self, fence: int, delivery_ids: Sequence[str]) -> None:
        """Give back leased rows that were not tried."""
        if delivery_ids:
            with self._store.begin() as connection:
                connection.execute(
                    sa.update(DELIVERIES)
                    .where(self._hold(connection, fence, delivery_ids))
                    .values(state="queued")
                )

    def fail(self, fence: int, delivery_ids: Sequence[str], reason: str) -> None:
        """Close leased rows for which no message could be made."""
        if delivery_ids:
            with self._store.begin() as connection:
                held = self._hold(connection, fence, delivery_ids)
                values = {"state": "failed", "reason": reason, "finished_at_ms": self.now_ms()}
                connection.execute(sa.update(DELIVERIES).where(held).values(**values))

    def recover(self, plan_id: str, channel: str, *, promise: Promise) -> Reservation:
        """Take up what dead workers left: expired leases only.

        Leased rows are queued again. Intents are queued again (A), closed as in doubt (C), or handed to the caller
        under a new lease to be asked about (B): the reservation holds those.
        """
        with self._store.begin() as connection:
            fence = take_turn(connection)
            expired = sa.and_(
                DELIVERIES.c.plan_id == plan_id,
                DELIVERIES.c.channel == channel,
                DELIVERIES.c.lease_until_ms <= self.now_ms(),
            )
            leased = expired & (DELIVERIES.c.state == "leased")
            intents = expired & (DELIVERIES.c.state == "intent")
            connection.execute(sa.update(DELIVERIES).where(leased).values(state="queued"))
            if promise is Promise.CAN_BE_ASKED:
                rows = read_candidates(connection, intents, None)
                values = {"owner": self.owner, "fence": fence, "lease_until_ms": self._until()}
                connection.execute(sa.update(DELIVERIES).where(intents).values(**values))
                return Reservation(fence, tuple(rows), len(rows))
            connection.execute(
                sa.update(DELIVERIES).where(intents).values(**close_intent(promise, self.now_ms()))
            )
            return Reservation(fence, (), 0)

    def find_next_expiry(self, plan_id: str, channel: str) -> float | None:
        """Seconds until the first lease on this channel that somebody holds runs out; None when nobody holds one."""
        query = sa.select(sa.func.min(DELIVERIES.c.lease_until_ms)).where(
            DELIVERIES.c.plan_id == plan_id,
            DELIVERIES.c.channel == channel,
            DELIVERIES.c.state.in_(("leased", "intent")),
        )
        with self._store.begin() as connection:
            first = connection.execute(query).scalar()
        return None if first is None else max(0.0, (first - self.now_ms()) / 1000)

    def stop(self, plan_id: str) -> int:
        """Skip all that still waits; returns how many."""
        queued = (DELIVERIES.c.plan_id == plan_id) & (DELIVERIES.c.state == "queued")
        values = {"state": "skipped", "reason": "stopped", "finished_at_ms": self.now_ms()}
        with self._store.begin() as connection:
            take_turn(connection)
            return connection.execute(sa.update(DELIVERIES).where(queued).values(**values)).rowcount

    def count_states(self, plan_id: str) -> dict[tuple[str, str, str | None], tuple[int, int]]:
        """(channel, state, reason) → (rows, cents of their unit costs)."""
        columns = (DELIVERIES.c.channel, DELIVERIES.c.state, DELIVERIES.c.reason)
        query = (
            sa.select(*columns, sa.func.count(), sa.func.sum(DELIVERIES.c.unit_cost_cents))
            .where(DELIVERIES.c.plan_id == plan_id)
            .group_by(*columns)
        )
        with self._store.begin() as connection:
            return {(row[0], row[1], row[2]): (int(row[3]), int(row[4])) for row in connection.execute(query)}

    def read_rows(self, plan_id: str | None = None) -> list[dict[str, Any]]:
        """The rows as they stand, of one plan or of all, in order of their id."""
        query = sa.select(DELIVERIES).order_by(DELIVERIES.c.delivery_id)
        if plan_id is not None:
            query = query.where(DELIVERIES.c.plan_id == plan_id)
        with self._store.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def _until(self) -> int:
        return self.now_ms() + int(self.terms.lease * 1000)

    def _hold(self, connection: sa.Connection, fence: int, ids: Sequence[str]) -> sa.ColumnElement[bool]:
        return sa.and_(
            DELIVERIES.c.delivery_id.in_(list(ids)),
            DELIVERIES.c.fence == fence,
            DELIVERIES.c.state == "leased",
        )

    def _lease(self, connection: sa.Connection, rows: Sequence[Candidate], fence: int) -> None:
        ids = [row.delivery_id for row in rows]
        values = {"state": "leased", "owner": self.owner, "fence": fence, "lease_until_ms": self._until()}
        for chunk in split(ids):
            connection.execute(
                sa.update(DELIVERIES).where(DELIVERIES.c.delivery_id.in_(list(chunk))).values(**values)
            )

    def _intend(self, connection: sa.Connection, fence: int, ids: Sequence[str], now: int) -> set[str]:
        held = self._hold(connection, fence, ids) & (DELIVERIES.c.lease_until_ms > now)
        values = {"state": "intent", "attempts": DELIVERIES.c.attempts + 1, "lease_until_ms": self._until()}
        if connection.execute(sa.update(DELIVERIES).where(held).values(**values)).rowcount == len(ids):
            return set(ids)
        mine = sa.and_(
            DELIVERIES.c.delivery_id.in_(list(ids)),
            DELIVERIES.c.fence == fence,
            DELIVERIES.c.state == "intent",
        )
        return set(connection.execute(sa.select(DELIVERIES.c.delivery_id).where(mine)).scalars())

    def _settle(
        self, connection: sa.Connection, fence: int, settled: Sequence[tuple[str, Receipt]], promise: Promise
    ) -> None:
        if not settled:
            return
        # 'in_doubt' too: a slow worker whose lease ran out still is the only one who knows how its attempt ended.
        # (Not IN: SQLAlchemy takes no expanding parameter in an executemany.)
        unsettled = (DELIVERIES.c.state == "intent") | (DELIVERIES.c.state == "in_doubt")
        mine = (DELIVERIES.c.fence == fence) & unsettled
        attempts = read_attempts(connection, [delivery for delivery, _ in settled])
        statement = (
            sa.update(DELIVERIES)
            .where(DELIVERIES.c.delivery_id == sa.bindparam("which"), mine)
            .values({name: sa.bindparam(f"new_{name}") for name in SETTLED_COLUMNS})
        )
        rows = [self._resolve(attempts.get(delivery, 1), receipt, promise) | {"which": delivery}
                for delivery, receipt in settled]  # fmt: skip
        kept = [row for row in rows if row["new_state"] != "intent"]
        if kept:
            connection.execute(statement, kept)

    def _resolve(self, attempts: int, receipt: Receipt, promise: Promise) -> dict[str, Any]:
        now = self.now_ms()
        state, reason, not_before = "failed", receipt.code, 0
        if receipt.outcome is Outcome.SENT:
            state, reason = "sent", None
        elif receipt.outcome is Outcome.UNKNOWN and promise is Promise.BLIND:
            state = "in_doubt"
        elif receipt.outcome is Outcome.UNKNOWN and promise is Promise.CAN_BE_ASKED:
            # Not yet: the provider may still be taking it in. Recovery asks once the lease has run out.
            state = "intent"
        elif receipt.code == "connection_failed":
            # Nothing was said to the provider: no attempt.
            state, attempts = "queued", attempts - 1
        elif receipt.outcome is not Outcome.PERMANENT:
            state, reason, not_before = self._plan_retry(attempts, receipt, now)
        values = (
            state,
            reason,
            attempts,
            not_before,
            receipt.provider_id,
            None if state == "queued" else now,
        )
        return {f"new_{name}": value for name, value in zip(SETTLED_COLUMNS, values, strict=True)}

    def _plan_retry(self, attempts: int, receipt: Receipt, now: int) -> tuple[str, str | None, int]:
        if attempts < self.terms.attempts:
            return "queued", receipt.code, now + int(self.terms.retry * 1000 * 2 ** (attempts - 1))
        return (
            ("in_doubt", receipt.code, 0) if receipt.outcome is Outcome.UNKNOWN else ("failed", "gave_up", 0)
        )
