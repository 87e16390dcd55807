"""What a tag is: its name, its words for people, what it needs of the data, and how it is measured.

It reads no table and writes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aimwell.core.tables import Type
from aimwell.core.text import Text
from aimwell.engine.specification import Aggregate, Condition, TagSpec, Value, Window, find_tag_type

Kind = Literal["descriptive", "behavioural", "associated"]


@dataclass(frozen=True)
class Tag:
    """One named computed column of ``tags``.

    ``needs`` lists what must be delivered for it: ``order_lines``, ``order_lines.revenue``, ``products.department``,
    ``events:Coupon Redeemed``, ``customers``, ``consents:email``. ``spec`` is None where the tag compares a
    customer with all others or comes from customers and consents; such a tag is computed by its own SQL.
    """

    name: str
    title: Text
    description: Text
    kind: Kind
    unit: str
    type: Type
    needs: tuple[str, ...]
    spec: TagSpec | None = None
    keeps_history: bool = False
    """Whether ``tag_history`` gets a row whenever the value changes."""


def define_tag(
    name: str,
    spec: TagSpec,
    title: Text,
    description: Text,
    *,
    unit: str,
    needs: tuple[str, ...],
    kind: Kind = "behavioural",
) -> Tag:
    """A tag that the engine's compiler measures; its type follows from ``spec``."""
    return Tag(name, title, description, kind, unit, find_tag_type(spec), needs, spec)


def count_orders(days: int | None = None, *, ending: int = 0, **where: Value) -> Aggregate:
    """Purchases in a window; ``where`` gives columns of ``orders`` and the value that each must have."""
    return Aggregate("orders", "count", None, _match(where), _window(days, ending))


def sum_orders(column: str, days: int | None = None) -> Aggregate:
    """The sum of a column of ``orders`` in a window."""
    return Aggregate("orders", "sum", column, (), _window(days, 0))


def count_lines(days: int | None = None, *conditions: Condition) -> Aggregate:
    """Order lines in a window."""
    return Aggregate("order_lines", "count", None, conditions, _window(days, 0))


def sum_lines(column: str, days: int | None = None, *conditions: Condition, ending: int = 0) -> Aggregate:
    """The sum of a column of ``order_lines`` in a window, returns taken off."""
    return Aggregate("order_lines", "sum", column, conditions, _window(days, ending))


def count_values(table: str, column: str, days: int | None = None, *conditions: Condition) -> Aggregate:
    """Different values of a column in a window."""
    return Aggregate(table, "count_distinct", column, conditions, _window(days, 0))


def count_events(name: str, days: int | None = None) -> Aggregate:
    """How often an event happened in a window."""
    return Aggregate("events", "count", None, (Condition("name", "=", name),), _window(days, 0))


def _match(where: Mapping[str, Value]) -> tuple[Condition, ...]:
    return tuple(Condition(column, "=", value) for column, value in where.items())


def _window(days: int | None, ending: int) -> Window | None:
    return None if days is None else Window(days, ending)
