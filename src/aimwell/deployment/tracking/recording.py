"""Writes opens and clicks as they arrive: durable before the answer, many in one transaction where many come at once.

A transaction costs a write to the disk, however many hits it holds. Whoever comes while another's is being committed
waits for it, and then commits for all who wait. Writes the store's ``tracking_hits`` and ``visitor_salts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aimwell.core.errors import AimwellError
from aimwell.deployment.tracking.agents import classify_agent
from aimwell.deployment.tracking.hits import (
    Delivered,
    Hit,
    KeptHit,
    change_verdicts,
    digest,
    digest_visitor,
    read_seen,
)
from aimwell.deployment.tracking.judging import Kind, Seen, Verdict, classify, rejudge
from aimwell.deployment.tracking.tokens import Click
from aimwell.engine.store import Store
from aimwell.engine.tracking_tables import TRACKING_HITS

MOST_HITS = 500
"""Of one delivery: whoever asks more often is answered, but not written down any more."""
MOST_WAITING = 5_000
"""Hits that wait for the disk: beyond, what comes is answered, but not written down."""
_BATCH = 400


@dataclass(frozen=True)
class Arrival:
    """One request for something of a delivery."""

    delivery: Delivered
    kind: Kind
    token: Click
    hit: Hit


class HitWriter:
    """Writes the hits of one process; threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._queue = Lock()
        self._turn = Lock()

    def keep(self, arrival: Arrival) -> None:
        """Keep one hit; it is durable when this returns. What the store raises is raised to all who waited for it."""
        one = _Waiting(arrival)
        with self._queue:
            if len(self._waiting) >= MOST_WAITING:
                return
            self._waiting.append(one)
        while not one.done:
            with self._turn:
                if not one.done:
                    self._commit()
        if one.error is not None:
            raise one.error

    def _commit(self) -> None:
        with self._queue:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        error: Exception | None = None
        try:
            with self._store.begin() as connection:
                record_hits(connection, [one.arrival for one in batch])
        except (AimwellError, sa.exc.SQLAlchemyError) as raised:
            error = raised
        finally:
            for one in batch:
                one.error, one.done = error, True


@dataclass
class _Waiting:
    arrival: Arrival
    done: bool = False
    error: Exception | None = None


def record_hit(
    connection: sa.Connection, delivery: Delivered, kind: Kind, token: Click, hit: Hit
) -> KeptHit | None:
    """Keep a hit and judge the delivery's others anew by it; None when it is known or there are too many."""
    return record_hits(connection, [Arrival(delivery, kind, token, hit)])[0]


def record_hits(connection: sa.Connection, arrivals: Sequence[Arrival]) -> list[KeptHit | None]:
    """The same for several at once, in their order."""
    salts: dict[date, bytes] = {}
    built = [_build(arrival, digest_visitor(connection, arrival.hit, salts)) for arrival in arrivals]
    seen = read_seen(connection, {hit.delivery_id for hit in built})
    known = {hit.hit_id for group in seen.values() for hit in group}
    fresh: dict[str, KeptHit] = {}
    for hit in built:
        group = seen[hit.delivery_id]
        if hit.hit_id not in known and len(group) < MOST_HITS:
            known.add(hit.hit_id)
            group.append(Seen(**{name: getattr(hit, name) for name in Seen.__dataclass_fields__}))
            fresh[hit.hit_id] = hit
    changed: dict[str, Verdict] = {}
    for delivery in {hit.delivery_id for hit in fresh.values()}:
        changed |= rejudge(seen[delivery])
    for hit_id in fresh.keys() & changed.keys():
        verdict = changed.pop(hit_id)
        fresh[hit_id] = replace(fresh[hit_id], machine=verdict.machine, reason=verdict.reason)
    if fresh:
        # In one order in all processes, so that none waits for another that waits for it.
        rows = [vars(fresh[hit_id]) for hit_id in sorted(fresh)]
        connection.execute(_insert(connection.dialect.name), rows)
        change_verdicts(connection, changed, max(arrival.hit.at_ms for arrival in arrivals))
    return [fresh.pop(hit.hit_id, None) for hit in built]


def _build(arrival: Arrival, visitor: str) -> KeptHit:
    delivery, kind, token, hit = arrival.delivery, arrival.kind, arrival.token, arrival.hit
    agent = classify_agent(hit.agent, hit.headers)
    since = _measure_since(delivery, hit.at_ms)
    verdict = classify(kind, agent, method=hit.method, since_sent_ms=since)
    return KeptHit(
        digest(b"", delivery.delivery_id, kind, token.link_id, str(token.place), visitor, str(hit.at_ms)),
        delivery.delivery_id,
        delivery.customer_id,
        delivery.plan_id,
        delivery.channel,
        kind,
        token.link_id or None,
        token.place,
        hit.at_ms,
        visitor,
        agent,
        verdict.machine,
        verdict.reason,
        None,
        None,
    )


def _measure_since(delivery: Delivered, at_ms: int) -> int | None:
    """Since a mail was handed over; one that the provider has not confirmed yet was sent this moment."""
    if delivery.channel != "email" or delivery.state == "in_doubt":
        return None
    return 0 if delivery.finished_at_ms is None else at_ms - delivery.finished_at_ms


@cache
def _insert(dialect: str) -> Any:
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(TRACKING_HITS).on_conflict_do_nothing()
