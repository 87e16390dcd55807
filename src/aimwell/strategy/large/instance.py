"""A large allocation as compact arrays: values, costs, segments, and rows as tables. Reads and writes no tables.

Choose at most ``per_customer`` actions for each customer, at most one of each offer, so that the sum of values is
greatest and every row keeps its limit exactly. What a pair uses of a row is ``table[segment, action]``, times the
pair's cost where the row says so: however many rows there are, a pass over the customers reads two matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.strategy.problem import Integers, Problem, Reals, Row, Sense

Singles: TypeAlias = NDArray[np.float32]
Segments: TypeAlias = NDArray[np.int32]
_CHUNK = 1 << 20
"""Customers that are looked at together, so that nothing of the size of the whole is made beside it."""
MOST_ACTIONS = int(np.iinfo(np.int16).max)
"""An allocation keeps the number of each chosen action in two bytes."""
LARGEST_WHOLE = float(1 << 24)
"""Whole numbers up to this are the same in single precision."""


@dataclass(frozen=True)
class TableRow:
    """One constraint: a chosen pair uses ``table[segment, action]``, ≥ 0, times its cost where ``of_cost``."""

    name: str
    table: Reals
    """Segments × actions."""
    limit: float
    sense: Sense = "at_most"
    of_cost: bool = False

    @property
    def sign(self) -> float:
        """+1 for at most, −1 for at least: ``sign × use ≤ sign × limit``."""
        return 1.0 if self.sense == "at_most" else -1.0


class Terms(Protocol):
    """What is asked of the customers, without their matrices, which may be on other machines."""

    @property
    def rows(self) -> tuple[TableRow, ...]:
        """The constraints."""

    @property
    def per_customer(self) -> int:
        """How many actions a customer gets at most."""

    @property
    def offers(self) -> Integers | None:
        """The offer of each action, numbered from 0; None: every action is an offer of its own."""

    @property
    def groups(self) -> Integers:
        """The offer of each action."""

    @property
    def customers(self) -> int:
        """How many customers there are."""

    @property
    def actions(self) -> int:
        """How many actions there are."""

    @property
    def segments(self) -> int:
        """How many segments the rows tell apart."""

    @property
    def peaks(self) -> tuple[float, float]:
        """The greatest value and the greatest cost of a pair, at least 0."""

    @property
    def whole_costs(self) -> bool:
        """Whether all costs are whole numbers, such as cents."""


@dataclass(frozen=True)
class Instance:
    """One large allocation; raises BadInput when a number cannot be used. Arrays may be mapped from files."""

    value: Singles
    """Customers × actions: profit of each pair, money; −infinity: not allowed."""
    rows: tuple[TableRow, ...]
    segment: Segments
    """The segment of each customer, numbered from 0."""
    cost: Singles | None = None
    """Customers × actions: what a pair costs, such as whole cents; None where no row needs it."""
    offers: Integers | None = None
    """The offer of each action, numbered from 0; None: every action is an offer of its own."""
    per_customer: int = 1
    _peaks: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.value.ndim != 2 or self.value.dtype != np.float32:
            raise _refuse("value", say("The values must be customers × actions, in single precision."))
        if not 1 <= self.actions <= MOST_ACTIONS:
            raise _refuse("value", say("There must be between 1 and {most} actions.", most=MOST_ACTIONS))
        if self.segment.shape != (self.customers,) or self.segment.dtype != np.int32:
            raise _refuse("segment", say("Every customer needs the number of one segment."))
        if self.per_customer < 1:
            raise _refuse("per_customer", say("'{name}' must be at least 1.", name="per_customer"))
        if self.offers is not None and (self.offers.shape != (self.actions,) or np.any(self.offers < 0)):
            raise _refuse("offers", say("Every action needs the number of one offer."))
        if len({row.name for row in self.rows}) < len(self.rows):
            raise _refuse("rows", say("Two constraints have the same name."))
        segments = 1 + int(self.segment.max(initial=-1)) if self.customers else 0
        if self.customers and int(self.segment.min()) < 0:
            raise _refuse("segment", say("Every customer needs the number of one segment."))
        for row in self.rows:
            self._check_row(row, segments)
        if len({row.table.shape for row in self.rows}) > 1:
            raise _refuse("rows", say("The tables of all constraints must have the same segments."))
        self._check_matrix("value", self.value)
        if self.cost is not None:
            self._check_matrix("cost", self.cost)

    def _check_row(self, row: TableRow, segments: int) -> None:
        name = row.name
        if row.table.ndim != 2 or row.table.shape[1] != self.actions or row.table.shape[0] < segments:
            raise _refuse(
                name, say("'{name}' does not have one number for each segment and action.", name=name)
            )
        if not np.all(np.isfinite(row.table)) or not np.isfinite(row.limit):
            raise _refuse(name, say("'{name}' holds a number that is not finite.", name=name))
        if np.any(row.table < 0):
            raise _refuse(name, say("'{name}' holds a negative cost or usage.", name=name))
        if row.of_cost and self.cost is None:
            raise _refuse(name, say("'{name}' counts costs, and no costs are given.", name=name))

    @property
    def peaks(self) -> tuple[float, float]:
        """The greatest value and the greatest cost of a pair, at least 0."""
        return self._peaks["value"], self._peaks.get("cost", 0.0)

    @property
    def whole_costs(self) -> bool:
        """Whether all costs are whole numbers, such as cents."""
        return self._peaks.get("broken cost", 0.0) == 0.0

    def _check_matrix(self, name: str, matrix: Singles) -> None:
        if matrix.shape != self.value.shape or matrix.dtype != np.float32:
            raise _refuse(
                name, say("'{name}' does not have one number for each customer and action.", name=name)
            )
        peak = 0.0
        for begin in range(0, self.customers, _CHUNK):
            part = matrix[begin : begin + _CHUNK]
            # The greatest is not a number where one of them is not.
            most = float(part.max(initial=0.0))
            if not np.isfinite(most):
                raise _refuse(name, say("'{name}' holds a number that is not finite.", name=name))
            if name == "cost" and part.min(initial=0.0) < 0:
                raise _refuse(name, say("'{name}' holds a negative cost or usage.", name=name))
            if name == "cost" and np.any(part != np.rint(part)):
                self._peaks["broken cost"] = 1.0
            peak = max(peak, most)
        self._peaks[name] = peak

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return int(self.value.shape[0])

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return int(self.value.shape[1])

    @property
    def segments(self) -> int:
        """How many segments the rows tell apart."""
        return max((row.table.shape[0] for row in self.rows), default=1 + int(self.segment.max(initial=0)))

    @property
    def groups(self) -> Integers:
        """The offer of each action."""
        return np.arange(self.actions, dtype=np.int64) if self.offers is None else self.offers

    def take(self, customers: Integers, limits: Reals) -> Problem:
        """Some customers as a problem of their own, with these limits."""
        cost = None if self.cost is None else self.cost[customers]
        return make_problem(self, self.value[customers], cost, self.segment[customers], limits)


def make_problem(
    terms: Terms, value: Singles, cost: Singles | None, segment: Segments, limits: Reals
) -> Problem:
    """Some customers' matrices as a dense problem, with these limits."""
    exact = np.asarray(value, dtype=np.float64)
    allowed = np.isfinite(exact)
    costs = None if cost is None else np.asarray(cost, dtype=np.float64)
    rows = []
    for row, limit in zip(terms.rows, limits, strict=True):
        usage = row.table[segment]
        usage = usage * costs if row.of_cost and costs is not None else usage
        rows.append(Row(row.name, usage, float(limit), row.sense))
    return Problem(np.where(allowed, exact, 0.0), tuple(rows), allowed, terms.offers, terms.per_customer)


def _refuse(name: str, problem: Text) -> BadInput:
    return BadInput(
        "strategy.bad_instance",
        problem,
        remedy=say("Correct the effects, costs or limits that the plan is made from."),
        where={"column": name},
    )
