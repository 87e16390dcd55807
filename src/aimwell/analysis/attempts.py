"""The best attempt of every customer at a funnel, as arrays, and how several answers are put together.

Reads nothing; ``query_attempts`` asks the portable query and so reads events, order_lines, products, tags, customers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aimwell.engine.compile_funnel import compile_funnel
from aimwell.engine.funnel import Funnel
from aimwell.engine.workspace import Reader

NEVER = np.iinfo(np.int64).min
"""Stands for an instant at which nothing happened."""

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


def query_attempts(reader: Reader, funnel: Funnel, *, chosen: str | None = None) -> Attempts:
    """The attempts by the portable query, for everybody or the customers of the table ``chosen``."""
    query = compile_funnel(funnel, chosen=chosen)
    table = reader.query(query.sql, query.parameters)
    steps = range(1, len(funnel.steps) + 1)
    reached = np.stack([read_instants(table[f"reached_{number}"]) for number in steps], axis=1)
    parts = tuple(table["part"].to_pylist()) if funnel.breakdown else None
    return Attempts(table["customer_id"].combine_chunks(), read_whole(table["level"]), reached, parts)


def settle_doubtful(reader: Reader, funnel: Funnel, sure: Attempts, doubtful: pa.Array) -> Attempts:
    """``sure`` with the attempts of the ``doubtful`` customers, whom the portable query decides on."""
    if not len(doubtful):
        return sure
    reader.register("doubtful_customers", pa.table({"customer_id": doubtful}))
    return merge_attempts(sure, query_attempts(reader, funnel, chosen="doubtful_customers"))


def merge_attempts(left: Attempts, right: Attempts) -> Attempts:
    """Both in the order of customers, of whom none is in both; without their parts, unless both have them."""
    parts = None if left.parts is None or right.parts is None else (*left.parts, *right.parts)
    return sort_attempts(
        Attempts(
            pa.concat_arrays([left.customers, right.customers]),
            np.concatenate([left.level, right.level]),
            np.concatenate([left.reached, right.reached]),
            parts,
        )
    )


def sort_attempts(attempts: Attempts) -> Attempts:
    """The same in the order of customers."""
    order = pc.sort_indices(attempts.customers)
    places = read_whole(pa.chunked_array([order.cast(pa.int64())]))
    parts = attempts.parts
    return Attempts(
        attempts.customers.take(order),
        attempts.level[places],
        attempts.reached[places],
        None if parts is None else tuple(parts[place] for place in places.tolist()),
    )


def choose_best(
    reach: list[Whole],
    back: list[Whole],
    find_customers: Callable[[Whole], Whole],
    find_instants: Callable[[Whole], Whole],
) -> tuple[Whole, Whole, Whole]:
    """Of each customer the deepest level, the row that got there first, and the way back from it.

    ``reach`` has the rows that reached each step, in order of customer and time; ``back`` the place in the reach of
    the step before that each came from. Customers, levels, and instants by step.
    """
    codes, ends = first_of_each(find_customers(reach[0]))
    level = np.ones(len(codes), np.int64)
    for depth in range(1, len(reach)):
        deeper, first = first_of_each(find_customers(reach[depth]))
        places = np.searchsorted(codes, deeper)
        level[places], ends[places] = depth + 1, first
    reached = np.full((len(codes), len(reach)), NEVER, np.int64)
    for depth in range(len(reach) - 1, -1, -1):
        here = np.flatnonzero(level > depth)
        reached[here, depth] = find_instants(reach[depth][ends[here]])
        if depth:
            ends[here] = back[depth][ends[here]]
    return codes, level, reached


def first_of_each(codes: Whole) -> tuple[Whole, Whole]:
    """The distinct values of sorted ``codes`` and where each stands first."""
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else codes
    return codes[starts], starts


def read_whole(column: pa.ChunkedArray) -> Whole:
    """Whole numbers without nulls as one array of 64 bits; pyarrow's own way would load pandas."""
    chunks = [read_numbers(chunk, np.int64) for chunk in column.cast(pa.int64()).chunks]
    return np.concatenate(chunks) if chunks else np.empty(0, np.int64)


def read_numbers(column: pa.Array, kind: type[np.integer[Any]] | None = None) -> NDArray[Any]:
    """Whole numbers without nulls as an array over the same memory; of their own type without ``kind``."""
    found = np.dtype(column.type.to_pandas_dtype() if kind is None else kind)
    if pa.from_numpy_dtype(found) != column.type:
        column = column.cast(pa.from_numpy_dtype(found))
    buffer = column.buffers()[1]
    if buffer is None:
        return np.empty(0, found)
    return np.frombuffer(buffer, found)[column.offset : column.offset + len(column)]


def read_instants(column: pa.ChunkedArray) -> Whole:
    """Instants as microseconds since 1970, ``NEVER`` where empty."""
    micros = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return read_whole(pc.fill_null(micros, NEVER))
