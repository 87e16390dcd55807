"""The best attempt of every customer at a funnel: by one scan in memory, or by the portable query.

The scan asks DuckDB for one packed number a row (customer, instant, marks), sorts them once and finds for each row of
step k the last row before it that reached step k − 1. Instants that do not fit are cut by a few microseconds;
customers for whom that, or two steps at one instant, could decide are left to the query, so that both ways give the
same. Reads events, order_lines, products; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aimwell.engine.compile_funnel import MarkLayout, compile_funnel, compile_marks
from aimwell.engine.funnel import INSTANTS, Funnel
from aimwell.engine.specification import find_source
from aimwell.engine.sql_text import show_day
from aimwell.engine.workspace import Reader

NEVER = np.iinfo(np.int64).min
"""Stands for an instant at which nothing happened."""
_BITS = 63
_BLOCK = 2_000_000
_COARSEST = 20
_MOST_DOUBTFUL = 0.3
_MICROSECOND = timedelta(microseconds=1)

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Attempts:
    """The best attempt of each customer with a first step, sorted by customer.

    ``level`` is 1…K, ``reached`` has a column per step: microseconds since 1970, ``NEVER`` where it was not reached.
    ``parts`` are the values of the breakdown (None where unknown or without one).
    """

    customers: pa.Array
    level: Whole
    reached: Whole
    parts: tuple[str | None, ...] | None = None

    @property
    def last_at(self) -> Whole:
        """The instant of the last step that was reached; microseconds."""
        last: Whole = self.reached[np.arange(len(self.level)), self.level - 1]
        return last


def find_attempts(reader: Reader, funnel: Funnel, *, scan: bool = True) -> Attempts:
    """The best attempt of every customer with a first step; ``scan`` False: by the query alone.

    A breakdown by a column of the first step's row needs that row, and so the query.
    """
    by_row = funnel.breakdown is not None and funnel.breakdown.kind == "step"
    found = _scan(reader, replace(funnel, breakdown=None)) if scan and not by_row else None
    if found is None:
        return query_attempts(reader, funnel)
    return found


def query_attempts(reader: Reader, funnel: Funnel, *, chosen: str | None = None) -> Attempts:
    """The same by the portable query, for everybody or the customers of the table ``chosen``."""
    query = compile_funnel(funnel, chosen=chosen)
    table = reader.query(query.sql, query.parameters)
    steps = range(1, len(funnel.steps) + 1)
    reached = np.stack([_read_instants(table[f"reached_{number}"]) for number in steps], axis=1)
    parts = tuple(table["part"].to_pylist()) if funnel.breakdown else None
    return Attempts(table["customer_id"].combine_chunks(), _read_whole(table["level"]), reached, parts)


def _scan(reader: Reader, funnel: Funnel) -> Attempts | None:
    """None where the numbers do not fit, or too many customers would be left to the query."""
    span = _find_span(reader, funnel)
    if span is None:
        return Attempts(
            pa.array([], pa.string()), np.empty(0, np.int64), np.empty((0, len(funnel.steps)), np.int64)
        )
    people, layout, keys = _read_keys(reader, funnel, span)
    if layout is None:
        return None
    keys.sort()
    window = funnel.window // _MICROSECOND
    blocks = [_scan_block(block, layout, len(funnel.steps), window) for block in _split(keys, layout)]
    codes = np.concatenate([block.codes for block in blocks]) if blocks else np.empty(0, np.int64)
    doubtful = np.concatenate([block.doubtful for block in blocks]) if blocks else np.empty(0, np.int64)
    if len(doubtful) > _MOST_DOUBTFUL * max(len(codes), 1):
        return None
    level = np.concatenate([block.level for block in blocks]) if blocks else codes
    reached = (
        np.concatenate([block.reached for block in blocks]) if blocks else codes.reshape(0, len(funnel.steps))
    )
    sure = ~np.isin(codes, doubtful)
    attempts = Attempts(people.take(pa.array(codes[sure])), level[sure], reached[sure])
    if not len(doubtful):
        return attempts
    reader.register("doubtful_customers", pa.table({"customer_id": people.take(pa.array(doubtful))}))
    return _merge(attempts, query_attempts(reader, funnel, chosen="doubtful_customers"))


def _merge(left: Attempts, right: Attempts) -> Attempts:
    customers = pa.concat_arrays([left.customers, right.customers])
    order = pc.sort_indices(customers)
    places = _read_whole(pa.chunked_array([order.cast(pa.int64())]))
    return Attempts(
        customers.take(order),
        np.concatenate([left.level, right.level])[places],
        np.concatenate([left.reached, right.reached])[places],
    )


def _find_span(reader: Reader, funnel: Funnel) -> tuple[int, int] | None:
    """The first and last instant of the rows; microseconds. None where there is no row."""
    lows, highs = [], []
    for table in {step.table for step in (*funnel.steps, *funnel.exclusions)}:
        source = "order_lines" if table == "orders" else table
        day = find_source(table).day
        tests = f"{day} < {show_day(funnel.end)}"
        if funnel.start is not None:
            tests += f" AND {day} >= {show_day(funnel.start)}"
        at = INSTANTS[table]
        row = reader.query(
            f"SELECT MIN({at}) AS low, MAX({at}) AS high FROM {source} WHERE {tests}"
        ).to_pylist()[0]
        if row["low"] is not None:
            lows.append(_to_microseconds(row["low"]))
            highs.append(_to_microseconds(row["high"]))
    return (min(lows), max(highs)) if lows else None


def _to_microseconds(instant: datetime) -> int:
    return (instant - datetime.fromtimestamp(0, instant.tzinfo)) // _MICROSECOND


def _read_keys(
    reader: Reader, funnel: Funnel, span: tuple[int, int]
) -> tuple[pa.Array, MarkLayout | None, Whole]:
    """The customers in order, the layout, and one packed number per row; without layout where they do not fit."""
    tables = sorted(
        {"order_lines" if s.table == "orders" else s.table for s in (*funnel.steps, *funnel.exclusions)}
    )
    everybody = " UNION ".join(f"SELECT customer_id FROM {table}" for table in tables)
    for source in ("SELECT customer_id FROM customers", f"SELECT DISTINCT customer_id FROM ({everybody})"):
        people = reader.query(f"{source} ORDER BY customer_id")["customer_id"].combine_chunks()
        layout = _plan_layout(len(people), span, len(funnel.steps) + 1)
        if layout is None:
            return people, None, np.empty(0, np.int64)
        codes = pa.table({"customer_id": people, "code": pa.array(np.arange(len(people)))})
        reader.register("customer_codes", codes)
        query = compile_marks(funnel, "customer_codes", layout)
        packed = reader.query(query.sql, query.parameters)["packed"]
        if packed.null_count == 0:
            return people, layout, _read_whole(packed)
    raise AssertionError("everybody in a table has a code")


def _plan_layout(customers: int, span: tuple[int, int], mark_bits: int) -> MarkLayout | None:
    code_bits = max(customers - 1, 1).bit_length()
    room = _BITS - code_bits - mark_bits
    dropped = max((span[1] - span[0]).bit_length() - room, 0)
    if dropped > _COARSEST:
        return None
    return MarkLayout(span[0], dropped, mark_bits, _BITS - code_bits)


@dataclass(frozen=True)
class _Block:
    codes: Whole
    level: Whole
    reached: Whole
    doubtful: Whole


def _split(keys: Whole, layout: MarkLayout) -> list[Whole]:
    """Parts of sorted ``keys`` that fit the processor's cache, no customer in two of them."""
    blocks, start = [], 0
    while start < len(keys):
        end = min(start + _BLOCK, len(keys))
        if end < len(keys):
            following = ((int(keys[end - 1]) >> layout.code_shift) + 1) << layout.code_shift
            end = int(np.searchsorted(keys, following)) if following < 2**63 else len(keys)
        blocks.append(keys[start:end])
        start = end
    return blocks


def _scan_block(keys: Whole, layout: MarkLayout, steps: int, window: int) -> _Block:
    """The best attempts, and whom they are not sure for.

    Steps at one instant stand in their own order here, which lets most attempts through; where the reverse order,
    which lets fewest through, gives the same, every order does.
    """
    block = _scan_rows(keys, layout, steps, window)
    hard, soft = _find_ties(keys, layout, steps)
    if not len(soft):
        return replace(block, doubtful=np.union1d(block.doubtful, hard))
    tied = keys[np.isin(keys >> layout.code_shift, soft)]
    flipped = np.sort(tied ^ ((1 << layout.mark_bits) - 1)) ^ ((1 << layout.mark_bits) - 1)
    reverse = _scan_rows(flipped, layout, steps, window)
    places = np.searchsorted(block.codes, reverse.codes)
    differs = (block.level[places] != reverse.level) | (block.reached[places] != reverse.reached).any(axis=1)
    doubtful = np.concatenate([block.doubtful, reverse.doubtful, hard, reverse.codes[differs]])
    return replace(block, doubtful=np.unique(doubtful))


def _scan_rows(keys: Whole, layout: MarkLayout, steps: int, window: int) -> _Block:
    marks = (keys & ((1 << layout.mark_bits) - 1)).astype(np.int16)
    barred = np.flatnonzero(marks & (1 << steps))
    instants = (keys & ((1 << layout.code_shift) - 1)) >> layout.mark_bits
    reach = [np.flatnonzero(marks & 1)]
    begun = [instants[reach[0]]]
    back: list[Whole] = [np.empty(0, np.int64)]
    doubtful = [np.empty(0, np.int64)]
    for step in range(1, steps):
        rows = np.flatnonzero(marks & (1 << step))
        before = np.searchsorted(reach[-1], rows) - 1
        rows, before = rows[before >= 0], before[before >= 0]
        came_from = reach[-1][before]
        same = (keys[came_from] ^ keys[rows]) < (1 << layout.code_shift)
        if len(barred):
            place = np.searchsorted(barred, rows, side="right") - 1
            same &= (place < 0) | (barred[place] <= came_from)
        rows, before = rows[same], before[same]
        taken = (instants[rows] - begun[-1][before]) << layout.dropped
        if layout.dropped:
            doubtful.append(keys[rows[np.abs(taken - window) < (2 << layout.dropped)]] >> layout.code_shift)
        inside = taken <= window
        reach.append(rows[inside])
        back.append(before[inside])
        begun.append(begun[-1][back[-1]])
    codes, level, reached = _choose_best(keys, instants, reach, back, layout)
    return _Block(codes, level, reached, np.unique(np.concatenate(doubtful)))


def _find_ties(keys: Whole, layout: MarkLayout, steps: int) -> tuple[Whole, Whole]:
    """The codes of customers with different rows at one instant: those with an exclusion or a row of several steps
    among them, and those with single steps only."""
    tied = np.flatnonzero((keys[1:] ^ keys[:-1]) < (1 << layout.mark_bits))
    first, second = (keys[tied + one] & ((1 << layout.mark_bits) - 1) for one in (0, 1))
    several = ((first & (first - 1)) != 0) | ((second & (second - 1)) != 0)
    hard = several | ((first != second) & ((first | second) >> steps != 0))
    soft = (first != second) & ~hard
    codes = keys[tied] >> layout.code_shift
    return np.unique(codes[hard]), np.unique(codes[soft])


def _choose_best(
    keys: Whole, instants: Whole, reach: list[Whole], back: list[Whole], layout: MarkLayout
) -> tuple[Whole, Whole, Whole]:
    """Of each customer the deepest level, the row that got there first, and the way back from it."""
    codes, ends = _first_of_each(keys[reach[0]] >> layout.code_shift)
    level = np.ones(len(codes), np.int64)
    for depth in range(1, len(reach)):
        deeper, first = _first_of_each(keys[reach[depth]] >> layout.code_shift)
        places = np.searchsorted(codes, deeper)
        level[places], ends[places] = depth + 1, first
    reached = np.full((len(codes), len(reach)), NEVER, np.int64)
    for depth in range(len(reach) - 1, -1, -1):
        here = np.flatnonzero(level > depth)
        rows = reach[depth][ends[here]]
        reached[here, depth] = layout.origin + (instants[rows] << layout.dropped)
        if depth:
            ends[here] = back[depth][ends[here]]
    return codes, level, reached


def _first_of_each(codes: Whole) -> tuple[Whole, Whole]:
    """The distinct values of sorted ``codes`` and where each stands first."""
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else codes
    return codes[starts], starts


def _read_whole(column: pa.ChunkedArray) -> Whole:
    """Whole numbers without nulls as one array; pyarrow's own way would load pandas."""
    chunks = [
        np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in column.cast(pa.int64()).chunks
    ]
    return np.concatenate(chunks) if chunks else np.empty(0, np.int64)


def _read_instants(column: pa.ChunkedArray) -> Whole:
    micros = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return _read_whole(pc.fill_null(micros, NEVER))
