"""What customers and consents say of each customer, as columns of ``tags``: worked out, or kept as it was.

Where customers and consents are what they were, only days make a difference: birthdays and years of membership, and
permissions that begin or end. All else is kept.
Reads customers, consents, and tags as they were; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property

import pyarrow as pa

from aimwell.analysis.aligned import align_rows, cut_range, lay_over, sort_rows
from aimwell.analysis.contact_tags import (
    PERMISSIONS,
    compile_contacts,
    compile_days,
    compile_permissions,
    compile_spoken,
)
from aimwell.analysis.tag import Tag
from aimwell.engine.tag_plan import Among
from aimwell.engine.workspace import Run

_SPOKEN = "tags_spoken"


class KnownTags:
    """Answers the known tags of a range of customers. ``names``: all that data can support.

    ``before``: the day of the tags whose values are kept; None when customers or consents were others then.
    """

    def __init__(
        self,
        run: Run,
        names: Sequence[str],
        attributes: tuple[Tag, ...],
        person: Mapping[str, str],
        zone: str,
        before: date | None,
    ) -> None:
        self._run = run
        self._names = list(names)
        self._attributes = attributes
        self._person = person
        self._zone = zone
        self._before = before

    @property
    def names(self) -> list[str]:
        """The known tags, in the order in which people read them."""
        return list(self._names)

    @cached_property
    def changing(self) -> list[str]:
        """The tags that can be others than they were."""
        if self._before is None or self._spoken.num_rows:
            return self.names
        return [name for name in self._days.column_names if name in self._names]

    def find(self, among: Among, before: pa.Table | None) -> pa.Table:
        """The known tags of a range, sorted; with ``before``, as they were, those of them that are asked for there."""
        if self._before is None or before is None:
            self._run.register(PERMISSIONS, cut_range(self._allowed, among))
            return self._ask(among)
        names = before["customer_id"]
        columns = {name: before[name] for name in self._names if name in before.column_names}
        days = align_rows(cut_range(self._days, among), names) if self._days.num_columns > 1 else self._days
        columns |= {name: days[name] for name in days.column_names if name in columns}
        if self._spoken.num_rows:
            columns = lay_over(names, columns, cut_range(self._spoken, among))
        return pa.table({"customer_id": names, **columns})

    @cached_property
    def _allowed(self) -> pa.Table:
        """Who allows or refuses what."""
        query = compile_permissions(as_of=self._run.as_of, zone_name=self._zone)
        return sort_rows(self._run.query(query.sql, query.parameters))

    @cached_property
    def _spoken(self) -> pa.Table:
        """All tags of those of whom a permission began or ended since."""
        people = pa.table({"customer_id": pa.array([], pa.string())})
        if self._before is not None and self._before < self._run.as_of:
            spoken = compile_spoken(before=self._before, as_of=self._run.as_of, zone_name=self._zone)
            people = self._run.query(spoken.sql, spoken.parameters)
        if not people.num_rows:
            return people
        self._run.register(_SPOKEN, people)
        query = compile_permissions(as_of=self._run.as_of, zone_name=self._zone, people=_SPOKEN)
        self._run.register(PERMISSIONS, self._run.query(query.sql, query.parameters))
        return self._ask(Among(table=_SPOKEN))

    @cached_property
    def _days(self) -> pa.Table:
        """The tags that every day can change, of everybody."""
        sql, names = compile_days(as_of=self._run.as_of, person=self._person)
        if not names or self._before == self._run.as_of:
            return pa.table({"customer_id": pa.array([], pa.string())})
        return sort_rows(self._run.query(sql))

    def _ask(self, among: Among) -> pa.Table:
        query = compile_contacts(self._attributes, as_of=self._run.as_of, person=self._person, among=among)
        return sort_rows(self._run.query(query.sql, query.parameters))
