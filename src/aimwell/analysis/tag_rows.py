"""Puts the rows of ``tags`` together, column by column: what was measured, reckoned from it, compared and known.

A few columns at a time pass through SQL; all others are copied as they stand in memory. It reads what its caller
measured and found; it writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from aimwell.analysis.aligned import align_rows, cut_to, sort_rows
from aimwell.analysis.catalogue import STANDING_TAGS
from aimwell.analysis.lifecycle import LIFECYCLE_TAG, STAGE_INPUTS, render_stage
from aimwell.analysis.own_tags import OwnTags
from aimwell.analysis.standing import ARROW, align_scores
from aimwell.analysis.tag import Tag
from aimwell.engine.compile_tags import compile_expressions
from aimwell.engine.specification import Expression
from aimwell.engine.workspace import Run

Columns = Mapping[str, pa.ChunkedArray]
"""Columns of the same customers, in the same order; one of them is ``customer_id``."""
_RECKONED = "tags_reckoned"


@dataclass(frozen=True)
class Comparison:
    """What compares customers with each other: the scores of buyers (``standing``), and the usual rhythm in days."""

    scores: pa.Table
    rhythm: float
    answered: Mapping[str, pa.Table]
    """What tags by SQL and by models are for whom, sorted: no one knows which customers they look at."""


class TagRows:
    """Knows how each column of ``tags`` is filled. ``missing``: the tags that stay empty."""

    def __init__(
        self,
        run: Run,
        tags: Iterable[Tag],
        missing: Iterable[str],
        expressions: Mapping[str, Expression],
        own: OwnTags,
    ) -> None:
        self._run = run
        self._tags = {tag.name: tag for tag in tags}
        self._missing = set(missing)
        self._expressions = dict(expressions)
        self._own = own

    def put_together(
        self, measured: pa.Table, known: pa.Table, comparison: Comparison, only: Collection[str] | None = None
    ) -> pa.Table:
        """The rows of the customers of ``measured``; ``known``: what customers and consents say of them.

        ``only``: no other tags than these; what they are worked out from (``list_needs``) stands in ``measured``.
        """
        columns = {name: measured[name] for name in measured.column_names}
        columns |= self._reckon(columns, _choose(self._expressions, only))
        columns |= self._know(columns["customer_id"], known)
        columns |= self._compare(columns, comparison)
        names = [name for name in self._tags if only is None or name in only]
        plain = [name for name in names if name not in self._own.expressions]
        columns |= self._leave_empty(columns, plain)
        columns |= self._reckon(columns, _choose(self._own.expressions, only))
        return self._lay_out(columns, [*plain, *(name for name in names if name in self._own.expressions)])

    def list_touched(self, changed: Iterable[str]) -> list[str]:
        """The tags that can be others when ``changed`` ones are, among them those that compare customers."""
        touched = {*changed, *self.compared}
        waiting = {**self._expressions, **self._own.expressions}
        while ready := [name for name, one in waiting.items() if set(one.inputs) & touched]:
            touched |= set(ready)
            waiting = {name: one for name, one in waiting.items() if name not in ready}
        return [name for name in self._tags if name in touched]

    def list_needs(self, only: Collection[str]) -> list[str]:
        """The tags besides ``only`` that these are worked out from."""
        expressions = {**_choose(self._expressions, only), **_choose(self._own.expressions, only)}
        inputs = [name for one in expressions.values() for name in one.inputs]
        needs = dict.fromkeys((*STAGE_INPUTS, *inputs))
        return [
            name for name in needs if name in self._tags and name not in only and name not in self._missing
        ]

    # ------------------------------------------------------------ what one customer's orders change for all

    @property
    def compared(self) -> list[str]:
        """The tags that can be others for everybody when the rows of one customer are; the order is of no meaning."""
        found = [*(tag.name for tag in STANDING_TAGS), *self._own.separate]
        waiting = dict(self._own.expressions)
        while ready := [name for name, one in waiting.items() if set(one.inputs) & set(found)]:
            found += ready
            waiting = {name: one for name, one in waiting.items() if name not in ready}
        return found

    def list_inputs(self) -> list[str]:
        """The tags that ``compared`` ones are worked out from, other than each other and what the scores rest on."""
        own = [name for one in self._list_own_compared().values() for name in one.inputs]
        return [name for name in dict.fromkeys((*STAGE_INPUTS, *own)) if name not in self.compared]

    def compare(self, columns: Columns, comparison: Comparison) -> pa.Table:
        """Only the tags that are ``compared``, for the customers of ``columns``, which hold ``list_inputs``."""
        found = {**columns, **self._compare(columns, comparison)}
        found |= self._leave_empty(found, self.compared)
        found |= self._reckon(found, self._list_own_compared())
        return self._lay_out(found, self.compared, with_day=False)

    def reckon(self, measured: pa.Table) -> pa.Table:
        """``measured`` with the built-in tags that are worked out from it."""
        columns = {name: measured[name] for name in measured.column_names}
        return pa.table({**columns, **self._reckon(columns, self._expressions)})

    def _list_own_compared(self) -> dict[str, Expression]:
        compared = set(self.compared)
        return {name: one for name, one in self._own.expressions.items() if name in compared}

    # ------------------------------------------------------------ columns

    def _reckon(self, columns: Columns, expressions: Mapping[str, Expression]) -> dict[str, pa.ChunkedArray]:
        if not expressions:
            return {}
        inputs = [name for one in expressions.values() for name in one.inputs if name not in expressions]
        needed = ["customer_id", *dict.fromkeys(inputs)]
        self._run.register(_RECKONED, pa.table({name: columns[name] for name in needed}))
        sql = compile_expressions(expressions, table=_RECKONED, columns=needed)
        found = sort_rows(self._run.query(sql))
        return {name: found[name] for name in expressions}

    def _know(self, names: pa.ChunkedArray, known: pa.Table) -> dict[str, pa.ChunkedArray]:
        found = align_rows(known, names)
        columns = {}
        for name in found.column_names:
            tag = self._tags.get(name)
            if tag is None or name in self._missing:
                continue
            column = found[name].cast(ARROW[tag.type])
            certain = name.endswith("_known") or name.startswith("contactable_")
            columns[name] = column.fill_null(False) if certain else column
        return columns

    def _compare(self, columns: Columns, comparison: Comparison) -> dict[str, pa.ChunkedArray]:
        names = columns["customer_id"]
        found = align_scores(cut_to(comparison.scores, names), names)
        found[LIFECYCLE_TAG.name] = self._find_stage(columns, comparison.rhythm)
        for name, answers in comparison.answered.items():
            found[name] = align_rows(answers, names)[name].cast(ARROW[self._tags[name].type])
        return {name: column for name, column in found.items() if name not in self._missing}

    def _find_stage(self, columns: Columns, rhythm: float) -> pa.ChunkedArray:
        needed = {"customer_id": columns["customer_id"]}
        needed |= {name: columns[name] for name in STAGE_INPUTS if name in columns}
        needed |= self._leave_empty(needed, STAGE_INPUTS)
        self._run.register(_RECKONED, pa.table(needed))
        stage = f"{render_stage(rhythm)} AS {LIFECYCLE_TAG.name}"
        found = self._run.query(f"SELECT m.customer_id, {stage} FROM {_RECKONED} AS m")
        return sort_rows(found)[LIFECYCLE_TAG.name]

    def _leave_empty(self, columns: Columns, names: Iterable[str]) -> dict[str, pa.ChunkedArray]:
        """Empty columns for those of ``names`` that nothing fills."""
        count = len(columns["customer_id"])
        kinds = {name: ARROW[self._tags[name].type] for name in names if name not in columns}
        return {name: pa.chunked_array([pa.nulls(count, kind)]) for name, kind in kinds.items()}

    def _lay_out(self, columns: Columns, names: Iterable[str], *, with_day: bool = True) -> pa.Table:
        count = len(columns["customer_id"])
        first = {"customer_id": columns["customer_id"]}
        if with_day:
            first["as_of"] = pa.repeat(pa.scalar(self._run.as_of, pa.date32()), count)
        first["run_id"] = pa.repeat(pa.scalar(self._run.id, pa.string()), count)
        return pa.table({**first, **{name: columns[name] for name in names}})


def _choose(expressions: Mapping[str, Expression], only: Collection[str] | None) -> dict[str, Expression]:
    return {name: one for name, one in expressions.items() if only is None or name in only}
