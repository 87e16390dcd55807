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

from aimwell.analysis.attempts import (
    NEVER,
    Attempts,
    Whole,
    choose_best,
    query_attempts,
    read_whole,
    settle_doubtful,
)
from aimwell.analysis.coded_scan import scan_coded
from aimwell.engine.compile_funnel import MarkLayout, compile_marks, compile_parts
from aimwell.engine.funnel import INSTANTS, Funnel
from aimwell.engine.specification import find_source
from aimwell.engine.sql_text import show_day
from aimwell.engine.workspace import Reader

_BITS = 63
_BLOCK = 2_000_000
_COARSEST = 20
_MOST_DOUBTFUL = 0.3
_MICROSECOND = timedelta(microseconds=1)


def find_attempts(reader: Reader, funnel: Funnel, *, scan: bool = True) -> Attempts:
    """The best attempt of every customer with a first step; ``scan`` False: by the query alone.

    The published file is read where it holds what is needed, else the warehouse's files.
    """
    if not scan:
        return query_attempts(reader, funnel)
    bare = replace(funnel, breakdown=None)
    found = scan_coded(reader, bare)
    if found is None:
        found = _scan(reader, bare)
    if found is None:
        return query_attempts(reader, funnel)
    by_row = funnel.breakdown is not None and funnel.breakdown.kind == "step"
    return find_parts(reader, funnel, found) if by_row else found


def find_parts(reader: Reader, funnel: Funnel, attempts: Attempts) -> Attempts:
    """``attempts`` with the value of the breakdown's column in the row of the first step.

    Where several first steps of different values stand at the instant at which an attempt began, the portable query
    says which one counts.
    """
    begun = pa.array(attempts.reached[:, 0], pa.timestamp("us", tz="UTC"))
    reader.register("begun_attempts", pa.table({"customer_id": attempts.customers, "begun_at": begun}))
    query = compile_parts(funnel, "begun_attempts")
    table = reader.query(query.sql, query.parameters)
    parts: list[str | None] = table["part"].to_pylist()
    unclear = read_whole(table["unclear"]) > 0
    if not unclear.any():
        return replace(attempts, parts=tuple(parts))
    clear = np.flatnonzero(~unclear)
    sure = Attempts(
        attempts.customers.take(pa.array(clear)),
        attempts.level[clear],
        attempts.reached[clear],
        tuple(parts[place] for place in clear.tolist()),
    )
    return settle_doubtful(reader, funnel, sure, attempts.customers.take(pa.array(np.flatnonzero(unclear))))


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
    return settle_doubtful(reader, funnel, attempts, people.take(pa.array(doubtful)))


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
            return people, layout, read_whole(packed)
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
    codes, level, reached = choose_best(
        reach,
        back,
        lambda rows: keys[rows] >> layout.code_shift,
        lambda rows: layout.origin + (instants[rows] << layout.dropped),
    )
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


__all__ = ["NEVER", "Attempts", "find_attempts", "find_parts", "query_attempts"]
