"""Contacts by live decisions, by business day and customer: what campaigns count beside their own deliveries.

Read from the store's ``live_turns``, once and then as far as others have written; whoever counts has taken the contact
gate's turn before (``engine.permissions``), so that nobody contacts between counting and reserving. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

import sqlalchemy as sa

from aimwell.engine.live_tables import LIVE_TURNS
from aimwell.engine.seen_ids import Digests, digest_ids, unpack_digests

if TYPE_CHECKING:
    from aimwell.engine.digest_table import DigestTable

_TURNS = LIVE_TURNS.c


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

    def count(self, customers: Sequence[str]) -> Iterator[tuple[date, str, int]]:
        """(day, customer, contacts) wherever there is any."""
        if not self._days:
            return
        digests = digest_ids(customers)
        for day, table in self._days.items():
            for customer, number in zip(customers, table.find(digests).tolist(), strict=True):
                if number > 0:
                    yield day, customer, number

    @property
    def days(self) -> dict[date, DigestTable]:
        """The tables by day."""
        return self._days
