"""Whether two engines answered alike: the same columns, types and rows; real numbers to nine digits."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa


def find_differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where ``found`` differs, in words; empty when both say the same."""
    if isinstance(expected, pa.Table):
        if expected.schema.names != found.schema.names or expected.schema.types != found.schema.types:
            return [f"{where}: columns {expected.schema} against {found.schema}"]
        return find_differences(sort_rows(expected), sort_rows(found), where)
    if isinstance(expected, dict) and isinstance(found, dict) and set(expected) == set(found):
        return [
            text for key in expected for text in find_differences(expected[key], found[key], f"{where}.{key}")
        ]
    if isinstance(expected, list | tuple) and len(expected) == len(found):
        parts = enumerate(zip(expected, found, strict=True))
        return [text for number, (a, b) in parts for text in find_differences(a, b, f"{where}[{number}]")]
    return [] if _are_equal(expected, found) else [f"{where}: {expected!r} against {found!r}"]


def sort_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows in an order that real numbers, which differ in the last digits, do not change unless all else ties."""
    rows = table.to_pylist()
    exact = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    real = [field.name for field in table.schema if pa.types.is_floating(field.type)]

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        return (
            *(str(row[name]) for name in exact),
            *((row[name] is not None, round(row[name] or 0.0, 6)) for name in real),
        )

    return sorted(rows, key=place)


def _are_equal(expected: Any, found: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12) or (
            math.isnan(expected) and math.isnan(found)
        )
    if isinstance(expected, Decimal | int) and isinstance(found, Decimal | int):
        return expected == found
    if isinstance(expected, datetime) and isinstance(found, datetime):
        return expected == found
    return type(expected) is type(found) and bool(expected == found)
