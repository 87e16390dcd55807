"""What the optimiser is asked: values, usages and limits as plain arrays. Reads and writes no tables.

Maximise the sum of ``value[c, a]`` over the chosen pairs (customer c, action a), at most ``per_customer``
actions for a customer and at most one of each offer, so that every ``Row`` keeps its limit exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.text import say

Reals: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Sense = Literal["at_most", "at_least"]


@dataclass(frozen=True)
class Row:
    """One linear constraint: the usage (customers × actions, not negative) of the chosen pairs keeps ``limit``."""

    name: str
    usage: Reals
    limit: float
    sense: Sense = "at_most"

    @property
    def sign(self) -> float:
        """+1 for at most, −1 for at least: ``sign × use ≤ sign × limit``."""
        return 1.0 if self.sense == "at_most" else -1.0


@dataclass(frozen=True)
class Problem:
    """One optimisation; raises BadInput when a number cannot be used."""

    value: Reals
    """Customers × actions: profit of each pair, money."""
    rows: tuple[Row, ...] = ()
    allowed: Flags | None = None
    """Customers × actions; None: everything is allowed."""
    offers: Integers | None = None
    """The offer of each action, numbered from 0; None: every action is an offer of its own."""
    per_customer: int = 1

    def __post_init__(self) -> None:
        if self.value.ndim != 2:
            raise _refuse("shape", "value")
        if self.allowed is not None and self.allowed.shape != self.value.shape:
            raise _refuse("shape", "allowed")
        if not self.actions:
            raise _refuse("actions", "value")
        if not np.all(np.isfinite(self.value)):
            raise _refuse("finite", "value")
        if self.per_customer < 1:
            raise _refuse("count", "per_customer")
        if self.offers is not None and (self.offers.shape != self.value.shape[1:] or np.any(self.offers < 0)):
            raise _refuse("shape", "offers")
        if len({row.name for row in self.rows}) < len(self.rows):
            raise _refuse("repeated", "rows")
        for row in self.rows:
            _check_row(row, self.value.shape)

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return int(self.value.shape[0])

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return int(self.value.shape[1])

    @property
    def mask(self) -> Flags:
        """Customers × actions: what is allowed."""
        return np.ones(self.value.shape, dtype=np.bool_) if self.allowed is None else self.allowed

    @property
    def groups(self) -> Integers:
        """The offer of each action."""
        return np.arange(self.actions, dtype=np.int64) if self.offers is None else self.offers

    @property
    def slots(self) -> int:
        """How many actions a customer can have at most."""
        return max(1, min(self.per_customer, len(np.unique(self.groups))))


def _check_row(row: Row, shape: tuple[int, ...]) -> None:
    if row.usage.shape != shape:
        raise _refuse("shape", row.name)
    if not np.all(np.isfinite(row.usage)) or not np.isfinite(row.limit):
        raise _refuse("finite", row.name)
    if np.any(row.usage < 0):
        raise _refuse("negative", row.name)


def _refuse(
    problem: Literal["shape", "finite", "negative", "count", "repeated", "actions"], name: str
) -> BadInput:
    texts = {
        "shape": say("'{name}' does not have one number for each customer and action.", name=name),
        "finite": say("'{name}' holds a number that is not finite.", name=name),
        "negative": say("'{name}' holds a negative cost or usage.", name=name),
        "count": say("'{name}' must be at least 1.", name=name),
        "repeated": say("Two constraints have the same name."),
        "actions": say("There is no action to choose from."),
    }
    return BadInput(
        f"strategy.bad_{problem}",
        texts[problem],
        remedy=say("Correct the effects, costs or limits that the plan is made from."),
        where={"column": name},
    )
