"""What customers and consents say of each customer, as columns of ``tags``: worked out, or kept as it was.

Where nobody delivered a row of somebody anew, only days make a difference: birthdays and years of membership, and
permissions that begin or end. All else is kept.
Reads customers, consents, and tags as they were; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.aligned import align_rows, cut_range, find_rows, lay_over, sort_rows
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

_FEW = "tags_known_few"


class KnownTags:
    """Answers the known tags of customers. ``names``: all that data can support.

    ``before``: the day of the tags whose values may be kept; None when there are none.
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

    def list_changing(self, apart: pa.ChunkedArray) -> list[str]:
        """The tags that can be others than they were, for anybody but those who stand ``apart``."""
        # Of nobody, all is true: pyarrow does not know that unless it is told.
        if (
            self._before is None
            or not pc.all(find_rows(self.spoken["customer_id"], apart), min_count=0).as_py()
        ):
            return self.names
        return [name for name in self._days.column_names if name in self._names]

    def find_few(self, people: pa.Table) -> pa.Table:
        """The known tags of these customers, sorted, whatever they were."""
        return self._ask_few(people) if people.num_rows else people

    def find(self, among: Among, before: pa.Table | None) -> pa.Table:
        """The known tags of a range, sorted.

        With ``before``, those that are asked for there, as they were but for the days; rows that were delivered since
        make no difference.
        """
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
    def spoken(self) -> pa.Table:
        """Those of whom a permission began or ended since, customers or not."""
        if self._before is None or self._before >= self._run.as_of:
            return pa.table({"customer_id": pa.array([], pa.string())})
        spoken = compile_spoken(before=self._before, as_of=self._run.as_of, zone_name=self._zone)
        return self._run.query(spoken.sql, spoken.parameters)

    @cached_property
    def _spoken(self) -> pa.Table:
        """All tags of those of whom a permission began or ended since."""
        return self.find_few(self.spoken)

    def _ask_few(self, people: pa.Table) -> pa.Table:
        self._run.register(_FEW, people)
        query = compile_permissions(as_of=self._run.as_of, zone_name=self._zone, people=_FEW)
        self._run.register(PERMISSIONS, self._run.query(query.sql, query.parameters))
        return self._ask(Among(table=_FEW))

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
