"""The best attempt of every customer at a funnel, by one pass over the coded rows of the published file.

Customers are taken some ten thousand at a time, so that memory is bounded. Of their rows, which the file has month by
month in order, only those within the window of a first step are brought together and looked at closely. What the order
of rows at one instant could decide, where it is not known, is left to the portable query, so that every way gives the
same.
Reads the published file and events that are not in it; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
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
from aimwell.engine.compile_coded import CodedPlan, CodedRun, compile_coded, list_new_customers
from aimwell.engine.funnel import Funnel
from aimwell.engine.workspace import Reader

_MOST_AT_ONCE = 65_536
_ROWS_AT_ONCE = 1_000_000
_ROWS_IN_BATCH = 65_536
_ROOM = 1 << 62
_SEARCH_COST = 20
"""Looking for one row takes as long as walking over so many."""
_MOST_DOUBTFUL = 0.3
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Rows:
    """Rows of one run, by customer and instant; ``span``: the run's first and last instant, from the scan's origin."""

    rank: int
    chain: int
    span: tuple[int, int]
    key: Whole
    raw: NDArray[np.integer[Any]]


class _Stream:
    """The rows of one run, given out in order of customers, a batch being read when it is needed."""

    def __init__(self, coded: CodedRows, run: CodedRun, scan: _Scan) -> None:
        self._run = run
        self._scan = scan
        self._span = (run.span[0] - scan.origin, run.span[1] - scan.origin)
        self._batches = coded.stream(run.query.sql, run.query.parameters, rows=_ROWS_IN_BATCH)
        self._waiting: list[_Batch] = []
        self._keys: Whole = np.empty(0, np.int64)
        self._ended = False

    def take(self, low: int, high: int) -> _Rows:
        """The rows of the customers from ``low`` to before ``high``; those before ``low`` have been taken.

        Good until more are taken: the keys stand in the same memory every time, as fresh memory costs more than they.
        """
        while not self._ended and (not self._waiting or self._waiting[-1].customer[-1] < high):
            self._read()
        taken, self._waiting = self._waiting, []
        if taken and taken[-1].customer[-1] >= high:
            cut = int(np.searchsorted(taken[-1].customer, np.int32(high)))
            self._waiting = [taken[-1].limit(cut, None)]
            taken[-1] = taken[-1].limit(0, cut)
        total = sum(len(one.raw) for one in taken)
        if total > len(self._keys):
            self._keys = np.empty(total + total // 4, np.int64)
        place = 0
        for one in taken:
            self._scan.make_keys(one.customer, one.moment, low, self._keys[place : place + len(one.raw)])
            place += len(one.raw)
        raw = np.concatenate([one.raw for one in taken]) if taken else np.empty(0, np.uint8)
        return _Rows(self._run.rank, self._run.chain, self._span, self._keys[:total], raw)

    def _read(self) -> None:
        batch = next(self._batches, None)
        if batch is None:
            self._ended = True
        elif batch.num_rows:
            columns = (read_numbers(batch["customer"], np.int32), read_numbers(batch["moment"], np.int64))
            self._waiting.append(_Batch(*columns, read_numbers(batch["raw"])))


@dataclass(frozen=True)
class _Batch:
    """Some rows by customer and instant."""

    customer: NDArray[np.int32]
    moment: Whole
    raw: NDArray[np.integer[Any]]

    def limit(self, start: int, end: int | None) -> _Batch:
        return _Batch(self.customer[start:end], self.moment[start:end], self.raw[start:end])


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
    spans = [run.span for run in plan.runs]
    if extra is not None and len(extra.moment):
        spans.append((int(extra.moment.min()), int(extra.moment.max())))
    if not spans:
        return Attempts(pa.array([], pa.string()), *_nothing(len(funnel.steps)))
    scan = _Scan(funnel, plan.codes, (min(one for one, _ in spans), max(one for _, one in spans)))
    count = coded.people + len(new)
    at_once = max(min(_MOST_AT_ONCE, _ROOM >> scan.shift, _ROWS_AT_ONCE * count // max(plan.rows, 1)), 1)
    streams = [_Stream(coded, run, scan) for run in plan.runs]
    found = []
    for low in range(0, count, at_once):
        parts = [stream.take(low, low + at_once) for stream in streams]
        if extra is not None:
            parts.append(_limit_extra(extra, scan, low, low + at_once, chain=len(plan.runs)))
        # Events that are not in the file stand before orders of the same instant, as all events do.
        found.append(scan.find(sorted(parts, key=lambda part: part.rank), low))
    return _finish(reader, funnel, coded, new, found)


def _finish(
    reader: Reader, funnel: Funnel, coded: CodedRows, new: pa.Array, found: list[_Found]
) -> Attempts | None:
    codes = np.concatenate([one.codes for one in found])
    doubtful = np.concatenate([one.doubtful for one in found])
    if len(doubtful) > _MOST_DOUBTFUL * max(len(codes), 1):
        return None
    people = pa.concat_arrays([coded.read_people(), new])
    sure = ~np.isin(codes, doubtful)
    level = np.concatenate([one.level for one in found])
    reached = np.concatenate([one.reached for one in found])
    attempts = Attempts(people.take(pa.array(codes[sure])), level[sure], reached[sure])
    if not _is_sorted(attempts.customers):
        attempts = sort_attempts(attempts)
    return settle_doubtful(reader, funnel, attempts, people.take(pa.array(doubtful)))


class _Scan:
    """Finds attempts in the rows of some customers.

    A row's key is its customer's place shifted by ``shift``, plus its instant from ``origin``: keys of two customers
    are further apart than the window, so that none is taken for another.
    """

    def __init__(self, funnel: Funnel, codes: tuple[int, ...] | None, span: tuple[int, int]) -> None:
        self._steps = len(funnel.steps)
        self._codes = codes
        self.origin, length = span[0], span[1] - span[0]
        # No two rows are further apart than all are.
        self._window = min(funnel.window // _MICROSECOND, length)
        self.shift = (length + self._window + 1).bit_length()

    def find(self, parts: list[_Rows], low: int) -> _Found:
        """The best attempts of the customers from ``low`` on; rows of one instant stand in the order of ``parts``."""
        parts = [part for part in parts if len(part.key)]
        if not parts:
            return _Found(np.empty(0, np.int64), *_nothing(self._steps), np.empty(0, np.int64))
        places = [np.flatnonzero(self._match(part.raw, 0)) for part in parts]
        starts = [part.key[own] for part, own in zip(parts, places, strict=True)]
        kept = [self._keep(parts, number, own, starts) for number, own in enumerate(places)]
        key, raw, chain = self._bring_together(parts, kept)
        found = self._follow(key, raw)
        doubtful = np.empty(0, np.int64)
        if chain is not None:
            doubtful = self._find_ties(key, chain, {part.chain: part.rank for part in parts})
        return _Found(found.codes + low, found.level, found.reached, doubtful + low)

    def make_keys(self, customer: NDArray[np.int32], moment: Whole, low: int, key: Whole) -> None:
        """Put the keys of rows of customers from ``low`` on into ``key``."""
        np.subtract(customer, low, out=key, dtype=np.int64)
        key <<= self.shift
        key += moment
        key -= self.origin

    def _match(self, raw: NDArray[np.integer[Any]], bit: int) -> NDArray[np.bool_]:
        """Which rows are of step ``bit``, or, after the last step, are excluded."""
        found: NDArray[np.bool_] = np.zeros(len(raw), np.bool_)
        if self._codes is None:
            found = (raw & (1 << bit)) != 0
        elif bit < len(self._codes):
            found = raw == self._codes[bit]
        return found

    def _keep(self, parts: list[_Rows], number: int, own: Whole, starts: list[Whole]) -> Whole:
        """The rows of part ``number`` within the window of any first step: its own, at ``own``, or another part's."""
        part = parts[number]
        before = [
            self._carry(keys, part.span)
            for other, keys in enumerate(starts)
            if other != number and self._can_reach(parts[other].span, part.span)
        ]
        carried = np.concatenate([np.empty(0, np.int64), *before])
        begins, keys = own, starts[number]
        if len(carried):
            keys = np.concatenate([carried, keys])
            order = np.argsort(keys, kind="stable")
            keys, begins = keys[order], np.concatenate([np.searchsorted(part.key, carried), own])[order]
        if not len(keys):
            return begins
        # First steps whose windows touch have one window together.
        apart = np.diff(keys) > self._window
        begins = begins[np.append(True, apart)]
        ends = np.searchsorted(part.key, keys[np.append(apart, True)] + self._window, side="right")
        lengths = ends - begins
        rows: Whole = np.repeat(begins - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        rows += np.arange(len(rows))
        return rows

    def _can_reach(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] <= other[1] and one[1] + self._window >= other[0]

    def _carry(self, starts: Whole, span: tuple[int, int]) -> Whole:
        """Those of ``starts`` from which rows of another part, of ``span``, can be reached: one for each customer
        of those before all of its rows, as the last one reaches furthest."""
        moments = starts & ((1 << self.shift) - 1)
        near = (moments + self._window >= span[0]) & (moments <= span[1])
        starts, moments = starts[near], moments[near]
        last = np.ones(len(starts), np.bool_)
        last[:-1] = ((starts[1:] ^ starts[:-1]) >> self.shift != 0) | (moments[1:] >= span[0])
        return starts[last]

    def _bring_together(
        self, parts: list[_Rows], kept: list[Whole]
    ) -> tuple[Whole, NDArray[np.integer[Any]], NDArray[np.int16] | None]:
        """The kept rows of all parts by customer and instant: keys, raw, and the chain of each if there are several."""
        key = np.concatenate([part.key[rows] for part, rows in zip(parts, kept, strict=True)])
        raw = np.concatenate([part.raw[rows] for part, rows in zip(parts, kept, strict=True)])
        chains = np.array([part.chain for part in parts], np.int16)
        several = bool((chains != chains[0]).any())
        chain = np.repeat(chains, [len(rows) for rows in kept]) if several else None
        # Parts stand in order of time but for those that overlap: sorting 16 bits is quick, and mostly enough.
        order = np.argsort((key >> self.shift).astype(np.uint16), kind="stable")
        if several and not _is_in_order(key[order]):
            order = np.argsort(key, kind="stable")
        return key[order], raw[order], None if chain is None else chain[order]

    def _follow(self, key: Whole, raw: NDArray[np.integer[Any]]) -> _Found:
        """Each row of step k goes on with the last row before it that reached step k − 1: its start is the latest."""
        barred = np.flatnonzero(self._match(raw, self._steps))
        reach = [np.flatnonzero(self._match(raw, 0))]
        begun = [key[reach[0]]]
        back: list[Whole] = [np.empty(0, np.int64)]
        for step in range(1, self._steps):
            rows = np.flatnonzero(self._match(raw, step))
            before = _find_before(reach[-1], rows, len(key))
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
            lambda rows: key[rows] >> self.shift,
            lambda rows: (key[rows] & ((1 << self.shift) - 1)) + self.origin,
        )
        return _Found(*best, np.empty(0, np.int64))

    def _find_ties(self, key: Whole, chain: NDArray[np.int16], ranks: dict[int, int]) -> Whole:
        """Customers with rows of one table at one instant that come from two chains: which is first is not known."""
        tied = np.flatnonzero(key[1:] == key[:-1])
        one, two = chain[tied], chain[tied + 1]
        by_chain = np.array([ranks.get(number, 0) for number in range(max(ranks) + 1)])
        unknown = (one != two) & (by_chain[one] == by_chain[two])
        return np.unique(key[tied[unknown]] >> self.shift)


def _find_before(reach: Whole, rows: Whole, total: int) -> Whole:
    """The place in ``reach`` of the last row before each of ``rows``, of ``total`` rows; −1: there is none."""
    if len(rows) * _SEARCH_COST < total:
        return np.searchsorted(reach, rows) - 1
    lengths = np.diff(reach, prepend=-1, append=total - 1)
    found: Whole = np.repeat(np.arange(-1, len(reach)), lengths)[rows]
    return found


def _is_in_order(key: Whole) -> bool:
    return bool((key[1:] >= key[:-1]).all())


def _limit_extra(extra: _Batch, scan: _Scan, low: int, high: int, *, chain: int) -> _Rows:
    """Those of ``extra`` of the customers from ``low`` to before ``high``."""
    own = extra.limit(*np.searchsorted(extra.customer, [low, high]).tolist())
    span = (int(own.moment.min()), int(own.moment.max())) if len(own.moment) else (scan.origin, scan.origin)
    key = np.empty(len(own.raw), np.int64)
    scan.make_keys(own.customer, own.moment, low, key)
    return _Rows(0, chain, (span[0] - scan.origin, span[1] - scan.origin), key, own.raw)


def _read_extra(
    reader: Reader, funnel: Funnel, coded: CodedRows, plan: CodedPlan
) -> tuple[_Batch | None, pa.Array]:
    """The events that are not in the file, and their customers without a number, who get the next ones."""
    if plan.extra is None:
        return None, pa.array([], pa.string())
    query = list_new_customers(funnel)
    new = coded.query(query.sql, query.parameters)["customer_id"].combine_chunks()
    numbers = pa.array(np.arange(coded.people, coded.people + len(new), dtype=np.int32))
    reader.register("extra_numbers", pa.table({"customer": numbers, "customer_id": new}))
    table = coded.query(plan.extra.sql, plan.extra.parameters).combine_chunks()
    (batch,) = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    return _Batch(
        read_numbers(batch["customer"], np.int32),
        read_numbers(batch["moment"], np.int64),
        read_numbers(batch["raw"]),
    ), new


def _nothing(steps: int) -> tuple[Whole, Whole]:
    return np.empty(0, np.int64), np.empty((0, steps), np.int64)


def _is_sorted(customers: pa.Array) -> bool:
    if len(customers) < 2:
        return True
    return bool(pc.all(pc.less_equal(customers[:-1], customers[1:])).as_py())
