"""Customers told apart by the columns that limits name: as few segments as the limits need. Reads and writes no tables.

A segment is one combination of values that occurs; whatever the limits ask, each customer is in exactly one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from aimwell.strategy.problem import Flags, Integers

Where: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Column and the values that count, all of which must hold; empty: everybody."""
SEGMENT = "segment:"
"""What the column of a saved segment's members begins with."""
INSIDE, OUTSIDE = "inside", "outside"
"""What stands in the column of a saved segment."""
UNKNOWN = ""
"""The value of a customer of whom a column says nothing."""


@dataclass(frozen=True)
class Segments:
    """The number of each customer's segment, and what each segment's customers have in common."""

    number: Integers
    values: tuple[Mapping[str, str], ...]
    """By segment: column → value."""

    def find_inside(self, where: Where) -> Flags:
        """By segment: whether its customers are those of ``where``."""
        return np.array(
            [all(value.get(column) in wanted for column, wanted in where) for value in self.values],
            dtype=np.bool_,
        )


def number_segments(traits: Mapping[str, tuple[str, ...]], columns: Iterable[str], count: int) -> Segments:
    """The segments of ``count`` customers by ``columns`` of ``traits``; without any, one segment of all."""
    names = tuple(dict.fromkeys(columns))
    number = np.zeros(count, dtype=np.int64)
    values: list[dict[str, str]] = [{}]
    for name in names:
        kinds, place = np.unique(np.array(traits[name], dtype=np.str_), return_inverse=True)
        pairs, number = np.unique(number * max(1, len(kinds)) + place.ravel(), return_inverse=True)
        values = [
            {**values[int(pair) // len(kinds)], name: str(kinds[int(pair) % len(kinds)])} for pair in pairs
        ]
        number = number.ravel().astype(np.int64)
    return Segments(number, tuple(values or [{}]))


def write_value(value: object) -> str:
    """A tag's value as limits name it: whole numbers without ".0", yes and no as true and false."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
