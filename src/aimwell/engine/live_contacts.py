"""Contacts by live decisions, by business day and customer: what campaigns count beside their own deliveries.

A contact is the customer's digest; where its channel is known, that digest marked with the channel stands beside it.
Read from the store's ``live_turns``, once and then as far as others have written; whoever counts has taken the contact
gate's turn before (``engine.permissions``), so that nobody contacts between counting and reserving. Writes
``live_turns`` where records were joined (``bring_contacts``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aimwell.engine.live_tables import LIVE_TURNS
from aimwell.engine.permissions import take_turn
from aimwell.engine.seen_ids import Digests, digest_ids, pack_digests, unpack_digests
from aimwell.engine.store import Store

if TYPE_CHECKING:
    from aimwell.engine.digest_table import DigestTable

_TURNS = LIVE_TURNS.c
_UNMARKED: Digests = np.zeros((1, 2), dtype=np.uint64)


def note_contacts(people: Digests, channels: Sequence[str | None]) -> Digests:
    """Contacts as ``live_turns`` keeps them: of each person by a channel, or by none that is known."""
    known = [place for place, channel in enumerate(channels) if channel is not None]
    if not known:
        return people
    marks = np.concatenate([_mark(channels[place] or "") for place in known])
    return np.concatenate([people, people[known] ^ marks])


def list_digests(customer_id: str, channels: Sequence[str]) -> Digests:
    """Every digest that a contact with the customer may stand as."""
    own = digest_ids([customer_id])
    return np.concatenate([own, *(own ^ _mark(channel) for channel in channels)])


def has_contacts(connection: sa.Connection, since: date) -> bool:
    """Whether anybody was decided for on a live day from ``since`` on."""
    query = sa.select(_TURNS.batch).where(_TURNS.day >= since).limit(1)
    return connection.execute(query).first() is not None


def bring_contacts(
    store: Store,
    customers: Mapping[str, str],
    channels: Sequence[str],
    *,
    since: date,
    at_ms: int,
) -> int:
    """What counts for records (keys) counts for their customers from now on; how many contacts that were.

    Told like decisions, so that every process learns it. Safe to repeat: what was brought counts for the record no
    more. A decision that waits is not: when it ends without a contact, its customer has been counted one too many.
    """
    known = LiveContacts(since)
    records, theirs = digest_ids(list(customers)), digest_ids(list(customers.values()))
    # Most is read before the gate's turn is taken: nobody decides while somebody has it.
    with store.snapshot() as connection:
        known.catch_up(connection)
    if not any((table.find(records) > 0).any() for table in known.days.values()):
        return 0
    with store.begin() as connection:
        turn = take_turn(connection)
        known.catch_up(connection)
        return _bring(connection, turn, known, (records, theirs, channels), at_ms)


def _bring(
    connection: sa.Connection,
    turn: int,
    known: LiveContacts,
    whose: tuple[Digests, Digests, Sequence[str]],
    at_ms: int,
) -> int:
    records, theirs, channels = whose
    brought = 0
    for day, table in known.days.items():
        numbers = np.maximum(table.find(records), 0)
        if not numbers.any():
            continue
        brought += int(numbers.sum())
        parts = [(_UNMARKED, numbers)]
        for mark in map(_mark, channels):
            parts.append((mark, np.minimum(np.maximum(table.find(records ^ mark), 0), numbers)))
        values = {
            "batch": turn,
            "plan_id": sa.select(_TURNS.plan_id).where(_TURNS.day == day).limit(1).scalar_subquery(),
            "day": day,
            "at_ms": at_ms,
            "requests": b"",
            "contacts": b"".join(
                pack_digests(np.repeat(theirs ^ mark, times, axis=0)) for mark, times in parts
            ),
            "released": b"".join(
                pack_digests(np.repeat(records ^ mark, times, axis=0)) for mark, times in parts
            ),
        }
        connection.execute(sa.insert(LIVE_TURNS).values(values))
        # One row for each day, and each has a turn of its own.
        turn = take_turn(connection)
    return brought


@cache
def _mark(channel: str) -> Digests:
    return digest_ids([f"channel\x1f{channel}"])


class LiveContacts:
    """How often live decisions contacted whom, on each day from ``first`` on.

    A decision that waits for its confirmation counts; one that was cancelled or has ended does not.
    """

    def __init__(self, first: date) -> None:
        self.first = first
        self._position = 0
        self._days: dict[date, DigestTable] = {}

    def catch_up(self, connection: sa.Connection) -> None:
        """Learn what was committed since; the caller holds the gate's turn."""
        columns = (_TURNS.batch, _TURNS.day, _TURNS.contacts, _TURNS.released)
        query = sa.select(*columns).where(_TURNS.batch > self._position, _TURNS.day >= self.first)
        for row in connection.execute(query.order_by(_TURNS.batch)):
            self.take_in(row.day, unpack_digests(row.contacts), unpack_digests(row.released))
            self._position = row.batch

    def take_in(self, day: date, contacts: Digests, released: Digests) -> None:
        """Count the contacts of a turn, and no longer those that it released."""
        if day not in self._days:
            # Compiled kernels are loaded only where somebody decides live.
            from aimwell.engine.digest_table import DigestTable

            self._days[day] = DigestTable()
        self._days[day].add(contacts)
        self._days[day].add(released, -1)

    def count(
        self, customers: Sequence[str], channels: Sequence[str] = ()
    ) -> Iterator[tuple[date, str, str | None, int]]:
        """(day, customer, channel, contacts) wherever there is any; by channels other than these as by none."""
        if not self._days:
            return
        digests = digest_ids(customers)
        for day, table in self._days.items():
            others = np.maximum(table.find(digests), 0)
            for channel in channels if others.any() else ():
                found = np.minimum(np.maximum(table.find(digests ^ _mark(channel)), 0), others)
                others -= found
                yield from _list_some(day, customers, channel, found)
            yield from _list_some(day, customers, None, others)

    @property
    def days(self) -> dict[date, DigestTable]:
        """The tables by day."""
        return self._days


def _list_some(
    day: date, customers: Sequence[str], channel: str | None, numbers: NDArray[np.int64]
) -> Iterator[tuple[date, str, str | None, int]]:
    for place in np.flatnonzero(numbers).tolist():
        yield day, customers[place], channel, int(numbers[place])
