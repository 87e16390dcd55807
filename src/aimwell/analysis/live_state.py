"""What live rules remember of customers, as columns: counts by day, and the events of sequences.

New rows come as runs; neighbouring runs are merged as their lengths grow geometrically (O'Neil et al. 1996, the
log-structured merge tree), so that a row is rewritten a logarithmic number of times, in memory and in the store alike.
Customers are numbers here; a run in the store names them. Pure functions; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Whole = NDArray[np.int64]
LEAVES = 256
"""Most leaves (counts and sequences) of all rules together."""
BEFORE_ALL = -(1 << 19)
"""The day under which a count without window keeps everything that is over."""
_DAY = 20
_CUSTOMER = 28
_NO_IDS = pa.array([], pa.large_string())


@dataclass(frozen=True)
class Counts:
    """How often something happened on a day; sorted by ``key`` = customer, leaf, day in one number, each key once."""

    key: Whole
    value: Whole

    def __len__(self) -> int:
        return len(self.key)

    @property
    def customer(self) -> Whole:
        """The customer's number, shape (n,)."""
        return self.key >> _CUSTOMER

    @property
    def leaf(self) -> Whole:
        """The number of the leaf."""
        return self.key >> _DAY & (LEAVES - 1)

    @property
    def day(self) -> Whole:
        """Days since 1970."""
        return (self.key & ((1 << _DAY) - 1)) + BEFORE_ALL

    @classmethod
    def build(cls, customers: Whole, leaf: int | Whole, days: Whole, times: Whole | None = None) -> Counts:
        """One row for each (customer, leaf, day) with how often it comes, or with the sum of ``times``."""
        shifted = np.maximum(days.astype(np.int64) - BEFORE_ALL, 0)
        key = (customers << _CUSTOMER) | (np.asarray(leaf, np.int64) << _DAY) | shifted
        return cls._fold(key, np.ones(len(key), np.int64) if times is None else times)

    @classmethod
    def join(cls, parts: Sequence[Counts]) -> Counts:
        """All rows, those of one key added up."""
        if len(parts) == 1:
            return parts[0]
        keys = [part.key for part in parts] or [np.zeros(0, np.int64)]
        values = [part.value for part in parts] or [np.zeros(0, np.int64)]
        return cls._fold(np.concatenate(keys), np.concatenate(values))

    @classmethod
    def _fold(cls, key: Whole, value: Whole) -> Counts:
        # Runs are sorted already: the stable sort merges them.
        order = np.argsort(key, kind="stable")
        key, value = key[order], value[order]
        starts = find_starts(key)
        return cls(key[starts], np.add.reduceat(value, starts) if len(key) else value)

    def forget(self, firsts: Whole, endless: NDArray[np.bool_], as_of: int) -> Counts:
        """Without days before the leaf's first; of endless leaves, what is over is added up under one day."""
        leaf, day = self.leaf, self.day
        keep = day >= firsts[leaf]
        folds = endless[leaf] & (day < as_of) & (day > BEFORE_ALL)
        if not folds.any():
            return self if keep.all() else Counts(self.key[keep], self.value[keep])
        day = np.where(folds, BEFORE_ALL, day)
        return Counts.build(self.customer[keep], leaf[keep], day[keep], self.value[keep])

    def choose(self, customers: Whole) -> Counts:
        """The rows of these customers (sorted)."""
        rows = _find_rows(self.key, customers << _CUSTOMER, (customers + 1) << _CUSTOMER)
        return Counts(self.key[rows], self.value[rows])


@dataclass(frozen=True)
class Deeds:
    """Events that can be a step: ``value`` has a bit per step; sorted by ``key`` = customer and leaf in one number."""

    key: Whole
    day: Whole
    at: Whole
    value: Whole
    event: pa.Array

    def __len__(self) -> int:
        return len(self.key)

    @property
    def customer(self) -> Whole:
        """The customer's number, shape (n,)."""
        return self.key >> (_CUSTOMER - _DAY)

    @property
    def leaf(self) -> Whole:
        """The number of the leaf."""
        return self.key & (LEAVES - 1)

    @classmethod
    def build(
        cls, customers: Whole, leaf: int | Whole, days: Whole, at: Whole, bits: Whole, ids: Any
    ) -> Deeds:
        """Rows in any order; instants in microseconds since 1970."""
        key = (customers << (_CUSTOMER - _DAY)) | np.asarray(leaf, np.int64)
        event = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
        if isinstance(event, pa.ChunkedArray):
            event = pa.concat_arrays(event.chunks) if event.num_chunks else _NO_IDS
        return cls(key, days.astype(np.int64), at, bits, event)._take(np.argsort(key, kind="stable"))

    @classmethod
    def join(cls, parts: Sequence[Deeds]) -> Deeds:
        """All rows."""
        parts = [part for part in parts if len(part)]
        if not parts:
            empty = np.zeros(0, np.int64)
            return cls(empty, empty, empty, empty, _NO_IDS)
        if len(parts) == 1:
            return parts[0]
        joined = cls(
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.day for part in parts]),
            np.concatenate([part.at for part in parts]),
            np.concatenate([part.value for part in parts]),
            pa.concat_arrays([part.event for part in parts]),
        )
        return joined._take(np.argsort(joined.key, kind="stable"))

    def forget(self, firsts: Whole) -> Deeds:
        """Without days before the leaf's first."""
        keep = self.day >= firsts[self.leaf] if len(self) else np.zeros(0, np.bool_)
        return self if keep.all() else self._take(np.flatnonzero(keep))

    def choose(self, customers: Whole) -> Deeds:
        """The rows of these customers (sorted)."""
        step = _CUSTOMER - _DAY
        return self._take(_find_rows(self.key, customers << step, (customers + 1) << step))

    def arrange(self) -> Deeds:
        """In the order of customer, leaf, instant and id."""
        key, at = self.key, self.at
        order = np.arange(len(key))
        same = key[1:] == key[:-1]
        # Most events come in the order in which they happened: then there is nothing to sort.
        if (same & (at[1:] < at[:-1])).any():
            order = np.lexsort((at, key))
            key, at = key[order], at[order]
        same &= at[1:] == at[:-1]
        if same.any():
            # Only where two happened at one instant is the id asked, for texts sort slowly.
            tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
            rank = np.zeros(len(key), np.int64)
            ids = self.event.take(pa.array(order[tied]))
            rank[tied] = pc.rank(ids, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
            order = order[np.lexsort((rank, at, key))]
        elif at is self.at:
            return self
        return self._take(order)

    def _take(self, rows: NDArray[np.intp]) -> Deeds:
        event = self.event.take(pa.array(rows)) if len(rows) else _NO_IDS
        return Deeds(self.key[rows], self.day[rows], self.at[rows], self.value[rows], event)


@dataclass(frozen=True)
class Run:
    """Rows that came or were merged together; ``number`` names it in the store."""

    number: int
    counts: Counts
    deeds: Deeds

    def __len__(self) -> int:
        return len(self.counts) + len(self.deeds)

    def to_table(self, names: Sequence[str]) -> pa.Table:
        """Rows as the store keeps them; ``names`` has the id of each customer's number."""
        counts, deeds = self.counts, self.deeds
        # Only the customers of this run are named in it.
        both = counts.customer, deeds.customer
        own = list_distinct(np.concatenate([codes[find_starts(codes)] for codes in both]))
        places = np.concatenate([find_places(codes, own) for codes in both])
        customer = pa.DictionaryArray.from_arrays(
            pa.array(places.astype(np.int32)), pa.array([names[code] for code in own.tolist()], pa.string())
        )
        gap = np.zeros(len(counts), np.int64)
        ids = pa.concat_arrays([pa.nulls(len(counts), pa.large_string()), deeds.event])
        return pa.table(
            {
                "customer": customer,
                "leaf": pa.array(np.concatenate([counts.leaf, deeds.leaf]).astype(np.int16)),
                "day": pa.array(np.concatenate([counts.day, deeds.day]).astype(np.int32)),
                "value": pa.array(np.concatenate([counts.value, deeds.value])),
                "at": pa.array(np.concatenate([gap, deeds.at])),
                "event": ids,
            }
        )


def read_run(number: int, rows: pa.Table, customers: Whole) -> Run:
    """A run from its rows; ``customers`` has the number of each row's customer."""
    leaf, day, value, at = (rows[name].to_numpy().astype(np.int64) for name in ("leaf", "day", "value", "at"))
    is_deed = np.asarray(rows["event"].is_valid().to_numpy(), dtype=np.bool_)
    deed, count = np.flatnonzero(is_deed), np.flatnonzero(~is_deed)
    ids = rows["event"].take(pa.array(deed))
    return Run(
        number,
        Counts.build(customers[count], leaf[count], day[count], value[count]),
        Deeds.build(customers[deed], leaf[deed], day[deed], at[deed], value[deed], ids),
    )


def list_distinct(values: Whole) -> Whole:
    """Each value once, sorted."""
    ordered = np.sort(values)
    return ordered[find_starts(ordered)]


def find_starts(ordered: Whole) -> NDArray[np.intp]:
    """Where each value begins among sorted ones."""
    return np.flatnonzero(
        np.concatenate([np.ones(min(1, len(ordered)), np.bool_), ordered[1:] != ordered[:-1]])
    )


def find_places(ordered: Whole, among: Whole) -> NDArray[np.intp]:
    """The place of each of some sorted values among different sorted ones: each value is looked up once."""
    starts = find_starts(ordered)
    sizes = np.diff(starts, append=len(ordered))
    return np.repeat(np.searchsorted(among, ordered[starts]), sizes)


def _find_rows(key: Whole, low: Whole, high: Whole) -> NDArray[np.intp]:
    """The places of all keys from ``low`` to before ``high``, range after range."""
    starts, ends = np.searchsorted(key, low), np.searchsorted(key, high)
    sizes = ends - starts
    skipped = np.cumsum(sizes) - sizes
    return np.repeat(starts - skipped, sizes) + np.arange(int(sizes.sum()))
