"""Tables in memory with a row per customer, sorted by customer: cut to a range, put in step, laid over each other.

Columns that stand in the same order need no join: a million rows of a hundred columns are merged by copying them.
It reads no table and writes none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.engine.tag_plan import Among

_KEY = "customer_id"


def sort_rows(table: pa.Table) -> pa.Table:
    """``table`` sorted by customer; as it is where it is sorted already."""
    names = table[_KEY]
    if len(names) > 1 and not pc.all(pc.less(names.slice(0, len(names) - 1), names.slice(1))).as_py():
        table = table.take(pc.sort_indices(table, [(_KEY, "ascending")]))
    return table


def find_range(names: pa.ChunkedArray, among: Among) -> tuple[int, int]:
    """Where the customers from ``among.low`` up to ``among.high`` begin and end in the sorted ``names``."""
    found = _Names(names)
    start = 0 if among.low is None else bisect_left(found, among.low.encode())
    end = len(found) if among.high is None else bisect_left(found, among.high.encode())
    return start, max(start, end)


def cut_range(table: pa.Table, among: Among) -> pa.Table:
    """The rows of the customers from ``among.low`` up to ``among.high``, of a sorted ``table``, without copying."""
    start, end = find_range(table[_KEY], among)
    return table.slice(start, end - start)


def cut_to(table: pa.Table, names: pa.ChunkedArray) -> pa.Table:
    """The rows of a sorted ``table`` from the first to the last of the sorted ``names``, without copying."""
    if not len(names):
        return table.slice(0, 0)
    found = _Names(table[_KEY])
    start = bisect_left(found, names[0].as_py().encode())
    return table.slice(start, bisect_right(found, names[-1].as_py().encode()) - start)


def unite_people(tables: Iterable[pa.Table]) -> pa.Table:
    """The customers of all these tables, sorted, each once."""
    names = [table[_KEY].cast(pa.string()) for table in tables]
    found = pc.unique(pa.chunked_array([chunk for one in names for chunk in one.chunks], pa.string()))
    return pa.table({_KEY: found.take(pc.sort_indices(found))})


def find_rows(names: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    """For each of ``names`` whether it is one of ``among``."""
    return pc.is_in(names, value_set=_join(among))


def align_rows(table: pa.Table, names: pa.ChunkedArray) -> pa.Table:
    """A row of ``table`` for each of ``names``, in their order; empty but for the name where it has none."""
    if table[_KEY].equals(names):
        return table
    found = table.take(pc.index_in(names, value_set=_join(table[_KEY])))
    return found.set_column(found.column_names.index(_KEY), _KEY, names)


def join_layers(layers: Sequence[pa.Table], has_patch: bool, names: Sequence[str]) -> pa.Table:
    """The columns ``names`` out of what ``engine.layers.read_layers`` answers, sorted."""
    lower = [sort_rows(layer) for layer in (layers[:-1] if has_patch else layers)]
    columns = {_KEY: lower[0][_KEY]}
    for layer in lower:
        found = align_rows(layer, columns[_KEY])
        columns |= {name: found[name] for name in found.column_names if name != _KEY}
    rows = pa.table({name: columns[name] for name in names})
    if not has_patch or not layers[-1].num_rows:
        return rows
    patch = layers[-1].select(list(names))
    there = find_rows(rows[_KEY], patch[_KEY])
    if pc.sum(there).as_py() == patch.num_rows:
        patch = sort_rows(patch)
        return pa.table(
            {_KEY: rows[_KEY], **put_over({n: rows[n] for n in names if n != _KEY}, patch, there)}
        )
    kept = rows.filter(pc.invert(there))
    return sort_rows(pa.concat_tables([kept, patch.cast(kept.schema)]))


def lay_over(
    names: pa.ChunkedArray, columns: Mapping[str, pa.ChunkedArray], upper: pa.Table
) -> dict[str, pa.ChunkedArray]:
    """``columns`` of the sorted ``names``, with the values of ``upper``, sorted, for those whom it knows."""
    if not upper.num_rows:
        return dict(columns)
    if upper[_KEY].equals(names):
        return {name: upper[name] for name in columns}
    there = _join(find_rows(names, upper[_KEY]))
    if pc.sum(there).as_py() != upper.num_rows:
        upper = upper.filter(find_rows(upper[_KEY], names))
    return put_over(columns, upper, there)


def put_over(
    columns: Mapping[str, pa.ChunkedArray], upper: pa.Table, there: pa.ChunkedArray
) -> dict[str, pa.ChunkedArray]:
    """``columns`` with the values of ``upper`` where ``there`` says so: as often as it has rows, in the same order."""
    mask = _join(there)
    return {
        name: pa.chunked_array(
            [pc.replace_with_mask(_join(column), mask, _join(upper[name].cast(column.type)))]
        )
        for name, column in columns.items()
    }


def mark_changes(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether two columns differ, row by row; empty is like empty."""
    differ = pc.fill_null(pc.not_equal(one, other), False)
    return pc.or_(differ, pc.xor(pc.is_null(one), pc.is_null(other)))


def _join(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


class _Names:
    """The names as bytes, which is how they are sorted."""

    def __init__(self, names: pa.ChunkedArray) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, place: int) -> bytes:
        return str(self._names[place].as_py()).encode()
