"""The best attempt of every customer at a funnel, by one pass over the coded rows of the published file.

Customers are taken some ten thousand at a time, so that memory is bounded. Of their rows, which the file has in order,
only those within the window of a first step are looked at closely. What the order of rows at one instant could decide,
where it is not known, is left to the portable query, so that every way gives the same.
Reads the published file and events that are not in it; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aimwell.analysis.attempts import (
    Attempts,
    Whole,
    choose_best,
    read_numbers,
    settle_doubtful,
    sort_attempts,
)
from aimwell.engine.coded_reader import CodedRows
from aimwell.engine.compile_coded import CodedPlan, compile_coded, list_new_customers
from aimwell.engine.funnel import Funnel
from aimwell.engine.sql_text import Query
from aimwell.engine.workspace import Reader

_MOST_AT_ONCE = 65_536
_ROWS_AT_ONCE = 4_000_000
_ROWS_IN_CACHE = 250_000
_ROOM = 1 << 62
_MOST_DOUBTFUL = 0.3
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Rows:
    """Some rows of some customers, by customer and instant. ``run``: which run they are of, ``rank``: its table's."""

    run: int
    rank: int
    place: NDArray[np.uint16]
    moment: Whole
    raw: NDArray[np.integer[Any]]

    def limit(self, low: int, high: int) -> _Rows:
        """Those of the customers from place ``low`` to before ``high``."""
        # In the places' own type: else all of them would be made wider first.
        start = np.searchsorted(self.place, np.uint16(low))
        end = np.searchsorted(self.place, np.uint16(high - 1), side="right")
        return _Rows(self.run, self.rank, self.place[start:end], self.moment[start:end], self.raw[start:end])


@dataclass(frozen=True)
class _Extra:
    """The events that are not in the file, by customer, instant and id."""

    customer: NDArray[np.int32]
    moment: Whole
    raw: NDArray[np.integer[Any]]

    def limit(self, low: int, high: int, *, run: int) -> _Rows:
        start, end = np.searchsorted(self.customer, [low, high])
        place = (self.customer[start:end] - np.int32(low)).astype(np.uint16)
        return _Rows(run, 0, place, self.moment[start:end], self.raw[start:end])


@dataclass(frozen=True)
class _Found:
    codes: Whole
    level: Whole
    reached: Whole
    doubtful: Whole


def scan_coded(reader: Reader, funnel: Funnel) -> Attempts | None:
    """The attempts, without parts; None where the published file does not allow it."""
    coded: CodedRows | None = getattr(reader, "coded", None)
    if coded is None:
        return None
    plan = compile_coded(funnel, coded)
    if plan is None:
        return None
    extra, new = _read_extra(reader, funnel, coded, plan)
    span = _widen(plan.span, extra)
    if span is None:
        return Attempts(pa.array([], pa.string()), *_nothing(len(funnel.steps)))
    scan = _Scan(funnel, plan.codes, span)
    count = coded.people + len(new)
    at_once = max(min(_MOST_AT_ONCE, _ROOM // scan.stride, _ROWS_AT_ONCE * count // max(plan.rows, 1)), 1)
    in_cache = max(_ROWS_IN_CACHE * count // max(plan.rows, 1), 1)
    found = []
    for low in range(0, count, at_once):
        parts: list[_Rows] = []
        for number, run in enumerate(plan.runs):
            parts += _read(coded, number, run.rank, run.limit(low, low + at_once))
        if extra is not None:
            parts.append(extra.limit(low, low + at_once, run=len(plan.runs)))
        # Events that are not in the file stand before orders of the same instant, as all events do.
        parts.sort(key=lambda part: part.rank)
        for place in range(0, at_once, in_cache):
            found.append(
                scan.find([part.limit(place, min(place + in_cache, at_once)) for part in parts], low)
            )
    return _finish(reader, funnel, coded, new, found)


def _finish(
    reader: Reader, funnel: Funnel, coded: CodedRows, new: pa.Array, found: list[_Found]
) -> Attempts | None:
    codes = np.concatenate([one.codes for one in found])
    doubtful = np.concatenate([one.doubtful for one in found])
    if len(doubtful) > _MOST_DOUBTFUL * max(len(codes), 1):
        return None
    people = pa.concat_arrays(
        [
            coded.query("SELECT customer_id FROM coded.numbers ORDER BY customer")[
                "customer_id"
            ].combine_chunks(),
            new,
        ]
    )
    sure = ~np.isin(codes, doubtful)
    level = np.concatenate([one.level for one in found])
    reached = np.concatenate([one.reached for one in found])
    attempts = Attempts(people.take(pa.array(codes[sure])), level[sure], reached[sure])
    if not _is_sorted(attempts.customers):
        attempts = sort_attempts(attempts)
    return settle_doubtful(reader, funnel, attempts, people.take(pa.array(doubtful)))


class _Scan:
    """Finds attempts in the rows of some customers.

    A row's key is its customer's place times ``stride`` plus its instant: keys of two customers are further apart than
    the window, so that none is taken for another.
    """

    def __init__(self, funnel: Funnel, codes: tuple[int, ...] | None, span: tuple[int, int]) -> None:
        self._steps = len(funnel.steps)
        self._window = funnel.window // _MICROSECOND
        self._codes = codes
        self._origin = span[0]
        self.stride = span[1] - span[0] + self._window + 1

    def find(self, parts: list[_Rows], low: int) -> _Found:
        """The best attempts of the customers from ``low`` on; rows of one instant stand in the order of ``parts``."""
        parts = [part for part in parts if len(part.moment)]
        if not parts:
            return _Found(np.empty(0, np.int64), *_nothing(self._steps), np.empty(0, np.int64))
        key, raw, run = _bring_together(parts, self._origin, self.stride)
        first = (raw == self._codes[0]) if self._codes is not None else (raw & 1).astype(np.bool_)
        kept = self._keep(key, np.flatnonzero(first))
        found = self._follow(key[kept], self._mark(raw[kept]))
        doubtful = np.empty(0, np.int64)
        if run is not None:
            doubtful = self._find_ties(key[kept], run[kept], {part.run: part.rank for part in parts})
        return _Found(found.codes + low, found.level, found.reached, doubtful + low)

    def _keep(self, key: Whole, starts: Whole) -> Whole:
        """The rows within the window of any first step."""
        ends = np.searchsorted(key, key[starts] + self._window, side="right")
        begins = np.maximum(starts, np.concatenate([[0], ends[:-1]]))
        lengths = ends - begins
        shift: Whole = np.repeat(begins - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        shift += np.arange(len(shift))
        return shift

    def _mark(self, raw: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        if self._codes is None:
            return raw.astype(np.int32)
        marks = np.zeros(len(raw), np.int32)
        for bit, code in enumerate(self._codes):
            marks |= (raw == code).astype(np.int32) << bit
        return marks

    def _follow(self, key: Whole, marks: NDArray[np.int32]) -> _Found:
        """Each row of step k goes on with the last row before it that reached step k − 1: its start is the latest."""
        barred = np.flatnonzero(marks & (1 << self._steps))
        reach = [np.flatnonzero(marks & 1)]
        begun = [key[reach[0]]]
        back: list[Whole] = [np.empty(0, np.int64)]
        for step in range(1, self._steps):
            rows = np.flatnonzero(marks & (1 << step))
            before = np.searchsorted(reach[-1], rows) - 1
            rows, before = rows[before >= 0], before[before >= 0]
            inside = key[rows] - begun[-1][before] <= self._window
            if len(barred):
                place = np.searchsorted(barred, rows, side="right") - 1
                inside &= (place < 0) | (barred[place] <= reach[-1][before])
            reach.append(rows[inside])
            back.append(before[inside])
            begun.append(begun[-1][back[-1]])
        best = choose_best(
            reach,
            back,
            lambda rows: key[rows] // self.stride,
            lambda rows: key[rows] % self.stride + self._origin,
        )
        return _Found(*best, np.empty(0, np.int64))

    def _find_ties(self, key: Whole, run: NDArray[np.uint8], ranks: dict[int, int]) -> Whole:
        """Customers with rows of one table at one instant that come from two runs: which is first is not known."""
        tied = np.flatnonzero(key[1:] == key[:-1])
        one, two = run[tied], run[tied + 1]
        by_run = np.array([ranks.get(number, 0) for number in range(max(ranks) + 1)])
        unknown = (one != two) & (by_run[one] == by_run[two])
        return np.unique(key[tied[unknown]] // self.stride)


def _bring_together(
    parts: list[_Rows], origin: int, stride: int
) -> tuple[Whole, NDArray[np.integer[Any]], NDArray[np.uint8] | None]:
    """All rows by customer and instant: keys, raw, and the run of each where there is more than one.

    Rows of one customer that stand together are moved together, which is much quicker than sorting rows.
    """
    starts, places, lengths = [], [], []
    for part in parts:
        start = np.concatenate([[0], np.flatnonzero(part.place[1:] != part.place[:-1]) + 1])
        starts.append(start)
        places.append(part.place[start])
        lengths.append(np.diff(start, append=len(part.place)))
    place, length = np.concatenate(places), np.concatenate(lengths)
    order = np.argsort(place, kind="stable")
    goal = np.empty(len(order), np.int64)
    goal[order] = np.cumsum(length[order]) - length[order]
    total = int(length.sum())
    several = len({part.run for part in parts}) > 1
    key, raw = np.empty(total, np.int64), np.empty(total, np.result_type(*(part.raw for part in parts)))
    run = np.empty(total, np.uint8) if several else None
    taken = 0
    for part, start, size in zip(parts, starts, lengths, strict=True):
        to = np.repeat(goal[taken : taken + len(start)] - start, size)
        to += np.arange(len(to))
        key[to], raw[to] = part.moment, part.raw
        if run is not None:
            run[to] = part.run
        taken += len(start)
    key += np.repeat(place[order] * np.int64(stride) - origin, length[order])
    if several and not (key[1:] >= key[:-1]).all():
        again = np.argsort(key, kind="stable")
        key, raw, run = key[again], raw[again], None if run is None else run[again]
    return key, raw, run


def _read(coded: CodedRows, run: int, rank: int, query: Query) -> list[_Rows]:
    """The rows as they come: batches as DuckDB made them, none of them copied."""
    found: list[_Rows] = []
    for batch in coded.query(query.sql, query.parameters).to_batches():
        place = read_numbers(batch["place"], np.uint16)
        moment, raw = read_numbers(batch["moment"], np.int64), read_numbers(batch["raw"])
        # A month may begin within a batch: from there on customers are counted from the first one again.
        cuts = (np.flatnonzero(place[1:] < place[:-1]) + 1).tolist()
        for start, end in pairwise([0, *cuts, len(place)]):
            found.append(_Rows(run, rank, place[start:end], moment[start:end], raw[start:end]))
    return found


def _read_extra(
    reader: Reader, funnel: Funnel, coded: CodedRows, plan: CodedPlan
) -> tuple[_Extra | None, pa.Array]:
    """The events that are not in the file, and their customers without a number, who get the next ones."""
    if plan.extra is None:
        return None, pa.array([], pa.string())
    query = list_new_customers(funnel)
    new = coded.query(query.sql, query.parameters)["customer_id"].combine_chunks()
    numbers = pa.array(np.arange(coded.people, coded.people + len(new), dtype=np.int32))
    reader.register("extra_numbers", pa.table({"customer": numbers, "customer_id": new}))
    table = coded.query(plan.extra.sql, plan.extra.parameters).combine_chunks()
    (batch,) = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    return _Extra(
        read_numbers(batch["customer"], np.int32),
        read_numbers(batch["moment"], np.int64),
        read_numbers(batch["raw"]),
    ), new


def _widen(span: tuple[int, int] | None, extra: _Extra | None) -> tuple[int, int] | None:
    if extra is None or not len(extra.moment):
        return span
    low, high = int(extra.moment.min()), int(extra.moment.max())
    return (low, high) if span is None else (min(span[0], low), max(span[1], high))


def _nothing(steps: int) -> tuple[Whole, Whole]:
    return np.empty(0, np.int64), np.empty((0, steps), np.int64)


def _is_sorted(customers: pa.Array) -> bool:
    if len(customers) < 2:
        return True
    return bool(pc.all(pc.less_equal(customers[:-1], customers[1:])).as_py())
